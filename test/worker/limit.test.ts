import { expect, test } from 'vitest';
import { QUEUE, aborted, add, altered, drain, gate, manager, start } from './running.ts';

test('a loop with a limit ends after so many tries, and has touched nothing else', async () => {
  await add(10);
  const asked: number[] = [];
  const queues = altered({
    claimMessages(queue, options) {
      asked.push(options.limit);
      return manager.claimMessages(queue, options);
    },
  });
  const report = await start(() => new Promise(setImmediate), { limit: 6, concurrency: 8, queues }).report;
  expect(report).toMatchObject({ ended: 'limit', completed: 6, released: 0 });
  expect((await manager.queueStatus(QUEUE)).counts).toMatchObject({ ready: 4, claimed: 0 });
  expect(asked).toEqual([6]);
  for await (const { attempts } of manager.findMessages(QUEUE)) expect(attempts).toBe(0);
});

test('each try counts, of one message too', async () => {
  await add(2, { retries: 1 });
  const loop = start(() => Promise.reject(new Error('no')), { limit: 3 });
  expect(await loop.report).toMatchObject({ ended: 'limit', retried: 2, failed: 1 });
});

test('draining ends first when there are fewer', async () => {
  await add(2);
  expect(await drain(() => undefined, { limit: 3 })).toMatchObject({ ended: 'drained', completed: 2 });
});

test('a limit of nothing claims nothing', async () => {
  await add(1);
  expect(await start(() => undefined, { limit: 0 }).report).toMatchObject({ ended: 'limit', completed: 0 });
});

test('the last handlers have no deadline, until the loop is told to stop', async () => {
  await add(1);
  const called = gate();
  let signal: AbortSignal | undefined;
  const loop = start(
    async (_, context) => {
      ({ signal } = context);
      called.open();
      throw await aborted(context.signal);
    },
    { limit: 1, stopDeadline: 1 },
  );
  await called.opened;
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(signal?.aborted).toBe(false);
  loop.stop();
  expect(await loop.report).toMatchObject({ ended: 'stopped', released: 1 });
});
