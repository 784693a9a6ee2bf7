import { describe, expect, test } from 'vitest';
import { SegmentTable } from '../../src/cache/table.ts';
import type { Life } from '../../src/message.ts';
import { Seeded } from '../support/seeded.ts';

interface Add {
  offset: number;
  length: number;
  headerLength: number;
  due: number | undefined;
  disabled: boolean;
  refused: boolean;
}

/** The adds of a segment as its file has them. */
function adds(random: Seeded, count: number): Add[] {
  let offset = 300;
  return Array.from({ length: count }, () => {
    const length = 60 + random.below(3000);
    const add: Add = {
      offset,
      length,
      headerLength: 20 + random.below(200),
      due: random.chance(0.2) ? 1_700_000_000_000 + random.below(1000) : undefined,
      disabled: random.chance(0.1),
      refused: random.chance(0.1),
    };
    // Other records stand in between, too.
    offset += length + 1 + random.below(4) * 100;
    return add;
  });
}

/** A table as one has it that has followed the segment from its first record. */
function followed(segment: number, all: readonly Add[]): SegmentTable {
  const table = new SegmentTable(segment, true);
  for (const { offset, length, headerLength, due, disabled, refused } of all) {
    if (refused) table.refuse(offset, length, headerLength, due, disabled);
    else table.add(offset, length, headerLength, due, disabled);
  }
  return table;
}

/** A table as one has it from a head; `to` reads it. */
function fromHead(table: SegmentTable): SegmentTable {
  return SegmentTable.unread(table.segment, table.fresh, table.special, [...table.runs()]);
}
function read(table: SegmentTable, all: readonly Add[]): SegmentTable {
  table.restartReading();
  for (const { offset, length, headerLength, due, disabled } of all) {
    table.recall(offset, length, headerLength, due, disabled);
  }
  table.finishReading();
  return table;
}

/** What a table knows. */
function knowledge(table: SegmentTable): unknown {
  const entries = Array.from({ length: table.count }, (_, i) => ({
    offset: table.offsetAt(i),
    fresh: table.isFreshAt(i),
    ...(table.isFreshAt(i)
      ? {
          length: table.lengthAt(i),
          headerLength: table.headerLengthAt(i),
          life: table.lifeAt(i),
          plain: table.isPlainAt(i),
        }
      : {}),
  }));
  return { fresh: table.fresh, special: table.special, runs: table.runs(), entries };
}

const SEEDS = Array.from({ length: 60 }, (_, seed) => seed);

describe('a table', () => {
  test('knows of each message where it lies and with what life it began', () => {
    const table = new SegmentTable(3, true);
    table.add(100, 50, 20, undefined, false);
    table.add(200, 60, 21, 1234, false);
    table.add(300, 70, 22, undefined, true);
    table.refuse(400, 80, 23, 5678, true);
    expect([100, 200, 300, 400, 150].map((offset) => table.find(offset))).toEqual([0, 1, 2, 3, -1]);
    expect(table.freshLife(100)).toMatchObject({ phase: { state: 'ready' }, disabled: false });
    expect(table.freshLife(200)).toMatchObject({ phase: { state: 'deferred', due: 1234 }, disabled: false });
    expect(table.freshLife(300)).toMatchObject({ phase: { state: 'ready' }, disabled: true });
    expect(table.freshLife(400)).toBeUndefined();
    expect(table.freshLife(150)).toBeUndefined();
    expect([table.fresh, table.special, table.count]).toEqual([3, 2, 4]);
    expect([0, 1, 2, 3].map((i) => table.isPlainAt(i))).toEqual([true, false, false, false]);
    // Seed 581 of the simulation: from an index made of this, who had to count the add took it for ready.
    expect(table.asAdded(3)).toEqual({ due: 5678, disabled: true });
  });

  test('grows, and forgets nothing', () => {
    const random = new Seeded(1);
    const all = adds(random, 5000);
    const table = followed(9, all);
    for (const [i, { offset, length, headerLength, due, disabled, refused }] of all.entries()) {
      expect(table.find(offset)).toBe(i);
      if (refused) continue;
      expect([table.lengthAt(i), table.headerLengthAt(i)]).toEqual([length, headerLength]);
      expect(table.asAdded(i)).toEqual({ due, disabled });
    }
  });

  test('of which everything has been touched has nothing fresh', () => {
    const table = followed(1, adds(new Seeded(2), 40));
    table.touchAll();
    expect([table.fresh, table.special, table.skipTouched()]).toEqual([0, 0, table.count]);
    const unread = fromHead(followed(1, adds(new Seeded(2), 40)));
    unread.touchAll();
    expect(adds(new Seeded(2), 40).map(({ offset }) => unread.freshLife(offset))).toEqual(
      Array(40).fill(undefined),
    );
  });
});

