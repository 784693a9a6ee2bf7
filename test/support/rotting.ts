/** Damage of every kind, made from a seed, on copies of real queue folders; and what must hold whatever was damaged. */
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { expect } from 'vitest';
import { repairQueue } from '../../src/cache/repair.ts';
import type { RepairReport } from '../../src/cache/repair/report.ts';
import type { Lost } from '../../src/cache/repair/losses.ts';
import { verifyQueue, type VerifyReport } from '../../src/cache/verify.ts';
import { QueueError } from '../../src/index.ts';
import type { Message, QueueManager } from '../../src/index.ts';
import { all, expectTypedError, expectWritten, type Truth } from './examine.ts';
import { filesIn, filesOf, messagesOf, OPTIONS } from './repairing.ts';
import { scan } from './scan.ts';
import type { Seeded } from './seeded.ts';
import { openManager, Q, recordsIn, type RecordAt, type Specimen } from './specimen.ts';

/**
 * Bytes [from, to) of a file that are not what they were, as they were counted before anything was damaged. `cut`: from there
 * on they are gone. `gap`: they are, and what stood behind them has moved up, so that every offset is wrong. `line`: likewise, a whole line
 * and no more. `put`: a newline stands before them that nobody wrote. `gone`: the whole file is, or something else is in its place.
 * `double`: at the end of the newest segment stands a line of it once more. `pad`: zeros do.
 */
export interface Wound {
  file: string;
  kind: 'flip' | 'zeros' | 'cut' | 'gap' | 'line' | 'put' | 'gone' | 'double' | 'pad';
  from: number;
  to: number;
}

const BLOCK = 512;

/** What stands behind them does not stand where it did. */
const MOVING: ReadonlySet<Wound['kind']> = new Set(['gap', 'line', 'put']);

const KINDS = ['flip', 'flip', 'flip', 'zeros', 'zeros', 'cut'] as const;

/** Damages files of the folder, one to four times. */
export function wound(specimen: Specimen, random: Seeded, kinds: readonly Wound['kind'][] = KINDS): Wound[] {
  const files = readdirSync(specimen.folder)
    .filter((name) => /\.(?:journal|index)$/.test(name))
    .sort();
  // A bit that is flipped twice is as it was.
  const flipped = new Set<string>();
  /** Where each byte that is left stood. */
  const stood = new Map<string, number[]>();
  return Array.from({ length: 1 + random.below(4) }, () => {
    const file = random.pick(files);
    const bytes = readFileSync(specimen.path(file));
    const kind = random.pick(kinds);
    // One that is gone cannot be hit again.
    if (kind === 'gone' && files.length > 1) {
      files.splice(files.indexOf(file), 1);
      replace(specimen.path(file), random);
      return { file, kind, from: 0, to: bytes.length };
    }
    const at = random.below(bytes.length);
    const places = stood.get(file) ?? Array.from(bytes, (_, i) => i);
    stood.set(file, places);
    const told = (from: number, to: number): Wound => ({
      file,
      kind,
      from: places[from] ?? from,
      to: (places[to - 1] ?? to - 1) + 1,
    });
    if (kind === 'double' || kind === 'pad') {
      const newest = specimen.segments().at(-1)!;
      const { size } = statSync(specimen.path(newest));
      if (kind === 'double') double(specimen.path(newest), random);
      else appendFileSync(specimen.path(newest), Buffer.alloc(1 + random.below(BLOCK)));
      return { file: newest, kind, from: size, to: size };
    }
    if (kind === 'flip') {
      const hit = told(at, at + 1);
      if (flipped.has(`${file} ${hit.from}`)) return hit;
      flipped.add(`${file} ${hit.from}`);
      bytes[at]! ^= 1 << random.below(8);
      writeFileSync(specimen.path(file), bytes);
      return hit;
    }
    if (kind === 'cut') {
      writeFileSync(specimen.path(file), bytes.subarray(0, at));
      return told(at, bytes.length);
    }
    if (kind === 'gap' || kind === 'line') {
      const line = kind === 'line' ? recordsIn(bytes).findLast(({ start }) => start <= at) : undefined;
      // With the newline that its write began with, so that one as long stands where it stood.
      const isFirst = line !== undefined && bytes[line.start - 2] === 10;
      const from = line ? line.start - Number(isFirst) : at;
      const to = Math.min(bytes.length, line ? line.end + 1 : at + 1 + random.below(BLOCK));
      writeFileSync(specimen.path(file), Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]));
      const gone = told(from, to);
      places.splice(from, to - from);
      return gone;
    }
    if (kind === 'put') {
      // As often between two lines as within one.
      const start = bytes.lastIndexOf('\n', at) + 1;
      const from = random.chance(0.5) ? start : at;
      writeFileSync(
        specimen.path(file),
        Buffer.concat([bytes.subarray(0, from), Buffer.from('\n'), bytes.subarray(from)]),
      );
      const before = places[from] ?? from;
      places.splice(from, 0, before);
      return { file, kind, from: before, to: before };
    }
    const from = at - (at % BLOCK);
    const to = Math.min(bytes.length, from + BLOCK * (1 + random.below(8)));
    writeFileSync(specimen.path(file), bytes.fill(0, from, to));
    return told(from, to);
  });
}

