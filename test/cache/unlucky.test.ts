/**
 * Orders of events that nobody had thought of, each of them found by the simulation (`npm run simulate`). The seeds are those that
 * found them; a later engine does other things under the same seed.
 */
import { existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openCache } from '../../src/cache/backend.ts';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { FileSystem, Ports } from '../../src/cache/ports.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import type { QueueManager } from '../../src/index.ts';
import { Seeded } from '../support/seeded.ts';
import { SimMachine } from '../support/sim-machine.ts';
import { openManager, otherBoot, Q, rotate, Specimen } from '../support/specimen.ts';

let specimen: Specimen;

beforeEach(() => {
  specimen = new Specimen();
});

afterEach(() => specimen.dispose());

/** The real ports, some of their file operations changed. */
function withFs(change: Partial<FileSystem>): Ports {
  return { ...nodePorts, fs: { ...nodePorts.fs, ...change } };
}

function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}

async function dataOf(manager: QueueManager): Promise<unknown[]> {
  const found: unknown[] = [];
  for await (const { data } of manager.findMessages(Q, {})) found.push(data);
  return found;
}

// Seeds 216, 351 and 579.
describe('a verification beside others who rotate and delete', () => {
  let manager: QueueManager;

  beforeEach(async () => {
    manager = await openManager(specimen.root);
    await manager.createQueue(Q);
    // More than adds, and few: each rotation carries them on.
    for (const data of [1, 2, 3]) {
      const { uuid } = await manager.addMessage(Q, { data });
      await manager.updateMessage(Q, uuid, { data: { data, again: true } });
    }
    await rotate(manager, specimen);
  });

  afterEach(() => manager.close());

  /** Ports under which the others are quick: once verification lets them run, nothing stays that need not. */
  function amongTheQuick(): Ports {
    let rotations = 0;
    const hurry = async (): Promise<void> => {
      while (rotations++ < 4) await rotate(manager, specimen);
    };
    return { ...nodePorts, clock: { ...nodePorts.clock, yield: hurry } };
  }

  test('finds what was there when it began, sound', async () => {
    const before = specimen.segments();
    const report = await verifyQueue(specimen.folder, amongTheQuick());
    expect(report).toMatchObject({ sound: true, damage: [], messages: 3 });
    expect(report.segments.map(({ file }) => file)).toEqual(before);
    expect(specimen.segments()).not.toContain(before.at(-1));
  });

  test('still finds what is damaged', async () => {
    const file = specimen.segments().at(-1)!;
    const { uuid } = await manager.addMessage(Q, { data: 'to rot' });
    const victim = specimen.records(file).find(({ header }) => header['u'] === uuid)!;
    await manager.close();
    specimen.flip(file, victim.end - 3);
    manager = await openManager(specimen.root);
    const { damage } = await verifyQueue(specimen.folder, amongTheQuick());
    expect(damage).toMatchObject([{ file, kind: 'rot', uuid }]);
    expect(specimen.segments().at(-1)).not.toBe(file);
  });

  test('begins again when the newest segment is gone before it is opened', async () => {
    const stale = readdirSync(specimen.folder);
    const newest = specimen.path(specimen.segments().at(-1)!);
    while (existsSync(newest)) await rotate(manager, specimen);
    let listings = 0;
    const ports = withFs({ list: (path) => (listings++ === 0 ? stale : nodePorts.fs.list(path)) });
    expect(await verifyQueue(specimen.folder, ports)).toMatchObject({ sound: true, messages: 3 });
    expect(listings).toBeGreaterThan(1);
  });
});

