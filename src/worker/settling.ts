/**
 * How tries end: each claim is settled once, and what came of it is counted and told. A store that refuses for a
 * while is asked again; a claim that ended before its try did is looked into, for whether somebody cancelled it.
 */
import { performance } from 'node:perf_hooks';
import type { Loss } from '../backend.ts';
import { backoffDelay, type Backoff } from '../backoff.ts';
import { QueueError } from '../errors.ts';
import type { Claim, Message } from '../message.ts';
import { NOTHING_DONE, type WhyLost, type WorkerCounts, type WorkerEvent } from './events.ts';
import type { Task } from './task.ts';
import { mayPass, pause, pauseAfter } from './trouble.ts';
import { wishOf, type Worker } from './worker.ts';

/** What settling needs of a `QueueManager`. */
export interface Settling {
  completeMessage(queue: string, claim: Claim): Promise<boolean>;
  failMessage(
    queue: string,
    claim: Claim,
    error: unknown,
    wish?: { final?: boolean; retryAt?: Date },
  ): Promise<boolean>;
  releaseMessage(queue: string, claim: Claim): Promise<boolean>;
  lostClaims(queue: string, claims: readonly Claim[]): Promise<ReadonlyMap<string, Loss>>;
}

export interface SettlerOptions {
  queues: Settling;
  queue: string;
  worker: Worker;
  /** The worker's own; without it the manager's holds. */
  backoff: Backoff | undefined;
  onEvent: (event: WorkerEvent) => void;
}

/** The last moment that a Date can name. */
const LAST_DATE = 8.64e15;

export class Settler {
  readonly counts: WorkerCounts = { ...NOTHING_DONE };
  readonly #options: SettlerOptions;
  readonly #moved: () => void;
  /** Fires when refused settles are not to be repeated any longer. */
  readonly #giveUp = new AbortController();
  #unanswered = 0;
  #hooks = 0;

  /** @param moved called when a settle has been answered, and when a hook has ended. */
  constructor(options: SettlerOptions, moved: () => void) {
    this.#options = options;
    this.#moved = moved;
  }

  /** Settles that the store has not answered. */
  get unanswered(): number {
    return this.#unanswered;
  }

  /** Calls of the worker's `failed` that have not ended. */
  get hooks(): number {
    return this.#hooks;
  }

  /** What the store refuses from now on is not repeated. */
  giveUp(): void {
    this.#giveUp.abort();
  }

  complete({ claim, startedAt }: Task): Promise<void> {
    const { queues, queue, onEvent } = this.#options;
    const milliseconds = performance.now() - startedAt;
    return this.#settle(
      claim,
      'complete',
      () => queues.completeMessage(queue, claim),
      () => {
        this.counts.completed++;
        onEvent({ type: 'completed', message: claim, milliseconds });
      },
    );
  }

  /** Resolves when the failure is recorded; the worker's `failed` runs beside what follows. */
  fail(task: Task, error: unknown): Promise<void> {
    const { claim, startedAt } = task;
    const { queues, queue, worker, onEvent } = this.#options;
    const milliseconds = performance.now() - startedAt;
    const wish = this.#wishOf(error, claim.attempts);
    return this.#settle(
      claim,
      'fail',
      () => queues.failMessage(queue, claim, error, wish),
      () => {
        const final = wish.final === true || claim.attempts > claim.retries;
        if (final) this.counts.failed++;
        else this.counts.retried++;
        onEvent({ type: 'failed', message: claim, milliseconds, error, final });
        if (worker.failed) void this.#tellWorker(task, error, final);
      },
    );
  }

  /** Gives back a claim whose handler has not succeeded, or not even started. */
  release(claim: Claim): Promise<void> {
    const { queues, queue, onEvent } = this.#options;
    return this.#settle(
      claim,
      'release',
      () => queues.releaseMessage(queue, claim),
      () => {
        this.counts.released++;
        onEvent({ type: 'released', message: claim });
      },
    );
  }

  lost(message: Claim, why: WhyLost): void {
    if (why === 'cancelled') this.counts.cancelled++;
    else this.counts.lost++;
    this.#options.onEvent({ type: 'lost', message, why });
  }

  /** Why a claim has ended that is known to have. Never rejects. */
  async whyLost(claim: Claim): Promise<Loss> {
    const { queues, queue } = this.#options;
    try {
      return (await queues.lostClaims(queue, [claim])).get(claim.token) ?? 'lapsed';
    } catch (error) {
      return isGone(error) ? 'cancelled' : 'lapsed';
    }
  }

  #wishOf(error: unknown, attempt: number): { final?: true; retryAt?: Date } {
    const { backoff } = this.#options;
    const wish = wishOf(error);
    if (!backoff || wish.final || wish.retryAt) return wish;
    const due = Date.now() + backoffDelay(attempt, backoff, Math.random());
    return { retryAt: new Date(Math.min(due, LAST_DATE)) };
  }

  /** Resolves when the claim is settled and that has been told, or has ended in another way and that has. */
  #settle(claim: Claim, what: string, ask: () => Promise<boolean>, settled: () => void): Promise<void> {
    this.#unanswered++;
    // Nearly every message is settled at the first asking: one `then`, and no async function, for it.
    return ask().then(
      (applied) => (applied ? this.#tell(settled) : this.#tellLate(claim, this.whyLost(claim), settled)),
      (error: unknown) => this.#tellLate(claim, this.#insist(claim, what, ask, error), settled),
    );
  }

  #tell(what: () => void): void {
    what();
    this.#unanswered--;
    this.#moved();
  }

  async #tellLate(claim: Claim, late: Promise<'settled' | WhyLost>, settled: () => void): Promise<void> {
    const answer = await late;
    this.#tell(answer === 'settled' ? settled : () => this.lost(claim, answer));
  }

  /** Asks again until there is an answer, or it is of no use. Never rejects. */
  async #insist(
    claim: Claim,
    what: string,
    ask: () => Promise<boolean>,
    refusal: unknown,
  ): Promise<'settled' | WhyLost> {
    let error = refusal;
    for (let refusals = 1; ; refusals++) {
      const again = mayPass(error) && !this.#giveUp.signal.aborted;
      const wait = again ? { pause: pauseAfter(refusals) } : {};
      const during = `${what} of message ${claim.uuid}`;
      this.#options.onEvent({ type: 'trouble', during, error, ...wait });
      if (wait.pause === undefined) return 'unsettled';
      await pause(wait.pause, this.#giveUp.signal);
      try {
        return (await ask()) ? 'settled' : await this.whyLost(claim);
      } catch (thrown) {
        error = thrown;
      }
    }
  }

  async #tellWorker(task: Task, error: unknown, final: boolean): Promise<void> {
    const { worker, onEvent } = this.#options;
    this.#hooks++;
    try {
      const message = { ...task.claim, data: task.data } as Message;
      await worker.failed?.(message, error, { final });
    } catch (thrown) {
      onEvent({ type: 'hook', hook: 'failed', error: thrown, message: task.claim });
    } finally {
      this.#hooks--;
      this.#moved();
    }
  }
}

/** The queue has been destroyed, and all its messages with it. */
export function isGone(error: unknown): boolean {
  return (
    error instanceof QueueError && (error.code === 'QUEUE_DESTROYED' || error.code === 'QUEUE_NOT_FOUND')
  );
}
