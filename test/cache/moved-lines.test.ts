/** Whole lines that are gone from a segment, or bytes that were put in: what stands behind them is known by its uuid, and not by where it stands. */
import { readFileSync, rmSync, statSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { asciiJson, Batch } from '../../src/cache/record.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import type { QueueManager } from '../../src/index.ts';
import { refusal } from '../support/fixed.ts';
import { specimenTest } from '../support/on-specimen.ts';
import { expectWhole, messagesOf, repair } from '../support/repairing.ts';
import { openManager, Q, rotate, Specimen, type RecordAt } from '../support/specimen.ts';

const [FIRST, SECOND] = ['00000001.journal', '00000002.journal'] as const;

const test = specimenTest.extend<{ manager: QueueManager }>({
  manager: async ({ specimen }, use) => {
    const manager = await openManager(specimen.root);
    await manager.createQueue(Q);
    await use(manager);
    await manager.close();
  },
});

/** Messages too large to be carried; the records of the first eight are of one length. */
async function addAlike(manager: QueueManager, count: number): Promise<string[]> {
  const uuids: string[] = [];
  for (let n = 0; n < count; n++) {
    const { uuid } = await manager.addMessage(Q, { data: { n: 100 + n, text: 'x'.repeat(4000) } });
    uuids.push(uuid);
  }
  return uuids;
}

function find(specimen: Specimen, file: string, op: string, uuid?: string): RecordAt {
  return specimen
    .records(file)
    .find(({ header }) => header.op === op && (uuid === undefined || header['u'] === uuid))!;
}

/** With the newline that its write began with, where it is the first of one. */
function takeOut(specimen: Specimen, file: string, { start, end }: RecordAt): void {
  const isFirst = readFileSync(specimen.path(file))[start - 2] === 10;
  specimen.splice(file, start - Number(isFirst), end + 1);
}

async function expectMoved(specimen: Specimen, file: string): Promise<void> {
  const { sound, damage } = await verifyQueue(specimen.folder);
  expect(sound).toBe(false);
  expect(damage).toContainEqual(
    expect.objectContaining({
      file,
      kind: 'missing',
      detail: expect.stringContaining('do not stand where they were written') as string,
    }),
  );
}

test('behind a line that is gone all messages are there, though every one of them has failed or been put off', async ({
  specimen,
  manager,
}) => {
  const uuids = await addAlike(manager, 8);
  for (const claim of await manager.claimMessages(Q, { limit: 8 }))
    await manager.failMessage(Q, claim, refusal('no'), { final: true });
  // What is added to begin a new segment has not ended before the second time.
  await rotate(manager, specimen);
  await rotate(manager, specimen);
  await manager.close();
  takeOut(specimen, FIRST, find(specimen, FIRST, 'add', uuids[2]));
  const report = await repair(specimen);
  expect(report).toMatchObject({ outcome: 'repaired', sound: true, lost: [], unnamed: 1 });
  const found = await messagesOf(specimen);
  expect(uuids.filter((uuid) => !found.has(uuid))).toEqual([uuids[2]]);
  expect(await repair(specimen)).toMatchObject({ outcome: 'sound' });
  await expectWhole(specimen);
});

test('where all lines are alike, a message is not ended for the one that stood in its place', async ({
  specimen,
  manager,
}) => {
  const uuids = await addAlike(manager, 8);
  const other = await openManager(specimen.root);
  const last = await other.addMessage(Q, { data: { n: 108, text: 'x'.repeat(4000) } });
  await other.close();
  const claims = await manager.claimMessages(Q, { limit: 6 });
  for (const claim of claims) await manager.completeMessage(Q, claim);
  await manager.close();
  takeOut(specimen, FIRST, find(specimen, FIRST, 'add', uuids[4]));
  await expectMoved(specimen, FIRST);
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [] });
  expect([...(await messagesOf(specimen)).keys()]).toEqual([...uuids.slice(6), last.uuid]);
  await expectWhole(specimen);
});

