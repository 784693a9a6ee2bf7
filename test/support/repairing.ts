/** Repairing queues in real folders, and what must hold afterwards. */
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { repairQueue } from '../../src/cache/repair.ts';
import type { RepairReport } from '../../src/cache/repair/report.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import type { Message } from '../../src/index.ts';
import { all } from './examine.ts';
import { openManager, Q, rotate, type RecordAt, type Specimen } from './specimen.ts';

/** What this very process has registered counts as a thing of the past. */
export const PORTS: Ports = { ...nodePorts, processes: { ...nodePorts.processes, isKnownDead: () => true } };
export const OPTIONS = { keepOutcomes: 50, ports: PORTS };

export function repair(specimen: Specimen): Promise<RepairReport> {
  return repairQueue(specimen.folder, OPTIONS);
}

/** The files of the queue, with what they hold; not what is none. */
export function filesOf(specimen: Specimen): Map<string, string> {
  return filesIn(specimen.folder);
}

export function filesIn(folder: string): Map<string, string> {
  const names = readdirSync(folder).filter((name) => lstatSync(join(folder, name)).isFile());
  return new Map(names.sort().map((name) => [name, readFileSync(join(folder, name), 'latin1')]));
}

export async function messagesOf(specimen: Specimen): Promise<Map<string, Message>> {
  const manager = await openManager(specimen.root);
  try {
    return new Map((await all(manager)).map((message) => [message.uuid, message]));
  } finally {
    await manager.close();
  }
}

/** Repaired, sound, and without a trace of damage, after rotations too. */
export async function expectWhole(specimen: Specimen): Promise<void> {
  expect(await verifyQueue(specimen.folder)).toMatchObject({ sound: true });
  const manager = await openManager(specimen.root, { segmentBytes: 1000 });
  const { damaged: count } = await manager.queueStatus(Q);
  expect(count).toBe(0);
  const { uuid } = await manager.addMessage(Q, { data: 'after the repair' });
  for (let i = 0; i < 3; i++) await rotate(manager, specimen);
  expect(await manager.findMessage(Q, { uuid })).toMatchObject({ data: 'after the repair' });
  expect(manager.getLastError()).toBeUndefined();
  await manager.removeMessage(Q, uuid);
  await manager.close();
  expect((await verifyQueue(specimen.folder)).damage.filter(({ kind }) => kind !== 'torn')).toEqual([]);
}

/** The first record of its kind in a segment. */
export function first(specimen: Specimen, file: string, op: string): RecordAt {
  return specimen.records(file).find(({ header }) => header.op === op)!;
}
