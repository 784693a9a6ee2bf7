import { describe, expect, test } from 'vitest';
import { QueueError } from '../../src/errors.ts';
import type { Worker } from '../../src/worker/worker.ts';
import {
  QUEUE,
  aborted,
  add,
  altered,
  config,
  drain,
  first,
  gate,
  manager,
  start,
  workerOf,
} from './running.ts';

const nothing = (): void => undefined;
const never = (): Promise<never> => new Promise(() => undefined);

describe('start', () => {
  test('is called once, before anything is claimed, with what it needs to know', async () => {
    await add(2);
    const seen: unknown[] = [];
    const lines: unknown[] = [];
    const worker = workerOf(nothing, {
      async start({ queue, config, log, signal }) {
        await new Promise(setImmediate);
        const { counts } = await manager.queueStatus(QUEUE);
        log.info('warm');
        seen.push(queue, config, signal.aborted, counts.ready);
      },
    });
    const report = await drain(worker, { sink: (...line) => lines.push(line) });
    expect(report.completed).toBe(2);
    expect(seen).toEqual([QUEUE, config, false, 2]);
    expect(lines).toEqual([['INFO', 'warm', { queue: QUEUE }]]);
  });

  test('that refuses with a QueueError ends the loop with just that', async () => {
    const refusal = new QueueError('CONFIG_INVALID', 'no address to deliver to');
    const worker = workerOf(nothing, { start: () => Promise.reject(refusal) });
    await expect(drain(worker)).rejects.toBe(refusal);
  });

  test.each([
    ['an error', new Error('no database\u001b[2J'), 'start() of the worker failed: no database\\u001b[2J'],
    ['nothing', undefined, 'start() of the worker failed: undefined'],
  ])('that throws %s ends the loop before anything is claimed', async (_, thrown, message) => {
    await add(1);
    let stops = 0;
    const worker = workerOf(nothing, {
      // oxlint-disable-next-line prefer-promise-reject-errors -- workers may throw anything
      start: () => Promise.reject(thrown),
      stop: () => void stops++,
    });
    const error = await drain(worker).catch((error: unknown) => error as QueueError);
    expect(error).toBeInstanceOf(QueueError);
    expect(error).toMatchObject({ code: 'WORKER_FAILED', queue: QUEUE, message });
    expect((error as QueueError).cause).toBe(thrown);
    expect(stops).toBe(0);
    expect(await first()).toMatchObject({ state: 'ready', attempts: 0 });
  });

  test('that is told to stop and gives up has failed nothing', async () => {
    await add(1);
    let stops = 0;
    const called = gate();
    let reason: unknown;
    const worker = workerOf(nothing, {
      async start({ signal }) {
        called.open();
        reason = await aborted(signal);
        throw reason;
      },
      stop: () => void stops++,
    });
    const loop = start(worker);
    await called.opened;
    loop.stop();
    expect(await loop.report).toMatchObject({ ended: 'stopped', completed: 0 });
    expect(reason).toMatchObject({ name: 'HandlerAborted', code: 'STOPPING' });
    expect([stops, loop.events]).toEqual([0, []]);
  });

  test('that ends well although it was told to stop is followed by stop, and by no claim', async () => {
    await add(1);
    let stops = 0;
    const called = gate();
    const worker = workerOf(nothing, {
      async start({ signal }) {
        called.open();
        await aborted(signal);
      },
      stop: () => void stops++,
    });
    const loop = start(worker);
    await called.opened;
    loop.stop();
    expect(await loop.report).toMatchObject({ ended: 'stopped', completed: 0 });
    expect(stops).toBe(1);
  });

  test('that does not end is given up a second after a forced stop', async () => {
    const called = gate();
    const worker = workerOf(nothing, {
      start() {
        called.open();
        return never();
      },
    });
    const loop = start(worker);
    await called.opened;
    loop.stop();
    loop.force();
    expect(await loop.report).toMatchObject({ ended: 'stopped' });
    expect(loop.events).toMatchObject([{ type: 'hook', hook: 'start' }]);
  });
});

describe('stop', () => {
  /** Counts its calls, and the claims that are held then. */
  function counting(members: Partial<Worker> = {}): { worker: Worker; calls: number[] } {
    const calls: number[] = [];
    const worker = workerOf(nothing, {
      async stop() {
        calls.push(await manager.queueStatus(QUEUE).then(({ counts }) => counts.claimed));
      },
      ...members,
    });
    return { worker, calls };
  }

  test('is called once when the queue is drained', async () => {
    await add(3);
    const { worker, calls } = counting();
    await drain(worker);
    expect(calls).toEqual([0]);
  });

  test('is called once when the loop was told to stop, after the last claim is settled', async () => {
    await add(3);
    const started = gate();
    const open = gate();
    const { worker, calls } = counting({
      process() {
        started.open();
        return open.opened;
      },
    });
    const loop = start(worker, { concurrency: 2 });
    await started.opened;
    loop.stop();
    expect(calls).toEqual([]);
    open.open();
    await loop.report;
    expect(calls).toEqual([0]);
  });

  test('is called when the store has failed for good, which is still what the loop rejects with', async () => {
    const gone = new QueueError('JOURNAL_CORRUPT', 'no head');
    const { worker, calls } = counting();
    const loop = start(worker, { queues: altered({ claimMessages: () => Promise.reject(gone) }) });
    await expect(loop.report).rejects.toBe(gone);
    expect(calls).toEqual([0]);
  });

  test('finds that the signal of start has fired', async () => {
    let signal: AbortSignal | undefined;
    const seen: unknown[] = [];
    const worker = workerOf(nothing, {
      start: (context) => void ({ signal } = context),
      stop: () => void seen.push(signal?.aborted, signal?.reason),
    });
    await drain(worker);
    expect(seen).toMatchObject([true, { code: 'STOPPING' }]);
  });

  test('that throws is told of, and changes nothing', async () => {
    await add(1);
    const broken = new Error('no flush');
    const loop = start(workerOf(nothing, { stop: () => Promise.reject(broken) }), { drain: true });
    expect(await loop.report).toMatchObject({ ended: 'drained', completed: 1 });
    expect(loop.events.at(-1)).toEqual({ type: 'hook', hook: 'stop', error: broken });
  });

  test('that does not end is given up a second after a forced stop', async () => {
    const called = gate();
    const worker = workerOf(nothing, {
      stop() {
        called.open();
        return never();
      },
    });
    await add(1);
    const loop = start(worker);
    await loop.event('completed');
    loop.stop();
    await called.opened.then(loop.force);
    expect(await loop.report).toMatchObject({ ended: 'stopped' });
    expect(loop.events.at(-1)).toMatchObject({ type: 'hook', hook: 'stop' });
  });

  test('that does not end is given up at the stop deadline', async () => {
    const loop = start(workerOf(nothing, { start: nothing, stop: never }), { stopDeadline: 1 });
    await add(1);
    await loop.event('completed');
    loop.stop();
    expect(await loop.report).toMatchObject({ ended: 'stopped' });
    expect(loop.events.at(-1)).toMatchObject({ type: 'hook', hook: 'stop' });
  });
});