test('a message that has moved holds what its last update says, though an earlier one is damaged', async ({
  specimen,
  manager,
}) => {
  const uuids = await addAlike(manager, 8);
  await manager.updateMessage(Q, uuids[5]!, { data: 'between' });
  await manager.updateMessage(Q, uuids[5]!, { data: 'last' });
  await manager.close();
  const { end } = find(specimen, FIRST, 'update', uuids[5]);
  specimen.splice(FIRST, end - 3, end - 2, '?');
  takeOut(specimen, FIRST, find(specimen, FIRST, 'add', uuids[2]));
  expect(await repair(specimen)).toMatchObject({ sound: true, outdated: [] });
  expect((await messagesOf(specimen)).get(uuids[5]!)).toMatchObject({ state: 'ready', data: 'last' });
  await expectWhole(specimen);
});

test('a message that stands where one stood that is known from elsewhere is there beside it', async ({
  specimen,
  manager,
}) => {
  const uuids = await addAlike(manager, 12);
  await rotate(manager, specimen);
  await manager.updateMessage(Q, uuids[5]!, { data: 'changed' });
  await rotate(manager, specimen);
  await manager.close();
  takeOut(specimen, FIRST, find(specimen, FIRST, 'add', uuids[4]));
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true, lost: [] });
  const found = await messagesOf(specimen);
  expect(uuids.filter((uuid) => !found.has(uuid))).toEqual([uuids[4]]);
  expect(found.get(uuids[5]!)).toMatchObject({ data: 'changed' });
  expect(found.get(uuids[6]!)).toMatchObject({ data: { n: 106 } });
  await expectWhole(specimen);
});

test.each(['gone', 'blank'])(
  'a %s line in the head of the newest segment undoes no update and brings back nothing that ended',
  async (what) => {
    const specimen = new Specimen();
    const manager = await openManager(specimen.root);
    await manager.createQueue(Q);
    const [held] = await addAlike(manager, 2);
    await manager.updateMessage(Q, held!, { data: 'held' });
    await rotate(manager, specimen);
    const { uuid: changed } = await manager.addMessage(Q, { data: 'first' });
    const { uuid: removed } = await manager.addMessage(Q, { data: 'removed' });
    await manager.addMessage(Q, { data: 'taken' });
    await manager.updateMessage(Q, changed, { data: 'second' });
    await manager.updateMessage(Q, changed, { data: 'third' });
    await manager.removeMessage(Q, removed);
    await manager.updateMessage(Q, held!, { data: 'released' });
    await manager.close();
    const touched = find(specimen, SECOND, 'touched');
    if (what === 'gone') takeOut(specimen, SECOND, touched);
    else specimen.splice(SECOND, touched.start, touched.start, '\n');
    await expectMoved(specimen, SECOND);
    expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true, lost: [] });
    const found = [...(await messagesOf(specimen)).values()].map(({ data }) => data);
    expect(found).toHaveLength(4);
    expect(found).toEqual(expect.arrayContaining(['third', 'taken', 'released']));
    await expectWhole(specimen);
    specimen.dispose();
  },
);

test('a line that its writer wrote last is missed by the records that others wrote behind it', async ({
  specimen,
  manager,
}) => {
  const other = await openManager(specimen.root);
  const { uuid: removed } = await manager.addMessage(Q, { data: 'removed' });
  await other.removeMessage(Q, removed);
  await other.close();
  const { uuid: changed } = await manager.addMessage(Q, { data: 'before' });
  await manager.updateMessage(Q, changed, { data: 'after' });
  await manager.close();
  takeOut(specimen, FIRST, find(specimen, FIRST, 'remove'));
  await expectMoved(specimen, FIRST);
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true, lost: [], unnamed: 1 });
  const found = await messagesOf(specimen);
  expect(found.get(changed)).toMatchObject({ data: 'after' });
  // Nothing tells any more that it has ended.
  expect([...found.keys()]).toEqual([removed, changed]);
  await expectWhole(specimen);
});

