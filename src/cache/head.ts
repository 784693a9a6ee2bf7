/**
 * A head: the state of a queue at the seal of a segment, written as the first records of the next one. One copy in
 * small checksummed records; when one of them is damaged the head is made again from the predecessor.
 */
import type { Json, Life, Phase, TryError } from '../message.ts';
import { QueueError } from '../errors.ts';
import { breathe } from './breath.ts';
import type { Load } from './carried.ts';
import { FileScanner } from './files.ts';
import { decode, isOwn } from './header.ts';
import type { Lease } from './messages.ts';
import {
  FORMAT,
  RULES,
  type HeadPayload,
  type HeadRecord,
  type HeadStart,
  type OutcomeEntry,
  type TouchedRecord,
} from './operations.ts';
import type { Clock, Ports } from './ports.ts';
import { position } from './position.ts';
import { asciiJson, type Batch, type Tally } from './record.ts';
import { QueueState, type Seal } from './state.ts';
import { toPlace } from './where.ts';
import { SegmentTable } from './table.ts';

/** Runs of offsets in one record. */
const RUNS = 512;
const OUTCOMES = 100;
/** Records between two looks at whether others wait. */
const STRETCH = 64;

export interface HeadSource {
  state: QueueState;
  seal: Seal | undefined;
  load: Load | undefined;
  /** Writers not to be listed any more. */
  gone: ReadonlySet<string>;
  /** Whether to tell how the last messages ended. */
  outcomes: boolean;
  now: number;
}

/**
 * Writes the head of `segment` into `batch`, others running in between; the state must not change meanwhile. After a destroy seal
 * the head says that there is no queue. Only for a state whose tables all know their runs.
 */
export async function writeHead(
  batch: Batch | Tally,
  segment: number,
  source: HeadSource,
  clock: Clock,
): Promise<void> {
  const { state, seal, load } = source;
  let records = 0;
  const put = (header: HeadRecord, payload?: unknown): number => {
    records++;
    return batch.add(asciiJson(header), payload === undefined ? undefined : JSON.stringify(payload));
  };
  const absent = state.id === '' || seal?.why === 'destroy';
  const none = new QueueState(segment, 0);
  none.boot = state.boot;
  const { id, options, attributes, boot, created, modified, paused, added, processed, inserted, last } =
    absent ? none : state;
  const start: HeadStart = {
    op: 'head',
    ctl: 1,
    format: FORMAT,
    rules: RULES,
    id,
    segment,
    prev: seal ? prevOf(state.segment, seal) : null,
    digest: state.digest,
    boot,
    t: source.now,
    created,
    modified,
    paused,
    added,
    processed,
    inserted,
    last,
  };
  const payload: HeadPayload = { options, attributes };
  put(start, payload);
  if (!absent) {
    const moved = new Map<number, { place: number; length: number; headerLength: number }>();
    for (const { at, inserted, content, json } of load?.messages ?? []) {
      const header = asciiJson({ op: 'carry', p: toPlace(at), i: inserted, ...content } satisfies HeadRecord);
      const offset = batch.add(header, json);
      records++;
      moved.set(at, {
        place: position(segment, offset),
        length: batch.length - 1 - offset,
        headerLength: header.length,
      });
    }
    for (const table of state.tables.values()) {
      if (table.fresh > 0 && table.segment !== load?.segment) putTable(table, put);
    }
    for (const [at, touched] of state.touched) {
      const { life, place, length, headerLength, lease } = touched;
      const where = moved.get(at) ?? { place, length, headerLength };
      put(
        touchedRecord(at, where, life, lease, state.aliasOf(at)),
        life.errors.length > 0 ? life.errors : undefined,
      );
      moved.delete(at);
      if (records % STRETCH === 0) await breathe(clock);
    }
    for (const [at, where] of moved)
      put(touchedRecord(at, where, state.lifeOf(at)!, undefined, state.aliasOf(at)));
    for (const [w, { who, durability }] of state.writers) {
      if (!source.gone.has(w)) put({ op: 'registered', w, who, dur: durability });
    }
    for (const damage of state.damage) put({ op: 'damage', ...damage });
    for (let i = 0; source.outcomes && i < state.outcomes.length; i += OUTCOMES) {
      put({ op: 'outcomes' }, state.outcomes.slice(i, i + OUTCOMES));
    }
  }
  put({ op: 'ready', ctl: 1, records });
}

