/** Four producers and four workers on one queue, all at full speed: nothing lost, nothing twice, nothing out of order. */
import { expect } from 'vitest';
import { listFiles, named, readSegment, type LogRecord } from './journal-files.ts';
import { stageTest, upTo, type Consumed } from './stage.ts';

const PRODUCERS = 4;
const WORKERS = 4;
const EACH = 25_000;
const TOTAL = PRODUCERS * EACH;

/** One segment for all, so that the whole log is there at the end. */
const test = stageTest({ segmentBytes: 512 * 1024 * 1024 });

interface Grant {
  order: number;
  offsets: number[];
}

/** What the log says, by the rules: the claims that took something, in their order, and what was added and completed. */
function replay(records: readonly LogRecord[]): { grants: Grant[]; added: number[]; completed: number[] } {
  const holder = new Map<number, string>();
  const [added, completed, grants]: [number[], number[], Grant[]] = [[], [], []];
  for (const { offset, header } of records) {
    if (header.op === 'add') {
      added.push(offset);
      holder.set(offset, '');
    } else if (header.op === 'claim') {
      const free = named(header['c'])
        .map(([, at]) => at)
        .filter((at) => holder.get(at) === '');
      const offsets = free.slice(0, header['max'] as number);
      for (const at of offsets) holder.set(at, `${header.w!}.${String(header['k'])}`);
      if (offsets.length > 0) grants.push({ order: grants.length, offsets });
    } else if (header.op === 'done') {
      for (const [, at] of named(header['c'])) {
        if (holder.get(at) !== header['k']) continue;
        holder.delete(at);
        completed.push(at);
      }
    }
  }
  return { grants, added, completed };
}

test('100,000 messages from four producers reach four workers once each, in order of insertion', async ({
  stage,
  queue,
}) => {
  const [producers, workers] = await Promise.all([stage.startAll(PRODUCERS), stage.startAll(WORKERS)]);
  const consuming = workers.map(({ tasks }) => tasks.consume({ limit: 100, expected: TOTAL }));
  await Promise.all(
    producers.map(({ tasks }, producer) => tasks.produce({ producer, count: EACH, chunk: 100 })),
  );
  const consumed = await Promise.all(consuming);

  expect(await queue.status()).toMatchObject({
    processed: TOTAL,
    messagesToProcess: 0,
    counts: { ready: 0, deferred: 0, claimed: 0, disabled: 0, failed: 0 },
    damaged: 0,
  });
  expect(await stage.complaints()).toEqual([]);
  expect(consumed.map(({ refused }) => refused)).toEqual(upTo(WORKERS).map(() => 0));

  const claims = consumed.flatMap((worker) => worker.claims);
  expectEachOnce(claims);
  for (const claim of claims) expectAscending(claim.map(([, offset]) => offset));
  // All four took part; otherwise this was no test of sharing.
  expect(consumed.every((worker) => worker.claims.length > 0)).toBe(true);

  const { segments } = listFiles(stage.queueFolder);
  expect(segments).toEqual(['00000001.journal']);
  const { records, bad } = readSegment(stage.queueFolder, segments[0]!);
  expect(bad).toEqual([]);
  const log = replay(records);
  expect(log.added).toHaveLength(TOTAL);
  expect(log.completed.length).toBe(TOTAL);
  // Claim after claim, whoever made it: the next in line.
  expectAscending(log.grants.flatMap(({ offsets }) => offsets));
  // What the workers were given is what the log says they took, and each producer's order is the log's.
  const byOffset = new Map(claims.flat().map(([, offset, producer, n]) => [offset, { producer, n }]));
  const next = upTo(PRODUCERS).map(() => 0);
  for (const offset of log.grants.flatMap(({ offsets }) => offsets)) {
    const { producer, n } = byOffset.get(offset)!;
    if (n !== next[producer]!++)
      expect.fail(`message ${n} of producer ${producer} was claimed out of its order`);
  }
});

function expectEachOnce(claims: readonly Consumed[]): void {
  const times = new Uint8Array(TOTAL);
  for (const [, , producer, n] of claims.flat()) times[producer * EACH + n]!++;
  expect(times.findIndex((count) => count !== 1)).toBe(-1);
}

function expectAscending(offsets: readonly number[]): void {
  expect(offsets.findIndex((offset, i) => i > 0 && offset <= offsets[i - 1]!)).toBe(-1);
}
