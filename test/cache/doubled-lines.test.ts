/** Lines that stand in a journal twice, as no writer writes them. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { verifyQueue } from '../../src/cache/verify.ts';
import { expectWhole, first, messagesOf, repair } from '../support/repairing.ts';
import { written } from '../support/scan.ts';
import { openManager, Q, rotate, Specimen, type RecordAt } from '../support/specimen.ts';

let sample: Specimen;
let specimen: Specimen;
let uuids: string[];

/** In the second of two segments four messages, of which the first has ended, and the second was changed. */
beforeAll(async () => {
  sample = new Specimen();
  const manager = await openManager(sample.root);
  await manager.createQueue(Q);
  await manager.addMessage(Q, { data: 'older' });
  await rotate(manager, sample);
  uuids = [];
  for (let n = 0; n < 4; n++) uuids.push((await manager.addMessage(Q, { data: n })).uuid);
  await manager.removeMessage(Q, uuids[0]!);
  await manager.updateMessage(Q, uuids[1]!, { data: 'changed' });
  await manager.pauseQueue(Q);
  await manager.resumeQueue(Q);
  await manager.close();
});

beforeEach(() => {
  specimen = sample.copy();
});

afterEach(() => specimen.dispose());
afterAll(() => sample.dispose());

const newest = (): string => specimen.segments().at(-1)!;

function double({ start, end }: RecordAt, into = specimen): void {
  const path = into.path(newest());
  appendFileSync(
    path,
    Buffer.concat([Buffer.from('\n'), readFileSync(path).subarray(start, end), Buffer.from('\n')]),
  );
}

test.each([
  ['a message that waits', 2],
  ['a message that was changed', 1],
  ['a message that has ended', 0],
])(
  'the add of %s, doubled, is rot, and after a repair the message is there as if it were not',
  async (_, n) => {
    const before = await messagesOf(specimen);
    const add = specimen
      .records(newest())
      .find(({ header }) => header.op === 'add' && header['u'] === uuids[n])!;
    double(add);
    const { sound, damage } = await verifyQueue(specimen.folder);
    expect(sound).toBe(false);
    expect(damage).toEqual([expect.objectContaining({ kind: 'rot', file: newest(), uuid: uuids[n] })]);
    expect(await repair(specimen)).toMatchObject({
      sound: true,
      messages: before.size,
      lost: [],
      unnamed: 0,
    });
    expect(await messagesOf(specimen)).toEqual(before);
    await expectWhole(specimen);
  },
);

test('a doubled line that stops the queue does not, after a repair', async () => {
  double(specimen.records(newest()).find(({ header }) => header.op === 'pause')!);
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true, lost: [] });
  const manager = await openManager(specimen.root);
  expect(await manager.queueStatus(Q)).toMatchObject({ paused: false });
  await manager.close();
});

test('what was done with the second of two is not undone', async () => {
  double(specimen.records(newest()).find(({ header }) => header['u'] === uuids[3])!);
  const manager = await openManager(specimen.root);
  const claims = await manager.claimMessages(Q, { limit: 9 });
  const second = claims.findLast(({ uuid }) => uuid === uuids[3])!;
  for (const claim of claims) if (claim !== second) await manager.completeMessage(Q, claim);
  await manager.releaseMessage(Q, second);
  await manager.updateMessage(Q, second.uuid, { data: 'what it is now' });
  await manager.close();
  expect(await repair(specimen)).toMatchObject({ sound: true, messages: 1 });
  expect((await messagesOf(specimen)).get(uuids[3]!)).toMatchObject({ data: 'what it is now' });
});

test('the second of two is no loss when it goes, though others have counted it', async () => {
  const before = await messagesOf(specimen);
  double(specimen.records(newest()).find(({ header }) => header['u'] === uuids[3])!);
  const manager = await openManager(specimen.root);
  await rotate(manager, specimen);
  await manager.close();
  expect(await repair(specimen)).toMatchObject({ sound: true, messages: before.size, lost: [], unnamed: 0 });
  expect(await messagesOf(specimen)).toEqual(before);
});

test('nor are what others have done with the second of two, and the heads that they have made since, a flaw afterwards', async () => {
  double(specimen.records(newest()).find(({ header }) => header['u'] === uuids[3])!);
  const manager = await openManager(specimen.root);
  await manager.addMessage(Q, { data: 'x'.repeat(300_000) });
  await rotate(manager, specimen);
  const claims = await manager.claimMessages(Q, { limit: 9 });
  const doubled = claims.filter(({ uuid }) => uuid === uuids[3]);
  expect(doubled).toHaveLength(2);
  for (const claim of claims) if (claim !== doubled[0]) await manager.releaseMessage(Q, claim);
  await manager.addMessage(Q, { data: 'y'.repeat(300_000) });
  await rotate(manager, specimen);
  await manager.addMessage(Q, { data: 'last' });
  await manager.close();
  const before = await messagesOf(specimen);
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true, lost: [], unnamed: 0 });
  expect(await repair(specimen)).toMatchObject({ outcome: 'sound' });
  expect([...(await messagesOf(specimen)).keys()]).toEqual([...before.keys()]);
});

test('a head that was made with the second of two in an older segment is none afterwards', async () => {
  let manager = await openManager(specimen.root);
  // So that who compares heads reads this segment's adds.
  await manager.addMessage(Q, { data: 'x'.repeat(300_000), disabled: true });
  const older = newest();
  await rotate(manager, specimen);
  await manager.close();
  const bytes = readFileSync(specimen.path(older));
  const { start, end } = specimen.records(older).find(({ header }) => header['u'] === uuids[3])!;
  const parts = [bytes.subarray(0, end + 1), bytes.subarray(start, end + 1), bytes.subarray(end + 1)];
  writeFileSync(specimen.path(older), Buffer.concat(parts));
  manager = await openManager(specimen.root);
  const claims = await manager.claimMessages(Q, { limit: 9 });
  expect(claims.filter(({ uuid }) => uuid === uuids[3])).toHaveLength(2);
  await manager.addMessage(Q, { data: 'y'.repeat(300_000) });
  await rotate(manager, specimen);
  await manager.addMessage(Q, { data: 'last' });
  await manager.close();
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true, lost: [], unnamed: 0 });
  expect(await repair(specimen)).toMatchObject({ outcome: 'sound' });
});