describe('failed', () => {
  const no = new Error('no');
  const fail = (): never => {
    throw no;
  };

  test('is called for each failed try, after it is recorded', async () => {
    await manager.addMessage(QUEUE, { data: { n: 1 }, alias: 'B-17', retries: 1 });
    const calls: unknown[] = [];
    const worker = workerOf(fail, {
      async failed({ alias, data, attempts }, error, { final }) {
        const { errors } = await first();
        calls.push({ alias, data, attempts, error, final, recorded: errors.length });
      },
    });
    await drain(worker);
    expect(calls).toEqual([
      { alias: 'B-17', data: { n: 1 }, attempts: 1, error: no, final: false, recorded: 1 },
      { alias: 'B-17', data: { n: 1 }, attempts: 2, error: no, final: true, recorded: 2 },
    ]);
  });

  test('that throws is told of, and makes no message fail', async () => {
    await add(2);
    const broken = new Error('no mail');
    const handler = ({ data }: { data: unknown }): void => {
      if (data === 0) throw no;
    };
    const loop = start(workerOf(handler, { failed: () => Promise.reject(broken) }), { drain: true });
    expect(await loop.report).toMatchObject({ completed: 1, failed: 1 });
    expect(loop.events.filter(({ type }) => type === 'hook')).toMatchObject([
      { hook: 'failed', error: broken, message: { data: 0 } },
    ]);
  });

  test('does not keep the next message waiting, but the end of the loop', async () => {
    await add(2);
    const open = gate();
    let ended = false;
    const worker = workerOf(
      ({ data }) => {
        if (data === 0) throw no;
      },
      {
        async failed() {
          await open.opened;
          ended = true;
        },
      },
    );
    const loop = start(worker, { drain: true });
    await loop.event('completed');
    expect(ended).toBe(false);
    open.open();
    await loop.report;
    expect(ended).toBe(true);
  });

  test('has no deadline before the loop is told to stop', async () => {
    await add(1);
    const worker = workerOf(fail, {
      failed: () => new Promise((resolve) => setTimeout(resolve, 1300)),
    });
    const loop = start(worker, { drain: true, stopDeadline: 0 });
    expect(await loop.report).toMatchObject({ ended: 'drained', failed: 1 });
    expect(loop.told).toEqual(['started', 'ended', 'failed']);
  });

  test('is called and waited for when its failure is recorded only after the loop was told to stop', async () => {
    await add(1);
    const asked = gate();
    const answer = gate();
    let ended = false;
    const worker = workerOf(fail, {
      async failed() {
        await new Promise(setImmediate);
        ended = true;
      },
    });
    const loop = start(worker, {
      stopDeadline: 0,
      queues: altered({
        async failMessage(...args) {
          asked.open();
          await answer.opened;
          return manager.failMessage(...args);
        },
      }),
    });
    await asked.opened;
    loop.stop();
    // By then the loop waits for nothing but this answer.
    setTimeout(answer.open, 1100);
    expect(await loop.report).toMatchObject({ failed: 1 });
    expect(ended).toBe(true);
  });

  test('does not pile up: at most twice as many calls run as the concurrency says', async () => {
    await add(20);
    let running = 0;
    let most = 0;
    const worker = workerOf(fail, {
      async failed() {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setTimeout(resolve, 1));
        running--;
      },
    });
    expect((await drain(worker, { concurrency: 2 })).failed).toBe(20);
    expect(most).toBeLessThanOrEqual(4);
  });

  test('that does not end is given up a second after a forced stop', async () => {
    await add(1);
    const loop = start(workerOf(fail, { failed: never }));
    await loop.event('failed');
    loop.stop();
    loop.force();
    expect(await loop.report).toMatchObject({ failed: 1 });
    expect(loop.events.at(-1)).toMatchObject({ type: 'hook', hook: 'failed' });
  });

  test('is not called when the claim had ended', async () => {
    await add(1);
    let calls = 0;
    const worker = workerOf(
      async ({ uuid }) => {
        await manager.removeMessage(QUEUE, uuid);
        throw no;
      },
      { failed: () => void calls++ },
    );
    expect(await drain(worker)).toMatchObject({ cancelled: 1, failed: 0 });
    expect(calls).toBe(0);
  });
});
