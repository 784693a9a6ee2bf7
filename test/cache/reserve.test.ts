/** The reserve is room that is really there: written, on the device, and written again when it is not whole. */
import { existsSync, readdirSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { FileSystem } from '../../src/cache/ports.ts';
import { Space } from '../../src/cache/space.ts';
import { openOn } from '../support/on-machine.ts';
import { Seeded } from '../support/seeded.ts';
import { SimMachine } from '../support/sim-machine.ts';
import { openManager, Q, rotate, Specimen } from '../support/specimen.ts';

const MIB = 1024 * 1024;

test('a power cut does not cost a new queue its reserve', async () => {
  const machine = new SimMachine(new Seeded(1));
  const backend = await openOn(machine);
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

// Seed 101098: a queue that was being made took what a consumer of another had just freed.
test('a queue that is made where space is short leaves it to the consumers of others', async () => {
  const specimen = new Specimen();
  try {
    const space = (path: string) => ({ ...nodePorts.fs.space(path), free: 2 * MIB });
    const manager = await openManager(specimen.root, {
      ports: { ...nodePorts, fs: { ...nodePorts.fs, space } },
    });
    await manager.createQueue(Q);
    await manager.close();
    expect(readdirSync(specimen.folder)).toEqual(['00000001.journal']);
  } finally {
    specimen.dispose();
  }
});

// Seed 6007556: whoever wrote it had stood still before.
test('what a consumer of another queue frees while it is being written is left to that', async () => {
  const specimen = new Specimen();
  try {
    let isShort = false;
    const fs: FileSystem = {
      ...nodePorts.fs,
      open(path, how, mode) {
        isShort ||= how === 'create' && path.endsWith('/reserve');
        return nodePorts.fs.open(path, how, mode);
      },
      space: (path) => ({ ...nodePorts.fs.space(path), ...(isShort ? { free: 2 * MIB } : {}) }),
    };
    const manager = await openManager(specimen.root, { ports: { ...nodePorts, fs } });
    await manager.createQueue(Q);
    await manager.close();
    expect(statSync(specimen.path('reserve')).size).toBe(0);
  } finally {
    specimen.dispose();
  }
});

// Seed 106080: it was being written, so that somebody had it open.
test('it is freed at once, though somebody has it open', async () => {
  const specimen = new Specimen();
  try {
    const manager = await openManager(specimen.root);
    await manager.createQueue(Q);
    await manager.close();
    const path = join(specimen.folder, 'reserve');
    const writer = nodePorts.fs.open(path, 'append');
    const space = new Space({ ports: nodePorts, queue: Q, folder: specimen.folder }, () => 0);
    expect([space.freeReserve(), existsSync(path)]).toEqual([true, false]);
    expect(nodePorts.fs.stat(writer).size).toBe(0);
    nodePorts.fs.close(writer);
  } finally {
    specimen.dispose();
  }
});
