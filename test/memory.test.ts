import { expect, test, vi } from 'vitest';
import type { Backend, NewMessage } from '../src/backend.ts';
import { openMemory, QueueManager } from '../src/index.ts';

const message: NewMessage = { json: '1', alias: '', retries: 0, disabled: false, username: '' };

/** A queue whose clock stands still unless it is moved. */
async function queueAt(clock: { now: number }, backend: Backend = openMemory({ now: () => clock.now })) {
  await backend.create('q', {});
  return backend.open('q');
}

test('a lease is over at its end, not before, by the clock that was given', async () => {
  const clock = { now: 1_000_000 };
  const queue = await queueAt(clock);
  await queue.add([message]);
  const [claim] = await queue.claim(1, 30_000);
  clock.now += 29_999;
  expect(await queue.claim(1, 1)).toEqual([]);
  expect(await queue.settle(claim!, { type: 'renew', lease: 10_000 })).toBe(true);
  clock.now += 9_999;
  expect(await queue.claim(1, 1)).toEqual([]);
  clock.now += 1;
  expect(await queue.claim(1, 1)).toMatchObject([{ uuid: claim!.uuid, crashes: 1 }]);
});

test('a claim whose lease is over is good until somebody looks for work', async () => {
  const clock = { now: 0 };
  const queue = await queueAt(clock);
  await queue.add([message]);
  const [claim] = await queue.claim(1, 10);
  clock.now = 100;
  expect((await queue.status()).counts).toMatchObject({ claimed: 1 });
  expect(await queue.settle(claim!, { type: 'complete' })).toBe(true);
});

test('a deferred message is ready from its due time on', async () => {
  const clock = { now: 0 };
  const queue = await queueAt(clock);
  await queue.add([{ ...message, due: 1000 }]);
  clock.now = 999;
  expect(await queue.take()).toBeUndefined();
  clock.now = 1000;
  expect(await queue.take()).toMatchObject({ data: 1 });
});

test('a clock that is set while somebody waits is looked at again within a minute', async () => {
  vi.useFakeTimers();
  try {
    const clock = { now: 0 };
    const queue = await queueAt(clock);
    await queue.add([{ ...message, due: 3_600_000 }]);
    const waiting = queue.wait(undefined, undefined);
    clock.now = 3_600_000;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await waiting).toBe(true);
  } finally {
    vi.useRealTimers();
  }
});

test('without a clock of its own it follows the fake timers of a test', async () => {
  vi.useFakeTimers();
  try {
    await using manager = await QueueManager.open({ queueType: 'memory' });
    await manager.createQueue('q');
    await manager.addMessage('q', { data: 1, dateTimeDeferredExecution: new Date(Date.now() + 600_000) });
    const waiting = manager.waitForMessage('q');
    await vi.advanceTimersByTimeAsync(600_000);
    expect(await waiting).toBe(true);
    expect(await manager.getMessage('q')).toMatchObject({ data: 1 });
  } finally {
    vi.useRealTimers();
  }
});

test('a wait that has ended leaves no timer behind', async () => {
  vi.useFakeTimers();
  try {
    const clock = { now: 0 };
    const queue = await queueAt(clock);
    await queue.add([{ ...message, due: 500 }, message, message]);
    await queue.claim(2, 100);
    const waits = [queue.wait(1000, undefined), queue.wait(undefined, undefined), queue.wait(50, undefined)];
    expect(vi.getTimerCount()).toBeGreaterThan(0);
    // Both leases are over: the first message is suspect, the waiting look at it again.
    clock.now = 100;
    await vi.advanceTimersByTimeAsync(100);
    expect(await Promise.all(waits)).toEqual([true, true, false]);
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});

test('two backends see each other only when they share a store', async () => {
  const store = new Map();
  const [one, two, alone] = [openMemory({ store }), openMemory({ store }), openMemory()];
  await one.create('q', {});
  expect(await two.list()).toEqual(['q']);
  expect(await alone.list()).toEqual([]);
});

test('a closed queue refuses what a backend is asked for directly', async () => {
  const queue = await queueAt({ now: 0 });
  await queue.close();
  await expect(queue.add([message])).rejects.toMatchObject({ code: 'CLOSED' });
});
