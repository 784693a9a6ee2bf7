/**
 * What a crew's parent and its members say to each other, as JSON: see `line.ts` for the two ways it goes. A member tells of what it holds before it works on it: a handler that blocks its event loop for ever
 * lets it say nothing more.
 */
import { QueueError, type QueueErrorCode } from '../../errors.ts';
import type { Claim } from '../../message.ts';
import type { WorkerCounts } from '../events.ts';
import type { LoopReport } from '../loop.ts';

/** How a member is told what it is: an environment variable, taken out again before any worker could pass it on. */
export const ASSIGNMENT = 'QUEUE_WORKER_MEMBER';

export interface Assignment {
  /** The pid of the parent. */
  parent: number;
  /** Of how many tries is the rest of its work; without, there is no end to it. */
  limit?: number | undefined;
  /** What leads to the parent: the channel that Node opens between a process and its child, or pipes as its descriptors 3 and 4. */
  line: 'ipc' | 'pipe';
  /** Whether to tell of each message. It costs a write and a read of some 100 bytes a message. */
  tellsEach: boolean;
  /**
   * The parent's configuration, as `environmentOf` makes it: the file may be wrong by the time a member is started, or not be
   * meant yet. Without, it is in the environment.
   */
  settings?: Readonly<Record<string, string>>;
}

export type Order = { type: 'stop' } | { type: 'force' };

/** A claim, as far as it takes to settle it. */
export type Held = Pick<Claim, 'uuid' | 'alias' | 'token' | 'attempts' | 'retries'>;

/** What has changed in a member's hand since it last told, in this order. Tokens, where a message is known by then. */
export interface Moves {
  /** Its handler has returned or thrown. */
  ended?: string[];
  /** Not held any more. */
  settled?: string[];
  /** Held now, and not begun. */
  claimed?: Held[];
  /** Its handler is about to be called. */
  started?: string;
}

export type Told =
  /** The worker is loaded and has started; with its own backoff, for tries that the parent fails in its place. Bytes. */
  | { type: 'ready'; backoff?: number | undefined; backoffMax?: number | undefined; memory: number }
  | ({ type: 'moves' } & Moves)
  /** The numbers so far; now and then. */
  | { type: 'counts'; counts: WorkerCounts }
  /** The end of its work. */
  | { type: 'report'; report: LoopReport }
  /** Likewise: it cannot begin, or cannot go on. */
  | { type: 'refused'; error: Refusal };

export interface Refusal {
  message: string;
  /** Set where it was a QueueError. */
  code?: QueueErrorCode | undefined;
  queue?: string | undefined;
  path?: string | undefined;
  stack?: string | undefined;
}

export function toHeld({ uuid, alias, token, attempts, retries }: Claim): Held {
  return { uuid, alias, token, attempts, retries };
}

export function toRefusal(error: unknown): Refusal {
  if (error instanceof QueueError) {
    const { message, code, queue, path } = error;
    return { message, code, queue, path };
  }
  return error instanceof Error ? { message: error.message, stack: error.stack } : { message: String(error) };
}

/** The error as the member met it, but for its cause. */
export function fromRefusal({ message, code, queue, path, stack }: Refusal): Error {
  if (code !== undefined) {
    return new QueueError(code, message, {
      ...(queue === undefined ? {} : { queue }),
      ...(path === undefined ? {} : { path }),
    });
  }
  const error = new Error(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}
