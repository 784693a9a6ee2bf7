import { getEventListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { nodePorts } from '../../src/cache/node-ports.ts';
import { daemonOf, gate, NEVER, settle, start } from './running.ts';

describe('iterations', () => {
  test('follow each other after getSleepTime() seconds, counted while they run', async () => {
    const daemon = daemonOf({ getSleepTime: () => 0.25 });
    const { clock, stop, report } = start(daemon);
    await clock.pass(249);
    expect(daemon.calls).toEqual(['executeStart 0']);
    await clock.pass(251);
    expect(daemon.calls).toEqual(['executeStart 0', 'executeStart 1', 'executeStart 2']);
    stop();
    expect(await report).toEqual({ ended: 'stopped', sessions: 3, failed: 0, abandoned: false });
    expect(daemon.calls.slice(3)).toEqual(['executeStop']);
    expect(clock.timers).toBe(0);
  });

  test('are five seconds apart unless the daemon says otherwise', async () => {
    const daemon = daemonOf();
    const { clock, stop, kept, report } = start(daemon);
    await clock.pass(4999);
    expect(daemon.calls).toHaveLength(1);
    await clock.pass(1);
    expect(daemon.calls).toHaveLength(2);
    expect(kept.slice(0, 4)).toEqual(['started 300000', 'iteration', 'iterated', 'sleeping 5000']);
    stop();
    await report;
  });

  test('come to an end with maxSessions', async () => {
    const daemon = daemonOf({ maxSessions: 2, getSleepTime: () => 1 });
    const { clock, report } = start(daemon);
    await clock.pass(1000);
    expect(await report).toMatchObject({ ended: 'limit', sessions: 2 });
    expect(daemon.calls).toEqual(['executeStart 0', 'executeStart 1', 'executeStop']);
  });

  test('come to an end with stop() from inside, after the one that is under way', async () => {
    const after: boolean[] = [];
    const daemon = daemonOf({
      async executeStart({ stopping }) {
        this.stop?.();
        await settle();
        after.push(this.isRunning ?? true, stopping.aborted);
      },
    });
    const { report } = start(daemon);
    expect(await report).toMatchObject({ ended: 'itself', sessions: 1 });
    expect(after).toEqual([false, true]);
    expect(daemon.calls).toEqual(['executeStart 0', 'executeStop']);
  });

  test('let others have their turn where there is no sleep between them', async () => {
    const daemon = daemonOf({ getSleepTime: () => 0 });
    const { stop, report } = start(daemon, { clock: nodePorts.clock });
    while (daemon.calls.length < 3) await sleep(1);
    stop();
    await report;
  });

  test('go on after a long sleep of the machine, although the timers have slept too', async () => {
    const daemon = daemonOf({ getSleepTime: () => 3600 });
    const { clock, stop, report } = start(daemon);
    await settle();
    clock.suspend(3_600_000);
    await clock.pass(60_000);
    expect(daemon.calls).toHaveLength(2);
    stop();
    await report;
  });

  test('never run two at a time, nor beside executeStop', async () => {
    let running = 0;
    let most = 0;
    const alone = async (): Promise<void> => {
      most = Math.max(most, ++running);
      await settle();
      running--;
    };
    const daemon = daemonOf({
      getSleepTime: () => 0,
      executeStart: alone,
      executeStop: alone,
      onStart: alone,
    });
    const { clock, orders, stop, report } = start(daemon);
    for (let round = 0; round < 20; round++) {
      if (round % 3 === 0) orders.reload();
      await clock.pass(3);
    }
    stop();
    await clock.pass(1);
    await report;
    expect(most).toBe(1);
    expect(daemon.calls.filter((call) => call === 'executeStop').length).toBeGreaterThan(3);
  });

  test('leave nothing behind, however many there are', async () => {
    const listeners: number[] = [];
    const daemon = daemonOf({
      getSleepTime: () => 0.001,
      executeStart({ stopping, signal }) {
        listeners.push(
          getEventListeners(stopping, 'abort').length + getEventListeners(signal, 'abort').length,
        );
      },
    });
    const { clock, stop, report } = start(daemon);
    await clock.pass(30);
    expect(listeners.length).toBeGreaterThan(20);
    expect(listeners.at(-1)).toBe(listeners[0]);
    expect(clock.timers).toBe(1);
    stop();
    await report;
  });

  test('that get on say so', async () => {
    const { opened, open } = gate();
    const daemon = daemonOf({
      stallAfter: 7,
      async executeStart({ progress }) {
        progress();
        await opened;
        progress();
      },
    });
    const { kept, stop, report } = start(daemon);
    await settle();
    expect(kept).toEqual(['started 7000', 'iteration', 'progressed']);
    open();
    await settle();
    expect(kept).toContain('iterated');
    stop();
    await report;
  });
});

describe('an iteration that fails', () => {
  test('is logged and counted, and the daemon goes on after a pause that grows to a minute', async () => {
    const times: number[] = [];
    const daemon = daemonOf({
      getSleepTime: () => 0,
      executeStart() {
        times.push(running.clock.monotonic());
        throw new Error('no luck');
      },
    });
    const running = start(daemon);
    await running.clock.pass(200_000);
    const pauses = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    expect(pauses).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
    expect(running.lines.find(({ level }) => level === 'ERROR')).toEqual({
      level: 'ERROR',
      text: 'iteration 1 failed: no luck',
    });
    expect(running.kept).toContain('iterated no luck');
    running.stop();
    expect(await running.report).toMatchObject({ ended: 'stopped', sessions: 9, failed: 9 });
    expect(daemon.calls.filter((call) => call === 'executeStop')).toHaveLength(1);
  });

  test('makes no sleep shorter, and one that succeeds begins the count anew', async () => {
    const fails = [true, true, false, true, false];
    const times: number[] = [];
    const daemon = daemonOf({
      getSleepTime: () => 1.5,
      executeStart() {
        times.push(running.clock.monotonic());
        if (fails[times.length - 1]) throw new Error('no luck');
      },
    });
    const running = start(daemon);
    await running.clock.pass(8000);
    const pauses = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    expect(pauses.slice(0, 4)).toEqual([1500, 2000, 1500, 1500]);
    running.stop();
    await running.report;
  });

  test('counts towards maxSessions', async () => {
    const daemon = daemonOf({
      maxSessions: 2,
      executeStart() {
        throw new Error('no luck');
      },
    });
    const { clock, report } = start(daemon);
    await clock.pass(5000);
    expect(await report).toMatchObject({ ended: 'limit', sessions: 2, failed: 2 });
  });

  test.each([
    ['undefined', undefined],
    ['null', null],
    ['a text', 'no luck'],
    ['a function', () => 1],
    ['a proxy', new Proxy({}, { get: () => expect.fail(), has: () => expect.fail() })],
    ['a frozen error', Object.freeze(new Error('cold'))],
  ])('may throw %s', async (_, thrown) => {
    let times = 0;
    const daemon = daemonOf({
      executeStart() {
        // oxlint-disable-next-line only-throw-error -- authors do
        if (times++ === 0) throw thrown;
      },
    });
    const { clock, stop, report } = start(daemon);
    await clock.pass(5000);
    stop();
    expect(await report).toMatchObject({ sessions: 2, failed: 1 });
  });
});

describe('a sleep time that is none', () => {
  test.each([
    ['NaN', Number.NaN],
    ['a negative number', -1],
    ['infinity', Infinity],
    ['a text', '10'],
    ['nothing', undefined],
    ['more than a year', 1e12],
    ['a promise of nonsense', Promise.resolve({})],
  ])('%s: is told once, and five seconds are taken', async (_, time) => {
    const daemon = daemonOf({ getSleepTime: () => time as number });
    const { clock, lines, stop, report } = start(daemon);
    await clock.pass(10_000);
    expect(daemon.calls).toHaveLength(3);
    const warnings = lines.filter(({ level }) => level === 'WARN');
    expect(warnings).toHaveLength(1);
    expect(warnings[0]?.text).toMatch(/^expected seconds from 0 to \d+ from getSleepTime\(\), received/);
    stop();
    await report;
  });

  test('so is what it throws', async () => {
    const daemon = daemonOf({
      getSleepTime() {
        throw new Error('what time?');
      },
    });
    const { clock, lines, stop, report } = start(daemon);
    await clock.pass(5000);
    expect(daemon.calls).toHaveLength(2);
    expect(lines).toContainEqual({ level: 'WARN', text: 'what time?; it sleeps 5 seconds' });
    stop();
    await report;
  });

  test('a stop does not wait for one that is never told', async () => {
    const daemon = daemonOf({ getSleepTime: () => NEVER as unknown as Promise<number> });
    const { stop, report } = start(daemon);
    await settle();
    stop();
    expect(await report).toMatchObject({ ended: 'stopped', sessions: 1, abandoned: false });
  });
});

describe('troubles', () => {
  test('are asked for after each iteration', async () => {
    const all = [[], ['camera 1 is blind'], ['camera 1 is blind', 'so is 2'], []];
    const daemon = daemonOf({
      getSleepTime: () => 1,
      troubles: () => all[daemon.completedSessions - 1] ?? [],
    });
    const { clock, stop, kept, report } = start(daemon);
    await clock.pass(3000);
    expect(kept.filter((word) => word.startsWith('troubled'))).toEqual([
      'troubled camera 1 is blind',
      'troubled camera 1 is blind, so is 2',
    ]);
    stop();
    expect(await report).toMatchObject({ failed: 0 });
  });

  test.each([
    ['a text', 'camera 1'],
    ['a list of something else', [1, undefined]],
    ['what throws', undefined],
  ])('that are %s are told once, and the daemon goes on', async (_, troubles) => {
    const daemon = daemonOf({
      getSleepTime: () => 1,
      troubles() {
        if (troubles === undefined) throw new Error('no idea');
        return troubles as unknown as string[];
      },
    });
    const { clock, stop, lines, report } = start(daemon);
    await clock.pass(3000);
    expect(daemon.calls).toHaveLength(4);
    const warnings = lines.filter(({ level }) => level === 'WARN');
    expect(warnings).toEqual([
      {
        level: 'WARN',
        text: expect.stringMatching(/(expected a list of texts|no idea).*; it goes on$/) as string,
      },
    ]);
    stop();
    await report;
  });
});

describe('what makes no sense', () => {
  test.each([
    [{ maxSessions: -1 }, 'maxSessions: expected a whole number'],
    [{ maxSessions: 1.5 }, 'maxSessions: expected a whole number'],
    [{ maxSessions: '3' as unknown as number }, 'received "3"'],
    [{ stallAfter: 0 }, 'stallAfter: expected seconds'],
  ])('%j keeps a daemon from coming up', async (members, why) => {
    const daemon = daemonOf(members);
    await expect(start(daemon).report).rejects.toMatchObject({
      code: 'DAEMON_FAILED',
      message: expect.stringContaining(why),
    });
    expect(daemon.calls).toEqual([]);
  });

  test('a class that overrides stop() wrongly is stopped all the same', async () => {
    const daemon = daemonOf({
      stop() {
        throw new Error('never!');
      },
    });
    const { stop, report } = start(daemon);
    await settle();
    stop();
    expect(await report).toMatchObject({ ended: 'stopped' });
  });

  test('an instance runs once at a time', async () => {
    const daemon = daemonOf();
    const first = start(daemon);
    await settle();
    await expect(start(daemon).report).rejects.toMatchObject({ code: 'DAEMON_FAILED' });
    first.stop();
    await first.report;
    const second = start(daemon);
    await settle();
    expect(daemon.isRunning).toBe(true);
    second.stop();
    await second.report;
  });
});
