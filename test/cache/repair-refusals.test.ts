/** What stands in a damaged queue although it had ended, or is there again, takes nobody's alias, nor any room, when it is repaired. */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { QueueOptions } from '../../src/index.ts';
import { specimenTest as test } from '../support/on-specimen.ts';
import { first, messagesOf, repair } from '../support/repairing.ts';
import { openManager, Q, rotate, type Specimen } from '../support/specimen.ts';

const FIRST = '00000001.journal';

const MOVES: Record<string, (line: string) => string> = {
  'is gone from': () => '',
  'stands twice in': (line) => line + line,
  'has a newline behind it in': (line) => `${line}\n`,
};
const LIMITS: Record<string, QueueOptions> = {
  maxMessages: { maxMessages: 5 },
  maxBytes: { maxBytes: 80_000 },
  uniqueAlias: { uniqueAlias: true },
};

/** In the first segment as many have ended as the queue may hold, behind a record that names none; in the second four wait. */
async function fullOfEnded(specimen: Specimen, limit: QueueOptions): Promise<string[]> {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q, limit);
  await manager.setCustomAttributes(Q, { color: 'blue' });
  // So that the segment is kept.
  await manager.addMessage(Q, { data: 'x'.repeat(20_000), disabled: true });
  for (let n = 0; n < 4; n++) {
    const { uuid } = await manager.addMessage(Q, { data: 'y'.repeat(20_000), alias: `alias-${n}`.repeat(5) });
    await manager.removeMessage(Q, uuid);
  }
  await rotate(manager, specimen);
  const uuids: string[] = [];
  for (let n = 0; n < 4; n++)
    uuids.push((await manager.addMessage(Q, { data: { n }, alias: `alias-${n}`.repeat(5) })).uuid);
  await manager.close();
  return uuids;
}

/** Changes a line of the first segment that says nothing of any message. */
function change(specimen: Specimen, how: (line: string) => string): void {
  const whole = readFileSync(specimen.path(FIRST), 'latin1');
  const { start, end } = first(specimen, FIRST, 'attr');
  const line = whole.slice(start, end + 1);
  writeFileSync(specimen.path(FIRST), whole.slice(0, start) + how(line) + whole.slice(end + 1), 'latin1');
}

for (const [limit, options] of Object.entries(LIMITS))
  for (const [how, moved] of Object.entries(MOVES))
    test(`with ${limit}, all that waits in a sound segment is there when a line ${how} an older one`, async ({
      specimen,
    }) => {
      const uuids = await fullOfEnded(specimen, options);
      change(specimen, moved);
      expect(await repair(specimen)).toMatchObject({
        outcome: 'repaired',
        sound: true,
        lost: [],
        messages: 5,
      });
      const found = await messagesOf(specimen);
      expect(uuids.filter((uuid) => !found.has(uuid))).toEqual([]);
    });

test('an add that was refused because of one that is certainly there stays so', async ({ specimen }) => {
  const uuids = await fullOfEnded(specimen, LIMITS['uniqueAlias']!);
  const manager = await openManager(specimen.root);
  const alias = 'alias-0'.repeat(5);
  for (let n = 0; n < 3; n++) {
    const added = await manager.addMessage(Q, { data: 'again', alias });
    expect(added).toMatchObject({ uuid: uuids[0], duplicate: true });
  }
  await manager.close();
  change(specimen, MOVES['is gone from']!);
  expect(await repair(specimen)).toMatchObject({ sound: true, messages: 5 });
  expect([...(await messagesOf(specimen)).values()].filter((each) => each.alias === alias)).toHaveLength(1);
});

test('nor does one come in that was refused because as many as may be are certainly there', async ({
  specimen,
}) => {
  const uuids = await fullOfEnded(specimen, { maxMessages: 5 });
  const manager = await openManager(specimen.root);
  for (let n = 0; n < 40; n++)
    await expect(manager.addMessage(Q, { data: 'too many' })).rejects.toMatchObject({ code: 'QUEUE_FULL' });
  await manager.close();
  change(specimen, MOVES['has a newline behind it in']!);
  const { sound, lost, messages } = await repair(specimen);
  const found = await messagesOf(specimen);
  expect({ sound, lost, messages }).toEqual({ sound: true, lost: [], messages: found.size });
  expect(uuids.filter((uuid) => !found.has(uuid))).toEqual([]);
  expect(found.size).toBeLessThanOrEqual(6);
});

test('a message that is there again by its update alone does not take the alias of one that was added without it', async ({
  specimen,
}) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q, { uniqueAlias: true });
  const before = await manager.addMessage(Q, { data: 'before', alias: 'one' });
  await manager.updateMessage(Q, before.uuid, { data: 'changed' });
  await manager.close();
  specimen.flip(FIRST, first(specimen, FIRST, 'add').end - 3);
  const others = await openManager(specimen.root);
  await others.addMessage(Q, { data: 'meets the damage' });
  await rotate(others, specimen);
  const after = await others.addMessage(Q, { data: 'after', alias: 'one' });
  expect(after).toMatchObject({ duplicate: false });
  await others.close();
  expect(await repair(specimen)).toMatchObject({ sound: true, lost: [] });
  const found = await messagesOf(specimen);
  expect(found.get(before.uuid)).toMatchObject({ data: 'changed' });
  expect(found.get(after.uuid)).toMatchObject({ data: 'after' });
});
