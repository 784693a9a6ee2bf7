/** Who meets damage in an older segment counts fewer messages than who has not: what it adds must be there for both. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import type { QueueManager, QueueOptions } from '../../src/index.ts';
import { specimenTest as test } from '../support/on-specimen.ts';
import { messagesOf, repair } from '../support/repairing.ts';
import { openManager, Q, rotate, type RecordAt, type Specimen } from '../support/specimen.ts';

const FIRST = '00000001.journal';
/** Too large to be carried. */
const DATA = 'x'.repeat(4000);

/** Without an add of its own, which would be refused. */
async function change(manager: QueueManager, specimen: Specimen): Promise<void> {
  const before = specimen.segments().at(-1);
  while (specimen.segments().at(-1) === before)
    await manager.setCustomAttributes(Q, { text: 'x'.repeat(60_000) });
}

/** Six messages in the first segment, and the record of the second. */
async function fill(manager: QueueManager, specimen: Specimen, options: QueueOptions): Promise<RecordAt> {
  await manager.createQueue(Q, options);
  const messages = await manager.addMessages(
    Q,
    Array.from({ length: 6 }, (_, n) => ({ data: DATA, alias: `alias-${n}` })),
  );
  await change(manager, specimen);
  return specimen.records(FIRST).find(({ header }) => header['u'] === messages[1]!.uuid)!;
}

const DAMAGES: [name: string, damage: (specimen: Specimen, line: RecordAt) => void][] = [
  [
    'a line is gone',
    (specimen, { start, end }) => {
      const whole = readFileSync(specimen.path(FIRST));
      writeFileSync(specimen.path(FIRST), Buffer.concat([whole.subarray(0, start), whole.subarray(end + 1)]));
    },
  ],
  [
    'a byte has rotted, and the index is gone',
    (specimen, { start }) => {
      specimen.flip(FIRST, start + 500);
      rmSync(specimen.path('00000001.index'));
    },
  ],
];

describe.each(DAMAGES)('%s', (_, damage) => {
  test.for([
    ['aliases', { uniqueAlias: true }],
    ['messages', { maxMessages: 6 }],
  ] as const)(
    'what is added by who has met it is there, whoever makes the next head: %s',
    async ([, options], { specimen }) => {
      const knowing = await openManager(specimen.root);
      damage(specimen, await fill(knowing, specimen, options));
      const meeting = await openManager(specimen.root);
      // So that it looks for what may run.
      const [claim] = await meeting.claimMessages(Q, { limit: 1 });
      await meeting.releaseMessage(Q, claim!);
      const { uuid } = await meeting.addMessage(Q, { data: 'new', alias: 'alias-1' });
      await meeting.close();
      expect(await knowing.findMessage(Q, { uuid })).toMatchObject({ data: 'new' });
      await change(knowing, specimen);
      await knowing.close();
      expect([...(await messagesOf(specimen)).keys()]).toContain(uuid);
      expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true });
      expect([...(await messagesOf(specimen)).keys()]).toContain(uuid);
    },
  );

  test('what a head tells of it is handed on by who has not met it', async ({ specimen }) => {
    const knowing = await openManager(specimen.root);
    damage(specimen, await fill(knowing, specimen, {}));
    const meeting = await openManager(specimen.root);
    const [claim] = await meeting.claimMessages(Q, { limit: 1 });
    await meeting.releaseMessage(Q, claim!);
    await rotate(meeting, specimen);
    const { damaged } = await meeting.queueStatus(Q);
    await meeting.close();
    await knowing.queueStatus(Q);
    await rotate(knowing, specimen);
    expect(await knowing.queueStatus(Q)).toMatchObject({ damaged });
    await knowing.close();
  });
});
