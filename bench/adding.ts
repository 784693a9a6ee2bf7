/** Producers: one process that adds, by the public API. */
import type { Durability } from '../src/backend.ts';
import { QueueManager } from '../src/queue-manager.ts';
import type { Parent } from './parent.ts';
import { payload, type Payload } from './payload.ts';
import { micros, rateInFlight, spendingWhenWarm } from './timing.ts';

export const QUEUE = 'mail';
const MESSAGES_A_CALL = 1000;

interface Where {
  /** The cacheRoot. */
  folder: string;
  durability: Durability;
}

/** Awaited `addMessage` calls a second, `inFlight` of them at a time. */
export async function add({
  folder,
  durability,
  seconds,
  inFlight,
}: Where & { seconds: number; inFlight: number }): Promise<number> {
  await using manager = await opened(folder, durability);
  return await rateInFlight(seconds, inFlight, (i) => manager.addMessage(QUEUE, { data: payload(i) }));
}

/** Messages a second by awaited `addMessages` calls of a thousand. */
export async function addMany({ folder, durability, seconds }: Where & { seconds: number }): Promise<number> {
  await using manager = await opened(folder, durability);
  const calls = await rateInFlight(seconds, 1, (index) =>
    manager.addMessages(QUEUE, chunk(index * MESSAGES_A_CALL, MESSAGES_A_CALL)),
  );
  return calls * MESSAGES_A_CALL;
}

/** Adds `count` messages, as a backlog for others. */
export async function load({ folder, count }: { folder: string; count: number }): Promise<void> {
  await using manager = await opened(folder, 'os');
  for (let i = 0; i < count; i += MESSAGES_A_CALL) {
    await manager.addMessages(QUEUE, chunk(i, Math.min(MESSAGES_A_CALL, count - i)));
  }
}

export interface Produced {
  count: number;
  /** Of the first add; monotonic microseconds. */
  began: number;
  /** Of the adds, those of the second half of the time; and the processor time that was used meanwhile, microseconds. */
  warm: number;
  cpu: number;
}

/** Adds messages number `first`, `first + step`, …, for some time, with `inFlight` unanswered. */
export async function produce(
  {
    folder,
    durability,
    seconds,
    inFlight,
    first,
    step,
  }: Where & { seconds: number; inFlight: number; first: number; step: number },
  parent: Parent,
): Promise<Produced> {
  await using manager = await opened(folder, durability);
  await parent.ready();
  const began = micros();
  const end = began + seconds * 1e6;
  let [count, early] = [0, 0];
  const spent = spendingWhenWarm(seconds, () => (early = count));
  const lane = async (): Promise<void> => {
    while (micros() < end) await manager.addMessage(QUEUE, { data: payload(first + step * count++) });
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return { count, began, warm: count - early, cpu: spent() };
}

/** Adds `count` messages, one each `pause` ms, each with the time at which the call began. */
export async function produceSlowly(
  { folder, durability, count, pause }: Where & { count: number; pause: number },
  parent: Parent,
): Promise<void> {
  await using manager = await opened(folder, durability);
  await parent.ready();
  const start = micros();
  for (let i = 0; i < count; i++) {
    const wait = start + i * pause * 1000 - micros();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait / 1000));
    await manager.addMessage(QUEUE, { data: payload(i, micros()) });
  }
}

/** A manager whose queue exists. */
export async function opened(folder: string, durability: Durability): Promise<QueueManager> {
  const manager = await QueueManager.open({ cacheRoot: folder, durability });
  await manager.createQueue(QUEUE);
  return manager;
}

function chunk(first: number, count: number): { data: Payload }[] {
  return Array.from({ length: count }, (_, i) => ({ data: payload(first + i) }));
}
