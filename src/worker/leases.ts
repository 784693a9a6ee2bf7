/**
 * Keeps the claims of running handlers, and finds out which have ended under them. A claim lives as long as its
 * handler: all are renewed together at a third of the lease, by one timer. Handlers that have run for a while are asked
 * about twice a second, in one question for all, so that one whose message was cancelled is told within a second.
 */
import { performance } from 'node:perf_hooks';
import type { Loss } from '../backend.ts';
import type { Claim } from '../message.ts';
import type { WorkerEvent } from './events.ts';
import type { Word } from './progress.ts';
import type { Running } from './running.ts';
import { isGone, type Settler, type Settling } from './settling.ts';
import type { Task } from './task.ts';

/** What leases need of a `QueueManager`. */
export interface Leasing extends Settling {
  renewMessage(queue: string, claim: Claim, lease?: number): Promise<boolean>;
  reportProgress(
    queue: string,
    claim: Claim,
    progress: { percent: number; text: string; lease: number },
  ): Promise<boolean>;
}

export interface LeaseOptions {
  queues: Leasing;
  queue: string;
  /** Milliseconds. */
  lease: number;
  onEvent: (event: WorkerEvent) => void;
}

/** Milliseconds between two looks at which claims have ended. */
const LOOK = 500;
/** A handler is asked about from this age on, in ms: so the longest that it is not told of a cancel is 750 ms. */
const YOUNGEST = 250;

export class Leases {
  readonly #options: LeaseOptions;
  readonly #tasks: Running;
  readonly #settler: Settler;
  readonly #timers: readonly NodeJS.Timeout[];
  #renewing = false;
  #looking = false;
  /** The last look was refused. */
  #blind = false;
  /** The tries whose progress the store has refused, which is told once. */
  readonly #mute = new WeakSet<Task>();

  /** @param tasks those that run; read at each round. */
  constructor(options: LeaseOptions, tasks: Running, settler: Settler) {
    this.#options = options;
    this.#tasks = tasks;
    this.#settler = settler;
    this.#timers = [
      setInterval(() => void this.#renewAll(), options.lease / 3),
      setInterval(() => void this.#look(), LOOK),
    ];
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  /** False: the claim had ended, and the handler has been told. Rejects when the store refuses. */
  renew(task: Task): Promise<boolean> {
    const { queues, queue, lease } = this.#options;
    return this.#extend(task, () => queues.renewMessage(queue, task.claim, lease));
  }

  /** Writes how far a try has come, which renews its claim too. Never rejects: no handler fails for it. */
  async report(task: Task, word: Word): Promise<void> {
    const { queues, queue, lease } = this.#options;
    try {
      await this.#extend(task, () => queues.reportProgress(queue, task.claim, { ...word, lease }));
      this.#mute.delete(task);
    } catch (error) {
      if (this.#mute.has(task)) return;
      this.#mute.add(task);
      this.#trouble(`progress of message ${task.claim.uuid}`, error);
    }
  }

  async #extend(task: Task, ask: () => Promise<boolean>): Promise<boolean> {
    if (task.stage === 'over') return false;
    const askedAt = performance.now();
    const held = await ask();
    if (held) task.leasedAt = askedAt;
    else this.#lose(task, await this.#settler.whyLost(task.claim));
    return held;
  }

  /** One round at a time: a store that answers slowly is not asked again meanwhile. */
  async #renewAll(): Promise<void> {
    if (this.#renewing) return;
    this.#renewing = true;
    await Promise.all(
      this.#running().map(async (task) => {
        try {
          await this.renew(task);
        } catch (error) {
          this.#trouble(`renewal of message ${task.claim.uuid}`, error);
          if (performance.now() - task.leasedAt > this.#options.lease) this.#lose(task, 'lapsed');
        }
      }),
    );
    this.#renewing = false;
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    const { queues, queue } = this.#options;
    const now = performance.now();
    const tasks = this.#running().filter(({ startedAt }) => now - startedAt >= YOUNGEST);
    if (tasks.length === 0) return;
    this.#looking = true;
    try {
      const claims = tasks.map(({ claim }) => claim);
      const losses = await queues.lostClaims(queue, claims);
      for (const task of tasks) {
        const why = losses.get(task.claim.token);
        if (why) this.#lose(task, why);
      }
      this.#blind = false;
    } catch (error) {
      if (isGone(error)) for (const task of tasks) this.#lose(task, 'cancelled');
      else if (!this.#blind) this.#trouble('look for cancelled messages', error, LOOK);
      this.#blind = true;
    }
    this.#looking = false;
  }

  /** Does nothing when the handler has ended meanwhile: then the answer to its settle tells. */
  #lose(task: Task, why: Loss): void {
    if (task.stage === 'over') return;
    task.end();
    if (why === 'cancelled') task.abort('CANCELLED', 'the message was cancelled or removed');
    else task.abort('LEASE_LOST', 'the claim on this message has ended');
    this.#settler.lost(task.claim, why);
  }

  #running(): Task[] {
    return [...this.#tasks].filter(({ stage }) => stage !== 'over');
  }

  #trouble(during: string, error: unknown, pause?: number): void {
    this.#options.onEvent({ type: 'trouble', during, error, ...(pause === undefined ? {} : { pause }) });
  }
}
