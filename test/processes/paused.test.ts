/**
 * A process that stands still in the middle of an operation, between two looks at the files, while others move the
 * queue on: what it has read of the log is true, but the file it is about to open is gone, its messages carried to
 * another. (The scheduler can do this to anybody; here it is done at the worst moment, every time.)
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import type { Queue } from '../../src/backend.ts';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { FileSystem, Ports } from '../../src/cache/ports.ts';
import { listFiles } from './journal-files.ts';
import { messages, Q, stageTest, upTo, type Remote, type Stage } from './stage.ts';

/** Large enough that a message on its own is worth carrying. */
const test = stageTest({ segmentBytes: 16 * 1024 });

const LEASE = 600_000;
/** Carried at the first, unnamed by the next two heads, deleted. */
const ROTATIONS = 6;

/** Holds up this process until another one has done its part, which makes the file `done` appear. */
function standStill(stage: Stage, part: (done: string) => Promise<void>): void {
  const done = join(stage.folder, 'done');
  void part(done);
  const deadline = performance.now() + 20_000;
  const nobody = new Int32Array(new SharedArrayBuffer(4));
  while (!existsSync(done)) {
    if (performance.now() > deadline) throw new Error('the other process does not do its part');
    Atomics.wait(nobody, 0, 0, 5);
  }
}

interface Pausing {
  queue: Queue;
  /** Before the next time that it opens a segment to read from it. */
  pauseBeforeReading: () => void;
  /** After its next write to the journal, or before it. */
  pauseAfterWriting: () => void;
  pauseBeforeWriting: () => void;
  /** Whether it has stood still. */
  paused: () => boolean;
  /** What it has noticed beside its calls. */
  complaint: () => string | undefined;
}

/** @param part what another process does meanwhile. */
async function pausing(
  stage: Stage,
  part: (other: Remote, done: string) => Promise<void> = moveOn(stage),
): Promise<Pausing> {
  const other = await stage.start();
  await other.queue.status();
  type Moment = 'before open' | 'before write' | 'after write';
  let when: Moment | undefined;
  let happened = false;
  const pause = (at: Moment): void => {
    if (when !== at) return;
    when = undefined;
    happened = true;
    standStill(stage, (done) => part(other, done));
  };
  const fs: FileSystem = {
    ...nodePorts.fs,
    open(path, how, mode) {
      if (how === 'read' && path.endsWith('.journal')) pause('before open');
      return nodePorts.fs.open(path, how, mode);
    },
    write(...args) {
      pause('before write');
      const written = nodePorts.fs.write(...args);
      pause('after write');
      return written;
    },
  };
  const ports: Ports = { ...nodePorts, fs };
  const backend = await stage.open({ ports });
  return {
    queue: await backend.open(Q),
    pauseBeforeReading: () => (when = 'before open'),
    pauseAfterWriting: () => (when = 'after write'),
    pauseBeforeWriting: () => (when = 'before write'),
    paused: () => happened,
    complaint: () => backend.lastError()?.message,
  };
}

function moveOn(stage: Stage): (other: Remote, done: string) => Promise<void> {
  return (other, done) => other.tasks.moveOn({ folder: stage.queueFolder, count: ROTATIONS, done });
}

async function all(queue: Queue): Promise<object[]> {
  const found = [];
  for await (const { data, state, crashes } of queue.find({})) found.push({ data, state, crashes });
  return found;
}

