/**
 * Segments in the midst of which bytes are missing, or have been put in: what stands behind them has moved, so that the offsets by
 * which heads and records name messages lead to others, or nowhere. What is sound there waits, then, unless a record names it by its uuid as
 * ended; and it holds what the last record that names it so says.
 */
import { Contents } from './contents.ts';
import { scanFile, type FileVisitor } from './files.ts';
import { decode } from './header.ts';
import type { Ports } from './ports.ts';
import { offsetOf, position, segmentOf } from './position.ts';
import type { Header, QueueState } from './state.ts';
import type { Survey } from './survey.ts';
import { eachMessage } from './where.ts';

/** The end of the last run, of a segment that was sealed: see `SegmentTable.runs`. */
const LAST = 2 ** 32 - 1;

/**
 * The offset behind which the records of the open segment do not stand where its own records say, or the runs of ended messages
 * that a head tells of it; undefined when they do, as far as can be told.
 */
export async function movedFrom(
  ports: Pick<Ports, 'fs' | 'clock'>,
  fd: number,
  segment: number,
  survey: Survey,
  runs: readonly number[] = [],
): Promise<number | undefined> {
  const { bad, torn, mended, end, sealed } = survey;
  const first = firstFlaw(survey);
  if (first === Infinity) return undefined;
  const adds = new Set<number>();
  const named = new Set<number>();
  // A run begins and ends with an add; the last one begins with the seal where it has no end. May be cut off with the end of the file.
  const ends = runs.at(-1) === LAST ? runs.slice(0, -2) : runs;
  for (const at of ends) if (at < end || sealed) named.add(at);
  const visitor: FileVisitor = {
    record(buffer, start, to, headerLength, offset) {
      const header = decode(buffer, start, to, headerLength)?.header;
      if (header?.op === 'add') adds.add(offset);
      // Of a mended segment nothing but its messages is needed any more.
      else if (header && 'n' in header && !mended)
        for (const at of namedBy(header)) if (segmentOf(at) === segment) named.add(offsetOf(at));
    },
    bad() {},
  };
  await scanFile(ports, fd, visitor);
  const isExplained = (offset: number): boolean =>
    offset < first ||
    adds.has(offset) ||
    // It may have been there: damaged, or taken out since.
    bad.some(({ from, to }) => from <= offset && offset < to) ||
    torn.some(([from, to]) => from <= offset && offset < to) ||
    (mended ?? []).some(([from, to]) => from <= offset && offset < to);
  return [...named].every((offset) => isExplained(offset)) ? undefined : first;
}

/** Where the first record may have stood that is not sound or not there; Infinity where none is missed. */
export function firstFlaw({ bad, torn, gaps }: Survey): number {
  // A torn line may be what is left of one that was whole.
  return Math.min(...[...bad, ...gaps].map(({ from }) => from), ...torn.map(([from]) => from));
}

/** Positions of the messages that a record is about. By its operation: what else stands in it nobody has looked at. */
function namedBy(header: Header): number[] {
  const named: number[] = [];
  switch (header.op) {
    case 'update':
    case 'set':
    case 'remove':
    case 'cancel':
      named.push(position(...header.p));
      break;
    case 'claim':
    case 'renew':
    case 'done':
    case 'fail':
    case 'release':
    case 'lapse':
    case 'retry':
      eachMessage(header.c ?? [], (at) => named.push(at));
      break;
    default:
  }
  return named;
}

/** As much of the runs [from, to, from, to, …] as lies below `offset`. */
export function runsBelow(runs: readonly number[], offset: number): number[] {
  const below: number[] = [];
  for (let i = 0; i + 1 < runs.length && runs[i]! < offset; i += 2)
    below.push(runs[i]!, Math.min(runs[i + 1]!, offset - 1));
  return below;
}

/**
 * The fresh messages behind those offsets, by their segments, and by uuid. `known`: positions of those among them of which the
 * state has another copy, which a head or an update has made. `unread`: those that the state knows, but whose content is not
 * where it should be.
 */
export function movedMessages(
  { fs }: Pick<Ports, 'fs'>,
  folder: string,
  state: QueueState,
  moved: ReadonlyMap<number, number>,
): { found: Map<string, number>; known: number[]; unread: Set<number> } {
  const found = new Map<string, number>();
  const known: number[] = [];
  const unread = new Set<number>();
  const contents = new Contents(fs, folder);
  const uuidOf = (at: number): string | undefined => contents.read(state, at)?.content.u;
  try {
    for (const [segment, from] of moved) {
      const table = state.tables.get(segment);
      if (!table) continue;
      for (let i = 0; i < table.count; i++) {
        if (table.offsetAt(i) < from || !table.isFreshAt(i)) continue;
        const at = position(segment, table.offsetAt(i));
        const uuid = uuidOf(at);
        if (uuid !== undefined) found.set(uuid, at);
      }
    }
    for (const at of found.size > 0 ? state.touched.keys() : []) {
      const uuid = uuidOf(at);
      if (uuid === undefined) unread.add(at);
      const copy = uuid === undefined ? undefined : found.get(uuid);
      if (copy === undefined) continue;
      found.delete(uuid!);
      known.push(copy);
    }
  } finally {
    contents.close();
  }
  return { found, known, unread };
}

/** What records say of messages that they name by uuid. */
export interface News {
  ended: Set<string>;
  /** The last ones, in the order of the log. */
  updates: Map<string, Update>;
}

interface Update {
  header: Header & { op: 'update' };
  /** Of its record. */
  place: number;
  length: number;
  headerLength: number;
}

/** Adds what sound records of the open file say of the messages in `wanted`. */
export async function findNews(
  ports: Pick<Ports, 'fs' | 'clock'>,
  fd: number,
  segment: number,
  wanted: ReadonlyMap<string, number>,
  { ended, updates }: News,
): Promise<void> {
  const visitor: FileVisitor = {
    record(buffer, start, end, headerLength, offset) {
      const header = decode(buffer, start, end, headerLength)?.header;
      if (header?.op === 'done') for (const uuid of header.u) if (wanted.has(uuid)) ended.add(uuid);
      if (header?.op === 'remove' && wanted.has(header.u)) ended.add(header.u);
      if (header?.op === 'update' && wanted.has(header.u)) {
        const place = position(segment, offset);
        updates.set(header.u, { header, place, length: end - start, headerLength });
      }
    },
    bad() {},
  };
  await scanFile(ports, fd, visitor);
}
