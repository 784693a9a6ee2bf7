/**
 * Orders of events that nobody had thought of, each of them found by the simulation (`npm run simulate`). The seeds are those that
 * found them; a later engine does other things under the same seed.
 */
import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openCache } from '../../src/cache/backend.ts';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Operation } from '../../src/cache/operations.ts';
import type { FileSystem, Ports } from '../../src/cache/ports.ts';
import { QueueState } from '../../src/cache/state.ts';
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

// Seed 464. Nothing can be appended to a sealed segment that counts, so nothing said that the machine had been restarted.
test('what a power cut has taken before a seal is no damage, once somebody has made the successor', async () => {
  const device = { isSlow: false };
  const ports = withFs({
    write(...args) {
      if (Buffer.from(args[1]).includes('"op":"seal"')) device.isSlow = false;
      return nodePorts.fs.write(...args);
    },
    async sync() {
      while (device.isSlow) await nodePorts.clock.yield();
    },
  });
  const first = await openManager(specimen.root, { ports });
  await first.createQueue(Q);
  device.isSlow = true;
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

// Seed 108564. What had been applied was applied once more when the records were read anew: a message was there twice.
test('an add whose duplicate cannot be read at that moment spoils nothing', async () => {
  let failing = false;
  let failures = 0;
  const ports = withFs({
    write(fd, bytes, offset, length, position) {
      failing ||= Buffer.from(bytes)
        .subarray(offset, offset + length)
        .includes('"third"');
      return nodePorts.fs.write(fd, bytes, offset, length, position);
    },
    open(path, how, mode) {
      if (failing && path.endsWith('00000001.journal') && failures++ === 0) throw failure('EMFILE');
      return nodePorts.fs.open(path, how, mode);
    },
  });
  const setUp = await openManager(specimen.root);
  await setUp.createQueue(Q, { uniqueAlias: true });
  await setUp.addMessage(Q, { data: 'first', alias: 'a' });
  await rotate(setUp, specimen);
  await setUp.close();
  const manager = await openManager(specimen.root, { ports });
  await manager.queueStatus(Q);
  const added = await manager.addMessages(Q, [
    { data: 'second' },
    { data: 'refused', alias: 'a' },
    { data: 'third' },
  ]);
  expect(failures).toBeGreaterThan(0);
  expect(added.map(({ data, duplicate }) => [data, duplicate])).toEqual([
    ['second', false],
    ['first', true],
    ['third', false],
  ]);
  expect(await dataOf(manager)).toEqual(['first', 'second', 'third']);
  expect(await manager.queueStatus(Q)).toMatchObject({ counts: { ready: 3 } });
  await manager.close();
});

// Seed 103330.
test('an add whose duplicate cannot be read is refused with a typed error', async () => {
  let failing = false;
  const ports = withFs({
    open(path, how, mode) {
      if (failing && path.endsWith('00000001.journal')) throw failure('EMFILE');
      return nodePorts.fs.open(path, how, mode);
    },
  });
  const setUp = await openManager(specimen.root);
  await setUp.createQueue(Q, { uniqueAlias: true });
  await setUp.addMessage(Q, { data: 'first', alias: 'a' });
  await rotate(setUp, specimen);
  await setUp.close();
  const manager = await openManager(specimen.root, { ports });
  await manager.queueStatus(Q);
  failing = true;
  const refused = { name: 'QueueError', code: 'STORAGE_FAILED' };
  await expect(manager.addMessage(Q, { data: 'refused', alias: 'a' })).rejects.toMatchObject(refused);
  await manager.close();
});

// Seed 107977. Adds that had been refused count behind a hole; one of them then had the alias of the message that was updated.
test('an update that was answered is not refused afterwards because a record has rotted', async () => {
  let manager = await openManager(specimen.root);
  await manager.createQueue(Q, { uniqueAlias: true });
  const first = await manager.addMessage(Q, { data: 'first', alias: 'a' });
  await rotate(manager, specimen);
  const file = specimen.segments().at(-1)!;
  await manager.addMessage(Q, { data: 'to rot' });
  const victim = specimen.records(file).at(-1)!;
  await manager.addMessage(Q, { data: 'refused', alias: 'a' });
  await manager.removeMessage(Q, first.uuid);
  const { uuid } = await manager.addMessage(Q, { data: 'old', alias: 'a' });
  await manager.updateMessage(Q, uuid, { data: 'new' });
  await manager.close();
  specimen.flip(file, victim.start + 40);
  manager = await openManager(specimen.root);
  expect(await dataOf(manager)).toEqual(['refused', 'new']);
  await manager.close();
});

// Seed 106448.
test('an opening that fails while it makes the next segment leaves nothing of it behind', async () => {
  const setUp = await openManager(specimen.root);
  await setUp.createQueue(Q);
  await setUp.close();
  // A seal for a failed flush, without its successor: what lives before it has to be read.
  const failing = withFs({ sync: () => Promise.reject(failure('EIO')) });
  const manager = await openManager(specimen.root, { durability: 'always', ports: failing });
  await expect(manager.addMessage(Q, { data: 1 })).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  await manager.close();
  const open = new Map<number, string>();
  let made = false;
  const ports = withFs({
    open(path, how, mode) {
      if (made && how === 'read') throw failure('EMFILE');
      made ||= path.includes('tmp-');
      const fd = nodePorts.fs.open(path, how, mode);
      open.set(fd, path);
      return fd;
    },
    close(fd) {
      open.delete(fd);
      nodePorts.fs.close(fd);
    },
  });
  const { openQueue, close } = await opener(specimen.root, ports);
  await expect(openQueue()).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  await close();
  expect([...open.values()]).toEqual([]);
  expect(readdirSync(specimen.folder).filter((name) => name.startsWith('tmp-'))).toEqual([]);
});

// Seed 206669. Rot, or what a power cut had left, made it look for a newer segment before it had read on to the seal.
test('a handle that has not read on to the seal does not call the next head wrong', async () => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const file = specimen.segments()[0]!;
  // For the late one the segment ends where it rots, until it lists the folder.
  const opened = new Map<number, string>();
  let end = Infinity;
  const ports = withFs({
    open(path, how, mode) {
      const fd = nodePorts.fs.open(path, how, mode);
      opened.set(fd, path);
      return fd;
    },
    stat(fd) {
      const stat = nodePorts.fs.stat(fd);
      return opened.get(fd)?.endsWith(file) ? { ...stat, size: Math.min(stat.size, end) } : stat;
    },
    list(path) {
      end = Infinity;
      return nodePorts.fs.list(path);
    },
  });
  const late = await openManager(specimen.root, { ports });
  await late.queueStatus(Q);
  const { uuid } = await manager.addMessage(Q, { data: 'to rot' });
  end = statSync(specimen.path(file)).size;
  await rotate(manager, specimen);
  const victim = specimen.records(file).find(({ header }) => header['u'] === uuid)!;
  specimen.flip(file, victim.start + 40);
  // It goes on from the next head, whose maker had read the message before.
  expect(await late.queueStatus(Q)).toMatchObject({ damaged: 0 });
  expect(end).toBe(Infinity);
  await manager.close();
  await late.close();
});

// Seed 202518. A damaged head of which nobody knows is no longer needed when two newer ones do without it.
test('who opens a segment that is no longer the newest begins anew when its head has rotted', async () => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  await rotate(manager, specimen);
  const damaged = specimen.segments().at(-1)!;
  // Too much to be carried.
  const kept = 'kept'.repeat(10_000);
  await manager.addMessage(Q, { data: kept });
  while (specimen.segments()[0] !== damaged) await rotate(manager, specimen);
  await manager.close();
  specimen.flip(damaged, 60);
  let listings = 0;
  const ports = withFs({
    list: (path) => (path === specimen.folder && listings++ === 0 ? [damaged] : nodePorts.fs.list(path)),
  });
  const late = await openManager(specimen.root, { ports });
  expect((await dataOf(late)).includes(kept)).toBe(true);
  expect(listings).toBeGreaterThan(1);
  await late.close();
});

