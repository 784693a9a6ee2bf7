/** A small disk that fills up, or can only be read, under programs and commands; test/processes/full-disk.test.ts has the engine's part. */
import { join } from 'node:path';
import { describe, expect, test as base } from 'vitest';
import { EXIT } from '../../bin/exit-codes.ts';
import { Disk, drain, Q, refusal, Scene } from './faulty.ts';
import { until } from './stage.ts';

const missing = Disk.missing();
if (missing !== undefined) console.log(`faults-space: skipped, ${missing}`);

/** A scene on a disk of its own. */
const test = base.extend<{ disk: Disk; scene: Scene }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads from the pattern which fixtures this one needs
  disk: async ({}, use) => {
    const disk = new Disk(24 * 1024 * 1024);
    try {
      await use(disk);
    } finally {
      disk.remove();
    }
  },
  scene: async ({ disk }, use) => {
    const scene = new Scene(join(disk.folder, 'queues'));
    try {
      await use(scene);
    } finally {
      await scene.close();
    }
  },
});

describe.skipIf(missing !== undefined)('a full disk', () => {
  test('stops a program that adds, until there is space again; what was acknowledged is all there', async ({
    disk,
    scene,
  }) => {
    const producer = await scene.start();
    const { manager } = producer;
    await manager.createQueue(Q);
    const added = await manager.addNumbers(Q, { first: 0, count: 100, bytes: 50_000 });
    expect(added).toHaveLength(100);
    const free = disk.fill();
    const data = { filler: 'x'.repeat(50_000) };
    expect(await refusal(manager.addMessage(Q, { data }))).toMatchObject({
      code: 'STORAGE_FULL',
      message: expect.stringMatching(/free space|no space left/) as string,
    });
    free();
    const again = await untilTaken(() => manager.addMessage(Q, { data: 'again' }));
    expect(again).toMatchObject({ data: 'again' });
    expect(await drain(producer)).toEqual([...added, 'again']);
  });

  test('refuses what commands add with 75, and is worked off by a worker meanwhile', async ({
    disk,
    scene,
  }) => {
    const { bench, cacheRoot } = scene;
    const { manager } = await scene.start();
    await manager.createQueue(Q);
    await manager.addNumbers(Q, { first: 0, count: 100, bytes: 50_000 });
    const free = disk.fill();
    const add = ['add', Q, '1', '--cache-root', cacheRoot];
    const { code, stdout, stderr } = await bench.queue(...add);
    expect({ code, stdout }).toEqual({ code: EXIT.tryAgain, stdout: '' });
    expect(stderr).toMatch(/^queue: adds need \d+ bytes of free space.*\(STORAGE_FULL, .*\)\n$/);
    const work = ['log', '--queue', Q, '--cache-root', cacheRoot, '--drain', '--json'];
    const worked = await bench.run('queue-worker', work, '', { CODA_LEVEL: 'ERROR' });
    expect(worked).toMatchObject({ code: EXIT.ok });
    expect(JSON.parse(worked.stdout)).toMatchObject({ completed: 100, failed: 0 });
    free();
    expect(await bench.queue(...add)).toMatchObject({ code: EXIT.ok });
    expect(await bench.queue('verify', Q, '--cache-root', cacheRoot)).toMatchObject({ code: EXIT.ok });
  });
});

describe.skipIf(missing !== undefined)('a file system that can only be read', () => {
  const READ_ONLY = 'the file system can only be read (EROFS)';

  test('lists and verifies, refuses what changes, and takes it when it can be written to again', async ({
    disk,
    scene,
  }) => {
    const { bench, cacheRoot } = scene;
    const before = await scene.start();
    await before.manager.createQueue(Q);
    await before.manager.addMessage(Q, { data: 1 });
    await before.end();
    disk.readOnly();
    const root = ['--cache-root', cacheRoot];
    expect(await bench.queue('verify', Q, ...root)).toMatchObject({ code: EXIT.ok });
    for (const args of [
      ['add', Q, '2'],
      ['get', Q],
      ['create', 'another'],
    ]) {
      const { code, stdout, stderr } = await bench.queue(...args, ...root);
      expect({ code, stdout }).toEqual({ code: EXIT.unavailable, stdout: '' });
      expect(stderr).toContain(READ_ONLY);
    }
    const worker = bench.start('queue-worker', ['log', '--queue', Q, ...root]);
    const { code, stderr } = await worker.ended;
    expect({ code, stderr }).toEqual({
      code: EXIT.unavailable,
      stderr: expect.stringContaining(READ_ONLY) as string,
    });
    const program = await scene.start();
    const { manager } = program;
    expect(await manager.listQueues()).toEqual([Q]);
    expect(await refusal(manager.addMessage(Q, { data: 2 }))).toMatchObject({
      code: 'STORAGE_FAILED',
      message: expect.stringContaining(READ_ONLY) as string,
    });
    disk.writable();
    await manager.addMessage(Q, { data: 3 });
    expect(await drain(program)).toEqual([1, 3]);
  });
});

/** How much space there is is looked at once a second. */
async function untilTaken<T>(call: () => Promise<T>): Promise<T> {
  let answer: { value: T } | undefined;
  await until(async () => {
    answer = await call().then(
      (value) => ({ value }),
      () => undefined,
    );
    return answer !== undefined;
  });
  return answer!.value;
}
