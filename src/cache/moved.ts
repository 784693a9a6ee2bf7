/**
 * Segments in the midst of which bytes are missing, or have been put in: what stands behind them has moved, so that the offsets by
 * which heads and records name messages lead to others, or nowhere. What is sound there waits, then, unless a record names it by its uuid as
 * ended; and it holds what the last record that names it so says.
 */
import { born } from '../message.ts';
import { Contents } from './contents.ts';
import { isGone, scanFile, segmentName, type FileVisitor } from './files.ts';
import { decode } from './header.ts';
import type { Where } from './operations.ts';
import type { Ports } from './ports.ts';
import { offsetOf, position, segmentOf } from './position.ts';
import { Ranges, type Range } from './ranges.ts';
import type { Header, QueueState } from './state.ts';
import type { Survey } from './survey.ts';
import { eachMessage, toPlace } from './where.ts';

/** The end of the last run, of a segment that was sealed: see `SegmentTable.runs`. */
const LAST = 2 ** 32 - 1;

/** What a record says of another: that it holds this message, and whether it is the one that added it. */
interface Named {
  uuid: string | undefined;
  isAdd: boolean;
}

/** By segment and offset: what records of other segments say of the ones there, where they tell a uuid. */
export type Names = ReadonlyMap<number, Map<number, Named>>;

/** Where records of a segment do not stand where they were written. */
export interface Move {
  /** Behind this offset. */
  from: number;
  /** Bytes that are missing before some of them, as far as can be told; 0 where bytes have been put in. */
  missing: number | undefined;
  /** Whether it may be more than that. */
  isLeast: boolean;
}

/** Where the segment was sealed, as a head's runs of its ended messages tell. */
export function sealIn(runs: readonly number[]): number | undefined {
  return runs.at(-1) === LAST ? runs.at(-2) : undefined;
}

/**
 * Where a segment's seal stood, if it does not stand there any more: as others say (`seal`), or a repair, which may have given it
 * one of its own.
 */
export function formerSeal(
  { sealedAt, mended, mendedSeal, bad }: Survey,
  seal: number | undefined,
): number | undefined {
  const former = mended ? mendedSeal : seal;
  if (former === undefined || sealedAt === undefined || former === sealedAt) return undefined;
  // What has rotted there may have been the seal that counted.
  return bad.some(({ from, to }) => from <= former && former < to) ? undefined : former;
}

/** What sound records of these segments say of where messages of others stood, and which they were. Errors: those of node:fs. */
export async function findNames(
  { fs, clock }: Pick<Ports, 'fs' | 'clock'>,
  folder: string,
  segments: readonly number[],
): Promise<Names> {
  const names: Names = new Map(segments.map((segment) => [segment, new Map()]));
  for (const segment of segments) {
    const visitor: FileVisitor = {
      record(buffer, start, end, headerLength) {
        const header = decode(buffer, start, end, headerLength)?.header;
        if (!header || !('n' in header)) return;
        eachNamed(header, (place, named) => {
          if (named.uuid !== undefined && segmentOf(place) !== segment)
            names.get(segmentOf(place))?.set(offsetOf(place), named);
        });
      },
      bad() {},
    };
    const path = `${folder}/${segmentName(segment)}`;
    if (fs.kind(path) !== 'file') continue;
    let fd: number;
    try {
      fd = fs.open(path, 'read');
    } catch (error) {
      if (isGone(error)) continue;
      throw error;
    }
    try {
      await scanFile({ fs, clock }, fd, visitor);
    } finally {
      fs.close(fd);
    }
  }
  return names;
}

/**
 * Whether records of the open segment do not stand where its own records say, those of others (`names`), the runs of ended messages that
 * a head tells of it, or its successor or its index (`seal`); undefined when they do, as far as can be told. A uuid at the wrong place
 * tells it as well as a place where none is: where all lines are of one length, each stands where another stood. So does a record that says
 * of more of the file than stands before it that it was on the device.
 */
