/** A large head takes long to make. One process makes it; the others leave it that time, and no longer. */
import { beforeEach, expect, test } from 'vitest';
import type { Backend, Queue } from '../../src/backend.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { messageOf, openOn } from '../support/on-machine.ts';
import { Seeded } from '../support/seeded.ts';
import { errno } from '../support/sim-fs.ts';
import { SimMachine } from '../support/sim-machine.ts';

const Q = 'jobs';
const FOLDER = `/srv/${Q}`;
const ERROR = { at: '2026-01-01T00:00:00.000Z', attempt: 1, name: 'Error', message: 'x'.repeat(5000) };
/** The head that tells of them has about a MiB: it is left 150 ms. */
const FAILED = 200;

let machine: SimMachine;
/** Names of the temporary files, as they are made. */
let made: string[];

function open(segmentBytes: number, ports: Ports = machine.process()): Promise<Backend> {
  return openOn(machine, { durability: 'os', segmentBytes, ports });
}

/** A handle that holds the whole state. */
async function openQueue(segmentBytes: number, ports?: Ports): Promise<Queue> {
  const queue = await (await open(segmentBytes, ports)).open(Q);
  await queue.status();
  return queue;
}

function names(part: string): string[] {
  return machine.fs
    .list(FOLDER)
    .filter((name) => name.includes(part))
    .sort();
}

beforeEach(async () => {
  machine = new SimMachine(new Seeded(1));
  const { fs } = machine;
  const backend = await open(1e9);
  await backend.create(Q, {});
  const queue = await backend.open(Q);
  await queue.add(Array.from({ length: FAILED }, () => messageOf('fails')));
  for (const claim of await queue.claim(FAILED, 60_000))
    await queue.settle(claim, { type: 'fail', error: ERROR });
  await queue.add([messageOf('waits')]);
  await backend.close();
  made = [];
  const openFile = fs.open.bind(fs);
  fs.open = (path, how, mode) => {
    if (how === 'create' && path.includes('/tmp-')) made.push(path);
    return openFile(path, how, mode);
  };
});

interface Change {
  /** How long the head of the first that makes one is on its way to the device, in ms. */
  takes: number;
  /** Whether that process dies over it. */
  dies?: boolean;
}

/** One process seals; resolves with the time in ms after which four others have gone on. */
async function change({ takes, dies = false }: Change): Promise<number> {
  const { fs, clock, dead } = machine;
  const others: Queue[] = [];
  for (let i = 0; i < 4; i++) others.push(await openQueue(1e9));
  const ports = machine.process();
  const sealing = await openQueue(1000, ports);
  const sealed = new Promise<void>((resolve) => {
    let isFirst = false;
    fs.onOperation = (operation, path) => {
      isFirst = operation === 'sync' && path === made[0];
      if (!isFirst) return;
      if (dies) dead.add(ports.self.pid);
      resolve();
    };
    fs.latency = () => clock.sleep(isFirst ? takes : 1);
  });
  // Who claims is known to the others.
  void sealing.claim(1, 1e6);
  await sealed;
  const began = clock.monotonic();
  await Promise.all(others.map((queue) => queue.status()));
  return clock.monotonic() - began;
}

test('a large head is left to its maker', async () => {
  await change({ takes: 120 });
  expect(made).toHaveLength(1);
});

test('not for ever: where its maker stands still, the next one goes on', async () => {
  const time = await change({ takes: 1e6 });
  expect(made).toHaveLength(2);
  expect(time).toBeGreaterThan(120);
  expect(time).toBeLessThan(180);
});

test('not for so long where its maker is known to be dead', async () => {
  const time = await change({ takes: 1e6, dies: true });
  expect(made).toHaveLength(2);
  expect(time).toBeLessThan(80);
});