describe('a message of which an update names a place where another no longer stands', () => {
  const wounds: Record<string, (specimen: Specimen, line: RecordAt) => void> = {
    'because a line is gone': (specimen, line) => takeOut(specimen, FIRST, line),
    'because a line is doubled': (specimen, { start, end }) => {
      const line = readFileSync(specimen.path(FIRST)).toString('latin1', start, end + 1);
      specimen.splice(FIRST, start, start, line);
    },
    'because a newline was put in': (specimen, { end }) => specimen.splice(FIRST, end + 1, end + 1, '\n'),
  };
  for (const [why, wound] of Object.entries(wounds))
    test(`${why} holds what it says`, async ({ specimen, manager }) => {
      const other = await openManager(specimen.root);
      const { uuid } = await manager.addMessage(Q, { data: 'first' });
      await other.setCustomAttributes(Q, { color: 'blue' });
      await manager.updateMessage(Q, uuid, { data: 'second' });
      await manager.updateMessage(Q, uuid, { data: 'third' });
      await manager.close();
      await other.close();
      wound(specimen, find(specimen, FIRST, 'attr'));
      await expectMoved(specimen, FIRST);
      expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true, lost: [] });
      expect((await messagesOf(specimen)).get(uuid)).toMatchObject({ state: 'ready', data: 'third' });
      await expectWhole(specimen);
    });
});

describe('an update that others could not apply who went on', () => {
  for (const [what, rotations, changes] of [
    ['is what the message holds', 1, []],
    ['is what it holds, though a head has carried the one before', 3, []],
    ['does not outlive one that they have made since', 1, ['since']],
    [
      'does not outlive one that they have made since, and that a head has carried',
      3,
      ['since', 'and again'],
    ],
  ] as const)
    test(what, async ({ specimen, manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 'first' });
      await rotate(manager, specimen);
      await manager.setCustomAttributes(Q, { color: 'blue' });
      await manager.updateMessage(Q, uuid, { data: 'second' });
      await manager.updateMessage(Q, uuid, { data: 'third', disabled: true });
      // So that the file is kept.
      await addAlike(manager, 8);
      await manager.close();
      takeOut(specimen, SECOND, find(specimen, SECOND, 'attr'));
      const other = await openManager(specimen.root);
      for (const data of changes) await other.updateMessage(Q, uuid, { data });
      for (let i = 0; i < rotations; i++) await rotate(other, specimen);
      expect((await other.findMessage(Q, { uuid }))?.data).toBe(changes.at(-1) ?? 'second');
      await other.close();
      expect(await repair(specimen)).toMatchObject({
        outcome: 'repaired',
        sound: true,
        lost: [],
        outdated: [],
      });
      const found = (await messagesOf(specimen)).get(uuid);
      expect(found).toMatchObject({ data: changes.at(-1) ?? 'third', disabled: changes.length === 0 });
      await expectWhole(specimen);
    });
});

test('a line that its writer wrote last is missed where more is known to have been on the device', async ({
  specimen,
  manager,
}) => {
  const other = await openManager(specimen.root);
  const { uuid: lost } = await other.addMessage(Q, { data: 'x'.repeat(300) });
  await other.close();
  const sure = await openManager(specimen.root, { durability: 'always' });
  const kept = [
    await sure.addMessage(Q, { data: 'before' }),
    await sure.addMessage(Q, { data: 'behind' }),
  ].map(({ uuid }) => uuid);
  await sure.close();
  await manager.close();
  expect((await verifyQueue(specimen.folder)).damage).toEqual([]);
  takeOut(specimen, FIRST, find(specimen, FIRST, 'add', lost));
  await expectMoved(specimen, FIRST);
  const report = await repair(specimen);
  expect(report).toMatchObject({ outcome: 'repaired', sound: true, lost: [] });
  expect(report.unnamed).toBeGreaterThan(0);
  expect([...(await messagesOf(specimen)).keys()]).toEqual(kept);
  await expectWhole(specimen);
});

test('a message whose add is gone with its line is there as it was changed', async ({
  specimen,
  manager,
}) => {
  const { uuid } = await manager.addMessage(Q, { data: 'before' });
  await manager.updateMessage(Q, uuid, { data: 'after' });
  await manager.close();
  takeOut(specimen, FIRST, find(specimen, FIRST, 'add'));
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [] });
  expect((await messagesOf(specimen)).get(uuid)).toMatchObject({ data: 'after', state: 'ready' });
  await expectWhole(specimen);
});

