/** A changed byte in each kind of record of a head, in real folders: the head is made again from its predecessor. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { damaged, examine, expectRefused, SPOTS, truthOf, type Truth } from '../support/examine.ts';
import {
  everyHeadRecord,
  HEAD_RECORDS,
  openManager,
  Q,
  Specimen,
  type RecordAt,
} from '../support/specimen.ts';

let headed: Specimen;
let headedTruth: Truth;

beforeAll(async () => {
  headed = new Specimen();
  await everyHeadRecord(headed);
  headedTruth = await truthOf(headed);
});

afterAll(() => headed.dispose());

function first(specimen: Specimen, file: string, op: string): RecordAt {
  return specimen.records(file).find(({ header }) => header.op === op)!;
}

describe.each(HEAD_RECORDS)('in the newest head, a changed byte in the record %s', (op) => {
  test.each(SPOTS)('in %s, its predecessor being there', (_, spot) =>
    damaged(headed, async (copy) => {
      const file = copy.segments().at(-1)!;
      const record = first(copy, file, op);
      copy.flip(file, spot(record));
      await examine(copy, headedTruth);
    }),
  );

  test('refuses the queue when the predecessor is gone', () =>
    damaged(headed, async (copy) => {
      const [previous, file] = copy.segments().slice(-2) as [string, string];
      copy.flip(file, first(copy, file, op).end - 2);
      rmSync(copy.path(previous));
      await expectRefused(copy, 'JOURNAL_CORRUPT', /head of 0+\d+\.journal is damaged/);
    }));

  test('refuses the queue when the head of the predecessor is damaged, too', () =>
    damaged(headed, async (copy) => {
      const [previous, file] = copy.segments().slice(-2) as [string, string];
      copy.flip(file, first(copy, file, op).end - 2);
      copy.flip(previous, copy.records(previous)[0]!.start + 60);
      const error = await expectRefused(copy, 'JOURNAL_CORRUPT', /so is that of its predecessor/);
      expect(error.path).toContain(file);
    }));
});

// Seed 34 of the simulation, since it has janitors.
test('a queue whose newest head has rotted is listed, and exists', () =>
  damaged(headed, async (copy) => {
    const file = copy.segments().at(-1)!;
    copy.flip(file, first(copy, file, 'head').end - 2);
    const manager = await openManager(copy.root);
    expect(await manager.listQueues()).toEqual([Q]);
    expect(await manager.queueExists(Q)).toBe(true);
    await manager.close();
  }));

test.each(['touched', 'segment', 'carry', 'registered'])(
  'a head in which a record %s is not there at all is made again',
  (op) =>
    damaged(headed, async (copy) => {
      const file = copy.segments().at(-1)!;
      const { start, end } = first(copy, file, op);
      const bytes = readFileSync(copy.path(file));
      // Empty lines mean nothing.
      writeFileSync(copy.path(file), bytes.fill('\n', start, end));
      await examine(copy, headedTruth);
    }),
);
