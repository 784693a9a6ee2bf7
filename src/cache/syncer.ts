/**
 * Group commit: callers that wait for the device share a flush, and the next flush runs while callers gather.
 * After a failed flush nothing is promised any more: the kernel may have dropped the pages and would call the next
 * one a success.
 */
import type { Ports } from './ports.ts';

export class Syncer {
  readonly #sync: () => Promise<void>;
  readonly #clock: Pick<Ports['clock'], 'monotonic'>;
  readonly #written: () => number;
  #waiters: { offset: number; done: (error?: Error) => void }[] = [];
  #running: Promise<void> | undefined;
  /** When the flush that is under way began. */
  #began = 0;
  #failure: Error | undefined;
  /** Everything before this offset is on the device. */
  synced: number;

  /** @param written tells how far the file is known to reach. */
  constructor(
    sync: () => Promise<void>,
    clock: Pick<Ports['clock'], 'monotonic'>,
    synced: number,
    written: () => number,
  ) {
    this.#sync = sync;
    this.#clock = clock;
    this.synced = synced;
    this.#written = written;
  }

  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** For how long the flush that is under way has been so, ms; 0 when there is none. */
  get takes(): number {
    return this.#running ? this.#clock.monotonic() - this.#began : 0;
  }

  /** Calls `done` when everything before `offset` is on the device, or with what went wrong. */
  wait(offset: number, done: (error?: Error) => void): void {
    if (this.#failure !== undefined) done(this.#failure);
    else if (offset <= this.synced) done();
    else {
      this.#waiters.push({ offset, done });
      this.#running ??= this.#run();
    }
  }

  /** Starts a flush of what has been written, unless one is under way; `done` is called as by `wait`. */
  ahead(done: (error?: Error) => void): void {
    if (!this.#running) this.wait(this.#written(), done);
  }

  /** Resolves when nobody waits; rejects never. */
  async idle(): Promise<void> {
    while (this.#running) await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#waiters.length > 0) {
      const target = this.#written();
      try {
        this.#began = this.#clock.monotonic();
        await this.#sync();
      } catch (error) {
        this.#failure = error instanceof Error ? error : new Error(String(error));
      }
      const waiting = this.#waiters;
      if (this.#failure !== undefined) {
        this.#waiters = [];
        for (const { done } of waiting) done(this.#failure);
        break;
      }
      this.synced = Math.max(this.synced, target);
      this.#waiters = waiting.filter(({ offset }) => offset > this.synced);
      for (const { offset, done } of waiting) if (offset <= this.synced) done();
    }
    this.#running = undefined;
  }
}

/** Flushes that may go on side by side. Rejects with the error of the first that has failed, when none is under way any more. */
export async function allFlushed(flushes: readonly Promise<void>[]): Promise<void> {
  for (const flush of await Promise.allSettled(flushes)) if (flush.status === 'rejected') throw flush.reason;
}
