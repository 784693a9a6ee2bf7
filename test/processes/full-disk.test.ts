/**
 * A full disk stops producers, never consumers. A small tmpfs is filled, by the queue itself or by somebody else's
 * file; what was acknowledged must still come out, and the space come back, while the disk is full.
 */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  realpathSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test as base } from 'vitest';
import type { Queue } from '../../src/backend.ts';
import { loadConfig } from '../../src/config.ts';
import { QueueError } from '../../src/errors.ts';
import { SavedChanges } from '../../src/supervisor/saved.ts';
import type { ProcessSpec } from '../../src/supervisor/shape.ts';
import { checkProcess } from '../../src/supervisor/spec.ts';
import { messages, Q, Stage, until, upTo } from './stage.ts';

const DISK = 16 * 1024 * 1024;

/** Why there can be no small disk here; undefined when there can. */
function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return 'mounting a tmpfs needs root';
  const folder = mkdtempSync(join(tmpdir(), 'coda-mount-'));
  try {
    const error = mount(folder);
    if (error === undefined) unmount(folder);
    return error && `a tmpfs cannot be mounted here: ${error}`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function run(command: string, args: readonly string[]): ReturnType<typeof spawnSync> {
  return spawnSync(command, args);
}

function mount(folder: string): string | undefined {
  const { status, stderr, error } = run('mount', ['-t', 'tmpfs', '-o', `size=${DISK}`, 'tmpfs', folder]);
  return status === 0 ? undefined : (error?.message ?? stderr.toString().trim());
}

function unmount(folder: string): void {
  const { status, stderr } = run('umount', [folder]);
  if (status !== 0) throw new Error(stderr.toString());
}

const reason = whyNot();
if (reason !== undefined) console.log(`full-disk: skipped, ${reason}`);

/** A queue on a disk of its own. */
const test = base.extend<{ disk: string; stage: Stage; queue: Queue }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads from the pattern which fixtures this one needs
  disk: async ({}, use) => {
    const disk = realpathSync(mkdtempSync(join(tmpdir(), 'coda-disk-')));
    mount(disk);
    try {
      await use(disk);
    } finally {
      unmount(disk);
      rmSync(disk, { recursive: true });
    }
  },
  stage: async ({ disk }, use) => {
    const stage = new Stage({ segmentBytes: 1024 * 1024 }, join(disk, 'queues'));
    try {
      await use(stage);
    } finally {
      await stage.close();
    }
  },
  queue: async ({ stage }, use) => use(await stage.queue()),
});

function freeBytes(disk: string): number {
  const { bavail, bsize } = statfsSync(disk);
  return bavail * bsize;
}

/** Fills the disk to the last byte with a file that is not the queue's. */
function fill(disk: string): string {
  const path = join(disk, 'foreign');
  const fd = openSync(path, 'a');
  const bytes = Buffer.alloc(64 * 1024, 'x');
  try {
    for (let size = bytes.length; size > 0;) {
      try {
        if (writeSync(fd, bytes, 0, size) < size) size >>= 1;
      } catch {
        size >>= 1;
      }
    }
  } finally {
    closeSync(fd);
  }
  return path;
}

const FILLER = 'x'.repeat(2000);

interface Producing {
  /** Numbers of the messages that were acknowledged. */
  added: number[];
  /** Codes of the refusals. */
  refusals: Set<string>;
}

/** Adds, a few at a time, until `enough` says so. */
async function produce(
  queue: Pick<Queue, 'add'>,
  first: number,
  enough: (sofar: Producing) => boolean,
): Promise<Producing> {
  const sofar: Producing = { added: [], refusals: new Set() };
  for (let n = first; !enough(sofar); n += 5) {
    const numbers = upTo(5).map((i) => n + i);
    const answers = await Promise.allSettled(
      numbers.map((number) => queue.add(messages({ n: number, filler: FILLER }))),
    );
    for (const [i, answer] of answers.entries()) {
      if (answer.status === 'fulfilled') sofar.added.push(numbers[i]!);
      else
        sofar.refusals.add(answer.reason instanceof QueueError ? answer.reason.code : String(answer.reason));
    }
  }
  return sofar;
}