test('a message that had been changed, and was worked on after a line was lost before it, is there once', async ({
  specimen,
  manager,
}) => {
  const uuids = await addAlike(manager, 3);
  await manager.updateMessage(Q, uuids[2]!, { data: { changed: 'x'.repeat(4000) } });
  await rotate(manager, specimen);
  await manager.close();
  takeOut(specimen, FIRST, find(specimen, FIRST, 'add', uuids[1]));
  const after = await openManager(specimen.root);
  for (const claim of await after.claimMessages(Q, { limit: 3 }))
    await after.failMessage(Q, claim, refusal('no'), { final: true });
  await rotate(after, specimen);
  await after.close();
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true });
  const found = await messagesOf(specimen);
  expect([...found.keys()].toSorted()).toEqual([uuids[0]!, uuids[2]!].toSorted());
  expect(found.get(uuids[2]!)).toMatchObject({ data: { changed: 'x'.repeat(4000) } });
  const manager2 = await openManager(specimen.root);
  expect(await manager2.queueStatus(Q)).toMatchObject({ damaged: 0 });
  await manager2.close();
});

test('a loss that a repair has told of is not told again', async ({ specimen, manager }) => {
  const uuids = await addAlike(manager, 6);
  await rotate(manager, specimen);
  await manager.close();
  const { end } = find(specimen, FIRST, 'add', uuids[3]);
  specimen.splice(FIRST, end - 6, end - 6, '\r\n');
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [{ uuid: uuids[3] }] });
  expect(await repair(specimen)).toMatchObject({ outcome: 'sound', lost: [], unnamed: 0 });
  expect((await messagesOf(specimen)).size).toBe(5);
});

test('what was added is there, though the lines that tell of the creation of the queue are gone', async ({
  specimen,
  manager,
}) => {
  // The first one was born with its folder.
  await manager.destroyQueue(Q);
  await manager.createQueue(Q);
  const { uuid } = await manager.addMessage(Q, { data: 'one' });
  await manager.close();
  specimen.splice(SECOND, find(specimen, SECOND, 'create').start, find(specimen, SECOND, 'add').start);
  expect(await repair(specimen)).toMatchObject({ sound: true, exists: true, optionsKnown: false });
  expect([...(await messagesOf(specimen)).keys()]).toEqual([uuid]);
});

test('what has moved behind the place of a seal that is damaged is counted with the others', async ({
  specimen,
  manager,
}) => {
  const uuids = await addAlike(manager, 4);
  await rotate(manager, specimen);
  await manager.close();
  specimen.flip(FIRST, find(specimen, FIRST, 'seal').start + 45);
  specimen.flip(SECOND, find(specimen, SECOND, 'ready').start + 40);
  const { start } = find(specimen, FIRST, 'add', uuids[1]);
  specimen.splice(FIRST, start, start, 'garbage\n');
  const { sound, messages, lost } = await repair(specimen);
  const found = await messagesOf(specimen);
  expect({ sound, messages, lost }).toEqual({ sound: true, messages: found.size, lost: [] });
  expect(uuids.filter((uuid) => !found.has(uuid))).toEqual([]);
  await expectWhole(specimen);
});

/** Of eight messages, in a segment that a repair has mended, the last one is lost and the fifth removed since. */
async function mendedAndGoneOn(specimen: Specimen, manager: QueueManager): Promise<string[]> {
  const uuids = await addAlike(manager, 8);
  await manager.close();
  specimen.flip(FIRST, find(specimen, FIRST, 'add', uuids[7]).end - 3);
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [{ uuid: uuids[7] }] });
  const after = await openManager(specimen.root);
  await after.removeMessage(Q, uuids[4]!);
  await after.close();
  return uuids;
}

