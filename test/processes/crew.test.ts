/** `queue-worker --processes` and `--timeout`: a parent and its members as real processes, ended in every way there is. */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Message } from '../../src/message.ts';
import { Bench, parsedLines, type Ended, type Started } from '../cli/commands.ts';
import { Terminal } from '../cli/terminal.ts';
import { stateOf, until, upTo } from './stage.ts';

let bench: Bench;
/** Every process that a handler ran in. */
const seenPids = new Set<number>();

beforeEach(() => {
  bench = new Bench();
  bench.install();
  mkdirSync(join(bench.folder, 'workers'));
  bench.file('config.ini', '[worker]\nbackoff = 50ms\n');
  bench.file(join('workers', 'obey.mjs'), OBEYING);
});
afterEach(async () => {
  for (const { pid } of seen()) if (pid !== process.pid) seenPids.add(pid);
  await bench.close();
  await until(() => [...seenPids].every(isGone));
  seenPids.clear();
});

/**
 * A worker that does what its message says, after it has noted in ./seen.ndjson that it was called. One that blocks its process does
 * so without keeping a core busy: nothing else runs in it either way.
 */
const OBEYING = `
  import { appendFileSync, existsSync } from 'node:fs';
  import { setTimeout as sleep } from 'node:timers/promises';
  import { Worker } from 'coda-queue';
  export default class extends Worker {
    start({ log, signal }) {
      signal.addEventListener('abort', () => log.info('told to stop'));
    }
    async process({ alias, data, crashes }, { attempt, signal, log }) {
      const member = process.env.QUEUE_WORKER_MEMBER ?? 'not told';
      appendFileSync('seen.ndjson', JSON.stringify({ alias, pid: process.pid, attempt, crashes, member }) + '\\n');
      log.info('begun', { pid: process.pid });
      if (data.say) console.error(data.say);
      if (data.send) for (const lie of [null, { type: 'report', report: { ended: 'drained' } }]) process.send?.(lie);
      if (data.exit !== undefined && attempt + crashes <= (data.times ?? 99)) process.exit(data.exit);
      if (data.throw) setImmediate(() => { throw new Error(data.throw); });
      if (data.block && attempt <= (data.times ?? 99)) for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      if (data.deaf) await new Promise(() => setInterval(() => {}, 1000));
      if (data.untilTold) await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      while (data.untilGo && !existsSync('go')) await sleep(10);
      if (data.ms) await sleep(data.ms);
      log.info('finished');
    }
  }`;

interface Seen {
  alias: string;
  pid: number;
  attempt: number;
  crashes: number;
  member: string;
}

function seen(): Seen[] {
  try {
    return parsedLines(readFileSync(join(bench.folder, 'seen.ndjson'), 'utf8')) as Seen[];
  } catch {
    return [];
  }
}

function isGone(pid: number): boolean {
  const state = stateOf(pid);
  return state === undefined || state === 'Z';
}

function membersOf(parent: number): number[] {
  const text = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

/** Adds one message for each, with its name as alias. */
async function add(jobs: Record<string, object>): Promise<void> {
  const lines = Object.entries(jobs).map(([alias, data]) => JSON.stringify({ alias, data, retries: 1 }));
  const { code, stderr } = await bench.run(
    'queue',
    ['add', 'obey', '--create', '--ndjson', '-'],
    lines.join('\n'),
  );
  if (code !== 0) throw new Error(stderr);
}

function start(...args: string[]): Started {
  return bench.start('queue-worker', ['obey', '--json', ...args]);
}

function drain(...args: string[]): Promise<Ended> {
  return start('--drain', ...args).ended;
}

function report({ stdout, stderr }: Ended): unknown {
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout);
}

async function find(alias: string): Promise<Message> {
  const { stdout } = await bench.queue('find', 'obey', '--alias', alias, '--json');
  return JSON.parse(stdout) as Message;
}

