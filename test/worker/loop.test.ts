import { describe, expect, test } from 'vitest';
import { QueueError } from '../../src/errors.ts';
import type { WorkerQueues } from '../../src/worker/loop.ts';
import { pause } from '../../src/worker/trouble.ts';
import { FinalError, RetryAt } from '../../src/worker/worker.ts';
import {
  PATIENCE,
  QUEUE,
  aborted,
  add,
  altered,
  drain,
  gate,
  lapseAll,
  manager,
  open,
  start,
} from './running.ts';

describe('taking messages', () => {
  test('at concurrency 1 they are processed in order, each after the last has ended', async () => {
    await add(200);
    const seen: unknown[] = [];
    let running = 0;
    let most = 0;
    const report = await drain(async ({ data }) => {
      most = Math.max(most, ++running);
      await Promise.resolve();
      seen.push(data);
      running--;
    });
    expect(most).toBe(1);
    expect(seen).toEqual(Array.from({ length: 200 }, (_, index) => index));
    expect(report).toEqual({
      ended: 'drained',
      completed: 200,
      retried: 0,
      failed: 0,
      released: 0,
      lost: 0,
      cancelled: 0,
    });
    expect((await manager.queueStatus(QUEUE)).processed).toBe(200);
  });

  test('never more handlers run than the concurrency allows, and that many do', async () => {
    await add(100);
    let running = 0;
    let most = 0;
    await drain(
      async () => {
        most = Math.max(most, ++running);
        await new Promise(setImmediate);
        running--;
      },
      { concurrency: 7 },
    );
    expect(most).toBe(7);
  });

  test('no message is claimed that could not start at once', async () => {
    await add(10);
    const open = gate();
    const loop = start(() => open.opened, { concurrency: 3, drain: true });
    await manager.waitForMessage(QUEUE);
    await expect.poll(async () => (await manager.queueStatus(QUEUE)).counts.claimed, PATIENCE).toBe(3);
    open.open();
    expect((await loop.report).completed).toBe(10);
  });

  test('the queue is created when it does not exist', async () => {
    expect(await drain(() => undefined, { queue: 'fresh' })).toMatchObject({ ended: 'drained' });
    expect(await manager.queueExists('fresh')).toBe(true);
  });

  test('an idle worker wakes up for a message that is added', async () => {
    const loop = start(() => undefined);
    await add(1);
    await loop.event('completed');
    await add(1);
    loop.stop();
    expect((await loop.report).ended).toBe('stopped');
  });

  test('a message that has crashed a worker before runs alone', async () => {
    await add(4);
    await lapse(1);
    const first = gate();
    const beside = new Map<unknown, number>();
    let running = 0;
    const loop = start(
      async ({ data }) => {
        running++;
        if (data === 0) await first.opened;
        await new Promise(setImmediate);
        beside.set(data, running);
        running--;
      },
      { concurrency: 3, drain: true },
    );
    await expect.poll(() => running, PATIENCE).toBe(1);
    first.open();
    expect(await loop.report).toMatchObject({ completed: 4 });
    expect([...beside]).toEqual([
      [0, 1],
      [1, 1],
      [2, 2],
      [3, 1],
    ]);
  });

  /** Lets the claim on the message at that place in line end by its lease, as if its holder had died. */
  async function lapse(place: number): Promise<void> {
    const claims = await manager.claimMessages(QUEUE, { limit: place + 1, lease: 1 });
    for (const claim of claims.slice(0, place)) await manager.releaseMessage(QUEUE, claim);
    const { uuid } = claims[place] ?? { uuid: '' };
    await expect
      .poll(async () => {
        await manager.waitForMessage(QUEUE, { timeout: 1 });
        return (await manager.findMessage(QUEUE, { uuid }))?.crashes;
      }, PATIENCE)
      .toBe(1);
  }
});