// Seed 208114. The record of the queue's creation had been lost in a power cut, that of its pause had not.
test('a pause of no queue does not pause the next one', () => {
  const state = new QueueState(2, 10);
  const payload = { options: {}, attributes: {} };
  const apply = (op: Operation, n: number): void => {
    state.apply({ ...op, w: '0123456789abcdef', n, t: 1 }, n * 100, 90, 50, '', () => payload);
  };
  apply({ op: 'pause' }, 1);
  apply({ op: 'create', ctl: 1, id: 'one' }, 2);
  expect(state.paused).toBe(false);
  apply({ op: 'pause' }, 3);
  expect(state.paused).toBe(true);
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

// Found by a broken engine, at seed 148: its worker claimed the same message over and over, for ever.
test('a failed message whose record has rotted keeps nobody from what stands behind it', async () => {
  const first = await openManager(specimen.root);
  await first.createQueue(Q);
  for (const data of ['failed', 'second', 'third']) await first.addMessage(Q, { data });
  const [claim] = await first.claimMessages(Q, { limit: 1 });
  await first.failMessage(Q, claim!, new Error('no'), { final: true });
  await rotate(first, specimen);
  await first.close();
  const [file] = specimen.segments();
  const index = specimen.path(file!.replace('.journal', '.index'));
  const bytes = readFileSync(index);
  // For a moment there is no index: it is written a little later than the head.
  rmSync(index);
  specimen.flip(file!, specimen.records(file!).find(({ header }) => header.op === 'add')!.end - 2);
  // Who makes the next head cannot read the record, and does not know where the message that has failed stood.
  const second = await openManager(specimen.root);
  const [taken] = await second.claimMessages(Q, { limit: 1 });
  await second.completeMessage(Q, taken!);
  await rotate(second, specimen);
  await second.close();
  writeFileSync(index, bytes);

  const third = await openManager(specimen.root);
  expect(await third.claimMessages(Q, { limit: 1 })).toMatchObject([{ data: 'third' }]);
  expect(await third.queueStatus(Q)).toMatchObject({ counts: { ready: 0, claimed: 1, failed: 1 } });
  expect(await third.claimMessages(Q, { limit: 1 })).toEqual([]);
  await third.close();
});

// Seed 505. The newline behind it stood where its last byte should be, and a byte that becomes a newline is rot.
test('a record that a full disk has cut off before its last byte is no damage', async () => {
  let cuts = 0;
  const ports = withFs({
    write(fd, bytes, offset, length, position) {
      const isCut =
        cuts === 0 &&
        Buffer.from(bytes)
          .subarray(offset, offset + length)
          .includes('"cut"') &&
        ++cuts > 0;
      return nodePorts.fs.write(fd, bytes, offset, isCut ? length - 2 : length, position);
    },
  });
  const manager = await openManager(specimen.root, { ports });
  await manager.createQueue(Q);
  await manager.addMessages(Q, [{ data: 'before' }, { data: 'cut' }]).catch(() => {});
  await manager.addMessage(Q, { data: 'behind' });
  expect(cuts).toBe(1);
  expect(await verifyQueue(specimen.folder)).toMatchObject({ sound: true, damage: [] });
  await manager.close();
});
