/**
 * Bytes that are gone from the midst of a segment, or were put into it, while somebody knows its messages by what it was: who reads it
 * anew takes ended messages for waiting ones. They must not stand in the way of what the other has been told is in the queue.
 */
import { readFileSync, rmSync, truncateSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { asciiJson, Batch } from '../../src/cache/record.ts';
import type { QueueOptions, QueueStatus } from '../../src/index.ts';
import { specimenTest as test } from '../support/on-specimen.ts';
import { messagesOf, repair } from '../support/repairing.ts';
import { openManager, Q, rotateBare, type RecordAt, type Specimen } from '../support/specimen.ts';

const FIRST = '00000001.journal';
/** Records of one length, too large to be carried. */
const DATA = 'x'.repeat(4000);

async function status(specimen: Specimen): Promise<QueueStatus> {
  const manager = await openManager(specimen.root);
  try {
    return await manager.queueStatus(Q);
  } finally {
    await manager.close();
  }
}

const LIMITS: [name: string, options: QueueOptions][] = [
  ['unique aliases', { uniqueAlias: true }],
  ['a limit of bytes', { maxBytes: 37_000 }],
  ['a limit of messages, some of which are put off', { maxMessages: 9 }],
];
const DAMAGES: [name: string, damage: (specimen: Specimen, ended: RecordAt) => void][] = [
  ['a line is gone from', (specimen, { start, end }) => specimen.splice(FIRST, start, end + 1)],
  ['a newline was put into', (specimen, { start }) => specimen.splice(FIRST, start + 30, start + 30, '\n')],
];

describe.each(LIMITS)('a queue with %s', (_, options) => {
  test.for(DAMAGES)(
    'accepts all that others accept when %s an older segment',
    async ([, damage], { specimen }) => {
      const manager = await openManager(specimen.root);
      await manager.createQueue(Q, options);
      const messages = await manager.addMessages(
        Q,
        Array.from({ length: 9 }, (_each, n) => ({ data: DATA, alias: `alias-${n}`, disabled: n === 0 })),
      );
      // Every second one has ended.
      const ended = messages.filter((_each, n) => n % 2 === 1);
      await rotateBare(specimen);
      for (const { uuid } of ended) await manager.removeMessage(Q, uuid);
      await rotateBare(specimen);
      const [line] = specimen.records(FIRST).filter(({ header }) => header['u'] === ended[0]!.uuid);
      damage(specimen, line!);

      const fresh = await manager.addMessages(
        Q,
        ended.map(({ alias }) => ({ data: DATA, alias })),
      );
      await manager.close();
      // Whose head is all that is known of them from then on.
      await rotateBare(specimen);
      const { damaged } = await status(specimen);
      expect(damaged).toBeGreaterThan(0);
      for (const { uuid } of fresh) expect([...(await messagesOf(specimen)).keys()]).toContain(uuid);

      const report = await repair(specimen);
      expect(report).toMatchObject({ outcome: 'repaired', sound: true });
      const found = await messagesOf(specimen);
      for (const { uuid } of fresh) expect([...found.keys()]).toContain(uuid);
    },
  );
});

test('in the segment in use, who reads it anew notices that records name messages where none stand', async ({
  specimen,
}) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q, { uniqueAlias: true });
  const { uuid } = await manager.addMessage(Q, { data: 'one', alias: 'same' });
  await manager.removeMessage(Q, uuid);
  const [line] = specimen.records(FIRST).filter(({ header }) => header.op === 'add');
  specimen.splice(FIRST, line!.start, line!.start, '\n');
  const again = await manager.addMessage(Q, { data: 'two', alias: 'same' });
  await manager.close();
  await rotateBare(specimen);
  expect((await status(specimen)).damaged).toBe(1);
  // The one that has been removed may not have been, for all who read this.
  expect([...(await messagesOf(specimen)).keys()]).toEqual([uuid, again.uuid]);
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true });
  expect([...(await messagesOf(specimen)).keys()]).toEqual([again.uuid]);
});

