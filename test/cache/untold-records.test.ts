/** What a repair tells of damaged records: what they have added, changed or ended, also where others have met the damage before. */
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { planRepair } from '../../src/cache/repair.ts';
import type { RepairReport } from '../../src/cache/repair/report.ts';
import { all } from '../support/examine.ts';
import { filledBy } from '../support/on-specimen.ts';
import { expectWhole, first, messagesOf, OPTIONS, repair } from '../support/repairing.ts';
import { refusal } from '../support/fixed.ts';
import { openManager, Q, rotate, Specimen, type RecordAt } from '../support/specimen.ts';

const FIRST = '00000001.journal';
const SECOND = '00000002.journal';

/** Of messages in the first segment, in this order: removed, completed, changed, changed twice, and left alone. */
const test = filledBy(async (specimen) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const uuids: string[] = [];
  for (let n = 0; n < 6; n++) uuids.push((await manager.addMessage(Q, { data: { n } })).uuid);
  await manager.removeMessage(Q, uuids[0]!);
  const [claim] = await manager.claimMessages(Q, { limit: 1 });
  await manager.completeMessage(Q, claim!);
  for (const n of [2, 3, 3]) await manager.updateMessage(Q, uuids[n]!, { data: { n: `${n} changed` } });
  await manager.addMessage(Q, { data: 'last' });
  await manager.close();
  return uuids;
});

function recordOf(specimen: Specimen, file: string, op: string, uuid: string): RecordAt {
  return specimen.records(file).find(({ header }) => header.op === op && header['u'] === uuid)!;
}

function zero(specimen: Specimen, file: string, from: number, to: number): void {
  writeFileSync(specimen.path(file), readFileSync(specimen.path(file)).fill(0, from, to));
}

/** Somebody looks at the queue, and goes on in a new segment: at once, where it is the last one that is damaged. */
async function meet(specimen: Specimen, isOlder = false): Promise<void> {
  const manager = await openManager(specimen.root);
  await manager.queueStatus(Q);
  if (isOlder) {
    await all(manager);
    await rotate(manager, specimen);
  }
  await manager.close();
}

/** The plan after each bit of every third byte of a record, and of those that say what it is, has changed by itself. */
async function plansOf(specimen: Specimen, { start, end }: RecordAt): Promise<[number, RepairReport][]> {
  const plans: [number, RepairReport][] = [];
  for (let at = start; at < end; at += at < start + 42 ? 1 : 3) {
    const mask = 1 << (at % 7);
    specimen.flip(FIRST, at, mask);
    plans.push([at - start, await planRepair(specimen.folder, OPTIONS)]);
    specimen.flip(FIRST, at, mask);
  }
  return plans;
}

test('an add is told as lost, or counted, whichever bit of it has changed', async ({ specimen, uuids }) => {
  const record = recordOf(specimen, FIRST, 'add', uuids[4]!);
  for (const [at, { lost, unnamed, messages }] of await plansOf(specimen, record)) {
    expect({ at, messages, told: lost.length + unnamed > 0 }).toEqual({ at, messages: 4, told: true });
    // Behind the prefix, and before the uuid.
    if (at >= 29 && at < 40)
      expect({ at, lost, unnamed }).toMatchObject({ lost: [{ uuid: uuids[4] }], unnamed: 0 });
  }
});

test('a message stands as failed, whichever bit of its last update has changed', async ({
  specimen,
  uuids,
}) => {
  const record = recordOf(specimen, FIRST, 'update', uuids[2]!);
  const { start } = recordOf(specimen, FIRST, 'add', uuids[2]!);
  for (const [at, { lost, counts, outdated }] of await plansOf(specimen, record))
    expect({ at, lost, failed: counts['failed'], outdated }).toEqual({
      at,
      lost: [],
      failed: 1,
      outdated: [[1, start]],
    });
});

test('an update that rots after it has been replaced by another is not missed', async ({
  specimen,
  uuids,
}) => {
  specimen.flip(FIRST, recordOf(specimen, FIRST, 'update', uuids[3]!).end - 5);
  expect(await repair(specimen)).toMatchObject({ lost: [], unnamed: 0, outdated: [], doubtful: 0 });
  const found = await messagesOf(specimen);
  expect(found.get(uuids[3]!)).toMatchObject({ state: 'ready', data: { n: '3 changed' } });
});

