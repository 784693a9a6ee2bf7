/** Children of a supervisor as real processes: started, ended, replaced, scaled, killed, in every order. */
import { readFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import type { SupervisorStatus } from '../../src/supervisor/shape.ts';
import { WAIT, courtTest as test, isGone, kill, type Master } from './masters.ts';
import { until } from './stage.ts';

describe('starting and stopping', () => {
  test('fifty children come up, say who they are, and end together', async ({ court }) => {
    const many = court.class('many', `${WAIT} commandStatus() { return this.id; }`);
    const master = court.supervise([{ name: 'many', class: many, instances: 50 }]);
    const ids = Array.from({ length: 50 }, (_, index) => `many#${index + 1}`);
    await master.up(...ids);
    const answers = await master.collect('many', 'status', 20_000);
    expect(answers.map((answer) => answer.ok && answer.result)).toEqual(ids);
    const pid = await master.pidOf('many#50');
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain('coda: many#50');
    expect(court.running()).toHaveLength(50);
    await master.stop();
    expect(court.running()).toEqual([]);
    expect(court.read('var/supervisor.children.json')).toBe('');
  }, 120_000);

  test('each child leads a group of its own, and all of it ends with the child', async ({ court }) => {
    const master = court.supervise([
      {
        name: 'deaf',
        exec: [
          'sh',
          '-c',
          "trap '' TERM; sh -c 'trap \"\" TERM; while :; do sleep 1; done' & while :; do sleep 1; done",
        ],
        stopDeadline: 300,
      },
      { name: 'brief', exec: ['sh', '-c', 'sleep 1000 & echo $!; sleep 0.1; exit 0'] },
    ]);
    const { text } = await master.line(/^\d+$/);
    await master.event('ended', 'brief#1');
    expect(isGone(Number(text))).toBe(true);
    expect((await master.child('brief#1')).lastEnd).toMatchObject({
      failed: false,
      why: 'ended with exit code 0',
    });
    await master.up('deaf#1');
    const began = performance.now();
    await master.call('stop', 'deaf');
    expect(performance.now() - began).toBeGreaterThan(290);
    expect(court.running()).toEqual([]);
    expect((await master.child('deaf#1')).lastEnd).toMatchObject({
      why: 'was killed, for it did not end in time',
      failed: false,
    });
  });

  test('a class that has done its work is not started again; one that throws is', async ({ court }) => {
    const once = court.class('once', 'async run() { console.log("done", this.name); }');
    const thrown = court.class('thrown', 'run() { throw new Error("out of \\u0007 luck"); }');
    const uncaught = court.class(
      'uncaught',
      `run() { setTimeout(() => { throw new Error('late'); }); return new Promise(() => {}); }`,
    );
    const master = court.supervise([
      { name: 'once', class: once },
      { name: 'thrown', class: thrown, restartLimit: 2, restartDelay: 10 },
      { name: 'uncaught', class: uncaught, restartLimit: 1 },
      {
        name: 'script',
        exec: [process.execPath, '-e', 'throw new TypeError("no such thing")'],
        restartLimit: 1,
      },
      { name: 'missing', class: './missing.mjs', restartLimit: 1 },
      { name: 'none', class: court.file('none.mjs', 'export default class { run() {} }'), restartLimit: 1 },
      { name: 'unknown', exec: './no/such/program', restartLimit: 1 },
      { name: 'worker', worker: 'no-such-type', restartLimit: 1 },
      { name: 'daemon', daemon: 'no-such-daemon', restartLimit: 1 },
    ]);
    await Promise.all([
      master.event('ended', 'once#1'),
      ...['thrown', 'uncaught', 'script', 'missing', 'none', 'unknown', 'worker', 'daemon'].map((name) =>
        master.event('failed', `${name}#1`),
      ),
    ]);
    expect(await master.child('once#1')).toMatchObject({ state: 'stopped', restarts: 0, failures: 0 });
    const why = async (name: string): Promise<string | undefined> =>
      (await master.child(`${name}#1`)).lastEnd?.why;
    expect(await master.child('thrown#1')).toMatchObject({ state: 'failed', restarts: 1, failures: 2 });
    expect(await why('thrown')).toBe('ended with exit code 1: out of \\u0007 luck');
    expect(await why('uncaught')).toBe('ended with exit code 1: late');
    expect(await why('script')).toBe('ended with exit code 1: TypeError: no such thing');
    expect(await why('missing')).toContain('cannot be loaded');
    expect(await why('none')).toContain(
      'expected a class that extends ManagedProcess, received another class',
    );
    expect(await why('unknown')).toMatch(/^cannot be started: spawn .*ENOENT$/);
    expect(await why('worker')).toContain('no worker of type "no-such-type"');
    expect(await why('daemon')).toContain('no daemon named "no-such-daemon"');
    expect(await master.line(/^done once$/)).toMatchObject({ child: 'once#1', stream: 'stdout' });
    await master.stop();
  });

  test('a second word kills what has not ended', async ({ court }) => {
    const master = court.supervise([
      { name: 'deaf', exec: ['sh', '-c', "trap '' TERM; while :; do sleep 1; done"], stopDeadline: '1h' },
    ]);
    await master.up('deaf#1');
    await master.call('stopAll');
    await master.event('stopping', 'deaf#1');
    await expect(master.call('start', 'deaf')).rejects.toMatchObject({ code: 'CLOSED' });
    await master.call('force');
    expect(await master.ended).toBeUndefined();
    expect(court.running()).toEqual([]);
  });
});

async function childrenOf(master: Master): Promise<readonly object[]> {
  const { processes } = await master.call<SupervisorStatus>('status');
  return processes[0]?.children ?? [];
}

describe('changes at run time', () => {
  test('names are unique, and what is not there is not found', async ({ court }) => {
    const one = { name: 'one', exec: 'sleep 1000' };
    const twice = court.supervise([one, one]);
    expect(await twice.ended).toMatchObject({ code: 'PROCESS_EXISTS' });
    const master = court.supervise([one]);
    await master.up('one#1');
    const { processes } = await master.call<{ processes: { spec: object }[] }>('status');
    const spec = processes[0]!.spec;
    await expect(master.call('add', spec)).rejects.toMatchObject({ code: 'PROCESS_EXISTS' });
    await expect(master.call('add', { ...spec, name: 'two' })).resolves.toMatchObject({
      origin: 'added',
      wanted: 1,
      children: [{ id: 'two#1', state: 'running' }],
    });
    for (const name of ['__proto__', 'constructor', '../one', 'one#2', 'one#', '#1', ''])
      await expect(master.call('stop', name)).rejects.toMatchObject({ code: 'UNKNOWN_PROCESS' });
    await master.call('remove', 'two');
    await expect(master.call('remove', 'two')).rejects.toMatchObject({ code: 'UNKNOWN_PROCESS' });
    await expect(master.call('add', spec, { save: true })).rejects.toMatchObject({ code: 'PROCESS_EXISTS' });
    await expect(master.call('stop', 'one', { save: true })).rejects.toThrow('this supervisor saves none');
  });

  test('a number that is changed starts and ends as many; the last go first', async ({ court }) => {
    const master = court.supervise([{ name: 'one', exec: 'sleep 1000', instances: 2 }]);
    await master.up('one#1', 'one#2');
    const first = await master.pidOf('one#1');
    await master.call('scale', 'one', 4);
    expect(court.running()).toHaveLength(4);
    await master.call('scale', 'one', 1);
    expect(court.running()).toEqual([first]);
    await master.call('scale', 'one', 0);
    await master.call('start', 'one');
    expect(court.running()).toEqual([]);
    await master.call('scale', 'one', 2);
    expect(court.running()).toHaveLength(2);
    for (const wrong of [-1, 1.5, 513, '2', null])
      await expect(master.call('scale', 'one', wrong)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await master.call('stop', 'one');
    await master.call('scale', 'one', 3);
    expect(court.running()).toEqual([]);
  });

  test('one that is starting or waiting ends at once when it is stopped or removed', async ({ court }) => {
    const slow = court.class('slow', WAIT, 'await new Promise((resolve) => setTimeout(resolve, 1e6));');
    const master = court.supervise([
      { name: 'slow', class: slow, instances: 2, stopDeadline: 200 },
      { name: 'bad', exec: 'false', restartDelay: '1h', restartDelayMax: '1h' },
    ]);
    await Promise.all([master.event('starting', 'slow#2'), master.event('waiting', 'bad#1')]);
    expect((await master.child('bad#1')).nextStartAt).toBeDefined();
    await master.call('stop', 'bad');
    expect(await master.child('bad#1')).toMatchObject({
      state: 'stopped',
      lastEnd: { why: 'ended with exit code 1', failed: true },
    });
    // What is under way is cut short by what comes later.
    const restart = master.call('restart', 'slow');
    await master.call('remove', 'slow');
    await expect(restart).rejects.toMatchObject({
      code: 'CHILD_GONE',
      message: 'somebody has stopped slow#1 and 1 more meanwhile',
    });
    expect(court.running()).toEqual([]);
  });

  test('calls that overlap end as the last one says', async ({ court }) => {
    const quick = court.class('quick', WAIT);
    const master = court.supervise([{ name: 'quick', class: quick, instances: 3 }]);
    await master.up('quick#1', 'quick#2', 'quick#3');
    const verbs = ['stop', 'start', 'restart', 'stop', 'restart', 'start', 'reset', 'stop', 'start'];
    const together = async (...all: string[]): Promise<string[]> => {
      const ends = await Promise.allSettled(all.map((verb) => master.call(verb, 'quick')));
      return ends.map((end) => (end.status === 'fulfilled' ? 'done' : (end.reason as Error).message));
    };
    const cut = 'somebody has stopped quick#1 and 2 more meanwhile';
    expect(await together(...verbs)).toEqual(['done', cut, cut, 'done', cut, cut, cut, 'done', 'done']);
    expect(court.running()).toHaveLength(3);
    // They run: the first may be done before the last comes.
    expect((await together('start', 'restart', 'stop')).slice(1)).toEqual([cut, 'done']);
    expect(court.running()).toEqual([]);
    await Promise.all([
      master.call('scale', 'quick', 1),
      master.call('start', 'quick'),
      master.call('scale', 'quick', 2),
    ]);
    expect(court.running()).toHaveLength(2);
    // What it is to be is not forgotten for a stop.
    await Promise.all([master.call('scale', 'quick', 4), master.call('stop', 'quick')]);
    await until(async () => (await childrenOf(master)).length === 4);
    expect(court.running()).toEqual([]);
    await master.call('start', 'quick');
    // A child that is one too many by the time of its turn.
    await Promise.all([
      master.call('scale', 'quick', 1),
      master.call('start', 'quick#3'),
      master.call('restart', 'quick#4'),
    ]);
    expect(court.running()).toEqual([await master.pidOf('quick#1')]);
    await master.stop();
    expect(court.running()).toEqual([]);
  });

  test('a stop of one child cuts nothing short for the others', async ({ court }) => {
    const quick = court.class('quick', WAIT);
    const master = court.supervise([{ name: 'quick', class: quick, instances: 4 }]);
    await master.up('quick#1', 'quick#2', 'quick#3', 'quick#4');
    const before = court.running();
    const restart = master.call('restart', 'quick');
    await master.event('stopping', 'quick#1');
    await master.call('stop', 'quick#3');
    await expect(restart).rejects.toThrow('somebody has stopped quick#3 meanwhile');
    expect(court.running()).toHaveLength(3);
    expect(court.running().filter((pid) => before.includes(pid))).toEqual([]);
    await master.call('start', 'quick');
    expect(court.running()).toHaveLength(4);
  });

  test('a rolling restart replaces one after the other, and halts at one that does not come up', async ({
    court,
  }) => {
    const steady = court.class(
      'steady',
      WAIT,
      "import fs from 'node:fs'; if (fs.existsSync('broken')) throw new Error('broken');",
    );
    const master = court.supervise([{ name: 'steady', class: steady, instances: 3, restartLimit: 1 }]);
    await master.up('steady#1', 'steady#2', 'steady#3');
    const before = court.running();
    let fewest = 3;
    const watch = setInterval(() => (fewest = Math.min(fewest, court.running().length)), 5);
    await master.call('restart', 'steady');
    clearInterval(watch);
    expect(fewest).toBeGreaterThanOrEqual(2);
    expect(court.running()).toHaveLength(3);
    expect(court.running().filter((pid) => before.includes(pid))).toEqual([]);
    const order = master.events
      .filter(({ type, child }) => child !== undefined && /stopping|running/.test(type))
      .slice(3);
    expect(order.map(({ type, child }) => `${type} ${child}`)).toEqual(
      [1, 2, 3].flatMap((number) => [`stopping steady#${number}`, `running steady#${number}`]),
    );
    court.file('broken', '');
    await expect(master.call('restart', 'steady')).rejects.toThrow(
      /^steady#1 did not come up again: .*broken.*; children behind it were left/,
    );
    expect(court.running()).toHaveLength(2);
  });
});

test('a rolling restart halts also at one that ends as soon as it is up', async ({ court }) => {
  const brief = court.class(
    'brief',
    "async run(signal) { if (fs.existsSync('broken')) throw new Error('no port'); console.log(this.id, 'has a port'); await new Promise((resolve) => { signal.addEventListener('abort', resolve); setInterval(() => {}, 1e6); }); }",
    "import fs from 'node:fs';",
  );
  const master = court.supervise([{ name: 'brief', class: brief, instances: 2, restartLimit: 1 }]);
  await master.up('brief#1', 'brief#2');
  for (const id of ['brief#1', 'brief#2']) await master.line(`${id} has a port`);
  court.file('broken', '');
  await expect(master.call('restart', 'brief')).rejects.toThrow(
    'brief#1 did not come up again: ended with exit code 1: no port',
  );
  expect(court.running()).toEqual([await master.pidOf('brief#2')]);
});

describe('a child is started anew', () => {
  test('when it is killed by somebody, with all it has started', async ({ court }) => {
    const master = court.supervise([
      { name: 'one', exec: ['sh', '-c', 'sleep 1000 & echo $!; wait'], restartDelay: 10 },
    ]);
    const { text } = await master.line(/^\d+$/);
    await master.up('one#1');
    kill(await master.pidOf('one#1'));
    await master.event('starting', 'one#1', 2);
    expect(isGone(Number(text))).toBe(true);
    expect(await master.child('one#1')).toMatchObject({
      restarts: 1,
      failures: 1,
      lastEnd: { why: 'was ended by SIGKILL', failed: true },
    });
  });

  test('when it has more memory than it may', async ({ court }) => {
    const greedy = court.class('greedy', `${WAIT} hold = Buffer.alloc(300e6, 1);`);
    const master = court.supervise([
      { name: 'greedy', class: greedy, memoryLimit: '200MiB', restartLimit: 1 },
      { name: 'modest', exec: 'sleep 1000', memoryLimit: '200MiB' },
    ]);
    await master.event('failed', 'greedy#1');
    expect((await master.child('greedy#1')).lastEnd).toMatchObject({
      failed: true,
      why: expect.stringMatching(/^had \d{9} bytes of memory, more than 209715200; was ended$/),
    });
    expect(await master.child('modest#1')).toMatchObject({ state: 'running', memory: expect.any(Number) });
  });

  test('when it is not well, three times in a row', async ({ court }) => {
    const sick = court.class('sick', `${WAIT} verify() { throw new Error('no fuel'); }`);
    const well = court.class('well', `${WAIT} async verify() { return true; }`);
    const master = court.supervise([
      { name: 'sick', class: sick, restartLimit: 1 },
      { name: 'well', class: well },
    ]);
    await master.event('failed', 'sick#1');
    expect(master.events.filter(({ type }) => type === 'unhealthy').map(({ data }) => data)).toEqual(
      [1, 2, 3].map((times) => ({ why: 'sick#1: no fuel', times })),
    );
    expect(await master.child('sick#1')).toMatchObject({
      lastEnd: { why: 'was not well 3 times: sick#1: no fuel; was ended' },
    });
    expect(await master.child('well#1')).toMatchObject({ healthy: true });
  }, 120_000);
});

test('what children print is logged line by line, whole, bounded and harmless', async ({ court }) => {
  const printing = court.file(
    'printing.mjs',
    `process.stdout.write('a'); setTimeout(() => {
      process.stdout.write('b\\n\\u001b[31m' + 'x'.repeat(10_000) + '\\n');
      process.stdout.write('{"time":"2026-01-02T03:04:05.678Z","level":"WARN","text":"a \\\\u0007 line","child":"forged#1"}\\n{"time": nonsense}\\n');
      process.stderr.write('y'.repeat(5e6));
      for (let n = 0; n < 20_000; n++) process.stdout.write('line ' + n + '\\n');
      process.stdout.write('last');
    }, 50);`,
  );
  const master = court.supervise([{ name: 'one', exec: [process.execPath, printing] }]);
  await master.event('ended', 'one#1');
  await master.line(/lines of its stdout were left out$/);
  const printed = master.lines.filter(({ stream }) => stream !== undefined);
  expect(printed[0]).toMatchObject({ text: 'ab', stream: 'stdout', process: 'one', child: 'one#1' });
  expect(printed[1]!.text).toMatch(/^\\u001b\[31mx{3900,}…$/);
  expect(master.lines.find(({ level }) => level === 'warn')).toMatchObject({
    text: 'a \\u0007 line',
    child: 'one#1',
  });
  expect(printed[2]!.text).toBe('{"time": nonsense}');
  expect(printed.find(({ stream }) => stream === 'stderr')!.text).toMatch(/^y{4000}…$/);
  const lines = printed.filter(({ text }) => text.startsWith('line '));
  expect(lines.slice(0, 100).map(({ text }) => text)).toEqual(
    Array.from({ length: 100 }, (_, n) => `line ${n}`),
  );
  expect(lines.length).toBeLessThan(10_000);
  await until(() => court.running().length === 0);
});
