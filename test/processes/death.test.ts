/**
 * What becomes of the messages of a worker that dies, or stands still, while it holds them. Proof of death is the
 * process table, so the workers here are processes.
 */
import { describe, expect } from 'vitest';
import type { Queue } from '../../src/backend.ts';
import type { Claim } from '../../src/message.ts';
import { messages, stageTest, stateOf, until, type Remote } from './stage.ts';

const test = stageTest();

/** Longer than any test takes: what comes back before was proven dead. */
const LONG_LEASE = 600_000;
/** A dead worker's messages are to be back in about one second; ms. */
const PROMPT = 3000;

/** Claims one after the other and completes each, as far as there are any now. */
async function drain(queue: Pick<Queue, 'claim' | 'settle'>): Promise<Claim[]> {
  const drained: Claim[] = [];
  for (;;) {
    const claims = await queue.claim(10, LONG_LEASE);
    if (claims.length === 0) return drained;
    drained.push(...claims);
    for (const claim of claims) expect(await queue.settle(claim, { type: 'complete' })).toBe(true);
  }
}

/** Adds `data` and has a worker claim it. */
async function held(queue: Queue, worker: Remote, data: unknown[], lease = LONG_LEASE): Promise<Claim[]> {
  await queue.add(messages(...data));
  const claims = await worker.queue.claim(data.length, lease);
  expect(claims.map((claim) => claim.data)).toEqual(data);
  return claims;
}

describe('a worker killed with SIGKILL', () => {
  test('has its messages back in line about a second later, each once, before those that came after it', async ({
    stage,
    queue,
  }) => {
    const [worker, other] = await Promise.all([stage.start(), stage.start()]);
    const claims = await held(queue, worker, ['a', 'b', 'c']);
    // Two that wait: both see the death, and both write it down, the second not knowing of the first.
    const waiting = queue.wait(20_000, undefined);
    const late = other.queue.wait(20_000);
    await other.queue.status();
    await other.stop();
    await worker.kill();
    const died = performance.now();
    expect(await waiting).toBe(true);
    expect(performance.now() - died).toBeLessThan(PROMPT);
    other.resume();
    expect(await late).toBe(true);

    await queue.add(messages('d', 'e'));
    const first = await drain(queue);
    expect(first.map(({ data, attempts, crashes }) => ({ data, attempts, crashes }))).toEqual([
      { data: 'a', attempts: 1, crashes: 1 },
      { data: 'b', attempts: 1, crashes: 1 },
      { data: 'c', attempts: 1, crashes: 1 },
      { data: 'd', attempts: 1, crashes: 0 },
      { data: 'e', attempts: 1, crashes: 0 },
    ]);
    expect(first.slice(0, 3).map(({ uuid }) => uuid)).toEqual(claims.map(({ uuid }) => uuid));
    for (const { errors } of first.slice(0, 3)) {
      expect(errors).toMatchObject([
        { name: 'WorkerDied', attempt: 1, message: expect.stringContaining(String(worker.pid)) },
      ]);
    }
    expect(await drain(queue)).toEqual([]);
    expect(await other.queue.claim(10, LONG_LEASE)).toEqual([]);
    expect(await queue.status()).toMatchObject({ processed: 5, messagesToProcess: 0 });
    expect(await stage.complaints()).toEqual([]);
  });

  test('leaves what it had settled as it was', async ({ stage, queue }) => {
    const worker = await stage.start();
    const [a, b] = await held(queue, worker, ['a', 'b', 'c']);
    expect(await worker.queue.settle(a!, { type: 'complete' })).toBe(true);
    const error = { at: new Date().toISOString(), attempt: 1, name: 'Error', message: 'no' };
    expect(await worker.queue.settle(b!, { type: 'fail', error })).toBe(true);
    const waiting = queue.wait(20_000, undefined);
    await worker.kill();
    expect(await waiting).toBe(true);
    expect(await drain(queue)).toMatchObject([{ data: 'c', crashes: 1 }]);
    expect(await queue.status()).toMatchObject({ processed: 2, counts: { failed: 1, ready: 0, claimed: 0 } });
  });

  test('three times by the same message: it has failed, with what is known of each death, and others go on', async ({
    stage,
    queue,
  }) => {
    await queue.add(messages('poison', 'sound'));
    const pids: number[] = [];
    for (let death = 1; death <= 3; death++) {
      const worker = await stage.start();
      pids.push(worker.pid);
      // Once it has killed, it is claimed alone, however many are asked for.
      const claims = await worker.queue.claim(death === 1 ? 1 : 10, LONG_LEASE);
      expect(claims).toMatchObject([{ data: 'poison', attempts: 1, crashes: death - 1 }]);
      await worker.kill();
      await until(async () => {
        // Looking for work is what notices a death; the sound message is left where it is.
        await queue.wait(0, undefined);
        return (await queue.status()).counts.claimed === 0;
      }, PROMPT);
    }
    expect(await drain(queue)).toMatchObject([{ data: 'sound', crashes: 0 }]);
    const failed = [];
    for await (const message of queue.find({ state: 'failed' })) failed.push(message);
    expect(failed).toMatchObject([{ data: 'poison', state: 'failed', attempts: 0, crashes: 3 }]);
    expect(failed[0]!.errors.map(({ name, message }) => [name, /process (\d+)/.exec(message)?.[1]])).toEqual(
      pids.map((pid) => ['WorkerDied', String(pid)]),
    );
    expect(await queue.change({ type: 'retry', uuids: 'all' })).toBe(1);
    expect(await drain(queue)).toMatchObject([{ data: 'poison', attempts: 1, crashes: 0 }]);
  });

  test('is known dead although its parent never asks how it ended', async ({ stage, queue }) => {
    const worker = await stage.start({ unreaped: true });
    await held(queue, worker, ['a']);
    const waiting = queue.wait(20_000, undefined);
    await worker.kill();
    const died = performance.now();
    expect(await waiting).toBe(true);
    expect(performance.now() - died).toBeLessThan(PROMPT);
    expect(stateOf(worker.pid)).toBe('Z');
    expect(await drain(queue)).toMatchObject([{ data: 'a', crashes: 1, errors: [{ name: 'WorkerDied' }] }]);
  });
});