test('and that more of it was on the device than stands there', async ({ specimen }) => {
  const manager = await openManager(specimen.root, { durability: 'always' });
  await manager.createQueue(Q);
  for (const data of ['one', 'two', 'three']) await manager.addMessage(Q, { data });
  await manager.close();
  const [line] = specimen.records(FIRST).filter(({ header }) => header.op === 'add');
  specimen.splice(FIRST, line!.start, line!.end + 1);
  const reader = await openManager(specimen.root);
  expect(await reader.queueStatus(Q)).toMatchObject({ damaged: 1, messagesToProcess: 2 });
  // Told with the next record: a restart of the machine may explain it.
  await reader.addMessage(Q, { data: 'four' });
  expect(reader.getLastError()).toMatchObject({
    code: 'JOURNAL_CORRUPT',
    message: expect.stringContaining('do not stand where they were written') as string,
  });
  await reader.close();
});

test('and so of itself: an add that says so is not refused', async ({ specimen }) => {
  const manager = await openManager(specimen.root, { durability: 'always' });
  await manager.createQueue(Q, { uniqueAlias: true });
  const { uuid } = await manager.addMessage(Q, { data: 'one', alias: 'same' });
  await manager.removeMessage(Q, uuid);
  const again = await manager.addMessage(Q, { data: 'two', alias: 'same' });
  await manager.close();
  const line = specimen.records(FIRST).find(({ header }) => header.op === 'remove')!;
  specimen.splice(FIRST, line.start, line.end + 1);
  expect([...(await messagesOf(specimen)).keys()]).toContain(again.uuid);
});

test('and that an update was written over a place that is not known', async ({ specimen }) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  const { uuid } = await manager.addMessage(Q, { data: 'first' });
  await manager.setCustomAttributes(Q, { color: 'blue' });
  for (const data of ['second', 'third']) await manager.updateMessage(Q, uuid, { data });
  await manager.close();
  const line = specimen.records(FIRST).find(({ header }) => header.op === 'attr')!;
  specimen.splice(FIRST, line.start, line.end + 1);
  expect(await status(specimen)).toMatchObject({ damaged: 1 });
});

test('a claim of another queue that is settled by mistake is no damage, and a repair finds nothing to do', async ({
  specimen,
}) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  await manager.createQueue('other');
  for (const data of ['longer than the one here', 'second']) await manager.addMessage('other', { data });
  await manager.addMessage(Q, { data: 'one' });
  const [, claim] = await manager.claimMessages('other', { limit: 2 });
  expect(await manager.completeMessage(Q, claim!)).toBe(false);
  await manager.addMessage(Q, { data: 'two' });
  expect(manager.getLastError()?.code).not.toBe('JOURNAL_CORRUPT');
  await manager.close();
  expect(await status(specimen)).toMatchObject({ damaged: 0, messagesToProcess: 2 });
  expect(await repair(specimen)).toMatchObject({ outcome: 'sound' });
});

test('where a repair by an earlier version has not told where the seal stands, the head is not believed either', async ({
  specimen,
}) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q, { uniqueAlias: true });
  for (let n = 0; n < 4; n++) await manager.addMessage(Q, { data: DATA, alias: `alias-${n}` });
  await manager.close();
  await rotateBare(specimen);
  truncateSync(
    specimen.path(FIRST),
    specimen.records(FIRST).findLast(({ header }) => header.op === 'add')!.start,
  );
  expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true });
  const [note] = specimen.records(FIRST).filter(({ header }) => header.op === 'mended');
  const { seal: _seal, ...earlier } = note!.header;
  const batch = new Batch();
  batch.add(asciiJson(earlier));
  specimen.splice(
    FIRST,
    note!.start,
    readFileSync(specimen.path(FIRST)).length,
    batch.buffer.toString('latin1', 1, batch.length),
  );
  rmSync(specimen.path('00000001.index'), { force: true });
  expect(await status(specimen)).toMatchObject({ damaged: 0 });
});
