/** Everything that Coda rejects or throws on purpose is a `QueueError`; a failed message is data, not an error. */

export type QueueErrorCode =
  | 'QUEUE_NOT_FOUND'
  /** The queue that this call began on has been destroyed meanwhile; a new one of that name may exist. */
  | 'QUEUE_DESTROYED'
  | 'QUEUE_FULL'
  | 'INVALID_QUEUE_NAME'
  | 'INVALID_MESSAGE'
  | 'INVALID_ARGUMENT'
  | 'MESSAGE_TOO_LARGE'
  | 'MESSAGE_NOT_FOUND'
  | 'UNKNOWN_QUEUE_TYPE'
  | 'UNKNOWN_WORKER_TYPE'
  /** A worker cannot begin: its `start` threw, or what it declares makes no sense. */
  | 'WORKER_FAILED'
  | 'UNKNOWN_DAEMON'
  /** Likewise a daemon: its `onStart` threw, or what it declares makes no sense. */
  | 'DAEMON_FAILED'
  /** Another process has the place of the daemon. */
  | 'DAEMON_RUNNING'
  /** The supervisor looks after no process of that name. */
  | 'UNKNOWN_PROCESS'
  /** It looks after one already. */
  | 'PROCESS_EXISTS'
  /** A child cannot begin: its class cannot be loaded, or its program cannot be started. */
  | 'PROCESS_FAILED'
  /** A child does not know that command. */
  | 'UNKNOWN_COMMAND'
  /** What a child did for a command threw; see the message. */
  | 'COMMAND_FAILED'
  /** A child has not answered in time. It may still do what it was told. */
  | 'COMMAND_TIMEOUT'
  /** A child has more to read than it gets read. */
  | 'CHILD_BUSY'
  /** A child does not run, or has ended before it answered, or before it was up. */
  | 'CHILD_GONE'
  /** A service of the operating system cannot be installed or removed. */
  | 'SERVICE_FAILED'
  /** The control API cannot listen where it is to. */
  | 'API_FAILED'
  /** No supervisor answers. */
  | 'API_UNREACHABLE'
  /** The supervisor did not do what it was asked for, and has said why. */
  | 'API_REFUSED'
  /** The call server cannot listen where it is to. */
  | 'CALL_FAILED'
  /** The class of a method that can be called is none, or cannot be loaded. */
  | 'METHOD_FAILED'
  | 'CONFIG_INVALID'
  /** Too little space on the device; what was already there can still be worked off. */
  | 'STORAGE_FULL'
  /** The operating system refused a read, a write or a sync; see `cause`. */
  | 'STORAGE_FAILED'
  /** A file system, a folder or a link on which the guarantees would not hold. */
  | 'STORAGE_UNSUPPORTED'
  /** Damage that cannot be stepped over; see `queue verify`. */
  | 'JOURNAL_CORRUPT'
  /** Written by a newer Coda than this one. */
  | 'JOURNAL_NEWER'
  | 'CLOSED';

export interface QueueErrorDetails {
  queue?: string;
  path?: string;
  cause?: unknown;
}

export class QueueError extends Error {
  override readonly name = 'QueueError';
  readonly code: QueueErrorCode;
  readonly queue?: string;
  readonly path?: string;

  /** @param message says what was expected and what was got; text from outside must have gone through `quote`. */
  constructor(code: QueueErrorCode, message: string, details: QueueErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    if (details.queue !== undefined) this.queue = details.queue;
    if (details.path !== undefined) this.path = details.path;
  }
}

/**
 * Text from outside, made safe to stand in a message or a log: JSON-quoted, control and bidirectional
 * characters escaped, cut after `limit` characters.
 */
export function quote(value: unknown, limit = 80): string {
  let text: string;
  try {
    // JSON knows no NaN, no bigint, no undefined.
    text =
      (typeof value === 'object' || typeof value === 'string' ? JSON.stringify(value) : undefined) ??
      String(value);
  } catch {
    text = 'a value that cannot be shown';
  }
  if (text.length > limit) text = `${text.slice(0, limit)}…`;
  return escapeControls(text);
}

/** Replaces what could steer a terminal (C0, C1, DEL, bidirectional overrides, line separators) by `\uXXXX`. */
export function escapeControls(text: string): string {
  return text.replace(
    // oxlint-disable-next-line no-control-regex -- these are the characters it is for
    /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