describe('meanwhile its message has been carried to another segment, and the old one deleted', () => {
  const operations: Record<string, (subject: Pausing, uuid: string) => Promise<void>> = {
    async 'a claim is handed over as it is'({ queue, pauseAfterWriting }, uuid) {
      pauseAfterWriting();
      const claims = await queue.claim(1, LEASE);
      expect(claims).toMatchObject([{ uuid, data: 'precious', crashes: 0 }]);
      expect(await queue.settle(claims[0]!, { type: 'complete' })).toBe(true);
      expect(await all(queue)).toEqual([]);
    },
    async 'a message is taken, or left in line'({ queue, pauseBeforeReading }, uuid) {
      pauseBeforeReading();
      expect(await queue.take()).toMatchObject({ uuid, data: 'precious', crashes: 0 });
      expect(await all(queue)).toEqual([]);
    },
    async 'a search finds it'({ queue, pauseBeforeReading }) {
      pauseBeforeReading();
      expect(await all(queue)).toEqual([{ data: 'precious', state: 'ready', crashes: 0 }]);
    },
    async 'an update finds it'({ queue, pauseBeforeReading }, uuid) {
      pauseBeforeReading();
      expect(await queue.update(uuid, { json: '"changed"' })).toMatchObject({ uuid, data: 'changed' });
      expect(await all(queue)).toEqual([{ data: 'changed', state: 'ready', crashes: 0 }]);
    },
    async 'a removal finds it'({ queue, pauseBeforeReading }, uuid) {
      pauseBeforeReading();
      expect(await queue.change({ type: 'remove', uuid })).toBe(1);
      expect(await all(queue)).toEqual([]);
    },
    async 'a duplicate is told of it'({ queue, pauseBeforeReading }, uuid) {
      pauseBeforeReading();
      const [again] = await queue.add([{ ...messages('again')[0]!, alias: 'one' }]);
      expect(again).toMatchObject({ uuid, data: 'precious', duplicate: true });
    },
  };

  test.for(Object.keys(operations))('%s', async (name, { stage }) => {
    const maker = await stage.open();
    await maker.create(Q, { uniqueAlias: true });
    const [precious] = await (await maker.open(Q)).add([{ ...messages('precious')[0]!, alias: 'one' }]);
    const subject = await pausing(stage);
    await subject.queue.status();
    const before = listFiles(stage.queueFolder).segments;
    await operations[name]!(subject, precious!.uuid);
    // It was the worst moment, and it was survived.
    expect(subject.paused()).toBe(true);
    const { segments } = listFiles(stage.queueFolder);
    for (const segment of before) expect(segments).not.toContain(segment);
    expect(subject.complaint()).toBeUndefined();
    expect(await subject.queue.status()).toMatchObject({ damaged: 0, counts: { failed: 0, claimed: 0 } });
  });
});

test('a seal of its own comes too late: others have moved on, and what it wrote behind their seal is written again', async ({
  stage,
  queue,
}) => {
  await queue.add(messages('first'));
  const subject = await pausing(stage);
  await subject.queue.status();
  subject.pauseAfterWriting();
  // Large enough to be followed by a seal.
  const [added] = await subject.queue.add(messages('x'.repeat(30_000)));
  expect(subject.paused()).toBe(true);
  expect(subject.complaint()).toBeUndefined();
  const claims = await queue.claim(10, LEASE);
  expect(claims.map(({ uuid }) => uuid)).toContain(added!.uuid);
  expect(claims).toHaveLength(2);
  expect(await subject.queue.status()).toMatchObject({ counts: { ready: 0, claimed: 2 } });
});

test('others have taken what its claim named: it and the claims beside it take what comes next, and leave nothing out', async ({
  stage,
  queue,
}) => {
  await queue.add(messages(...upTo(20)));
  const subject = await pausing(stage, (other, done) => other.tasks.hold({ limit: 2, done }));
  await subject.queue.status();
  subject.pauseBeforeWriting();
  const [first] = await subject.queue.claim(3, LEASE).then((claims) => claims.map(({ data }) => data));
  expect(subject.paused()).toBe(true);
  expect(first).toBe(2);
  // In one tick, by a handle that has just met others: each takes its part of the line, one after the other.
  const claims = await Promise.all(upTo(3).map(() => subject.queue.claim(2, LEASE)));
  const taken = claims.flat().map(({ data }) => data as number);
  expect(taken).toEqual(upTo(taken.length).map((i) => i + taken[0]!));
  const left = await queue.claim(20, LEASE);
  expect(left[0]!.data).toBe(taken.at(-1)! + 1);
});
