/** `repairQueue` on damaged records and heads: what is sound is kept as it was, and the queue works on. */
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { planRepair } from '../../src/cache/repair.ts';
import type { RepairReport } from '../../src/cache/repair/report.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { damaged, truthOf, type Truth } from '../support/examine.ts';
import { expectWhole, filesOf, first, messagesOf, OPTIONS, repair } from '../support/repairing.ts';
import {
  everyHeadRecord,
  everyOperation,
  HEAD_RECORDS,
  openManager,
  Q,
  rotate,
  Specimen,
  type RecordAt,
} from '../support/specimen.ts';

let operations: Specimen;
let truth: Truth;
let headed: Specimen;
let headedTruth: Truth;

beforeAll(async () => {
  operations = new Specimen();
  await everyOperation(operations.root);
  truth = await truthOf(operations);
  headed = new Specimen();
  await everyHeadRecord(headed);
  headedTruth = await truthOf(headed);
});

afterAll(() => {
  operations.dispose();
  headed.dispose();
});

test('a sound queue is left as it is', () =>
  damaged(operations, async (copy) => {
    const before = filesOf(copy);
    expect(await repair(copy)).toMatchObject({ outcome: 'sound', lost: [] });
    expect(filesOf(copy)).toEqual(before);
    expect(readdirSync(copy.root)).toEqual([Q]);
  }));

describe('a damaged add', () => {
  function spoil(copy: Specimen): RecordAt {
    const file = copy.segments().at(-1)!;
    const victim = copy
      .records(file)
      .find(({ header }) => header.op === 'add' && truth.messages.has(header['u'] as string))!;
    copy.flip(file, victim.end - 2);
    return victim;
  }

  test('costs that message; all others stay as they were, in their order', () =>
    damaged(operations, async (copy) => {
      const victim = spoil(copy);
      const report = await repair(copy);
      expect(report).toMatchObject({ outcome: 'repaired', sound: true, optionsKnown: true });
      expect(report.damage).toContainEqual(
        expect.objectContaining({ uuid: victim.header['u'], kind: 'rot' }),
      );
      const kept = await messagesOf(copy);
      const expected = [...truth.messages].filter(([uuid]) => uuid !== victim.header['u']);
      expect([...kept]).toEqual(expected);
      await expectWhole(copy);
    }));

  test('a plan says the same and changes nothing', () =>
    damaged(operations, async (copy) => {
      spoil(copy);
      const before = filesOf(copy);
      const plan = await planRepair(copy.folder, OPTIONS);
      expect(plan.outcome).toBe('planned');
      expect(filesOf(copy)).toEqual(before);
      expect(readdirSync(copy.root)).toEqual([Q]);
      const { quarantine: _, sound: __, ...report } = await repair(copy);
      expect({ ...report, outcome: 'planned' }).toEqual(plan);
    }));

  test('the files as they were stay beside a report, for the owner alone', () =>
    damaged(operations, async (copy) => {
      const victim = spoil(copy);
      const before = filesOf(copy);
      const { quarantine } = await repair(copy);
      const old = join(quarantine!, 'old');
      expect(
        new Map(readdirSync(old).map((name) => [name, readFileSync(join(old, name), 'latin1')])),
      ).toEqual(before);
      const report = JSON.parse(readFileSync(join(quarantine!, 'report.json'), 'utf8')) as RepairReport;
      expect(report.damage).toContainEqual(expect.objectContaining({ from: victim.start, to: victim.end }));
      expect(readFileSync(join(quarantine!, 'report.txt'), 'utf8')).toContain(victim.header['u'] as string);
      for (const path of [join(copy.root, '.quarantine'), quarantine!, old])
        expect(statSync(path).mode & 0o777).toBe(0o700);
      const manager = await openManager(copy.root);
      expect(await manager.listQueues()).toEqual([Q]);
      await manager.close();
    }));
});

describe.each(HEAD_RECORDS)('the newest head, damaged in its record %s', (op) => {
  test('is made again from its predecessor: nothing is lost', () =>
    damaged(headed, async (copy) => {
      const file = copy.segments().at(-1)!;
      copy.flip(file, first(copy, file, op).end - 2);
      expect(await repair(copy)).toMatchObject({ outcome: 'repaired', sound: true, doubtful: 0 });
      expect(await messagesOf(copy)).toEqual(headedTruth.messages);
      await expectWhole(copy);
    }));

  test('with the predecessor gone, is made from what is left: what is still there is kept', () =>
    damaged(headed, async (copy) => {
      const [previous, file] = copy.segments().slice(-2) as [string, string];
      for (const { header, end } of copy.records(file)) if (header.op === op) copy.flip(file, end - 2);
      for (const gone of [previous, previous.replace('journal', 'index')])
        rmSync(copy.path(gone), { force: true });
      const there = new Set(copy.segments().flatMap((each) => contentsIn(copy, each)));
      const report = await repair(copy);
      expect(report).toMatchObject({ outcome: 'repaired', sound: true });
      const kept = await messagesOf(copy);
      const expected = [...headedTruth.messages.keys()].filter((uuid) => there.has(uuid));
      expect(expected.length).toBeGreaterThan(20);
      expect(expected.filter((uuid) => !kept.has(uuid))).toEqual([]);
      // What is back is what may not have ended, as far as can be told: one lost record is one message, or a segment's.
      const back = [...kept.keys()].filter((uuid) => !headedTruth.messages.has(uuid));
      expect(back.length).toBeLessThanOrEqual(report.doubtful);
      if (['damage', 'outcomes', 'head', 'ready'].includes(op)) expect(back).toEqual([]);
      for (const { uuid, data } of kept.values())
        expect([...(headedTruth.contents.get(uuid) ?? [])]).toContain(JSON.stringify(data));
      await expectWhole(copy);
    }));
});

