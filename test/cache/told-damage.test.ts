/** Who knows of damage in an older segment counts what waits there as all others do who know of it: else one is told that its add is in the queue, and another refuses it. */
import { rmSync } from 'node:fs';
import { expect } from 'vitest';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { FileSystem, Ports } from '../../src/cache/ports.ts';
import { specimenTest as test } from '../support/on-specimen.ts';
import { messagesOf } from '../support/repairing.ts';
import { openManager, Q, rotateBare } from '../support/specimen.ts';

const FIRST = '00000001.journal';
const DATA = 'x'.repeat(4000);

/** Ports of a process whose next flush of a head does not end before `release`; `held` resolves when it has begun. */
function slow(): { ports: Ports; held: Promise<void>; release: () => void } {
  let begin = (): void => {};
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (begin = resolve));
  const ended = new Promise<void>((resolve) => (release = resolve));
  const heads = new Set<number>();
  const fs: FileSystem = Object.assign(Object.create(nodePorts.fs) as FileSystem, {
    open: (...how: Parameters<FileSystem['open']>) => {
      const fd = nodePorts.fs.open(...how);
      if (how[0].includes('/tmp-')) heads.add(fd);
      else heads.delete(fd);
      return fd;
    },
    sync: async (fd: number) => {
      if (heads.has(fd)) {
        begin();
        await ended;
      }
      return nodePorts.fs.sync(fd);
    },
  });
  return { ports: { ...nodePorts, fs }, held, release: () => release() };
}

test('also where a head tells of damage whose maker has not read what it counts', async ({ specimen }) => {
  const { ports, held, release } = slow();
  const maker = await openManager(specimen.root);
  await maker.createQueue(Q, { maxMessages: 2 });
  await maker.addMessages(Q, [{ data: DATA }, { data: DATA }]);
  await maker.close();
  await rotateBare(specimen);
  await rotateBare(specimen);
  rmSync(specimen.path('00000001.index'), { force: true });
  const one = await openManager(specimen.root, { ports });
  const other = await openManager(specimen.root);
  for (const manager of [one, other]) await manager.queueStatus(Q);
  const line = specimen.records(FIRST).findLast(({ header }) => header.op === 'add')!;
  specimen.flip(FIRST, line.end - 100);
  // It meets the damage, and seals; but the next head is another's, who has not.
  const claiming = one.claimMessages(Q, { limit: 1 });
  await held;
  await other.queueStatus(Q);
  release();
  expect(await claiming).toHaveLength(1);
  // Reads the damaged segment anew.
  expect(await one.claimMessages(Q, { limit: 1 })).toEqual([]);
  expect((await other.queueStatus(Q)).messagesToProcess).toBe((await one.queueStatus(Q)).messagesToProcess);
  const { uuid } = await one.addMessage(Q, { data: 'acknowledged' });
  await one.close();
  await other.close();
  await rotateBare(specimen);
  expect([...(await messagesOf(specimen)).keys()]).toContain(uuid);
});

test('who may not begin the next segment, by which all would know of it, adds nothing', async ({
  specimen,
}) => {
  const maker = await openManager(specimen.root);
  await maker.createQueue(Q, { uniqueAlias: true });
  for (const alias of ['one', 'other']) await maker.addMessage(Q, { data: DATA, alias });
  await maker.close();
  await rotateBare(specimen);
  await rotateBare(specimen);
  const owner = await openManager(specimen.root);
  await owner.queueStatus(Q);
  rmSync(specimen.path('00000001.index'), { force: true });
  const line = specimen.records(FIRST).find(({ header }) => header.op === 'add')!;
  specimen.flip(FIRST, line.end - 100);
  const setMode = (): never => {
    throw Object.assign(new Error('not owner'), { code: 'EPERM' });
  };
  const fs = Object.assign(Object.create(nodePorts.fs) as FileSystem, { setMode });
  const member = await openManager(specimen.root, { ports: { ...nodePorts, fs } });
  // The owner has read it while it was sound, and would take it for a duplicate.
  const adding = member.addMessage(Q, { data: 'again', alias: 'one' });
  await expect(adding).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  await member.close();
  await owner.close();
  const anew = await openManager(specimen.root);
  expect(await anew.addMessage(Q, { data: 'again', alias: 'one' })).toMatchObject({ duplicate: false });
  await anew.close();
});
