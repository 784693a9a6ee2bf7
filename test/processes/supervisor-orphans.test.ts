/** A supervisor that is killed: its children end by themselves, and what does not is found and ended by the next one. */
import { readFileSync, writeFileSync } from 'node:fs';
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'vitest';
import { factsOf } from '../../src/process-table.ts';
import { QueueManager } from '../../src/queue-manager.ts';
import { WAIT, courtTest as test, isGone, kill, type Court } from './masters.ts';
import { until } from './stage.ts';

const STUBBORN = 'async run() { await new Promise(() => setInterval(() => {}, 1e6)); }';
/** A shell tells of a job that was killed; to a pipe that nobody reads any more, and SIGPIPE would end it before its trap. */
const MUTE = 'exec 2> /dev/null;';
/** Says so when it is told to end, and goes on. */
const DEAF = ['sh', '-c', `${MUTE} trap 'echo told > told' TERM; while :; do sleep 1000 & wait $!; done`];
const BLOCKED = "run() { process.on('SIGTERM', () => {}); console.log('blocked'); for (;;); }";

test('children end within seconds when it is killed, also those that are blocked or ignore it, with what they have started', async ({
  court,
}) => {
  await (await QueueManager.open({ cacheRoot: join(court.folder, 'queues') })).close();
  const parent = court.class(
    'parent',
    `${WAIT} child = spawn('sh', ['-c', "trap '' TERM; while :; do sleep 1000; done"]);`,
    "import { spawn } from 'node:child_process';",
  );
  court.file(
    'workers/idle.mjs',
    "import { Worker } from 'coda-queue';\nexport default class extends Worker { process() {} }\n",
  );
  court.file(
    'daemons/idleDaemon.mjs',
    "import { Daemon } from 'coda-queue';\nexport default class extends Daemon { executeStart() {} }\n",
  );
  const master = court.supervise([
    { name: 'parent', class: parent },
    { name: 'stubborn', class: court.class('stubborn', STUBBORN), stopDeadline: '1s' },
    { name: 'blocked', class: court.class('blocked', BLOCKED), stopDeadline: '1s' },
    { name: 'worker', worker: 'idle', stopDeadline: '1s' },
    { name: 'daemon', daemon: 'idle', stopDeadline: '1s' },
    { name: 'program', exec: ['sh', '-c', "trap '' TERM; sleep 1000 & while :; do sleep 1; done"] },
  ]);
  await Promise.all([
    master.up('parent#1', 'stubborn#1', 'worker#1', 'daemon#1', 'program#1'),
    master.line(/^blocked$/),
  ]);
  expect(court.running().length).toBeGreaterThanOrEqual(8);
  await master.kill();
  await until(() => court.running().length === 0, 10_000);
});

test('a daemon and a worker are ended as they are told to, and their log is the supervisor’s', async ({
  court,
}) => {
  court.file(
    'workers/greet.mjs',
    "import { Worker } from 'coda-queue';\nexport default class extends Worker { process({ data }, { log }) { log.warn('greeted', { who: data }); } stop() { console.error('swept'); } }\n",
  );
  court.file(
    'daemons/tickDaemon.mjs',
    "import { Daemon } from 'coda-queue';\nexport default class extends Daemon { executeStart() { this.log.warn('ticked'); } executeStop() { this.log.warn('untied'); } }\n",
  );
  const manager = await QueueManager.open({ cacheRoot: join(court.folder, 'queues') });
  await manager.createQueue('hello');
  await manager.addMessage('hello', { data: 'world' });
  const master = court.supervise([
    { name: 'greet', worker: 'greet', queue: 'hello', concurrency: 3 },
    { name: 'tick', daemon: 'tick' },
  ]);
  await master.up('greet#1', 'tick#1');
  expect(await master.line('greeted')).toMatchObject({
    level: 'warn',
    child: 'greet#1',
    queue: 'hello',
    who: 'world',
  });
  expect(await master.line('ticked')).toMatchObject({ level: 'warn', child: 'tick#1', daemon: 'tick' });
  await master.stop();
  await Promise.all([master.line('swept'), master.line('untied')]);
  for (const id of ['greet#1', 'tick#1'])
    expect(master.events.filter(({ type, child }) => type === 'ended' && child === id)).toEqual([]);
  await manager.close();
  expect(court.running()).toEqual([]);
});

test('what was left behind is ended by the next one, whether it has its number or only its mark', async ({
  court,
}) => {
  const script = "trap '' TERM; sleep 1000 & while :; do sleep 1000; done";
  const left = await leftBehind(court, ['sh', '-c', script], '1s');
  // As if the supervisor had been killed between the start of the second and the note of its number.
  const path = join(court.stateDir, 'supervisor.children.json');
  const { children, ...rest } = JSON.parse(readFileSync(path, 'utf8')) as {
    children: { mark: string; pid: number }[];
  };
  expect(children).toHaveLength(2);
  writeFileSync(path, JSON.stringify({ ...rest, children: [children[0], { mark: children[1]!.mark }] }));
  const next = court.supervise([{ name: 'one', exec: 'sleep 1000' }]);
  await next.up('one#1');
  expect(left.every(isGone)).toBe(true);
  expect(await next.line(/^has ended \d+ processes that an earlier run had left behind$/)).toMatchObject({
    level: 'warn',
  });
  expect(court.running()).toHaveLength(1);
});

