/** Children that fail again and again: real processes, whose time passes as the test says. */
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import type { SupervisorEvent } from '../../src/supervisor/shape.ts';
import type { ProcessInput } from '../../src/supervisor/spec.ts';
import { Supervisor } from '../../src/supervisor/supervisor.ts';
import { until } from '../processes/stage.ts';
import { StillClock } from './still-clock.ts';

const MINUTE = 60_000;
/** A child that fails when it is told to, by a file. */
const FAILS = [
  'sh',
  '-c',
  'while ! [ -e fail ]; do sleep 0.02; done; rm fail; echo "out of luck" >&2; exit 9',
];

let folder: string;
let cwd: string;
let clock: StillClock;
let stop: AbortController;
let ended: Promise<void>;
let events: SupervisorEvent[];
let supervisor: Supervisor;

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-crash-loops-')));
  cwd = process.cwd();
  process.chdir(folder);
  clock = new StillClock();
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort();
  await ended;
  process.chdir(cwd);
  rmSync(folder, { recursive: true });
});

async function supervise(process: Partial<ProcessInput>): Promise<void> {
  const config = await loadConfig({ cwd: folder, env: {} });
  const processes = [
    { name: 'one', exec: FAILS, restartDelay: '1s', restartDelayMax: '8s', restartReset: '10m', ...process },
  ];
  // Chance at its most: the whole delay.
  supervisor = new Supervisor({ processes, config }, { clock, chance: () => 1 - Number.EPSILON });
  events = [];
  supervisor.onEvent((event) => events.push(event));
  ended = supervisor.run(stop.signal);
  await happened('starting', 1);
}

const count = (type: SupervisorEvent['type']): number => events.filter((event) => event.type === type).length;
const happened = (type: SupervisorEvent['type'], times: number): Promise<void> =>
  until(() => count(type) >= times);
const child = () => supervisor.status().processes[0]!.children[0]!;

/** Has the child fail, and waits until that is judged. */
async function fail(): Promise<void> {
  const times = count('ended') + 1;
  writeFileSync(join(folder, 'fail'), '');
  await happened('ended', times);
  await until(() => ['waiting', 'failed'].includes(child().state));
}

const delayOf = (): number => (child().nextStartAt?.getTime() ?? Number.NaN) - clock.now();

test('it begins again after a delay that doubles up to its most, and fails for good at the limit', async () => {
  await supervise({ restartLimit: 6 });
  for (const [index, delay] of [1000, 2000, 4000, 8000, 8000].entries()) {
    await fail();
    expect(child()).toMatchObject({
      state: 'waiting',
      failures: index + 1,
      restarts: index,
      pid: undefined,
      lastEnd: { why: 'ended with exit code 9: out of luck', failed: true },
    });
    expect(delayOf()).toBe(delay);
    clock.pass(delay - 1);
    expect(child().state).toBe('waiting');
    clock.pass(1);
    expect(child().state).toBe('starting');
  }
  await fail();
  expect(child()).toMatchObject({ state: 'failed', failures: 6, restarts: 5, nextStartAt: undefined });
  clock.pass(1000 * MINUTE);
  expect(child().state).toBe('failed');
  expect(events.at(-1)).toMatchObject({
    type: 'failed',
    child: 'one#1',
    data: { why: 'it has failed 6 times within 600 s of running' },
  });

  void supervisor.reset('one');
  await until(() => child().state === 'starting');
  expect(child().failures).toBe(0);
  await fail();
  expect(delayOf()).toBe(1000);
});

test('one that has run well for long enough begins from the first failure again', async () => {
  await supervise({ restartLimit: 3 });
  await fail();
  clock.pass(1000);
  await fail();
  clock.pass(2000);
  // A program counts as up when it has run for a second.
  clock.pass(1000);
  expect(child()).toMatchObject({ state: 'running', failures: 2 });
  clock.pass(10 * MINUTE);
  expect(child()).toMatchObject({ state: 'running', failures: 0, restarts: 2 });
  await fail();
  expect(child()).toMatchObject({ state: 'waiting', failures: 1 });
  expect(delayOf()).toBe(1000);
});

test('an end that somebody wanted is no failure, and a stop while it waits keeps it down', async () => {
  await supervise({ restartLimit: 2 });
  clock.pass(1000);
  for (let times = 0; times < 5; times++) {
    const restarted = supervisor.restart('one');
    await happened('starting', times + 2);
    clock.pass(1000);
    await restarted;
  }
  expect(child()).toMatchObject({ failures: 0, restarts: 0, lastEnd: { failed: false } });
  await fail();
  await supervisor.stop('one');
  clock.pass(MINUTE);
  expect(child()).toMatchObject({ state: 'stopped', nextStartAt: undefined });
  // It counts all the same.
  void supervisor.start('one');
  await until(() => child().state === 'starting');
  await fail();
  expect(child().state).toBe('failed');
});

test('one that is told to start while it waits starts at once', async () => {
  await supervise({ restartDelay: '1h', restartDelayMax: '1h' });
  await fail();
  void supervisor.start('one');
  await until(() => child().state === 'starting');
  clock.pass(60 * MINUTE);
  expect(count('starting')).toBe(2);
});

test('a failure may be answered by a program that tells somebody, once, and by no restart', async () => {
  const told = join(folder, 'told');
  await supervise({
    onFailure: `restart, run /bin/sh -c "echo $SUPERVISOR_CHILD $SUPERVISOR_WHY > ${told}"`,
  });
  await fail();
  clock.pass(1000);
  await fail();
  expect(child().state).toBe('failed');
  await until(() => existsSync(told) && readFileSync(told, 'utf8') !== '');
  expect(readFileSync(told, 'utf8')).toBe('one#1 ended with exit code 9: out of luck\n');
});

test('a program counts as up when it has run for a second', async () => {
  await supervise({ exec: ['sleep', '1000'] });
  clock.pass(999);
  expect(child().state).toBe('starting');
  clock.pass(1);
  expect(child().state).toBe('running');
});
