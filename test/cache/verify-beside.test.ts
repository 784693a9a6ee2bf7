/** Verification, and the planning of a repair, beside others who rotate and delete. Found by the simulation: seeds 216, 351 and 579. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { planRepair } from '../../src/cache/repair.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import type { QueueManager } from '../../src/index.ts';
import { openManager, Q, rotate, Specimen } from '../support/specimen.ts';

let specimen: Specimen;
let manager: QueueManager;

beforeEach(async () => {
  specimen = new Specimen();
  manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  // More than adds, and few: each rotation carries them on.
  for (const data of [1, 2, 3]) {
    const { uuid } = await manager.addMessage(Q, { data });
    await manager.updateMessage(Q, uuid, { data: { data, again: true } });
  }
  await rotate(manager, specimen);
});

afterEach(async () => {
  await manager.close();
  specimen.dispose();
});

/** Ports under which the others are quick: once verification lets them run, nothing stays that need not. */
function amongTheQuick(): Ports {
  let rotations = 0;
  const hurry = async (): Promise<void> => {
    while (rotations++ < 4) await rotate(manager, specimen);
  };
  return { ...nodePorts, clock: { ...nodePorts.clock, yield: hurry } };
}

test('finds what was there when it began, sound', async () => {
  const before = specimen.segments();
  const report = await verifyQueue(specimen.folder, amongTheQuick());
  expect(report).toMatchObject({ sound: true, damage: [], messages: 3 });
  expect(report.segments.map(({ file }) => file)).toEqual(before);
  expect(specimen.segments()).not.toContain(before.at(-1));
});

test('still finds what is damaged', async () => {
  const file = specimen.segments().at(-1)!;
  const { uuid } = await manager.addMessage(Q, { data: 'to rot' });
  const victim = specimen.records(file).find(({ header }) => header['u'] === uuid)!;
  await manager.close();
  specimen.flip(file, victim.end - 3);
  manager = await openManager(specimen.root);
  const { damage } = await verifyQueue(specimen.folder, amongTheQuick());
  expect(damage).toMatchObject([{ file, kind: 'rot', uuid }]);
  expect(specimen.segments().at(-1)).not.toBe(file);
});

test('begins again when the newest segment is gone before it is opened', async () => {
  const stale = readdirSync(specimen.folder);
  const newest = specimen.path(specimen.segments().at(-1)!);
  while (existsSync(newest)) await rotate(manager, specimen);
  let listings = 0;
  const ports: Ports = {
    ...nodePorts,
    fs: { ...nodePorts.fs, list: (path) => (listings++ === 0 ? stale : nodePorts.fs.list(path)) },
  };
  expect(await verifyQueue(specimen.folder, ports)).toMatchObject({ sound: true, messages: 3 });
  expect(listings).toBeGreaterThan(1);
});

/** The folder's files, as they are. */
function filesOf(): Map<string, Buffer> {
  return new Map(readdirSync(specimen.folder).map((name) => [name, readFileSync(specimen.path(name))]));
}

function put(files: ReadonlyMap<string, Buffer>): void {
  for (const name of readdirSync(specimen.folder)) rmSync(specimen.path(name));
  for (const [name, bytes] of files) writeFileSync(specimen.path(name), bytes);
}

// Seeds 430 and 400538. Who plans reads the files themselves, one after the other, when they have been verified.
test('a repair is neither planned nor refused because others rotate before a file is opened, whichever it is', async () => {
  const before = filesOf();
  for (let rotations = 0; rotations < 4; rotations++) await rotate(manager, specimen);
  const after = filesOf();
  for (let first = 1; ; first++) {
    put(before);
    let opened = 0;
    const open: Ports['fs']['open'] = (path, how, mode) => {
      if (++opened === first) put(after);
      return nodePorts.fs.open(path, how, mode);
    };
    const ports: Ports = { ...nodePorts, fs: { ...nodePorts.fs, open } };
    const plan = await planRepair(specimen.folder, { keepOutcomes: 50, ports });
    expect(plan).toMatchObject({ outcome: 'sound', lost: [], messages: 3 });
    if (opened < first) break;
  }
});
