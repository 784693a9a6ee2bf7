/** The head that a repair has made follows from no segment: nobody takes what its predecessor leads to for what the repair has kept. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { verifyQueue } from '../../src/cache/verify.ts';
import type { Message, QueueManager } from '../../src/index.ts';
import { filledBy, specimenTest } from '../support/on-specimen.ts';
import { first, messagesOf, repair } from '../support/repairing.ts';
import { openManager, Q, rotate, type Specimen } from '../support/specimen.ts';

const [SECOND, THIRD, FOURTH] = ['00000002.journal', '00000003.journal', '00000004.journal'] as const;

/** Messages in three segments, in all states, and more that have ended; damaged, and repaired: so there is a fourth, with a message of its own. */
async function fillAndRepair(specimen: Specimen, damage: (specimen: Specimen) => void): Promise<string[]> {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  await fill(manager, 'first');
  await rotate(manager, specimen);
  await fill(manager, 'second');
  const [claimed] = await manager.claimMessages(Q, { limit: 1 });
  await manager.failMessage(Q, claimed!, new Error('once'));
  await rotate(manager, specimen);
  if (damage !== emptyThird) await fill(manager, 'third');
  await manager.close();
  damage(specimen);
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true });
  expect(specimen.segments().at(-1)).toBe(FOURTH);
  const later = await openManager(specimen.root);
  await later.addMessage(Q, { data: 'since' });
  await later.close();
  return [];
}

function damageHead(specimen: Specimen): void {
  const adds = specimen.records(THIRD).filter(({ header }) => header.op === 'add');
  // Of the one an update is left.
  specimen.flip(THIRD, adds[2]!.end - 3);
  specimen.flip(THIRD, adds.at(-1)!.end - 3);
  specimen.flip(THIRD, first(specimen, THIRD, 'touched').end - 3);
  specimen.flip(SECOND, first(specimen, SECOND, 'segment').end - 3);
}

/** All that stands behind a line of the third is moved by one byte: the head of that is sound, and what it leads to is another queue. */
function moveLines(specimen: Specimen): void {
  const whole = readFileSync(specimen.path(THIRD));
  const { start } = first(specimen, THIRD, 'add');
  const parts = [whole.subarray(0, start), Buffer.from('\n'), whole.subarray(start)];
  writeFileSync(specimen.path(THIRD), Buffer.concat(parts));
}

/** Nothing waits in the third, so that the repair deletes it. */
function emptyThird(specimen: Specimen): void {
  specimen.flip(SECOND, specimen.records(SECOND).findLast(({ header }) => header.op === 'add')!.end - 3);
}

/** Some too large to be carried; two have ended, one was changed, one is disabled, and one put off. */
async function fill(manager: QueueManager, name: string): Promise<void> {
  const uuids: string[] = [];
  for (let n = 0; n < 5; n++) {
    const { uuid } = await manager.addMessage(Q, { data: { name, n, text: 'x'.repeat(6000) } });
    uuids.push(uuid);
  }
  await manager.removeMessage(Q, uuids[0]!);
  await manager.removeMessage(Q, uuids[3]!);
  await manager.updateMessage(Q, uuids[2]!, { data: { name, n: 'changed' } });
  await manager.addMessage(Q, { data: { name, n: 'disabled' }, disabled: true });
  await manager.addMessage(Q, { data: { name, n: 'later' }, dateTimeDeferredExecution: new Date(8e12) });
}

/** What a client that only adds has been told is there, before one is refused that needs more. */
async function meet(specimen: Specimen): Promise<string | undefined> {
  const manager = await openManager(specimen.root);
  const added = await manager.addMessage(Q, { data: 'met' }).catch(() => undefined);
  await expect(manager.queueStatus(Q)).rejects.toMatchObject({
    code: 'JOURNAL_CORRUPT',
    message: expect.stringContaining('queue repair') as string,
  });
  await manager.close();
  return added?.uuid;
}

const DAMAGE = {
  'a damaged head': damageHead,
  'moved lines': moveLines,
  'damage before an empty segment': emptyThird,
};

