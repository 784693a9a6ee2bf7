import { describe, expect, test } from 'vitest';
import { HandlerAborted } from '../../src/worker/worker.ts';
import { daemonOf, fired, gate, NEVER, settle, start } from './running.ts';

describe('a stop', () => {
  test('ends a sleep at once', async () => {
    const daemon = daemonOf({ getSleepTime: () => 86_400 });
    const { clock, stop, kept, report } = start(daemon);
    await settle();
    expect(kept.at(-1)).toBe('sleeping 86400000');
    stop();
    expect(await report).toEqual({ ended: 'stopped', sessions: 1, failed: 0, abandoned: false });
    expect(kept.slice(-2)).toEqual(['stopping 13000', 'stopping 13000']);
    expect(clock.timers).toBe(0);
  });

  test('waits for the iteration that is under way, which is told at once', async () => {
    const { opened, open } = gate();
    const told: boolean[] = [];
    const daemon = daemonOf({
      async executeStart({ stopping, signal }) {
        await fired(stopping);
        told.push(this.isRunning ?? true, signal.aborted);
        await opened;
        told.push(signal.aborted);
      },
    });
    const { clock, stop, report } = start(daemon);
    await settle();
    stop();
    await clock.pass(9999);
    expect(daemon.calls).toEqual(['executeStart 0']);
    open();
    expect(await report).toMatchObject({ sessions: 1, failed: 0, abandoned: false });
    expect(told).toEqual([false, false, false]);
    expect(daemon.calls).toEqual(['executeStart 0', 'executeStop']);
  });

  test('has an iteration give up that has not ended by the deadline, and says so', async () => {
    let reason: unknown;
    const daemon = daemonOf({
      async executeStart({ signal }) {
        await fired(signal);
        reason = signal.reason;
        throw signal.reason;
      },
    });
    const { clock, stop, lines, report } = start(daemon);
    await settle();
    stop();
    await clock.pass(10_000);
    expect(await report).toEqual({ ended: 'stopped', sessions: 1, failed: 0, abandoned: false });
    expect(reason).toBeInstanceOf(HandlerAborted);
    expect(lines).toContainEqual({
      level: 'WARN',
      text: 'the iteration has not ended by the deadline, and is told to give up',
    });
    expect(daemon.calls.at(-1)).toBe('executeStop');
  });

  test('abandons one that does not give up within a second, and says so; executeStop runs all the same', async () => {
    const daemon = daemonOf({ executeStart: () => NEVER });
    const { clock, stop, lines, report } = start(daemon);
    await settle();
    stop();
    await clock.pass(10_999);
    expect(daemon.calls).toEqual(['executeStart 0']);
    await clock.pass(1);
    expect(await report).toEqual({ ended: 'stopped', sessions: 0, failed: 0, abandoned: true });
    expect(daemon.calls).toEqual(['executeStart 0', 'executeStop']);
    expect(lines).toContainEqual({
      level: 'WARN',
      text: 'the iteration has not ended in time, and is not waited for',
    });
  });

  test('does not wait for an executeStop that never ends', async () => {
    const daemon = daemonOf({ executeStop: () => NEVER });
    const { clock, stop, report } = start(daemon);
    await settle();
    stop();
    await clock.pass(11_000);
    expect(await report).toMatchObject({ ended: 'stopped', abandoned: true });
  });

  test('tells executeStop when the deadline has passed', async () => {
    const daemon = daemonOf({ executeStop: ({ signal }) => fired(signal) });
    const { clock, stop, report } = start(daemon);
    await settle();
    stop();
    await clock.pass(9999);
    expect(clock.timers).toBe(1);
    await clock.pass(1);
    expect(await report).toMatchObject({ ended: 'stopped', abandoned: false });
  });

  test('by force makes the deadline now', async () => {
    const daemon = daemonOf({ executeStart: ({ signal }) => fired(signal) });
    const { clock, stop, force, report } = start(daemon);
    await settle();
    stop();
    await clock.pass(1);
    expect(daemon.calls).toEqual(['executeStart 0']);
    force();
    expect(await report).toMatchObject({ ended: 'stopped', sessions: 1, abandoned: false });
    expect(clock.monotonic()).toBe(1);
  });

  test('by force abandons what does not end within a second, executeStop included', async () => {
    const daemon = daemonOf({ executeStart: () => NEVER, executeStop: () => NEVER });
    const { clock, stop, force, lines, report } = start(daemon);
    await settle();
    stop();
    force();
    const abandoned = (): string[] => lines.flatMap(({ level, text }) => (level === 'WARN' ? text : []));
    await clock.pass(1000);
    expect(daemon.calls).toEqual(['executeStart 0', 'executeStop']);
    await clock.pass(999);
    expect(abandoned()).not.toContain('executeStop() has not ended in time, and is not waited for');
    await clock.pass(1);
    expect(abandoned()).toContain('executeStop() has not ended in time, and is not waited for');
    expect(await report).toMatchObject({ abandoned: true });
  });

  test('takes nothing for a failure that an iteration throws because of it', async () => {
    const daemon = daemonOf({
      async executeStart({ stopping }) {
        await fired(stopping);
        throw Object.assign(new Error('outer'), { cause: stopping.reason });
      },
    });
    const { stop, kept, report } = start(daemon);
    await settle();
    stop();
    expect(await report).toMatchObject({ failed: 0 });
    expect(kept).toContain('iterated');
  });

  test('takes an error for a failure that has nothing to do with it', async () => {
    const daemon = daemonOf({
      async executeStart({ stopping }) {
        await fired(stopping);
        throw new TypeError('x is undefined');
      },
    });
    const { stop, report } = start(daemon);
    await settle();
    stop();
    expect(await report).toMatchObject({ failed: 1 });
  });

  test('before the daemon runs keeps it from coming up', async () => {
    const daemon = daemonOf({ onStart: () => expect.fail() });
    const { report } = start(daemon, { signal: AbortSignal.abort() });
    expect(await report).toEqual({ ended: 'stopped', sessions: 0, failed: 0, abandoned: false });
    expect(daemon.calls).toEqual([]);
  });

  test('in the middle of onStart lets that end, and has executeStop undo it', async () => {
    const { opened, open } = gate();
    const daemon = daemonOf({ onStart: () => opened });
    const { stop, report } = start(daemon);
    await settle();
    stop();
    await settle();
    open();
    expect(await report).toMatchObject({ ended: 'stopped', sessions: 0 });
    expect(daemon.calls).toEqual(['executeStop']);
  });

  test('in the middle of an onStart that never ends waits for its deadline', async () => {
    const daemon = daemonOf({ onStart: () => NEVER });
    const { clock, stop, report } = start(daemon);
    await settle();
    stop();
    await clock.pass(11_000);
    expect(await report).toMatchObject({ ended: 'stopped', abandoned: true });
    expect(daemon.calls).toEqual([]);
  });
});