function prevOf(segment: number, { offset, checksum, why }: Seal): HeadStart['prev'] {
  const prev = { segment, at: offset, crc: checksum };
  return why === 'sync' ? { ...prev, failed: 1 } : prev;
}

function putTable(table: SegmentTable, put: (header: HeadRecord) => void): void {
  const runs = table.runs();
  const { segment, fresh, special } = table;
  put({ op: 'segment', segment, fresh, special, runs: runs.slice(0, RUNS) });
  for (let i = RUNS; i < runs.length; i += RUNS) put({ op: 'runs', segment, runs: runs.slice(i, i + RUNS) });
}

function touchedRecord(
  at: number,
  { place, length, headerLength }: { place: number; length: number; headerLength: number },
  { phase, disabled, attempts, crashes }: Life,
  lease: Lease | undefined,
  alias: string | undefined,
): TouchedRecord {
  const plain = {
    op: 'touched' as const,
    p: toPlace(at),
    at: toPlace(place),
    len: length,
    hl: headerLength,
    attempts,
    crashes,
  };
  const base = alias === undefined ? plain : { ...plain, a: alias };
  const flagged = disabled ? { ...base, x: 1 as const } : base;
  if (phase.state === 'deferred') return { ...flagged, state: 'deferred', d: phase.due };
  if (phase.state !== 'claimed') return { ...flagged, state: phase.state };
  return {
    ...flagged,
    state: 'claimed',
    k: phase.token,
    r: phase.renewal,
    m: lease!.began,
    ms: lease!.length,
    ct: lease!.since,
    ...(lease!.progress && { pr: lease!.progress }),
  };
}

export interface LoadedHead {
  state: QueueState;
  start: HeadStart;
  /** Offset behind the head: here the segment's own records begin. */
  end: number;
  /** Contents that were moved into this head. */
  carried: { at: number; place: number; length: number; headerLength: number }[];
  /** Other segments that it names. */
  references: Set<number>;
}

/** The head of the open file, or undefined when a record of it is damaged; others run in between. Errors: JOURNAL_NEWER. */
export async function loadHead(
  { fs, clock }: Pick<Ports, 'fs' | 'clock'>,
  fd: number,
  segment: number,
  keepOutcomes: number,
  path: string,
): Promise<LoadedHead | undefined> {
  const reader = new HeadReader(segment, keepOutcomes, path);
  const scanner = new FileScanner(fs);
  const { size } = fs.stat(fd);
  for (let at = 0; at < size && reader.phase === 'reading';) {
    const next = scanner.chunk(fd, at, size, reader);
    if (next === at) break;
    at = next;
    await breathe(clock);
  }
  return reader.phase === 'whole' ? reader.result() : undefined;
}

class HeadReader {
  phase: 'reading' | 'whole' | 'damaged' = 'reading';
  readonly #state: QueueState;
  readonly #segment: number;
  readonly #path: string;
  #start: HeadStart | undefined;
  #end = 0;
  #records = 0;
  readonly #carried: LoadedHead['carried'] = [];
  readonly #references = new Set<number>();
  /** Of the segment whose runs are being read. */
  #open: { segment: number; fresh: number; special: number; runs: number[] } | undefined;

  constructor(segment: number, keepOutcomes: number, path: string) {
    this.#segment = segment;
    this.#path = path;
    this.#state = new QueueState(segment, keepOutcomes);
  }

  result(): LoadedHead {
    return {
      state: this.#state,
      start: this.#start!,
      end: this.#end,
      carried: this.#carried,
      references: this.#references,
    };
  }

  bad(): void {
    if (this.phase === 'reading') this.phase = 'damaged';
  }

