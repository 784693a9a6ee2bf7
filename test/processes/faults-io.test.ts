/** System calls that fail, in real processes: each is refused with a reason, nothing acknowledged is lost, and the same process goes on. */
import { readdirSync } from 'node:fs';
import { afterAll, describe, expect } from 'vitest';
import { EXIT } from '../../bin/exit-codes.ts';
import { drain, Q, refusal, sceneTest, Shim, type Fault, type Faults, type Managed } from './faulty.ts';

const shim = new Shim();
afterAll(() => shim.remove());
if (shim.missing !== undefined) console.log(`faults-io: skipped, ${shim.missing}`);

/** A process with a queue, whose system calls can be made to fail. */
const test = sceneTest.extend<{ faults: Faults; process: Managed }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads from the pattern which fixtures this one needs
  faults: async ({}, use) => use(shim.faults()),
  process: async ({ scene, faults }, use) => {
    const managed = await scene.start({ env: faults.env });
    await managed.manager.createQueue(Q);
    await use(managed);
  },
});

/** What is worth waiting out, and in words. */
function refused(words: string, code = 'STORAGE_FAILED'): object {
  return { code, message: expect.stringContaining(words) as string };
}

const FAILED = 'the device has reported an error (EIO)';

describe.skipIf(shim.missing !== undefined)('a device that fails', () => {
  test('when an add is written: the add is refused, and the next one is taken', async ({
    faults,
    process,
  }) => {
    const { manager } = process;
    await manager.addMessage(Q, { data: 1 });
    faults.begin({ call: 'write', path: '.journal', how: 'EIO' });
    expect(await refusal(manager.addMessage(Q, { data: 2 }))).toMatchObject(refused(FAILED));
    expect(await refusal(manager.claimMessages(Q))).toMatchObject(refused(FAILED));
    faults.end();
    await manager.addMessage(Q, { data: 3 });
    expect(await drain(process)).toEqual([1, 3]);
  });

  test('when an add is flushed: nobody is told that it is there, and what was acknowledged is', async ({
    scene,
    faults,
    process,
  }) => {
    const { manager } = process;
    await manager.addMessage(Q, { data: 1 });
    faults.begin({ call: 'sync', path: '.journal', times: 1, how: 'EIO' });
    const first = manager.addMessage(Q, { data: 2 });
    // It may come too late for that flush: then it is there.
    const second = manager.addMessage(Q, { data: 3 }).then(
      () => [3],
      (error: unknown) => (expect(error).toMatchObject(refused(FAILED)), []),
    );
    expect(await refusal(first)).toMatchObject(refused(FAILED));
    const late = await second;
    faults.end();
    await manager.addMessage(Q, { data: 4 });
    const got = await drain(process);
    // What was refused may have been written after all.
    const acknowledged = [1, ...late, 4];
    expect(got.filter((n) => acknowledged.includes(n as number))).toEqual(acknowledged);
    expect(await scene.bench.queue('verify', Q, '--cache-root', scene.cacheRoot)).toMatchObject({
      code: EXIT.ok,
    });
  });

  test('in the middle of a write: what was written of it harms nobody', async ({
    scene,
    faults,
    process,
  }) => {
    const { manager } = process;
    const other = await scene.start();
    await manager.addMessage(Q, { data: 1 });
    for (const bytes of [1, 20, 100, 250]) {
      const met = faults.met().length + 1;
      faults.begin(
        { call: 'write', path: '.journal', times: 1, how: { bytes } },
        { call: 'write', path: '.journal', skip: 1, times: 1, how: 'EIO' },
      );
      const calls = [2, 3].map((data) => manager.addMessage(Q, { data: { bytes, data } }));
      const answers = await Promise.allSettled(calls);
      // What was cut off is refused, or written again and there: both are true answers.
      expect(faults.met().length).toBeGreaterThan(met);
      faults.end();
      await other.manager.addMessage(Q, { data: bytes });
      const expected = answers.flatMap((answer) =>
        answer.status === 'fulfilled' ? [answer.value.data] : [],
      );
      expect(await drain(other)).toEqual([...(bytes === 1 ? [1] : []), ...expected, bytes]);
    }
    expect(await scene.bench.queue('verify', Q, '--cache-root', scene.cacheRoot)).toMatchObject({
      code: EXIT.ok,
    });
  });

  test('now and then writes less than it was given: nobody notices', async ({ faults, process }) => {
    faults.begin({ call: 'write', path: '.journal', how: { bytes: 1000 } });
    const data = { filler: 'x'.repeat(20_000) };
    await process.manager.addMessages(Q, [{ data }, { data }]);
    expect(faults.met().length).toBeGreaterThan(40);
    expect(await drain(process)).toEqual([data, data]);
  });

  test('for a moment when messages are read: they are handed out all the same', async ({
    faults,
    process,
  }) => {
    const { manager } = process;
    await manager.addMessages(Q, [{ data: 1 }, { data: 2 }]);
    // From now on only the messages themselves are read.
    await manager.queueStatus(Q);
    faults.begin({ call: 'read', path: '.journal', times: 1, how: 'EIO' });
    expect(await manager.claimMessages(Q, { limit: 2 })).toMatchObject([{ data: 1 }, { data: 2 }]);
    expect(faults.met()).toHaveLength(1);
  });

  test('whenever messages are read: the call is refused, and they are back in line at once', async ({
    faults,
    process,
  }) => {
    const { manager } = process;
    await manager.addMessages(Q, [{ data: 1 }, { data: 2 }]);
    await manager.queueStatus(Q);
    faults.begin({ call: 'read', path: '.journal', how: 'EIO' });
    expect(await refusal(manager.claimMessages(Q, { limit: 2 }))).toMatchObject(refused(FAILED));
    expect(await refusal(manager.getMessage(Q))).toMatchObject(refused(FAILED));
    faults.end();
    expect(await manager.queueStatus(Q)).toMatchObject({ counts: { ready: 2, claimed: 0, failed: 0 } });
    // One at a time: each may be what the device fails at.
    expect([await manager.getMessage(Q), await manager.getMessage(Q)]).toMatchObject([
      { data: 1, crashes: expect.any(Number) as number },
      { data: 2 },
    ]);
  });

  test('for good when one message is read: it is set aside as failed, with the reason, and the others go on', async ({
    faults,
    process,
  }) => {
    const { manager } = process;
    const [first] = await manager.addMessages(Q, [{ data: 1 }]);
    for (let tries = 1; tries <= 3; tries++) {
      await manager.queueStatus(Q);
      faults.begin({ call: 'read', path: '.journal', how: 'EIO' });
      await refusal(manager.claimMessages(Q));
      faults.end();
    }
    await manager.addMessage(Q, { data: 2 });
    expect(await drain(process)).toEqual([2]);
    const failed = await manager.findMessage(Q, { uuid: first!.uuid });
    expect(failed).toMatchObject({ state: 'failed', data: 1, crashes: 3 });
    expect(failed!.errors.at(-1)).toMatchObject({
      code: 'STORAGE_FAILED',
      message: expect.stringContaining(FAILED) as string,
    });
    expect(await manager.retryMessages(Q, 'all')).toBe(1);
    expect(await drain(process)).toEqual([1]);
  });

  /** Everything that changing to the next segment consists of. */
  const STEPS: readonly Fault[] = [
    { call: 'open', path: 'tmp-', how: 'EMFILE' },
    { call: 'write', path: 'tmp-', how: 'EIO' },
    { call: 'write', path: 'tmp-', skip: 1, how: 'EIO' },
    { call: 'truncate', path: 'tmp-', how: 'EIO' },
    { call: 'sync', path: 'tmp-', how: 'EIO' },
    { call: 'sync', path: `/${Q}`, skip: 3, how: 'EIO' },
    { call: 'rename', path: '.journal', how: 'EIO' },
    { call: 'open', path: `/${Q}`, skip: 1, how: 'EMFILE' },
    { call: 'open', path: `/${Q}`, skip: 2, how: 'EMFILE' },
    { call: 'open', path: `/${Q}`, skip: 3, how: 'EMFILE' },
    { call: 'open', path: `/${Q}`, skip: 4, how: 'EMFILE' },
    { call: 'open', path: '00000002.journal', how: 'EMFILE' },
    { call: 'write', path: '.index', how: 'EIO' },
    { call: 'read', path: '.journal', how: 'EIO' },
  ];
  const label = ({ call, path, skip = 0, how }: Fault): string =>
    `${call} of ${path}, ${JSON.stringify(how)} after ${skip}`;

  test.for(STEPS.map((fault): [string, Fault] => [label(fault), fault]))(
    'on the way to the next segment (%s): nothing acknowledged is lost, and it gets there afterwards',
    async ([, fault], { scene, faults, process }) => {
      const { manager } = process;
      const add = (first: number, count: number): Promise<number[]> =>
        manager.addNumbers(Q, { first, count, bytes: 100_000 });
      // A segment is full at 8 MiB.
      const added = await add(0, 80);
      faults.begin({ times: 1, ...fault });
      let n = 80;
      // While the device is slow the segment may grow by half, and a little more.
      for (; n < 110 || (faults.met().length === 0 && n < 200); n += 10) added.push(...(await add(n, 10)));
      faults.end();
      expect(faults.met()).toHaveLength(1);
      const hasNext = (): boolean => readdirSync(scene.queueFolder).includes('00000002.journal');
      for (let rest = 20; rest > 0 || !hasNext(); rest -= 10, n += 10) {
        expect(n, 'messages without a second segment').toBeLessThan(300);
        const more = await add(n, 10);
        expect(more).toHaveLength(10);
        added.push(...more);
      }
      const got = await drain(process);
      // Of those that were refused, some may be there.
      expect(got.filter((n) => added.includes(n as number))).toEqual(added);
      expect(got).toHaveLength(new Set(got).size);
      expect(await scene.bench.queue('verify', Q, '--cache-root', scene.cacheRoot)).toMatchObject({
        code: EXIT.ok,
      });
    },
  );

  test('when a queue is made: there is none, and it can be made afterwards', async ({ scene, faults }) => {
    const { manager } = await scene.start({ env: faults.env });
    await manager.listQueues();
    for (const fault of [
      { call: 'write', path: '00000001.journal', how: 'EIO' },
      { call: 'sync', path: '00000001.journal', how: 'EIO' },
      { call: 'sync', path: '.new-', how: 'EIO' },
      { call: 'rename', path: `/${Q}`, how: 'EIO' },
      { call: 'open', path: '00000001.journal', how: 'EMFILE' },
    ] satisfies Fault[]) {
      faults.begin(fault);
      expect(await refusal(manager.createQueue(Q)), label(fault)).toMatchObject({ code: 'STORAGE_FAILED' });
      faults.end();
      expect(readdirSync(scene.cacheRoot)).toEqual([]);
    }
    expect(await manager.createQueue(Q)).toBe(true);
  });
});

