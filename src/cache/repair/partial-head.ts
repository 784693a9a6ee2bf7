/**
 * What a damaged head still tells, for where nothing is left to make it again from. A head is written in a fixed order,
 * and says how many records it has: so it is known of what kind those may be that are lost.
 */
import { FRESH, type Json, type TryError } from '../../message.ts';
import type { FileScanner, FileVisitor } from '../files.ts';
import { decode, isOwn } from '../header.ts';
import { checkVersion, leaseOf, lifeOf } from '../head.ts';
import type { HeadPayload, HeadRecord, HeadStart, OutcomeEntry, TouchedRecord } from '../operations.ts';
import type { FileSystem } from '../ports.ts';
import { offsetOf, position, segmentOf } from '../position.ts';
import type { QueueState } from '../state.ts';
import type { Survey } from '../survey.ts';
import { isInRuns, SegmentTable } from '../table.ts';

const ORDER: Record<HeadRecord['op'], number> = {
  head: 0,
  carry: 1,
  segment: 2,
  runs: 2,
  touched: 3,
  registered: 4,
  damage: 5,
  outcomes: 6,
  ready: 7,
};

interface Sound {
  header: HeadRecord;
  payload: Json;
  /** Where it stands in the file. */
  offset: number;
  length: number;
  headerLength: number;
}

/** The first record of a head. */
export interface Start {
  header: HeadStart;
  payload: HeadPayload;
}

export interface PartialHead {
  start: Start | undefined;
  /** Runs of what is not fresh. `whole`: none of them is missing. */
  tables: Map<number, { fresh: number; runs: number[]; whole: boolean }>;
  touched: { header: TouchedRecord; errors: TryError[] }[];
  /** Contents that were moved into it. */
  carried: Map<number, { offset: number; length: number; headerLength: number }>;
  others: Sound[];
  /** Whether a segment's runs, a touched message, or damage that it knew of, may be among what is lost. */
  lacks: { tables: boolean; touched: boolean; damage: boolean };
  /** How many touched messages, at most, as far as it tells: of what is cut off it does not. */
  lost: number;
}

/** The first record of the open file's head, where it is sound. Errors: JOURNAL_NEWER. */
export function readStart(fs: FileSystem, scanner: FileScanner, fd: number, path: string): Start | undefined {
  let start: Start | undefined;
  scanner.chunk(fd, 0, fs.stat(fd).size, {
    record(buffer, from, to, headerLength) {
      const decoded = start ? undefined : decode(buffer, from, to, headerLength);
      if (decoded?.header.op === 'head')
        start = { header: decoded.header, payload: decoded.payload as unknown as HeadPayload };
    },
    bad() {},
  });
  if (start) checkVersion(start.header, path);
  return start;
}

/** Reads the sound records of the open file that stand before `end`. Errors: JOURNAL_NEWER. */
export function readPartialHead(
  fs: FileSystem,
  scanner: FileScanner,
  fd: number,
  end: number,
  path: string,
): PartialHead {
  /** Undefined where something bad stands. */
  const found: (Sound | undefined)[] = [];
  const lines = new Set<string>();
  const visitor: FileVisitor = {
    record(buffer, start, lineEnd, headerLength, offset) {
      if (offset >= end) return;
      // A head has no line twice.
      const line = buffer.toString('latin1', start, lineEnd);
      if (lines.has(line)) return;
      lines.add(line);
      const decoded = decode(buffer, start, lineEnd, headerLength);
      if (decoded && !isOwn(decoded.header) && decoded.header.op !== 'mended')
        found.push({ ...decoded, header: decoded.header, offset, length: lineEnd - start, headerLength });
      else found.push(undefined);
    },
    bad(_buffer, _start, _end, _kind, offset) {
      if (offset < end) found.push(undefined);
    },
  };
  scanner.all(fd, 0, fs.stat(fd).size, visitor);
  return sorted(found, path);
}