describe('a worker stopped with SIGSTOP', () => {
  const LEASE = 2500;

  test('keeps its messages until its lease is over; continued, it can settle nothing that others were given', async ({
    stage,
    queue,
  }) => {
    const worker = await stage.start();
    const began = performance.now();
    const [a, b] = await held(queue, worker, ['a', 'b'], LEASE);
    await worker.stop();
    expect(await queue.wait(20_000, undefined)).toBe(true);
    // Its clock began with the claim, after `began`.
    expect(performance.now() - began).toBeGreaterThanOrEqual(LEASE);
    expect(performance.now() - began).toBeLessThan(LEASE + PROMPT);
    const [mine] = await queue.claim(10, LONG_LEASE);
    expect(mine).toMatchObject({
      uuid: a!.uuid,
      crashes: 1,
      attempts: 1,
      errors: [{ name: 'LeaseExpired' }],
    });

    worker.resume();
    const before = await queue.status();
    const error = { at: new Date().toISOString(), attempt: 1, name: 'Error', message: 'late' };
    expect(await worker.queue.settle(a!, { type: 'complete' })).toBe(false);
    expect(await worker.queue.settle(a!, { type: 'fail', error })).toBe(false);
    expect(await worker.queue.settle(a!, { type: 'release' })).toBe(false);
    expect(await worker.queue.settle(a!, { type: 'renew', lease: LEASE })).toBe(false);
    expect(await worker.queue.settle(b!, { type: 'complete' })).toBe(false);
    expect(await queue.status()).toEqual(before);
    expect(await worker.queue.status()).toEqual(before);

    expect(await queue.settle(mine!, { type: 'complete' })).toBe(true);
    // And what nobody was given meanwhile is there for anybody, the late one included.
    const again = await worker.queue.claim(10, LONG_LEASE);
    expect(again).toMatchObject([{ uuid: b!.uuid, crashes: 1, attempts: 1 }]);
    expect(await worker.queue.settle(again[0]!, { type: 'complete' })).toBe(true);
    expect(await queue.status()).toMatchObject({ processed: 2, messagesToProcess: 0 });
    expect(await stage.complaints()).toEqual([]);
  });

  test('and continued within its lease settles as if nothing had been', async ({ stage, queue }) => {
    const worker = await stage.start();
    const [a] = await held(queue, worker, ['a']);
    await worker.stop();
    // Time for every look of an idle consumer: twice the interval between two.
    expect(await queue.wait(1000, undefined)).toBe(false);
    worker.resume();
    expect(await worker.queue.settle(a!, { type: 'complete' })).toBe(true);
    expect(await queue.status()).toMatchObject({ processed: 1, messagesToProcess: 0 });
  });

  test('that renewed its lease just before keeps them as long again', async ({ stage, queue }) => {
    const worker = await stage.start();
    const [a] = await held(queue, worker, ['a'], LEASE);
    const renewed = performance.now();
    expect(await worker.queue.settle(a!, { type: 'renew', lease: LEASE * 2 })).toBe(true);
    await worker.stop();
    expect(await queue.wait(20_000, undefined)).toBe(true);
    expect(performance.now() - renewed).toBeGreaterThanOrEqual(LEASE * 2);
  });
});