describe.skipIf(shim.missing !== undefined)('the commands on a device that fails', () => {
  test('say so, with 69, and add nothing', async ({ scene, faults, process }) => {
    const { bench, cacheRoot } = scene;
    await process.manager.addMessage(Q, { data: 1 });
    const add = ['add', Q, '2', '--cache-root', cacheRoot];
    for (const call of ['write', 'sync'] as const) {
      faults.begin({ call, path: '.journal', how: 'EIO' });
      const { code, stdout, stderr } = await bench.run('queue', add, '', faults.env);
      expect({ code, stdout }).toEqual({ code: EXIT.unavailable, stdout: '' });
      expect(stderr).toMatch(
        /^queue: (writing|flushing) .* failed because the device has reported an error \(EIO\)/,
      );
      expect(stderr.split('\n')).toHaveLength(2);
      faults.end();
    }
    expect(await bench.run('queue', add, '', faults.env)).toMatchObject({ code: EXIT.ok });
  });

  test('a worker waits until it is over, says why, and then works everything off', async ({
    scene,
    faults,
    process,
  }) => {
    const { bench, cacheRoot } = scene;
    await process.manager.addMessages(Q, [{ data: 1 }, { data: 2 }]);
    faults.begin({ call: 'write', path: '.journal', how: 'EIO' });
    const worker = bench.start('queue-worker', ['log', '--queue', Q, '--cache-root', cacheRoot], faults.env);
    await worker.said(FAILED);
    faults.end();
    await worker.said(/processed|"data":2|2/);
    await process.manager.addMessage(Q, { data: 3 });
    while ((await process.manager.queueStatus(Q)).messagesToProcess > 0)
      await process.manager.waitForMessage(Q, { timeout: 50 });
    worker.process.kill('SIGTERM');
    expect(await worker.ended).toMatchObject({ code: EXIT.ok });
    expect(await process.manager.queueStatus(Q)).toMatchObject({ processed: 3, counts: { failed: 0 } });
  });
});
