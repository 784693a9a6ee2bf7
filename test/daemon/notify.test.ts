/** What systemd is told of a daemon: by a program named systemd-notify, which here writes down what it is told. */
import { chmodSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { notifying, takeNotifyTarget } from '../../src/daemon/notify.ts';
import type { Keeper } from '../../src/daemon/state.ts';
import { until } from '../processes/stage.ts';

let folder = '';
let kept: string[] = [];
let troubles: string[] = [];
let begun: Keeper | undefined;

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-notify-')));
  kept = [];
  troubles = [];
});
afterEach(() => {
  begun?.ended('told');
  begun = undefined;
  // What is being told at the end of a test may still write there.
  rmSync(folder, { recursive: true, maxRetries: 20 });
});

/** Each telling, as its words. */
function told(): string[][] {
  try {
    const lines = readFileSync(join(folder, 'told'), 'utf8').split('\n').slice(0, -1);
    return lines.map((line) => line.split('|').slice(0, -1));
  } catch {
    return [];
  }
}

/** How often this was told. */
const count = (word: string): number => told().filter((words) => words.includes(word)).length;
const status = (): string => told().at(-1)?.at(-1) ?? '';

const RECORDS = 'printf "%s|" "$@" >> "$FOLDER/told"; echo >> "$FOLDER/told"';

function begin({
  watchdog,
  limit = 60_000,
  program = RECORDS,
}: { watchdog?: number; limit?: number; program?: string } = {}): Keeper {
  const path = join(folder, 'systemd-notify');
  writeFileSync(path, `#!/bin/sh\nFOLDER='${folder}'\n${program}\n`);
  chmodSync(path, 0o755);
  // Of this test, should a word be over only when the next one has begun.
  const [calls, words] = [kept, troubles];
  const base = new Proxy({} as Keeper, { get: (_, call: string) => () => calls.push(call) });
  const target = { env: { PATH: `${folder}:${process.env['PATH']}`, NOTIFY_SOCKET: 'x' }, watchdog };
  begun = notifying(base, { target, limit, onTrouble: (why) => words.push(why) });
  return begun;
}

describe('what systemd wants of this process', () => {
  test('is nothing where nobody listens', () => {
    expect(takeNotifyTarget({ PATH: '/bin' })).toBeUndefined();
    expect(takeNotifyTarget({ NOTIFY_SOCKET: '' })).toBeUndefined();
  });

  test('is taken out of the environment: what a daemon starts does not speak for it', () => {
    const env = {
      PATH: '/bin',
      NOTIFY_SOCKET: '/run/n',
      WATCHDOG_USEC: '3000000',
      WATCHDOG_PID: `${process.pid}`,
    };
    expect(takeNotifyTarget(env)).toEqual({ env: { PATH: '/bin', NOTIFY_SOCKET: '/run/n' }, watchdog: 3000 });
    expect(env).toEqual({ PATH: '/bin' });
  });

  test.each([
    [{ WATCHDOG_USEC: '3000000', WATCHDOG_PID: '1' }],
    [{ WATCHDOG_USEC: '0' }],
    [{ WATCHDOG_USEC: '-5' }],
    [{ WATCHDOG_USEC: 'soon' }],
    [{}],
  ])('no watchdog with %j', (env) => {
    expect(takeNotifyTarget({ NOTIFY_SOCKET: '/run/n', ...env })?.watchdog).toBeUndefined();
  });
});

test('that it is up, reloads and stops is told, with what it does; and the other keeper is told too', async () => {
  const keeper = begin();
  keeper.started();
  await until(() => count('READY=1') === 1);
  keeper.iterationStarted();
  keeper.iterationEnded({ error: new Error('x') });
  keeper.reloading();
  await until(() => count('RELOADING=1') === 1);
  expect(status()).toBe('STATUS=reloading; 1 iteration so far, the last one failed');
  keeper.reloaded();
  keeper.started();
  await until(() => count('READY=1') === 2);
  keeper.checked(false, 'line one\nREADY=1');
  keeper.stopping(1000);
  await until(() => count('STOPPING=1') === 1);
  expect(status()).toBe(
    'STATUS=stopping; 1 iteration so far, the last one failed, unhealthy: line one READY=1',
  );
  expect(kept).toEqual([
    'started',
    'iterationStarted',
    'iterationEnded',
    'reloading',
    'reloaded',
    'started',
    'checked',
    'stopping',
  ]);
});

test('pings go on as long as it is heard of within its limit, and end when it is not', async () => {
  const keeper = begin({ watchdog: 60, limit: 2000 });
  keeper.started();
  keeper.iterationStarted();
  await until(() => count('WATCHDOG=1') >= 3);
  // Nothing is heard of the iteration any more.
  await until(() => isQuiet());
  const before = count('WATCHDOG=1');
  keeper.progressed();
  await until(() => count('WATCHDOG=1') > before);
});

test('a sleep does not count, however long', async () => {
  const keeper = begin({ watchdog: 60, limit: 100 });
  keeper.started();
  keeper.sleeping(new Date(Date.now() + 3_600_000));
  await until(() => count('WATCHDOG=1') >= 20);
});

test('without a watchdog there are no pings', async () => {
  const keeper = begin();
  keeper.started();
  await until(() => count('READY=1') === 1);
  expect(count('WATCHDOG=1')).toBe(0);
});

test('one word goes after the other, and what came meanwhile goes together', async () => {
  const keeper = begin({
    program: `${RECORDS}\nwhile [ -d "$FOLDER" ] && [ ! -e "$FOLDER/go" ]; do sleep 0.02; done`,
  });
  keeper.started();
  for (let i = 0; i < 100; i++) {
    keeper.reloading();
    keeper.reloaded();
    keeper.started();
  }
  await until(() => told().length === 1);
  writeFileSync(join(folder, 'go'), '');
  await until(() => told().length === 2);
  expect(told()).toEqual([
    ['STATUS=coming up; 0 iterations so far'],
    ['READY=1', 'STATUS=working; 0 iterations so far'],
  ]);
});

test('that systemd cannot be told is said once, and changes nothing else', async () => {
  const keeper = begin({ watchdog: 30, program: 'exit 3' });
  keeper.started();
  keeper.stopping(0);
  await until(() => troubles.length > 0);
  expect(troubles).toEqual([
    'systemd cannot be told how the daemon gets on: systemd-notify ended with exit code 3',
  ]);
  expect(kept).toEqual(['started', 'stopping']);
});

/** Whether three pings would have come by now, and none has. */
async function isQuiet(): Promise<boolean> {
  const before = count('WATCHDOG=1');
  await new Promise((resolve) => setTimeout(resolve, 400));
  return count('WATCHDOG=1') === before;
}