test('what was left behind has its own stopDeadline to end in, be it short or long', async ({ court }) => {
  const stubborn = ['sh', '-c', "trap '' TERM; sleep 1000 & while :; do sleep 1000; done"];
  const slow = [
    'sh',
    '-c',
    `${MUTE} trap 'echo told > told; sleep 6; echo done > done; exit' TERM; while :; do sleep 1000 & wait $!; done`,
  ];
  const left = await leftBehind(court, stubborn, '500ms', { exec: slow, stopDeadline: '30s' });
  const path = join(court.stateDir, 'supervisor.children.json');
  const [first] = (JSON.parse(readFileSync(path, 'utf8')) as { children: { pid: number }[] }).children;
  const next = court.supervise([]);
  await until(() => court.read('told') !== '');
  const told = performance.now();
  await until(() => isGone(first!.pid));
  expect(performance.now() - told).toBeLessThan(4000);
  await next.line(/^has ended \d+ processes/);
  expect(court.read('done')).toBe('done\n');
  expect(left.every(isGone)).toBe(true);
}, 40_000);

test('what was left behind is killed when the one that waits for it is forced to end', async ({ court }) => {
  const left = await leftBehind(court, DEAF, '10m');
  const next = court.supervise([]);
  await until(() => court.read('told') !== '');
  await next.call('force');
  await until(() => left.every(isGone));
  await next.stop();
});

test('of two that begin while there is something to be ended, one runs', async ({ court }) => {
  const left = await leftBehind(court, DEAF, '3s');
  const first = court.supervise([{ name: 'one', exec: 'sleep 1000' }]);
  await until(() => court.read('told') !== '');
  const second = court.supervise([{ name: 'one', exec: 'sleep 1000' }]);
  await first.up('one#1');
  expect(await second.ended).toMatchObject({ code: 'DAEMON_RUNNING' });
  expect(left.every(isGone)).toBe(true);
  expect(court.running()).toHaveLength(1);
  // What it waited for is forgotten, and its own is not.
  const { children } = JSON.parse(readFileSync(join(court.stateDir, 'supervisor.children.json'), 'utf8')) as {
    children: unknown[];
  };
  expect(children).toHaveLength(1);
});

test('what is still there when its successor is killed as well is ended by the next', async ({ court }) => {
  const left = await leftBehind(court, DEAF, '2s');
  const second = court.supervise([]);
  await until(() => court.read('told') !== '');
  await second.kill();
  expect(left.some((pid) => !isGone(pid))).toBe(true);
  const third = court.supervise([]);
  await third.line(/^has ended \d+ processes/);
  expect(left.every(isGone)).toBe(true);
});

test('a process that has got the number of a child that died is left alone, as is one of another boot', async ({
  court,
}) => {
  const left = await leftBehind(court, ['sleep', '1000']);
  const path = join(court.stateDir, 'supervisor.children.json');
  const file = JSON.parse(readFileSync(path, 'utf8')) as {
    master: { boot: string };
    children: { mark: string; pid: number; start: string }[];
  };
  const stranger = spawn('sleep', ['1000'], { detached: true, cwd: court.folder, stdio: 'ignore' });
  const pid = stranger.pid!;
  try {
    const { start } = factsOf(pid)!;
    const marked = { mark: '0'.repeat(24), pid };
    writeFileSync(
      path,
      JSON.stringify({
        ...file,
        children: [
          { ...marked, start: String(Number(start) - 1) },
          { ...marked, start: '' },
          // What nobody has written so.
          { ...marked, pid: 0, start },
          { ...marked, pid: -pid, start },
          { ...marked, pid: 1, start },
          { mark: '', pid, start },
          null,
          'x',
        ],
      }),
    );
    await started(court);
    expect(isGone(pid)).toBe(false);
    writeFileSync(
      path,
      JSON.stringify({
        ...file,
        master: { ...file.master, boot: 'another' },
        children: [{ ...marked, start }],
      }),
    );
    await started(court);
    expect(isGone(pid)).toBe(false);
    for (const damaged of ['', '{', 'null', '{"version":1}', '{"version":2,"children":[]}']) {
      writeFileSync(path, damaged);
      await started(court);
    }
    expect(isGone(pid)).toBe(false);
  } finally {
    await end(stranger);
  }
  expect(left.some((each) => !isGone(each))).toBe(true);
});

test('two of one name do not run at once, and the second harms nobody', async ({ court }) => {
  const first = court.supervise([{ name: 'one', exec: 'sleep 1000' }]);
  await first.up('one#1');
  const second = court.supervise([{ name: 'one', exec: 'sleep 1000' }]);
  expect(await second.ended).toMatchObject({ code: 'DAEMON_RUNNING' });
  const other = court.supervise([{ name: 'one', exec: 'sleep 1000' }], { name: 'other' });
  await other.up('one#1');
  expect(court.running()).toHaveLength(2);
  await other.stop();
  expect((await first.child('one#1')).state).toBe('running');
});

/** Runs a supervisor to its end, so far that it has looked for what was left behind. */
async function started(court: Court): Promise<void> {
  const master = court.supervise([]);
  await master.call('status');
  await master.stop();
}

/** Two children of a supervisor that was killed, and its keeper before it; with all they have started. */
async function leftBehind(
  court: Court,
  exec: string[],
  stopDeadline = '10s',
  another = { exec, stopDeadline },
): Promise<number[]> {
  const master = court.supervise([
    { name: 'one', exec, stopDeadline },
    { name: 'two', ...another },
  ]);
  await master.up('one#1', 'two#1');
  const children = readFileSync(`/proc/${master.pid}/task/${master.pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .map(Number);
  const keeper = children.find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('coda-keeper'));
  kill(master.pid, 'SIGSTOP');
  kill(keeper ?? 0);
  const left = court.running();
  await master.kill();
  expect(left.every((pid) => !isGone(pid))).toBe(true);
  return left;
}

async function end(child: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}