  record(buffer: Buffer, start: number, end: number, headerLength: number, offset: number): void {
    if (this.phase !== 'reading') return;
    const decoded = decode(buffer, start, end, headerLength);
    if (!decoded || isOwn(decoded.header) || decoded.header.op === 'mended') {
      this.phase = 'damaged';
      return;
    }
    const { header, payload } = decoded;
    if (header.op === 'head') checkVersion(header, this.#path);
    else if (!this.#start) {
      this.phase = 'damaged';
      return;
    }
    if (header.op === 'ready') {
      this.#closeTable();
      this.phase = header.records === this.#records ? 'whole' : 'damaged';
      this.#end = offset + (end - start) + 1;
      return;
    }
    this.#records++;
    this.#take(header, payload, end - start, headerLength, offset);
  }

  #take(h: HeadRecord, payload: Json, length: number, headerLength: number, offset: number): void {
    const state = this.#state;
    switch (h.op) {
      case 'head': {
        if (h.segment !== this.#segment || this.#start) {
          this.phase = 'damaged';
          return;
        }
        this.#start = h;
        const { options, attributes } = payload as unknown as HeadPayload;
        const { id, boot, created, modified, paused, added, processed, inserted, last } = h;
        Object.assign(state, {
          id,
          options,
          attributes,
          boot,
          created,
          modified,
          paused,
          added,
          processed,
          inserted,
          last,
        });
        return;
      }
      case 'carry': {
        const at = position(...h.p);
        this.#carried.push({ at, place: position(this.#segment, offset), length, headerLength });
        return;
      }
      case 'segment':
        this.#closeTable();
        this.#references.add(h.segment);
        this.#open = { segment: h.segment, fresh: h.fresh, special: h.special, runs: h.runs };
        return;
      case 'runs':
        if (this.#open?.segment === h.segment) this.#open.runs.push(...h.runs);
        return;
      case 'touched': {
        this.#closeTable();
        this.#references.add(h.at[0]);
        const life = lifeOf(h, (payload as unknown as TryError[] | null) ?? []);
        state.restore(position(...h.p), life, position(...h.at), h.len, h.hl, leaseOf(h), h.a);
        return;
      }
      case 'registered':
        state.writers.set(h.w, { who: h.who, durability: h.dur });
        return;
      case 'damage':
        this.#references.add(h.segment);
        state.damage.push({ segment: h.segment, from: h.from, to: h.to });
        return;
      case 'outcomes':
        state.outcomes.push(...(payload as unknown as OutcomeEntry[]));
        return;
      default:
        // Not a record of a head: its end is missing.
        this.phase = 'damaged';
    }
  }

  #closeTable(): void {
    const open = this.#open;
    if (open)
      this.#state.restoreTable(SegmentTable.unread(open.segment, open.fresh, open.special, open.runs));
    this.#open = undefined;
  }
}

/** Errors: JOURNAL_NEWER. */
export function checkVersion(h: HeadStart, path: string): void {
  if (h.format <= FORMAT && h.rules <= RULES) return;
  throw new QueueError(
    'JOURNAL_NEWER',
    `this journal has format ${h.format} and rules ${h.rules}; this version of Coda reads up to ${FORMAT} and ${RULES}`,
    { path },
  );
}

export function lifeOf(h: TouchedRecord, errors: readonly TryError[]): Life {
  const { x, attempts, crashes } = h;
  return { phase: phaseOf(h), disabled: x === 1, attempts, crashes, errors };
}

function phaseOf(h: TouchedRecord): Phase {
  switch (h.state) {
    case 'deferred':
      return { state: 'deferred', due: h.d! };
    case 'claimed':
      return { state: 'claimed', token: h.k!, renewal: h.r! };
    default:
      return { state: h.state };
  }
}

export function leaseOf(h: TouchedRecord): Lease | undefined {
  if (h.state !== 'claimed') return undefined;
  const writer = h.k!.slice(0, h.k!.indexOf('.'));
  return { writer, began: h.m!, length: h.ms!, since: h.ct ?? 0, ...(h.pr && { progress: h.pr }) };
}