describe('messages that fail', () => {
  test('are tried again while tries are left, then kept as failed', async () => {
    await add(1, { retries: 2 });
    const attempts: number[] = [];
    const report = await drain((_, { attempt }) => {
      attempts.push(attempt);
      throw new Error(`no ${attempt}`);
    });
    expect(attempts).toEqual([1, 2, 3]);
    expect(report).toMatchObject({ completed: 0, retried: 2, failed: 1 });
    for await (const { state, errors } of manager.findMessages(QUEUE)) {
      expect([state, errors.map(({ message }) => message)]).toEqual(['failed', ['no 1', 'no 2', 'no 3']]);
    }
  });

  test('come back at their place: at concurrency 1 before what was behind them', async () => {
    await add(3, { retries: 1 });
    const seen: unknown[] = [];
    const queues = altered({
      // A store that takes its time: nothing may be claimed before it has answered.
      async failMessage(...args) {
        await new Promise(setImmediate);
        return manager.failMessage(...args);
      },
    });
    await drain(
      ({ data }, { attempt }) => {
        seen.push(data);
        if (data === 0 && attempt === 1) throw new Error('once');
      },
      { queues },
    );
    expect(seen).toEqual([0, 0, 1, 2]);
  });

  test('with a FinalError fail at once, whatever tries are left', async () => {
    await add(1, { retries: 5 });
    expect(await drain(() => Promise.reject(new FinalError('never')))).toMatchObject({
      retried: 0,
      failed: 1,
    });
  });

  test('with a RetryAt wait until then, and draining ends without them', async () => {
    await add(2, { retries: 1 });
    const date = new Date(Date.now() + 3_600_000);
    const report = await drain(({ data }) => {
      if (data === 0) throw new RetryAt(date, 'tomorrow');
    });
    expect(report).toMatchObject({ ended: 'drained', completed: 1, retried: 1 });
    for await (const message of manager.findMessages(QUEUE)) {
      expect(message).toMatchObject({ state: 'deferred', dateTimeDeferredExecution: date });
    }
  });

  test('may throw anything', async () => {
    const thrown: unknown[] = ['text', undefined, null, 7, { code: 'E' }, new RetryAt(new Date(Number.NaN))];
    await add(thrown.length);
    const report = await drain(({ data }) => {
      throw thrown[data as number];
    });
    expect(report.failed).toBe(thrown.length);
  });

  test('an error from another copy of the package is understood', async () => {
    await add(1, { retries: 5 });
    const foreign = Object.assign(new Error('never'), { [Symbol.for('coda-queue.FinalError')]: true });
    expect(await drain(() => Promise.reject(foreign))).toMatchObject({ failed: 1 });
  });
});

describe('draining', () => {
  test('waits for a message that another worker holds', async () => {
    await add(1);
    const other = await open();
    const [claim] = await other.claimMessages(QUEUE);
    if (!claim) throw new Error('there is a message to claim');
    const asked = gate();
    const queues = altered({
      async queueStatus(queue) {
        const status = await manager.queueStatus(queue);
        asked.open();
        return status;
      },
    });
    const loop = start(() => undefined, { queues, drain: true });
    await asked.opened;
    await other.releaseMessage(QUEUE, claim);
    expect(await loop.report).toMatchObject({ ended: 'drained', completed: 1 });
    await other.close();
  });

  test('ends soon after another worker has completed the last message', async () => {
    await add(1);
    const [claim] = await manager.claimMessages(QUEUE);
    if (!claim) throw new Error('there is a message to claim');
    const waits = gate();
    const queues = altered({
      waitForMessage(queue, options) {
        waits.open();
        return manager.waitForMessage(queue, options);
      },
    });
    const loop = start(() => undefined, { queues, drain: true });
    await waits.opened;
    await manager.completeMessage(QUEUE, claim);
    expect(await loop.report).toMatchObject({ ended: 'drained', completed: 0 });
  });

  test('ends when the queue is paused, and says so', async () => {
    await add(2);
    const report = await drain(() => manager.pauseQueue(QUEUE));
    expect(report).toMatchObject({ ended: 'paused', completed: 1 });
  });
});

