/** What a parent writes to the queue in the place of members that cannot any more. */
import { backoffDelay, type Backoff } from '../../backoff.ts';
import { mayPass, pause, pauseAfter } from '../trouble.ts';
import { noCounts } from './counts.ts';
import type { WorkerDied } from './evidence.ts';
import type { Held } from './protocol.ts';

/** What a crew's parent needs of a `QueueManager`. */
export interface CrewQueues {
  failMessage(
    queue: string,
    claim: Held,
    error: unknown,
    wish?: { final?: boolean; retryAt?: Date },
  ): Promise<boolean>;
  releaseMessage(queue: string, claim: Held): Promise<boolean>;
  reportDeath(queue: string, pid: number, evidence: unknown): Promise<number>;
}

export type SettlingEvent =
  /** A message whose handler did not end in time. `final`: it is kept as failed. */
  | { type: 'timedOut'; message: Held; final: boolean }
  /** Back in line, the try refunded. */
  | { type: 'released'; message: Held }
  /** The store refused. It is asked again after `pause` ms; without that, it is not asked again. */
  | { type: 'trouble'; during: string; error: unknown; pause?: number };

export interface SettlerOptions {
  queues: CrewQueues;
  queue: string;
  /** Must not throw. */
  onEvent: (event: SettlingEvent) => void;
}

/** A store that refuses is asked so often, which takes about 1.5 s; then the claims end by themselves. */
const MOST_REFUSALS = 5;
const NEVER = new AbortController().signal;

/** The try of a handler that neither ended in time nor heeded its signal. */
class TimeoutError extends Error {
  override readonly name = 'TimeoutError';
  readonly code = 'TIMEOUT';

  constructor(timeout: number, grace: number) {
    super(
      `the handler had not ended ${grace} ms after its timeout of ${timeout} ms, so its process was killed`,
    );
    // Where the parent made this says nothing.
    this.stack = '';
  }
}

export class Settler {
  /** Of what was settled here. */
  readonly counts = noCounts();
  readonly #options: SettlerOptions;

  constructor(options: SettlerOptions) {
    this.#options = options;
  }

  /** Resolves when the try counts as failed, or its claim has ended otherwise, or the store would not take it. */
  async timeOut(held: Held, backoff: Backoff, timeout: number, grace: number): Promise<void> {
    const { queues, queue, onEvent } = this.#options;
    const error = new TimeoutError(timeout, grace);
    const retryAt = new Date(Date.now() + backoffDelay(held.attempts, backoff, Math.random()));
    const failed = await this.#ask(`fail of message ${held.uuid}`, () =>
      queues.failMessage(queue, held, error, { retryAt }),
    );
    if (!failed) return;
    const final = held.attempts > held.retries;
    this.counts[final ? 'failed' : 'retried']++;
    onEvent({ type: 'timedOut', message: held, final });
  }

  async release(held: Held): Promise<void> {
    const { queues, queue, onEvent } = this.#options;
    const released = await this.#ask(`release of message ${held.uuid}`, () =>
      queues.releaseMessage(queue, held),
    );
    if (!released) return;
    this.counts.released++;
    onEvent({ type: 'released', message: held });
  }

  /** Resolves when what the process still held is back in line, with the evidence. */
  async reportDeath(pid: number, evidence: WorkerDied): Promise<void> {
    const { queues, queue } = this.#options;
    await this.#ask(`report of the death of process ${pid}`, () => queues.reportDeath(queue, pid, evidence));
  }

  async #ask<Answer>(during: string, ask: () => Promise<Answer>): Promise<Answer | undefined> {
    for (let refusals = 1; ; refusals++) {
      try {
        return await ask();
      } catch (error) {
        const again = mayPass(error) && refusals < MOST_REFUSALS;
        const wait = again ? { pause: pauseAfter(refusals) } : {};
        this.#options.onEvent({ type: 'trouble', during, error, ...wait });
        if (wait.pause === undefined) return undefined;
        await pause(wait.pause, NEVER);
      }
    }
  }
}