test('nothing rests on the second of two: a message holds what its update says', async () => {
  const before = await messagesOf(specimen);
  const records = specimen.records(newest());
  const update = records.find(({ header }) => header.op === 'update')!;
  const add = records.find(({ header }) => header.op === 'add')!;
  const bytes = readFileSync(specimen.path(newest()));
  const line = (each: RecordAt): Buffer => bytes.subarray(each.start, each.end + 1);
  const parts = [
    bytes.subarray(0, add.end + 1),
    line(add),
    bytes.subarray(add.end + 1, update.end + 1),
    line(update),
    bytes.subarray(update.end + 1),
  ];
  writeFileSync(specimen.path(newest()), Buffer.concat(parts));
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [], unnamed: 0 });
  expect((await messagesOf(specimen)).get(uuids[1]!)).toEqual(before.get(uuids[1]!));
});

test('a message that has moved out of bytes that are damaged by now is there once', async () => {
  const manager = await openManager(specimen.root);
  await manager.completeMessage(Q, (await manager.claimMessages(Q))[0]!);
  const { uuid } = await manager.addMessage(Q, { data: 'added behind it' });
  await manager.updateMessage(Q, uuid, { data: 'updated' });
  await manager.close();
  const bytes = readFileSync(specimen.path(newest()));
  const { end } = specimen.records(newest()).find(({ header: { op } }) => op === 'done')!;
  const parts = [bytes.subarray(0, end - 60), Buffer.from('nobody wrote this\n'), bytes.subarray(end - 60)];
  writeFileSync(specimen.path(newest()), Buffer.concat(parts));
  const { messages } = await repair(specimen);
  const found = await messagesOf(specimen);
  expect(found.get(uuid)).toMatchObject({ data: 'updated' });
  expect(messages).toBe(found.size);
});

test('a line of a head counts once', async () => {
  const manager = await openManager(specimen.root);
  await manager.claimMessages(Q, { limit: 2 });
  await rotate(manager, specimen);
  await manager.close();
  const before = await messagesOf(specimen);
  // So that it is not made again.
  const older = specimen.segments().at(-2)!;
  specimen.flip(older, first(specimen, older, 'ready').start + 40);
  const head = specimen.records(newest()).filter(({ header }) => !('n' in header));
  expect(head.map(({ header: { op } }) => op)).toEqual(expect.arrayContaining(['head', 'touched', 'ready']));
  for (const { start, end } of head) {
    const copy = specimen.copy();
    const bytes = readFileSync(copy.path(newest()));
    const line = bytes.subarray(start, end + 1);
    writeFileSync(
      copy.path(newest()),
      Buffer.concat([bytes.subarray(0, end + 1), line, bytes.subarray(end + 1)]),
    );
    expect(await repair(copy)).toMatchObject({ sound: true, lost: [], unnamed: 0 });
    expect(await messagesOf(copy)).toEqual(before);
    copy.dispose();
  }
});

test('a line of a head behind it is told, and taken out', async () => {
  const before = await messagesOf(specimen);
  for (const line of specimen.records(newest()).filter(({ header }) => !('n' in header))) {
    const copy = specimen.copy();
    double(line, copy);
    const { sound, damage } = await verifyQueue(copy.folder);
    expect({ sound, kinds: damage.map(({ kind }) => kind) }).toEqual({ sound: false, kinds: ['rot'] });
    expect(await repair(copy)).toMatchObject({ sound: true, lost: [], unnamed: 0, doubtful: 0 });
    expect(await messagesOf(copy)).toEqual(before);
    copy.dispose();
  }
});

test('records of one number that are not the same are each what they are', async () => {
  const { header } = specimen.records(newest()).find(({ header: { op } }) => op === 'add')!;
  const other = { ...header, u: '01a00000-0000-7000-8000-000000000001' };
  appendFileSync(specimen.path(newest()), written([{ header: other, payload: '"another"' }]));
  expect(await verifyQueue(specimen.folder)).toMatchObject({ sound: true });
  expect((await messagesOf(specimen)).get(other.u)).toMatchObject({ data: 'another' });
});

test('a doubled line of a head does not stand for one that is damaged', async () => {
  const manager = await openManager(specimen.root);
  const { uuid } = await manager.addMessage(Q, { data: 'x'.repeat(60_000) });
  for (const claim of await manager.claimMessages(Q, { limit: 9 })) await manager.releaseMessage(Q, claim);
  await rotate(manager, specimen);
  await manager.close();
  const [before, last] = specimen.segments().slice(-2) as [string, string];
  const bytes = readFileSync(specimen.path(last));
  const { start, end } = first(specimen, last, 'registered');
  const rest = bytes.subarray(start);
  writeFileSync(
    specimen.path(last),
    Buffer.concat([bytes.subarray(0, start), bytes.subarray(start, end + 1), rest]),
  );
  const touched = specimen.records(last).filter(({ header }) => header.op === 'touched');
  specimen.flip(last, touched.at(-1)!.start + 40);
  specimen.flip(before, first(specimen, before, 'ready').start + 40);
  expect(await repair(specimen)).toMatchObject({ sound: true, unnamed: 1 });
  expect((await messagesOf(specimen)).has(uuid)).toBe(true);
});
