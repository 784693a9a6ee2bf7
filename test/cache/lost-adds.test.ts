/** Messages whose own records are damaged, and what other records say to have become of them and their neighbours. */
import { appendFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { Batch, encodeHeader } from '../../src/cache/record.ts';
import { planRepair } from '../../src/cache/repair.ts';
import { all } from '../support/examine.ts';
import { LATER } from '../support/fixed.ts';
import { specimenTest as test } from '../support/on-specimen.ts';
import { expectWhole, messagesOf, OPTIONS, repair } from '../support/repairing.ts';
import { openManager, Q, rotate, type RecordAt, type Specimen } from '../support/specimen.ts';

const FILE = '00000001.journal';

function addOf(specimen: Specimen, uuid: string): RecordAt {
  return specimen.records(FILE).find(({ header }) => header.op === 'add' && header['u'] === uuid)!;
}

/** A message that was put off, and one that was disabled; then both were given other contents. Returns their uuids. */
async function fill(specimen: Specimen): Promise<string[]> {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const added = await manager.addMessages(Q, [
    { data: 1, dateTimeDeferredExecution: new Date(LATER), alias: 'one', retries: 2 },
    { data: 2, disabled: true },
    { data: 3 },
  ]);
  const uuids = added.slice(0, 2).map(({ uuid }) => uuid);
  for (const uuid of uuids) await manager.updateMessage(Q, uuid, { data: 'changed' });
  await manager.close();
  return uuids;
}

describe.each([{ met: false }, { met: true }])('where others have met it: $met', ({ met }) => {
  test('a message of which an update is left is put off or disabled as it was', async ({ specimen }) => {
    const uuids = await fill(specimen);
    for (const uuid of uuids) specimen.flip(FILE, addOf(specimen, uuid).start + 4);
    if (met) {
      const manager = await openManager(specimen.root);
      await all(manager);
      await rotate(manager, specimen);
      await manager.close();
    }
    expect(await repair(specimen)).toMatchObject({ sound: true, messages: 3, lost: [], doubtful: 0 });
    const found = await messagesOf(specimen);
    expect(uuids.map((uuid) => found.get(uuid))).toMatchObject([
      { data: 'changed', state: 'deferred', dateTimeDeferredExecution: new Date(LATER) },
      { data: 'changed', disabled: true },
    ]);
    await expectWhole(specimen);
  });
});

test('where it is not legible whether it was, that is told, whichever bit has changed', async ({
  specimen,
}) => {
  const uuids = await fill(specimen);
  for (const uuid of uuids) {
    const { start, end } = addOf(specimen, uuid);
    for (let at = start; at < end; at++) {
      const mask = 1 << (at % 7);
      specimen.flip(FILE, at, mask);
      const { counts, doubtful, unnamed } = await planRepair(specimen.folder, OPTIONS);
      const isRight = counts['deferred'] === 1 && counts['disabled'] === 1;
      expect({ at: at - start, isTold: isRight || doubtful === 1, unnamed }).toMatchObject({ isTold: true });
      specimen.flip(FILE, at, mask);
    }
  }
});

test('a message that was claimed since is known to have been enabled and due', async ({ specimen }) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const [lost] = await manager.addMessages(Q, [{ data: 1 }, { data: 2 }]);
  const [claim] = await manager.claimMessages(Q, { limit: 1, lease: 60_000 });
  await manager.releaseMessage(Q, claim!);
  await manager.updateMessage(Q, lost!.uuid, { data: 'changed' });
  await manager.close();
  const { start } = addOf(specimen, lost!.uuid);
  // Its uuid is not legible, nor what stands behind it.
  for (let at = start + 60; at < start + 110; at += 5) specimen.flip(FILE, at, 0x80);
  expect(await repair(specimen)).toMatchObject({ counts: { ready: 2 }, lost: [], doubtful: 0 });
  await expectWhole(specimen);
});

test('what a lost message was granted nobody else is', async ({ specimen }) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const [lost, other] = await manager.addMessages(Q, [{ data: 1 }, { data: 2 }, { data: 3 }]);
  const places = [lost, other].map((each) => addOf(specimen, each!.uuid).start);
  // One of two, as somebody writes it who expects that others claim in the same moment.
  const batch = new Batch();
  const rival = { w: 'ab'.repeat(8), n: 1, t: Date.now() };
  const c: [number, ...number[]][] = [[1, ...places]];
  batch.add(encodeHeader({ op: 'claim', k: '1', m: 0, ms: 600_000, max: 1, c, ...rival }));
  appendFileSync(specimen.path(FILE), batch.buffer.subarray(0, batch.length));
  const [claim] = await manager.claimMessages(Q, { limit: 1, lease: 60_000 });
  expect(claim).toMatchObject({ uuid: other!.uuid });
  await manager.failMessage(Q, claim!, { name: 'Error', message: 'never' }, { final: true });
  await manager.close();
  specimen.flip(FILE, places[0]! + 4);
  expect(await repair(specimen)).toMatchObject({ lost: [{ uuid: lost!.uuid }], messages: 2, doubtful: 0 });
  expect((await messagesOf(specimen)).get(other!.uuid)).toMatchObject({ state: 'failed', attempts: 1 });
  await expectWhole(specimen);
});