describe('stopping', () => {
  test('lets the handlers end, and claims nothing more', async () => {
    await add(3);
    const started = gate();
    const open = gate();
    const loop = start(() => {
      started.open();
      return open.opened;
    });
    await started.opened;
    loop.stop();
    open.open();
    expect(await loop.report).toMatchObject({ ended: 'stopped', completed: 1 });
    expect((await manager.queueStatus(QUEUE)).counts).toMatchObject({ ready: 2, claimed: 0 });
  });

  test('after the deadline aborts the handlers and releases their messages, the try refunded', async () => {
    await add(2);
    const started = gate();
    let reason: unknown;
    const loop = start(
      async ({ data }, { signal }) => {
        if (data === 1) started.open();
        reason = await aborted(signal);
        throw reason;
      },
      { concurrency: 2, stopDeadline: 1 },
    );
    await started.opened;
    loop.stop();
    expect(await loop.report).toMatchObject({ released: 2, retried: 0, failed: 0 });
    expect(reason).toMatchObject({ name: 'HandlerAborted', code: 'STOPPING' });
    for await (const message of manager.findMessages(QUEUE)) {
      expect(message).toMatchObject({ state: 'ready', attempts: 0, errors: [] });
    }
  });

  test('a handler that succeeds although it was aborted has completed its message', async () => {
    await add(1);
    const started = gate();
    const loop = start(
      async (_, { signal }) => {
        started.open();
        await aborted(signal);
      },
      { stopDeadline: 0 },
    );
    await started.opened;
    loop.stop();
    expect(await loop.report).toMatchObject({ completed: 1, released: 0 });
  });

  test('a handler that ignores its signal loses its message, and its result counts for nothing', async () => {
    await add(1);
    const started = gate();
    const open = gate();
    const loop = start(
      () => {
        started.open();
        return open.opened;
      },
      { stopDeadline: 0 },
    );
    await started.opened;
    loop.stop();
    const report = await loop.report;
    open.open();
    await new Promise(setImmediate);
    expect(report).toMatchObject({ completed: 0, released: 1 });
    expect((await manager.queueStatus(QUEUE)).counts.ready).toBe(1);
  });

  test('force ends the wait for the deadline', async () => {
    await add(1);
    const started = gate();
    const loop = start((_, { signal }) => {
      started.open();
      return aborted(signal).then((reason) => Promise.reject(reason as Error));
    });
    await started.opened;
    loop.stop();
    // By now the loop waits for its handlers.
    await new Promise(setImmediate);
    loop.force();
    expect(await loop.report).toMatchObject({ released: 1 });
  });

  test('claims that arrive after the stop go back unprocessed', async () => {
    await add(2);
    const loop = start(() => undefined, {
      concurrency: 2,
      queues: altered({
        async claimMessages(queue, options) {
          const claims = await manager.claimMessages(queue, options);
          loop.stop();
          return claims;
        },
      }),
    });
    expect(await loop.report).toMatchObject({ completed: 0, released: 2 });
  });

  test('ends the wait of an idle worker', async () => {
    const waits = gate();
    const queues = altered({
      waitForMessage(queue, options) {
        waits.open();
        return manager.waitForMessage(queue, options);
      },
    });
    const loop = start(() => undefined, { queues });
    await waits.opened;
    loop.stop();
    expect((await loop.report).ended).toBe('stopped');
  });

  test('before the start means: nothing is claimed', async () => {
    await add(1);
    const stop = new AbortController();
    stop.abort();
    expect(await drain(() => undefined, { stop: stop.signal })).toMatchObject({
      ended: 'stopped',
      completed: 0,
    });
  });
});

