/** Workers: one process that claims, handles by doing nothing, and completes. Each checks what it was given. */
import type { Durability } from '../src/backend.ts';
import type { Claim, Message } from '../src/message.ts';
import { loadConfig } from '../src/config.ts';
import type { QueueManager } from '../src/queue-manager.ts';
import type { WorkerEvent } from '../src/worker/events.ts';
import { runLoop } from '../src/worker/loop.ts';
import { Worker } from '../src/worker/worker.ts';
import { opened, QUEUE } from './adding.ts';
import type { Parent } from './parent.ts';
import type { Payload } from './payload.ts';
import { Meter, micros, spendingWhenWarm } from './timing.ts';

interface Drain {
  /** The cacheRoot; its queue holds messages number 0, 1, 2, … */
  folder: string;
  seconds: number;
  /** How many messages wait. */
  count: number;
  concurrency: number;
}

/** Messages completed a second by the manager's own methods: one after the other, or `concurrency` at a time. */
export async function drain({ folder, seconds, count, concurrency }: Drain): Promise<number> {
  await using manager = await opened(folder, 'always');
  const deliveries = new Deliveries();
  const meter = new Meter(seconds);
  const claim = (): Promise<Claim[]> => manager.claimMessages(QUEUE, { limit: concurrency });
  const complete = async (message: Claim): Promise<void> => {
    deliveries.inOrder(message);
    if (!(await manager.completeMessage(QUEUE, message)))
      throw new Error(`the claim on ${message.uuid} was lost`);
  };
  let claims = await claim();
  for (let done = 0; done < count;) {
    if (claims.length === 0) throw new Error(`expected ${count} messages, got ${done}`);
    if (concurrency === 1) {
      for (const message of claims) await complete(message);
      done += claims.length;
      if (meter.ended(claims.length)) break;
      claims = await claim();
    } else {
      // The next claim goes out in the same tick as the ends of these.
      const ends = claims.map(complete);
      const next = claim();
      await Promise.all(ends);
      claims = await next;
      done += ends.length;
      if (meter.ended(ends.length)) break;
    }
  }
  return meter.rate;
}

/** Messages completed a second by a worker's loop, as `queue-worker` runs it. */
export async function drainByWorker({ folder, seconds, count, concurrency }: Drain): Promise<number> {
  await using manager = await opened(folder, 'always');
  const deliveries = new Deliveries();
  const meter = new Meter(seconds);
  const stop = new AbortController();
  let done = 0;
  await work(manager, concurrency, stop, {
    handle: (message) => deliveries.inOrder(message),
    completed() {
      if (meter.ended(1) || ++done === count) stop.abort();
    },
  });
  return meter.rate;
}

export interface Consumed {
  /** A bit for each message number that was handled here. */
  seen: Uint8Array;
  /** Handled more than once here. */
  twice: number;
  /** When the last one was completed; monotonic microseconds. */
  last: number;
  /** Microseconds of processor time, as the producers'. */
  cpu: number;
}

/** Works until told to stop. Tells its parent how many messages it has completed so far. */
export async function consume(
  {
    folder,
    durability,
    concurrency,
    seconds,
  }: { folder: string; durability: Durability; concurrency: number; seconds: number },
  parent: Parent,
): Promise<Consumed> {
  await using manager = await opened(folder, durability);
  const deliveries = new Deliveries();
  const stop = new AbortController();
  let last = 0;
  let completed = 0;
  let told = 0;
  const tell = setInterval(() => {
    if (completed !== told) parent.tell((told = completed));
  }, 10);
  await parent.ready();
  const spent = spendingWhenWarm(seconds);
  void parent.stopped.then(() => stop.abort());
  await work(manager, concurrency, stop, {
    handle: (message) => deliveries.anyhow(message),
    completed() {
      completed++;
      last = micros();
    },
  });
  clearInterval(tell);
  return { seen: deliveries.bits, twice: deliveries.twice, last, cpu: spent() };
}

/** Milliseconds from the call of `addMessage` in another process to the handler here, for `count` messages. */
export async function listen(
  { folder, durability, count }: { folder: string; durability: Durability; count: number },
  parent: Parent,
): Promise<number[]> {
  await using manager = await opened(folder, durability);
  const delays: number[] = [];
  const stop = new AbortController();
  const working = work(manager, 1, stop, {
    handle: ({ data }) => void delays.push((micros() - data.t) / 1000),
    completed() {
      if (delays.length === count) stop.abort();
    },
  });
  await parent.ready();
  await working;
  return delays;
}

export interface FirstMessage {
  /** From `QueueManager.open` to the first claim, ms. */
  first: number;
  /** Bytes of memory of the whole process then. */
  rss: number;
}

/** A worker that begins on a queue with a backlog. */
export async function openCold({ folder }: { folder: string }): Promise<FirstMessage> {
  const start = micros();
  await using manager = await opened(folder, 'always');
  const claims = await manager.claimMessages(QUEUE);
  const first = (micros() - start) / 1000;
  if (claims.length !== 1) throw new Error('expected the first message of the backlog, got none');
  return { first, rss: process.memoryUsage.rss() };
}

interface Handling {
  handle: (message: Message<Payload>) => void;
  completed: () => void;
}

/** What was claimed and not begun when the loop was told to stop is released. */
const EXPECTED: ReadonlySet<WorkerEvent['type']> = new Set(['started', 'ended', 'released']);

export async function work(
  manager: QueueManager,
  concurrency: number,
  stop: AbortController,
  { handle, completed }: Handling,
): Promise<void> {
  class Handler extends Worker<Payload> {
    override async process(message: Message<Payload>): Promise<void> {
      handle(message);
    }
  }
  const troubles: unknown[] = [];
  await runLoop({
    queues: manager,
    queue: QUEUE,
    worker: new Handler(),
    config: await loadConfig({ env: {} }),
    concurrency,
    lease: 30_000,
    stopDeadline: 10_000,
    drain: false,
    stop: stop.signal,
    force: new AbortController().signal,
    sink: () => undefined,
    onEvent(event) {
      if (event.type === 'completed') completed();
      else if (!EXPECTED.has(event.type)) troubles.push(event);
    },
  });
  if (troubles.length > 0)
    throw new Error(`expected every message to be completed, got ${JSON.stringify(troubles[0])}`);
}

/** What was delivered: a queue that is fast because it loses messages is not measured. */
class Deliveries {
  #next = 0;
  bits = new Uint8Array(64 * 1024);
  twice = 0;

  inOrder({ data }: { data: unknown }): void {
    const { i } = data as Payload;
    if (i !== this.#next) throw new Error(`expected message ${this.#next} next in line, got ${i}`);
    this.#next++;
  }

  anyhow({ data: { i } }: Message<Payload>): void {
    const byte = i >> 3;
    const bit = 1 << (i & 7);
    while (byte >= this.bits.length) {
      const larger = new Uint8Array(this.bits.length * 2);
      larger.set(this.bits);
      this.bits = larger;
    }
    if (this.bits[byte]! & bit) this.twice++;
    this.bits[byte]! |= bit;
  }
}
