/** How a handle sleeps: when it watches its folder, when it looks, and what it holds open meanwhile. */
import { beforeEach, expect, test } from 'vitest';
import type { Queue } from '../../src/backend.ts';
import type { FileSystem } from '../../src/cache/ports.ts';
import { messageOf, openOn } from '../support/on-machine.ts';
import { Seeded } from '../support/seeded.ts';
import { openFilesOf } from '../support/open-files.ts';
import { SimMachine } from '../support/sim-machine.ts';

const Q = 'jobs';
const JOURNAL = `/srv/${Q}/00000001.journal`;
const LONG = 60_000;

let machine: SimMachine;
/** Open files, by handle. */
let files: Map<number, string>;
/** Called in place of arming a watch, which then tells of nothing. */
let onWatch: (() => void) | undefined;
let watches: number;

beforeEach(() => {
  machine = new SimMachine(new Seeded(1));
  files = openFilesOf(machine);
  onWatch = undefined;
  watches = 0;
  const { fs } = machine;
  const watch = fs.watch.bind(fs);
  fs.watch = (folder, listener) => {
    watches++;
    if (!onWatch) return watch(folder, listener);
    onWatch();
    return () => undefined;
  };
});

test('a message that comes just before the watch is armed is not waited for', async () => {
  const { fs } = machine;
  const maker = await opened();
  const before = sizeOf(JOURNAL);
  await maker.add([messageOf('early')]);
  await maker.close();
  const fd = fs.open(JOURNAL, 'append');
  const bytes = Buffer.alloc(sizeOf(JOURNAL) - before);
  fs.read(fd, bytes, 0, bytes.length, before);
  fs.truncate(fd, before);

  const queue = await opened();
  expect(await queue.claim(1, LONG)).toEqual([]);
  onWatch = () => {
    // As by another process, between two steps of this one.
    onWatch = () => undefined;
    fs.write(fd, bytes, 0, bytes.length);
  };
  const began = machine.clock.monotonic();
  expect(await queue.wait(LONG, undefined)).toBe(true);
  expect(machine.clock.monotonic() - began).toBeLessThan(100);
  fs.close(fd);
});

test('what can be claimed at once is found without a watch', async () => {
  const queue = await opened();
  await queue.add([messageOf(1), messageOf(2)]);
  await queue.claim(1, LONG);
  expect(await queue.wait(LONG, undefined)).toBe(true);
  expect(watches).toBe(0);
});

test('who waits looks once before it sleeps, and watches once', async () => {
  const queue = await opened();
  expect(await queue.claim(1, LONG)).toEqual([]);
  let looks = 0;
  const { fs } = machine;
  const stat = fs.stat.bind(fs);
  fs.stat = (fd) => (looks++, stat(fd));
  const waiting = queue.wait(LONG, undefined);
  await machine.clock.sleep(500);
  expect([looks, watches]).toEqual([1, 1]);
  await queue.add([messageOf('late')]);
  expect(await waiting).toBe(true);
});

test('the file of the last message is kept open for the next one, for a second', async () => {
  const queue = await opened();
  await queue.add([messageOf(1)]);
  const [claim] = await queue.claim(1, LONG);
  await queue.settle(claim!, { type: 'complete' });
  const waiting = queue.wait(LONG, undefined);
  await machine.clock.sleep(500);
  expect(openFiles()).toEqual([JOURNAL, JOURNAL]);
  // One to write to, one to read from.
  await machine.clock.sleep(1000);
  expect(openFiles()).toEqual([JOURNAL]);
  await queue.add([messageOf(2)]);
  expect(await waiting).toBe(true);
  expect(await queue.claim(1, LONG)).toMatchObject([{ data: 2 }]);
});

test('who waits is told that the folder was moved away', async () => {
  const queue = await opened();
  expect(await queue.claim(1, LONG)).toEqual([]);
  const began = machine.clock.monotonic();
  const waiting = queue.wait(LONG, undefined);
  await machine.clock.sleep(100);
  machine.fs.rename(`/srv/${Q}`, '/srv/elsewhere');
  await expect(waiting).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  expect(machine.clock.monotonic() - began).toBeLessThan(3000);
});

test('who waits while others write what is not for it looks now and then, and what is within milliseconds', async () => {
  let looks = 0;
  const ports = machine.process();
  const idle = await opened({
    ...ports,
    fs: counting(ports.fs, 'stat', () => looks++),
  });
  const busy = await opened();
  await idle.claim(1, LONG);
  const waiting = idle.wait(LONG, undefined);
  const written = 200;
  for (let i = 0; i < written; i++) {
    await busy.add([{ ...messageOf(i), disabled: true }]);
    await machine.clock.sleep(1);
  }
  expect(looks).toBeGreaterThan(10);
  expect(looks).toBeLessThan(written / 2);
  const began = machine.clock.monotonic();
  await busy.add([messageOf('left')]);
  expect(await waiting).toBe(true);
  expect(machine.clock.monotonic() - began).toBeLessThan(10);
  expect(await idle.claim(1, LONG)).toMatchObject([{ data: 'left' }]);
});

test('who got the last message gets up for the next one at once, whatever else is written', async () => {
  const worker = await opened();
  const producer = await opened();
  await worker.claim(1, LONG);
  for (let i = 0; i < 50; i++) {
    const waiting = worker.wait(LONG, undefined);
    await machine.clock.sleep(2);
    const began = machine.clock.monotonic();
    await producer.add([messageOf(i)]);
    expect(await waiting).toBe(true);
    expect(machine.clock.monotonic() - began).toBeLessThan(1);
    const [claim] = await worker.claim(1, LONG);
    await worker.settle(claim!, { type: 'complete' });
  }
});

/** The same files, and `count` called with each call of that method. */
function counting(fs: FileSystem, name: keyof FileSystem, count: () => void): FileSystem {
  return new Proxy(fs, {
    get(target, key: keyof FileSystem) {
      if (key === name) count();
      return (target[key] as () => unknown).bind(target);
    },
  });
}

async function opened(ports = machine.process()): Promise<Queue> {
  const backend = await openOn(machine, { durability: 'os', syncInterval: 5, ports });
  await backend.create(Q, {});
  return backend.open(Q);
}

function openFiles(): string[] {
  return [...files.values()].sort();
}

function sizeOf(path: string): number {
  const fd = machine.fs.open(path, 'read');
  try {
    return machine.fs.stat(fd).size;
  } finally {
    machine.fs.close(fd);
  }
}
