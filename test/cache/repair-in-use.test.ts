/** Repairs while other handles have the queue open. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Ports } from '../../src/cache/ports.ts';
import { repairQueue } from '../../src/cache/repair.ts';
import { all } from '../support/examine.ts';
import { expectWhole, filesOf, PORTS, repair } from '../support/repairing.ts';
import { written } from '../support/scan.ts';
import { openManager, Q, rotate, Specimen } from '../support/specimen.ts';

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
    expect((await all(producer)).map(({ data }) => data)).toEqual([-2, 1, 2]);
    await producer.close();
    expect(readdirSync(join(specimen.root, '.quarantine'))).toHaveLength(1);
    await expectWhole(specimen);
    specimen.dispose();
  });

  test('who have met the damage, and gone on without the message, do not hide that it is lost', async () => {
    const specimen = new Specimen();
    let manager = await openManager(specimen.root);
    await manager.createQueue(Q);
    const added = await manager.addMessages(
      Q,
      Array.from({ length: 5 }, (_, data) => ({ data })),
    );
    const claims = await manager.claimMessages(Q, { limit: 5 });
    // One of them is completed; the others stand around it.
    await manager.completeMessage(Q, claims[3]!);
    await manager.close();
    const file = specimen.segments()[0]!;
    for (const i of [1, 3]) {
      const add = specimen.records(file).find(({ header }) => header['u'] === added[i]!.uuid)!;
      specimen.flip(file, add.end - 2);
    }
    manager = await openManager(specimen.root, { segmentBytes: 1000 });
    await rotate(manager, specimen);
    await manager.close();
    const report = await repair(specimen);
    expect(report.lost).toEqual([expect.objectContaining({ count: 1, uuid: added[1]!.uuid })]);
    await expectWhole(specimen);
    specimen.dispose();
  });

  test('and change the queue while its files are copied are heeded', async () => {
    const specimen = new Specimen();
    const producer = await openManager(specimen.root, { segmentBytes: 1000, durability: 'always' });
    await producer.createQueue(Q);
    const added = await producer.addMessages(Q, [{ data: 1 }, { data: 2 }, { data: 3 }]);
    // In the newest segment nobody waits: no head would name it.
    await rotate(producer, specimen);
    spoilOldest(specimen);
    const { fs } = PORTS;
    let changed = false;
    const fsWithOthers: Ports['fs'] = {
      ...fs,
      syncFolder: async (path) => {
        await fs.syncFolder(path);
        if (changed || !path.endsWith('/old')) return;
        changed = true;
        await producer.addMessage(Q, { data: 'meanwhile' });
        await producer.removeMessage(Q, added[1]!.uuid);
      },
    };
    const ports: Ports = { ...PORTS, fs: fsWithOthers };
    expect(await repairQueue(specimen.folder, { keepOutcomes: 50, ports })).toMatchObject({ sound: true });
    expect((await all(producer)).map(({ data }) => data)).toEqual([3, 'meanwhile']);
    await producer.close();
    expect(readdirSync(join(specimen.root, '.quarantine'))).toHaveLength(1);
    await expectWhole(specimen);
    specimen.dispose();
  });
});
