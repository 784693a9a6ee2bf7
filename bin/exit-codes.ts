/** How commands end: the codes of sysexits.h, so that scripts and supervisors can tell what a repetition is good for. */
import { QueueError, type QueueErrorCode } from '../src/errors.ts';

export const EXIT = {
  ok: 0,
  /** The command's own no: nothing to get, not sound, a bad input line, a forced end. */
  failure: 1,
  /** The command line is wrong; the same one will be wrong again. */
  usage: 64,
  /** What it needs is not there or not usable. */
  unavailable: 69,
  /** A defect in Coda. */
  internal: 70,
  /** Full now; may work later. */
  tryAgain: 75,
  configuration: 78,
} as const;

export const EXIT_HELP = `
Exit codes: 0 done, 1 failure, 64 usage, 69 unavailable, 70 internal error, 75 try again later, 78 configuration`;

export function exitCodeOf(error: unknown): number {
  return error instanceof QueueError ? BY_CODE[error.code] : EXIT.internal;
}

/** Whether a code that came from elsewhere is one of ours. */
export function isErrorCode(code: string): code is QueueErrorCode {
  return Object.hasOwn(BY_CODE, code);
}

const BY_CODE: Readonly<Record<QueueErrorCode, number>> = {
  INVALID_QUEUE_NAME: EXIT.usage,
  INVALID_ARGUMENT: EXIT.usage,
  UNKNOWN_WORKER_TYPE: EXIT.usage,
  UNKNOWN_DAEMON: EXIT.usage,
  UNKNOWN_PROCESS: EXIT.usage,
  PROCESS_EXISTS: EXIT.usage,
  UNKNOWN_COMMAND: EXIT.usage,
  COMMAND_FAILED: EXIT.failure,
  COMMAND_TIMEOUT: EXIT.tryAgain,
  CHILD_BUSY: EXIT.tryAgain,
  CHILD_GONE: EXIT.failure,
  PROCESS_FAILED: EXIT.unavailable,
  INVALID_MESSAGE: EXIT.failure,
  WORKER_FAILED: EXIT.unavailable,
  DAEMON_FAILED: EXIT.unavailable,
  SERVICE_FAILED: EXIT.unavailable,
  MESSAGE_TOO_LARGE: EXIT.failure,
  MESSAGE_NOT_FOUND: EXIT.failure,
  QUEUE_NOT_FOUND: EXIT.unavailable,
  QUEUE_DESTROYED: EXIT.unavailable,
  STORAGE_FAILED: EXIT.unavailable,
  STORAGE_UNSUPPORTED: EXIT.unavailable,
  JOURNAL_CORRUPT: EXIT.unavailable,
  JOURNAL_NEWER: EXIT.unavailable,
  CLOSED: EXIT.internal,
  QUEUE_FULL: EXIT.tryAgain,
  STORAGE_FULL: EXIT.tryAgain,
  DAEMON_RUNNING: EXIT.tryAgain,
  API_FAILED: EXIT.unavailable,
  API_UNREACHABLE: EXIT.unavailable,
  API_REFUSED: EXIT.failure,
  CALL_FAILED: EXIT.unavailable,
  METHOD_FAILED: EXIT.unavailable,
  CONFIG_INVALID: EXIT.configuration,
  UNKNOWN_QUEUE_TYPE: EXIT.configuration,
};
