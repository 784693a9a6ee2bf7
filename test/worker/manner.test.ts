import { describe, expect, test } from 'vitest';
import { RetryAt } from '../../src/worker/worker.ts';
import { add, config, drain, first, workerOf } from './running.ts';

const MINUTE = 60_000;

/** Milliseconds from the first failed try of a message to its next one. */
async function waitAfter(members: object, error: Error = new Error('no')): Promise<number> {
  await add(1, { retries: 9 });
  const worker = workerOf(() => Promise.reject(error), members);
  await drain(worker, { limit: 1 });
  const { dateTimeDeferredExecution: due, errors } = await first();
  return (due?.getTime() ?? Number.NaN) - Date.parse(errors[0]?.at ?? '');
}

describe('the backoff of a worker', () => {
  test('holds instead of the configured one', async () => {
    const wait = await waitAfter({ backoff: 10 * MINUTE });
    expect(wait).toBeGreaterThanOrEqual(5 * MINUTE - 1000);
    expect(wait).toBeLessThanOrEqual(10 * MINUTE + 1000);
  });

  test('is not cut by the configured maximum', async () => {
    expect(await waitAfter({ backoff: 10 * config.worker.backoffMax })).toBeGreaterThan(
      4 * config.worker.backoffMax,
    );
  });

  test('may name the maximum alone', async () => {
    expect(await waitAfter({ backoffMax: 0 })).toBeLessThan(1000);
    expect(config.worker.backoff).toBeGreaterThan(0);
  });

  test('gives way to a RetryAt', async () => {
    const date = new Date(Date.now() + MINUTE);
    const wait = await waitAfter({ backoff: 10 * MINUTE }, new RetryAt(date));
    expect(Math.abs(wait - MINUTE)).toBeLessThan(1000);
  });

  test('may be as long as a number goes', async () => {
    expect(await waitAfter({ backoff: Number.MAX_VALUE })).toBeGreaterThan(1e15);
  });
});

test.each([
  [
    'a negative backoff',
    { backoff: -1 },
    'backoff of the worker: expected milliseconds, 0 or more, received -1',
  ],
  ['a backoff that is no number', { backoff: Number.NaN }, 'received NaN'],
  ['an endless backoff', { backoff: Number.POSITIVE_INFINITY }, 'received Infinity'],
  [
    'a backoff in words',
    { backoffMax: '5m' },
    'backoffMax of the worker: expected milliseconds, 0 or more, received "5m"',
  ],
  [
    'a maximum below the backoff',
    { backoff: 5, backoffMax: 4 },
    'expected at least backoff (5 ms), received 4 ms',
  ],
  ['what is no schema', { schema: { parse: () => true } }, 'expected a Standard Schema'],
])('%s is refused before the worker starts', async (_, members, text) => {
  await add(1);
  let starts = 0;
  const worker = workerOf(() => undefined, { ...(members as object), start: () => void starts++ });
  const error = await drain(worker).catch((error: unknown) => error as Error);
  expect(error).toMatchObject({ name: 'QueueError', code: 'WORKER_FAILED' });
  expect((error as Error).message).toContain(text);
  expect(starts).toBe(0);
  expect(await first()).toMatchObject({ state: 'ready', attempts: 0 });
});
