/**
 * The messages of a queue: which there are, where they stand, what has become of each. Fresh ones stand in the tables,
 * eleven bytes each; those to which something has happened in `touched`. Every change of a life goes through `happen`.
 */
import type { QueueOptions } from '../backend.ts';
import { born, transition, type Happening, type Life } from '../message.ts';
import { Line } from './line.ts';
import type { ProgressRecord } from './operations.ts';
import { offsetOf, position, segmentOf } from './position.ts';
import { PREFIX } from './record.ts';
import { SegmentTable } from './table.ts';

export interface Lease {
  writer: string;
  /** Monotonic time of its beginning, on the writer's machine. */
  began: number;
  /** Milliseconds. */
  length: number;
  /** When the message was claimed, by the wall clock. */
  since: number;
  progress?: ProgressRecord & { t: number };
}

/** A message to which something has happened. */
export interface Touched {
  life: Life;
  /** Where its content stands: the record that added it, or updated it, or carried it. */
  place: number;
  /** Of that record; 0 when not known (its prefix tells). */
  length: number;
  headerLength: number;
  /** While it is claimed. */
  lease: Lease | undefined;
}

/** Where a life is counted: each message once. */
export type Bucket = 'ready' | 'deferred' | 'claimed' | 'disabled' | 'failed';
export function bucketOf(life: Life): Bucket {
  const { state } = life.phase;
  return life.disabled && (state === 'ready' || state === 'deferred') ? 'disabled' : state;
}

/** Where a record lies, and how long it and its header are. */
export interface Extent {
  offset: number;
  length: number;
  headerLength: number;
}

export class Messages {
  /** Of the queue; fixed for its life. */
  options: QueueOptions = {};
  segment: number;
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
  readonly line = new Line(this);
  /** Messages that may have ended before what is applied now: they stand in no other's way. `size`: at most so many. */
  doubted: Pick<ReadonlySet<number>, 'has' | 'size'> = new Set();
  /** Of a queue with unique aliases. Several hold one only where a hole in the log let a second one in. */
  readonly #holders = new Map<string, number | Set<number>>();
  readonly #aliasOf = new Map<number, string>();
  #table: SegmentTable;

