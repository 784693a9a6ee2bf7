/** Damage of every kind, made from a seed, on copies of real queue folders; and what must hold whatever was damaged. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { repairQueue } from '../../src/cache/repair.ts';
import type { RepairReport } from '../../src/cache/repair/report.ts';
import { verifyQueue, type VerifyReport } from '../../src/cache/verify.ts';
import { QueueError } from '../../src/index.ts';
import type { Message, QueueManager } from '../../src/index.ts';
import { all, expectTypedError, type Truth } from './examine.ts';
import type { Seeded } from './seeded.ts';
import { openManager, Q, recordsIn, type Specimen } from './specimen.ts';

/**
 * Bytes [from, to) of a file that are not what they were. `cut`: from there on they are gone. `gap`: they are, and what
 * stood behind them has moved up, so that every offset is wrong.
 */
export interface Wound {
  file: string;
  kind: 'flip' | 'zeros' | 'cut' | 'gap';
  from: number;
  to: number;
}

const BLOCK = 512;

const KINDS = ['flip', 'flip', 'flip', 'zeros', 'zeros', 'cut'] as const;

/** Damages files of the folder, one to four times. */
export function wound(specimen: Specimen, random: Seeded, kinds: readonly Wound['kind'][] = KINDS): Wound[] {
  const files = readdirSync(specimen.folder).filter((name) => /\.(?:journal|index)$/.test(name));
  return Array.from({ length: 1 + random.below(4) }, () => {
    const file = random.pick(files);
    const bytes = readFileSync(specimen.path(file));
    const kind = random.pick(kinds);
    const at = random.below(bytes.length);
    if (kind === 'flip') {
      bytes[at]! ^= 1 << random.below(8);
      writeFileSync(specimen.path(file), bytes);
      return { file, kind, from: at, to: at + 1 };
    }
    if (kind === 'cut') {
      writeFileSync(specimen.path(file), bytes.subarray(0, at));
      return { file, kind, from: at, to: bytes.length };
    }
    if (kind === 'gap') {
      const to = Math.min(bytes.length, at + 1 + random.below(BLOCK));
      writeFileSync(specimen.path(file), Buffer.concat([bytes.subarray(0, at), bytes.subarray(to)]));
      return { file, kind, from: at, to };
    }
    const from = at - (at % BLOCK);
    const to = Math.min(bytes.length, from + BLOCK * (1 + random.below(8)));
    writeFileSync(specimen.path(file), bytes.fill(0, from, to));
    return { file, kind, from, to };
  });
}

/** What a sound specimen holds, and where. */
export interface Anatomy extends Truth {
  /** The records of each segment, as they were. */
  records: ReadonlyMap<string, ReturnType<typeof recordsIn>>;
}

export function anatomyOf(specimen: Specimen, truth: Truth): Anatomy {
  const records = new Map(
    specimen.segments().map((file) => [file, recordsIn(readFileSync(specimen.path(file)))]),
  );
  return { ...truth, records };
}

function touches(wounds: readonly Wound[], file: string, start: number, end: number): boolean {
  return wounds.some((each) => each.file === file && each.from < end && each.to > start);
}

/** This very process has registered in the specimens; that is past. */
const PORTS: Ports = { ...nodePorts, processes: { ...nodePorts.processes, isKnownDead: () => true } };

/** Works on copies of `damaged`, which it leaves as it is but repaired. */
export async function expectSafe(damaged: Specimen, anatomy: Anatomy, wounds: Wound[]): Promise<void> {
  const report = await verifyQueue(damaged.folder);
  const moved = wounds.some(({ kind }) => kind === 'gap');
  if (!moved) expectTold(report, anatomy, wounds);
  const used = damaged.copy();
  try {
    await expectUsable(used, anatomy);
  } finally {
    used.dispose();
  }
  const done = await repairQueue(damaged.folder, { keepOutcomes: 50, ports: PORTS });
  if (done.outcome === 'sound') expect(report.sound).toBe(true);
  else expect(done).toMatchObject({ outcome: 'repaired', sound: true });
  await expectSaved(damaged, anatomy, wounds, done);
}

