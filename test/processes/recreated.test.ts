/** A queue that another process destroyed, and perhaps created again, while this one had it open. */
import { describe, expect } from 'vitest';
import type { Queue } from '../../src/backend.ts';
import { QueueError } from '../../src/errors.ts';
import { QueueManager } from '../../src/index.ts';
import { newestSegment } from './journal-files.ts';
import { messages, Q, stageTest, until, upTo } from './stage.ts';

const test = stageTest({ segmentBytes: 16 * 1024 });

const LEASE = 600_000;

/** The code of the error with which it rejects. */
function refusal(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    (value) => `resolved with ${JSON.stringify(value)}`,
    (error: unknown) => (error instanceof QueueError ? error.code : String(error)),
  );
}

describe('a manager that had the queue open', () => {
  test('is told QUEUE_DESTROYED once; then it finds none, then the new one, and nothing of the old', async ({
    stage,
    queue,
  }) => {
    const other = await stage.start();
    await using manager = await QueueManager.open({ queueType: 'cache', cacheRoot: stage.cacheRoot });
    await manager.addMessages(Q, [{ data: 'old 1', alias: 'a' }, { data: 'old 2' }]);
    const [claim] = await manager.claimMessages(Q);
    await manager.pauseQueue(Q);
    await queue.close();

    expect(await other.backend.destroy(Q)).toBe(true);
    expect(await refusal(manager.addMessage(Q, { data: 'lost' }))).toBe('QUEUE_DESTROYED');
    expect(await refusal(manager.addMessage(Q, { data: 'lost' }))).toBe('QUEUE_NOT_FOUND');
    expect(await manager.listQueues()).toEqual([]);

    expect(await other.backend.create(Q, {})).toBe(true);
    const [added] = await other.queue.add(messages('new'));
    expect(await manager.completeMessage(Q, claim!)).toBe(false);
    expect(await manager.findMessage(Q, { alias: 'a' })).toBeUndefined();
    const status = await manager.queueStatus(Q);
    expect(status).toMatchObject({
      processed: 0,
      messagesToProcess: 1,
      paused: false,
      lastMessageProcessed: null,
    });
    expect(await manager.claimMessages(Q, { limit: 10 })).toMatchObject([{ data: 'new', uuid: added!.uuid }]);
  });

  test('destroyed and created between two of its calls: the first of them is refused, the next meets the new one', async ({
    stage,
    queue,
  }) => {
    await queue.close();
    const other = await stage.start();
    await using manager = await QueueManager.open({ queueType: 'cache', cacheRoot: stage.cacheRoot });
    const asks: [string, () => Promise<unknown>][] = [
      ['add', () => manager.addMessage(Q, { data: 'a' })],
      ['claim', () => manager.claimMessages(Q)],
      ['take', () => manager.getMessage(Q)],
      ['status', () => manager.queueStatus(Q)],
      ['find', () => manager.findMessage(Q, { alias: 'none' })],
      ['purge', () => manager.purgeQueue(Q)],
      ['wait', () => manager.waitForMessage(Q, { timeout: 0 })],
    ];
    for (const [name, ask] of asks) {
      await manager.addMessage(Q, { data: 'old' });
      await other.backend.destroy(Q);
      await other.backend.create(Q, {});
      await other.queue.add(messages('new')).catch(() => other.queue.add(messages('new')));
      expect(`${name}: ${await refusal(ask())}`).toBe(`${name}: QUEUE_DESTROYED`);
      expect((await manager.queueStatus(Q)).counts).toMatchObject({ ready: 1 });
      expect(await manager.getMessage(Q)).toMatchObject({ data: 'new' });
    }
  });

  test('asleep in a wait, it is woken and told', async ({ stage, queue }) => {
    await queue.close();
    const other = await stage.start();
    await using manager = await QueueManager.open({ queueType: 'cache', cacheRoot: stage.cacheRoot });
    const told = refusal(manager.waitForMessage(Q, { timeout: 20_000 }));
    await manager.queueStatus(Q);
    await other.backend.destroy(Q);
    expect(await told).toBe('QUEUE_DESTROYED');
  });
});