/** Claims and completes up to `count` messages; their numbers, in the order of the claims. */
async function consume(queue: Pick<Queue, 'claim' | 'settle'>, count = Infinity): Promise<number[]> {
  const numbers: number[] = [];
  while (numbers.length < count) {
    const claims = await queue.claim(Math.min(20, count - numbers.length), 60_000);
    if (claims.length === 0) return numbers;
    const settled = await Promise.all(claims.map((claim) => queue.settle(claim, { type: 'complete' })));
    expect(settled).toEqual(claims.map(() => true));
    numbers.push(...claims.map(({ data }) => (data as { n: number }).n));
  }
  return numbers;
}

/** Adds `count` messages, waiting out refusals: how much is free is looked at once a second. */
async function produceAgain(queue: Pick<Queue, 'add'>, first: number, count: number): Promise<number[]> {
  const added: number[] = [];
  await until(async () => {
    const more = await produce(
      queue,
      first + added.length,
      (sofar) => onceFull(sofar) || sofar.added.length >= count - added.length,
    );
    added.push(...more.added);
    return added.length >= count;
  }, 5000);
  return added;
}

const onceFull = ({ refusals }: Producing): boolean => refusals.size > 0;

describe.skipIf(reason !== undefined)('a full disk', () => {
  test('filled by the queue itself: adds are refused with STORAGE_FULL, the rest drains, and adds work again', async ({
    disk,
    stage,
    queue,
  }) => {
    const [producer, consumer] = await stage.startAll(2);
    for (let round = 1; round <= 3; round++) {
      const { added, refusals } = await produce(producer!.queue, 0, onceFull);
      expect([...refusals]).toEqual(['STORAGE_FULL']);
      expect(added.length).toBeGreaterThan(2000);
      // Refused means refused: nothing of it is there.
      expect(await queue.status()).toMatchObject({ counts: { ready: added.length } });
      expect(freeBytes(disk)).toBeLessThan(DISK / 4);

      // What is in need comes back while it drains, so a producer need not wait for the end.
      const drained = await consume(consumer!.queue, added.length - 500);
      const again = await produceAgain(producer!.queue, 1_000_000, 500);
      drained.push(...(await consume(consumer!.queue)));
      expect(drained).toEqual([...added, ...again]);
      expect(await queue.status()).toMatchObject({ messagesToProcess: 0, damaged: 0 });
    }
    expect(await stage.complaints()).toEqual([]);
  });

  test('filled by a foreign file to the last byte: consumers drain everything and free space meanwhile', async ({
    disk,
    stage,
    queue,
  }) => {
    const MORE = 1000;
    const [producer, one, two] = await stage.startAll(3);
    const { added } = await produce(producer!.queue, 0, (sofar) => sofar.added.length === 4000);
    fill(disk);
    expect(freeBytes(disk)).toBe(0);
    // One that fits into what is left of the file's last page may still be taken.
    const { added: last, refusals } = await produce(producer!.queue, 1_000_000, onceFull);
    expect([...refusals]).toEqual(['STORAGE_FULL']);
    added.push(...last);

    const expected = added.length + MORE;
    const consuming = [one!, two!].map(({ tasks }) => tasks.consume({ limit: 20, expected }));
    await until(async () => (await queue.status()).processed >= added.length);
    expect(await queue.status()).toMatchObject({ messagesToProcess: 0, damaged: 0 });
    // The foreign file is still there: there is room because the queue has made some, and makes more where adds need it.
    expect(freeBytes(disk)).toBeGreaterThan(0);
    const later = await produceAgain(producer!.queue, 2_000_000, MORE);
    const consumed = await Promise.all(consuming);
    const numbers = consumed.flatMap(({ claims }) => claims.flat().map(([, , , n]) => n));
    expect(numbers.toSorted((a, b) => a - b)).toEqual([...added, ...later]);
    expect(await stage.complaints()).toEqual([]);
  });

  test('as installed, with large segments and a thousand outcomes: one worker drains it a message at a time', async ({
    disk,
    stage,
  }) => {
    const asInstalled = { segmentBytes: 8 * 1024 * 1024, keepOutcomes: 1000 };
    const producer = await stage.start(asInstalled);
    await producer.backend.create(Q, {});
    const { added } = await produce(producer.queue, 0, onceFull);
    fill(disk);
    const { added: last } = await produce(producer.queue, 1_000_000, onceFull);
    const worker = await stage.start(asInstalled);
    const { claims, refused } = await worker.tasks.consume({
      limit: 1,
      expected: added.length + last.length,
    });
    expect(refused).toBe(0);
    expect(claims.map(([message]) => message![3])).toEqual([...added, ...last]);
    expect(await worker.queue.status()).toMatchObject({ messagesToProcess: 0, damaged: 0 });
    expect(await stage.complaints()).toEqual([]);
  });

  test('filled while four producers are at it: each add is there or was refused, and nothing else', async ({
    disk,
    stage,
    queue,
  }) => {
    const producers = await stage.startAll(4);
    let stop = false;
    const producing = producers.map(({ queue: handle }, index) =>
      produce(handle, index * 1_000_000, () => stop),
    );
    await until(async () => (await queue.status()).counts.ready > 1000);
    // Writes in hand are cut off half-way.
    const foreign = fill(disk);
    await until(async () =>
      (await Promise.allSettled(producers.map(({ queue: handle }) => handle.add(messages({ n: -1 }))))).every(
        ({ status }) => status === 'rejected',
      ),
    );
    stop = true;
    const results = await Promise.all(producing);
    for (const { refusals } of results) expect([...refusals]).toEqual(['STORAGE_FULL']);
    const consumer = await stage.start();
    const drained = (await consume(consumer.queue)).filter((n) => n >= 0);
    expect(drained.toSorted((a, b) => a - b)).toEqual(
      results.flatMap(({ added }) => added).toSorted((a, b) => a - b),
    );
    expect(await queue.status()).toMatchObject({ messagesToProcess: 0, damaged: 0 });
    rmSync(foreign);
    const later = await produceAgain(producers[0]!.queue, 5_000_000, 100);
    expect(await consume(consumer.queue)).toEqual(later);
    expect(await stage.complaints()).toEqual([]);
  });

  test('a queue cannot be created on a full disk, and leaves nothing of the attempt', async ({
    disk,
    stage,
  }) => {
    const backend = await stage.open();
    mkdirSync(join(disk, 'queues'), { recursive: true });
    const foreign = fill(disk);
    await expect(backend.create(Q, {})).rejects.toMatchObject({ code: 'STORAGE_FULL' });
    expect(await backend.list()).toEqual([]);
    rmSync(foreign);
    expect(await backend.create(Q, {})).toBe(true);
    expect(await backend.list()).toEqual([Q]);
  });

  test('a change of processes that is to be saved is refused, and what was saved before holds', async ({
    disk,
  }) => {
    const config = await loadConfig({ cwd: disk, env: {} });
    const options = { path: join(disk, 'var', 'x.saved.json'), config, onTrouble: () => undefined };
    const spec = (name: string): ProcessSpec => checkProcess({ name, exec: 'a' }, { config, folder: disk });
    const names = (saved: SavedChanges): string[] => saved.over([]).map((each) => each.spec.name);
    const saved = new SavedChanges(options);
    saved.added(spec('early'));
    const foreign = fill(disk);
    expect(() => saved.added(spec('late'))).toThrow(
      expect.objectContaining({ code: 'STORAGE_FULL', message: expect.stringContaining('ENOSPC') }),
    );
    expect([names(saved), names(new SavedChanges(options))]).toEqual([['early'], ['early']]);
    rmSync(foreign);
    saved.added(spec('late'));
    expect(names(new SavedChanges(options))).toEqual(['early', 'late']);
  });
});
