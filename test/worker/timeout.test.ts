import { expect, test } from 'vitest';
import { FinalError } from '../../src/worker/worker.ts';
import { aborted, add, drain, first, gate, start, workerOf } from './running.ts';

test('a try that takes too long has its signal fired, and has failed with TIMEOUT when it gives up', async () => {
  await add(1, { retries: 1 });
  let reason: unknown;
  const errors: unknown[] = [];
  const worker = workerOf(
    async (_, { signal }) => {
      reason = await aborted(signal);
      throw reason;
    },
    { failed: (_, error) => void errors.push(error) },
  );
  const loop = start(worker, { timeout: 20, drain: true });
  expect(await loop.report).toMatchObject({ retried: 1, failed: 1, completed: 0 });
  expect(reason).toMatchObject({ name: 'HandlerAborted', code: 'TIMEOUT' });
  expect(errors).toMatchObject([{ code: 'TIMEOUT' }, { code: 'TIMEOUT' }]);
  expect(loop.told).toEqual(['started', 'ended', 'failed', 'started', 'ended', 'failed']);
  const { state, errors: kept } = await first();
  expect(state).toBe('failed');
  expect(kept[0]).toMatchObject({ name: 'TimeoutError', code: 'TIMEOUT', attempt: 1 });
  expect(kept[0]?.message).toContain('20 ms');
});

test('what a handler throws after its time is up is the cause, and decides nothing', async () => {
  await add(1, { retries: 1 });
  let tries = 0;
  const report = await drain(
    async (_, { signal }) => {
      if (tries++ > 0) return;
      await aborted(signal);
      throw new FinalError('the connection is gone');
    },
    { timeout: 20 },
  );
  expect(report).toMatchObject({ retried: 1, failed: 0, completed: 1 });
});

test('the cause is kept with the message', async () => {
  await add(1);
  await drain(
    async (_, { signal }) => {
      await aborted(signal);
      throw new Error('the connection is gone');
    },
    { timeout: 20 },
  );
  expect((await first()).errors[0]?.stack).toContain('Caused by Error: the connection is gone');
});

test('a handler that succeeds although its time was up has completed its message', async () => {
  await add(1);
  const report = await drain(async (_, { signal }) => void (await aborted(signal)), { timeout: 20 });
  expect(report).toMatchObject({ completed: 1, failed: 0 });
});

test('a timely handler is never told, and leaves no timer', async () => {
  await add(3);
  const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  const before = timers();
  const signals: AbortSignal[] = [];
  await drain((_, { signal }) => void signals.push(signal), { timeout: 3_600_000 });
  expect(signals.map(({ aborted }) => aborted)).toEqual([false, false, false]);
  expect(timers()).toBe(before);
});

test('a handler that ignores its timeout and the stop has failed; its try is not refunded', async () => {
  await add(1, { retries: 1 });
  const told = gate();
  const never = gate();
  const loop = start(
    (_, { signal }) => {
      signal.addEventListener('abort', told.open);
      return never.opened;
    },
    { timeout: 20, stopDeadline: 0 },
  );
  await told.opened;
  loop.stop();
  expect(await loop.report).toMatchObject({ retried: 1, released: 0 });
  expect(await first()).toMatchObject({ attempts: 1, errors: [{ code: 'TIMEOUT' }] });
  never.open();
});

test('a handler that gives up for its timeout while the worker is stopping has failed too', async () => {
  await add(1, { retries: 1 });
  const told = gate();
  const giveUp = gate();
  const loop = start(
    async (_, { signal }) => {
      signal.addEventListener('abort', told.open);
      await giveUp.opened;
      throw signal.reason;
    },
    { timeout: 20, stopDeadline: 0 },
  );
  await told.opened;
  loop.stop();
  // By then the loop has told its handlers to end.
  setTimeout(giveUp.open, 50);
  expect(await loop.report).toMatchObject({ retried: 1, released: 0 });
});
