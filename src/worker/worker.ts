/** What the author of a worker sees: the class to extend, the context of one try, and the errors with a meaning. */
import type { Json, Message } from '../message.ts';
import type { Config } from '../config.ts';
import type { StandardSchema } from '../standard-schema.ts';
import type { Log } from './log.ts';

/**
 * Processes the messages of one type. One instance serves a whole worker process, and with a concurrency above 1
 * several `process` calls at once.
 */
export abstract class Worker<T = Json> {
  // Declared only: a field of this class would hide a `get schema()` of a JavaScript worker.

  /** Milliseconds between a first failed try and the next, doubled with each further one; instead of the configuration's. */
  declare readonly backoff?: number;
  /** Milliseconds that no such wait exceeds; instead of the configuration's. */
  declare readonly backoffMax?: number;
  /**
   * A Standard Schema (zod, valibot, arktype, …) that each message's data must fit: `process` is given what the schema
   * makes of it. A message that does not fit fails for good, with the reasons.
   */
  declare readonly schema?: StandardSchema<unknown, T>;

  /** Called once before the first message; when it throws, nothing is claimed, and the worker process ends with that error. */
  start?(context: StartContext): Promise<void> | void;

  /**
   * Called once when no handler runs any more and no claim is held, however the work ended, if `start` had succeeded.
   * What it throws is logged. (A handler that ignores its signal after the stop deadline may still be running.)
   */
  stop?(): Promise<void> | void;

  /**
   * Called after a try has failed and that is recorded, while the next message is being worked on; the worker does not
   * end before it has. `message` is as it was claimed, its data as the schema made it if it fits. What this throws is
   * logged. Not called for a try that ended with its process.
   */
  failed?(message: Message<T>, error: unknown, fate: { final: boolean }): Promise<void> | void;

  /**
   * Handles one message. When it resolves, the message is completed and gone; when it throws, the try has failed and
   * the message is tried again after a growing wait, up to `message.retries` more times, then kept as failed.
   * A message may be delivered again after a crash, so processing one twice must do no harm.
   */
  abstract process(message: Message<T>, context: WorkerContext): Promise<void> | void;
}

/** What a worker is given before its first message. */
export interface StartContext {
  readonly queue: string;
  /** The configuration in force, frozen. */
  readonly config: Config;
  readonly log: Log;
  /** Fires when the worker is told to stop, and before `stop` is called; its reason is a `HandlerAborted`. */
  readonly signal: AbortSignal;
}

/** What belongs to one try of one message. */
export interface WorkerContext {
  /** Fires when going on is of no use; its reason is a `HandlerAborted`. */
  readonly signal: AbortSignal;
  /** The number of this try, from 1. */
  readonly attempt: number;
  /** Each line names the message. */
  readonly log: Log;
  /**
   * Begins the lease anew. Not needed for waiting: the worker renews by itself at a third of the lease; but a handler
   * that blocks the event loop for long can renew before it does. False: the claim had ended meanwhile, the message may
   * be with another worker, and what this try results in is discarded. Errors: STORAGE_FAILED.
   */
  readonly renew: () => Promise<boolean>;
  /**
   * Says how far this try has come, for `queue show` and `queue watch`: percent (cut to 0 … 100), and words of up to
   * 1 KiB (more are cut). Call it as often as you like: it returns at once, and the last word of each half second is
   * written; a try that is shorter than that writes none.
   */
  readonly progress: (percent: number, text?: string) => void;
}

/** Why a handler was told to end. */
export type AbortCode =
  /** The claim has ended: its lease ran out. Whatever the handler does now is discarded. */
  | 'LEASE_LOST'
  /** The worker is stopping and its deadline has passed; the message goes back in line, its try refunded. */
  | 'STOPPING'
  /** The try has taken longer than the worker's timeout; it has failed unless the handler still succeeds. */
  | 'TIMEOUT'
  /** The message was cancelled or removed. Whatever the handler does now is discarded. */
  | 'CANCELLED';

/** The reason of the signal in a handler's context. */
export class HandlerAborted extends Error {
  override readonly name = 'HandlerAborted';
  readonly code: AbortCode;

  constructor(code: AbortCode, message: string) {
    super(message);
    this.code = code;
  }
}

// A worker file may come with its own copy of this module, so that `instanceof` would not know its errors.
const FINAL = Symbol.for('coda-queue.FinalError');
const RETRY_AT = Symbol.for('coda-queue.RetryAt');

/** Thrown by a handler: this message will never succeed. It goes to *failed* at once, whatever tries are left. */
export class FinalError extends Error {
  override readonly name: string = 'FinalError';
  readonly [FINAL] = true;
}

/** Thrown by a handler: a failed try like any other, but the next one begins at `date` and not after the usual wait. */
export class RetryAt extends Error {
  override readonly name: string = 'RetryAt';
  readonly [RETRY_AT]: Date;

  constructor(date: Date, message = `to be tried again at ${inWords(date)}`, options?: ErrorOptions) {
    super(message, options);
    this[RETRY_AT] = date;
  }
}

/** What a thrown value asks for beyond "this try has failed". A RetryAt without a valid date asks for nothing. */
export function wishOf(thrown: unknown): { final?: true; retryAt?: Date } {
  if (typeof thrown !== 'object' || thrown === null) return {};
  try {
    if (FINAL in thrown) return { final: true };
    const date = RETRY_AT in thrown ? thrown[RETRY_AT] : undefined;
    return date instanceof Date && !Number.isNaN(date.getTime()) ? { retryAt: date } : {};
  } catch {
    // A proxy that does not like to be looked at.
    return {};
  }
}

function inWords(date: Date): string {
  return Number.isNaN(date.getTime()) ? 'an invalid date' : date.toISOString();
}
