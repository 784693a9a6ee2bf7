/**
 * The handlers that run, never more than `concurrency`, and the claims behind them. Every claim that is handed in is
 * settled once: completed, failed, released, or found to have ended. A claim lives as long as its handler: all are
 * renewed together at a third of the lease, by one timer.
 */
import { performance } from 'node:perf_hooks';
import type { Claim } from '../message.ts';
import type { LogSink } from './log.ts';
import { Task } from './task.ts';
import { mayPass, pause, pauseAfter } from './trouble.ts';
import { wishOf, type Worker } from './worker.ts';

/** What the pool needs of a `QueueManager`. */
export interface Settling {
  completeMessage(queue: string, claim: Claim): Promise<boolean>;
  failMessage(
    queue: string,
    claim: Claim,
    error: unknown,
    wish?: { final?: boolean; retryAt?: Date },
  ): Promise<boolean>;
  releaseMessage(queue: string, claim: Claim): Promise<boolean>;
  renewMessage(queue: string, claim: Claim, lease?: number): Promise<boolean>;
}

export type WorkerEvent =
  | { type: 'completed'; message: Claim; milliseconds: number }
  /** `final`: no try is left, or none was wanted; the message is kept as failed. */
  | { type: 'failed'; message: Claim; milliseconds: number; error: unknown; final: boolean }
  | { type: 'released'; message: Claim }
  /** The claim had ended before its handler did; the result was discarded. */
  | { type: 'lost'; message: Claim }
  /** The store refused. It is asked again after `pause` ms; without that, it is not asked again. */
  | { type: 'trouble'; during: string; error: unknown; pause?: number };

/** Numbers of messages. */
export interface WorkerCounts {
  completed: number;
  /** Tries that failed and will be followed by another. */
  retried: number;
  /** Messages kept as failed. */
  failed: number;
  released: number;
  lost: number;
}

export interface PoolOptions {
  queues: Settling;
  queue: string;
  worker: Worker;
  concurrency: number;
  /** Milliseconds. */
  lease: number;
  sink: LogSink;
  onEvent: (event: WorkerEvent) => void;
  /** Called when a handler has ended, and when a settle has been answered. */
  onProgress: () => void;
}

/** How long an aborted handler may take to clean up before its message is released under it, in ms. */
const GRACE = 1000;

