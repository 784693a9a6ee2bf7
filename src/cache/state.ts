/**
 * The state of a queue, as its log tells it. Pure: consults no clock, no file, no process table, so every process
 * that has applied the same bytes holds the same state. Records are applied in the order of the log; a record whose
 * comparison with the state fails has no effect.
 */
import type { Durability, QueueOptions } from '../backend.ts';
import { QueueError, quote } from '../errors.ts';
import {
  born,
  transition,
  type Happening,
  type Json,
  type Life,
  type Outcome,
  type TryError,
} from '../message.ts';
import { Line } from './line.ts';
import type {
  HeadPayload,
  HeadStart,
  OutcomeEntry,
  Operation,
  Place,
  SealReason,
  StampRecord,
  Where,
  Written,
} from './operations.ts';
import type { Identity } from './ports.ts';
import { offsetOf, position, segmentOf } from './position.ts';
import { PREFIX } from './record.ts';
import { SegmentTable } from './table.ts';

export type Header = Operation & Written;

/** What a record has changed; its writer's answer. */
export type Effect =
  | { kind: 'none' }
  | { kind: 'added'; at: number }
  | { kind: 'duplicate'; at: number }
  | { kind: 'full'; limit: 'maxMessages' | 'maxBytes' }
  | { kind: 'changed'; at: number[] }
  | { kind: 'purged'; count: number };

export interface Lease {
  writer: string;
  /** Monotonic time of its beginning, on the writer's machine. */
  began: number;
  /** Milliseconds. */
  length: number;
}

/** A message to which something has happened. */
export interface Touched {
  life: Life;
  /** Where its content stands: the record that added it, or updated it, or carried it. */
  place: number;
  /** Of that record; 0 when not known (its prefix tells). */
  length: number;
  headerLength: number;
  lease?: Lease;
}

export interface Writer {
  who: Identity;
  durability: Durability;
}

export interface Seal {
  offset: number;
  checksum: string;
  why: SealReason;
}

export interface Damage {
  segment: number;
  from: number;
  to: number;
}

const NONE: Effect = { kind: 'none' };

/** Where a life is counted: each message once. */
export const BUCKETS = ['ready', 'deferred', 'claimed', 'disabled', 'failed'] as const;
export type Bucket = (typeof BUCKETS)[number];
export function bucketOf(life: Life): Bucket {
  const { state } = life.phase;
  return life.disabled && (state === 'ready' || state === 'deferred') ? 'disabled' : state;
}

export class QueueState {
  /** '' while no queue of this name exists. */
  id = '';
  options: QueueOptions = {};
  attributes: Record<string, Json> = {};
  segment: number;
  created = 0;
  modified = 0;
  paused = false;
  /** Messages ever added, and ever completed or taken. */
  added = 0;
  processed = 0;
  inserted: StampRecord | null = null;
  last: StampRecord | null = null;
  boot = '';
  /** Of the effects of this segment's records so far. */
  digest = 0;
  seal: Seal | undefined;
  /** The name of the successor's temporary file, once the log has chosen it. */
  successor: string | undefined;
  readonly counts: Record<Bucket, number> = { ready: 0, deferred: 0, claimed: 0, disabled: 0, failed: 0 };
  /** Bytes of waiting payloads; kept only for a queue with `maxBytes`. */
  bytes = 0;
  /** Segments with fresh messages, ascending; the current one always. */
  readonly tables = new Map<number, SegmentTable>();
  readonly touched = new Map<number, Touched>();
  /** Claimed messages, by position. */
  readonly claimed = new Set<number>();
  /** Messages that have outlived a process that worked on them. */
  readonly crashed = new Set<number>();
  readonly aliases = new Map<string, number>();
  readonly writers = new Map<string, Writer>();
  readonly damage: Damage[] = [];
  readonly outcomes: OutcomeEntry[] = [];
  readonly line = new Line(this);
  readonly #keepOutcomes: number;
  readonly #aliasOf = new Map<number, string>();
  #table: SegmentTable;

