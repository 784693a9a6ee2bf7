/** A clock that stands still until it is told. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../src/cache/ports.ts';

export class StillClock implements Clock {
  #time = 1_000_000;
  readonly #timers = new Map<object, { at: number; run: () => void }>();

  now(): number {
    return this.#time + 1_700_000_000_000;
  }

  monotonic(): number {
    return this.#time;
  }

  timer(ms: number, run: () => void): () => void {
    const key = {};
    this.#timers.set(key, { at: this.#time + ms, run });
    return () => this.#timers.delete(key);
  }

  yield(): Promise<void> {
    return sleep(0);
  }

  busy(): number {
    return 0;
  }

  /** Lets so many ms pass, and runs what falls due in them, in order. */
  pass(ms: number): void {
    const end = this.#time + ms;
    for (;;) {
      const next = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!next) break;
      const [key, { at, run }] = next;
      this.#timers.delete(key);
      this.#time = Math.max(this.#time, at);
      run();
    }
    this.#time = end;
  }
}