describe('a handle on the old queue', () => {
  test('is refused for good, and its claims settle nothing of the new one', async ({ stage, queue }) => {
    const other = await stage.start();
    await queue.add(messages('old'));
    const [claim] = await queue.claim(1, LEASE);
    await other.backend.destroy(Q);
    await other.backend.create(Q, {});
    // The first message of the new queue, in the hands of somebody.
    await other.queue.add(messages('new'));
    const [theirs] = await other.queue.claim(1, LEASE);

    const renewed = refusal(queue.settle(claim!, { type: 'renew', lease: LEASE }));
    expect(['QUEUE_DESTROYED', 'resolved with false']).toContain(await renewed);
    for (let again = 0; again < 2; again++) {
      expect(await refusal(queue.settle(claim!, { type: 'complete' }))).toBe('QUEUE_DESTROYED');
      expect(await refusal(queue.add(messages('old too')))).toBe('QUEUE_DESTROYED');
      expect(await refusal(queue.status())).toBe('QUEUE_DESTROYED');
    }
    // The proof of a claim of the old queue is none in the new one, whoever shows it.
    expect(await other.queue.settle(claim!, { type: 'complete' })).toBe(false);
    expect(await other.queue.settle(theirs!, { type: 'complete' })).toBe(true);
    expect(await other.queue.status()).toMatchObject({ processed: 1, messagesToProcess: 0 });
  });

  test('asleep across several lives of the queue and many rotations, it is refused all the same', async ({
    stage,
    queue,
  }) => {
    const [asleep, other] = await stage.startAll(2);
    await queue.add(messages('old'));
    expect(await asleep!.queue.claim(1, LEASE)).toHaveLength(1);
    await asleep!.stop();
    const numbers = [newestSegment(stage.queueFolder)];
    for (let life = 0; life < 3; life++) {
      await other!.backend.destroy(Q);
      await other!.backend.create(Q, {});
      const fresh: Queue = await (await stage.open()).open(Q);
      for (let i = 0; i < 8; i++) {
        await fresh.add(messages({ life, filler: 'x'.repeat(20_000) }));
        expect(await fresh.take()).toMatchObject({ data: { life } });
      }
      numbers.push(newestSegment(stage.queueFolder));
    }
    // Numbers never start again, or a name would mean two things.
    for (const [i, number] of numbers.entries())
      if (i > 0) expect(number).toBeGreaterThan(numbers[i - 1]! + 5);
    asleep!.resume();
    expect(await refusal(asleep!.queue.add(messages('from the dead')))).toBe('QUEUE_DESTROYED');
    expect(await asleep!.queue.claim(1, LEASE)).toEqual([]);
    expect(await asleep!.queue.status()).toMatchObject({ processed: 8, messagesToProcess: 0 });
    expect(await stage.complaints()).toEqual([]);
  });
});

test('of several processes that destroy and create at once, one each does it, and nothing outlives a destroy', async ({
  stage,
  queue,
}) => {
  await queue.close();
  const remotes = await stage.startAll(4);
  for (let round = 0; round < 20; round++) {
    const before = newestSegment(stage.queueFolder);
    const [added] = await remotes[round % 4]!.queue.add(messages(round)).catch(() =>
      remotes[round % 4]!.queue.add(messages(round)),
    );
    expect(added).toMatchObject({ data: round });
    const destroyed = await Promise.all(remotes.map(({ backend }) => backend.destroy(Q)));
    expect(destroyed.filter(Boolean)).toHaveLength(1);
    const made = await Promise.all(remotes.map(({ backend }) => backend.create(Q, {})));
    expect(made.filter(Boolean)).toHaveLength(1);
    expect(newestSegment(stage.queueFolder)).toBeGreaterThan(before);
    await until(async () => (await refusal(remotes[0]!.queue.status())) !== 'QUEUE_DESTROYED');
    const statuses = await Promise.all(
      remotes.map(({ queue: handle }) => handle.status().catch(() => handle.status())),
    );
    expect(statuses.map(({ counts }) => counts.ready)).toEqual(upTo(4).map(() => 0));
  }
  expect(await stage.complaints()).toEqual([]);
});