for (const [what, damage] of Object.entries(DAMAGE)) {
  const test = filledBy((specimen) => fillAndRepair(specimen, damage));
  for (const isMet of [false, true])
    test(`a bit in whichever record of a head that was made after ${what} loses nothing in silence${isMet ? ', when a client has met it' : ''}`, async ({
      specimen,
      uuids,
    }) => {
      expect(uuids).toEqual([]);
      const before = await messagesOf(specimen);
      const head = specimen.records(FOURTH).filter(({ header }) => !('n' in header));
      for (const { start, end, header } of head) {
        const damaged = specimen.copy();
        const where = `${header.op} at ${start}`;
        damaged.flip(FOURTH, Math.floor((start + end) / 2));
        const added = isMet ? await meet(damaged) : undefined;
        expect((await verifyQueue(damaged.folder)).damage, where).toContainEqual(
          expect.objectContaining({ file: FOURTH, kind: 'head' }),
        );
        const report = await repair(damaged);
        expect(report, where).toMatchObject({ outcome: 'repaired', sound: true });
        const after = await messagesOf(damaged);
        if (added !== undefined) expect(after.delete(added), where).toBe(true);
        expectTold(before, after, report, where);
        damaged.dispose();
      }
    });
}

specimenTest.for([
  ['mended', false],
  ['kept', true],
] as const)(
  'the file that a repair has made is missed when it is gone, where the one before was %s',
  async ([fate, rotates], { specimen }) => {
    const manager = await openManager(specimen.root);
    await manager.createQueue(Q);
    for (let n = 0; n < 3; n++) await manager.addMessage(Q, { data: { n } });
    const [claim] = await manager.claimMessages(Q, { limit: 1 });
    await manager.completeMessage(Q, claim!);
    const [file] = specimen.segments();
    if (rotates) {
      await rotate(manager, specimen);
      await manager.addMessage(Q, { data: 'behind' });
    }
    await manager.close();
    specimen.flip(file!, first(specimen, file!, 'claim').end - 3);
    const { segments } = await repair(specimen);
    const before = specimen.segments().at(-2)!;
    expect(segments).toContainEqual({ file: before, fate });
    const later = await openManager(specimen.root);
    await later.addMessage(Q, { data: 'since' });
    await later.close();
    const newest = specimen.segments().at(-1)!;
    rmSync(specimen.path(newest));
    expect((await verifyQueue(specimen.folder)).damage).toContainEqual(
      expect.objectContaining({ file: newest, kind: 'missing' }),
    );
    expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', gone: [newest] });
    expect((await messagesOf(specimen)).size).toBeGreaterThan(0);
  },
);

specimenTest(
  'whoever had the queue open before the repair is refused as well, though nothing of its head is legible',
  async ({ specimen }) => {
    const manager = await openManager(specimen.root);
    await manager.createQueue(Q);
    for (let n = 0; n < 3; n++) await manager.addMessage(Q, { data: { n } });
    expect(await manager.queueStatus(Q)).toMatchObject({ counts: { ready: 3 } });
    const [file] = specimen.segments();
    specimen.flip(file!, first(specimen, file!, 'add').end - 3);
    expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', messages: 2, lost: [{ count: 1 }] });
    const bytes = readFileSync(specimen.path(SECOND));
    writeFileSync(specimen.path(SECOND), bytes.fill(0));
    await expect(manager.queueStatus(Q)).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT' });
    await manager.close();
    await expect(messagesOf(specimen)).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT' });
    const { messages } = await repair(specimen);
    expect(messages).toBe(2);
  },
);

function expectTold(
  before: Map<string, Message>,
  after: Map<string, Message>,
  { lost, unnamed, doubtful }: { lost: { count: number }[]; unnamed: number; doubtful: number },
  where: string,
): void {
  const missing = [...before.keys()].filter((uuid) => !after.has(uuid));
  const told = lost.reduce((sum, { count }) => sum + count, 0);
  expect(told, where).toBeLessThanOrEqual(missing.length);
  expect(missing.length, where).toBeLessThanOrEqual(told + unnamed);
  const back = [...after.keys()].filter((uuid) => !before.has(uuid));
  expect(back.length, where).toBeLessThanOrEqual(doubtful);
}