function double(path: string, random: Seeded): void {
  const lines = readFileSync(path, 'latin1').split('\n');
  appendFileSync(path, `\n${random.pick(lines.filter((line) => line !== ''))}\n`, 'latin1');
}

function replace(path: string, random: Seeded): void {
  rmSync(path);
  random.pick([() => undefined, () => mkdirSync(path), () => symlinkSync('nowhere', path)])();
}

/** What a sound specimen holds, and where. */
export interface Anatomy extends Truth {
  /** The records of each segment, as they were. */
  records: ReadonlyMap<string, (RecordAt & { holds: string | undefined })[]>;
  /** Positions of lines that had rotted before. */
  rotten: ReadonlySet<string>;
}

export function anatomyOf(specimen: Specimen, truth: Truth): Anatomy {
  const records = new Map(
    specimen.segments().map((file) => {
      const bytes = readFileSync(specimen.path(file));
      const holds = ({ start, end, header }: RecordAt): string | undefined =>
        HOLDING.has(header.op) ? payloadOf(bytes.toString('utf8', start, end)) : undefined;
      return [file, recordsIn(bytes).map((record) => ({ ...record, holds: holds(record) }))];
    }),
  );
  const rotten = specimen.segments().flatMap((file) => {
    const { bad } = scan(readFileSync(specimen.path(file)));
    return bad.map(({ from }) => `${Number.parseInt(file, 10)}/${from}`);
  });
  return { ...truth, records, rotten: new Set(rotten) };
}

/** For each message that stands in several records, as after an update or once it was carried: a byte of what the last one holds. */
export function lastContents({ messages, records }: Anatomy): Wound[] {
  const holding = [...records].flatMap(([file, some]) =>
    some.flatMap(({ header, holds, end }) =>
      holds === undefined ? [] : { uuid: header['u'], file, at: end - 2 },
    ),
  );
  return [...messages.keys()].flatMap((uuid) => {
    const all = holding.filter((each) => each.uuid === uuid);
    const last = all.at(-1);
    return last && all.length > 1 ? { file: last.file, kind: 'flip', from: last.at, to: last.at + 1 } : [];
  });
}

export function flip(specimen: Specimen, { file, from }: Wound): void {
  const bytes = readFileSync(specimen.path(file));
  bytes[from]! ^= 1;
  writeFileSync(specimen.path(file), bytes);
}

function payloadOf(line: string): string {
  return JSON.stringify((JSON.parse(line) as unknown[])[2]);
}

function touches(wounds: readonly Wound[], file: string, start: number, end: number): boolean {
  return wounds.some((each) => {
    // One between two lines hits neither.
    if (each.kind === 'put') return each.file === file && each.from > start + 1 && each.from < end - 1;
    return each.file === file && each.from < end && each.to > start;
  });
}

/** Works on copies of `damaged`, which it leaves as it is but repaired. */
export async function expectSafe(damaged: Specimen, anatomy: Anatomy, wounds: Wound[]): Promise<void> {
  const report = await verifyQueue(damaged.folder);
  if (wounds.some(({ kind }) => MOVING.has(kind))) expectGapsTold(report, anatomy, wounds);
  else expectTold(report, anatomy, wounds);
  const used = damaged.copy();
  try {
    await expectUsable(used, anatomy);
  } finally {
    used.dispose();
  }
  const met = damaged.copy();
  try {
    await expectRemembered(met, anatomy, wounds);
  } finally {
    met.dispose();
  }
  const before = filesOf(damaged);
  const done = await repairQueue(damaged.folder, OPTIONS);
  expect(done.outcome === 'sound').toBe(report.sound);
  if (report.sound) expect(filesOf(damaged)).toEqual(before);
  else {
    expect(done).toMatchObject({ outcome: 'repaired', sound: true });
    expect(await repairQueue(damaged.folder, OPTIONS)).toMatchObject({ outcome: 'sound' });
    expect(filesIn(join(done.quarantine!, 'old'))).toEqual(before);
  }
  await expectSaved(damaged, anatomy, wounds, done);
}

