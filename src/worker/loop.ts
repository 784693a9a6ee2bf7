/**
 * A worker's loop: claim as many messages as handlers are free, hand them to the pool, wait when there are none.
 * One claim is under way at a time, so what becomes free meanwhile is claimed in one go; nothing is claimed that
 * could not start at once. The store's refusals are reported and waited out; nothing ends the loop silently.
 */
import type { Claim } from '../message.ts';
import type { QueueStatus } from '../backend.ts';
import type { Config } from '../config.ts';
import type { LogSink } from './log.ts';
import { NOTHING_DONE, type WorkerCounts, type WorkerEvent } from './events.ts';
import { Hooks } from './hooks.ts';
import type { Leasing } from './leases.ts';
import { mannerOf, type Manner } from './manner.ts';
import { Pool } from './pool.ts';
import { mayPass, pause, pauseAfter } from './trouble.ts';
import type { Worker } from './worker.ts';

/** What the loop needs of a `QueueManager`. */
export interface WorkerQueues extends Leasing {
  createQueue(queue: string): Promise<boolean>;
  claimMessages(queue: string, options: { limit: number; lease: number }): Promise<Claim[]>;
  queueStatus(queue: string): Promise<QueueStatus>;
  waitForMessage(queue: string, options: { signal: AbortSignal; timeout?: number }): Promise<boolean>;
}

export interface LoopOptions {
  queues: WorkerQueues;
  /** Created when it does not exist. */
  queue: string;
  worker: Worker;
  /** What `start` is shown, and where the backoff comes from that the worker does not name. */
  config: Config;
  /** How many handlers run at once. At 1, messages are processed strictly in order. */
  concurrency: number;
  /** Milliseconds. */
  lease: number;
  /** Milliseconds that handlers may go on after `stop` before they are aborted. */
  stopDeadline: number;
  /** End when nothing is ready, nor held by any worker. */
  drain: boolean;
  /** Milliseconds that a try may take before its signal fires; no limit when absent. */
  timeout?: number | undefined;
  /**
   * End after that many tries: handlers called, whatever came of them, so that a message which is tried twice counts
   * twice. Nothing is claimed beyond it. No limit when absent.
   */
  limit?: number | undefined;
  /** Fires: claim nothing more, let the handlers end. */
  stop: AbortSignal;
  /** Fires after `stop`: the deadline is now. */
  force: AbortSignal;
  sink: LogSink;
  /** Must not throw. */
  onEvent: (event: WorkerEvent) => void;
}

export interface LoopReport extends WorkerCounts {
  /** `paused`: draining ended because the queue is paused. */
  ended: 'drained' | 'paused' | 'stopped' | 'limit';
}

/** A message that another worker completes wakes nobody, so draining looks again after this long; ms. */
const DRAIN_POLL = 250;
/** Draining gives up on a store that has refused this often in a row (about three seconds). */
const DRAIN_REFUSALS = 6;

/**
 * Runs until `stop` fires, the limit is reached or, when draining, until there is nothing left to do; resolves when no
 * claim is held and the worker's hooks have ended.
 * Rejects with WORKER_FAILED before anything is claimed when the worker cannot begin; and when the store refuses in a
 * way that waiting does not mend (QUEUE_DESTROYED, JOURNAL_CORRUPT, CLOSED, …; when draining also STORAGE_FAILED and
 * STORAGE_FULL that last): the handlers have been aborted by then, and their messages released as far as the store
 * would take it.
 */
export async function runLoop(options: LoopOptions): Promise<LoopReport> {
  const manner = mannerOf(options.worker, options.config, options.queue);
  await options.queues.createQueue(options.queue);
  const hooks = new Hooks(options);
  if (!(await hooks.start())) return { ended: 'stopped', ...NOTHING_DONE };
  try {
    return await new Loop(options, manner).run();
  } finally {
    await hooks.stop();
  }
}

class Loop {
  readonly #options: LoopOptions;
  readonly #pool: Pool;
  /** Tries that may still begin. */
  #left: number;
  /** Ends the wait that is under way. */
  #wait = new AbortController();
  /** What the loop waits for in its own process. */
  #awaited: { ready: () => boolean; resolve: () => void } | undefined;
  #refusals = 0;
  #vainWakes = 0;