  constructor(segment: number, keepOutcomes: number) {
    this.segment = segment;
    this.#keepOutcomes = keepOutcomes;
    this.#table = new SegmentTable(segment, true);
    this.tables.set(segment, this.#table);
  }

  /** Messages that wait or are being worked on. */
  get waiting(): number {
    const { ready, deferred, claimed, disabled } = this.counts;
    return ready + deferred + claimed + disabled;
  }

  /** Whether an add's fate depends on what is in the queue. */
  get needsWhole(): boolean {
    return this.needsTables || this.options.maxMessages !== undefined;
  }

  /** Whether every table must be read before records are applied. */
  get needsTables(): boolean {
    return this.options.uniqueAlias === true || this.options.maxBytes !== undefined;
  }

  /** The seal has been passed: from here on records of `segment` are applied. */
  enterSegment(segment: number): void {
    if (this.#table.fresh === 0) this.tables.delete(this.segment);
    this.segment = segment;
    this.#table = new SegmentTable(segment, true);
    this.tables.set(segment, this.#table);
    this.digest = 0;
    this.seal = undefined;
    this.successor = undefined;
  }

  lifeOf(at: number): Life | undefined {
    return this.touched.get(at)?.life ?? this.tables.get(segmentOf(at))?.freshLife(offsetOf(at));
  }

  aliasAt(alias: string): number | undefined {
    return this.aliases.get(alias);
  }

  /** Notes the alias of a waiting message of a queue with unique aliases, found while loading. */
  noteAlias(at: number, alias: string): void {
    this.aliases.set(alias, at);
    this.#aliasOf.set(at, alias);
  }

  /** The alias of a message of a queue with unique aliases. */
  aliasOf(at: number): string | undefined {
    return this.#aliasOf.get(at);
  }

  /** While loading a head: a touched message. */
  restore(
    at: number,
    life: Life,
    place: number,
    length: number,
    headerLength: number,
    lease?: Lease,
    alias?: string,
  ): void {
    const touched: Touched = { life, place, length, headerLength };
    if (lease) touched.lease = lease;
    if (alias !== undefined) this.noteAlias(at, alias);
    this.touched.set(at, touched);
    if (life.crashes > 0) this.crashed.add(at);
    if (life.phase.state === 'claimed') this.claimed.add(at);
    else this.line.enter(at, life);
  }

  /** While loading a head: an older segment. The current one's table stays the last. */
  restoreTable(table: SegmentTable): void {
    this.tables.set(table.segment, table);
    this.tables.delete(this.segment);
    this.tables.set(this.segment, this.#table);
  }

  /** The content of a message has been carried to a head. */
  carry(at: number, place: number, length: number, headerLength: number): void {
    let touched = this.touched.get(at);
    if (!touched) {
      const table = this.tables.get(segmentOf(at));
      const life = table?.freshLife(offsetOf(at));
      if (!table || !life) return;
      touched = { life, place, length, headerLength };
      this.touched.set(at, touched);
      table.touch(offsetOf(at));
      if (table.fresh === 0 && table !== this.#table) this.tables.delete(table.segment);
      this.line.enter(at, life);
    }
    touched.place = place;
    touched.length = length;
    touched.headerLength = headerLength;
  }

  /**
   * What a mere producer needs of a record: whether its own add counts, and which file comes next. A state that is
   * fed by this knows no messages.
   */
  applyControl(h: Header | HeadStart, offset: number, checksum: string, payload: () => Json): Effect {
    if (h.op === 'head') {
      this.id = h.id;
      this.boot = h.boot;
      this.options = (payload() as unknown as HeadPayload).options;
      return NONE;
    }
    if (this.seal) {
      this.#afterSeal(h);
      return NONE;
    }
    switch (h.op) {
      case 'add':
        return this.id === '' ? NONE : { kind: 'added', at: position(this.segment, offset) };
      case 'boot':
      case 'writer':
      case 'seal':
      case 'create':
        return this.#apply(h, offset, 0, 0, checksum, payload);
      default:
        return NONE;
    }
  }

  /**
   * Applies the record at `offset` of the current segment.
   * @param payload gives the record's payload; called only by the few that need it.
   */
  apply(
    h: Header,
    offset: number,
    length: number,
    headerLength: number,
    checksum: string,
    payload: () => Json,
  ): Effect {
    if (this.seal) {
      this.#afterSeal(h);
      return NONE;
    }
    const effect = this.#apply(h, offset, length, headerLength, checksum, payload);
    if (effect !== NONE) {
      if (h.t > this.modified) this.modified = h.t;
      this.digest = (Math.imul(this.digest ^ offset, 0x9e3779b1) + weight(effect)) | 0;
    }
    return effect;
  }

  #afterSeal(h: Header): void {
    if (h.op !== 'next' || this.successor !== undefined) return;
    if (h.at === this.seal!.offset && h.crc === this.seal!.checksum) this.successor = h.r;
  }

  #apply(
    h: Header,
    offset: number,
    length: number,
    headerLength: number,
    checksum: string,
    payload: () => Json,
  ): Effect {
    switch (h.op) {
      case 'add':
        return this.#add(h, offset, length, headerLength);
      case 'claim': {
        if (this.paused) return NONE;
        const token = `${h.w}.${h.k}`;
        const lease: Lease = { writer: h.w, began: h.m, length: h.ms };
        const granted: number[] = [];
        eachMessage(h.c, (at, due) => {
          if (granted.length < h.max && this.#happen(at, { type: 'claim', token, due }, lease))
            granted.push(at);
        });
        return changed(granted);
      }
      case 'take': {
        if (this.paused) return NONE;
        const granted: number[] = [];
        let index = 0;
        eachMessage(h.c, (at, due) => {
          const i = index++;
          if (granted.length >= h.max || !this.#happen(at, { type: 'take', due })) return;
          granted.push(at);
          this.#ended(h.u[i], h.a[i], 'taken', h.t);
        });
        return changed(granted);
      }
      case 'done': {
        const ended: number[] = [];
        let index = 0;
        eachMessage(h.c, (at) => {
          const i = index++;
          if (!this.#happen(at, { type: 'complete', token: h.k })) return;
          ended.push(at);
          this.#ended(h.u[i], h.a[i], 'completed', h.t);
        });
        return changed(ended);
      }
      case 'renew': {
        const writer = h.k.slice(0, h.k.indexOf('.'));
        const lease: Lease = { writer, began: h.m, length: h.ms };
        return this.#each(h.c, { type: 'renew', token: h.k }, lease);
      }
      case 'release':
        return this.#each(h.c, { type: 'release', token: h.k });
      case 'fail':
        return this.#each(h.c, {
          type: 'fail',
          token: h.k,
          error: payload() as unknown as TryError,
          due: h.d,
        });
      case 'lapse': {
        const evidence = payload() as unknown as TryError;
        return this.#each(h.c, (life) => ({
          type: 'lapse',
          token: h.k,
          renewal: h.r,
          final: h.f === 1,
          error: { ...evidence, attempt: life.attempts },
        }));
      }
      case 'update':
        return this.#update(h, offset, length, headerLength);
      case 'set':
        return this.#each([h.p], {
          type: 'update',
          due: h.d,
          disabled: h.x === undefined ? undefined : h.x === 1,
        });
      case 'remove': {
        const effect = this.#each([h.p], { type: 'remove' });
        if (effect !== NONE) this.#remember(h.u, h.a ?? '', 'removed', h.t);
        return effect;
      }
      case 'retry':
        return this.#each(h.c ?? this.#failed(), { type: 'retry' });
      case 'purge':
        return this.#purge();
      case 'pause':
      case 'resume':
        if (this.paused === (h.op === 'pause')) return NONE;
        this.paused = h.op === 'pause';
        return changed([offset]);
      case 'attr':
        this.#patchAttributes(payload() as Record<string, Json>);
        return changed([offset]);
      case 'processed':
        this.last = { u: h.u, a: h.a, t: h.t };
        return changed([offset]);
      case 'writer':
        this.writers.set(h.w, { who: h.who, durability: h.dur });
        return NONE;
      case 'boot':
        this.boot = h.id;
        return NONE;
      case 'create':
        return this.#create(h, payload() as unknown as HeadPayload);
      case 'seal':
        this.seal = { offset, checksum, why: h.why };
        return NONE;
      case 'next':
        return NONE;
      default:
        throw new QueueError(
          'JOURNAL_NEWER',
          `this version of Coda does not know the operation ${quote((h as { op: unknown }).op)}`,
        );
    }
  }

  #add(h: Header & { op: 'add' }, offset: number, length: number, headerLength: number): Effect {
    const refusal = this.#refusal(h, length, headerLength);
    if (refusal) {
      this.#table.refuse(offset);
      return refusal;
    }
    const at = position(this.segment, offset);
    if (this.options.uniqueAlias && h.a !== undefined) this.noteAlias(at, h.a);
    if (this.options.maxBytes !== undefined) this.bytes += payloadBytes(length, headerLength);
    this.#table.add(offset, length, headerLength, h.d, h.x === 1);
    this.added++;
    this.inserted = { u: h.u, a: h.a ?? '', t: h.t };
    if (h.d === undefined && h.x === undefined) {
      this.counts.ready++;
    } else {
      const life = born(h.d, h.x === 1);
      this.counts[bucketOf(life)]++;
      this.line.enter(at, life);
    }
    return { kind: 'added', at };
  }

  #refusal(h: Header & { op: 'add' }, length: number, headerLength: number): Effect | undefined {
    if (this.id === '') return NONE;
    const { uniqueAlias, maxMessages, maxBytes } = this.options;
    if (uniqueAlias && h.a !== undefined) {
      const there = this.aliases.get(h.a);
      if (there !== undefined) return { kind: 'duplicate', at: there };
    }
    if (maxMessages !== undefined && this.waiting >= maxMessages)
      return { kind: 'full', limit: 'maxMessages' };
    if (maxBytes !== undefined && this.bytes + payloadBytes(length, headerLength) > maxBytes)
      return { kind: 'full', limit: 'maxBytes' };
    return undefined;
  }

  #update(h: Header & { op: 'update' }, offset: number, length: number, headerLength: number): Effect {
    const at = position(...h.p);
    const life = this.lifeOf(at);
    if (!life || (this.touched.get(at)?.place ?? at) !== position(...h.at)) return NONE;
    if (this.options.uniqueAlias && this.#aliasOf.get(at) !== h.a) {
      const there = h.a === undefined ? undefined : this.aliases.get(h.a);
      if (there !== undefined) return { kind: 'duplicate', at: there };
      this.#forgetAlias(at);
      if (h.a !== undefined) this.noteAlias(at, h.a);
    }
    if (this.options.maxBytes !== undefined && isWaiting(life))
      this.bytes += payloadBytes(length, headerLength) - this.#bytesOf(at);
    this.#happen(at, { type: 'update', due: h.d, disabled: h.x === undefined ? undefined : h.x === 1 });
    const touched = this.touched.get(at)!;
    touched.place = position(this.segment, offset);
    touched.length = length;
    touched.headerLength = headerLength;
    return changed([at]);
  }

  #create(h: Header & { op: 'create' }, payload: HeadPayload): Effect {
    if (this.id !== '') return NONE;
    this.id = h.id;
    this.options = payload.options;
    this.attributes = payload.attributes as Record<string, Json>;
    this.created = h.t;
    return changed([0]);
  }

  #each(where: Where[], event: Happening | ((life: Life) => Happening), lease?: Lease): Effect {
    const changedOnes: number[] = [];
    eachMessage(where, (at) => {
      const life = typeof event === 'function' ? this.lifeOf(at) : undefined;
      const happening = typeof event === 'function' ? life && event(life) : event;
      if (happening && this.#happen(at, happening, lease)) changedOnes.push(at);
    });
    return changed(changedOnes);
  }

  #failed(): Where[] {
    const where: Where[] = [];
    for (const [at, { life }] of this.touched)
      if (life.phase.state === 'failed') where.push([segmentOf(at), offsetOf(at)]);
    return where;
  }

  /** The only place where a message's life changes. False: the event did not apply. */
  #happen(at: number, event: Happening, lease?: Lease): boolean {
    let touched = this.touched.get(at);
    const table = touched ? undefined : this.tables.get(segmentOf(at));
    const before = touched ? touched.life : table?.freshLife(offsetOf(at));
    if (!before) return false;
    const after = transition(before, event);
    if (after === undefined) return false;
    this.counts[bucketOf(before)]--;
    if (this.options.maxBytes !== undefined) {
      const gained = Number(typeof after !== 'string' && isWaiting(after)) - Number(isWaiting(before));
      this.bytes += gained * this.#bytesOf(at);
    }
    if (typeof after === 'string') {
      if (this.#aliasOf.size > 0) this.#forgetAlias(at);
      if (touched) this.touched.delete(at);
      this.claimed.delete(at);
      this.crashed.delete(at);
    } else {
      if (after.crashes > 0) this.crashed.add(at);
      else if (before.crashes > 0) this.crashed.delete(at);
      this.counts[bucketOf(after)]++;
      if (touched) touched.life = after;
      else {
        const i = table!.read ? table!.find(offsetOf(at)) : -1;
        const length = i < 0 ? 0 : table!.lengthAt(i);
        const headerLength = i < 0 ? 0 : table!.headerLengthAt(i);
        touched = { life: after, place: at, length, headerLength };
        this.touched.set(at, touched);
      }
      if (after.phase.state === 'claimed') {
        if (lease) touched.lease = lease;
        this.claimed.add(at);
      } else {
        delete touched.lease;
        this.claimed.delete(at);
        this.line.enter(at, after);
      }
    }
    if (table) {
      table.touch(offsetOf(at));
      if (table.fresh === 0 && table !== this.#table) this.tables.delete(table.segment);
    }
    return true;
  }

  /** Ends everything that is not claimed: the `purge` transition, without reading the tables for it. */
  #purge(): Effect {
    const before = this.counts.ready + this.counts.deferred + this.counts.disabled + this.counts.failed;
    for (const [at, { life }] of this.touched) {
      if (life.phase.state === 'claimed') continue;
      this.touched.delete(at);
      this.crashed.delete(at);
    }
    for (const table of this.tables.values()) {
      table.touchAll();
      if (table !== this.#table) this.tables.delete(table.segment);
    }
    for (const at of this.#aliasOf.keys()) if (!this.touched.has(at)) this.#forgetAlias(at);
    this.bytes = 0;
    if (this.options.maxBytes !== undefined)
      for (const at of this.touched.keys()) this.bytes += this.#bytesOf(at);
    const { claimed } = this.counts;
    Object.assign(this.counts, { ready: 0, deferred: 0, claimed, disabled: 0, failed: 0 });
    return before === 0 ? NONE : { kind: 'purged', count: before };
  }

  #patchAttributes(patch: Record<string, Json>): void {
    const next = new Map(Object.entries(this.attributes));
    for (const [key, value] of Object.entries(patch)) {
      if (value === null) next.delete(key);
      else next.set(key, value);
    }
    // fromEntries defines own properties: a key named __proto__ stays a key.
    this.attributes = Object.fromEntries(next);
  }

  #ended(uuid: string | undefined, alias: string | undefined, outcome: Outcome, time: number): void {
    this.processed++;
    this.last = { u: uuid ?? '', a: alias ?? '', t: time };
    this.#remember(uuid ?? '', alias ?? '', outcome, time);
  }

  #remember(u: string, a: string, o: Outcome, t: number): void {
    this.outcomes.push({ u, a, o, t });
    // Cut in bulk: shifting a thousand entries for each new one would cost more than the message.
    if (this.outcomes.length > this.#keepOutcomes * 2 + 16)
      this.outcomes.splice(0, this.outcomes.length - this.#keepOutcomes);
  }

  #forgetAlias(at: number): void {
    const alias = this.#aliasOf.get(at);
    if (alias === undefined) return;
    this.#aliasOf.delete(at);
    if (this.aliases.get(alias) === at) this.aliases.delete(alias);
  }

  #bytesOf(at: number): number {
    const touched = this.touched.get(at);
    if (touched) return payloadBytes(touched.length, touched.headerLength);
    const table = this.tables.get(segmentOf(at));
    const i = table?.find(offsetOf(at)) ?? -1;
    return i < 0 ? 0 : payloadBytes(table!.lengthAt(i), table!.headerLengthAt(i));
  }
}

