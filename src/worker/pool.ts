/**
 * The handlers that run, never more than `concurrency`, and the claims behind them. Every claim that is handed in is
 * settled once: completed, failed, released, or found to have ended.
 */
import { performance } from 'node:perf_hooks';
import type { Claim, Json } from '../message.ts';
import { fitOf, type StandardSchema } from '../standard-schema.ts';
import type { WorkerCounts } from './events.ts';
import { SchemaError, TimeoutError } from './failures.ts';
import { Leases, type LeaseOptions, type Leasing } from './leases.ts';
import type { LogSink } from './log.ts';
import { Running } from './running.ts';
import { Settler, type SettlerOptions } from './settling.ts';
import { Task, type TaskOwner } from './task.ts';

export interface PoolOptions extends LeaseOptions, SettlerOptions {
  queues: Leasing;
  concurrency: number;
  /** Milliseconds; undefined: a try may take as long as it wants. */
  timeout: number | undefined;
  /** What every message's data must fit. */
  schema: StandardSchema | undefined;
  sink: LogSink;
  /** Called when a handler or a hook has ended, and when a settle has been answered. */
  onProgress: () => void;
}

/** How long an aborted handler may take to clean up before its message is released under it, in ms. */
export const GRACE = 1000;

export class Pool {
  readonly #options: PoolOptions;
  readonly #tasks = new Running();
  readonly #settler: Settler;
  readonly #leases: Leases;
  readonly #owner: TaskOwner;
  /** Wakes `stop`. */
  #awaited: (() => void) | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#settler = new Settler(options, () => this.#moved());
    const leases = new Leases(options, this.#tasks, this.#settler);
    this.#leases = leases;
    this.#owner = {
      queue: options.queue,
      sink: options.sink,
      renew: (task) => leases.renew(task),
      report: (task, word) => leases.report(task, word),
    };
  }

  get counts(): WorkerCounts {
    return this.#settler.counts;
  }

  /** How many handlers may start now. Unanswered settles and hooks that run are bounded by the concurrency too. */
  get free(): number {
    const { concurrency } = this.#options;
    if (this.#settler.unanswered > concurrency || this.#settler.hooks > concurrency) return 0;
    return concurrency - this.#tasks.size;
  }

  /** No handler or hook runs, and every settle has been answered. */
  get idle(): boolean {
    return this.#tasks.size === 0 && this.#settler.unanswered === 0 && this.#settler.hooks === 0;
  }

  /** Starts the handler; does not wait for it. */
  start(claim: Claim): void {
    const task = new Task(claim, this.#owner);
    this.#tasks.add(task);
    this.#options.onEvent({ type: 'started', message: claim });
    if (this.#options.timeout !== undefined) task.limit(this.#options.timeout);
    void this.#handle(task);
  }

  /** Gives back a claim that is not to be started. */
  release(claim: Claim): Promise<void> {
    return this.#settler.release(claim);
  }

  /**
   * Resolves when no claim is held any more. Waits for the handlers up to `deadline` ms or until `force` fires, aborts
   * those that still run, gives them a second to clean up, and releases the messages of those that have not ended; the
   * tries that had timed out before have failed. Such a handler may still be running afterwards. Hooks are waited for as
   * handlers are: up to the deadline, and for a second at least.
   */
  async stop(deadline: number, force: AbortSignal): Promise<void> {
    const begun = performance.now();
    await this.#until(() => this.#tasks.size === 0, deadline, force);
    for (const task of this.#tasks) task.stop();
    await this.#until(() => this.#tasks.size === 0, GRACE);
    this.#leases.close();
    this.#settler.giveUp();
    await Promise.all([...this.#tasks].map((task) => this.#abandon(task)));
    while (this.#settler.unanswered > 0) await this.#progress();
    const left = Math.max(GRACE, deadline - (performance.now() - begun));
    await this.#hooksEnd(left, force);
  }

  async #handle(task: Task): Promise<void> {
    const { worker, schema, onEvent } = this.#options;
    const { claim } = task;
    let thrown: { error: unknown } | undefined;
    try {
      if (schema) task.data = await fitted(task, schema);
      // A copy: what the handler does to its message must not stand in the way of settling it.
      const message = { ...claim };
      if (schema) message.data = task.data as Json;
      await worker.process(message, task.context);
    } catch (error) {
      thrown = { error };
    }
    const stage = task.end();
    onEvent({ type: 'ended', message: claim });
    if (!thrown) {
      // The slot is free before the answer, so that the next claim goes out together with this settle.
      this.#ended(task);
      if (stage !== 'over') void this.#settler.complete(task);
      return;
    }
    // What has failed or was released may be the next in line again: its slot stays taken until the answer.
    if (stage === 'running') await this.#settler.fail(task, this.#causeOf(task, thrown.error));
    else if (stage === 'stopping') await this.#settler.release(claim);
    this.#ended(task);
  }

  /** Why a try has failed. The first cause wins: what a handler throws once its time is up is a consequence. */
  #causeOf(task: Task, thrown: unknown): unknown {
    if (!task.timedOut) return thrown;
    return new TimeoutError(
      this.#options.timeout ?? 0,
      thrown === task.abortion ? undefined : { cause: thrown },
    );
  }

  /** Settles the claim of a handler that has not ended although it was told to. */
  async #abandon(task: Task): Promise<void> {
    const stage = task.end();
    if (stage === 'stopping') await this.#settler.release(task.claim);
    else if (stage === 'running') await this.#settler.fail(task, this.#causeOf(task, task.abortion));
  }

  async #hooksEnd(milliseconds: number, force: AbortSignal): Promise<void> {
    const done = (): boolean => this.#settler.hooks === 0;
    await this.#until(done, milliseconds, force);
    if (force.aborted) await this.#until(done, GRACE);
    if (done()) return;
    const error = new Error(`${this.#settler.hooks} of its calls had not ended when the worker did`);
    this.#options.onEvent({ type: 'hook', hook: 'failed', error });
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

  /** Resolves when it is done, after that time, or when the signal fires. */
  async #until(done: () => boolean, milliseconds: number, force?: AbortSignal): Promise<void> {
    if (done() || force?.aborted) return;
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), milliseconds);
    const cut = (): void => limit.abort();
    force?.addEventListener('abort', cut, { once: true });
    limit.signal.addEventListener('abort', () => this.#awaited?.(), { once: true });
    while (!done() && !limit.signal.aborted) await this.#progress();
    force?.removeEventListener('abort', cut);
    clearTimeout(timer);
  }
}

/** What the schema makes of the data. Rejects when the data does not fit, and when the try was ended meanwhile. */
async function fitted({ claim, context }: Task, schema: StandardSchema): Promise<unknown> {
  const fit = await fitOf(schema, claim.data);
  context.signal.throwIfAborted();
  if ('issues' in fit) throw new SchemaError(fit.issues);
  return fit.value;
}
