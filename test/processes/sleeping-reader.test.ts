/**
 * A handle that slept while the queue moved on: the segment it knew has been sealed and deleted long ago, and so have
 * several after it. Asleep is a process stopped with SIGSTOP, or a handle that nobody used.
 */
import { describe, expect } from 'vitest';
import type { Queue } from '../../src/backend.ts';
import { listFiles, newestSegment } from './journal-files.ts';
import { messages, stageTest, until, upTo, type Remote, type Stage } from './stage.ts';

const test = stageTest({ segmentBytes: 16 * 1024 });

/** What a handle in this process and one in another have in common. */
type Handle = Pick<Queue, 'add' | 'claim' | 'settle' | 'status'>;

const LEASE = 600_000;

/** Adds and completes until the queue has moved on by `count` segments; what else there is stays as it is. */
async function moveOn(stage: Stage, queue: Queue, count: number): Promise<void> {
  const target = newestSegment(stage.queueFolder) + count;
  const filler = 'x'.repeat(20_000);
  while (newestSegment(stage.queueFolder) < target) {
    const [added] = await queue.add(messages(filler));
    expect(await queue.change({ type: 'remove', uuid: added!.uuid })).toBe(1);
  }
}

/** Wakes a sleeper of either kind, with what it knew before it slept; `kept` are messages that outlived its sleep. */
async function expectAwake(sleeper: Handle, queue: Queue, kept: unknown[]): Promise<void> {
  // The add of a producer, first, without having looked: it must land in the newest segment.
  const [added] = await sleeper.add(messages('from the sleeper'));
  expect(added).toMatchObject({ data: 'from the sleeper', duplicate: false });
  expect(await sleeper.status()).toEqual(await queue.status());
  const claims = await sleeper.claim(100, LEASE);
  expect(claims.map(({ data }) => data)).toEqual([...kept, 'from the sleeper']);
  expect(claims.at(-1)!.uuid).toBe(added!.uuid);
  expect(await queue.claim(100, LEASE)).toEqual([]);
  for (const claim of claims) expect(await sleeper.settle(claim, { type: 'complete' })).toBe(true);
  expect(await queue.status()).toMatchObject({ messagesToProcess: 0, counts: { ready: 0, claimed: 0 } });
}

async function expectMovedOn(stage: Stage, before: string[]): Promise<void> {
  const { segments } = listFiles(stage.queueFolder);
  for (const name of before) expect(segments).not.toContain(name);
}

const ROTATIONS = 12;

describe.for<
  [string, (stage: Stage) => Promise<{ handle: Handle; sleep: () => Promise<void>; wake: () => void }>]
>([
  [
    'a process stopped with SIGSTOP',
    async (stage) => {
      const remote: Remote = await stage.start();
      return { handle: remote.queue, sleep: () => remote.stop(), wake: () => remote.resume() };
    },
  ],
  [
    'a handle that nobody used',
    async (stage) => ({ handle: await stage.queue(), sleep: async () => undefined, wake: () => undefined }),
  ],
])('%s', ([, makeSleeper]) => {
  test('goes on from the newest segment', async ({ stage, queue }) => {
    const { handle, sleep, wake } = await makeSleeper(stage);
    await queue.add(messages('old 1', 'old 2'));
    expect(await handle.status()).toMatchObject({ counts: { ready: 2 } });
    const before = listFiles(stage.queueFolder).segments;
    await sleep();
    await moveOn(stage, queue, ROTATIONS);
    await queue.add(messages('new'));
    await expectMovedOn(stage, before);
    wake();
    await expectAwake(handle, queue, ['old 1', 'old 2', 'new']);
    expect(await stage.complaints()).toEqual([]);
  });

  test('keeps what it had claimed, and can settle it', async ({ stage, queue }) => {
    const { handle, sleep, wake } = await makeSleeper(stage);
    await queue.add(messages('claimed 1', 'claimed 2', 'waiting'));
    const [one, two] = await handle.claim(2, LEASE);
    const before = listFiles(stage.queueFolder).segments;
    await sleep();
    await moveOn(stage, queue, ROTATIONS);
    await expectMovedOn(stage, before);
    expect((await queue.status()).counts).toMatchObject({ claimed: 2, ready: 1 });
    wake();
    expect(await handle.settle(one!, { type: 'complete' })).toBe(true);
    expect(await handle.settle(two!, { type: 'release' })).toBe(true);
    await expectAwake(handle, queue, ['claimed 2', 'waiting']);
    expect(await stage.complaints()).toEqual([]);
  });

  test('finds pause, attributes and a deferred message as they are now', async ({ stage, queue }) => {
    const { handle, sleep, wake } = await makeSleeper(stage);
    await handle.status();
    await sleep();
    await queue.change({ type: 'attributes', patch: { since: 'asleep' } });
    const [added] = await queue.add([{ ...messages('later')[0]!, due: Date.now() + 3_600_000 }]);
    await moveOn(stage, queue, ROTATIONS);
    await queue.change({ type: 'pause' });
    wake();
    expect(await handle.claim(10, LEASE)).toEqual([]);
    expect(await handle.status()).toMatchObject({
      paused: true,
      customAttributes: { since: 'asleep' },
      counts: { deferred: 1 },
    });
    await queue.change({ type: 'resume' });
    expect(await queue.update(added!.uuid, { due: null })).toMatchObject({ state: 'ready' });
    await moveOn(stage, queue, ROTATIONS);
    await expectAwake(handle, queue, ['later']);
    expect(await stage.complaints()).toEqual([]);
  });
});

test('a process stopped in the middle of its work, again and again, loses and repeats nothing', async ({
  stage,
  queue,
}) => {
  const total = 3000;
  const [sleeper, other, producer] = await stage.startAll(3);
  const progress = { done: false };
  const working = Promise.all([
    sleeper!.tasks.consume({ limit: 5, expected: total }),
    other!.tasks.consume({ limit: 5, expected: total }),
    producer!.tasks.produce({ producer: 0, count: total, chunk: 5, size: 300 }),
  ]).finally(() => (progress.done = true));
  let naps = 0;
  while (!progress.done) {
    await sleeper!.stop();
    naps++;
    const asleepAt = newestSegment(stage.queueFolder);
    // Until the others are well past what it knows, or can go no further without it.
    const others = until(() => progress.done || newestSegment(stage.queueFolder) >= asleepAt + 3, 300);
    await others.catch(() => undefined);
    sleeper!.resume();
    await queue.status();
  }
  const [one, two] = await working;
  const given = [one, two].flatMap(({ claims }) => claims.flat().map(([, , , n]) => n));
  expect(given.toSorted((a, b) => a - b)).toEqual(upTo(total));
  expect(one.refused + two.refused).toBe(0);
  expect(naps).toBeGreaterThan(3);
  expect(await queue.status()).toMatchObject({
    processed: total,
    messagesToProcess: 0,
    counts: { failed: 0 },
  });
  expect(await stage.complaints()).toEqual([]);
});