describe('a crew', () => {
  test('does each message once, shares the work, and makes one report of it', async () => {
    await add(Object.fromEntries(upTo(60).map((n) => [`m${n}`, { ms: 20 }])));
    const ended = await drain('--processes', '3');
    expect(ended.code).toBe(0);
    expect(report(ended)).toEqual({
      type: 'obey',
      queue: 'obey',
      ended: 'drained',
      completed: 60,
      retried: 0,
      failed: 0,
      released: 0,
      lost: 0,
      cancelled: 0,
      died: 0,
      killed: 0,
      left: { ready: 0, deferred: 0, disabled: 0, failed: 0 },
    });
    expect(
      seen()
        .map(({ alias }) => alias)
        .sort(),
    ).toEqual(
      upTo(60)
        .map((n) => `m${n}`)
        .sort(),
    );
    expect(new Set(seen().map(({ pid }) => pid)).size).toBe(3);
    expect(seen().every(({ member }) => member === 'not told')).toBe(true);
  });

  test('has as many tries as --limit says, and one that its process did not survive was one', async () => {
    await add({
      deadly: { exit: 1, times: 1 },
      ...Object.fromEntries(upTo(20).map((n) => [`m${n}`, { ms: 5 }])),
    });
    const ended = await start('--processes', '3', '--limit', '10').ended;
    expect(ended.code).toBe(0);
    expect(report(ended)).toMatchObject({ ended: 'limit', completed: 9, died: 1, left: { ready: 12 } });
    expect(seen()).toHaveLength(10);
  });

  test('starts no more processes than the limit has tries', async () => {
    await add({ a: {}, b: {}, c: {} });
    const ended = await start('--processes', '5', '--limit', '1').ended;
    expect(report(ended)).toMatchObject({ ended: 'limit', completed: 1, left: { ready: 2 } });
    expect(ended.stderr.match(/begun/g)).toHaveLength(1);
  });

  test('says once what is wrong when it cannot begin', async () => {
    const unknown = await bench.run('queue-worker', ['nosuch', '--processes', '3']);
    expect([unknown.code, unknown.stdout]).toEqual([64, '']);
    expect(unknown.stderr.match(/no worker of type "nosuch"/g)).toHaveLength(1);
    expect(unknown.stderr).toContain('"obey"');

    bench.file(join('workers', 'dies.mjs'), 'process.exit(7);');
    const dies = await bench.run('queue-worker', ['dies', '--processes', '2']);
    expect([dies.code, dies.stdout]).toEqual([69, '']);
    expect(dies.stderr).toMatch(/queue-worker: .* ended with exit code 7.* \(WORKER_FAILED/);
  });

  test('is paused like a single process', async () => {
    await add({ a: {} });
    await bench.queue('pause', 'obey');
    const ended = await drain('--processes', '2');
    expect(ended.code).toBe(75);
    expect(report(ended)).toMatchObject({ ended: 'paused', left: { ready: 1 } });
  });
});

describe('a member that dies', () => {
  test('of SIGKILL is replaced, and its message tried again with the evidence', async () => {
    await add({ a: { say: 'last words', untilGo: true } });
    const crew = start('--processes', '1');
    await crew.said('last words');
    const [first] = seen();
    process.kill(first!.pid, 'SIGKILL');
    await until(() => seen().length === 2);
    const { crashes, errors } = await find('a');
    expect(crashes).toBe(1);
    expect(errors).toMatchObject([{ name: 'WorkerDied', code: 'SIGKILL' }]);
    const { message, stack } = errors[0]!;
    expect(message).toMatch(
      new RegExp(`^process ${first!.pid} was ended by SIGKILL, having \\d+ MB of memory`),
    );
    expect(message).toMatch(/last words$/);
    expect(stack).toBeUndefined();
    bench.file('go', '');
    await crew.said('finished');
    crew.process.kill('SIGTERM');
    const ended = await crew.ended;
    expect(ended.code).toBe(0);
    expect(report(ended)).toMatchObject({ completed: 1, died: 1, left: { ready: 0 } });
    expect(seen()[1]).toMatchObject({ alias: 'a', attempt: 1, crashes: 1 });
  });

  test.each([
    [
      'exits',
      { say: 'x'.repeat(3000) + ' the end', exit: 3 },
      'EXIT_3',
      /; the end of its stderr:\nx+ the end$/,
    ],
    ['exits with 0', { exit: 0 }, 'EXIT_0', /ended with exit code 0/],
    ['throws where nobody catches it', { throw: 'boom', ms: 500 }, 'EXIT_1', /Error: boom/],
  ])(
    'as its handler %s, three times, leaves a failed message, and the others done',
    async (_, job, code, said) => {
      await add({ before: {}, poison: job, after: {}, last: {} });
      const ended = await drain('--processes', '2');
      expect(ended.code).toBe(0);
      expect(report(ended)).toMatchObject({
        completed: 3,
        failed: 0,
        died: 3,
        left: { ready: 0, failed: 1 },
      });
      const { state, crashes, attempts, errors } = await find('poison');
      expect({ state, crashes, attempts }).toEqual({ state: 'failed', crashes: 3, attempts: 0 });
      expect(errors.map((error) => [error.name, error.code])).toEqual(
        upTo(3).map(() => ['WorkerDied', code]),
      );
      for (const { message } of errors) expect(message).toMatch(said);
      expect(seen().filter(({ alias }) => alias === 'poison')).toHaveLength(3);
    },
  );

  test('may try to speak to its parent: nothing is heard that is not its own', async () => {
    await add({ a: { send: true }, b: {}, c: { send: true }, d: {} });
    const ended = await drain('--processes', '2');
    expect(ended.code).toBe(0);
    expect(report(ended)).toMatchObject({ ended: 'drained', completed: 4, died: 0, left: { ready: 0 } });
  });

  test('of SIGTERM alone lets its handler end, and is replaced', async () => {
    await add({ a: { untilGo: true }, b: {} });
    const crew = start('--processes', '1');
    await crew.said('begun');
    process.kill(seen()[0]!.pid, 'SIGTERM');
    process.kill(seen()[0]!.pid, 'SIGINT');
    await crew.said('told to stop');
    bench.file('go', '');
    await crew.said(/stopped by somebody/);
    await until(() => seen().length === 2);
    crew.process.kill('SIGTERM');
    const ended = await crew.ended;
    expect(report(ended)).toMatchObject({ completed: 2, died: 0 });
    expect(seen()[1]!.pid).not.toBe(seen()[0]!.pid);
  });
});

/** Says what it goes by, and opens the queues as any worker's author would. */
const ASKING = `
  import { QueueManager, Worker } from 'coda-queue';
  export default class extends Worker {
    async start({ log, config }) {
      const manager = await QueueManager.open();
      log.info('sees ' + (await manager.listQueues()) + ' under ' + config.worker.backoff);
      await manager.close();
    }
    process({ data }) { if (data.exit) process.exit(1); }
  }`;

describe('a member that is started later goes by the configuration that its parent had', () => {
  const started = async (crew: Started, times: number): Promise<void> => {
    await crew.said(new RegExp(`(?:sees obey under 50[^]*){${times}}`));
  };

  test.each([
    ['of the folder', [], 'config.ini'],
    ['that was named', ['--config=other.ini'], 'other.ini'],
  ])('%s, whatever has become of it since', async (_, args, name) => {
    bench.file(name, '[queue]\ncacheRoot = q\n[worker]\nbackoff = 50ms\ncrashLimit = 10\n');
    bench.file('workers/obey.mjs', ASKING);
    const queue = async (...words: string[]): Promise<void> => {
      const { code, stderr } = await bench.queue(...words, '--cache-root=q');
      if (code !== 0) throw new Error(stderr);
    };
    await queue('create', 'obey');
    const crew = start('--processes=1', '--limit=3', ...args);
    await started(crew, 1);
    bench.file(name, '[worker]\nbackof = 1s\n');
    await queue('add', 'obey', '{"exit":true}', '--config=/dev/null');
    await started(crew, 2);
    bench.file(name, '[queue]\ncacheRoot = elsewhere\n[worker]\nbackoff = 7s\n');
    await started(crew, 3);
    crew.process.kill('SIGTERM');
    expect((await crew.ended).code).toBe(0);
  });

  test('which is no affair of the programs that it starts', async () => {
    bench.file('config.ini', '[http]\nhttpSecret = hush-hush\n');
    bench.file('say.sh', 'env | grep "^CODA_" | grep -v "^CODA_MESSAGE_" >&2; exit 0');
    await add({ a: {} });
    const env = { CODA_LEASE: '40s', CODA_FORMAT: 'json' };
    const args = ['obey', '--exec', 'sh say.sh', '--drain', '--processes=1'];
    const { code, stderr } = await bench.run('queue-worker', args, '', env);
    expect(code).toBe(0);
    const said = (parsedLines(stderr) as { text: string }[]).map(({ text }) => text);
    expect(said.filter((text) => text.startsWith('CODA_')).sort()).toEqual([
      'CODA_FORMAT=json',
      'CODA_LEASE=40s',
    ]);
  });
});

describe('--timeout', () => {
  test('ends a handler that blocks its process for ever; the try has failed, the others in hand lose none', async () => {
    await add({ blocker: { block: true }, b: {}, c: {} });
    const ended = await start('--timeout', '1s', '--concurrency', '3', '--limit', '4').ended;
    expect(ended.code).toBe(0);
    expect(report(ended)).toMatchObject({
      completed: 2,
      retried: 1,
      failed: 1,
      died: 0,
      killed: 2,
      left: { ready: 0, failed: 1 },
    });
    const { state, crashes, attempts, errors } = await find('blocker');
    expect({ state, crashes, attempts }).toEqual({ state: 'failed', crashes: 0, attempts: 2 });
    expect(errors).toMatchObject([
      { name: 'TimeoutError', code: 'TIMEOUT', attempt: 1 },
      { name: 'TimeoutError', code: 'TIMEOUT', attempt: 2 },
    ]);
    expect(seen().filter(({ alias }) => alias !== 'blocker')).toMatchObject([
      { alias: 'b', attempt: 1, crashes: 0 },
      { alias: 'c', attempt: 1, crashes: 0 },
    ]);
  });

  test('ends one that goes on after its signal, but not the process of one that heeds it', async () => {
    await add({ deaf: { deaf: true } });
    const deaf = await start('--timeout', '300ms', '--limit', '2').ended;
    expect(report(deaf)).toMatchObject({ retried: 1, failed: 1, killed: 2, died: 0 });
    expect(new Set(seen().map(({ pid }) => pid)).size).toBe(2);

    await bench.queue('purge', 'obey', '--yes');
    await add({ heeding: { untilTold: true } });
    const heeding = await start('--timeout', '300ms', '--limit', '2').ended;
    expect(report(heeding)).toMatchObject({ retried: 1, failed: 1, killed: 0, died: 0 });
    expect(
      new Set(
        seen()
          .slice(2)
          .map(({ pid }) => pid),
      ).size,
    ).toBe(1);
    expect((await find('heeding')).errors.map(({ code }) => code)).toEqual(['TIMEOUT', 'TIMEOUT']);
  });

  test('leaves alone what ends in time, however much of it there is', async () => {
    await add(Object.fromEntries(upTo(30).map((n) => [`m${n}`, { ms: 200 }])));
    const ended = await drain('--timeout', '1s', '--concurrency', '2');
    expect(report(ended)).toMatchObject({ completed: 30, killed: 0, died: 0 });
  });

  test('does not count the time in which the crew itself was halted', async () => {
    await add({ a: { untilGo: true } });
    const crew = start('--timeout', '1s', '--limit', '1');
    await crew.said('begun');
    const member = seen()[0]!.pid;
    process.kill(member, 'SIGSTOP');
    crew.process.kill('SIGSTOP');
    await sleep(3000);
    bench.file('go', '');
    crew.process.kill('SIGCONT');
    // Long enough for a parent that went by the clock to kill it.
    await sleep(300);
    process.kill(member, 'SIGCONT');
    expect(report(await crew.ended)).toMatchObject({ completed: 1, killed: 0, died: 0 });
  });

  test('holds while the crew is stopping', async () => {
    await add({ blocker: { block: true } });
    const crew = start('--timeout', '1s');
    await crew.said('begun');
    crew.process.kill('SIGTERM');
    const ended = await crew.ended;
    expect(ended.code).toBe(0);
    expect(report(ended)).toMatchObject({ ended: 'stopped', retried: 1, killed: 1 });
    expect(await find('blocker')).toMatchObject({ attempts: 1, crashes: 0, errors: [{ code: 'TIMEOUT' }] });
  });
});

describe('a crew that is told to stop', () => {
  test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    'by %s lets its handlers end and exits 0',
    async (signal) => {
      await add({ a: { untilGo: true }, b: { untilGo: true }, c: {} });
      const crew = start('--processes', '2');
      await until(() => seen().length === 2);
      crew.process.kill(signal);
      await crew.said(/told to stop[^]*told to stop/);
      bench.file('go', '');
      const ended = await crew.ended;
      expect(ended.code).toBe(0);
      expect(report(ended)).toMatchObject({ ended: 'stopped', completed: 2, left: { ready: 1 } });
    },
  );

  test('by the end of its terminal, which every process hears of, perhaps twice, lets its handlers end', async () => {
    await add({ a: { untilGo: true }, b: { untilGo: true } });
    const crew = start('--processes', '2');
    await until(() => seen().length === 2);
    const all = [...membersOf(crew.process.pid!), crew.process.pid!];
    for (const pid of all) process.kill(pid, 'SIGHUP');
    await crew.said(/told to stop[^]*told to stop/);
    for (const pid of all) process.kill(pid, 'SIGHUP');
    bench.file('go', '');
    const ended = await crew.ended;
    expect(ended.code).toBe(0);
    expect(report(ended)).toMatchObject({ ended: 'stopped', completed: 2, released: 0, died: 0 });
  });

  test('gives back after the deadline what has not ended, the try refunded, and exits 0', async () => {
    bench.file('config.ini', '[worker]\nstopDeadline = 10ms\n');
    await add({ a: { untilTold: true }, b: { deaf: true } });
    const crew = start('--processes', '2');
    await until(() => seen().length === 2);
    crew.process.kill('SIGTERM');
    const ended = await crew.ended;
    expect(ended.code).toBe(0);
    expect(report(ended)).toMatchObject({ released: 2, died: 0, killed: 0, left: { ready: 2 } });
    for (const alias of ['a', 'b'])
      expect(await find(alias)).toMatchObject({ attempts: 0, crashes: 0, errors: [] });
  });

  test('twice does so at once and exits 1', async () => {
    await add({ a: { untilTold: true } });
    const crew = start('--processes', '2');
    await crew.said('begun');
    crew.process.kill('SIGTERM');
    await crew.said('stopping');
    crew.process.kill('SIGTERM');
    const ended = await crew.ended;
    expect(ended.code).toBe(1);
    // The other may claim what the first gives back, before it has heard that it is to stop.
    expect(report(ended)).toMatchObject({ completed: 0, left: { ready: 1 } });
  });

  test('three times kills handlers that block, and exits 1', async () => {
    await add({ a: { block: true } });
    const crew = start('--processes', '2');
    await crew.said('begun');
    const members = membersOf(crew.process.pid!);
    expect(members).toHaveLength(2);
    crew.process.kill('SIGTERM');
    await crew.said('stopping;');
    crew.process.kill('SIGINT');
    await crew.said('stopping at once');
    crew.process.kill('SIGTERM');
    expect((await crew.ended).code).toBe(1);
    await until(() => members.every(isGone), 2000);
  });

  test('kills a handler that blocks when it has waited long enough; where it knows what was in hand, that goes back', async () => {
    bench.file('config.ini', '[worker]\nstopDeadline = 10ms\n');
    await add({ a: { block: true } });
    const crew = start('--timeout', '1h');
    await crew.said('begun');
    crew.process.kill('SIGTERM');
    const ended = await crew.ended;
    expect(report(ended)).toMatchObject({ released: 1, killed: 1, died: 0 });
    expect(await find('a')).toMatchObject({ state: 'ready', attempts: 0, crashes: 0 });
  });

  test('by Ctrl-C in a terminal, which reaches every process, does not lose what it has in hand', async () => {
    await add({ a: { untilGo: true }, b: { untilGo: true } });
    const terminal = Terminal.command('queue-worker', ['obey', '--processes', '2'], {
      cwd: bench.folder,
      cols: 120,
    });
    try {
      await until(() => seen().length === 2);
      terminal.type('\u0003');
      await terminal.shows('SIGINT: stopping');
      bench.file('go', '');
      expect(await terminal.ended).toEqual({ code: 0, signal: 0 });
      const text = terminal.screen().join('\n');
      expect(text).toMatch(/^\d\d:\d\d:\d\d {2}INFO {3}begun {2}[ab] {2}pid=\d+$/m);
      expect(text).toContain('obey: stopped; 2 messages completed');
    } finally {
      await terminal.close();
    }
  });
});