/** Every record that was hit is reported by its bytes; but for the end of the newest segment, of which nobody else knows. */
function expectTold({ damage }: VerifyReport, { records }: Anatomy, wounds: Wound[]): void {
  const newest = [...records.keys()].at(-1);
  for (const { file, from, to, kind } of wounds) {
    const all = records.get(file) ?? [];
    // What stands behind the seal has never counted.
    const sealedAt = all.find(({ header }) => header.op === 'seal')?.start ?? Infinity;
    const hit = all.filter(({ start, end }) => start < to && end > from && start <= sealedAt);
    const reported = damage.filter((each) => each.file === file);
    if (reported.some(({ kind: what }) => what === 'head' || what === 'missing')) continue;
    if (kind === 'cut') {
      if (hit.length > 0 && file !== newest && reported.length === 0)
        expect.fail(`nothing is reported of ${file}`);
      continue;
    }
    for (const { start, end } of hit) {
      // What is cut off afterwards is not there to be reported.
      if (wounds.some((each) => each.file === file && each.kind === 'cut' && each.from < end)) continue;
      const told = reported.some((each) => each.from <= end && each.to >= start);
      // A line without its newline is not finished yet.
      const atEnd = kind === 'flip' && file === newest && records.get(file)!.at(-1)!.end === from;
      if (!told && !atEnd) expect.fail(`bytes ${start} to ${end} of ${file} are not reported`);
    }
  }
}

/** Whoever uses the queue as it is gets what was written, or a typed error. */
async function expectUsable(specimen: Specimen, anatomy: Anatomy): Promise<void> {
  const manager = await openManager(specimen.root);
  try {
    for (const message of await all(manager)) expectWritten(message, anatomy);
    await manager.addMessage(Q, { data: 'new' });
    await expectDrained(manager, anatomy);
  } catch (error) {
    const { code } = expectTypedError(error);
    expect(['JOURNAL_CORRUPT', 'QUEUE_NOT_FOUND', 'STORAGE_FAILED']).toContain(code);
  } finally {
    await manager.close();
  }
}

async function expectDrained(manager: QueueManager, anatomy: Anatomy): Promise<void> {
  for (;;) {
    const claims = await manager.claimMessages(Q, { limit: 50 });
    if (claims.length === 0) return;
    for (const claim of claims) {
      if (claim.data !== 'new') expectWritten(claim, anatomy);
      await manager.completeMessage(Q, claim);
    }
  }
}

/** It holds what was once written for that very message. */
function expectWritten({ uuid, data }: Message, { contents }: Truth): void {
  expect([...(contents.get(uuid) ?? [])]).toContain(JSON.stringify(data));
}

/** All whose content was not hit are there, in order, and what is not there has been said to be lost. */
async function expectSaved(
  specimen: Specimen,
  anatomy: Anatomy,
  wounds: Wound[],
  report: RepairReport,
): Promise<void> {
  expect(await verifyQueue(specimen.folder)).toMatchObject({ sound: true });
  const manager = await openManager(specimen.root);
  const found = await all(manager).catch((error: unknown) => {
    // What said that there is a queue was hit, and so was all that was in it.
    if (error instanceof QueueError && error.code === 'QUEUE_NOT_FOUND' && !report.exists) return [];
    throw error;
  });
  if (report.exists) expect(await manager.queueStatus(Q)).toMatchObject({ damaged: 0 });
  await manager.close();
  for (const message of found) expectWritten(message, anatomy);
  // Where every offset is wrong, one message may be taken for another.
  if (wounds.some(({ kind }) => kind === 'gap')) return;
  const there = new Set(found.map(({ uuid }) => uuid));
  expect(there.size).toBe(found.length);
  const order = [...anatomy.messages.keys()];
  const places = found.map(({ uuid }) => order.indexOf(uuid)).filter((place) => place >= 0);
  expect(places).toEqual(places.toSorted((a, b) => a - b));
  const missing = order.filter((uuid) => !there.has(uuid));
  for (const uuid of missing) {
    const intact = [...anatomy.records].some(([file, records]) =>
      records.some(
        ({ start, end, header }) =>
          header['u'] === uuid &&
          ['add', 'update', 'carry'].includes(header.op) &&
          // With its newlines: without one a record may be another line.
          !touches(wounds, file, start - 1, end + 1),
      ),
    );
    if (intact) expect.fail(`message ${uuid} is not there, although its record is sound`);
  }
}