export async function movedFrom(
  ports: Pick<Ports, 'fs' | 'clock'>,
  fd: number,
  segment: number,
  survey: Survey,
  { runs = [], seal = sealIn(runs), names }: Told = {},
): Promise<Move | undefined> {
  const { bad, torn, mended = [], end, sealed, sealedAt } = survey;
  const adds = new Map<number, string>();
  const places = new Map<string, number>();
  const claims = new Set<string>();
  /** What updates and carried contents hold, by where they stand. */
  const contents = new Map<number, string>();
  /** Where what is known to stand where it was written does. */
  const right: number[] = [];
  let bound = Infinity;
  let missing: number | undefined;
  /** Likewise, at least. */
  let beyond = 0;
  const damaged = new Ranges([...bad.map(({ from, to }): Range => [from, to]), ...torn, ...mended]);
  const note = (named: number, present: number | undefined): void => {
    bound = Math.min(bound, named, present ?? Infinity);
    if (present !== undefined) missing = Math.max(missing ?? 0, named - present);
  };
  const check = (named: number, { uuid, isAdd }: Named): void => {
    // A content may be what was added, too.
    const stands = adds.get(named) ?? (isAdd ? undefined : contents.get(named));
    const present = uuid === undefined || !isAdd ? undefined : places.get(uuid);
    if (stands === undefined ? present === undefined && damaged.has(named) : uuid === undefined) return;
    if (stands !== undefined && stands === uuid) right.push(named);
    else note(named, present);
  };
  const visitor: FileVisitor = {
    record(buffer, start, to, headerLength, offset) {
      const header = decode(buffer, start, to, headerLength)?.header;
      if (!header) return;
      // Of a mended segment nothing but its messages is needed any more.
      if ('n' in header && !survey.mended) {
        if (header.op === 'claim') claims.add(`${header.w}.${header.k}`);
        eachNamed(header, (place, named) => {
          if (segmentOf(place) === segment && !isStray(header, claims)) check(offsetOf(place), named);
        });
        if (header.s !== undefined && header.s > offset) {
          bound = Math.min(bound, offset);
          beyond = Math.max(beyond, header.s - offset);
        }
      }
      // Behind that: none names itself.
      if (header.op === 'add') {
        adds.set(offset, header.u);
        places.set(header.u, offset);
      } else if (header.op === 'update' || header.op === 'carry') contents.set(offset, header.u);
    },
    bad() {},
  };
  await scanFile(ports, fd, visitor);
  // What stood there may be cut off with the end of the file.
  const isWithin = (at: number): boolean => at < end || sealed;
  if (names && !survey.mended) for (const [at, named] of names) if (isWithin(at)) check(at, named);
  // A run begins and ends with an add; the last one begins with the seal where it has no end.
  const ends = runs.at(-1) === LAST ? runs.slice(0, -2) : runs;
  for (const at of ends) if (isWithin(at)) check(at, { uuid: undefined, isAdd: true });
  const former = formerSeal(survey, seal);
  if (former !== undefined) note(former, sealedAt);
  if (bound === Infinity) return undefined;
  const sound = right.reduce((last, at) => (at < bound && at >= last ? at + 1 : last), 0);
  const first = firstFlaw(survey);
  const isLeast = beyond > (missing ?? 0);
  return { from: Math.max(sound, first <= bound ? first : 0), missing: isLeast ? beyond : missing, isLeast };
}

/** What is known of a segment from elsewhere. */
export interface Told {
  runs?: readonly number[];
  seal?: number | undefined;
  names?: ReadonlyMap<number, Named> | undefined;
}

/** Where the first record may have stood that is not sound or not there; Infinity where none is missed. */
function firstFlaw({ bad, torn, gaps, repeated }: Survey): number {
  // A torn line may be what is left of one that was whole.
  const cut = torn.reduce((first, [from]) => Math.min(first, from), Infinity);
  return [...bad, ...gaps, ...repeated].reduce((first, { from }) => Math.min(first, from), cut);
}

