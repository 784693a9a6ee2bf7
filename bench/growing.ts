/** What one process does for a table of growth: fills a queue in some way, or tells what a message costs in it. */
import fs from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { QueueManager } from '../src/queue-manager.ts';
import { opened, QUEUE } from './adding.ts';
import { payload } from './payload.ts';
import { micros, rateInFlight, rateOf } from './timing.ts';

const CHUNK = 1000;
/** Messages of one turn: so many are added, then as many delivered, so that the backlog stays as it is. */
const TURN = 100;
const TOGETHER = 128;
const TURN_OF_MANY = TOGETHER * 10;
/** Of one payload in a write, so that large ones do not fill the disk. */
const MOST_BYTES = 512 * 2 ** 20;

/** Adds `count` messages and ends them all. */
export async function settle({ folder, count }: { folder: string; count: number }): Promise<void> {
  await using manager = await opened(folder, 'os');
  for (let done = 0; done < count; done += CHUNK) {
    await addChunk(manager, done, Math.min(CHUNK, count - done));
    await drainAll(manager);
  }
}

/** Adds `count` messages that become due at random between `from` and `to` ms from now. */
export async function defer({
  folder,
  count,
  from,
  to,
}: {
  folder: string;
  count: number;
  from: number;
  to: number;
}): Promise<void> {
  await using manager = await opened(folder, 'os');
  const now = Date.now();
  for (let i = 0; i < count; i += CHUNK) {
    const inputs = Array.from({ length: Math.min(CHUNK, count - i) }, (_, k) => ({
      data: payload(i + k),
      dateTimeDeferredExecution: new Date(now + from + scattered(i + k) * (to - from)),
    }));
    await manager.addMessages(QUEUE, inputs);
  }
}

export interface Costs {
  /** From `QueueManager.open` to the first claim, ms. */
  first: number;
  /** Microseconds a message: added alone, claimed and completed alone, and many at a time. */
  add: number;
  deliver: number;
  deliverMany: number;
  /** Microseconds of one `queueStatus`. */
  status: number;
  /** Bytes in use after a collection, in all and of them outside of the heap's spare room. */
  rss: number;
  used: number;
}

/** What a message costs in the queue as it is. At least one must be ready. */
export async function costs({ folder, seconds }: { folder: string; seconds: number }): Promise<Costs> {
  const start = micros();
  await using manager = await opened(folder, 'os');
  const claims = await manager.claimMessages(QUEUE);
  const first = (micros() - start) / 1000;
  if (claims.length !== 1) throw new Error(`expected a message that is ready, got ${claims.length}`);
  await complete(manager, claims);
  await addChunk(manager, 0, 1);

  // For the compiler.
  await turns(manager, seconds / 2);
  const { add, deliver } = await turns(manager, seconds);
  const deliverMany = await turnsOfMany(manager, seconds);
  const asked = 100;
  const asking = await timed(async () => {
    for (let i = 0; i < asked; i++) await manager.queueStatus(QUEUE);
  });
  collectGarbage();
  const { rss, heapUsed, external } = process.memoryUsage();
  return {
    first,
    add,
    deliver,
    deliverMany,
    status: asking / asked,
    rss,
    used: heapUsed + external,
  };
}

/** Microseconds a message, one after the other, the backlog staying as it is. */
async function turns(manager: QueueManager, seconds: number): Promise<{ add: number; deliver: number }> {
  let [adding, delivering, count] = [0, 0, 0];
  for (const end = micros() + seconds * 1e6; micros() < end; count += TURN) {
    adding += await timed(async () => {
      for (let i = 0; i < TURN; i++) await manager.addMessage(QUEUE, { data: payload(i) });
    });
    delivering += await timed(async () => {
      for (let i = 0; i < TURN; i++) await complete(manager, await manager.claimMessages(QUEUE));
    });
  }
  return { add: adding / count, deliver: delivering / count };
}