describe('leases', () => {
  test('are renewed while the handler runs', async () => {
    await add(1);
    const renewed = gate();
    let renewals = 0;
    const queues = altered({
      async renewMessage(...args) {
        const held = await manager.renewMessage(...args);
        if (++renewals === 4) renewed.open();
        return held;
      },
    });
    // Four thirds of the lease: without renewals the claim would be over.
    const report = await drain(() => renewed.opened, { queues, lease: 100 });
    expect(report).toMatchObject({ completed: 1, lost: 0 });
  });

  test('that end under a handler fire its signal, and its result is discarded', async () => {
    await add(1);
    let reason: unknown;
    let again: boolean | undefined;
    const loop = start(
      async ({ crashes }, { signal, renew }) => {
        if (crashes > 0) return;
        reason = await aborted(signal);
        again = await renew();
      },
      {
        lease: 100,
        drain: true,
        queues: altered({
          async renewMessage(...args) {
            await lapseAll();
            return manager.renewMessage(...args);
          },
        }),
      },
    );
    expect(await loop.report).toMatchObject({ completed: 1, lost: 1, cancelled: 0 });
    expect(reason).toMatchObject({ name: 'HandlerAborted', code: 'LEASE_LOST' });
    expect(again).toBe(false);
    expect(loop.told).toEqual(['started', 'lost', 'ended', 'started', 'ended', 'completed']);
  });

  test('that ended before the handler did are found out when it is settled', async () => {
    await add(2);
    const loop = start(({ uuid }) => manager.removeMessage(QUEUE, uuid).then(() => undefined), {
      drain: true,
    });
    expect(await loop.report).toMatchObject({ completed: 0, lost: 0, cancelled: 2 });
  });

  test('a handler may renew by itself', async () => {
    await add(1);
    const answers: boolean[] = [];
    let reason: unknown;
    await drain(async ({ uuid }, { renew, signal }) => {
      answers.push(await renew());
      await manager.removeMessage(QUEUE, uuid);
      answers.push(await renew());
      reason = signal.reason;
    });
    expect(reason).toMatchObject({ code: 'CANCELLED' });
    expect(answers).toEqual([true, false]);
  });
});

describe('a store that refuses', () => {
  const failed = new QueueError('STORAGE_FAILED', 'EIO');

  /** Refuses the first `times` calls of a method. */
  function refusing<Args extends unknown[], Answer>(
    times: number,
    ask: (...args: Args) => Promise<Answer>,
    error: Error = failed,
  ): (...args: Args) => Promise<Answer> {
    let refusals = 0;
    return (...args) => (refusals++ < times ? Promise.reject(error) : ask(...args));
  }

  test('a claim is reported and asked for again after a pause', async () => {
    await add(1);
    const claimMessages = refusing(2, (...args: Parameters<WorkerQueues['claimMessages']>) =>
      manager.claimMessages(...args),
    );
    const loop = start(() => undefined, { queues: altered({ claimMessages }), drain: true });
    expect(await loop.report).toMatchObject({ completed: 1 });
    expect(loop.events.slice(0, 2)).toEqual([
      { type: 'trouble', during: 'claim', error: failed, pause: 100 },
      { type: 'trouble', during: 'claim', error: failed, pause: 200 },
    ]);
  });

  test('a settle is repeated, so what has been done is not done twice', async () => {
    await add(1);
    let handled = 0;
    const completeMessage = refusing(1, (...args: Parameters<WorkerQueues['completeMessage']>) =>
      manager.completeMessage(...args),
    );
    const report = await drain(() => void handled++, { queues: altered({ completeMessage }) });
    expect([report.completed, handled]).toEqual([1, 1]);
  });

  test('a settle that is refused for as long as the worker runs is given up when it stops', async () => {
    await add(1);
    const completeMessage = (): Promise<boolean> => Promise.reject(failed);
    const loop = start(() => undefined, { queues: altered({ completeMessage }) });
    await loop.event('trouble');
    loop.stop();
    expect(await loop.report).toMatchObject({ completed: 0, lost: 1 });
    expect(loop.events.at(-2)).not.toHaveProperty('pause');
    expect(loop.events.at(-1)).toMatchObject({ type: 'lost', why: 'unsettled' });
  });

  test('stopping does not wait for a pause to pass', async () => {
    const claimMessages = (): Promise<never> => Promise.reject(failed);
    const loop = start(() => undefined, { queues: altered({ claimMessages }) });
    await loop.event('trouble');
    loop.stop();
    expect(await loop.report).toMatchObject({ ended: 'stopped' });
  });

  test('a pause ends when its signal fires', async () => {
    const controller = new AbortController();
    const paused = pause(3_600_000, controller.signal);
    controller.abort();
    await paused;
  });

  test('renewals that are refused for a whole lease end the claim', async () => {
    await add(1);
    const renewMessage = (): Promise<boolean> => Promise.reject(failed);
    const loop = start(async (_, { signal }) => void (await aborted(signal)), {
      queues: altered({ renewMessage }),
      lease: 100,
    });
    await loop.event('lost');
    loop.stop();
    expect(await loop.report).toMatchObject({ lost: 1, completed: 0 });
  });

  test('what does not pass by waiting ends the loop, after its handlers were aborted and released', async () => {
    await add(2);
    const gone = new QueueError('JOURNAL_CORRUPT', 'no head');
    const started = gate();
    let reason: unknown;
    let claims = 0;
    const loop = start(
      async (_, { signal }) => {
        started.open();
        reason = await aborted(signal);
        throw reason;
      },
      {
        concurrency: 2,
        queues: altered({
          async claimMessages(queue, options) {
            if (claims++ === 0) return manager.claimMessages(queue, { ...options, limit: 1 });
            await started.opened;
            throw gone;
          },
        }),
      },
    );
    await expect(loop.report).rejects.toBe(gone);
    expect(reason).toMatchObject({ code: 'STOPPING' });
    expect((await manager.queueStatus(QUEUE)).counts).toMatchObject({ ready: 2, claimed: 0 });
  });

  test('a queue destroyed under the loop ends it', async () => {
    const loop = start(() => undefined);
    await add(1);
    await loop.event('completed');
    await manager.destroyQueue(QUEUE);
    await expect(loop.report).rejects.toMatchObject({ name: 'QueueError' });
  });

  test('a defect in the store is not waited out', async () => {
    const claimMessages = (): Promise<never> => Promise.reject(new TypeError('undefined is not a function'));
    await expect(drain(() => undefined, { queues: altered({ claimMessages }) })).rejects.toThrow(TypeError);
  });

  test('draining gives up on a store that goes on refusing', async () => {
    const claimMessages = (): Promise<never> => Promise.reject(failed);
    await expect(drain(() => undefined, { queues: altered({ claimMessages }) })).rejects.toBe(failed);
  });
});

