/** The numbers of answers. Clients of any language compare them, so a number never changes its meaning. */
import { QueueError, escapeControls } from '../errors.ts';
import type { Json } from '../message.ts';
import { toTryError } from '../try-error.ts';

/** An answer's code when the call has succeeded. */
export const SUCCESS = 0;

/** The errors of the server by their word, which is in the answer too: `result.error`. Numbers from 100 on are for methods. */
export const CODES = {
  /** The method threw, or what it answered is not JSON. */
  METHOD_FAILED: 1,
  /** What came is no packet. */
  MALFORMED: 2,
  TOO_LARGE: 3,
  UNKNOWN_METHOD: 4,
  INVALID_ARGUMENT: 5,
  /** `prepare` said no. */
  REFUSED: 6,
  UNAUTHORIZED: 7,
  /** Too many calls were under way, for too long. */
  BUSY: 8,
  /** The server, or the store, is closing: the call was not begun. */
  CLOSED: 9,
  /** The call was carried out, but its answer is longer than can be sent. */
  ANSWER_TOO_LARGE: 10,
  /** The rest of the packet did not come in time. */
  TIMEOUT: 11,
  QUEUE_NOT_FOUND: 20,
  QUEUE_DESTROYED: 21,
  QUEUE_FULL: 22,
  INVALID_QUEUE_NAME: 23,
  INVALID_MESSAGE: 24,
  MESSAGE_TOO_LARGE: 25,
  MESSAGE_NOT_FOUND: 26,
  STORAGE_FULL: 30,
  STORAGE_FAILED: 31,
  STORAGE_UNSUPPORTED: 32,
  JOURNAL_CORRUPT: 33,
  JOURNAL_NEWER: 34,
} as const;

export type CodeWord = keyof typeof CODES;

/** What a client is answered. `code` 0: it has succeeded. */
export interface CallAnswer {
  readonly code: number;
  readonly message: string;
  readonly result: Json;
}

/** @param message without control characters. */
export function refusal(word: CodeWord, message: string): CallAnswer {
  return { code: CODES[word], message, result: { error: word } };
}

/** What was thrown, as an answer: its message, never its stack. Never throws. */
export function answerOf(thrown: unknown): CallAnswer {
  const message = escapeControls(toTryError(thrown, 1, 0).message);
  if (!(thrown instanceof QueueError)) return refusal('METHOD_FAILED', message);
  const code: number | undefined = Object.hasOwn(CODES, thrown.code)
    ? CODES[thrown.code as CodeWord]
    : undefined;
  return { code: code ?? CODES.METHOD_FAILED, message, result: { error: thrown.code } };
}
