/** The helpers for users' own tests: `coda-queue/testing`. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { FinalError, openMemory, QueueManager, RetryAt, Worker } from '../src/index.ts';
import type { Message, QueueError, StartContext, WorkerContext } from '../src/index.ts';
import { drain, inline, waitForState } from '../src/testing/index.ts';
import { tinySegmentsStore } from './contract/stores.ts';

/** Throws what `data.throw` says, on as many tries as `data.times` says, else on all. */
class Thrower extends Worker<{ throw?: string; times?: number }> {
  readonly calls: unknown[] = [];

  override async process({ data }: Message<typeof THROWN>, { attempt, log }: WorkerContext): Promise<void> {
    this.calls.push(data);
    log.info('trying', { try: attempt });
    if (data.throw !== undefined && attempt <= (data.times ?? Infinity)) throw new Error(data.throw);
  }
}
declare const THROWN: { throw?: string; times?: number };

/** Notes when each of its hooks is called. */
class Hooked extends Worker<string> {
  readonly calls: string[] = [];

  override start({ queue, config, signal }: StartContext): void {
    this.calls.push(`start ${queue} ${Object.isFrozen(config)} ${signal.aborted}`);
  }
  override stop(): void {
    this.calls.push('stop');
  }
  override failed(message: Message<string>, error: unknown, { final }: { final: boolean }): void {
    this.calls.push(`failed ${message.data} ${String(error)} ${final}`);
  }
  override process({ data }: Message<string>): void {
    this.calls.push(`process ${data}`);
    if (data === 'bad') throw new Error('so bad');
  }
}

