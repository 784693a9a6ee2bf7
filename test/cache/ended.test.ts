/** Whether a message has ended of which the add is lost, or does not stand where records say: as it was while all was there. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { verifyQueue } from '../../src/cache/verify.ts';
import type { QueueManager } from '../../src/index.ts';
import { filledBy } from '../support/on-specimen.ts';
import { expectWhole, first, messagesOf, repair } from '../support/repairing.ts';
import { openManager, Q, rotate, Specimen, type RecordAt } from '../support/specimen.ts';

const FIRST = '00000001.journal';
const SECOND = '00000002.journal';

/** Four messages. */
const test = filledBy(async ({ root }) => {
  const manager = await openManager(root);
  await manager.createQueue(Q);
  const messages = await manager.addMessages(
    Q,
    Array.from({ length: 4 }, (_, n) => ({ data: { n } })),
  );
  await manager.close();
  return messages.map(({ uuid }) => uuid);
});

async function using(specimen: Specimen, act: (manager: QueueManager) => Promise<void>): Promise<void> {
  const manager = await openManager(specimen.root);
  await act(manager);
  await manager.close();
}

function addOf(specimen: Specimen, file: string, uuid: string): RecordAt {
  return specimen.records(file).find(({ header }) => header.op === 'add' && header['u'] === uuid)!;
}

/** One bit of what it adds. */
function rot(specimen: Specimen, file: string, uuid: string): void {
  specimen.flip(file, addOf(specimen, file, uuid).end - 3);
}

function takeOut(specimen: Specimen, uuid: string): void {
  const { start, end } = addOf(specimen, FIRST, uuid);
  const bytes = readFileSync(specimen.path(FIRST));
  writeFileSync(specimen.path(FIRST), Buffer.concat([bytes.subarray(0, start), bytes.subarray(end + 1)]));
}

/** The first `count` messages are claimed, and completed after the claims were taken away. */
async function completeTooLate(specimen: Specimen, count: number): Promise<void> {
  const slow = await openManager(specimen.root);
  const claims = await slow.claimMessages(Q, { limit: count });
  await using(specimen, async (manager) => {
    for (const { uuid } of claims) {
      await manager.cancelMessage(Q, uuid);
      await manager.retryMessages(Q, [uuid]);
    }
  });
  for (const claim of claims) expect(await slow.completeMessage(Q, claim)).toBe(false);
  await slow.close();
  expect(specimen.records(FIRST).filter(({ header }) => header.op === 'done')).toHaveLength(count);
}

test('one that was completed too late is told as lost when its add rots', async ({ specimen, uuids }) => {
  await completeTooLate(specimen, 2);
  rot(specimen, FIRST, uuids[1]!);
  expect(await repair(specimen)).toMatchObject({ sound: true, messages: 3, lost: [{ uuid: uuids[1] }] });
  await expectWhole(specimen);
});

test('one that was completed in time is not', async ({ specimen, uuids }) => {
  await using(specimen, async (manager) => {
    for (const claim of await manager.claimMessages(Q, { limit: 2 })) await manager.releaseMessage(Q, claim);
    for (const claim of await manager.claimMessages(Q, { limit: 2 })) await manager.completeMessage(Q, claim);
  });
  rot(specimen, FIRST, uuids[1]!);
  expect(await repair(specimen)).toMatchObject({ sound: true, messages: 2, lost: [], unnamed: 0 });
});

test.each(['at once', 'in another segment'])(
  'nor is one of which nothing tells but that all were purged %s',
  async (when) => {
    const specimen = new Specimen();
    await using(specimen, async (manager) => {
      await manager.createQueue(Q);
      const { uuid } = await manager.addMessage(Q, { data: 'x'.repeat(4000) });
      if (when !== 'at once') await rotate(manager, specimen);
      await manager.purgeQueue(Q);
      await manager.addMessage(Q, { data: 'last' });
      rot(specimen, FIRST, uuid);
    });
    expect(await repair(specimen)).toMatchObject({ sound: true, messages: 1, lost: [] });
    specimen.dispose();
  },
);

test('nor one that had ended before the last head was made, of which somebody speaks too late', async ({
  specimen,
  uuids,
}) => {
  const slow = await openManager(specimen.root);
  const claims = await slow.claimMessages(Q, { limit: 4 });
  await using(specimen, async (manager) => {
    for (const uuid of uuids) await manager.removeMessage(Q, uuid);
    for (let i = 0; i < 3; i++) await rotate(manager, specimen);
  });
  expect(specimen.segments()).not.toContain(FIRST);
  for (const claim of claims) expect(await slow.releaseMessage(Q, claim)).toBe(false);
  const { uuid } = await slow.addMessage(Q, { data: 'last' });
  await slow.close();
  const newest = specimen.segments().at(-1)!;
  rot(specimen, newest, uuid);
  const { lost } = await repair(specimen);
  expect(lost).toMatchObject([{ uuid }]);
  expect(lost).toHaveLength(1);
});

test('a purge has ended one that was waiting, and not one that was claimed', async ({ specimen, uuids }) => {
  await using(specimen, async (manager) => {
    const [, released] = await manager.claimMessages(Q, { limit: 2 });
    await manager.releaseMessage(Q, released!);
    await manager.purgeQueue(Q);
    await manager.addMessage(Q, { data: 'last' });
  });
  rot(specimen, FIRST, uuids[0]!);
  rot(specimen, FIRST, uuids[1]!);
  const { messages, lost } = await repair(specimen);
  expect({ messages, lost }).toMatchObject({ messages: 1, lost: [{ uuid: uuids[0] }] });
  expect(lost).toHaveLength(1);
});

