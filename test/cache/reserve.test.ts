/** The reserve is room that is really there: written, on the device, and written again when it is not whole. */
import { statSync, truncateSync } from 'node:fs';
import { expect, test } from 'vitest';
import { openCache } from '../../src/cache/backend.ts';
import { Seeded } from '../support/seeded.ts';
import { SimMachine } from '../support/sim-machine.ts';
import { openManager, Q, rotate, Specimen } from '../support/specimen.ts';

const MIB = 1024 * 1024;

test('a power cut does not cost a new queue its reserve', async () => {
  const machine = new SimMachine(new Seeded(1));
  const backend = await openCache({
    cacheRoot: '/srv',
    durability: 'always',
    syncInterval: 50,
    fileMode: 0o600,
    keepOutcomes: 10,
    crashLimit: 3,
    ports: machine.process(),
  });
  await backend.create(Q, {});
  const { fs } = machine.powerCut('drop');
  const fd = fs.open(`/srv/${Q}/reserve`, 'read');
  expect(fs.stat(fd).size).toBe(MIB);
  fs.close(fd);
});

test.each([0, MIB - 1])('one of %d bytes is written anew by the next rotation', async (bytes) => {
  const specimen = new Specimen();
  try {
    const manager = await openManager(specimen.root);
    await manager.createQueue(Q);
    truncateSync(specimen.path('reserve'), bytes);
    await rotate(manager, specimen);
    await manager.close();
    expect(statSync(specimen.path('reserve')).size).toBe(MIB);
  } finally {
    specimen.dispose();
  }
});
