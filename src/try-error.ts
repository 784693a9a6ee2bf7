/**
 * What is kept of a failed try. Handlers throw anything: errors of other realms, strings, objects whose getters throw,
 * megabytes of message, causes that lead back to themselves. None of that may make recording the failure fail, and
 * all of it is stored with the message, so each part has a bound.
 */
import { quote } from './errors.ts';
import type { TryError } from './message.ts';

const LONGEST_NAME = 100;
const LONGEST_MESSAGE = 2000;
const LONGEST_STACK = 4000;
/** Of the first cause, stack included; of its causes. */
const LONGEST_CAUSE = 2500;
const SHORT_CAUSE = 200;
/** Causes told below the stack. */
const MOST_CAUSES = 4;

/** Never throws. @param at epoch milliseconds. */
export function toTryError(thrown: unknown, attempt: number, at: number): TryError {
  const error: TryError = {
    at: new Date(at).toISOString(),
    attempt,
    name: nameOf(thrown),
    message: cut(messageOf(thrown), LONGEST_MESSAGE),
  };
  const code = codeOf(thrown);
  if (code !== undefined) error.code = code;
  const stack = [textOf(thrown, 'stack') ?? '', ...causesOf(thrown)].filter((part) => part !== '').join('\n');
  if (stack !== '') error.stack = cut(stack, LONGEST_STACK);
  return error;
}

function nameOf(thrown: unknown): string {
  return cut(textOf(thrown, 'name') || 'Error', LONGEST_NAME);
}

function messageOf(thrown: unknown): string {
  return textOf(thrown, 'message') ?? (typeof thrown === 'string' ? thrown : quote(thrown, LONGEST_MESSAGE));
}

/** Node's errors have texts, those of other libraries also numbers. */
function codeOf(thrown: unknown): string | undefined {
  const code = read(thrown, 'code');
  return typeof code === 'string' || typeof code === 'number' ? cut(String(code), LONGEST_NAME) : undefined;
}

function causesOf(thrown: unknown): string[] {
  const told: string[] = [];
  let cause = read(thrown, 'cause');
  while (cause !== undefined && cause !== null && told.length < MOST_CAUSES) {
    told.push(`Caused by ${causeOf(cause, told.length === 0 ? LONGEST_CAUSE : SHORT_CAUSE)}`);
    cause = read(cause, 'cause');
  }
  return told;
}

/** Its stack, which tells its name and message too: of a command that was ended, the end of its stderr. */
function causeOf(cause: unknown, longest: number): string {
  const said = `${nameOf(cause)}: ${cut(messageOf(cause), SHORT_CAUSE)}`;
  const stack = textOf(cause, 'stack') ?? '';
  return cut(stack.startsWith(said) ? stack : `${said}${stack === '' ? '' : `\n${stack}`}`, longest);
}

function textOf(value: unknown, key: string): string | undefined {
  const found = read(value, key);
  return typeof found === 'string' ? found : undefined;
}

function read(value: unknown, key: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  try {
    return (value as Record<string, unknown>)[key];
  } catch {
    return undefined;
  }
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}…`;
}
