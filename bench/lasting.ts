/** What processes do for hours on end: add at a steady pace, or work; each looks at itself now and then. */
import fs from 'node:fs';
import { createHistogram, monitorEventLoopDelay, type IntervalHistogram } from 'node:perf_hooks';
import type { Durability } from '../src/backend.ts';
import { opened, QUEUE } from './adding.ts';
import { work } from './draining.ts';
import type { Parent } from './parent.ts';
import { payload } from './payload.ts';
import { micros } from './timing.ts';

/** Milliseconds between two bursts of the steady producer. */
const BEAT_MS = 5;
/** One in so many is deferred, by up to so many milliseconds: what it is kept for pins old segments, which are then carried. */
const ONE_DEFERRED = 1000;
const LONGEST_DEFERRED_MS = 60_000;

/** Adds that are not answered: more do not make it up to the rate, they only fill the memory. */
const MOST_WAITING = 10_000;

/** What a process was like in one period. */
export interface Sample {
  /** Messages added, or completed. */
  count: number;
  /** Milliseconds from the call of addMessage to its answer; none in a worker. */
  p50: number | undefined;
  p999: number | undefined;
  /** The longest that the event loop was blocked, ms. */
  blocked: number;
  rss: number;
  descriptors: number;
}

interface Where {
  folder: string;
  durability: Durability;
  /** Milliseconds of one period, and how many of them. */
  period: number;
  periods: number;
}

/** Adds `rate` messages a second. */
export async function addSteadily(
  { folder, durability, rate, period, periods }: Where & { rate: number },
  parent: Parent,
): Promise<Sample[]> {
  await using manager = await opened(folder, durability);
  await parent.ready();
  const looking = new Looking();
  const delays = createHistogram();
  let [added, answered, told] = [0, 0, 0];
  let failure: Error | undefined;
  const start = micros();
  const add = async (i: number): Promise<void> => {
    const began = micros();
    const isDeferred = i % ONE_DEFERRED === ONE_DEFERRED - 1;
    const delay = ((i * 7919) % 1000) * (LONGEST_DEFERRED_MS / 1000);
    await manager.addMessage(QUEUE, {
      data: payload(i),
      ...(isDeferred ? { dateTimeDeferredExecution: new Date(Date.now() + delay) } : {}),
    });
    delays.record(Math.max(1, Math.round(micros() - began)));
    answered++;
  };
  const beat = setInterval(() => {
    // What is behind is made up for, so that the rate holds, but not all at once.
    const due = Math.min(Math.floor(((micros() - start) / 1e6) * rate), answered + MOST_WAITING);
    while (added < due) add(added++).catch((error: Error) => (failure ??= error));
  }, BEAT_MS);
  const samples: Sample[] = [];
  for (let i = 0; i < periods; i++) {
    await passed(start + (i + 1) * period * 1000);
    if (failure) throw failure;
    samples.push({
      ...looking.sample(answered - told),
      p50: delays.percentile(50) / 1000,
      p999: delays.percentile(99.9) / 1000,
    });
    told = answered;
    delays.reset();
  }
  clearInterval(beat);
  return samples;
}

/** Handles what comes, by doing nothing. */
export async function workSteadily(
  { folder, durability, concurrency, period, periods }: Where & { concurrency: number },
  parent: Parent,
): Promise<Sample[]> {
  await using manager = await opened(folder, durability);
  await parent.ready();
  const looking = new Looking();
  let completed = 0;
  const stop = new AbortController();
  const working = work(manager, concurrency, stop, { handle: () => undefined, completed: () => completed++ });
  const start = micros();
  const samples: Sample[] = [];
  for (let i = 0; i < periods; i++) {
    // It does not end by itself but by an error.
    await Promise.race([passed(start + (i + 1) * period * 1000), working]);
    samples.push(looking.sample(completed));
    completed = 0;
  }
  stop.abort();
  await working;
  return samples;
}

/** Does nothing: what blocks its event loop is the machine, and Node itself. */
export async function restSteadily(
  { period, periods }: Pick<Where, 'period' | 'periods'>,
  parent: Parent,
): Promise<Sample[]> {
  await parent.ready();
  const looking = new Looking();
  const start = micros();
  const samples: Sample[] = [];
  for (let i = 0; i < periods; i++) {
    await passed(start + (i + 1) * period * 1000);
    samples.push(looking.sample(0));
  }
  return samples;
}

class Looking {
  readonly #loop: IntervalHistogram = monitorEventLoopDelay({ resolution: 1 });

  constructor() {
    this.#loop.enable();
  }

  sample(count: number): Sample {
    // The time between two looks of the monitor counts as a delay.
    const blocked = Math.max(0, this.#loop.max / 1e6 - 1);
    this.#loop.reset();
    return {
      count,
      p50: undefined,
      p999: undefined,
      blocked,
      rss: process.memoryUsage.rss(),
      descriptors: descriptors(),
    };
  }
}

/** How many this process holds open; 0 where that cannot be known. */
function descriptors(): number {
  try {
    return fs.readdirSync('/proc/self/fd').length;
  } catch {
    return 0;
  }
}

function passed(time: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, (time - micros()) / 1000)));
}
