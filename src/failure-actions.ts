/** What is to happen when a daemon has failed, as it is written in the configuration: `restart, restart, run /usr/bin/page-me`. */
import { posix, win32 } from 'node:path';

export type FailureAction =
  /** Stays down. */
  | { readonly kind: 'none' }
  | { readonly kind: 'restart' }
  /** A program is started instead, for somebody to be told; its path is absolute. */
  | { readonly kind: 'run'; readonly command: readonly string[] }
  /** The machine; on Windows only. */
  | { readonly kind: 'reboot' };

/** After the first failure, the second, and all further ones. */
export type FailureActions = readonly [FailureAction, FailureAction, FailureAction];

export const LIST_OF_ACTIONS =
  'what is done after the first, the second and each further failure, one to three of none, restart, reboot and ' +
  'run <absolute path of a program> <arguments>, with commas between; the last one holds for all that follow';

/** Undefined when it is no such list. */
export function parseFailureActions(text: string): FailureActions | undefined {
  const actions = split(text)?.map(actionOf) ?? [];
  const sound = actions.filter((action) => action !== undefined);
  if (sound.length < actions.length || sound.length > 3) return undefined;
  // The last one holds on.
  const [first, second = first, further = second] = sound;
  if (!first || !second || !further) return undefined;
  return Object.freeze([first, second, further] as const);
}

/** The words of each action. Blanks and commas between double quotes are part of a word. */
function split(text: string): string[][] | undefined {
  // oxlint-disable-next-line no-control-regex -- none of them is part of a path or a word that anybody means
  if (/[\u0000-\u0008\u000a-\u001f\u007f]/.test(text)) return undefined;
  const actions: string[][] = [[]];
  const part = /\s*(?:(,)|((?:"[^"]*"|[^\s,"])+))\s*/gy;
  while (part.lastIndex < text.length) {
    const [found, comma, word = ''] = part.exec(text) ?? [];
    if (found === undefined) return undefined;
    if (comma === undefined) actions.at(-1)?.push(word.replaceAll('"', ''));
    else actions.push([]);
  }
  return actions;
}

function actionOf(words: readonly string[]): FailureAction | undefined {
  const [kind, program, ...rest] = words;
  if (kind === 'run') {
    if (program === undefined || !(posix.isAbsolute(program) || win32.isAbsolute(program))) return undefined;
    return Object.freeze({ kind, command: Object.freeze([program, ...rest]) });
  }
  const isWord = kind === 'none' || kind === 'restart' || kind === 'reboot';
  return isWord && program === undefined ? Object.freeze({ kind }) : undefined;
}