test('nothing is left running when the loop has ended', async () => {
  const before = process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  await add(5);
  await drain((_, { signal }) => void signal.aborted);
  expect(process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length).toBe(before);
});

test('each line that a handler logs names its message', async () => {
  await manager.addMessage(QUEUE, { data: 0, alias: 'B-17' });
  const lines: unknown[] = [];
  let uuid = '';
  await drain(
    (message, { log }) => {
      uuid = message.uuid;
      log.warn('odd', { plate: 'X' });
    },
    { sink: (...line) => lines.push(line) },
  );
  expect(lines).toEqual([['WARN', 'odd', { queue: QUEUE, uuid, alias: 'B-17', attempt: 1, plate: 'X' }]]);
});

describe('a handler that does strange things', () => {
  const hostile = (): unknown =>
    new Proxy(
      {},
      {
        get: () => {
          throw new Error('no look');
        },
        has: () => {
          throw new Error('no look');
        },
      },
    );

  test.each([
    ['nothing', (): unknown => undefined],
    ['an object without a prototype', (): unknown => Object.create(null)],
    ['what throws when it is looked at', hostile],
  ])('throws %s: that is one failed try, and the worker goes on', async (_, thrown) => {
    await manager.addMessages(QUEUE, [{ data: 1 }, { data: 2 }]);
    const report = await drain(({ data }) => {
      if (data === 1) throw thrown();
    });
    expect(report).toMatchObject({ completed: 1 });
    expect((await manager.queueStatus(QUEUE)).counts).toMatchObject({ failed: 1, ready: 0, claimed: 0 });
  });

  test('changes its message, token and all: it is settled like any other', async () => {
    await manager.addMessage(QUEUE, { data: 1 });
    await drain((message) => {
      Object.assign(message, { token: 5, uuid: 'mine', alias: 7, attempts: 'many', retries: -1 });
    });
    expect(await manager.queueStatus(QUEUE)).toMatchObject({ processed: 1, messagesToProcess: 0 });
  });
});
