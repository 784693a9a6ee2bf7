/** As in sharing-load, with segments so small that the queue moves to a new one all the time. */
import { join } from 'node:path';
import { expect } from 'vitest';
import { listFiles, newestSegment } from './journal-files.ts';
import { stageTest, upTo } from './stage.ts';

const PRODUCERS = 4;
const WORKERS = 4;
const EACH = 5000;
const TOTAL = PRODUCERS * EACH;

const test = stageTest({ segmentBytes: 64 * 1024 });

test('20,000 messages pass through hundreds of rotations, once each, and the spent segments are gone', async ({
  stage,
  queue,
}) => {
  const [producers, workers] = await Promise.all([stage.startAll(PRODUCERS), stage.startAll(WORKERS)]);
  // Small claims: what is claimed stands in the heads, and a segment is at least four times its head.
  const consuming = workers.map(({ tasks }) => tasks.consume({ limit: 5, expected: TOTAL }));
  await Promise.all(
    producers.map(({ tasks }, producer) => tasks.produce({ producer, count: EACH, chunk: 10, size: 600 })),
  );
  const consumed = await Promise.all(consuming);

  expect(await queue.status()).toMatchObject({ processed: TOTAL, messagesToProcess: 0, damaged: 0 });
  // Digests that differ and damaged lines are told there.
  expect(await stage.complaints()).toEqual([]);
  expect(consumed.map(({ refused }) => refused)).toEqual(upTo(WORKERS).map(() => 0));
  const given = consumed.flatMap(({ claims }) =>
    claims.flat().map(([, , producer, n]) => producer * EACH + n),
  );
  expect(given.toSorted((a, b) => a - b)).toEqual(upTo(TOTAL));
  for (const claim of consumed.flatMap(({ claims }) => claims)) {
    const places = claim.map(([segment, offset]) => segment * 2 ** 32 + offset);
    expect(places).toEqual(places.toSorted((a, b) => a - b));
  }

  expect(newestSegment(stage.queueFolder)).toBeGreaterThan(200);
  // What waited when a head was made is named by it; three more, and nothing of all this is named any more.
  await producers[0]!.tasks.moveOn({ folder: stage.queueFolder, count: 3, done: join(stage.folder, 'done') });
  const { segments, others } = listFiles(stage.queueFolder);
  expect(segments.length).toBeLessThanOrEqual(4);
  // Beside them the reserve, and indexes of segments that are there: no temporary file, nothing without its segment.
  expect(others.filter((name) => !segments.includes(name.replace('.index', '.journal')))).toEqual([
    'reserve',
  ]);
});