/** Whether it ends or renews none of these claims: it names what a caller has handed in, perhaps from another queue. */
function isStray(header: Header, claims: ReadonlySet<string>): boolean {
  const { op } = header;
  if (op !== 'done' && op !== 'renew' && op !== 'fail' && op !== 'release') return false;
  return !claims.has(header.k);
}

/** The records that added the messages a record is about, and that it was written over. By its operation: nobody has looked at the rest. */
function eachNamed(header: Header, visit: (place: number, named: Named) => void): void {
  const visitAdd = (at: number, uuid?: string): void => visit(at, { uuid, isAdd: true });
  switch (header.op) {
    case 'update':
      visit(position(...header.at), { uuid: header.u, isAdd: false });
      return visitAdd(position(...header.p), header.u);
    case 'remove':
    case 'cancel':
      return visitAdd(position(...header.p), header.u);
    case 'set':
      return visitAdd(position(...header.p));
    case 'done': {
      let i = 0;
      return eachMessage(header.c, (at) => visitAdd(at, header.u[i++]));
    }
    case 'claim':
    case 'renew':
    case 'fail':
    case 'release':
    case 'lapse':
    case 'retry':
      return eachMessage(header.c ?? [], (at) => visitAdd(at));
    default:
  }
}

/** As much of the runs [from, to, from, to, …] as lies below `offset`. */
export function runsBelow(runs: readonly number[], offset: number): number[] {
  const below: number[] = [];
  for (let i = 0; i + 1 < runs.length && runs[i]! < offset; i += 2)
    below.push(runs[i]!, Math.min(runs[i + 1]!, offset - 1));
  return below;
}

/** A sound add that does not stand where it was written. */
interface MovedAdd {
  uuid: string;
  due: number | undefined;
  disabled: boolean;
  alias: string | undefined;
  length: number;
  headerLength: number;
}

export interface Moved {
  /** Messages that stand there and wait, by uuid. */
  found: Map<string, number>;
  /** Positions of those of which there is another copy, which a head or an update has made. */
  twins: number[];
  /** Of all other messages. */
  others: Set<string>;
  /** Positions of those among them whose content is not where it should be. */
  unread: Set<number>;
}

/** What stands behind the offsets from which on segments have moved: what is said of positions there is not said of it. */
export class Displaced {
  /** By segment. */
  readonly #moves = new Map<number, Move>();
  /** By where they stand now. */
  readonly #adds = new Map<number, MovedAdd>();
  /** Of updates and carried contents, by where they stand now: the positions of their messages. */
  readonly #contents = new Map<number, number>();

  get segments(): ReadonlyMap<number, Move> {
    return this.#moves;
  }

  /** Of the open file. */
  async note(ports: Pick<Ports, 'fs' | 'clock'>, fd: number, segment: number, move: Move): Promise<void> {
    this.#moves.set(segment, move);
    let sealed = false;
    const visitor: FileVisitor = {
      record: (buffer, start, end, headerLength, offset) => {
        const header =
          offset < move.from || sealed ? undefined : decode(buffer, start, end, headerLength)?.header;
        const place = position(segment, offset);
        if (header?.op === 'seal') sealed = true;
        if (header?.op === 'update' || header?.op === 'carry')
          this.#contents.set(place, position(...header.p));
        if (header?.op !== 'add') return;
        const { u: uuid, d: due, x, a: alias } = header;
        this.#adds.set(place, { uuid, due, disabled: x === 1, alias, length: end - start, headerLength });
      },
      bad() {},
    };
    await scanFile(ports, fd, visitor);
  }

  /** Whether another record may have stood at that place. */
  has(place: number): boolean {
    const move = this.#moves.get(segmentOf(place));
    return move !== undefined && offsetOf(place) >= move.from;
  }

  /** Whether what is said of that position may be said of another message: unless it is known by another record than its add. */
  isNameless(at: number, state: QueueState): boolean {
    return this.has(at) && (state.touched.get(at)?.place ?? at) === at;
  }