  constructor(options: LoopOptions, manner: Manner) {
    this.#options = options;
    this.#left = options.limit ?? Number.POSITIVE_INFINITY;
    const { timeout } = options;
    this.#pool = new Pool({ ...options, ...manner, timeout, onProgress: () => this.#onProgress() });
  }

  async run(): Promise<LoopReport> {
    const { stopDeadline, stop, force } = this.#options;
    const wake = (): void => {
      this.#awaited?.resolve();
      this.#wait.abort();
    };
    stop.addEventListener('abort', wake);
    try {
      const ended = await this.#work();
      await this.#pool.stop(stopDeadline, force);
      return { ended, ...this.#pool.counts };
    } catch (error) {
      await this.#pool.stop(0, force);
      throw error;
    } finally {
      stop.removeEventListener('abort', wake);
    }
  }

  async #work(): Promise<LoopReport['ended']> {
    const { drain, stop } = this.#options;
    while (!stop.aborted) {
      try {
        if (this.#left <= 0) {
          if (this.#pool.idle) return 'limit';
          await this.#until(this.#isIdle);
          continue;
        }
        if (await this.#claim()) continue;
        if (drain && this.#pool.idle) {
          const ended = await this.#drained();
          if (ended) return ended;
        }
        await this.#waitForMessage();
        this.#refusals = 0;
      } catch (error) {
        await this.#refused(error);
      }
    }
    return 'stopped';
  }

  /** False: handlers are free, and there was nothing for them. */
  async #claim(): Promise<boolean> {
    const { queues, queue, lease, stop } = this.#options;
    const limit = Math.min(this.#pool.free, this.#left);
    if (limit === 0) {
      await this.#until(this.#isFree);
      return true;
    }
    const claims = await queues.claimMessages(queue, { limit, lease });
    for (const claim of claims) {
      if (stop.aborted) void this.#pool.release(claim);
      else {
        this.#left--;
        this.#pool.start(claim);
      }
    }
    if (claims.length > 0) this.#refusals = this.#vainWakes = 0;
    return claims.length > 0;
  }

  async #drained(): Promise<'drained' | 'paused' | undefined> {
    const { counts, paused } = await this.#options.queues.queueStatus(this.#options.queue);
    if (counts.ready === 0 && counts.claimed === 0) return 'drained';
    return paused && counts.claimed === 0 ? 'paused' : undefined;
  }

  async #waitForMessage(): Promise<void> {
    const { queues, queue, drain, stop } = this.#options;
    if (stop.aborted) return;
    this.#wait = new AbortController();
    const { signal } = this.#wait;
    // Other workers may be quicker each time; then this one must not spin on their leavings.
    if (this.#vainWakes > 2) await pause(Math.min(100, 2 ** this.#vainWakes), signal);
    const woken = await queues.waitForMessage(queue, drain ? { signal, timeout: DRAIN_POLL } : { signal });
    this.#vainWakes = woken ? this.#vainWakes + 1 : 0;
  }

  async #refused(error: unknown): Promise<void> {
    const { drain, stop, onEvent } = this.#options;
    if (!mayPass(error) || (drain && this.#refusals + 1 >= DRAIN_REFUSALS)) throw error;
    const milliseconds = pauseAfter(++this.#refusals);
    onEvent({ type: 'trouble', during: 'claim', error, pause: milliseconds });
    await pause(milliseconds, stop);
  }

  readonly #isFree = (): boolean => this.#pool.free > 0;
  readonly #isIdle = (): boolean => this.#pool.idle;

  /** Resolves when the pool has come so far, or the loop is to stop. */
  #until(ready: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#awaited = { ready, resolve };
    });
  }

  #onProgress(): void {
    if (this.#awaited?.ready()) {
      const { resolve } = this.#awaited;
      this.#awaited = undefined;
      // After the microtasks: handlers that end together free their slots for one claim.
      process.nextTick(resolve);
    }
    if (this.#options.drain && this.#pool.idle) this.#wait.abort();
  }
}
