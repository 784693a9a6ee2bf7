import { describe, expect, test } from 'vitest';
import type { Config } from '../../src/config.ts';
import { QueueError } from '../../src/errors.ts';
import { config, daemonOf, fired, gate, NEVER, settle, start } from './running.ts';

const other: Config = { ...config, worker: { ...config.worker, concurrency: 7 } };

describe('a reload', () => {
  test('ends a sleep at once: onReload, executeStop, the new configuration, onStart, and on', async () => {
    const seen: string[] = [];
    const daemon = daemonOf({
      getSleepTime: () => 3600,
      onStart() {
        seen.push(`onStart ${this.config?.worker.concurrency} ${this.isRunning}`);
      },
      executeStart() {
        seen.push(`executeStart ${this.completedSessions}`);
      },
      executeStop() {
        seen.push(`executeStop ${this.config?.worker.concurrency} ${this.isRunning}`);
      },
      onReload(next) {
        seen.push(`onReload ${next.worker.concurrency} ${this.config?.worker.concurrency} ${this.isRunning}`);
      },
    });
    const { orders, stop, adopted, kept, report } = start(daemon, { reread: () => Promise.resolve(other) });
    await settle();
    orders.reload();
    await settle();
    expect(seen).toEqual([
      'onStart 1 true',
      'executeStart 0',
      'onReload 7 1 true',
      'executeStop 1 false',
      'onStart 7 true',
      'executeStart 1',
    ]);
    expect(adopted).toEqual([other]);
    expect(kept.slice(4, 8)).toEqual(['reloading', 'reloaded', 'started 300000', 'iteration']);
    stop();
    expect(await report).toMatchObject({ ended: 'stopped', sessions: 2 });
  });

  test('that onReload carries out itself stops nothing', async () => {
    const seen: string[] = [];
    const daemon = daemonOf({ getSleepTime: () => 3600, onReload: (next) => next === other });
    daemon.executeStop = () => void seen.push(`executeStop ${daemon.config.worker.concurrency}`);
    const { orders, stop, adopted, kept, report } = start(daemon, { reread: () => Promise.resolve(other) });
    await settle();
    orders.reload();
    await settle();
    expect(daemon.calls).toEqual(['executeStart 0']);
    expect([seen, adopted, daemon.config]).toEqual([[], [other], other]);
    expect(kept.slice(-2)).toEqual(['reloaded', 'sleeping 3600000']);
    orders.reload();
    await settle();
    stop();
    expect(await report).toMatchObject({ ended: 'stopped', sessions: 1 });
    expect(seen).toEqual(['executeStop 7']);
  });

  test('with a configuration that is wrong changes nothing, and says so', async () => {
    const daemon = daemonOf({ getSleepTime: () => 3600 });
    const reread = (): Promise<Config> => Promise.reject(new QueueError('CONFIG_INVALID', 'line 3'));
    const { orders, clock, stop, adopted, lines, kept, report } = start(daemon, { reread });
    await clock.pass(1000);
    orders.reload();
    await settle();
    expect(daemon.calls).toEqual(['executeStart 0']);
    expect(adopted).toEqual([]);
    expect(lines).toContainEqual({
      level: 'ERROR',
      text: 'the configuration, read again, is refused: line 3; the old one stays',
    });
    // What the keeper knows of the sleep is still true.
    expect(kept.slice(-2)).toEqual(['reloaded line 3', 'sleeping 3599000']);
    await clock.pass(3_600_000);
    expect(daemon.calls).toHaveLength(2);
    stop();
    await report;
  });

  test('that onReload refuses changes nothing, not even for the iteration that is under way', async () => {
    const told: boolean[] = [];
    const { opened, open } = gate();
    const daemon = daemonOf({
      async executeStart({ stopping }) {
        await opened;
        told.push(stopping.aborted);
      },
      onReload: () => Promise.reject(new Error('too many')),
    });
    const { orders, stop, adopted, lines, kept, report } = start(daemon);
    await settle();
    orders.reload();
    await settle();
    open();
    await settle();
    expect([told, adopted, daemon.calls]).toEqual([[false], [], ['executeStart 0']]);
    expect(kept).toContain('reloaded too many');
    expect(lines).toContainEqual({
      level: 'ERROR',
      text: 'the configuration, read again, is refused: too many; the old one stays',
    });
    stop();
    await report;
  });

  test('whose onReload never answers gives way to a stop', async () => {
    const daemon = daemonOf({ onReload: () => NEVER });
    const { orders, stop, report } = start(daemon);
    await settle();
    orders.reload();
    await settle();
    stop();
    expect(await report).toMatchObject({ ended: 'stopped', abandoned: false });
  });

  test('with which onStart fails begins again as before', async () => {
    const started: (number | undefined)[] = [];
    const daemon = daemonOf({
      onStart() {
        started.push(this.config?.worker.concurrency);
        if (this.config?.worker.concurrency === 7) throw new Error('too many');
      },
    });
    const { orders, stop, adopted, lines, kept, report } = start(daemon, {
      reread: () => Promise.resolve(other),
    });
    await settle();
    orders.reload();
    await settle();
    expect(started).toEqual([1, 7, 1]);
    expect(adopted).toEqual([other, config]);
    expect(daemon.calls).toEqual(['executeStart 0', 'executeStop', 'executeStart 1']);
    expect(kept.find((word) => word.startsWith('reloaded'))).toContain('too many');
    expect(lines.find(({ level }) => level === 'ERROR')?.text).toMatch(
      /too many; starts with the one it had$/,
    );
    stop();
    expect(await report).toMatchObject({ ended: 'stopped' });
    expect(daemon.calls.filter((call) => call === 'executeStop')).toHaveLength(2);
  });

  test('after which it starts with neither configuration ends the daemon', async () => {
    let starts = 0;
    const daemon = daemonOf({
      onStart() {
        if (starts++ > 0) throw new Error('the disk is gone');
      },
    });
    const { orders, report } = start(daemon, { reread: () => Promise.resolve(other) });
    await settle();
    orders.reload();
    await expect(report).rejects.toMatchObject({ code: 'DAEMON_FAILED' });
    expect(daemon.calls).toEqual(['executeStart 0', 'executeStop']);
  });

  test('waits for the iteration; one that goes on is told to give up at the deadline, and never left behind', async () => {
    const { opened, open } = gate();
    const told: string[] = [];
    const daemon = daemonOf({
      async executeStart({ stopping, signal }) {
        if (this.completedSessions !== 0) return;
        await fired(stopping);
        told.push('stopping');
        await fired(signal);
        told.push('signal');
        await opened;
      },
    });
    const { clock, orders, stop, report } = start(daemon);
    await settle();
    orders.reload();
    await clock.pass(9999);
    expect(told).toEqual(['stopping']);
    await clock.pass(100_000);
    expect(told).toEqual(['stopping', 'signal']);
    expect(daemon.calls).toEqual(['executeStart 0']);
    open();
    await settle();
    expect(daemon.calls).toEqual(['executeStart 0', 'executeStop', 'executeStart 1']);
    stop();
    expect(await report).toMatchObject({ abandoned: false });
    expect(clock.timers).toBe(0);
  });

  test('whose iteration has ended in time tells no later one to give up', async () => {
    const { opened, open } = gate();
    const told: boolean[] = [];
    const daemon = daemonOf({
      async executeStart({ signal }) {
        if (this.completedSessions === 0) return opened;
        signal.addEventListener('abort', () => told.push(true));
        return NEVER;
      },
    });
    const { clock, orders, stop, force, report } = start(daemon);
    await settle();
    orders.reload();
    await clock.pass(1000);
    open();
    await clock.pass(100_000);
    expect([daemon.calls.at(-1), told]).toEqual(['executeStart 1', []]);
    stop();
    force();
    await clock.pass(2000);
    await report;
  });

  test('that never comes to its end gives way to a stop', async () => {
    const daemon = daemonOf({ executeStart: () => NEVER });
    const { clock, orders, stop, report } = start(daemon);
    await settle();
    orders.reload();
    await settle();
    stop();
    await clock.pass(11_000);
    expect(await report).toMatchObject({ ended: 'stopped', abandoned: true });
    expect(daemon.calls).toEqual(['executeStart 0', 'executeStop']);
  });

  test('that is asked for several times at once happens once; asked for during one, it happens once more', async () => {
    const { opened, open } = gate();
    let rereads = 0;
    const daemon = daemonOf();
    const { orders, stop, report } = start(daemon, {
      reread: async () => {
        rereads++;
        await opened;
        return other;
      },
    });
    await settle();
    for (let times = 0; times < 5; times++) orders.reload();
    await settle();
    for (let times = 0; times < 5; times++) orders.reload();
    open();
    await settle();
    expect(rereads).toBe(2);
    expect(daemon.calls.filter((call) => call === 'executeStop').length).toBeLessThanOrEqual(2);
    expect(daemon.isRunning).toBe(true);
    stop();
    await report;
  });

  test('before it has come up is not forgotten', async () => {
    const { opened, open } = gate();
    const daemon = daemonOf({ onStart: () => opened });
    const { orders, stop, adopted, report } = start(daemon, { reread: () => Promise.resolve(other) });
    await settle();
    orders.reload();
    await settle();
    expect(adopted).toEqual([]);
    open();
    await settle();
    expect(adopted).toEqual([other]);
    stop();
    await report;
  });
});