  /** Whether at `place` stands what that message was changed to, or what was carried of it. */
  holds(place: number, at: number): boolean {
    return !this.has(place) || this.#contents.get(place) === at;
  }

  /** The record without what it says of messages by where they stood; undefined when nothing is left of it. */
  heed(h: Header, state: QueueState): Header | undefined {
    if (this.#moves.size === 0) return h;
    const isRight = (at: number, uuid?: string): boolean =>
      !this.isNameless(at, state) || (uuid !== undefined && this.#adds.get(at)?.uuid === uuid);
    switch (h.op) {
      case 'update':
      case 'remove':
      case 'cancel': {
        const at = position(...h.p);
        if (isRight(at, h.u)) {
          const stands = state.touched.get(at)?.place ?? at;
          // What it was written over does not stand where it did.
          return h.op === 'update' && this.has(position(...h.at)) ? { ...h, at: toPlace(stands) } : h;
        }
        return undefined;
      }
      case 'set':
        return isRight(position(...h.p)) ? h : undefined;
      case 'done': {
        const right: boolean[] = [];
        const c = sift(h.c, (at) => {
          const is = isRight(at, h.u[right.length]);
          right.push(is);
          return is;
        });
        return { ...h, c, u: h.u.filter((_, i) => right[i]), a: h.a.filter((_, i) => right[i]) };
      }
      case 'claim':
      case 'renew':
      case 'fail':
      case 'release':
      case 'lapse':
        return { ...h, c: sift(h.c, isRight) };
      case 'retry':
        return h.c ? { ...h, c: sift(h.c, isRight) } : h;
      default:
        return h;
    }
  }

  /** Of the adds that have moved. */
  get uuids(): Set<string> {
    return new Set([...this.#adds.values()].map(({ uuid }) => uuid));
  }

  /**
   * Those that wait. One that stands where another stood gets a position of its own if that one is known from elsewhere.
   */
  messages({ fs }: Pick<Ports, 'fs'>, folder: string, state: QueueState): Moved {
    const found = new Map<string, number>();
    const twins: number[] = [];
    const others = new Set<string>();
    const unread = new Set<number>();
    const contents = new Contents(fs, folder);
    try {
      const known = new Map(
        [...state.touched].map(([at, { place }]) => [
          at,
          place === at || this.holds(place, at) ? contents.read(state, at)?.content.u : undefined,
        ]),
      );
      for (const [at, { uuid, due, disabled, alias, length, headerLength }] of this.#adds) {
        const hidden = state.touched.has(at) && known.get(at) !== uuid;
        if (!hidden && (state.touched.has(at) || !state.lifeOf(at))) continue;
        const own = hidden ? freeBeside(state, at) : at;
        if (hidden)
          state.restore(
            own,
            born(due, disabled),
            at,
            length,
            headerLength,
            undefined,
            state.options.uniqueAlias ? alias : undefined,
          );
        if (found.has(uuid)) twins.push(own);
        else found.set(uuid, own);
      }
      for (const [at, uuid] of known) {
        const copy = uuid === undefined ? undefined : found.get(uuid);
        if (uuid === undefined) unread.add(at);
        else others.add(uuid);
        if (copy === undefined) continue;
        found.delete(uuid!);
        twins.push(copy);
      }
    } finally {
      contents.close();
    }
    return { found, twins, others, unread };
  }
}

/** No record begins within another, so nothing else is known by such a position. */
export function freeBeside(state: QueueState, at: number): number {
  let free = at;
  while (state.lifeOf(free)) free++;
  return free;
}

/** What is kept of a list of messages. */
function sift(where: readonly Where[], keep: (at: number) => boolean): Where[] {
  return where.map(([segment, ...entries]): Where => [
    segment,
    ...entries.filter((entry) => keep(position(segment, typeof entry === 'number' ? entry : entry[0]))),
  ]);
}
