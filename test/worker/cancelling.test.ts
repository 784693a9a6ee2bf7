import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { describe, expect, test } from 'vitest';
import { QueueError } from '../../src/errors.ts';
import { QueueManager } from '../../src/queue-manager.ts';
import {
  PATIENCE,
  QUEUE,
  aborted,
  add,
  altered,
  drain,
  first,
  gate,
  lapseAll,
  manager,
  open,
  start,
} from './running.ts';

describe('a message that is cancelled while its handler runs', () => {
  test('has its handler told within a second, and what that makes of it is discarded', async () => {
    await add(1);
    let reason: unknown;
    const loop = start(
      async (_, { signal }) => {
        reason = await aborted(signal);
      },
      { drain: true },
    );
    const { message } = await loop.event('started');
    const other = await open();
    const asked = performance.now();
    await other.cancelMessage(QUEUE, message.uuid, 'ordered twice');
    await loop.event('lost');
    expect(performance.now() - asked).toBeLessThan(1000);
    expect(await loop.report).toMatchObject({ completed: 0, cancelled: 1, lost: 0, failed: 0 });
    expect(reason).toMatchObject({ name: 'HandlerAborted', code: 'CANCELLED' });
    expect(loop.told).toEqual(['started', 'lost', 'ended']);
    expect(loop.events[1]).toMatchObject({ why: 'cancelled' });
    expect(await first()).toMatchObject({ state: 'failed', errors: [{ code: 'CANCELLED' }] });
    await other.close();
  });

  test('is not failed a second time by a handler that throws when it is told', async () => {
    await add(1, { retries: 3 });
    const loop = start(
      async ({ uuid }, { signal }) => {
        await manager.cancelMessage(QUEUE, uuid);
        throw await aborted(signal);
      },
      { drain: true },
    );
    expect(await loop.report).toMatchObject({ cancelled: 1, failed: 0, retried: 0 });
    expect((await first()).errors).toHaveLength(1);
  });

  test('and whose handler ends before it is told counts as cancelled too', async () => {
    await add(1);
    const report = await drain(async ({ uuid }) => void (await manager.cancelMessage(QUEUE, uuid)));
    expect(report).toMatchObject({ completed: 0, cancelled: 1, lost: 0 });
  });

  test('by removing it, has its handler told likewise', async () => {
    await add(1);
    let reason: unknown;
    const report = await drain(async ({ uuid }, { signal }) => {
      await manager.removeMessage(QUEUE, uuid);
      reason = await aborted(signal);
    });
    expect(report).toMatchObject({ cancelled: 1 });
    expect(reason).toMatchObject({ code: 'CANCELLED' });
  });

  test('by destroying its queue, has its handler told likewise', async () => {
    await add(1);
    let reason: unknown;
    const loop = start(async (_, { signal }) => {
      await manager.destroyQueue(QUEUE);
      reason = await aborted(signal);
    });
    await expect(loop.report).rejects.toMatchObject({ name: 'QueueError' });
    expect(reason).toMatchObject({ code: 'CANCELLED' });
  });
});

test('a claim that has lapsed is found out long before it would be renewed', async () => {
  await add(1);
  let reason: unknown;
  const report = await drain(
    async ({ crashes }, { signal }) => {
      if (crashes > 0) return;
      await lapseAll();
      reason = await aborted(signal);
    },
    { lease: 3_600_000 },
  );
  expect(reason).toMatchObject({ code: 'LEASE_LOST' });
  expect(report).toMatchObject({ lost: 1, cancelled: 0, completed: 1 });
});

describe('the question which claims have ended', () => {
  test('is not asked for handlers that end soon, nor when none runs', async () => {
    // More than a second of handlers that take 25 ms, so that looks are due while they run.
    await add(100);
    let questions = 0;
    const idle = gate();
    const loop = start(() => new Promise((resolve) => setTimeout(resolve, 25)), {
      concurrency: 2,
      queues: altered({
        lostClaims(...args) {
          questions++;
          return manager.lostClaims(...args);
        },
      }),
    });
    await expect.poll(() => loop.told.filter((type) => type === 'completed').length, PATIENCE).toBe(100);
    setTimeout(idle.open, 600);
    await idle.opened;
    loop.stop();
    expect((await loop.report).completed).toBe(100);
    expect(questions).toBe(0);
  });

  test('is one for all, and asked again only when it has been answered', async () => {
    await add(3);
    const done = gate();
    const sizes: number[] = [];
    let asking = 0;
    let most = 0;
    const loop = start(() => done.opened, {
      concurrency: 3,
      drain: true,
      queues: altered({
        async lostClaims(queue, claims) {
          sizes.push(claims.length);
          most = Math.max(most, ++asking);
          await new Promise((resolve) => setTimeout(resolve, 700));
          asking--;
          if (sizes.length === 2) done.open();
          return manager.lostClaims(queue, claims);
        },
      }),
    });
    expect((await loop.report).completed).toBe(3);
    expect([most, sizes]).toEqual([1, [3, 3]]);
  });

  test('may be refused: that is told once, and handlers go on', async () => {
    await add(1);
    const error = new QueueError('STORAGE_FAILED', 'EIO');
    const done = gate();
    let questions = 0;
    const loop = start(() => done.opened, {
      drain: true,
      queues: altered({
        lostClaims() {
          if (++questions === 3) done.open();
          return Promise.reject(error);
        },
      }),
    });
    expect((await loop.report).completed).toBe(1);
    expect(loop.events.filter(({ type }) => type === 'trouble')).toEqual([
      { type: 'trouble', during: 'look for cancelled messages', error, pause: 500 },
    ]);
  });
});

test('on files, from another manager, a cancelled message has its handler told within a second', async () => {
  const cacheRoot = await mkdtemp(join(tmpdir(), 'coda-cancelling-'));
  try {
    await using files = await QueueManager.open({ cacheRoot, durability: 'os' });
    await using other = await QueueManager.open({ cacheRoot, durability: 'os' });
    await files.createQueue(QUEUE);
    const { uuid } = await files.addMessage(QUEUE, { data: 1 });
    let reason: unknown;
    const loop = start(
      async (_, { signal, progress }) => {
        progress(30, 'a third');
        reason = await aborted(signal);
      },
      { queues: files, drain: true },
    );
    await expect
      .poll(async () => (await other.findMessage(QUEUE, { uuid }))?.holder, PATIENCE)
      .toMatchObject({ progress: { percent: 30, text: 'a third' } });
    const asked = performance.now();
    await other.cancelMessage(QUEUE, uuid);
    await loop.event('lost');
    expect(performance.now() - asked).toBeLessThan(1000);
    expect(reason).toMatchObject({ code: 'CANCELLED' });
    expect(await loop.report).toMatchObject({ cancelled: 1 });
  } finally {
    await rm(cacheRoot, { recursive: true });
  }
});