test('nor for files that the dead have left, however many and large they are', async () => {
  const { fs, clock } = machine;
  for (let i = 0; i < 5; i++)
    fs.close(fs.open(`${FOLDER}/tmp-00000002-000000000000000${i}`, 'create', 0o600));
  made = [];
  const stat = fs.stat.bind(fs);
  // A GiB each.
  fs.stat = (fd) => {
    const found = stat(fd);
    return found.size === 0 ? { ...found, size: 2 ** 30 } : found;
  };
  const began = clock.monotonic();
  await change({ takes: 1e6 });
  expect(clock.monotonic() - began).toBeLessThan(11_000);
});

test('who could not note its head does not wait for itself', async () => {
  const { fs, clock } = machine;
  let isFlushed = false;
  fs.onOperation = (operation, path) => {
    isFlushed ||= operation === 'sync' && path === made[0];
    if (!isFlushed || operation !== 'write' || !path.endsWith('1.journal')) return;
    fs.onOperation = undefined;
    throw errno('EIO', path);
  };
  const queue = await openQueue(1000);
  await queue.add([messageOf('leads to a seal')]);
  const began = clock.monotonic();
  await queue.status().catch(() => undefined);
  await queue.status();
  expect(fs.onOperation).toBeUndefined();
  expect(names('.journal')).toHaveLength(2);
  expect(clock.monotonic() - began).toBeLessThan(100);
});

const LEFT = 'tmp-00000002-ffffffffffffffff';
/** So much of a segment is more than any process lets it grow to of its own accord. */
const RIPE = 1.1;

test('nobody seals while another is about to; not for ever either', async () => {
  const { fs, clock } = machine;
  fs.close(fs.open(`${FOLDER}/${LEFT}`, 'create', 0o600));
  const queue = await openQueue(fs.contents(`${FOLDER}/00000001.journal`).length / RIPE);
  await queue.add([messageOf('early')]);
  await clock.sleep(100);
  expect(names('tmp-')).toEqual([LEFT]);
  expect(names('.journal')).toHaveLength(1);
  await clock.sleep(900);
  await queue.add([messageOf('late')]);
  await clock.sleep(100);
  expect(names('tmp-')).toEqual([]);
  expect(names('.journal')).toHaveLength(2);
});

test('for that, a segment grows by half at most', async () => {
  const { fs, clock } = machine;
  fs.close(fs.open(`${FOLDER}/${LEFT}`, 'create', 0o600));
  const queue = await openQueue(fs.contents(`${FOLDER}/00000001.journal`).length / RIPE / 1.5);
  await queue.add([messageOf('large')]);
  await clock.sleep(100);
  expect(names('.journal')).toHaveLength(2);
});

test('who would seal, and finds that another has, gives back the room for its head', async () => {
  const { fs, clock } = machine;
  const [quick, slow] = [await open(1e9), machine.process()];
  const other = await open(1e9, { ...slow, clock: clockOf(clock) });
  const both: Promise<boolean>[] = [];
  const found: string[][] = [];
  let isHead = false;
  fs.onOperation = (operation, path) => {
    // The slow one has begun, and lets others run.
    if (operation === 'write' && path === made[0] && both.length === 1) both.push(quick.destroy(Q));
    if (operation === 'rename') found.push(names('tmp-'));
    isHead = operation === 'sync' && made.includes(path);
  };
  fs.latency = () => clock.sleep(isHead ? 40 : 0.1);
  both.push(other.destroy(Q));
  await both[0];
  expect(await Promise.all(both)).toEqual([false, true]);
  expect(made.filter((path) => path.includes('/tmp-00000002-'))).toHaveLength(2);
  expect(found[0]).toHaveLength(1);
});

/** Of a process that has worked for long whenever it has let others run, and looks again. */
function clockOf(clock: Ports['clock']): Ports['clock'] {
  let busy = 0;
  return {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    timer: (ms, run) => clock.timer(ms, run),
    yield: () => new Promise((resolve) => void clock.timer(0.5, resolve)),
    busy: () => (busy = 100 - busy),
  };
}