test('so it is where that record is the first behind a head that is damaged', async () => {
  const specimen = new Specimen();
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const { uuid } = await manager.addMessage(Q, { data: 'ended' });
  await manager.addMessage(Q, { data: 'waits' });
  await rotate(manager, specimen);
  await manager.removeMessage(Q, uuid);
  await manager.addMessage(Q, { data: 'last' });
  await manager.close();
  const newest = specimen.segments().at(-1)!;
  const own = first(specimen, newest, 'remove');
  const head = specimen.records(newest);
  // On a slow device, what has led to the rotation comes behind the seal, and stands here.
  head.length = head.findIndex(({ header }) => header.op === 'ready') + 1;
  for (const { header, start } of head) {
    const copy = specimen.copy();
    copy.flip(newest, start + 40);
    copy.flip(newest, own.start + 45);
    const report = await repair(copy);
    expect(report, header.op).toMatchObject({ messages: 3, lost: [], sound: true });
    expect(report.doubtful, header.op).toBeGreaterThan(0);
    copy.dispose();
  }
  specimen.dispose();
});

test.each(['remove', 'done', 'claim', 'purge'])(
  'of a message that is back because a %s is damaged it is said that it may have ended',
  async (op) => {
    const specimen = new Specimen();
    const manager = await openManager(specimen.root);
    await manager.createQueue(Q);
    const { uuid } = await manager.addMessage(Q, { data: 'ended' });
    if (op === 'remove') await manager.removeMessage(Q, uuid);
    else if (op === 'purge') await manager.purgeQueue(Q);
    else await manager.completeMessage(Q, (await manager.claimMessages(Q))[0]!);
    await manager.addMessage(Q, { data: 'last' });
    await manager.close();
    for (const at of [33, 45, 60]) {
      const copy = specimen.copy();
      copy.flip(FIRST, first(copy, FIRST, op).start + at);
      const report = await repair(copy);
      expect(report).toMatchObject({ messages: 2, lost: [], doubtful: 1, sound: true });
      expect((await messagesOf(copy)).has(uuid)).toBe(true);
      copy.dispose();
    }
    specimen.dispose();
  },
);

test.each<[string, number, (record: RecordAt) => [number, number]]>([
  ['nothing', 0, ({ start, end }) => [start, end]],
  ['its beginning', 0, ({ start, end }) => [start + 100, end]],
  ['its end', 0, ({ start, end }) => [start, end - 60]],
  ['its operation', 0xff, ({ start, end }) => [start + 60, end]],
])(
  'of messages that one record says to have ended, of which %s is legible, it is said how many may have',
  async (_, byte, rangeOf) => {
    const specimen = new Specimen();
    const manager = await openManager(specimen.root);
    await manager.createQueue(Q);
    for (let n = 0; n < 20; n++) await manager.addMessage(Q, { data: { n } });
    const claims = await manager.claimMessages(Q, { limit: 8 });
    await Promise.all(claims.map((claim) => manager.completeMessage(Q, claim)));
    await manager.addMessage(Q, { data: 'last' });
    await manager.close();
    const record = first(specimen, FIRST, 'done');
    expect(record.header['u']).toHaveLength(8);
    const bytes = readFileSync(specimen.path(FIRST));
    writeFileSync(specimen.path(FIRST), bytes.fill(byte, ...rangeOf(record)));
    for (const isMet of [false, true]) {
      const { messages, lost, doubtful } = await planRepair(specimen.folder, OPTIONS);
      expect({ isMet, messages, lost, doubtful }).toEqual({ isMet, messages: 21, lost: [], doubtful: 8 });
      await meet(specimen);
    }
    specimen.dispose();
  },
);

test('what one writer lost is counted though the numbers of another span it', async ({ specimen }) => {
  const one = await openManager(specimen.root);
  await one.createQueue(Q);
  await one.addMessage(Q, { data: 'first' });
  const other = await openManager(specimen.root);
  const named = await other.addMessage(Q, { data: 'by another' });
  await other.close();
  const illegible = await one.addMessage(Q, { data: 'illegible' });
  await one.addMessage(Q, { data: 'last' });
  await one.close();
  specimen.flip(FIRST, recordOf(specimen, FIRST, 'add', illegible.uuid).start + 41);
  specimen.flip(FIRST, recordOf(specimen, FIRST, 'add', named.uuid).end - 3);
  expect(await repair(specimen)).toMatchObject({ messages: 2, lost: [{ uuid: named.uuid }], unnamed: 1 });
});