describe('a table from a head', () => {
  test.each(SEEDS)('once read knows what one does that followed the segment (%i)', (seed) => {
    const random = new Seeded(seed);
    const all = adds(random, 1 + random.below(80));
    const table = followed(5, all);
    for (const { offset, refused } of all) if (!refused && random.chance(random.next())) table.touch(offset);
    expect(knowledge(read(fromHead(table), all))).toEqual(knowledge(table));
  });

  test.each(SEEDS)('touched before it was read knows the same (%i)', (seed) => {
    const random = new Seeded(seed);
    const all = adds(random, 1 + random.below(80));
    const table = followed(5, all);
    const fresh = all.filter(({ refused }) => !refused);
    for (const { offset } of fresh) if (random.chance(0.3)) table.touch(offset);
    const unread = fromHead(table);
    for (const { offset } of fresh) {
      const life: Life | undefined = table.freshLife(offset);
      expect(unread.freshLife(offset) !== undefined).toBe(life !== undefined);
      if (!life || random.chance(0.5)) continue;
      table.touch(offset);
      unread.touch(offset);
      expect(unread.freshLife(offset)).toBeUndefined();
      expect(unread.fresh).toBe(table.fresh);
    }
    expect(knowledge(read(unread, all))).toEqual(knowledge(table));
  });

  test.each(SEEDS)('goes through any number of heads unread (%i)', (seed) => {
    const random = new Seeded(seed);
    const all = adds(random, 60);
    const table = followed(5, all);
    for (const { offset, refused } of all) if (!refused && random.chance(0.4)) table.touch(offset);
    const unread = fromHead(fromHead(fromHead(table)));
    expect(unread.runsKnown).toBe(true);
    expect(knowledge(read(unread, all))).toEqual(knowledge(table));
  });

  test('can tell its runs again only when it was read, if it was touched meanwhile', () => {
    const all = adds(new Seeded(3), 30).map((add) => ({ ...add, refused: false }));
    const unread = fromHead(followed(5, all));
    expect(unread.runsKnown).toBe(true);
    unread.touch(all[7]!.offset);
    expect(unread.runsKnown).toBe(false);
    read(unread, all);
    expect(unread.runsKnown).toBe(true);
    expect(unread.runs()).toEqual([all[7]!.offset, all[7]!.offset]);
  });

  test('counts only what it finds: a damaged record is not waiting any more', () => {
    const all = adds(new Seeded(4), 30).map((add) => ({ ...add, refused: false }));
    const table = followed(5, all);
    const [damaged] = all.splice(11, 1);
    const unread = read(fromHead(table), all);
    expect(unread.fresh).toBe(29);
    expect(unread.freshLife(damaged!.offset)).toBeUndefined();
  });

  test('whose reading was broken off can be read again', () => {
    const all = adds(new Seeded(5), 30);
    const table = followed(5, all);
    const unread = fromHead(table);
    for (const { offset, length, headerLength } of all.slice(0, 10))
      unread.recall(offset, length, headerLength, undefined, false);
    expect(knowledge(read(unread, all))).toEqual(knowledge(table));
  });
});