describe('other signals', () => {
  test('are told at once, in the middle of an iteration too, and one after the other', async () => {
    const { opened, open } = gate();
    const told: string[] = [];
    const daemon = daemonOf({
      executeStart: () => opened,
      async handleOtherSignals(name) {
        told.push(name);
        await settle();
        told.push('done');
      },
    });
    const { orders, stop, report } = start(daemon);
    await settle();
    orders.signal('SIGUSR2');
    orders.signal('SIGUSR1');
    orders.signal('SIGUSR1');
    await settle();
    await settle();
    await settle();
    expect(told).toEqual(['SIGUSR2', 'done', 'SIGUSR1', 'done']);
    expect(daemon.calls).toEqual(['executeStart 0']);
    open();
    stop();
    await report;
  });

  test('that come before it has come up are told afterwards', async () => {
    const { opened, open } = gate();
    const told: string[] = [];
    const daemon = daemonOf({ onStart: () => opened, handleOtherSignals: (name) => void told.push(name) });
    const { orders, stop, report } = start(daemon);
    await settle();
    orders.signal('SIGUSR1');
    await settle();
    expect(told).toEqual([]);
    open();
    await settle();
    expect(told).toEqual(['SIGUSR1']);
    stop();
    await report;
  });

  test('whose handling fails are logged, and the daemon goes on', async () => {
    const daemon = daemonOf({
      handleOtherSignals() {
        throw new Error('what?');
      },
    });
    const { clock, orders, stop, lines, report } = start(daemon);
    await settle();
    orders.signal('SIGUSR2');
    await clock.pass(5000);
    expect(lines).toContainEqual({ level: 'ERROR', text: 'handleOtherSignals(SIGUSR2) failed: what?' });
    expect(daemon.calls).toHaveLength(2);
    stop();
    expect(await report).toMatchObject({ failed: 0 });
  });

  test('do nothing to a daemon that does not handle them', async () => {
    const daemon = daemonOf();
    const { orders, stop, lines, report } = start(daemon);
    await settle();
    orders.signal('SIGUSR2');
    await settle();
    expect(lines.at(-1)).toEqual({ level: 'INFO', text: 'SIGUSR2: this daemon has no handleOtherSignals()' });
    stop();
    expect(await report).toMatchObject({ ended: 'stopped' });
  });
});