// Seed 464. Nothing can be appended to a sealed segment that counts, so nothing said that the machine had been restarted.
test('what a power cut has taken before a seal is no damage, once somebody has made the successor', async () => {
  const first = await openManager(specimen.root);
  await first.createQueue(Q);
  await first.addMessage(Q, { data: 'kept' });
  const { uuid } = await first.addMessage(Q, { data: 'lost' });
  await rotate(first, specimen);
  await first.close();
  // The disk as the power cut has left it: a seal without its successor, zeros where a record was.
  const [file, successor] = specimen.segments();
  rmSync(specimen.path(successor!));
  const records = specimen.records(file!);
  truncateSync(specimen.path(file!), records.find(({ header }) => header.op === 'next')!.start - 1);
  const lost = records.find(({ header }) => header['u'] === uuid)!;
  const bytes = readFileSync(specimen.path(file!));
  writeFileSync(specimen.path(file!), bytes.fill(0, lost.start, lost.end));

  const restarted = await openManager(specimen.root, { ports: otherBoot() });
  const found = await dataOf(restarted);
  expect([found.includes('kept'), found.includes('lost')]).toEqual([true, false]);
  expect(await restarted.queueStatus(Q)).toMatchObject({ damaged: 0 });
  await restarted.close();
  expect((await verifyQueue(specimen.folder)).sound).toBe(true);
});

// Seed 1361.
test('opening a queue that is created and destroyed at that moment leaves no file open', async () => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  await manager.destroyQueue(Q);
  const absent = specimen.segments().at(-1)!;
  const then = { names: readdirSync(specimen.folder), size: readFileSync(specimen.path(absent)).length };
  await manager.createQueue(Q);
  await manager.destroyQueue(Q);
  await manager.close();
  // For whoever opens it the folder is as it was then, until it has been opened.
  const open = new Map<number, string>();
  let looks = 0;
  const ports = withFs({
    open(path, how, mode) {
      const fd = nodePorts.fs.open(path, how, mode);
      open.set(fd, path);
      return fd;
    },
    close(fd) {
      open.delete(fd);
      nodePorts.fs.close(fd);
    },
    list: (path) => (path === specimen.folder && looks === 0 ? then.names : nodePorts.fs.list(path)),
    stat(fd) {
      const stat = nodePorts.fs.stat(fd);
      return open.get(fd)?.endsWith(absent) && looks++ < 2 ? { ...stat, size: then.size } : stat;
    },
  });
  const { openQueue, close } = await opener(specimen.root, ports);
  await expect(openQueue()).rejects.toMatchObject({ code: 'QUEUE_DESTROYED' });
  await close();
  expect([...open.values()]).toEqual([]);
});

async function opener(
  cacheRoot: string,
  ports: Ports,
): Promise<{ openQueue: () => Promise<unknown>; close: () => Promise<void> }> {
  const backend = await openCache({
    cacheRoot,
    durability: 'always',
    syncInterval: 50,
    fileMode: 0o600,
    keepOutcomes: 10,
    crashLimit: 3,
    ports,
  });
  return { openQueue: () => backend.open(Q), close: () => backend.close() };
}

// Seed 14. Other handles might find the pages in memory, and call the next flush a success.
test('a flush that fails during a rotation is said in the log, though the handle is closed at once', async () => {
  const opened = new Map<number, string>();
  let fail = (): void => undefined;
  const failed = new Promise<void>((resolve) => (fail = resolve));
  const ports = withFs({
    open(path, how, mode) {
      const fd = nodePorts.fs.open(path, how, mode);
      opened.set(fd, path);
      return fd;
    },
    sync(fd) {
      const path = opened.get(fd)!;
      const sealed = path.endsWith('.journal') && readFileSync(path).includes('{"op":"seal"');
      if (!sealed) return nodePorts.fs.sync(fd);
      fail();
      return Promise.reject(failure('EIO'));
    },
  });
  const manager = await openManager(specimen.root, { segmentBytes: 1000, ports });
  await manager.createQueue(Q);
  // What comes of it is not waited for.
  const added = manager.addMessage(Q, { data: 'x'.repeat(2000) });
  await failed;
  await manager.close();
  await added;
  const ops = specimen.records(specimen.segments().at(-1)!).map(({ header }) => header.op);
  expect(ops.slice(-2)).toEqual(['seal', 'unsound']);
});

