/** Repairs while other handles have the queue open. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Ports } from '../../src/cache/ports.ts';
import { repairQueue } from '../../src/cache/repair.ts';
import { all } from '../support/examine.ts';
import { expectWhole, filesOf, PORTS, repair } from '../support/repairing.ts';
import { written } from '../support/scan.ts';
import { openManager, Q, Specimen } from '../support/specimen.ts';

describe('those who have the queue open', () => {
  function spoilOldest(specimen: Specimen): string {
    const file = specimen.segments()[0]!;
    const add = specimen.records(file).find(({ header }) => header.op === 'add')!;
    specimen.flip(file, add.end - 2);
    return add.header['u'] as string;
  }

  test('go on after the repair: a producer, a reader, and a worker that had claims', async () => {
    const specimen = new Specimen();
    const producer = await openManager(specimen.root, { durability: 'always' });
    const worker = await openManager(specimen.root);
    const reader = await openManager(specimen.root);
    await producer.createQueue(Q);
    for (const data of [1, 2, 3, 4]) await producer.addMessage(Q, { data });
    const claims = await worker.claimMessages(Q, { limit: 2 });
    expect((await reader.queueStatus(Q)).counts.claimed).toBe(2);
    const lost = spoilOldest(specimen);
    expect(await repair(specimen)).toMatchObject({ outcome: 'repaired', sound: true, pids: [] });
    await producer.addMessage(Q, { data: 5 });
    expect((await all(reader)).map(({ data }) => data)).toEqual([2, 3, 4, 5]);
    expect(await worker.completeMessage(Q, claims[1]!)).toBe(true);
    expect(
      await worker.completeMessage(
        Q,
        claims.find(({ uuid }) => uuid === lost)!,
      ),
    ).toBe(false);
    expect((await all(reader)).map(({ data }) => data)).toEqual([3, 4, 5]);
    for (const manager of [producer, worker, reader]) {
      expect(manager.getLastError()).toBeUndefined();
      await manager.close();
    }
    await expectWhole(specimen);
    specimen.dispose();
  });

  test('who live and have registered keep it from being repaired', async () => {
    const specimen = new Specimen();
    const worker = await openManager(specimen.root);
    await worker.createQueue(Q);
    await worker.addMessage(Q, { data: 1 });
    await worker.addMessage(Q, { data: 2 });
    await worker.claimMessages(Q, { limit: 1 });
    spoilOldest(specimen);
    const before = filesOf(specimen);
    expect(await repairQueue(specimen.folder, { keepOutcomes: 50 })).toMatchObject({
      outcome: 'in use',
      pids: [process.pid],
    });
    expect(filesOf(specimen)).toEqual(before);
    expect(existsSync(join(specimen.root, '.quarantine'))).toBe(false);
    await worker.close();
    specimen.dispose();
  });

  test('and add while it goes on lose nothing', async () => {
    const specimen = new Specimen();
    const producer = await openManager(specimen.root);
    await producer.createQueue(Q);
    await producer.addMessage(Q, { data: -1 });
    await producer.addMessage(Q, { data: -2 });
    spoilOldest(specimen);
    // In the middle of it, another process adds, each time it is begun anew but the last.
    const { fs } = PORTS;
    let added = 0;
    const fsWithOthers: Ports['fs'] = {
      ...fs,
      open: (file, how, mode) => {
        if (how === 'create' && file.includes('/tmp-') && added < 2) {
          const others = written([
            {
              header: {
                op: 'add',
                u: `01a00000-0000-7000-8000-00000000000${added}`,
                w: 'ab'.repeat(8),
                n: ++added,
                t: 5,
              },
              payload: String(added),
            },
          ]);
          const fd = fs.open(specimen.path(specimen.segments().at(-1)!), 'append');
          fs.write(fd, others, 0, others.length);
          fs.close(fd);
        }
        return fs.open(file, how, mode);
      },
    };
    const report = await repairQueue(specimen.folder, {
      keepOutcomes: 50,
      ports: { ...PORTS, fs: fsWithOthers },
    });
    expect(report).toMatchObject({ outcome: 'repaired' });
    expect(added).toBe(2);
    // The first was there before the seal; the second came behind it, where it has never counted.
    expect((await all(producer)).map(({ data }) => data)).toEqual([-2, 1]);
    await producer.close();
    expect(readdirSync(join(specimen.root, '.quarantine'))).toHaveLength(1);
    await expectWhole(specimen);
    specimen.dispose();
  });
});