test('what is lost is not forgotten when others go on without it', async ({ specimen, uuids }) => {
  const [from, to] = [4, 5].map((n) => recordOf(specimen, FIRST, 'add', uuids[n]!));
  zero(specimen, FIRST, from!.start, to!.end);
  const { lost, unnamed } = await planRepair(specimen.folder, OPTIONS);
  expect(unnamed).toBeGreaterThanOrEqual(2);
  await meet(specimen);
  expect(specimen.segments()).toContain(SECOND);
  expect(await repair(specimen)).toMatchObject({ sound: true, messages: 3, lost, unnamed });
  await expectWhole(specimen);
});

test('nor is an update, nor a removal, which others have done without', async ({ specimen, uuids }) => {
  specimen.flip(FIRST, recordOf(specimen, FIRST, 'update', uuids[2]!).end - 5);
  specimen.flip(FIRST, recordOf(specimen, FIRST, 'remove', uuids[0]!).end - 5);
  await meet(specimen);
  expect(await repair(specimen)).toMatchObject({
    sound: true,
    lost: [],
    unnamed: 0,
    doubtful: 1,
    messages: 6,
  });
  const found = await messagesOf(specimen);
  expect(found.get(uuids[2]!)).toMatchObject({ state: 'failed', data: { n: 2 } });
  expect(found.has(uuids[0]!)).toBe(true);
});

test('a message whose add has rotted is there as its update says, also when others have gone on without it', async ({
  specimen,
  uuids,
}) => {
  specimen.flip(FIRST, recordOf(specimen, FIRST, 'add', uuids[2]!).end - 3);
  await meet(specimen);
  expect((await messagesOf(specimen)).has(uuids[2]!)).toBe(false);
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [], messages: 5 });
  expect((await messagesOf(specimen)).get(uuids[2]!)).toMatchObject({ data: { n: '2 changed' } });
  await expectWhole(specimen);
});

/** Three segments, in the first of which messages wait that are too large to be carried. */
async function threeSegments(specimen: Specimen): Promise<string[]> {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const uuids: string[] = [];
  for (let n = 0; n < 12; n++) {
    const { uuid } = await manager.addMessage(Q, { data: { n, text: 'x'.repeat(4000) } });
    uuids.push(uuid);
  }
  const [claim] = await manager.claimMessages(Q, { limit: 1 });
  await manager.releaseMessage(Q, claim!);
  for (let i = 0; i < 2; i++) await rotate(manager, specimen);
  await manager.addMessage(Q, { data: 'last' });
  await manager.close();
  return uuids;
}

test('that a file has gone is told after others have gone on without it', async ({ specimen }) => {
  await threeSegments(specimen);
  rmSync(specimen.path(FIRST));
  await meet(specimen, true);
  const { lost, gone } = await repair(specimen);
  // The one that somebody had claimed is known by itself.
  expect({ lost, gone }).toMatchObject({ lost: [{ count: 1 }], gone: [FIRST] });
});

test('so is what has been cut off an older file', async ({ specimen }) => {
  const uuids = await threeSegments(specimen);
  truncateSync(specimen.path(FIRST), recordOf(specimen, FIRST, 'add', uuids[7]!).start);
  await meet(specimen, true);
  const { unnamed } = await repair(specimen);
  const found = await messagesOf(specimen);
  expect(uuids.filter((uuid) => found.has(uuid))).toHaveLength(7);
  expect(unnamed).toBeGreaterThanOrEqual(5);
  await expectWhole(specimen);
});

test('and what has been cut off the file in which the queue was created anew', async ({ specimen }) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  await manager.destroyQueue(Q);
  await manager.createQueue(Q);
  const uuids: string[] = [];
  for (let n = 0; n < 12; n++) {
    const { uuid } = await manager.addMessage(Q, { data: { n, text: 'x'.repeat(4000) } });
    uuids.push(uuid);
  }
  for (let i = 0; i < 2; i++) await rotate(manager, specimen);
  await manager.close();
  truncateSync(specimen.path(SECOND), recordOf(specimen, SECOND, 'add', uuids[8]!).start);
  await meet(specimen, true);
  const { unnamed } = await repair(specimen);
  expect(unnamed).toBeGreaterThanOrEqual(4);
});

test('and what has been cut off the file before the head that a repair has made', async ({
  specimen,
  uuids,
}) => {
  specimen.flip(FIRST, recordOf(specimen, FIRST, 'add', uuids[4]!).start + 70);
  await repair(specimen);
  expect(specimen.segments()).toEqual([FIRST, SECOND]);
  truncateSync(specimen.path(FIRST), recordOf(specimen, FIRST, 'add', uuids[5]!).start);
  await meet(specimen, true);
  expect((await repair(specimen)).gone).toEqual([FIRST]);
});