/** Every record that was hit is reported by its bytes; but for the end of the newest segment, of which nobody else knows. */
function expectTold({ damage }: VerifyReport, anatomy: Anatomy, wounds: Wound[]): void {
  const { records } = anatomy;
  const newest = [...records.keys()].at(-1);
  const isForgotten = new Hits(anatomy, wounds).isForgotten();
  // Without the newest one the one before it looks like that.
  const last = isForgotten ? [...records.keys()].slice(-2) : [newest];
  for (const { file, from, to, kind } of wounds) {
    const all = records.get(file) ?? [];
    // What stands behind the seal has never counted.
    const sealedAt = all.find(({ header }) => header.op === 'seal')?.start ?? Infinity;
    const hit = all.filter(({ start, end }) => start < to && end > from && start <= sealedAt);
    const reported = damage.filter((each) => each.file === file);
    if (reported.some(({ kind: what }) => what === 'head' || what === 'missing')) continue;
    // Of an older one somebody knows, where something waited in it.
    if (wounds.some((each) => each.file === file && each.kind === 'gone')) {
      if (file === newest && !isForgotten) expect.fail(`nothing is reported of ${file}`);
      continue;
    }
    if (kind === 'cut') {
      if (hit.length > 0 && !last.includes(file) && reported.length === 0)
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

/**
 * Of a file from which bytes are missing in the midst something is reported, wherever a record was hit or moved that counts.
 * Where exactly cannot be asked for: all that tells it may stand in bytes that are gone.
 */
function expectGapsTold({ damage }: VerifyReport, anatomy: Anatomy, wounds: Wound[]): void {
  const hits = new Hits(anatomy, wounds);
  for (const wound of wounds) {
    const { file, from } = wound;
    const known = hits.counting(file).some((each) => each.end > from || hits.has(each));
    if (!known || hits.isEnd(file, from) || hits.isTraceless(wound)) continue;
    if (!damage.some((each) => each.file === file)) expect.fail(`nothing is reported of ${file}`);
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

/** What was lost is told although others have met the damage before, and made a head that knows nothing of it. */
async function expectRemembered(specimen: Specimen, anatomy: Anatomy, wounds: Wound[]): Promise<void> {
  const hits = new Hits(anatomy, wounds);
  const before = filesOf(specimen);
  const manager = await openManager(specimen.root);
  try {
    await manager.queueStatus(Q);
    await all(manager);
  } catch (error) {
    expectTypedError(error);
  } finally {
    await manager.close();
  }
  // They have left nothing: what a repair of this comes to, `expectSafe` looks at as well.
  if (isDeepStrictEqual(filesOf(specimen), before)) return;
  const report = await repairQueue(specimen.folder, OPTIONS);
  if (!report.exists || hits.isBlind) return;
  const found = [...(await messagesOf(specimen)).values()];
  const there = new Set(found.map(({ uuid }) => uuid));
  const unsaid = [...anatomy.messages.keys()].filter((uuid) => {
    return !there.has(uuid) && !hits.isNamed(uuid, report) && !hits.isGone(uuid, report);
  });
  expectCounted(unsaid, there, hits, report);
  expectNoMoreLost(there, anatomy, hits, report);
  expectDoubted(found, anatomy, hits, report);
}

/**
 * All whose content was not hit are there, in order, and as they were, unless something that tells of them was hit; what is
 * not there has been said to be lost, and what had ended is back only where that may not be known.
 */
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
  const status = report.exists ? await manager.queueStatus(Q) : undefined;
  await manager.close();
  if (status) expect(status).toMatchObject({ damaged: 0, counts: report.counts });
  expect(report.messages).toBe(found.length);
  for (const message of found) expectWritten(message, anatomy);
  const hits = new Hits(anatomy, wounds);
  const unsaid: string[] = [];
  const there = new Set(found.map(({ uuid }) => uuid));
  expect(there.size).toBe(found.length);
  const order = [...anatomy.messages.keys()];
  // Behind missing bytes a message stands elsewhere than one that is known by where it stood; so does one of which the second add is left.
  const hasMoved = (uuid: string): boolean =>
    hits.isSecond(uuid) || hits.holders(uuid).some((each) => hits.hasMoved(each));
  const places = found
    .filter(({ uuid }) => !hasMoved(uuid))
    .map(({ uuid }) => order.indexOf(uuid))
    .filter((place) => place >= 0);
  expect(places).toEqual(places.toSorted((a, b) => a - b));
  for (const uuid of order) {
    if (there.has(uuid)) continue;
    if (hits.holders(uuid).some((each) => !hits.has(each) && !hits.hasMoved(each)))
      expect.fail(`message ${uuid} is not there, although its record is sound`);
    if (!hits.isNamed(uuid, report) && !hits.isUnknown(uuid) && !hits.isGone(uuid, report)) unsaid.push(uuid);
  }
  expectCounted(unsaid, there, hits, report);
  expectNoMoreLost(there, anatomy, hits, report);
  for (const message of found) {
    const { uuid, data } = message;
    const before = anatomy.messages.get(uuid);
    if (!before) {
      if (!hits.mayChange(uuid) && !hits.maySpare(uuid))
        expect.fail(`message ${uuid} had ended, and is back`);
      continue;
    }
    if (!hits.mayChange(uuid)) expect(message).toEqual(before);
    const isOld = JSON.stringify(data) !== JSON.stringify(before.data);
    if (
      isOld &&
      hits.holders(uuid).some((each) => each.holds === JSON.stringify(before.data) && !hits.has(each))
    )
      expect.fail(`message ${uuid} holds what it held before, although its update is sound`);
  }
  expectDoubted(found, anatomy, hits, report);
  if (status && !hits.general) expect(status.customAttributes).toEqual(anatomy.attributes);
}

/** What is lost without a name is at least counted, each by itself; and what is said to be lost is not there. */
function expectCounted(
  unsaid: readonly string[],
  there: ReadonlySet<string>,
  hits: Hits,
  { lost, unnamed }: RepairReport,
): void {
  const counted = countOf(lost);
  if (unsaid.length > counted + unnamed)
    expect.fail(`${unsaid.join(', ')} are lost, and only ${counted} and perhaps ${unnamed} are spoken of`);
  for (const each of lost) {
    const uuid = hits.uuidOf(each);
    // Other records name the first.
    if (uuid !== undefined && there.has(uuid) && !hits.isSecond(uuid))
      expect.fail(`message ${uuid} is there, and said to be lost`);
  }
}

/** No more are said to be lost than are not there; or had ended, where the newest segment was hit, which tells of that. And each once. */
function expectNoMoreLost(
  there: ReadonlySet<string>,
  { messages, contents, rotten }: Anatomy,
  hits: Hits,
  { lost }: RepairReport,
): void {
  const named = lost.flatMap(({ position }) => position?.join('/') ?? []);
  expect(named).toEqual([...new Set(named)]);
  // Where records have moved, one that is named may be among those that are counted.
  if (hits.isBlind) return;
  const told = lost
    .filter(({ position }) => !rotten.has(position?.join('/') ?? ''))
    .reduce((sum, { count }) => sum + count, 0);
  const absent = [...contents.keys()].filter((uuid) => !there.has(uuid));
  const missing = absent.filter(
    (uuid) => messages.has(uuid) || (hits.isNewestHit && hits.mayChange(uuid)),
  ).length;
  if (told > missing) expect.fail(`${told} are said to be lost, and ${missing} may be`);
}

/** Of those that are lost without a name. */
function countOf(lost: readonly Lost[]): number {
  return lost.filter(({ position }) => !position).reduce((sum, { count }) => sum + count, 0);
}

/**
 * Of the messages that are back it is said how many there may be; those with an earlier content stand as failed, or are counted among
 * the records that are not legible. Unless the end of the newest segment is gone, or all that tells is offsets that are wrong.
 */
function expectDoubted(
  found: readonly Message[],
  { messages }: Anatomy,
  hits: Hits,
  { lost, unnamed, doubtful }: RepairReport,
): void {
  if (hits.isBlind) return;
  const back = found.filter(({ uuid }) => !messages.has(uuid));
  if (back.length > doubtful + unnamed + countOf(lost))
    expect.fail(`${back.map(({ uuid }) => uuid).join(', ')} are back, and ${doubtful} are doubted`);
  const stale = found.filter(({ uuid, data, state }) => {
    const before = messages.get(uuid);
    return before && state !== 'failed' && JSON.stringify(data) !== JSON.stringify(before.data);
  });
  if (stale.length > unnamed)
    expect.fail(`${stale.map(({ uuid }) => uuid).join(', ')} hold what they held before, and may run`);
}

interface Told extends RecordAt {
  file: string;
  /** The payload, of records that hold a message. */
  holds: string | undefined;
  /** It stands behind a seal: what it was to do was done again in the next segment, or not at all. */
  isVoid: boolean;
}

/** What was hit, told from the records as they were: nothing of it is asked of the queue. */
class Hits {
  readonly #told: readonly Told[];
  readonly #wounds: readonly Wound[];
  /** Positions that are named together with one that a hit record names. */
  readonly #named: ReadonlySet<string>;
  readonly #positions = new Map<string, string>();
  /** Something that concerns the queue as a whole, or what a head says, was hit. */
  readonly general: boolean;

  constructor({ records }: Anatomy, wounds: readonly Wound[]) {
    this.#wounds = wounds;
    this.#told = [...records].flatMap(([file, some]) => {
      const sealed = some.find(({ header }) => header.op === 'seal')?.start ?? Infinity;
      return some.map((each) => ({ ...each, file, isVoid: each.start > sealed }));
    });
    for (const { header, file, start } of this.#told) {
      if (header.op === 'add')
        this.#positions.set(header['u'] as string, `${Number.parseInt(file, 10)}/${start}`);
    }
    // Where every offset is wrong, a record names something else than it did, or nothing.
    const hit = this.#told.filter((each) => this.has(each) || this.hasMoved(each));
    this.general = hit.some(({ header }) => !('n' in header) || GENERAL.has(header.op));
    const groups = this.#told.map((each) => ({ names: namedBy(each), hit: hit.includes(each) }));
    const named = new Set(groups.filter((each) => each.hit).flatMap(({ names }) => names));
    for (let size = -1; size !== named.size;) {
      size = named.size;
      for (const { names } of groups)
        if (names.some((name) => named.has(name))) for (const name of names) named.add(name);
    }
    this.#named = named;
  }

  /** With its newlines: without one a record may be another line. */
  has({ file, start, end }: Told): boolean {
    return touches(this.#wounds, file, start - 1, end + 1);
  }

  /** Whether bytes in front of it are missing. */
  hasMoved({ file, start }: Told): boolean {
    return this.#wounds.some(
      (each) =>
        MOVING.has(each.kind) && each.file === file && each.from < start + (each.kind === 'put' ? 1 : 0),
    );
  }

  /** The records of a file that have ever counted. */
  counting(file: string): Told[] {
    const all = this.#told.filter((each) => each.file === file);
    const sealed = all.findIndex(({ header }) => header.op === 'seal');
    return sealed < 0 ? all : all.slice(0, sealed + 1);
  }

  /** Whether nothing of the newest segment is left behind that offset: nobody else knows of it. */
  isEnd(file: string, from: number): boolean {
    return (
      file === this.#told.at(-1)!.file &&
      this.#told.every((each) => each.file !== file || each.end < from || this.has(each))
    );
  }

  get isNewestHit(): boolean {
    return this.#wounds.some(({ file }) => file === this.#told.at(-1)!.file);
  }

  /** Whether it cannot be known what the newest records did, or what any named by its offset. */
  get isBlind(): boolean {
    return this.#wounds.some(({ kind, file, from }) => MOVING.has(kind) || this.isEnd(file, from));
  }

  /** Whether of a line that stood there twice the second may be left alone. */
  isSecond(uuid: string): boolean {
    return (
      this.#wounds.some(({ kind }) => kind === 'double') && this.holders(uuid).some((each) => this.has(each))
    );
  }

  /** The records that hold what a message is, or was. */
  holders(uuid: string): Told[] {
    return this.#told.filter(
      ({ header, isVoid }) => header['u'] === uuid && HOLDING.has(header.op) && !isVoid,
    );
  }

  /** Whether anything that tells of the message may be among what was hit. */
  mayChange(uuid: string): boolean {
    return this.general || this.#named.has(this.#positions.get(uuid) ?? '');
  }

  /** Whether a purge may spare it, as it does what may have been claimed in what was hit before it. */
  maySpare(uuid: string): boolean {
    const added = this.#told.findIndex(({ header }) => header.op === 'add' && header['u'] === uuid);
    return this.#told.some(({ header, file }, i) => {
      const before = this.#told.slice(0, i).filter((each) => each.file === file);
      return header.op === 'purge' && added < i && before.some((each) => this.has(each));
    });
  }

  /** Whether the end of the newest segment is gone with it: nobody else knows of that. Or nothing tells that anything is missing. */
  isUnknown(uuid: string): boolean {
    return this.#wounds.some(
      (wound) =>
        (wound.kind === 'cut' || MOVING.has(wound.kind)) &&
        (this.isEnd(wound.file, wound.from) || this.isTraceless(wound)) &&
        this.holders(uuid).some((each) => each.file === wound.file && each.end >= wound.from),
    );
  }

  /**
   * Whether a line may have gone, or come between two others, without a trace: it was the last of its writer, and nothing that is left tells
   * where, and which, a message behind it was; of an older segment, nothing where that ended.
   */
  isTraceless({ file, kind, from, to }: Wound): boolean {
    if (kind !== 'line' && kind !== 'put') return false;
    const all = this.counting(file);
    const hit = all.filter((each) => each.start < to && each.end > from);
    const left = all.filter((each) => each.start >= to && !this.has(each));
    const isNumbered = hit.some(({ header }) => left.some((each) => each.header['w'] === header['w']));
    const isNamed = left.some((each) => {
      const uuids = each.header.op === 'done' ? each.header['u'] : [each.header['u']];
      return (uuids as string[]).some((uuid) => {
        const [segment, offset] = this.#positions.get(uuid)?.split('/').map(Number) ?? [];
        return each.header.op !== 'add' && segment === Number.parseInt(file, 10) && offset! >= from;
      });
    });
    const isOlder = file !== this.#told.at(-1)!.file;
    const next = this.#told.find((each) => Number.parseInt(each.file, 10) === Number.parseInt(file, 10) + 1);
    const isEndTold =
      isOlder && next !== undefined && !this.has(next) && left.some(({ header }) => header.op === 'seal');
    return !isNumbered && !isNamed && !isEndTold;
  }

  /** Whether the newest segment is gone, and the one that says that there was one may not say so any more. */
  isForgotten(): boolean {
    const [predecessor, newest] = [...new Set(this.#told.map(({ file }) => file))].slice(-2);
    const isGone = this.#wounds.some(({ file, kind }) => file === newest && kind === 'gone');
    return isGone && this.#wounds.some(({ file }) => file === predecessor);
  }

  /** Whether it stood in a file of which it is said that nobody knows what was in it, or of which nobody knows. */
  isGone(uuid: string, { gone }: RepairReport): boolean {
    const newest = this.#told.at(-1)!.file;
    // Where no file is left, nothing tells how many there were.
    const isGone = (file: string): boolean =>
      this.#wounds.some((each) => each.file === file && each.kind === 'gone');
    return (
      this.#told.every(({ file }) => isGone(file)) ||
      this.holders(uuid).some(
        ({ file, header }) =>
          header.op === 'add' && (gone.includes(file) || (file === newest && this.isForgotten())),
      )
    );
  }

  /** Whether it is said of the message itself, by its uuid or its position, that it is lost. */
  isNamed(uuid: string, { lost }: RepairReport): boolean {
    return lost.some((each) => this.uuidOf(each) === uuid);
  }

  /** Undefined where no message is named, or none that there was. A UUID that was hit itself is told as it stands there. */
  uuidOf({ uuid, position }: Lost): string | undefined {
    if (!position || this.#positions.has(uuid ?? '')) return uuid;
    const at = position.join('/');
    return [...this.#positions].find(([, each]) => each === at)?.[0];
  }
}

const HOLDING: ReadonlySet<string> = new Set(['add', 'update', 'carry']);
const GENERAL: ReadonlySet<string> = new Set([
  'purge',
  'pause',
  'resume',
  'attr',
  'create',
  'seal',
  'boot',
  'unsound',
  // Who holds a message is told by it.
  'writer',
]);

/** The positions that a record names, its own as well if it adds. */
function namedBy({ header, file, start }: Told): string[] {
  const { op, c, p } = header as { op: string; c?: (number | [number, number])[][]; p?: [number, number] };
  const own = op === 'add' ? [`${Number.parseInt(file, 10)}/${start}`] : [];
  const named = (c ?? []).flatMap(([segment, ...entries]) =>
    entries.map((entry) => `${String(segment)}/${Array.isArray(entry) ? entry[0] : entry}`),
  );
  return [...own, ...named, ...(p ? [p.join('/')] : [])];
}