export class Pool {
  readonly counts: WorkerCounts = { completed: 0, retried: 0, failed: 0, released: 0, lost: 0 };
  readonly #options: PoolOptions;
  readonly #tasks = new Set<Task>();
  readonly #renewal: NodeJS.Timeout;
  /** Fires when refused settles are not to be repeated any longer. */
  readonly #giveUp = new AbortController();
  #renewing = false;
  #settling = 0;
  /** Wakes `stop`. */
  #awaited: (() => void) | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#renewal = setInterval(() => void this.#renewAll(), options.lease / 3);
  }

  /** How many handlers may start now. Unanswered settles of completed messages are bounded by the concurrency too. */
  get free(): number {
    const { concurrency } = this.#options;
    return this.#settling > concurrency ? 0 : concurrency - this.#tasks.size;
  }

  /** No handler runs and every settle has been answered. */
  get idle(): boolean {
    return this.#tasks.size === 0 && this.#settling === 0;
  }

  /** Starts the handler; does not wait for it. */
  start(claim: Claim): void {
    const task = new Task(claim, this.#options.queue, this.#options.sink, (task) => this.#renew(task));
    this.#tasks.add(task);
    void this.#handle(task);
  }

  /** Gives back a claim whose handler has not succeeded, or not even started. */
  async release(claim: Claim): Promise<void> {
    const { queues, queue, onEvent } = this.#options;
    if (await this.#settle(claim, 'release', () => queues.releaseMessage(queue, claim))) {
      this.counts.released++;
      onEvent({ type: 'released', message: claim });
    }
  }

  /**
   * Resolves when no claim is held any more. Waits for the handlers up to `deadline` ms or until `force` fires, aborts
   * those that still run, gives them a second to clean up, and releases the messages of those that have not ended.
   * Such a handler may still be running afterwards.
   */
  async stop(deadline: number, force: AbortSignal): Promise<void> {
    await this.#handlersEnd(deadline, force);
    for (const task of this.#tasks) {
      if (task.stage === 'running') task.stage = 'stopping';
      task.abort('STOPPING', 'the worker is stopping');
    }
    await this.#handlersEnd(GRACE);
    clearInterval(this.#renewal);
    const releases = [...this.#tasks].filter((task) => task.stage === 'stopping');
    for (const task of releases) task.stage = 'over';
    this.#giveUp.abort();
    await Promise.all(releases.map((task) => this.release(task.claim)));
    while (this.#settling > 0) await this.#progress();
  }

  async #handle(task: Task): Promise<void> {
    let thrown: { error: unknown } | undefined;
    try {
      // A copy: what the handler does to its message must not stand in the way of settling it.
      await this.#options.worker.process({ ...task.claim }, task.context);
    } catch (error) {
      thrown = { error };
    }
    const { stage } = task;
    task.stage = 'over';
    if (!thrown) {
      // The slot is free before the answer, so that the next claim goes out together with this settle.
      this.#ended(task);
      if (stage !== 'over') await this.#complete(task);
      return;
    }
    // What has failed or was released may be the next in line again: its slot stays taken until the answer.
    if (stage === 'running') await this.#fail(task, thrown.error);
    else if (stage === 'stopping') await this.release(task.claim);
    this.#ended(task);
  }

  async #complete({ claim, startedAt }: Task): Promise<void> {
    const { queues, queue, onEvent } = this.#options;
    const milliseconds = performance.now() - startedAt;
    if (await this.#settle(claim, 'complete', () => queues.completeMessage(queue, claim))) {
      this.counts.completed++;
      onEvent({ type: 'completed', message: claim, milliseconds });
    }
  }

  async #fail({ claim, startedAt }: Task, error: unknown): Promise<void> {
    const { queues, queue, onEvent } = this.#options;
    const milliseconds = performance.now() - startedAt;
    const wish = wishOf(error);
    if (await this.#settle(claim, 'fail', () => queues.failMessage(queue, claim, error, wish))) {
      const final = wish.final === true || claim.attempts > claim.retries;
      if (final) this.counts.failed++;
      else this.counts.retried++;
      onEvent({ type: 'failed', message: claim, milliseconds, error, final });
    }
  }

  /** True: settled; false: the claim had ended, or the store would not take the settle. Both have been reported. */
  async #settle(claim: Claim, what: string, ask: () => Promise<boolean>): Promise<boolean> {
    this.#settling++;
    try {
      for (let refusals = 1; ; refusals++) {
        try {
          if (await ask()) return true;
          this.#report({ type: 'lost', message: claim });
          return false;
        } catch (error) {
          const again = mayPass(error) && !this.#giveUp.signal.aborted;
          const wait = again ? { pause: pauseAfter(refusals) } : {};
          this.#report({ type: 'trouble', during: `${what} of message ${claim.uuid}`, error, ...wait });
          if (wait.pause === undefined) return false;
          await pause(wait.pause, this.#giveUp.signal);
        }
      }
    } finally {
      this.#settling--;
      this.#moved();
    }
  }

  /** One round at a time: a store that answers slowly is not asked again meanwhile. */
  async #renewAll(): Promise<void> {
    if (this.#renewing) return;
    this.#renewing = true;
    const live = [...this.#tasks].filter((task) => task.stage !== 'over');
    await Promise.all(
      live.map(async (task) => {
        try {
          await this.#renew(task);
        } catch (error) {
          this.#report({ type: 'trouble', during: `renewal of message ${task.claim.uuid}`, error });
          if (performance.now() - task.leasedAt > this.#options.lease) this.#lose(task);
        }
      }),
    );
    this.#renewing = false;
  }

  async #renew(task: Task): Promise<boolean> {
    if (task.stage === 'over') return false;
    const { queues, queue, lease } = this.#options;
    const askedAt = performance.now();
    const held = await queues.renewMessage(queue, task.claim, lease);
    if (held) task.leasedAt = askedAt;
    else this.#lose(task);
    return held;
  }

  /** Does nothing when the handler has ended meanwhile: then the answer to its settle tells. */
  #lose(task: Task): void {
    if (task.stage === 'over') return;
    task.stage = 'over';
    task.abort('LEASE_LOST', 'the claim on this message has ended');
    this.#report({ type: 'lost', message: task.claim });
  }

  #report(event: WorkerEvent): void {
    if (event.type === 'lost') this.counts.lost++;
    this.#options.onEvent(event);
  }

  #ended(task: Task): void {
    this.#tasks.delete(task);
    this.#moved();
  }

  #moved(): void {
    this.#awaited?.();
    this.#options.onProgress();
  }

  #progress(): Promise<void> {
    return new Promise((resolve) => {
      this.#awaited = resolve;
    });
  }

  async #handlersEnd(milliseconds: number, force?: AbortSignal): Promise<void> {
    if (this.#tasks.size === 0 || force?.aborted) return;
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), milliseconds);
    const cut = (): void => limit.abort();
    force?.addEventListener('abort', cut, { once: true });
    limit.signal.addEventListener('abort', () => this.#awaited?.(), { once: true });
    while (this.#tasks.size > 0 && !limit.signal.aborted) await this.#progress();
    force?.removeEventListener('abort', cut);
    clearTimeout(timer);
  }
}