describe('a crew whose parent is killed', () => {
  test('lets its handlers end, and is gone', async () => {
    await add({ a: { untilGo: true }, b: {} });
    const crew = start('--processes', '2');
    await crew.said('begun');
    const members = membersOf(crew.process.pid!);
    crew.process.kill('SIGKILL');
    await until(() => members.some(isGone));
    bench.file('go', '');
    await until(() => members.every(isGone));
    expect(await bench.json('status', 'obey')).toMatchObject({ counts: { claimed: 0, failed: 0 } });
    expect(seen().every(({ crashes }) => crashes === 0)).toBe(true);
  });

  test('is gone a while after the deadline even if a handler blocks', async () => {
    bench.file('config.ini', '[worker]\nstopDeadline = 10ms\n');
    await add({ a: { block: true } });
    const crew = start('--processes', '1');
    await crew.said('begun');
    const members = membersOf(crew.process.pid!);
    crew.process.kill('SIGKILL');
    await until(() => members.every(isGone), 15_000);
  });

  test('as it puts down a handler that blocks, is gone too, although that stands still and cannot end itself', async () => {
    await add({ a: { block: true } });
    const crew = start('--timeout', '50ms');
    await crew.said('begun');
    const [member] = membersOf(crew.process.pid!);
    // It stands still for as long as it takes to settle its message: some milliseconds, so there is no time for a pause.
    const deadline = performance.now() + 10_000;
    while (stateOf(member!) !== 'T' && !isGone(member!) && performance.now() < deadline);
    crew.process.kill('SIGKILL');
    await until(() => isGone(member!));
  });
});
