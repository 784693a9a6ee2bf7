/**
 * A command as people type it, and what becomes of it for one message. It is split into words as a POSIX shell does it,
 * once, when the worker is made; placeholders are filled in afterwards, word by word. So whatever a message says stays
 * inside its word: it can add no argument, and there is no shell for it to talk to.
 */
import { QueueError, quote } from '../../errors.ts';
import { nearest } from '../../suggest.ts';

const PLACEHOLDERS = ['alias', 'uuid', 'queue', 'attempt', 'retries', 'username'] as const;

/** What the placeholders stand for. */
export type Values = Readonly<Record<(typeof PLACEHOLDERS)[number], string>>;

/** `{word}`, or `{{word}}` for the braces themselves. Other braces, such as those of JSON, mean nothing. */
const PLACEHOLDER = /\{\{([A-Za-z]+)\}\}|\{([A-Za-z]+)\}/g;

/**
 * Blanks and newlines separate words; 'single' and "double" quotes and backslashes as in sh. Nothing else has a meaning:
 * no variables, patterns, pipes or redirections. At least one word. Errors: INVALID_ARGUMENT: an unfinished quote, a
 * backslash at the end, no word, a NUL.
 */
export function plainWordsOf(command: string): [string, ...string[]] {
  if (typeof command !== 'string' || command.includes('\0')) {
    throw invalid(`expected a command without NUL characters, received ${quote(command)}`);
  }
  const [program, ...args] = split(command);
  if (program === undefined || program === '') {
    throw invalid(`expected a command, received ${quote(command)}`);
  }
  return [program, ...args];
}

/** As `plainWordsOf`, with placeholders among them. Errors: also for an unknown placeholder, and for one in the first word. */
export function wordsOf(command: string): string[] {
  const words = plainWordsOf(command);
  const [program] = words;
  if (fill(program, (name) => `{${name}}`) !== program || /\{[A-Za-z]+\}/.test(program)) {
    // What runs is for the operator to say, not for whoever adds messages.
    throw invalid(`expected the name of a program without placeholders, received ${quote(program)}`);
  }
  for (const word of words) fill(word, checkPlaceholder);
  return words;
}

/** The words for one message. */
export function filled(words: readonly string[], values: Values): string[] {
  return words.map((word) => fill(word, (name) => values[name as keyof Values]));
}

/** One pass: what a value contains is never looked at again. */
function fill(word: string, valueOf: (name: string) => string): string {
  return word.replace(PLACEHOLDER, (_, literal?: string, name?: string) =>
    name === undefined ? `{${literal}}` : valueOf(name),
  );
}

function checkPlaceholder(name: string): string {
  if ((PLACEHOLDERS as readonly string[]).includes(name)) return name;
  const near = nearest(name, PLACEHOLDERS);
  const hint =
    near === undefined
      ? `expected one of ${PLACEHOLDERS.map((known) => `{${known}}`).join(', ')}, or {{${name}}} for these characters themselves`
      : `did you mean {${near}}?`;
  throw invalid(`unknown placeholder ${quote(`{${name}}`)}; ${hint}`);
}

/** XCU 2.2 and 2.6.5 of POSIX, without what they say of expansions. */
function split(command: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let at = 0; at < command.length; at++) {
    const c = command[at] ?? '';
    if (c === ' ' || c === '\t' || c === '\n') {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (c === '\\') {
      const next = command[++at];
      if (next === undefined) throw unfinished(command, at - 1, 'a character behind the \\');
      // A newline behind a backslash only breaks the line.
      if (next !== '\n') word = (word ?? '') + next;
    } else if (c === "'") {
      const end = command.indexOf("'", at + 1);
      if (end < 0) throw unfinished(command, at, "a closing '");
      word = (word ?? '') + command.slice(at + 1, end);
      at = end;
    } else if (c === '"') {
      const quoted = doubleQuoted(command, at);
      word = (word ?? '') + quoted.text;
      at = quoted.end;
    } else word = (word ?? '') + c;
  }
  if (word !== undefined) words.push(word);
  return words;
}

/** Between double quotes a backslash is one, unless it stands before one of these. */
function doubleQuoted(command: string, start: number): { text: string; end: number } {
  let text = '';
  for (let at = start + 1; at < command.length; at++) {
    const c = command[at] ?? '';
    if (c === '"') return { text, end: at };
    const next = command[at + 1] ?? '';
    if (c === '\\' && next !== '' && '$`"\\\n'.includes(next)) {
      if (next !== '\n') text += next;
      at++;
    } else text += c;
  }
  throw unfinished(command, start, 'a closing "');
}

function unfinished(command: string, at: number, expected: string): QueueError {
  return invalid(
    `expected ${expected}, received none for character ${at + 1} of the command ${quote(command, 200)}`,
  );
}

function invalid(message: string): QueueError {
  return new QueueError('INVALID_ARGUMENT', message);
}
