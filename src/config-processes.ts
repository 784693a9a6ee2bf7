/**
 * The sections `[process:NAME]` of config.ini, as they stand there. What their keys mean is said in `supervisor/spec.ts`, and
 * checked there: a program that adds messages is not kept from it by a process that it knows nothing of.
 */
import { QueueError, quote } from './errors.ts';

/** One such section. Frozen. */
export interface ProcessSection {
  readonly name: string;
  readonly file: string;
  /** By key, as text. */
  readonly entries: Readonly<Record<string, string>>;
}

type Parse = (text: string) => Record<string, unknown>;
type Wrong = (error: QueueError) => void;

const SECTION = /^\s*\[process:([^\]]*)\]\s*$/;
const ANY_SECTION = /^\s*\[/;

/** Takes them out of the lines of the file; what is left is all the rest. Tells what is there twice, and what is no plain value. */
export function takeProcesses(
  lines: readonly string[],
  file: string,
  parse: Parse,
  wrong: Wrong,
): { processes: readonly ProcessSection[]; rest: string[] } {
  const found = new Map<string, string[]>();
  const rest: string[] = [];
  let into = rest;
  for (const line of lines) {
    const name = SECTION.exec(line)?.[1]?.trim();
    if (name !== undefined) {
      if (found.has(name)) wrong(invalid(file, name, ': expected once, received again'));
      found.set(name, (into = []));
    } else {
      if (ANY_SECTION.test(line)) into = rest;
      into.push(line);
    }
  }
  // One at a time: the parser takes a key that two sections share for one given twice, and a dot in a name for a path.
  const processes = [...found].map(([name, lines]) => {
    const entries = plainEntries(parse(lines.join('\n')), (key, received) =>
      wrong(invalid(file, name, ` ${key}: expected ${received}`)),
    );
    return Object.freeze({ name, file, entries });
  });
  return { processes: Object.freeze(processes), rest };
}

function plainEntries(
  parsed: Record<string, unknown>,
  wrong: (key: string, why: string) => void,
): Readonly<Record<string, string>> {
  const entries: [string, string][] = [];
  for (const [key, value] of Object.entries(parsed)) {
    if (Array.isArray(value)) wrong(quote(key), `one value, received ${value.length}`);
    // The parser has cut it at a ; or # already.
    else if (typeof value === 'string' && /^["']/.test(value))
      wrong(quote(key), `nothing behind the closing quote, received ${quote(value)}`);
    else entries.push([key, String(value)]);
  }
  return Object.freeze(Object.fromEntries(entries));
}

function invalid(file: string, name: string, why: string): QueueError {
  return new QueueError('CONFIG_INVALID', `${quote(file, 300)}: section ${quote(`process:${name}`)}${why}`, {
    path: file,
  });
}
