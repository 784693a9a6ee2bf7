/** `queue-worker --exec`, with real programs and real signals. */
import { chmodSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { QueueManager, type Message } from '../../src/index.ts';
import { Bench, type Started } from './commands.ts';

const Q = 'jobs';
const QUEUE = fileURLToPath(new URL('../../dist/bin/queue.js', import.meta.url));

let bench: Bench;
let manager: QueueManager;

beforeEach(async () => {
  bench = new Bench();
  manager = await QueueManager.open({ cacheRoot: join(bench.folder, 'queues'), durability: 'os' });
  await manager.createQueue(Q);
});
afterEach(async () => {
  // None are left, unless a test has failed.
  for (const pid of pidsOf('slow').filter(lives)) process.kill(pid, 'SIGKILL');
  await manager.close();
  await bench.close();
});

function program(name: string, text: string): string {
  const path = bench.file(name, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

/** `SLOW` writes down the pids of a family that does not care for SIGTERM, says "ready", and stays. */
const SLOW = `trap '' TERM
echo $$ >> "$0.pids"
sh -c 'trap "" TERM; echo $$ >> "$1.pids"; echo ready >&2; sleep 1000 & echo $! >> "$1.pids"; wait' sh "$0" &
wait`;

function pidsOf(name: string): number[] {
  const file = join(bench.folder, `${name}.pids`);
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map(Number) : [];
}

function lives(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

/** Pids of the shells that would end a dead worker's commands. */
function keepersOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
  return children.filter((child) => readFileSync(`/proc/${child}/cmdline`, 'utf8').includes('coda-keeper'));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

async function find(alias: string): Promise<Message> {
  const found = await manager.findMessage(Q, { alias });
  if (!found) throw new Error(`there is no ${alias}`);
  return found;
}

/** A worker whose one command is at work, and the pids of that. */
async function atWork(...options: string[]): Promise<Started & { pids: number[] }> {
  await manager.addMessage(Q, { data: null, alias: 'slow' });
  const started = bench.start('queue-worker', [Q, '--exec', program('slow', SLOW), ...options], {
    CODA_STOP_DEADLINE: '0',
  });
  await started.said('ready');
  await until(() => pidsOf('slow').length === 3);
  return { ...started, pids: pidsOf('slow') };
}

describe('queue-worker --exec', () => {
  test('completes, fails and gives up as the exit codes say, and keeps the end of stderr', async () => {
    await manager.addMessages(Q, [
      { data: 0, alias: 'good' },
      { data: 65, alias: 'hopeless', retries: 5 },
      { data: 3, alias: 'again', retries: 5 },
      { data: 3, alias: 'last' },
    ]);
    const path = program('judge', 'read -r code; echo "$1 is $code" >&2; exit "$code"');
    const { code, stdout, stderr } = await bench.run('queue-worker', [
      Q,
      '--exec',
      `${path} {alias}`,
      '--drain',
      '--json',
    ]);
    expect([code, stderr]).toEqual([0, expect.stringContaining('"text":"again is 3"')]);
    expect(JSON.parse(stdout)).toMatchObject({
      completed: 1,
      failed: 2,
      retried: 1,
      left: { deferred: 1, failed: 2 },
    });
    expect(await manager.findMessage(Q, { alias: 'good' })).toBe(undefined);
    expect(await find('hopeless')).toMatchObject({
      state: 'failed',
      errors: [{ name: 'FinalError', code: 'EXIT_65', stack: 'stderr:\nhopeless is 65' }],
    });
    expect(await find('again')).toMatchObject({
      state: 'deferred',
      errors: [{ message: 'command exited with 3', code: 'EXIT_3', stack: 'stderr:\nagain is 3' }],
    });
    expect(await find('last')).toMatchObject({ state: 'failed' });
  });

  test('needs no worker of that name, and the command may itself add messages', async () => {
    const path = program(
      'chain',
      `read -r data; "${process.execPath}" "${QUEUE}" add next "$data" --create --alias "$CODA_MESSAGE_ALIAS"`,
    );
    await manager.addMessage(Q, { data: { n: 1 }, alias: 'a b' });
    const { code, stderr } = await bench.run('queue-worker', [Q, '--exec', path, '--drain']);
    expect([code, stderr]).toEqual([0, expect.not.stringContaining('failed')]);
    expect(await manager.findMessage('next', { alias: 'a b' })).toMatchObject({ data: { n: 1 } });
  });

  test.each([
    ['no-such-program {alias}', 'to be a program that can be run'],
    [`sh -c 'x`, "expected a closing '"],
    ['echo {alia}', 'did you mean {alias}?'],
  ])('refuses %j before it touches a message', async (command, why) => {
    await manager.addMessage(Q, { data: 1, alias: 'one' });
    const { code, stderr } = await bench.run('queue-worker', [Q, '--exec', command, '--drain']);
    expect(code).not.toBe(0);
    expect(stderr).toContain(why);
    expect(await find('one')).toMatchObject({ state: 'ready', attempts: 0 });
  });
});

describe('the whole group of a command is dead', () => {
  test('when the worker has been stopped: the message is back in line, the try refunded', async () => {
    const { process: worker, ended, pids } = await atWork();
    worker.kill('SIGTERM');
    expect(await ended).toMatchObject({ code: 0 });
    expect(pids.map(lives)).toEqual([false, false, false]);
    expect(await find('slow')).toMatchObject({ state: 'ready', attempts: 0, errors: [] });
  });

  test('soon after the worker was killed with SIGKILL, and what looks after that is gone too', async () => {
    const { process: worker, ended, pids } = await atWork();
    const keepers = keepersOf(worker.pid ?? 0);
    expect(keepers).toHaveLength(1);
    worker.kill('SIGKILL');
    await ended.catch(() => undefined);
    await until(() => ![...pids, ...keepers].some(lives));
  });

  test('when a try has taken too long: it has failed', async () => {
    const { ended, pids } = await atWork('--timeout', '1s', '--limit', '1');
    expect(await ended).toMatchObject({ code: 0 });
    expect(pids.map(lives)).toEqual([false, false, false]);
    expect(await find('slow')).toMatchObject({ state: 'failed', attempts: 1, errors: [{ code: 'TIMEOUT' }] });
  });

  test('when the message has been cancelled', async () => {
    const { process: worker, ended, pids } = await atWork();
    await manager.cancelMessage(Q, (await find('slow')).uuid);
    await until(() => !pids.some(lives));
    worker.kill('SIGTERM');
    expect(await ended).toMatchObject({ code: 0 });
    expect(await find('slow')).toMatchObject({ state: 'failed', errors: [{ code: 'CANCELLED' }] });
  });
});