test('in a segment that a repair has mended, a message is not ended for the one that stood in its place', async ({
  specimen,
  manager,
}) => {
  const uuids = await mendedAndGoneOn(specimen, manager);
  takeOut(specimen, FIRST, find(specimen, FIRST, 'add', uuids[1]));
  await expectMoved(specimen, FIRST);
  const { sound, lost, unnamed, doubtful } = await repair(specimen);
  expect({ sound, lost: lost.length, unnamed }).toEqual({ sound: true, lost: 1, unnamed: 0 });
  const left = [...(await messagesOf(specimen)).keys()];
  expect(left).toEqual([uuids[0], uuids[2], uuids[3], uuids[5], uuids[6]]);
  expect(doubtful).toBeGreaterThan(0);
  expect(await repair(specimen)).toMatchObject({ outcome: 'sound' });
  await expectWhole(specimen);
});

test('one that an earlier version has mended, which told no place of the seal, is sound', async ({
  specimen,
  manager,
}) => {
  const uuids = await mendedAndGoneOn(specimen, manager);
  const { start, header } = find(specimen, FIRST, 'mended');
  const { seal, ...told } = header;
  expect(seal).toBe(find(specimen, FIRST, 'seal').start);
  const batch = new Batch();
  const at = batch.add(asciiJson(told));
  const { size } = statSync(specimen.path(FIRST));
  specimen.splice(FIRST, start, size, batch.buffer.toString('latin1', at, batch.length));
  expect(await repair(specimen)).toMatchObject({ outcome: 'sound', messages: 6 });
  expect([...(await messagesOf(specimen)).keys()]).toEqual(uuids.filter((_, i) => i !== 4 && i !== 7));
});

test('what a repair has taken out has not moved, though its own word of that is damaged by now', async ({
  specimen,
  manager,
}) => {
  const uuids = await addAlike(manager, 4);
  const [failing, , lost] = await manager.claimMessages(Q, { limit: 3 });
  await manager.failMessage(Q, failing!, refusal('no'), { final: true });
  await manager.releaseMessage(Q, lost!);
  await manager.close();
  specimen.flip(FIRST, find(specimen, FIRST, 'add', uuids[2]).end - 3);
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [{ uuid: uuids[2] }] });
  const notes = specimen.records(FIRST).filter(({ header }) => header.op === 'mended');
  for (const { start } of notes) specimen.flip(FIRST, start + 33);
  const report = await repair(specimen);
  expect(report).toMatchObject({ outcome: 'repaired', sound: true, lost: [], unnamed: 0, doubtful: 0 });
  const left = [...(await messagesOf(specimen)).values()].map(({ uuid, state }) => [uuid, state]);
  expect(left).toEqual([
    [uuids[0], 'failed'],
    [uuids[1], 'claimed'],
    [uuids[3], 'ready'],
  ]);
  await expectWhole(specimen);
});

test('a repair tells twice what it has done, so that one damaged byte does not undo it', async ({
  specimen,
  manager,
}) => {
  const uuids = await addAlike(manager, 4);
  await manager.cancelMessage(Q, uuids[3]!);
  await manager.close();
  takeOut(specimen, FIRST, find(specimen, FIRST, 'add', uuids[1]));
  expect(await repair(specimen)).toMatchObject({ sound: true, unnamed: 1 });
  const after = await openManager(specimen.root);
  const [claimed] = await after.claimMessages(Q, { limit: 1 });
  await after.close();
  const { start } = find(specimen, FIRST, 'mended');
  specimen.flip(FIRST, start + 33);
  const report = await repair(specimen);
  expect(report).toMatchObject({ outcome: 'repaired', sound: true, lost: [], unnamed: 0, doubtful: 0 });
  expect((await messagesOf(specimen)).get(claimed!.uuid)).toMatchObject({ state: 'claimed' });
  await expectWhole(specimen);
});

/** An older segment that is kept for the fifth of its eight messages, the only one left; the one behind it is gone by now. */
async function keptForOne(specimen: Specimen): Promise<string[]> {
  // Small segments, so that even one message is too large to be carried.
  const manager = await openManager(specimen.root, { segmentBytes: 60_000 });
  await manager.createQueue(Q);
  const uuids = await addAlike(manager, 8);
  await rotate(manager, specimen);
  await manager.updateMessage(Q, uuids[4]!, { disabled: true });
  await manager.updateMessage(Q, uuids[4]!, { disabled: false });
  for (const uuid of uuids) if (uuid !== uuids[4]) await manager.removeMessage(Q, uuid);
  for (let i = 0; i < 3; i++) await rotate(manager, specimen);
  expect(specimen.segments()).toContain(FIRST);
  expect(specimen.segments()).not.toContain(SECOND);
  await manager.close();
  return uuids;
}

