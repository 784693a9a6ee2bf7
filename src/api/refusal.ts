/** What is answered when a request is not carried out: one shape, `{ error: { code, message } }`, and a status that fits. */
import { QueueError, escapeControls, type QueueErrorCode } from '../errors.ts';

/** Codes of the API's own, beside those of `QueueError`. */
export type RefusalCode =
  | 'INVALID_REQUEST'
  | 'UNAUTHORIZED'
  | 'FORBIDDEN'
  | 'NOT_FOUND'
  | 'METHOD_NOT_ALLOWED'
  | 'NOT_JSON'
  | 'TOO_LARGE'
  | 'TOO_SLOW'
  | 'TOO_MANY_CLIENTS'
  | 'NOT_READY'
  | 'INTERNAL';

/** A request that is not carried out. Its message holds nothing but what the caller may know. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: RefusalCode | QueueErrorCode;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: RefusalCode | QueueErrorCode,
    message: string,
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

/** Of what a caller can do something about. Whatever is not here is for the log alone. */
const STATUS: Readonly<Partial<Record<QueueErrorCode, number>>> = {
  QUEUE_NOT_FOUND: 404,
  QUEUE_DESTROYED: 410,
  QUEUE_FULL: 507,
  INVALID_QUEUE_NAME: 422,
  INVALID_MESSAGE: 422,
  INVALID_ARGUMENT: 422,
  MESSAGE_TOO_LARGE: 413,
  MESSAGE_NOT_FOUND: 404,
  UNKNOWN_WORKER_TYPE: 422,
  UNKNOWN_DAEMON: 422,
  CONFIG_INVALID: 422,
  UNKNOWN_PROCESS: 404,
  PROCESS_EXISTS: 409,
  UNKNOWN_COMMAND: 404,
  COMMAND_FAILED: 502,
  COMMAND_TIMEOUT: 504,
  CHILD_BUSY: 503,
  CHILD_GONE: 502,
  STORAGE_FULL: 507,
  CLOSED: 503,
};

const HIDDEN = new Refusal(500, 'INTERNAL', 'this could not be done; the log of the supervisor says why');

/** The refusal that an error becomes; anything that is none of ours becomes 500, and says nothing of itself. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const status = error instanceof QueueError ? STATUS[error.code] : undefined;
  if (status === undefined) return HIDDEN;
  const { code, message } = error as QueueError;
  return new Refusal(status, code, withoutPaths(escapeControls(message)));
}

export interface ErrorBody {
  readonly error: { readonly code: string; readonly message: string };
}

export function bodyOf({ code, message }: Refusal): ErrorBody {
  return { error: { code, message } };
}

/** In quotes it ends with the second one, whatever it holds. */
const QUOTED = /(["'`])(?:file:\/\/)?(?:[A-Za-z]:)?[\\/](?:(?!\1).)*\1/;
/** Else a word without a quote, a colon or a semicolon is a part of it as long as a separator follows that word, or another. */
const BARE =
  /(?:file:\/\/|(?<![\w.~/\\…-]))(?:[A-Za-z]:)?(?:\\+|\/)(?:[^\s"'`\\/:;]+(?: +[^\s"'`\\/:;]+)*[\\/]+)+[^\s"'`\\/:;,()]*/;
const PATH = new RegExp(`${QUOTED.source}|${BARE.source}`, 'g');

/**
 * Where things lie on this machine is nobody's business: of an absolute path the last name is left. Names may have blanks in
 * them, so a path with another slash behind it, further on in the text, takes along the words between: rather too much goes than
 * half a path stays.
 */
export function withoutPaths(text: string): string {
  return text.replace(PATH, (path: string, mark = '') => {
    const bare: string = path.slice(mark.length, path.length - mark.length);
    const parts = bare.split(/[\\/]+/);
    // `/mails` names no place.
    return parts.length < 3 ? path : `${mark}…/${parts.at(-1)}${mark}`;
  });
}
