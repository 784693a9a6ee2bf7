/**
 * How long, how many a second. Every figure is taken after a warm-up of half its length in the same process: what is
 * measured is a program that has been running for a moment, not the compiler.
 */
import { performance } from 'node:perf_hooks';

const BETWEEN_LOOKS = 16;

/** Microseconds of the machine's monotonic clock: the same for all its processes. */
export function micros(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

/**
 * Tells the microseconds of processor time, of the system's too, that this process has used from half of so many seconds on: what comes
 * before is to a good part the compiler's.
 */
export function spendingWhenWarm(seconds: number, onWarm: () => void = () => undefined): () => number {
  let before = process.cpuUsage();
  setTimeout(() => {
    before = process.cpuUsage();
    onWarm();
  }, seconds * 500);
  return () => {
    const { user, system } = process.cpuUsage(before);
    return user + system;
  };
}

/** Calls of `operation` a second. */
export function rateOf(seconds: number, operation: (index: number) => void): number {
  let index = 0;
  const runFor = (milliseconds: number): number => {
    const first = index;
    const start = performance.now();
    const end = start + milliseconds;
    let now = start;
    while (now < end) {
      for (let i = 0; i < BETWEEN_LOOKS; i++) operation(index++);
      now = performance.now();
    }
    return ((index - first) / (now - start)) * 1000;
  };
  runFor(seconds * 500);
  return runFor(seconds * 1000);
}

/**
 * Awaited calls of `operation` a second with `inFlight` of them under way, each of the others begun when one has been
 * answered. Resolves when all have been.
 */
export async function rateInFlight(
  seconds: number,
  inFlight: number,
  operation: (index: number) => Promise<unknown>,
): Promise<number> {
  const warm = performance.now() + seconds * 500;
  let index = 0;
  let answered = 0;
  let start = 0;
  let rate = 0;
  const lane = async (): Promise<void> => {
    while (rate === 0) {
      await operation(index++);
      const now = performance.now();
      if (start > 0) {
        answered++;
        if (rate === 0 && now >= start + seconds * 1000) rate = (answered / (now - start)) * 1000;
      } else if (now >= warm) start = now;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return rate;
}

/** For what ends by itself: `ended` is called with each end, and says when enough have been seen. */
export class Meter {
  readonly #seconds: number;
  readonly #warm: number;
  #start = 0;
  #counted = 0;
  #last = 0;

  constructor(seconds: number) {
    this.#seconds = seconds;
    this.#warm = performance.now() + seconds * 500;
  }

  /** True: there is nothing more to measure. */
  ended(count: number): boolean {
    const now = performance.now();
    if (this.#start === 0) {
      if (now >= this.#warm) this.#start = now;
      return false;
    }
    if (now > this.#start + this.#seconds * 1000) return true;
    this.#counted += count;
    this.#last = now;
    return false;
  }

  get rate(): number {
    if (this.#counted === 0)
      throw new Error('the backlog was drained before the warm-up was over: use a larger --backlog');
    return (this.#counted / (this.#last - this.#start)) * 1000;
  }
}

/** The value below which the share `q` of `values` lies. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}