describe('inline', () => {
  test('tells of a message that was completed, with the log of its try', async () => {
    const worker = new Thrower();
    const tried = await inline(worker, { data: {}, alias: 'one', username: 'me' });
    expect(tried).toMatchObject({
      outcome: 'completed',
      message: { data: {}, alias: 'one', username: 'me', attempts: 1, state: 'claimed' },
      logs: [{ level: 'INFO', text: 'trying', fields: { try: 1, attempt: 1, uuid: tried.message.uuid } }],
    });
    expect(tried.message).not.toHaveProperty('token');
    expect(tried.error).toBeUndefined();
  });

  test('tells of a failed try with the very error, and whether there will be another', async () => {
    const retried = await inline(Thrower, { data: { throw: 'no' }, retries: 1 });
    expect(retried.outcome).toBe('retried');
    expect(retried.error).toEqual(new Error('no'));
    expect(retried.message).toMatchObject({ state: 'deferred', attempts: 1, errors: [{ message: 'no' }] });
    expect(retried.message.dateTimeDeferredExecution!.getTime()).toBeGreaterThan(Date.now());
    const failed = await inline(Thrower, { data: { throw: 'no' } });
    expect(failed).toMatchObject({ outcome: 'failed', message: { state: 'failed' } });
  });

  test('heeds FinalError and RetryAt, and tries once even when the next try is due', async () => {
    const thrown = { final: new FinalError('never'), again: new RetryAt(new Date(0)) };
    class Wishing extends Worker<keyof typeof thrown> {
      override process({ data }: Message<keyof typeof thrown>): void {
        throw thrown[data];
      }
    }
    expect(await inline(Wishing, { data: 'final', retries: 5 })).toMatchObject({
      outcome: 'failed',
      error: thrown.final,
    });
    const { outcome, error, message } = await inline(Wishing, { data: 'again', retries: 5 });
    expect([outcome, error, message.attempts]).toEqual(['retried', thrown.again, 1]);
  });

  test('tries a message that is deferred or disabled, too', async () => {
    const worker = new Thrower();
    const later = new Date(Date.now() + 3_600_000);
    for (const how of [{ disabled: true }, { dateTimeDeferredExecution: later }])
      expect(await inline(worker, { data: {}, ...how })).toMatchObject({ outcome: 'completed' });
  });

  test('calls the hooks in their order, and checks the schema', async () => {
    const worker = new Hooked();
    expect(await inline(worker, { data: 'bad' })).toMatchObject({ outcome: 'failed' });
    expect(worker.calls).toEqual([
      'start test true false',
      'process bad',
      'failed bad Error: so bad true',
      'stop',
    ]);
    class Checked extends Hooked {
      override readonly schema = z.string().max(3);
    }
    const checked = new Checked();
    const misfit = await inline(checked, { data: 'too long', retries: 9 });
    expect(misfit.outcome).toBe('failed');
    expect(misfit.message.errors[0]!.message).toMatch(/too big|at most|<=3/i);
    expect(checked.calls.filter((call) => call.startsWith('process'))).toEqual([]);
  });

  test('logs what a hook throws, and rejects when it cannot begin', async () => {
    class Clumsy extends Hooked {
      override failed(): void {
        throw new Error('failed to fail');
      }
    }
    const { logs } = await inline(Clumsy, { data: 'bad' });
    expect(logs).toMatchObject([{ level: 'ERROR', text: expect.stringContaining('failed to fail') }]);
    class Lame extends Hooked {
      override start(): void {
        throw new Error('no legs');
      }
    }
    await expect(inline(Lame, { data: 'x' })).rejects.toMatchObject({
      code: 'WORKER_FAILED',
      message: expect.stringContaining('no legs'),
    });
  });

  test('refuses what is no worker, and what addMessage refuses', async () => {
    // @ts-expect-error -- no worker
    await expect(inline({}, { data: 1 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    // @ts-expect-error -- no message
    await expect(inline(Thrower, 5)).rejects.toThrow('received 5');
    // @ts-expect-error -- no such property
    await expect(inline(Thrower, { data: {}, retrys: 1 })).rejects.toMatchObject({ code: 'INVALID_MESSAGE' });
    await expect(inline(Thrower, { data: {} }, { config: '/nowhere/config.ini' })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });
});

describe('drain', () => {
  test('works off all messages in order, retries included, without waiting for their backoff', async () => {
    const worker = Object.assign(new Thrower(), { backoff: 3_600_000, backoffMax: 36_000_000 });
    const { messages, logs } = await drain(worker, [
      { data: { throw: 'once', times: 1 }, retries: 3 },
      { data: {} },
      { data: { throw: 'always' }, retries: 2 },
    ]);
    expect(messages.map(({ outcome, tries, errors }) => [outcome, tries, errors.map(String)])).toEqual([
      ['completed', 2, ['Error: once']],
      ['completed', 1, []],
      ['failed', 3, ['Error: always', 'Error: always', 'Error: always']],
    ]);
    expect(messages[0]!.message).toMatchObject({ attempts: 2, errors: [{ message: 'once' }] });
    expect(messages[2]!.message).toMatchObject({ state: 'failed', attempts: 3 });
    expect(worker.calls.map((data) => (data as typeof THROWN).throw)).toEqual([
      'once',
      undefined,
      'always',
      'once',
      'always',
      'always',
    ]);
    expect(logs).toHaveLength(6);
  });

  test('gives deferred messages their turn, the earliest first, unless they are to be left', async () => {
    const inputs = [3, 0, 1, 2].map((hours) => ({
      data: `${hours}`,
      ...(hours && { dateTimeDeferredExecution: new Date(Date.now() + hours * 3_600_000) }),
    }));
    const worker = new Hooked();
    const { messages } = await drain(worker, inputs);
    expect(worker.calls.slice(1, -1)).toEqual(['process 0', 'process 1', 'process 2', 'process 3']);
    expect(messages.every(({ outcome }) => outcome === 'completed')).toBe(true);
    const left = await drain(new Hooked(), inputs, { deferred: 'leave' });
    expect(left.messages.map(({ outcome, tries }) => [outcome, tries])).toEqual([
      ['left', 0],
      ['completed', 1],
      ['left', 0],
      ['left', 0],
    ]);
    expect(left.messages[0]!.message.state).toBe('deferred');
  });

  test('retries what failed while deferred ones are left', async () => {
    const { messages } = await drain(
      Thrower,
      [
        { data: { throw: 'no', times: 2 }, retries: 2 },
        { data: {}, dateTimeDeferredExecution: new Date(Date.now() + 1000) },
      ],
      { deferred: 'leave' },
    );
    expect(messages.map(({ outcome, tries }) => [outcome, tries])).toEqual([
      ['completed', 3],
      ['left', 0],
    ]);
  });

  test('leaves disabled messages alone, and starts and stops the worker once', async () => {
    const worker = new Hooked();
    const { messages } = await drain(worker, [
      { data: 'off', disabled: true },
      { data: 'bad', retries: 1 },
    ]);
    expect(messages.map(({ outcome }) => outcome)).toEqual(['left', 'failed']);
    expect(worker.calls.map((call) => call.split(' ')[0])).toEqual([
      'start',
      'process',
      'failed',
      'process',
      'failed',
      'stop',
    ]);
    expect(await drain(worker, [])).toMatchObject({ messages: [] });
  });

  test('copes with a thousand that fail, each with another next time', async () => {
    const inputs = Array.from({ length: 1000 }, () => ({ data: { throw: 'no', times: 1 }, retries: 1 }));
    const { messages } = await drain(Thrower, inputs);
    expect(messages.every(({ outcome, tries }) => outcome === 'completed' && tries === 2)).toBe(true);
  });
});

const Q = 'jobs';

async function memory(): Promise<QueueManager> {
  const manager = await QueueManager.open({ backend: openMemory(), backoff: 3_600_000 });
  await manager.createQueue(Q);
  return manager;
}

async function claimOne(manager: QueueManager) {
  const [claim] = await manager.claimMessages(Q);
  return claim!;
}

describe('waitForState', () => {
  test('resolves at once when it is so already, with the message', async () => {
    await using manager = await memory();
    const { uuid } = await manager.addMessage(Q, { data: 1 });
    expect(await waitForState(manager, Q, uuid, 'ready')).toMatchObject({ uuid, state: 'ready', data: 1 });
    await manager.removeMessage(Q, uuid);
    expect(await waitForState(manager, Q, uuid, 'removed')).toBeUndefined();
  });

  test('resolves when it comes so, in every state', async () => {
    await using manager = await memory();
    const { uuid } = await manager.addMessage(Q, { data: 1, retries: 1 });
    const claimed = waitForState(manager, Q, uuid, 'claimed');
    const first = await claimOne(manager);
    expect(await claimed).toMatchObject({ uuid, state: 'claimed', attempts: 1 });
    const deferred = waitForState(manager, Q, uuid, 'deferred');
    await manager.failMessage(Q, first, new Error('no'));
    expect(await deferred).toMatchObject({ uuid, state: 'deferred', errors: [{ message: 'no' }] });
    const ready = waitForState(manager, Q, uuid, 'ready');
    await manager.updateMessage(Q, uuid, { dateTimeDeferredExecution: null });
    expect(await ready).toMatchObject({ uuid, state: 'ready' });
    const failed = waitForState(manager, Q, uuid, 'failed');
    await manager.failMessage(Q, await claimOne(manager), new Error('never'));
    expect(await failed).toMatchObject({ uuid, state: 'failed', errors: [{}, { message: 'never' }] });
    await manager.retryMessages(Q, 'all');
    const completed = waitForState(manager, Q, uuid, 'completed');
    await manager.completeMessage(Q, await claimOne(manager));
    expect(await completed).toBeUndefined();
    const another = await manager.addMessage(Q, { data: 1 });
    const purged = waitForState(manager, Q, another.uuid, 'purged');
    await manager.purgeQueue(Q);
    expect(await purged).toBeUndefined();
  });

  test('notices a claim by this manager that is over at once', async () => {
    const files = await tinySegmentsStore();
    await using manager = await files.open();
    await manager.createQueue(Q);
    const { uuid } = await manager.addMessage(Q, { data: 1 });
    const claimed = waitForState(manager, Q, uuid, 'claimed');
    await manager.completeMessage(Q, await claimOne(manager));
    const message = await claimed;
    expect(message).toMatchObject({ uuid, state: 'claimed' });
    expect(message).not.toHaveProperty('token');
    await manager.close();
    await files.dispose();
  });

  test('notices what other managers do, in memory and in files', async () => {
    const store = new Map();
    const files = await tinySegmentsStore();
    for (const open of [() => QueueManager.open({ backend: openMemory({ store }) }), () => files.open()]) {
      await using manager = await open();
      await using other = await open();
      await manager.createQueue(Q);
      const { uuid } = await manager.addMessage(Q, { data: 1 });
      const claimed = waitForState(manager, Q, uuid, 'claimed');
      const claim = await claimOne(other);
      expect(await claimed).toMatchObject({ uuid, state: 'claimed' });
      const completed = waitForState(manager, Q, uuid, 'completed');
      await other.completeMessage(Q, claim);
      expect(await completed).toBeUndefined();
    }
    await files.dispose();
  });

  test('rejects at once when there is nothing to wait for any more', async () => {
    await using manager = await memory();
    const { uuid } = await manager.addMessage(Q, { data: 1 });
    const never = waitForState(manager, Q, uuid, 'completed');
    await manager.failMessage(Q, await claimOne(manager), new Error('a\u001b[2Jbad \u202Eone'));
    await expect(never).rejects.toMatchObject({ code: 'MESSAGE_NOT_FOUND' });
    const text = (await never.catch((error: unknown) => error)) as QueueError;
    expect(text.message).toBe(
      `expected message "${uuid}" to become completed, but it has failed: "a\\u001b[2Jbad \\u202eone"`,
    );
    const gone = waitForState(manager, Q, uuid, 'claimed');
    await expect(gone).rejects.toThrow('has failed');
    await manager.removeMessage(Q, uuid);
    await expect(waitForState(manager, Q, uuid, 'ready')).rejects.toThrow('it was removed');
    const nobody = '00000000-0000-7000-8000-000000000000';
    await expect(waitForState(manager, Q, nobody, 'ready')).rejects.toThrow('is not in the queue');
  });

  test('rejects when its signal fires, with the reason', async () => {
    await using manager = await memory();
    const { uuid } = await manager.addMessage(Q, { data: 1 });
    const stop = new AbortController();
    const waits = (['claimed', 'completed'] as const).map((state) =>
      waitForState(manager, Q, uuid, state, { signal: stop.signal }),
    );
    const reason = new Error('enough');
    stop.abort(reason);
    for (const wait of waits) await expect(wait).rejects.toBe(reason);
    await expect(waitForState(manager, Q, uuid, 'ready', { signal: stop.signal })).rejects.toBe(reason);
  });

  test('rejects when the queue is destroyed, the manager is closed, or it is misused', async () => {
    const store = new Map();
    const manager = await QueueManager.open({ backend: openMemory({ store }) });
    await using other = await QueueManager.open({ backend: openMemory({ store }) });
    for (const [code, end] of [
      ['QUEUE_DESTROYED', () => other.destroyQueue(Q)],
      ['CLOSED', () => manager.close()],
    ] as const) {
      await manager.createQueue(Q);
      const { uuid } = await manager.addMessage(Q, { data: 1 });
      const waits = (['claimed', 'completed'] as const).map((state) =>
        expect(waitForState(manager, Q, uuid, state)).rejects.toMatchObject({ code }),
      );
      await manager.queueStatus(Q);
      await end();
      await Promise.all(waits);
    }
    // @ts-expect-error -- no such state
    await expect(waitForState(other, Q, 'uuid', 'done')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('"done"'),
    });
  });
});

/** Run by `node:test`, in a process that ends by itself when nothing is left running in it. */
const PROGRAM = `
import assert from 'node:assert/strict';
import test from 'node:test';
import { QueueManager, Worker } from 'coda-queue';
import { drain, inline, waitForState } from 'coda-queue/testing';

class Mails extends Worker {
  process({ data }) {
    if (!data.to) throw new Error('to whom?');
  }
}

test('inline', async () => {
  assert.equal((await inline(Mails, { data: { to: 'ada' } })).outcome, 'completed');
  const { outcome, error } = await inline(new Mails(), { data: {}, retries: 1 });
  assert.equal(outcome, 'retried');
  assert.match(error.message, /whom/);
});

test('drain', async () => {
  const { messages } = await drain(Mails, [{ data: {}, retries: 2 }, { data: { to: 'ada' } }]);
  assert.deepEqual(messages.map(({ outcome, tries }) => [outcome, tries]), [['failed', 3], ['completed', 1]]);
});

test('waitForState', async () => {
  const manager = await QueueManager.open({ queueType: 'memory' });
  await manager.createQueue('mails');
  const { uuid } = await manager.addMessage('mails', { data: { to: 'ada' } });
  const claimed = waitForState(manager, 'mails', uuid, 'claimed');
  const cut = waitForState(manager, 'mails', uuid, 'completed', { signal: AbortSignal.timeout(10) });
  await manager.claimMessages('mails');
  await claimed;
  await assert.rejects(cut, { name: 'TimeoutError' });
  // The manager is left open: what keeps the process alive would have to be of the helpers.
});
`;

test('all of them work in node:test, from the package, and leave nothing running', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', PROGRAM], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    encoding: 'utf8',
    timeout: 20_000,
  });
  expect(status, `${stdout}${stderr}`).toBe(0);
  expect(stdout).toMatch(/pass 3/);
});