describe('executeStop', () => {
  test('may throw anything: it is logged, and the daemon has stopped', async () => {
    const daemon = daemonOf({
      executeStop() {
        // oxlint-disable-next-line only-throw-error -- authors do
        throw undefined;
      },
    });
    const { stop, lines, report } = start(daemon);
    await settle();
    stop();
    expect(await report).toMatchObject({ ended: 'stopped' });
    expect(lines.at(-1)).toEqual({ level: 'ERROR', text: 'executeStop() failed: undefined' });
  });

  test('comes after the last word of handleOtherSignals', async () => {
    const { opened, open } = gate();
    const daemon = daemonOf({ handleOtherSignals: () => opened });
    const { orders, stop, report } = start(daemon);
    await settle();
    orders.signal('SIGUSR2');
    await settle();
    stop();
    await settle();
    expect(daemon.calls).toEqual(['executeStart 0']);
    open();
    await report;
    expect(daemon.calls).toEqual(['executeStart 0', 'executeStop']);
  });
});

describe('onStart', () => {
  test('that throws keeps the daemon from coming up; there is nothing to stop', async () => {
    const daemon = daemonOf({
      onStart: () => Promise.reject(new Error('no \u001bdatabase')),
    });
    const { kept, report } = start(daemon);
    await expect(report).rejects.toMatchObject({
      code: 'DAEMON_FAILED',
      message: 'onStart() of the daemon failed: no \\u001bdatabase',
    });
    expect(daemon.calls).toEqual([]);
    expect(kept).toEqual([]);
    expect([daemon.isRunning, daemon.completedSessions]).toEqual([false, 0]);
  });

  test('knows name, configuration and log', async () => {
    const seen: unknown[] = [];
    const daemon = daemonOf({
      onStart() {
        seen.push(this.name, this.config?.worker.stopDeadline, this.isRunning);
        this.log?.info('hello');
      },
    });
    expect(() => daemon.name).toThrow('known once the daemon runs');
    const { stop, lines, report } = start(daemon);
    await settle();
    stop();
    await report;
    expect(seen).toEqual(['tester', 10_000, true]);
    expect(lines[0]).toEqual({ level: 'INFO', text: 'hello' });
  });
});
