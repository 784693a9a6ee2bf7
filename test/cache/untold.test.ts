/** What a repair tells of messages that are lost in older segments, and in files that are cut off: neither too little nor too much. */
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { verifyQueue } from '../../src/cache/verify.ts';
import { filledBy } from '../support/on-specimen.ts';
import { expectWhole, first, messagesOf, repair } from '../support/repairing.ts';
import { openManager, Q, rotate, Specimen } from '../support/specimen.ts';

/** Of messages that stand in the first segment, too large to be carried, half of which have ended; the last two were changed in the second, of three. */
const test = filledBy(async (specimen) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const uuids: string[] = [];
  for (let n = 0; n < 20; n++) {
    const { uuid } = await manager.addMessage(Q, { data: { n, text: 'x'.repeat(4000 + 7 * n) } });
    uuids.push(uuid);
  }
  for (const uuid of uuids.slice(0, 10)) await manager.removeMessage(Q, uuid);
  await rotate(manager, specimen);
  await manager.addMessage(Q, { data: { n: 'between' } });
  for (const uuid of uuids.slice(18)) await manager.updateMessage(Q, uuid, { data: { n: 'changed' } });
  await rotate(manager, specimen);
  await manager.addMessage(Q, { data: { n: 'last' } });
  await manager.close();
  return uuids;
});

const [FIRST, SECOND, THIRD] = ['00000001.journal', '00000002.journal', '00000003.journal'] as const;

function addOf(specimen: Specimen, file: string, uuid: string): { start: number; end: number } {
  return specimen.records(file).find(({ header }) => header.op === 'add' && header['u'] === uuid)!;
}

test('a line that is gone from an older segment is spoken of, though messages that had ended there come back', async ({
  specimen,
  uuids,
}) => {
  const { start, end } = addOf(specimen, FIRST, uuids[12]!);
  specimen.splice(FIRST, start, end + 1);
  const report = await repair(specimen);
  expect(report).toMatchObject({ outcome: 'repaired', sound: true, lost: [], unnamed: 1 });
  const found = await messagesOf(specimen);
  expect(uuids.slice(10).filter((uuid) => !found.has(uuid))).toEqual([uuids[12]]);
  await expectWhole(specimen);
});

test('an add that a newline has cut in two is told by its uuid, and no other', async ({
  specimen,
  uuids,
}) => {
  const { end } = addOf(specimen, FIRST, uuids[12]!);
  specimen.splice(FIRST, end - 20, end - 20, '\n');
  const report = await repair(specimen);
  expect(report).toMatchObject({ sound: true, lost: [{ uuid: uuids[12] }], unnamed: 0 });
  expect((await messagesOf(specimen)).size).toBe(11);
  await expectWhole(specimen);
});

test('messages whose updates have only moved hold what they held, and may run', async ({
  specimen,
  uuids,
}) => {
  const between = specimen.records(SECOND).find(({ header }) => header.op === 'add')!;
  specimen.splice(SECOND, between.end - 5, between.end - 5, '\n');
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [{ count: 1 }], outdated: [] });
  const found = await messagesOf(specimen);
  for (const uuid of uuids.slice(18))
    expect(found.get(uuid)).toMatchObject({ state: 'ready', data: { n: 'changed' } });
  await expectWhole(specimen);
});

test('a message whose last update is gone with the bytes before it stands as failed', async ({
  specimen,
  uuids,
}) => {
  const update = specimen.records(SECOND).find(({ header }) => header['u'] === uuids[18])!;
  specimen.splice(SECOND, update.start, update.end + 1);
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [] });
  const found = await messagesOf(specimen);
  expect(found.get(uuids[18]!)).toMatchObject({ state: 'failed', data: { n: 18 } });
  expect(found.get(uuids[19]!)).toMatchObject({ state: 'ready', data: { n: 'changed' } });
  await expectWhole(specimen);
});

test('a newline between two lines, behind which all has moved, loses nothing', async ({
  specimen,
  uuids,
}) => {
  const { start } = addOf(specimen, FIRST, uuids[12]!);
  specimen.splice(FIRST, start, start, '\n');
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [], unnamed: 0, outdated: [] });
  const found = await messagesOf(specimen);
  expect(uuids.filter((uuid) => found.has(uuid))).toEqual(uuids.slice(10));
});

