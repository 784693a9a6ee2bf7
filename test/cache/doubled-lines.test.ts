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

function double({ start, end }: RecordAt): void {
  const path = specimen.path(newest());
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