test('a message that an older segment is kept for is not lost to another in its place, as its index tells', async ({
  specimen,
}) => {
  const uuids = await keptForOne(specimen);
  takeOut(specimen, FIRST, find(specimen, FIRST, 'add', uuids[2]));
  await expectMoved(specimen, FIRST);
  const report = await repair(specimen);
  expect(report).toMatchObject({ outcome: 'repaired', sound: true, lost: [], unnamed: 1 });
  // Nothing tells any more which of the others have ended.
  expect(report.doubtful).toBe(report.messages);
  expect([...(await messagesOf(specimen)).keys()]).toContain(uuids[4]);
  await expectWhole(specimen);
});

test('nor where a later record tells which message it was', async ({ specimen }) => {
  const uuids = await keptForOne(specimen);
  const manager = await openManager(specimen.root);
  await manager.cancelMessage(Q, uuids[4]!);
  await manager.close();
  rmSync(specimen.path('00000001.index'));
  takeOut(specimen, FIRST, find(specimen, FIRST, 'add', uuids[2]));
  await expectMoved(specimen, FIRST);
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true, lost: [], unnamed: 1 });
  expect([...(await messagesOf(specimen)).keys()]).toContain(uuids[4]);
  await expectWhole(specimen);
});

test('nor where the note behind its seal tells how much of it had been on the device', async ({
  specimen,
}) => {
  const uuids = await keptForOne(specimen);
  rmSync(specimen.path('00000001.index'));
  takeOut(specimen, FIRST, find(specimen, FIRST, 'add', uuids[2]));
  await expectMoved(specimen, FIRST);
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true, lost: [], unnamed: 1 });
  expect([...(await messagesOf(specimen)).keys()]).toContain(uuids[4]);
  await expectWhole(specimen);
});

test('where nothing tells, it is said to be in doubt, and that a record is missing', async ({ specimen }) => {
  const uuids = await keptForOne(specimen);
  rmSync(specimen.path('00000001.index'));
  const { start } = find(specimen, FIRST, 'next');
  specimen.splice(FIRST, start + 3, start + 4, '?');
  takeOut(specimen, FIRST, find(specimen, FIRST, 'add', uuids[2]));
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [], unnamed: 1, doubtful: 1 });
  expect(await repair(specimen)).toMatchObject({ outcome: 'sound' });
});

test('a message holds what its last update says, though that says of the one before where it does not stand any more', async ({
  specimen,
  manager,
}) => {
  const [uuid] = await addAlike(manager, 1);
  await rotate(manager, specimen);
  const { uuid: gone } = await manager.addMessage(Q, { data: 'gone' });
  for (const data of ['first', 'last']) await manager.updateMessage(Q, uuid!, { data });
  await manager.close();
  takeOut(specimen, SECOND, find(specimen, SECOND, 'add', gone));
  await expectMoved(specimen, SECOND);
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [], unnamed: 1 });
  expect((await messagesOf(specimen)).get(uuid!)).toMatchObject({ data: 'last', state: 'ready' });
  await expectWhole(specimen);
});

test('a message that had come behind the seal, and was written again, is there once when the line of the seal is gone', async ({
  specimen,
  manager,
}) => {
  const [before] = await addAlike(manager, 1);
  const quick = await openManager(specimen.root, { segmentBytes: 1000 });
  await rotate(quick, specimen);
  // It hears of the seal only now.
  const { uuid } = await manager.addMessage(Q, { data: 'written twice' });
  await manager.close();
  await quick.close();
  for (const file of [FIRST, SECOND]) expect(find(specimen, file, 'add', uuid)).toBeDefined();
  takeOut(specimen, FIRST, find(specimen, FIRST, 'seal'));
  expect(await repair(specimen)).toMatchObject({ sound: true, messages: 2, lost: [] });
  expect([...(await messagesOf(specimen)).keys()]).toEqual([before, uuid]);
  await expectWhole(specimen);
});