/** Uuids of the messages whose content a file holds. */
function contentsIn(specimen: Specimen, file: string): string[] {
  return specimen.records(file).flatMap(({ header }) => {
    return ['add', 'update', 'carry'].includes(header.op) ? (header['u'] as string) : [];
  });
}

test('a message is kept of which nothing but its content in a damaged head is left', () =>
  damaged(headed, async (copy) => {
    const file = copy.segments().at(-1)!;
    const carries = copy.records(file).filter(({ header }) => header.op === 'carry');
    const places = new Set(carries.map(({ header }) => JSON.stringify(header['p'])));
    for (const { header, end } of copy.records(file))
      if (header.op === 'touched' && places.has(JSON.stringify(header['p']))) copy.flip(file, end - 2);
    for (const older of copy.segments().slice(0, -1))
      for (const { start, end, header } of copy.records(older))
        if (header.op === 'add' && places.has(JSON.stringify([Number.parseInt(older, 10), start])))
          copy.flip(older, end - 2);
    expect(await repair(copy)).toMatchObject({ outcome: 'repaired', sound: true });
    const kept = await messagesOf(copy);
    const carried = carries.map(({ header }) => header['u'] as string);
    expect(carried.filter((uuid) => headedTruth.messages.has(uuid) && !kept.has(uuid))).toEqual([]);
    await expectWhole(copy);
  }));

test('a message of which an update is all that is left counts', async () => {
  const copy = new Specimen();
  const manager = await openManager(copy.root);
  await manager.createQueue(Q);
  const [one] = await manager.addMessages(Q, [{ data: 1 }, { data: 2 }]);
  await manager.updateMessage(Q, one!.uuid, { data: 'updated' });
  await manager.close();
  const file = copy.segments()[0]!;
  copy.flip(file, first(copy, file, 'add').end - 2);
  expect(await repair(copy)).toMatchObject({ messages: 2, counts: { ready: 2 }, lost: [] });
  expect([...(await messagesOf(copy)).values()].map(({ data }) => data)).toEqual(['updated', 2]);
  await expectWhole(copy);
  copy.dispose();
});

describe('a content that is damaged', () => {
  test('of an update leaves what the message held before, as failed', () =>
    damaged(operations, async (copy) => {
      const file = copy.segments().at(-1)!;
      const update = first(copy, file, 'update');
      copy.flip(file, update.end - 2);
      // The effect of the update is known: a head tells of it.
      await damagedAfterRotation(copy, file, update);
      const report = await repair(copy);
      expect(report).toMatchObject({ outcome: 'repaired', sound: true, lost: [] });
      expect(report.outdated).toHaveLength(1);
      const message = (await messagesOf(copy)).get(update.header['u'] as string)!;
      expect(message).toMatchObject({ state: 'failed' });
      expect(message.errors.at(-1)).toMatchObject({ code: 'JOURNAL_CORRUPT' });
      expect(message.data).toEqual(expect.objectContaining({ text: expect.any(String) as string }));
      await expectWhole(copy);
    }));

  /** Undoes the damage, seals the segment, and does it again. */
  async function damagedAfterRotation(copy: Specimen, file: string, record: RecordAt): Promise<void> {
    copy.flip(file, record.end - 2);
    const manager = await openManager(copy.root, { segmentBytes: 1000 });
    await rotate(manager, copy);
    await manager.close();
    copy.flip(file, record.end - 2);
  }

  test('or in whose place nothing but newlines stand is rot, and given up by repair', () =>
    damaged(operations, async (copy) => {
      const file = copy.segments().at(-1)!;
      const { start, end, header } = first(copy, file, 'update');
      const manager = await openManager(copy.root, { segmentBytes: 1000 });
      await rotate(manager, copy);
      await manager.close();
      writeFileSync(copy.path(file), readFileSync(copy.path(file)).fill('\n', start, end));
      const { damage } = await verifyQueue(copy.folder);
      const isThere = ({ from, to }: { from: number; to: number }): boolean => from <= start && end <= to;
      expect(damage.filter(isThere)).toMatchObject([{ file, kind: 'rot' }]);
      expect(await repair(copy)).toMatchObject({ sound: true, outdated: [header['p']] });
      await expectWhole(copy);
    }));

  test('of a message in an older segment costs it, and says which it was', () =>
    damaged(operations, async (copy) => {
      const file = copy.segments().at(-1)!;
      // To which something has happened: its head names it.
      const lapsed = [...truth.messages.values()].find(({ crashes }) => crashes > 0)!;
      const add = copy.records(file).find(({ header }) => header['u'] === lapsed.uuid)!;
      copy.flip(file, add.end - 2);
      await damagedAfterRotation(copy, file, add);
      const report = await repair(copy);
      expect(report.lost).toEqual([
        expect.objectContaining({
          file,
          count: 1,
          uuid: lapsed.uuid,
          position: [Number.parseInt(file, 10), add.start],
        }),
      ]);
      const kept = await messagesOf(copy);
      expect([...kept.keys()]).toEqual([...truth.messages.keys()].filter((uuid) => uuid !== lapsed.uuid));
      await expectWhole(copy);
    }));
});
