/** A purge takes what nobody has claimed. Where a claim may have rotted, that is not known, and it takes no more than is. */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test as base } from 'vitest';
import type { QueueManager } from '../../src/index.ts';
import { all } from '../support/examine.ts';
import { expectWhole, first, messagesOf, repair } from '../support/repairing.ts';
import { openManager, Q, rotate, Specimen, type RecordAt } from '../support/specimen.ts';

const SEGMENT = '00000001.journal';
const SECOND = '00000002.journal';
const LEASE = 600_000;

const test = base.extend<{ specimen: Specimen; manager: QueueManager }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads from the pattern which fixtures this one needs
  specimen: async ({}, use) => {
    const specimen = new Specimen();
    await use(specimen);
    specimen.dispose();
  },
  manager: async ({ specimen }, use) => {
    const manager = await openManager(specimen.root);
    await manager.createQueue(Q);
    await use(manager);
    await manager.close();
  },
});

async function add(manager: QueueManager, ...data: unknown[]): Promise<string[]> {
  const added = await manager.addMessages(
    Q,
    data.map((each) => ({ data: each as string })),
  );
  return added.map(({ uuid }) => uuid);
}

/** One bit of the first record of its kind. */
function rot(specimen: Specimen, op: string): void {
  specimen.flip(SEGMENT, first(specimen, SEGMENT, op).start + 70);
}

/** A whole line, with its newline. */
function takeOut(specimen: Specimen, { start, end }: RecordAt, file = SEGMENT): void {
  const bytes = readFileSync(specimen.path(file));
  writeFileSync(specimen.path(file), Buffer.concat([bytes.subarray(0, start), bytes.subarray(end + 1)]));
}

/** Who looks for the first time. */
async function seenAnew(specimen: Specimen): Promise<unknown[]> {
  return [...(await messagesOf(specimen)).values()].map(({ data }) => data);
}

test('spares messages whose claim has rotted, and takes those that came later', async ({
  specimen,
  manager,
}) => {
  await add(manager, 0, 1, 2, 3, 4, 'purged');
  await manager.claimMessages(Q, { limit: 5, lease: LEASE });
  await add(manager, 'later');
  expect(await manager.purgeQueue(Q)).toBe(2);
  await add(manager, 'new');
  rot(specimen, 'claim');
  expect(await seenAnew(specimen)).toEqual([0, 1, 2, 3, 4, 'purged', 'new']);
  // Who had read the claim goes on with what those have made of it who had not.
  expect((await all(manager)).map(({ data }) => data)).toEqual([0, 1, 2, 3, 4, 'purged', 'new']);
});

test.for([false, true])(
  'a repair keeps messages whose claim has rotted before a purge, and says that they may have ended; others have met it: %s',
  async (isMet, { specimen, manager }) => {
    await add(manager, 0, 1, 'purged');
    await manager.claimMessages(Q, { limit: 2, lease: LEASE });
    await manager.purgeQueue(Q);
    await add(manager, 'new');
    await manager.close();
    rot(specimen, 'claim');
    if (isMet) expect(await seenAnew(specimen)).toHaveLength(4);
    expect(specimen.segments()).toHaveLength(isMet ? 2 : 1);
    expect(await repair(specimen)).toMatchObject({ sound: true, lost: [], doubtful: 3 });
    expect(await seenAnew(specimen)).toEqual([0, 1, 'purged', 'new']);
    await expectWhole(specimen);
  },
);

test.for([false, true])(
  'a repair says of messages that a purge spared behind a damaged head that they may have ended; others have met it: %s',
  async (isMet, { specimen, manager }) => {
    await add(manager, 0, 1, 'purged');
    await rotate(manager, specimen);
    await manager.claimMessages(Q, { limit: 2, lease: LEASE });
    await manager.purgeQueue(Q);
    await add(manager, 'new');
    await manager.close();
    // Without its last record, a head may have been longer.
    specimen.flip(SECOND, first(specimen, SECOND, 'ready').start + 30);
    if (isMet) expect(await seenAnew(specimen)).toEqual([0, 1, 'purged', 'new']);
    expect(specimen.segments()).toHaveLength(isMet ? 3 : 2);
    // The claims on the others stand behind it.
    expect(await repair(specimen)).toMatchObject({ sound: true, lost: [], doubtful: 1 });
    expect(await seenAnew(specimen)).toEqual([0, 1, 'purged', 'new']);
    await expectWhole(specimen);
  },
);