describe('the health check of its own', () => {
  test('is asked as it comes up, and again and again, also while an iteration runs', async () => {
    const answers = [true, false, 'throw', true] as const;
    let asked = 0;
    const daemon = daemonOf({
      executeStart: ({ stopping }) => fired(stopping),
      verify() {
        const answer = answers[asked++];
        if (answer === 'throw') throw new Error('no answer from the database');
        return answer ?? true;
      },
    });
    const { clock, stop, kept, report } = start(daemon);
    await clock.pass(45_000);
    expect(kept.filter((word) => word.startsWith('checked'))).toEqual([
      'checked true ',
      'checked false verify() says so',
      'checked false verify() failed: no answer from the database',
      'checked true ',
    ]);
    stop();
    await report;
    expect(clock.timers).toBe(0);
  });

  test('that never answers is a bad sign, and is not asked a second time', async () => {
    let asked = 0;
    const daemon = daemonOf({
      verify() {
        asked++;
        return NEVER as unknown as Promise<boolean>;
      },
    });
    const { clock, orders, stop, kept, report } = start(daemon);
    await clock.pass(60_000);
    orders.reload();
    await clock.pass(60_000);
    expect(asked).toBe(1);
    expect(kept).toContain('checked false verify() has not answered within 10000 ms');
    stop();
    await report;
    expect(clock.timers).toBe(0);
  });
});
