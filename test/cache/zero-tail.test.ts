/** Zeros where a write was, as file systems leave them after a power cut: told from rot by what is known of flushes. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { verifyQueue } from '../../src/cache/verify.ts';
import { all } from '../support/examine.ts';
import { expectWhole, filesOf, repair } from '../support/repairing.ts';
import { openManager, otherBoot, Q, Specimen } from '../support/specimen.ts';

describe('zeros at the end, as a power cut leaves them', () => {
  async function cutAndRestart(zeros: number): Promise<Specimen> {
    const specimen = new Specimen();
    const manager = await openManager(specimen.root, { durability: 'always' });
    await manager.createQueue(Q);
    await manager.addMessage(Q, { data: 1 });
    await manager.close();
    const file = specimen.segments().at(-1)!;
    writeFileSync(
      specimen.path(file),
      Buffer.concat([readFileSync(specimen.path(file)), Buffer.alloc(zeros)]),
    );
    const restarted = await openManager(specimen.root, { durability: 'always', ports: otherBoot() });
    await restarted.addMessage(Q, { data: 2 });
    expect((await restarted.queueStatus(Q)).damaged).toBe(0);
    expect(restarted.getLastError()).toBeUndefined();
    await restarted.close();
    return specimen;
  }

  test.each([1, 100, 5000])(
    '(%d bytes) are no damage, in the segment in use and in an older one',
    async (zeros) => {
      const specimen = await cutAndRestart(zeros);
      expect(await verifyQueue(specimen.folder)).toMatchObject({ sound: true });
      await expectWhole(specimen);
      expect(await repair(specimen)).toMatchObject({ outcome: 'sound' });
      const manager = await openManager(specimen.root);
      expect((await all(manager)).map(({ data }) => data)).toEqual([1, 2]);
      await manager.close();
      specimen.dispose();
    },
  );

  test.each([1, 100, 5000])('(%d bytes) are no reason to repair anything', async (zeros) => {
    const specimen = new Specimen();
    const manager = await openManager(specimen.root, { durability: 'always' });
    await manager.createQueue(Q);
    await manager.addMessage(Q, { data: 1 });
    await manager.close();
    appendFileSync(specimen.path(specimen.segments().at(-1)!), Buffer.alloc(zeros));
    const before = filesOf(specimen);
    expect(await verifyQueue(specimen.folder)).toMatchObject({ sound: true });
    expect(await repair(specimen)).toMatchObject({ outcome: 'sound', lost: [] });
    expect(filesOf(specimen)).toEqual(before);
    specimen.dispose();
  });

  test('but are where something says that they had been on the device', async () => {
    const specimen = new Specimen();
    const manager = await openManager(specimen.root, { durability: 'always' });
    await manager.createQueue(Q);
    for (const data of [1, 2, 3]) await manager.addMessage(Q, { data });
    await manager.close();
    const file = specimen.segments().at(-1)!;
    const [, second] = specimen.records(file).filter(({ header }) => header.op === 'add');
    const bytes = readFileSync(specimen.path(file));
    writeFileSync(specimen.path(file), bytes.fill(0, second!.start, second!.end));
    const restarted = await openManager(specimen.root, { durability: 'always', ports: otherBoot() });
    await restarted.addMessage(Q, { data: 4 });
    expect((await restarted.queueStatus(Q)).damaged).toBe(1);
    expect(restarted.getLastError()).toMatchObject({ code: 'JOURNAL_CORRUPT' });
    await restarted.close();
    expect((await verifyQueue(specimen.folder)).sound).toBe(false);
    specimen.dispose();
  });
});