test('a repair keeps messages whose claim is gone without a trace before a purge', async ({
  specimen,
  manager,
}) => {
  await add(manager, 0, 1, 'purged');
  await manager.claimMessages(Q, { limit: 2, lease: LEASE });
  await manager.purgeQueue(Q);
  await add(manager, 'new');
  await manager.close();
  takeOut(specimen, first(specimen, SEGMENT, 'claim'));
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [], unnamed: 1, doubtful: 3 });
  expect(await seenAnew(specimen)).toEqual([0, 1, 'purged', 'new']);
  await expectWhole(specimen);
});

test('a repair takes no add for a duplicate where what freed its alias may be gone', async ({
  specimen,
  manager,
}) => {
  await manager.destroyQueue(Q);
  await manager.createQueue(Q, { uniqueAlias: true });
  const newest = specimen.segments().at(-1)!;
  await manager.addMessage(Q, { data: 'ended', alias: 'a' });
  const [claim] = await manager.claimMessages(Q, { limit: 1, lease: LEASE });
  await manager.completeMessage(Q, claim!);
  await manager.addMessage(Q, { data: 'there', alias: 'a' });
  await manager.close();
  takeOut(specimen, first(specimen, newest, 'done'), newest);
  await repair(specimen);
  expect(await seenAnew(specimen)).toContain('there');
});

test('spares a message behind the hole whose claim has no effect because of it', async ({
  specimen,
  manager,
}) => {
  await manager.pauseQueue(Q);
  await manager.resumeQueue(Q);
  await add(manager, 'held', 'purged');
  await manager.claimMessages(Q, { limit: 1, lease: LEASE });
  expect(await manager.purgeQueue(Q)).toBe(1);
  rot(specimen, 'resume');
  // To a reader it is still paused, so that the claim was none.
  expect(await seenAnew(specimen)).toContain('held');
});

test('a newline that has rotted hides no claim', async ({ specimen, manager }) => {
  await add(manager, 0, 1);
  await manager.claimMessages(Q, { limit: 1, lease: LEASE });
  await manager.purgeQueue(Q);
  specimen.flip(SEGMENT, first(specimen, SEGMENT, 'claim').end, 0x20);
  expect(await seenAnew(specimen)).toEqual([0]);
});

test('a claimed message whose own record has rotted before a purge is told lost', async ({
  specimen,
  manager,
}) => {
  const [uuid] = await add(manager, 'held', 'purged');
  await manager.claimMessages(Q, { limit: 1, lease: LEASE });
  await manager.purgeQueue(Q);
  await manager.close();
  specimen.flip(SEGMENT, first(specimen, SEGMENT, 'add').end - 2);
  const { lost } = await repair(specimen);
  expect(lost.map((each) => each.uuid)).toEqual([uuid]);
});

test('what has happened to a message that was spared says nothing of its end', async ({
  specimen,
  manager,
}) => {
  const [uuid] = await add(manager, 'held');
  await manager.claimMessages(Q, { limit: 1, lease: LEASE });
  await manager.purgeQueue(Q);
  rot(specimen, 'claim');
  const other = await openManager(specimen.root);
  const inspected = await other.inspectMessage(Q, { uuid: uuid! });
  expect(inspected?.history.map(({ event }) => event)).toEqual(['added']);
  await other.close();
});

test('a repair spares messages of whose claim nothing but newlines is left', async ({
  specimen,
  manager,
}) => {
  await add(manager, 0, 1);
  await manager.claimMessages(Q, { limit: 2, lease: LEASE });
  await manager.purgeQueue(Q);
  await add(manager, 'new');
  await manager.close();
  const { start, end } = first(specimen, SEGMENT, 'claim');
  writeFileSync(specimen.path(SEGMENT), readFileSync(specimen.path(SEGMENT)).fill(10, start, end));
  const report = await repair(specimen);
  expect(report).toMatchObject({ messages: 3, lost: [] });
  expect(report.doubtful).toBeGreaterThanOrEqual(2);
});
