/** Folders that are deleted, moved, replaced or made read-only under processes that use them. */
import { readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { EXIT } from '../../bin/exit-codes.ts';
import { drain, Q, refusal, sceneTest as test, type Managed, type Scene } from './faulty.ts';
import { until } from './stage.ts';

/** Adds and, in another process, works; resolves when both have the queue open. */
async function two(scene: Scene): Promise<[producer: Managed, worker: Managed]> {
  const [producer, worker] = await Promise.all([scene.start(), scene.start()]);
  await producer.manager.createQueue(Q);
  await producer.manager.addMessage(Q, { data: 'first' });
  expect(await drain(worker)).toEqual(['first']);
  return [producer, worker];
}

/** Past the time for which a process believes what it last saw of its folder. */
const untilRefused = async (add: () => Promise<unknown>): Promise<void> =>
  until(async () =>
    add().then(
      () => false,
      () => true,
    ),
  );

describe('a queue whose folder is deleted', () => {
  test('is no more: adds are refused, then there is none, and a new one of its name works in the same processes', async ({
    scene,
  }) => {
    const [producer, worker] = await two(scene);
    rmSync(scene.queueFolder, { recursive: true });
    const { code, message } = await refusal(producer.manager.addMessage(Q, { data: 'into the void' }));
    expect(code).toBe('STORAGE_FAILED');
    expect(message).toMatch(/moved or removed from outside|a file or folder is gone/);
    await refusal(worker.manager.claimMessages(Q));
    for (const { manager } of [producer, worker]) {
      expect(await refusal(manager.queueStatus(Q))).toMatchObject({ code: 'QUEUE_NOT_FOUND' });
    }
    expect(await producer.manager.createQueue(Q)).toBe(true);
    await producer.manager.addMessage(Q, { data: 'again' });
    expect(await drain(worker)).toEqual(['again']);
  });

  test('ends a worker that waits, with 69 and the reason', async ({ scene }) => {
    const { manager } = await scene.start();
    await manager.createQueue(Q);
    await manager.addMessage(Q, { data: 1 });
    const worker = scene.bench.start('queue-worker', ['log', '--queue', Q, '--cache-root', scene.cacheRoot]);
    await until(async () => (await manager.queueStatus(Q)).processed === 1);
    rmSync(scene.queueFolder, { recursive: true });
    const { code, stderr } = await worker.ended;
    expect(code).toBe(EXIT.unavailable);
    expect(stderr).toMatch(/^queue-worker: .*(no queue named|holds no segment)/m);
  });
});

describe('a cacheRoot that is gone', () => {
  test('is not made again behind the back of whoever has moved it; when it is back, the same processes go on', async ({
    scene,
  }) => {
    const [producer, worker] = await two(scene);
    await producer.manager.addMessage(Q, { data: 'kept' });
    renameSync(scene.cacheRoot, `${scene.cacheRoot}-away`);
    await untilRefused(() => producer.manager.addMessage(Q, { data: 'n' }));
    for (const { manager } of [producer, worker])
      for (const call of [manager.addMessage(Q, { data: 1 }), manager.createQueue(Q), manager.listQueues()])
        expect(await refusal(call)).toMatchObject({
          code: 'STORAGE_FAILED',
          message: expect.stringMatching(/a file or folder is gone; was it moved or deleted/) as string,
        });
    expect(readdirSync(scene.bench.folder)).not.toContain('queues');
    renameSync(`${scene.cacheRoot}-away`, scene.cacheRoot);
    await producer.manager.addMessage(Q, { data: 'again' });
    const got = await drain(worker);
    expect([got[0], got.at(-1)]).toEqual(['kept', 'again']);
  });
});

describe('a folder in whose place another one is put', () => {
  test('takes nothing from the one that is there now: what is written before anybody notices is where the old one has gone', async ({
    scene,
  }) => {
    const [producer, worker] = await two(scene);
    await producer.manager.createQueue('other');
    await producer.manager.addMessage('other', { data: 'of the other' });
    renameSync(scene.queueFolder, join(scene.cacheRoot, 'away'));
    renameSync(join(scene.cacheRoot, 'other'), scene.queueFolder);
    // Two segments' worth: whoever moves on to the next one must not do it in this folder.
    const added: unknown[] = [];
    for (let first = 0; first < 200; first += 10)
      added.push(...(await producer.manager.addNumbers(Q, { first, count: 10, bytes: 100_000 })));
    const fresh = await scene.start();
    const there = await fresh.manager.drain('away');
    const [first, ...here] = await drain(fresh);
    expect(first).toBe('of the other');
    expect([...there, ...here]).toEqual(added);
    for (const queue of [Q, 'away'])
      expect(await scene.bench.queue('verify', queue, '--cache-root', scene.cacheRoot)).toMatchObject({
        code: EXIT.ok,
      });
    // What it had open is gone, which it is told once, if it has not noticed before.
    await worker.manager.queueStatus(Q).catch(() => undefined);
    expect(await worker.manager.queueStatus(Q)).toMatchObject({ messagesToProcess: 0, damaged: 0 });
  });
});