function sorted(found: (Sound | undefined)[], path: string): PartialHead {
  const head: PartialHead = {
    start: undefined,
    tables: new Map(),
    touched: [],
    carried: new Map(),
    others: [],
    lacks: lacksOf(found),
    lost: 0,
  };
  if (head.lacks.touched) head.lost = lostOf(found);
  let open: { segment: number; runs: number[]; whole: boolean } | undefined;
  for (const record of found) {
    // What is missing here may be the rest of the runs before it.
    if (!record && open) open.whole = false;
    if (!record) continue;
    const { header, payload } = record;
    if (header.op === 'head') {
      checkVersion(header, path);
      head.start = { header, payload: payload as unknown as HeadPayload };
    } else if (header.op === 'segment') {
      const table = { segment: header.segment, fresh: header.fresh, runs: [...header.runs], whole: true };
      head.tables.set(header.segment, table);
      open = table;
    } else if (header.op === 'runs') {
      if (open?.segment === header.segment) open.runs.push(...header.runs);
    } else if (header.op === 'touched') {
      open = undefined;
      head.touched.push({ header, errors: (payload as unknown as TryError[] | null) ?? [] });
    } else if (header.op === 'carry') head.carried.set(position(...header.p), record);
    else head.others.push(record);
  }
  return head;
}

/** Of what kinds the missing records may be: those that belong between their sound neighbours. */
function lacksOf(found: readonly (Sound | undefined)[]): PartialHead['lacks'] {
  const sound = found.filter((record) => record !== undefined);
  const last = sound.at(-1)?.header;
  const lacks = { tables: false, touched: false, damage: false };
  if (last?.op === 'ready' && missingOf(sound, last.records) === 0) return lacks;
  const between = (from: number, to: number): void => {
    lacks.tables ||= from <= ORDER.runs && to >= ORDER.segment;
    lacks.touched ||= from <= ORDER.touched && to >= ORDER.touched;
    lacks.damage ||= from <= ORDER.damage && to >= ORDER.damage;
  };
  // Lines that have gone without a trace may have stood anywhere.
  if (!found.includes(undefined) && last?.op === 'ready') between(ORDER.head, ORDER.ready);
  let from = ORDER.head;
  let met = 0;
  for (const record of found) {
    if (record) {
      from = ORDER[record.header.op];
      met++;
      continue;
    }
    const next = sound[met];
    between(from, next ? ORDER[next.header.op] : ORDER.ready);
  }
  if (last?.op !== 'ready') between(from, ORDER.ready);
  return lacks;
}

/** Whether nothing tells that there was more in a file than its damaged head, or a part of that: it may have been cut off there. */
export function endsInHead({ own, bad }: Survey, { others }: PartialHead): boolean {
  if (own > 0 || others.some(({ header }) => header.op === 'ready')) return false;
  // Zeros at least tell how much there was.
  return bad.every(({ op, zeros }) => !zeros && (op === undefined || (op in ORDER && op !== 'ready')));
}

function lostOf(found: readonly (Sound | undefined)[]): number {
  const sound = found.filter((record) => record !== undefined);
  const last = sound.at(-1)?.header;
  return last?.op === 'ready' ? missingOf(sound, last.records) : found.length - sound.length;
}

/** How many of that many records are missing, but for the first one, which is of another kind than all others. */
function missingOf(sound: readonly Sound[], records: number): number {
  const hasStart = sound[0]?.header.op === 'head';
  return records - (sound.length - 1) - (hasStart ? 0 : 1);
}

/**
 * Brings a state up to a damaged head, across whatever lies between: what the head tells is newer. Where it does not
 * tell whether a message has ended, the message stays. Returns the positions of those.
 */
export function advance(state: QueueState, head: PartialHead): number[] {
  if (head.start) enter(state, head.start);
  for (const at of [...state.touched.keys(), ...freshOf(state)]) forgetIfEnded(state, head, at);
  for (const { header } of head.touched) state.happen(position(...header.p), { type: 'remove' });
  complete(state, head);
  for (const { header, payload } of head.others) {
    if (header.op === 'registered') state.writers.set(header.w, { who: header.who, durability: header.dur });
    if (header.op === 'outcomes')
      state.outcomes.splice(0, Infinity, ...(payload as unknown as OutcomeEntry[]));
  }
  state.recount();
  const named = new Set(head.touched.map(({ header }) => position(...header.p)));
  return [...state.touched.keys(), ...freshOf(state)].filter((at) => !named.has(at) && !isFresh(head, at));
}

