/** Lines of which only a part is left, though the numbers of their writers show that they were whole: no death has cut them off. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { Batch, encodeHeader } from '../../src/cache/record.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { filledBy } from '../support/on-specimen.ts';
import { expectWhole, first, messagesOf, repair } from '../support/repairing.ts';
import { openManager, Q, Specimen, type RecordAt } from '../support/specimen.ts';

const FILE = '00000001.journal';

/** Three messages. */
const test = filledBy(async ({ root }) => {
  const manager = await openManager(root);
  await manager.createQueue(Q);
  const uuids: string[] = [];
  for (let n = 0; n < 3; n++) uuids.push((await manager.addMessage(Q, { data: { n } })).uuid);
  await manager.close();
  return uuids;
});

/** Takes the end of a line away, or puts a newline in before it. */
function cut(specimen: Specimen, { end }: RecordAt, how: 'away' | 'off' = 'away'): void {
  const bytes = readFileSync(specimen.path(FILE));
  const rest =
    how === 'away' ? bytes.subarray(end) : Buffer.concat([Buffer.from('\n'), bytes.subarray(end - 3)]);
  writeFileSync(specimen.path(FILE), Buffer.concat([bytes.subarray(0, end - 3), rest]));
}

for (const how of ['away', 'off'] as const) {
  for (const then of ['cancelled', 'cancelled and retried'] as const) {
    test(`a message that was ${then}, and completed too late, is told as lost when the end of its add is cut ${how}`, async ({
      specimen,
      uuids: [uuid],
    }) => {
      const manager = await openManager(specimen.root);
      const [claim] = await manager.claimMessages(Q, { limit: 1 });
      await manager.cancelMessage(Q, uuid!);
      if (then !== 'cancelled') await manager.retryMessages(Q, [uuid!]);
      expect(await manager.completeMessage(Q, claim!)).toBe(false);
      await manager.close();
      cut(specimen, first(specimen, FILE, 'add'), how);
      expect((await verifyQueue(specimen.folder)).damage).toContainEqual(
        expect.objectContaining({ kind: 'rot', uuid }),
      );
      const { sound, lost, messages } = await repair(specimen);
      expect({ sound, lost, messages }).toMatchObject({ sound: true, lost: [{ uuid }], messages: 2 });
      await expectWhole(specimen);
    });
  }

  test(`one that was claimed at a purge is there as its update says when the end of its add is cut ${how}`, async ({
    specimen,
    uuids: [uuid],
  }) => {
    const manager = await openManager(specimen.root);
    await manager.claimMessages(Q, { limit: 1 });
    await manager.updateMessage(Q, uuid!, { data: 'changed' });
    await manager.purgeQueue(Q);
    await manager.close();
    cut(specimen, first(specimen, FILE, 'add'), how);
    expect(await repair(specimen)).toMatchObject({ sound: true, lost: [], unnamed: 0 });
    expect((await messagesOf(specimen)).get(uuid!)).toMatchObject({ data: 'changed', state: 'claimed' });
    await expectWhole(specimen);
  });
}

test('a message stands as failed when the end of its last update is cut away', async ({
  specimen,
  uuids: [uuid],
}) => {
  const manager = await openManager(specimen.root);
  await manager.updateMessage(Q, uuid!, { data: 'changed' });
  await manager.addMessage(Q, { data: 'last' });
  await manager.close();
  cut(specimen, first(specimen, FILE, 'update'));
  expect((await verifyQueue(specimen.folder)).damage).toMatchObject([{ kind: 'rot', uuid }]);
  const { start } = first(specimen, FILE, 'add');
  expect(await repair(specimen)).toMatchObject({ sound: true, outdated: [[1, start]], unnamed: 0, lost: [] });
  expect((await messagesOf(specimen)).get(uuid!)).toMatchObject({ data: { n: 0 }, state: 'failed' });
  await expectWhole(specimen);
});

test.each(['cut', 'gone'])(
  'messages that were completed after their claim, which is %s, may have ended',
  async (how) => {
    const specimen = new Specimen();
    const manager = await openManager(specimen.root);
    await manager.createQueue(Q);
    await manager.addMessages(
      Q,
      Array.from({ length: 5 }, (_, n) => ({ data: { n } })),
    );
    for (const claim of await manager.claimMessages(Q, { limit: 3 })) await manager.completeMessage(Q, claim);
    await manager.close();
    const claim = first(specimen, FILE, 'claim');
    if (how === 'cut') cut(specimen, claim);
    else {
      const bytes = readFileSync(specimen.path(FILE));
      writeFileSync(
        specimen.path(FILE),
        Buffer.concat([bytes.subarray(0, claim.start), bytes.subarray(claim.end + 1)]),
      );
    }
    expect(await repair(specimen)).toMatchObject({ sound: true, messages: 5, doubtful: 3, unnamed: 1 });
    specimen.dispose();
  },
);

test('one that was cancelled has not been completed by who had claimed it before, though both its add and the claim rot', async ({
  specimen,
  uuids: [uuid],
}) => {
  const manager = await openManager(specimen.root);
  const [claim] = await manager.claimMessages(Q, { limit: 1 });
  await manager.cancelMessage(Q, uuid!);
  expect(await manager.completeMessage(Q, claim!)).toBe(false);
  await manager.close();
  for (const op of ['add', 'claim']) specimen.flip(FILE, first(specimen, FILE, op).start + 3);
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [{ uuid }], messages: 2 });
});

test('a line of which only the beginning was on the device when a flush failed is no damage', async ({
  specimen,
  uuids,
}) => {
  const last = (each: RecordAt): boolean => each.header['u'] === uuids[2];
  const { start, end, header } = specimen.records(FILE).find(last)!;
  const bytes = readFileSync(specimen.path(FILE)).subarray(0, end - 8);
  writeFileSync(specimen.path(FILE), Buffer.concat([bytes, Buffer.alloc(4)]));
  const { w, n, t } = header as unknown as { w: string; n: number; t: number };
  const batch = new Batch();
  batch.add(encodeHeader({ op: 'seal', ctl: 1, why: 'sync', w, n: n + 1, t, s: start }));
  appendFileSync(specimen.path(FILE), batch.buffer.subarray(0, batch.length));
  const { sound, damage } = await verifyQueue(specimen.folder);
  expect(sound).toBe(true);
  expect(new Set(damage.map(({ kind }) => kind))).toEqual(new Set(['torn']));
});
