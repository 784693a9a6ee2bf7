import { performance } from 'node:perf_hooks';
import { expect, test } from 'vitest';
import { QueueError } from '../../src/errors.ts';
import type { WorkerQueues } from '../../src/worker/loop.ts';
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
  start,
} from './running.ts';

interface Spy {
  queues: WorkerQueues;
  words: { percent: number; text: string; at: number }[];
}

function spying(): Spy {
  const words: Spy['words'] = [];
  const queues = altered({
    reportProgress(queue, claim, progress) {
      words.push({ percent: progress.percent, text: progress.text, at: performance.now() });
      return manager.reportProgress(queue, claim, progress);
    },
  });
  return { queues, words };
}

test('what a handler says is seen by others while it runs', async () => {
  await add(1);
  const done = gate();
  const report = drain((_, { progress }) => {
    progress(10);
    progress(40, 'downloading');
    return done.opened;
  });
  await expect
    .poll(async () => (await first()).holder?.progress, PATIENCE)
    .toMatchObject({ percent: 40, text: 'downloading' });
  done.open();
  expect(await report).toMatchObject({ completed: 1 });
});

test('however much it says, at most two words a second are written, and always the last one', async () => {
  await add(1);
  const { queues, words } = spying();
  let said = 0;
  await drain(
    async (_, { progress }) => {
      while (words.length < 3) {
        progress(said++ % 100, String(said));
        await new Promise(setImmediate);
      }
    },
    { queues },
  );
  expect(said).toBeGreaterThan(100);
  const gaps = words.slice(1).map(({ at }, index) => at - (words[index]?.at ?? 0));
  expect(Math.min(...gaps)).toBeGreaterThan(490);
  expect(Number(words[2]?.text)).toBeGreaterThanOrEqual(said - 1);
});

test('a short handler costs no record, and what was not written at its end never is', async () => {
  await add(50);
  const { queues, words } = spying();
  const loop = start((_, { progress }) => progress(50, 'half'), { queues });
  await expect.poll(() => loop.told.filter((type) => type === 'completed').length, PATIENCE).toBe(50);
  const later = gate();
  setTimeout(later.open, 700);
  await later.opened;
  loop.stop();
  await loop.report;
  expect(words).toEqual([]);
});

test('a handler that goes on talking after it has ended is not listened to, and no timer is left', async () => {
  await add(2);
  const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  const before = timers();
  const { queues, words } = spying();
  const say: ((percent: number) => void)[] = [];
  await drain(
    ({ data }, { progress }) => {
      say.push(progress);
      if (data === 0) progress(1);
    },
    { queues },
  );
  for (const progress of say) progress(99);
  expect(timers()).toBe(before);
  expect(words).toEqual([]);
});

test('whatever it says is taken as well as it goes', async () => {
  const cases: [percent: unknown, text: unknown, shown: { percent: number; text: string }][] = [
    [0 / 0, 'x', { percent: 0, text: 'x' }],
    [Number.POSITIVE_INFINITY, 'x', { percent: 100, text: 'x' }],
    [-5, 'x', { percent: 0, text: 'x' }],
    ['half', undefined, { percent: 0, text: '' }],
    [7, { toString: () => 'x' }, { percent: 7, text: '' }],
    [7, 'ü'.repeat(5000), { percent: 7, text: 'ü'.repeat(512) }],
    // 1023 bytes and a character of four, which goes as a whole.
    [7, `${'x'.repeat(1023)}\u{1f600}`, { percent: 7, text: 'x'.repeat(1023) }],
  ];
  await add(cases.length);
  const { queues, words } = spying();
  const seen = gate();
  const report = drain(
    ({ data }, { progress }) => {
      const [percent, text] = cases[data as number] ?? [];
      progress(percent as number, text as string);
      return seen.opened;
    },
    { queues, concurrency: cases.length },
  );
  await expect.poll(() => words.length, PATIENCE).toBe(cases.length);
  for await (const { data, holder } of manager.findMessages(QUEUE)) {
    expect(holder?.progress).toMatchObject(cases[data as number]?.[2] ?? {});
  }
  seen.open();
  await report;
});

test('a store that will not take it is no problem of the handler, and is told of once', async () => {
  await add(1);
  const error = new QueueError('STORAGE_FAILED', 'EIO');
  let refusals = 0;
  const refused = (): boolean => refusals === 2;
  const loop = start(
    async (_, { progress }) => {
      for (; !refused(); await new Promise(setImmediate)) progress(1);
    },
    {
      drain: true,
      queues: altered({
        reportProgress() {
          refusals++;
          return Promise.reject(error);
        },
      }),
    },
  );
  expect(await loop.report).toMatchObject({ completed: 1 });
  expect(loop.events.filter(({ type }) => type === 'trouble')).toMatchObject([{ error }]);
});

test('it counts as a renewal', async () => {
  await add(1);
  const { queues, words } = spying();
  const renewMessage = (): Promise<boolean> => Promise.reject(new QueueError('STORAGE_FAILED', 'EIO'));
  const report = await drain(
    async (_, { progress, signal }) => {
      // Three records are more than a second: without them the lease would be known to be over.
      while (words.length < 3 && !signal.aborted) {
        progress(words.length);
        await new Promise(setImmediate);
      }
    },
    { queues: { ...queues, renewMessage }, lease: 700 },
  );
  expect(report).toMatchObject({ completed: 1, lost: 0 });
});

test('a claim that is found to have ended by it fires the signal', async () => {
  await add(1);
  let reason: unknown;
  const report = await drain(
    async ({ crashes }, { progress, signal }) => {
      if (crashes > 0) return;
      progress(1);
      reason = await aborted(signal);
    },
    {
      queues: altered({
        lostClaims: async () => new Map(),
        async reportProgress(...args) {
          await lapseAll();
          return manager.reportProgress(...args);
        },
      }),
    },
  );
  expect(reason).toMatchObject({ code: 'LEASE_LOST' });
  expect(report).toMatchObject({ lost: 1, completed: 1 });
});