// Seed 1542. A full disk stops producers, never consumers; they were refused because the seal did not fit.
test('a seal that a full disk has cut short is written again, into the reserve', async () => {
  const reserve = specimen.path('reserve');
  let cuts = 0;
  const ports = withFs({
    write(fd, bytes, offset, length, position) {
      const isSeal = Buffer.from(bytes)
        .subarray(offset, offset + length)
        .includes('{"op":"seal"');
      if (isSeal && cuts++ === 0) return nodePorts.fs.write(fd, bytes, offset, length - 4, position);
      if (cuts === 1 && existsSync(reserve)) throw failure('ENOSPC');
      return nodePorts.fs.write(fd, bytes, offset, length, position);
    },
  });
  const manager = await openManager(specimen.root, { segmentBytes: 1000, ports });
  await manager.createQueue(Q);
  await manager.addMessage(Q, { data: 'x'.repeat(2000) });
  await manager.claimMessages(Q, { limit: 1 });
  expect(cuts).toBe(2);
  expect(specimen.segments()).toHaveLength(2);
  await manager.close();
});

// Found by the first runs: the segment was gone because others had carried the message on.
test('an update whose message has moved before it is read back looks again', async () => {
  let updated = false;
  let hidden = 0;
  const ports = withFs({
    write(fd, bytes, offset, length, position) {
      updated ||= Buffer.from(bytes)
        .subarray(offset, offset + length)
        .includes('{"op":"update"');
      return nodePorts.fs.write(fd, bytes, offset, length, position);
    },
    open(path, how, mode) {
      if (updated && path.endsWith('.journal') && hidden++ === 0) throw failure('ENOENT');
      return nodePorts.fs.open(path, how, mode);
    },
  });
  const manager = await openManager(specimen.root, { ports });
  await manager.createQueue(Q);
  const { uuid } = await manager.addMessage(Q, { data: 'old' });
  await rotate(manager, specimen);
  expect(await manager.updateMessage(Q, uuid, { data: 'new' })).toMatchObject({ data: 'new' });
  expect(hidden).toBeGreaterThan(1);
  await manager.close();
});

// Found by the first runs: an error between the note and its reading back.
test('the head that a note names is not removed by its maker, whose reading back has failed', async () => {
  const setUp = await openManager(specimen.root);
  await setUp.createQueue(Q);
  await setUp.close();
  let failing = false;
  const ports = withFs({
    write(fd, bytes, offset, length, position) {
      failing ||= Buffer.from(bytes)
        .subarray(offset, offset + length)
        .includes('{"op":"next"');
      return nodePorts.fs.write(fd, bytes, offset, length, position);
    },
    stat(fd) {
      if (failing) throw failure('EIO');
      return nodePorts.fs.stat(fd);
    },
  });
  const unlucky = await openManager(specimen.root, { segmentBytes: 1000, ports });
  await expect(rotate(unlucky, specimen)).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  await unlucky.close();
  expect(failing).toBe(true);
  const note = specimen.records(specimen.segments().at(-1)!).find(({ header }) => header.op === 'next')!;
  expect(readdirSync(specimen.folder)).toContain(`tmp-00000002-${note.header['r'] as string}`);
  const next = await openManager(specimen.root);
  await next.addMessage(Q, { data: 'goes on' });
  expect(await dataOf(next)).toContain('goes on');
  await next.close();
});

// Found by the first runs: the folder had been made by another, who died before its name was on the device.
test('a root that somebody else has just made is on the device before anything in it is promised', async () => {
  const machine = new SimMachine(new Seeded(1));
  machine.fs.makeFolder('/srv/queues');
  const open = (on: SimMachine): ReturnType<typeof openCache> =>
    openCache({
      cacheRoot: '/srv/queues',
      durability: 'always',
      syncInterval: 50,
      fileMode: 0o600,
      keepOutcomes: 10,
      crashLimit: 3,
      ports: on.process(),
    });
  const backend = await open(machine);
  await backend.create(Q, {});
  const queue = await backend.open(Q);
  await queue.add([{ json: '1', alias: '', retries: 0, disabled: false, username: '' }]);
  const again = await open(machine.powerCut('drop'));
  expect(await again.list()).toEqual([Q]);
  const found: unknown[] = [];
  for await (const { data } of (await again.open(Q)).find({})) found.push(data);
  expect(found).toEqual([1]);
  await again.close();
});