test('of a file that is not there no more is lost than is', async ({ specimen, uuids }) => {
  const manager = await openManager(specimen.root);
  await manager.updateMessage(Q, uuids[11]!, { data: { n: 'kept by this' } });
  await manager.close();
  rmSync(specimen.path(FIRST));
  const { lost, unnamed } = await repair(specimen);
  const found = await messagesOf(specimen);
  const gone = uuids.slice(10).filter((uuid) => !found.has(uuid));
  expect({ count: lost.reduce((sum, { count }) => sum + count, 0), unnamed }).toEqual({
    count: gone.length,
    unnamed: 0,
  });
  expect(found.get(uuids[11]!)).toMatchObject({ data: { n: 'kept by this' } });
});

test.each([0, 40])(
  'what was in the newest file is not known once it is cut to %d bytes, and that is said',
  async (bytes) => {
    const specimen = new Specimen();
    const manager = await openManager(specimen.root);
    await manager.createQueue(Q);
    await manager.addMessage(Q, { data: 'kept' });
    await rotate(manager, specimen);
    await manager.addMessage(Q, { data: 'lost' });
    await manager.close();
    truncateSync(specimen.path(SECOND), bytes);
    const { sound, messages } = await verifyQueue(specimen.folder);
    expect({ sound, messages }).toEqual({ sound: false, messages: undefined });
    expect(await repair(specimen)).toMatchObject({ sound: true, gone: [SECOND] });
    const found = [...(await messagesOf(specimen)).values()].map(({ data }) => data);
    expect(found).toContain('kept');
    expect(found).not.toContain('lost');
    await expectWhole(specimen);
    specimen.dispose();
  },
);

test('how many messages there are is not said where the newest head is damaged', async ({
  specimen,
  uuids,
}) => {
  expect(uuids).toHaveLength(20);
  expect(await verifyQueue(specimen.folder)).toMatchObject({ sound: true, messages: 12 });
  specimen.flip(THIRD, 60);
  const report = await verifyQueue(specimen.folder);
  expect(report).toMatchObject({ sound: false });
  expect(report.messages).toBeUndefined();
  expect(await repair(specimen)).toMatchObject({ sound: true, messages: 12, lost: [], gone: [] });
});

test('a message that had ended is not told as lost because all that tells of it in its own file has rotted', async ({
  specimen,
}) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const { uuid } = await manager.addMessage(Q, { data: 'ended' });
  await manager.removeMessage(Q, uuid);
  // The newest head knows of nothing that waits in the first one.
  for (let i = 0; i < 2; i++) await rotate(manager, specimen);
  await manager.addMessage(Q, { data: 'last' });
  await manager.close();
  const records = specimen.records(FIRST).filter(({ header }) => header['u'] === uuid);
  for (const { end } of records) specimen.flip(FIRST, end - 5);
  expect(records).toHaveLength(2);
  expect(await repair(specimen)).toMatchObject({ sound: true, messages: 1, lost: [], unnamed: 0 });
  await expectWhole(specimen);
});

test('a lost message of which a damaged head tells is told once', async ({ specimen }) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const { uuid } = await manager.addMessage(Q, { data: 'x'.repeat(60_000) });
  await manager.releaseMessage(Q, (await manager.claimMessages(Q))[0]!);
  await rotate(manager, specimen);
  await manager.addMessage(Q, { data: 'last' });
  await manager.close();
  specimen.flip(FIRST, addOf(specimen, FIRST, uuid).end - 5);
  specimen.flip(SECOND, first(specimen, SECOND, 'ready').start + 40);
  expect(await repair(specimen)).toMatchObject({ sound: true, messages: 1, lost: [{ uuid }] });
});

test('what another writer has written into zeros is counted, though the numbers on both sides are of one that wrote less there', async ({
  specimen,
}) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const uuids: string[] = [];
  const add = async (by: typeof manager): Promise<void> => {
    uuids.push((await by.addMessage(Q, { data: { n: uuids.length } })).uuid);
  };
  for (let n = 0; n < 2; n++) await add(manager);
  const other = await openManager(specimen.root);
  for (let n = 0; n < 4; n++) await add(other);
  await other.close();
  await add(manager);
  await manager.close();
  const bytes = readFileSync(specimen.path(FIRST));
  const [from, to] = [addOf(specimen, FIRST, uuids[1]!), addOf(specimen, FIRST, uuids[5]!)];
  writeFileSync(specimen.path(FIRST), bytes.fill(0, from.start + 3, to.start + 45));
  const { sound, lost, unnamed } = await repair(specimen);
  expect({ sound, lost }).toEqual({ sound: true, lost: [] });
  expect([...(await messagesOf(specimen)).keys()]).toEqual([uuids[0], uuids[6]]);
  expect(unnamed).toBeGreaterThanOrEqual(5);
  expect(unnamed).toBeLessThanOrEqual(10);
});