/** Tells effects apart in the digest. */
function weight(effect: Effect): number {
  if (effect.kind === 'changed') return effect.at.length + 8;
  return effect.kind === 'purged' ? effect.count + 9 : effect.kind.length;
}

/** Whether a message counts against the queue's limits. */
function isWaiting(life: Life): boolean {
  return life.phase.state !== 'failed';
}

function changed(at: number[]): Effect {
  return at.length === 0 ? NONE : { kind: 'changed', at };
}

/** Of a record with a payload: `["…",<header>,<payload>]`. */
export function payloadBytes(length: number, headerLength: number): number {
  return length - PREFIX - headerLength - 2;
}

function eachMessage(where: Where[], visit: (at: number, due: number | undefined) => void): void {
  for (const group of where) {
    const segment = group[0];
    for (let i = 1; i < group.length; i++) {
      const entry = group[i]!;
      if (typeof entry === 'number') visit(position(segment, entry), undefined);
      else visit(position(segment, entry[0]), entry[1]);
    }
  }
}

/** Groups positions by segment, keeping their order. `dueOf` names the due time of those that are deferred. */
export function toWhere(positions: readonly number[], dueOf?: (at: number) => number | undefined): Where[] {
  const where: Where[] = [];
  let group: Where | undefined;
  for (const at of positions) {
    const segment = segmentOf(at);
    if (!group || group[0] !== segment) where.push((group = [segment]));
    const due = dueOf?.(at);
    group.push(due === undefined ? offsetOf(at) : [offsetOf(at), due]);
  }
  return where;
}

export function toPlace(at: number): Place {
  return [segmentOf(at), offsetOf(at)];
}