/**
 * Takes what a damaged head says of segments that are `there`, to be read: it is newer than what the state says of them. Where runs of it are
 * missing, it is only better than nothing. Returns the segments of which that is so: what is fresh in them may have ended.
 */
export function takeTables(
  state: QueueState,
  { tables, touched }: PartialHead,
  isThere: (segment: number) => boolean,
): Set<number> {
  const inPart = new Set<number>();
  const named = new Set(touched.map(({ header }) => position(...header.p)));
  for (const [segment, { fresh, runs, whole }] of tables) {
    if (!isThere(segment) || (!whole && state.tables.has(segment))) continue;
    if (!whole) inPart.add(segment);
    // What had happened to these has been undone since.
    for (const at of state.touched.keys()) {
      const isOfIt = whole && segmentOf(at) === segment && !named.has(at);
      if (isOfIt && !isInRuns(runs, offsetOf(at))) state.happen(at, { type: 'remove' });
    }
    state.restoreTable(SegmentTable.unread(segment, fresh, 0, runs));
  }
  return inPart;
}

/** Adds the messages that a damaged head tells of, and of which the state does not know, because their records are lost. */
export function complete(state: QueueState, { touched, carried }: PartialHead): void {
  for (const { header, errors } of touched) {
    const at = position(...header.p);
    if (state.lifeOf(at)) continue;
    const place = position(...header.at);
    state.restore(at, lifeOf(header, errors), place, header.len, header.hl, leaseOf(header), header.a);
  }
  for (const [at, { offset, length, headerLength }] of carried) {
    if (!state.lifeOf(at)) state.restore(at, FRESH, position(state.segment, offset), length, headerLength);
  }
  state.recount();
}

function enter(state: QueueState, { header, payload }: Start): void {
  const { id, boot, created, modified, paused, added, processed, inserted, last } = header;
  // The queue before this one has been destroyed in between.
  if (state.id !== id)
    for (const at of [...state.touched.keys(), ...freshOf(state)]) state.happen(at, { type: 'remove' });
  const { options, attributes } = payload as HeadPayload & { attributes: Record<string, Json> };
  Object.assign(state, {
    id,
    boot,
    created,
    modified,
    paused,
    added,
    processed,
    inserted,
    last,
    options,
    attributes,
  });
}

function forgetIfEnded(state: QueueState, head: PartialHead, at: number): void {
  if (isFresh(head, at)) return;
  const table = head.tables.get(segmentOf(at));
  const mayBeFresh = table ? !table.whole && !isInRuns(table.runs, offsetOf(at)) : head.lacks.tables;
  if (!mayBeFresh && !head.lacks.touched) state.happen(at, { type: 'remove' });
}

/** Whether the head says so for certain. */
function isFresh({ tables }: PartialHead, at: number): boolean {
  const table = tables.get(segmentOf(at));
  return table !== undefined && table.whole && !isInRuns(table.runs, offsetOf(at));
}

/** Of the messages that a head with these runs says to be fresh: how many are. */
export function countFresh(table: SegmentTable | undefined, runs: readonly number[]): number {
  if (!table) return 0;
  let count = 0;
  for (let i = 0; i < table.count; i++) if (table.isFreshAt(i) && !isInRuns(runs, table.offsetAt(i))) count++;
  return count;
}

/** Whether nothing of that segment waits any more that was not touched, and that without damage. */
export function hasLeft({ tables, lacks, others }: PartialHead, segment: number): boolean {
  if (lacks.tables || tables.has(segment)) return false;
  return !others.some(({ header }) => header.op === 'damage' && header.segment === segment);
}

/** Positions of the messages to which nothing has happened. Only for a state whose tables have been read. */
export function* freshOf({ tables }: QueueState): Generator<number> {
  for (const table of tables.values()) {
    for (let i = table.skipTouched(); i < table.count; i++) {
      if (table.isFreshAt(i)) yield position(table.segment, table.offsetAt(i));
    }
  }
}
