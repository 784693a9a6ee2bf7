/** What a worker's loop tells while it works, and the numbers that it ends with. */
import type { Loss } from '../backend.ts';
import type { Claim } from '../message.ts';

/**
 * Each message that is `started` is followed by exactly one of `completed`, `failed`, `released` and `lost`, and by
 * `ended`, before or after that, when its handler ends; one that ignores its signal may outlive the loop.
 */
export type WorkerEvent =
  /** Its handler is about to be called. */
  | { type: 'started'; message: Claim }
  /** Its handler has returned or thrown; nothing of this try is running any more. */
  | { type: 'ended'; message: Claim }
  | { type: 'completed'; message: Claim; milliseconds: number }
  /** `final`: no try is left, or none was wanted; the message is kept as failed. */
  | { type: 'failed'; message: Claim; milliseconds: number; error: unknown; final: boolean }
  /** Back in line, the try refunded. Also of a message that was claimed as the loop was told to stop, and never started. */
  | { type: 'released'; message: Claim }
  /** The claim ended before the try did, and what the handler makes of it is discarded. */
  | { type: 'lost'; message: Claim; why: WhyLost }
  /** The store refused. It is asked again after `pause` ms; without that, it is not asked again. */
  | { type: 'trouble'; during: string; error: unknown; pause?: number }
  /** A hook of the worker threw, or did not end while the loop could wait for it. That changes nothing else. */
  | { type: 'hook'; hook: 'start' | 'stop' | 'failed'; error: unknown; message?: Claim };

/** `unsettled`: the store would not take how the try ended, so that the claim ends with its lease. */
export type WhyLost = Loss | 'unsettled';

/** Numbers of messages. */
export interface WorkerCounts {
  completed: number;
  /** Tries that failed and will be followed by another. */
  retried: number;
  /** Messages kept as failed. */
  failed: number;
  released: number;
  /** Claims that ended before their tries did, for any other reason than the next one. */
  lost: number;
  /** Messages that were cancelled or removed while they were being worked on. */
  cancelled: number;
}

export const NOTHING_DONE: Readonly<WorkerCounts> = Object.freeze({
  completed: 0,
  retried: 0,
  failed: 0,
  released: 0,
  lost: 0,
  cancelled: 0,
});