test.for([false, true])(
  'messages are doubted whose completions had no effect because their claim is gone without a trace; others have met it: %s',
  async (isMet, { specimen }) => {
    const manager = await openManager(specimen.root);
    await manager.createQueue(Q);
    await manager.addMessages(Q, [{ data: 0 }, { data: 1 }]);
    const claims = await manager.claimMessages(Q, { limit: 2 });
    for (const claim of claims) await manager.completeMessage(Q, claim);
    await manager.close();
    const bytes = readFileSync(specimen.path(FIRST));
    const { start, end } = first(specimen, FIRST, 'claim');
    writeFileSync(specimen.path(FIRST), Buffer.concat([bytes.subarray(0, start), bytes.subarray(end + 1)]));
    if (isMet) await meet(specimen, true);
    expect(await repair(specimen)).toMatchObject({ messages: 2, doubtful: 2 });
  },
);

test('of two updates side by side that zeros have joined, one does not stand for the other', async ({
  specimen,
  uuids,
}) => {
  const one = await openManager(specimen.root);
  const other = await openManager(specimen.root);
  await other.updateMessage(Q, uuids[4]!, { data: 'lost' });
  await one.updateMessage(Q, uuids[2]!, { data: 'lost' });
  await other.updateMessage(Q, uuids[5]!, { data: 'lost' });
  await other.updateMessage(Q, uuids[3]!, { data: 'kept' });
  await one.close();
  await other.close();
  const text = readFileSync(specimen.path(FIRST), 'latin1');
  const [writer, next] = [uuids[2]!, uuids[5]!].map((uuid) =>
    text.indexOf('"w":', specimen.records(FIRST).findLast(({ header }) => header['u'] === uuid)!.start),
  ) as [number, number];
  zero(specimen, FIRST, writer, next - 1);
  expect(await repair(specimen)).toMatchObject({ unnamed: 1, outdated: [expect.anything()] });
});

test('messages that stay because nothing tells of their end do not stand for others that are lost', async ({
  specimen,
}) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const uuids: string[] = [];
  for (let n = 0; n < 12; n++) uuids.push((await manager.addMessage(Q, { data: { n } })).uuid);
  const claims = await manager.claimMessages(Q, { limit: 4 });
  for (const [i, claim] of claims.entries()) {
    if (i < 2) await manager.completeMessage(Q, claim);
    else await manager.failMessage(Q, claim, refusal('no'), { final: true });
  }
  await rotate(manager, specimen);
  await manager.addMessage(Q, { data: 'last' });
  await manager.close();
  truncateSync(specimen.path(FIRST), recordOf(specimen, FIRST, 'add', uuids[8]!).start);
  specimen.flip(SECOND, first(specimen, SECOND, 'touched').start + 40);
  const { lost } = await repair(specimen);
  expect(lost).toMatchObject([{ file: FIRST, count: 4 }]);
});

test('a message that was lost before a head was made does not stand for one that is lost since, though the head cannot say so any more', async ({
  specimen,
}) => {
  let manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const uuids: string[] = [];
  for (let n = 0; n < 12; n++) uuids.push((await manager.addMessage(Q, { data: { n } })).uuid);
  await manager.close();
  specimen.flip(FIRST, recordOf(specimen, FIRST, 'add', uuids[2]!).end - 3);
  manager = await openManager(specimen.root);
  await manager.queueStatus(Q);
  await manager.close();
  truncateSync(specimen.path(FIRST), recordOf(specimen, FIRST, 'add', uuids[8]!).start);
  specimen.flip(SECOND, first(specimen, SECOND, 'damage').start + 40);
  const { lost, unnamed, messages } = await repair(specimen);
  expect({ lost, messages }).toMatchObject({ lost: [{ uuid: uuids[2] }, { file: FIRST }], messages: 7 });
  expect(lost.reduce((sum, { count }) => sum + count, unnamed)).toBe(5);
});

test('messages that a damaged head has carried are not told as lost with the file that they stood in', async ({
  specimen,
}) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const { uuid } = await manager.addMessage(Q, { data: 'carried' });
  for (let i = 0; i < 3; i++) await rotate(manager, specimen);
  await manager.close();
  const [before, last] = specimen.segments().slice(-2) as [string, string];
  expect(specimen.segments()).not.toContain(FIRST);
  for (const file of [before, last]) specimen.flip(file, first(specimen, file, 'ready').start + 40);
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [], gone: [] });
  expect((await messagesOf(specimen)).has(uuid)).toBe(true);
});
