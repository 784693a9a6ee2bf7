/**
 * Group commit: callers that wait for the device share a flush, and the next flush runs while callers gather.
 * After a failed flush nothing is promised any more: the kernel may have dropped the pages and would call the next
 * one a success.
 */
import type { FileSystem } from './ports.ts';

export class Syncer {
  readonly #fs: Pick<FileSystem, 'sync'>;
  readonly #fd: number;
  readonly #written: () => number;
  #waiters: { offset: number; done: (error?: Error) => void }[] = [];
  #running: Promise<void> | undefined;
  #failure: Error | undefined;
  /** Everything before this offset is on the device. */
  synced: number;

  /** @param written tells how far the file is known to reach. */
  constructor(fs: Pick<FileSystem, 'sync'>, fd: number, synced: number, written: () => number) {
    this.#fs = fs;
    this.#fd = fd;
    this.synced = synced;
    this.#written = written;
  }

  get failed(): boolean {
    return this.#failure !== undefined;
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
        await this.#fs.sync(this.#fd);
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
