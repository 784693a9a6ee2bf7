/** Bytes that are gone from the midst of a segment, so that what stands behind them has moved up, and is named wrongly. */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { verifyQueue } from '../../src/cache/verify.ts';
import { specimenTest as test } from '../support/on-specimen.ts';
import { expectWhole, messagesOf, repair } from '../support/repairing.ts';
import { openManager, Q, rotate, type Specimen } from '../support/specimen.ts';

/** A first message that is long, and some more. */
function someMessages(count: number): { data: { n: number; text: string } }[] {
  return Array.from({ length: count }, (_, n) => ({ data: { n, text: 'x'.repeat(n === 0 ? 5000 : 100) } }));
}

/** Takes `bytes` out of what the first message of the segment holds. */
function takeOut(specimen: Specimen, file: string, bytes: number): void {
  const whole = readFileSync(specimen.path(file));
  const from = whole.indexOf('x'.repeat(200));
  writeFileSync(specimen.path(file), Buffer.concat([whole.subarray(0, from), whole.subarray(from + bytes)]));
}

async function numbersIn(specimen: Specimen): Promise<number[]> {
  return [...(await messagesOf(specimen)).values()].map(({ data }) => (data as { n: number }).n);
}

test('what waits is not taken for what has ended because it stands where that stood', async ({
  specimen,
}) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  await manager.addMessages(Q, someMessages(12));
  const claims = await manager.claimMessages(Q, { limit: 5 });
  for (const claim of claims.slice(2)) await manager.completeMessage(Q, claim);
  for (const claim of claims.slice(0, 2)) await manager.releaseMessage(Q, claim);
  await rotate(manager, specimen);
  await manager.close();
  // Three records' worth: the sixth message moves to the place of the third, which has been completed.
  const adds = specimen.records('00000001.journal').filter(({ header }) => header.op === 'add');
  takeOut(specimen, '00000001.journal', adds[5]!.start - adds[2]!.start);
  const { damage } = await verifyQueue(specimen.folder);
  expect(damage.filter(({ kind }) => kind === 'missing')).toContainEqual(
    expect.objectContaining({
      detail: expect.stringContaining('do not stand where they were written') as string,
    }),
  );
  const report = await repair(specimen);
  expect(report).toMatchObject({ outcome: 'repaired', sound: true });
  // Not the fifth either, which has moved to the place of the second, of which the head tells that it waits.
  expect(await numbersIn(specimen)).toEqual([1, 5, 6, 7, 8, 9, 10, 11]);
  await expectWhole(specimen);
});

test('a message holds what its last update says, and what has ended by its name is not back', async ({
  specimen,
}) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const added = await manager.addMessages(Q, someMessages(6));
  await manager.updateMessage(Q, added[4]!.uuid, { data: { n: 44 } });
  await manager.removeMessage(Q, added[3]!.uuid);
  await manager.getMessage(Q);
  const second = await manager.getMessage(Q);
  expect(second).toMatchObject({ data: { n: 1 } });
  await manager.close();
  takeOut(specimen, '00000001.journal', 300);
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true, lost: [] });
  expect(await numbersIn(specimen)).toEqual([2, 44, 5]);
  await expectWhole(specimen);
});

test('a line that looks torn may be all that is left of what is missing', async ({ specimen }) => {
  const file = '00000001.journal';
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const [first, ...others] = someMessages(6);
  // By a writer that writes nothing else: no number tells that a record of its own is missing.
  const other = await openManager(specimen.root);
  await other.addMessage(Q, first!);
  await other.close();
  const added = await manager.addMessages(Q, others);
  await manager.updateMessage(Q, added[3]!.uuid, { data: { n: 44 } });
  await manager.close();
  const { end } = specimen.records(file).find(({ header }) => header.op === 'add')!;
  takeOut(specimen, file, end - readFileSync(specimen.path(file)).indexOf('x'.repeat(200)));
  const { sound, damage } = await verifyQueue(specimen.folder);
  expect({ sound, damage }).toMatchObject({ sound: false, damage: [{ file, kind: 'missing' }] });
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true });
  expect(await numbersIn(specimen)).toEqual([1, 2, 3, 44, 5]);
  await expectWhole(specimen);
});

test('a message that was changed before the segment was sealed is there once, as it was changed', async ({
  specimen,
}) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const added = await manager.addMessages(Q, someMessages(6));
  await manager.updateMessage(Q, added[4]!.uuid, { data: { n: 44 } });
  await rotate(manager, specimen);
  await manager.close();
  takeOut(specimen, '00000001.journal', 300);
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true });
  const found = await messagesOf(specimen);
  expect(found.get(added[4]!.uuid)).toMatchObject({ data: { n: 44 }, state: 'ready' });
  expect(await numbersIn(specimen)).toEqual([1, 2, 3, 44, 5]);
  await expectWhole(specimen);
});