/** Microseconds a message, many claimed and completed at a time. */
async function turnsOfMany(manager: QueueManager, seconds: number): Promise<number> {
  let [delivering, count] = [0, 0];
  for (const end = micros() + seconds * 1e6; micros() < end; count += TURN_OF_MANY) {
    await addChunk(manager, 0, TURN_OF_MANY);
    delivering += await timed(async () => {
      for (let i = 0; i < TURN_OF_MANY; i += TOGETHER)
        await complete(manager, await manager.claimMessages(QUEUE, { limit: TOGETHER }));
    });
  }
  return delivering / count;
}

/** Microseconds for each of `count` messages, all of which are due, claimed and completed many at a time. */
export async function drainDue({ folder, count }: { folder: string; count: number }): Promise<number> {
  await using manager = await opened(folder, 'os');
  let drained = 0;
  const took = await timed(async () => {
    drained = await drainAll(manager);
  });
  if (drained !== count) throw new Error(`expected ${count} messages to be due, got ${drained}`);
  return took / count;
}

interface Sized {
  folder: string;
  seconds: number;
  /** Of the payload as JSON. */
  bytes: number;
}

export interface Throughput {
  /** Bytes of payload a second: one write for each; one `addMessage` for each; claimed and completed one by one. */
  append: number;
  add: number;
  deliver: number;
}

/** How much payload of one size gets through. */
export async function throughput({ folder, seconds, bytes }: Sized): Promise<Throughput> {
  const data = 'x'.repeat(bytes - 2);
  const record = Buffer.from(`"${data}"\n`);
  const fd = fs.openSync(join(folder, 'raw'), 'a');
  const most = Math.max(50, Math.floor(MOST_BYTES / bytes));
  let written = 0;
  const append = rateOf(seconds, () => {
    if (++written % most === 0) fs.ftruncateSync(fd);
    fs.writeSync(fd, record);
  });
  fs.closeSync(fd);
  await using manager = await opened(folder, 'os');
  let added = 0;
  const add = await rateInFlight(seconds, 1, async () => {
    await manager.addMessage(QUEUE, { data });
    // Emptied now and then; a purge is one record.
    if (++added % most === 0) await manager.purgeQueue(QUEUE);
  });
  await manager.purgeQueue(QUEUE);
  const waiting = Math.min(most, Math.ceil(add * seconds));
  for (let i = 0; i < waiting; i++) await manager.addMessage(QUEUE, { data });
  const took = await timed(async () => {
    for (let i = 0; i < waiting; i++) {
      const claims = await manager.claimMessages(QUEUE);
      if (claims[0]?.data !== data) throw new Error('expected the payload that was added, got another');
      await complete(manager, claims);
    }
  });
  return { append: append * bytes, add: add * bytes, deliver: (waiting / took) * 1e6 * bytes };
}

async function addChunk(manager: QueueManager, first: number, count: number): Promise<void> {
  await manager.addMessages(
    QUEUE,
    Array.from({ length: count }, (_, i) => ({ data: payload(first + i) })),
  );
}

async function complete(
  manager: QueueManager,
  claims: Awaited<ReturnType<QueueManager['claimMessages']>>,
): Promise<void> {
  if (claims.length === 0) throw new Error('expected a message that is ready, got none');
  const ended = await Promise.all(claims.map((claim) => manager.completeMessage(QUEUE, claim)));
  if (ended.includes(false)) throw new Error('a claim was lost');
}

/** Resolves with how many there were. */
async function drainAll(manager: QueueManager): Promise<number> {
  for (let drained = 0; ;) {
    const claims = await manager.claimMessages(QUEUE, { limit: TOGETHER });
    if (claims.length === 0) return drained;
    await complete(manager, claims);
    drained += claims.length;
  }
}

/** Microseconds. */
async function timed(doing: () => Promise<void>): Promise<number> {
  const start = micros();
  await doing();
  return micros() - start;
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

/** Numbers in [0, 1) in no order, evenly spread: multiples of the golden ratio (Weyl's sequence). */
function scattered(i: number): number {
  return (i * 0.6180339887498949) % 1;
}