for (const where of ['the newest', 'an older'] as const) {
  test(`one that has moved in ${where} segment, and was completed too late, is there`, async ({
    specimen,
    uuids,
  }) => {
    await completeTooLate(specimen, 2);
    if (where === 'an older') await using(specimen, (manager) => rotate(manager, specimen));
    takeOut(specimen, uuids[0]!);
    expect(await repair(specimen)).toMatchObject({ sound: true, messages: 3 });
    expect([...(await messagesOf(specimen)).keys()]).toEqual(uuids.slice(1));
    await expectWhole(specimen);
  });

  test(`a purge has not ended those that have moved in ${where} segment and were claimed`, async ({
    specimen,
    uuids,
  }) => {
    await using(specimen, async (manager) => {
      if (where === 'an older') await rotate(manager, specimen);
      const claims = await manager.claimMessages(Q, { limit: 4 });
      await manager.purgeQueue(Q);
      await manager.completeMessage(Q, claims[3]!);
    });
    takeOut(specimen, uuids[1]!);
    expect(await repair(specimen)).toMatchObject({ sound: true, lost: [], unnamed: 1 });
    expect([...(await messagesOf(specimen)).keys()]).toEqual([uuids[0], uuids[2]]);
    await expectWhole(specimen);
  });
}

test('one that has moved is cancelled, disabled or claimed, as records say that name it by its uuid', async ({
  specimen,
  uuids,
}) => {
  await using(specimen, async (manager) => {
    await manager.claimMessages(Q, { limit: 2 });
    await manager.updateMessage(Q, uuids[1]!, { data: 'claimed' });
    await manager.cancelMessage(Q, uuids[2]!);
    await manager.updateMessage(Q, uuids[3]!, { data: 'disabled', disabled: true });
  });
  takeOut(specimen, uuids[0]!);
  const { counts } = await repair(specimen);
  expect(counts).toMatchObject({ ready: 0, claimed: 1, failed: 1, disabled: 1 });
  const found = await messagesOf(specimen);
  expect(found.get(uuids[1]!)).toMatchObject({ state: 'claimed', data: 'claimed' });
  expect(found.get(uuids[2]!)).toMatchObject({ state: 'failed', errors: [{ code: 'CANCELLED' }] });
  expect(found.get(uuids[3]!)).toMatchObject({ disabled: true, data: 'disabled' });
  await expectWhole(specimen);
});

test('one that was there when its queue was destroyed is not told as lost', async ({ specimen, uuids }) => {
  await using(specimen, async (manager) => {
    await manager.destroyQueue(Q);
    await manager.createQueue(Q);
    await manager.addMessage(Q, { data: 'of the next queue' });
  });
  expect(specimen.segments()).toContain(FIRST);
  rot(specimen, FIRST, uuids[1]!);
  specimen.flip(SECOND, first(specimen, SECOND, 'head').start + 45);
  expect(await repair(specimen)).toMatchObject({ sound: true, messages: 1, lost: [] });
});

for (const since of ['nothing has happened to it', 'it has failed'] as const) {
  test(`one that came behind a seal, and was written again, is there when that rots and ${since}`, async ({
    specimen,
    uuids,
  }) => {
    const other = await openManager(specimen.root, { durability: 'always' });
    await using(specimen, (manager) => rotate(manager, specimen));
    const [message] = await other.addMessages(Q, [{ data: 'late', disabled: true }]);
    await other.close();
    const { uuid } = message!;
    const { start, end } = addOf(specimen, SECOND, uuid);
    appendFileSync(specimen.path(FIRST), readFileSync(specimen.path(SECOND)).subarray(start - 1, end + 1));
    expect(await verifyQueue(specimen.folder)).toMatchObject({ sound: true });
    const isFailed = since === 'it has failed';
    if (isFailed)
      await using(specimen, async (manager) => {
        await manager.cancelMessage(Q, uuid);
        await rotate(manager, specimen);
      });
    rot(specimen, SECOND, uuid);
    expect(await repair(specimen)).toMatchObject({
      sound: true,
      messages: uuids.length + 1,
      lost: [],
      unnamed: 0,
      outdated: [],
    });
    expect((await messagesOf(specimen)).get(uuid)).toMatchObject({
      data: 'late',
      disabled: true,
      state: isFailed ? 'failed' : 'ready',
    });
    await expectWhole(specimen);
  });
}

for (const how of ['claimed at a purge', 'completed too late'] as const) {
  test(`one that was ${how} is there as its update says, though others have gone on without it`, async ({
    specimen,
    uuids,
  }) => {
    await using(specimen, async (manager) => {
      await manager.updateMessage(Q, uuids[1]!, { data: 'changed' });
    });
    if (how === 'completed too late') await completeTooLate(specimen, 2);
    else
      await using(specimen, async (manager) => {
        await manager.claimMessages(Q, { limit: 2 });
        await manager.purgeQueue(Q);
      });
    rot(specimen, FIRST, uuids[1]!);
    await using(specimen, async (manager) => {
      await manager.queueStatus(Q);
    });
    expect(specimen.segments()).toContain(SECOND);
    await repair(specimen);
    expect((await messagesOf(specimen)).get(uuids[1]!)).toMatchObject({ data: 'changed' });
    await expectWhole(specimen);
  });
}