  constructor(segment: number) {
    this.segment = segment;
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

  /** From here on messages are added to `segment`. */
  enterSegment(segment: number): void {
    if (this.#table.fresh === 0) this.tables.delete(this.segment);
    this.segment = segment;
    this.#table = new SegmentTable(segment, true);
    this.tables.set(segment, this.#table);
  }

  /**
   * The waiting or failed message of a queue with unique aliases that has this one; of several the first in line. Of those that are
   * `doubted`, none.
   */
  holderOf(alias: string): number | undefined {
    const holders = this.#holders.get(alias);
    if (!(holders instanceof Set))
      return holders === undefined || this.doubted.has(holders) ? undefined : holders;
    const certain = [...holders].filter((at) => !this.doubted.has(at));
    return certain.length === 0 ? undefined : Math.min(...certain);
  }

  lifeOf(at: number): Life | undefined {
    return this.touched.get(at)?.life ?? this.tables.get(segmentOf(at))?.freshLife(offsetOf(at));
  }

  /** Whether the record of an add stands there in the current segment, that of a refused one too. */
  protected hasAddAt(offset: number): boolean {
    return this.#table.find(offset) >= 0;
  }

  /** Notes the alias of a waiting message of a queue with unique aliases, found while loading. */
  noteAlias(at: number, alias: string): void {
    const holders = this.#holders.get(alias);
    if (holders === undefined || holders === at) this.#holders.set(alias, at);
    else if (holders instanceof Set) holders.add(at);
    else this.#holders.set(alias, new Set([holders, at]));
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
    const touched: Touched = { life, place, length, headerLength, lease };
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
    const known = this.touched.get(at);
    const touched = known ?? this.#detach(at);
    if (touched) Object.assign(touched, { place, length, headerLength });
    if (touched && !known) this.line.enter(at, touched.life);
  }

  /** Lets a fresh message stand by itself instead of in its table. Undefined when there is no such message. */
  #detach(at: number): Touched | undefined {
    const table = this.tables.get(segmentOf(at));
    const life = table?.freshLife(offsetOf(at));
    if (!table || !life) return undefined;
    const i = table.read ? table.find(offsetOf(at)) : -1;
    const length = i < 0 ? 0 : table.lengthAt(i);
    const headerLength = i < 0 ? 0 : table.headerLengthAt(i);
    const touched: Touched = { life, place: at, length, headerLength, lease: undefined };
    this.touched.set(at, touched);
    table.touch(offsetOf(at));
    if (table.fresh === 0 && table !== this.#table) this.tables.delete(table.segment);
    return touched;
  }

  /** A message has been added. */
  insert(
    { offset, length, headerLength }: Extent,
    due: number | undefined,
    disabled: boolean,
    alias?: string,
  ): number {
    const at = position(this.segment, offset);
    if (this.options.uniqueAlias && alias !== undefined) this.noteAlias(at, alias);
    if (this.options.maxBytes !== undefined) this.bytes += payloadBytes(length, headerLength);
    this.#table.add(offset, length, headerLength, due, disabled);
    if (due === undefined && !disabled) {
      this.counts.ready++;
      return at;
    }
    const life = born(due, disabled);
    this.counts[bucketOf(life)]++;
    this.line.enter(at, life);
    return at;
  }

  /** An add was refused: its record must not be taken for a message. */
  refuse({ offset, length, headerLength }: Extent, due: number | undefined, disabled: boolean): void {
    this.#table.refuse(offset, length, headerLength, due, disabled);
  }

  /** New content for a message, under its old position. The alias is free: the caller has looked. */
  replace(
    at: number,
    event: Happening,
    { offset, length, headerLength }: Extent,
    alias: string | undefined,
  ): void {
    if (this.options.uniqueAlias && this.#aliasOf.get(at) !== alias) {
      this.#forgetAlias(at);
      if (alias !== undefined) this.noteAlias(at, alias);
    }
    const life = this.lifeOf(at);
    if (this.options.maxBytes !== undefined && life && isWaiting(life)) {
      this.bytes += payloadBytes(length, headerLength) - this.#bytesOf(at);
    }
    this.happen(at, event);
    Object.assign(this.touched.get(at)!, { place: position(this.segment, offset), length, headerLength });
  }

  /** The only place where a message's life changes. False: the event did not apply. */
  happen(at: number, event: Happening, lease?: Lease): boolean {
    const known = this.touched.get(at);
    const before = known ? known.life : this.lifeOf(at);
    if (!before) return false;
    const after = transition(before, event);
    if (after === undefined) return false;
    this.counts[bucketOf(before)]--;
    if (this.options.maxBytes !== undefined) {
      const gained = Number(typeof after !== 'string' && isWaiting(after)) - Number(isWaiting(before));
      this.bytes += gained * this.#bytesOf(at);
    }
    const touched = known ?? this.#detach(at)!;
    const wasClaimed = before.phase.state === 'claimed';
    if (typeof after === 'string') {
      if (this.#aliasOf.size > 0) this.#forgetAlias(at);
      this.touched.delete(at);
      if (wasClaimed) this.claimed.delete(at);
      if (before.crashes > 0) this.crashed.delete(at);
      return true;
    }
    this.counts[bucketOf(after)]++;
    if (after.crashes > 0) this.crashed.add(at);
    else if (before.crashes > 0) this.crashed.delete(at);
    touched.life = after;
    if (after.phase.state === 'claimed') {
      if (lease) touched.lease = lease;
      if (!wasClaimed) this.claimed.add(at);
    } else {
      touched.lease = undefined;
      if (wasClaimed) this.claimed.delete(at);
      this.line.enter(at, after);
    }
    return true;
  }

  /**
   * Ends everything that is not claimed: the `purge` transition, without reading the tables for it. Returns how many.
   * @param from a position in the current segment: only what was added there or behind it.
   */
  purge(from?: number): number {
    const before = this.#total;
    for (const [at, { life }] of this.touched) {
      if (life.phase.state === 'claimed' || (from !== undefined && at < from)) continue;
      this.touched.delete(at);
      this.crashed.delete(at);
    }
    if (from !== undefined) this.#table.touchFrom(offsetOf(from));
    else {
      for (const table of this.tables.values()) {
        table.touchAll();
        if (table !== this.#table) this.tables.delete(table.segment);
      }
    }
    for (const at of this.#aliasOf.keys()) if (!this.lifeOf(at)) this.#forgetAlias(at);
    this.recount();
    return before - this.#total;
  }

  get #total(): number {
    return this.waiting + this.counts.failed;
  }

  /** Counts anew what the lives and tables hold: after loading them. */
  recount(): void {
    const { counts } = this;
    Object.assign(counts, { ready: 0, deferred: 0, claimed: 0, disabled: 0, failed: 0 });
    this.bytes = 0;
    for (const [at, { life }] of this.touched) {
      counts[bucketOf(life)]++;
      if (this.options.maxBytes !== undefined && isWaiting(life)) this.bytes += this.#bytesOf(at);
    }
    for (const table of this.tables.values()) {
      if (!table.read) counts.ready += table.fresh;
      for (let i = 0; i < table.count; i++) {
        if (!table.isFreshAt(i)) continue;
        counts[bucketOf(table.lifeAt(i))]++;
        if (this.options.maxBytes !== undefined)
          this.bytes += payloadBytes(table.lengthAt(i), table.headerLengthAt(i));
      }
    }
  }

  #forgetAlias(at: number): void {
    const alias = this.#aliasOf.get(at);
    if (alias === undefined) return;
    this.#aliasOf.delete(at);
    const holders = this.#holders.get(alias);
    if (holders === at) this.#holders.delete(alias);
    else if (holders instanceof Set && holders.delete(at) && holders.size === 1) {
      this.#holders.set(alias, Math.min(...holders));
    }
  }

  #bytesOf(at: number): number {
    const touched = this.touched.get(at);
    if (touched) return payloadBytes(touched.length, touched.headerLength);
    const table = this.tables.get(segmentOf(at));
    const i = table?.find(offsetOf(at)) ?? -1;
    return i < 0 ? 0 : payloadBytes(table!.lengthAt(i), table!.headerLengthAt(i));
  }
}

/** Whether a message counts against the queue's limits. */
function isWaiting(life: Life): boolean {
  return life.phase.state !== 'failed';
}

/** Of a record with a payload: `["…",<header>,<payload>]`. */
export function payloadBytes(length: number, headerLength: number): number {
  return length - PREFIX - headerLength - 2;
}
