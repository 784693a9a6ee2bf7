/**
 * What is known of the messages that were added to one segment, in eleven bytes each: where their records lie, and
 * whether they are still *fresh* (nothing has happened to them since they were added). Whatever is not fresh is
 * described elsewhere (a touched message) or gone (an ended one); a table does not say which.
 *
 * A table that came from a head is *unread* at first: it knows how many are fresh and which runs of offsets are not,
 * and treats any other offset as a fresh, plain message. Reading the segment (`add` for each record) completes it.
 */
import { born, FRESH, type Life } from '../message.ts';

/** No offset is larger. */
const LAST = 2 ** 32 - 1;
const FRESH_BIT = 1;
const DEFERRED_BIT = 2;
const DISABLED_BIT = 4;

export class SegmentTable {
  readonly segment: number;
  /** Fresh messages. */
  fresh = 0;
  /** Fresh ones that were added deferred or disabled. */
  special = 0;
  count = 0;
  /** Whether every add of the segment so far is in the arrays. */
  read: boolean;
  /** Index below which nothing is fresh; raised by readers of the arrays. */
  firstFresh = 0;

  #offsets = new Uint32Array(16);
  #lengths = new Uint32Array(16);
  #headers = new Uint16Array(16);
  #flags = new Uint8Array(16);
  #dues: Float64Array | undefined;
  /** What was found last: who asks mostly asks for the same message again, or for the next. */
  #found = 0;
  /** Offset of the seal, where it is known. */
  #end = LAST;
  /** While unread: inclusive runs of offsets [from, to, from, to, …] of what is not fresh, ascending. */
  #runs: number[] = [];
  /** While unread: offsets touched since. */
  #touched = new Set<number>();

  constructor(segment: number, read: boolean) {
    this.segment = segment;
    this.read = read;
  }

  static unread(segment: number, fresh: number, special: number, runs: number[]): SegmentTable {
    const table = new SegmentTable(segment, false);
    table.fresh = fresh;
    table.special = special;
    table.#runs = runs;
    if (runs.at(-1) === LAST) table.#end = runs.at(-2)!;
    return table;
  }

  /** Notes a new message of the current segment. */
  add(
    offset: number,
    length: number,
    headerLength: number,
    due: number | undefined,
    disabled: boolean,
  ): void {
    this.fresh++;
    if (due !== undefined || disabled) this.special++;
    this.#append(offset, length, headerLength, due, disabled, true);
  }

  /**
   * Notes an add that the rules refused: its record stands in the segment, and must not be taken for a message. But where the
   * log has rotted it may be one for others, and they will learn from an index made of this when it is due.
   */
  refuse(
    offset: number,
    length: number,
    headerLength: number,
    due: number | undefined,
    disabled: boolean,
  ): void {
    this.#append(offset, length, headerLength, due, disabled, false);
  }

  /** While reading the segment of an unread table: notes a message whose freshness the head has told. */
  recall(
    offset: number,
    length: number,
    headerLength: number,
    due: number | undefined,
    disabled: boolean,
  ): void {
    this.#append(offset, length, headerLength, due, disabled, this.#isFreshUnread(offset));
  }

  /** Ends the reading. Counts are made anew from what was found: damaged records are not waiting any more. */
  finishReading(): void {
    this.read = true;
    this.#runs = [];
    this.#touched = new Set();
    this.fresh = 0;
    this.special = 0;
    for (let i = 0; i < this.count; i++) {
      const flags = this.#flags[i]!;
      if (!(flags & FRESH_BIT)) continue;
      this.fresh++;
      if (flags & (DEFERRED_BIT | DISABLED_BIT)) this.special++;
    }
  }

  /** Drops a half-done reading. */
  restartReading(): void {
    this.count = 0;
  }

  #append(
    offset: number,
    length: number,
    headerLength: number,
    due: number | undefined,
    disabled: boolean,
    fresh: boolean,
  ): void {
    const i = this.count++;
    if (i === this.#offsets.length) this.#grow();
    this.#offsets[i] = offset;
    this.#lengths[i] = length;
    this.#headers[i] = headerLength;
    this.#flags[i] =
      (fresh ? FRESH_BIT : 0) | (due === undefined ? 0 : DEFERRED_BIT) | (disabled ? DISABLED_BIT : 0);
    if (due !== undefined) {
      this.#dues ??= new Float64Array(this.#offsets.length);
      this.#dues[i] = due;
    }
  }

  #grow(): void {
    const size = this.#offsets.length * 2;
    const copy = <T extends { set(from: T): void }>(to: T, from: T): T => (to.set(from), to);
    this.#offsets = copy(new Uint32Array(size), this.#offsets);
    this.#lengths = copy(new Uint32Array(size), this.#lengths);
    this.#headers = copy(new Uint16Array(size), this.#headers);
    this.#flags = copy(new Uint8Array(size), this.#flags);
    if (this.#dues) this.#dues = copy(new Float64Array(size), this.#dues);
  }

  offsetAt(index: number): number {
    return this.#offsets[index]!;
  }
  lengthAt(index: number): number {
    return this.#lengths[index]!;
  }
  headerLengthAt(index: number): number {
    return this.#headers[index]!;
  }
  isFreshAt(index: number): boolean {
    return (this.#flags[index]! & FRESH_BIT) !== 0;
  }
  /** Fresh, and neither deferred nor disabled. */
  isPlainAt(index: number): boolean {
    return this.#flags[index] === FRESH_BIT;
  }
  lifeAt(index: number): Life {
    const flags = this.#flags[index]!;
    if (!(flags & (DEFERRED_BIT | DISABLED_BIT))) return FRESH;
    return born(flags & DEFERRED_BIT ? this.#dues![index] : undefined, (flags & DISABLED_BIT) !== 0);
  }

  /** What the record that added it says. */
  asAdded(index: number): { due: number | undefined; disabled: boolean } {
    const flags = this.#flags[index]!;
    return {
      due: flags & DEFERRED_BIT ? this.#dues![index] : undefined,
      disabled: (flags & DISABLED_BIT) !== 0,
    };
  }

  /** The index of the message at `offset`, or -1. */
  find(offset: number): number {
    for (let i = this.#found; i < this.count && i <= this.#found + 1; i++) {
      if (this.#offsets[i] === offset) return (this.#found = i);
    }
    let low = 0;
    let high = this.count - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const found = this.#offsets[middle]!;
      if (found === offset) return (this.#found = middle);
      if (found < offset) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** The life of the message at `offset` if it is fresh. */
  freshLife(offset: number): Life | undefined {
    if (!this.read) return this.#isFreshUnread(offset) ? FRESH : undefined;
    const i = this.find(offset);
    return i >= 0 && this.isFreshAt(i) ? this.lifeAt(i) : undefined;
  }

  /** The fresh message at `offset` is fresh no more. */
  touch(offset: number): void {
    this.fresh--;
    if (!this.read) {
      this.#touched.add(offset);
      return;
    }
    const i = this.find(offset);
    if (this.#flags[i]! & (DEFERRED_BIT | DISABLED_BIT)) this.special--;
    this.#flags[i]! &= ~FRESH_BIT;
  }

  /** The segment has been sealed at `offset`: what stands behind has never been a message. */
  close(offset: number): void {
    this.#end = offset;
  }

  /** Nothing here is fresh any more. */
  touchAll(): void {
    this.fresh = 0;
    this.special = 0;
    for (let i = 0; i < this.count; i++) this.#flags[i]! &= ~FRESH_BIT;
    if (!this.read) this.#runs = [0, LAST];
  }

  /** Nothing at that offset or behind it is fresh any more; for a table that has been read. */
  touchFrom(offset: number): void {
    for (let i = this.count - 1; i >= 0 && this.#offsets[i]! >= offset; i--)
      if (this.isFreshAt(i)) this.touch(this.#offsets[i]!);
  }

  /** Raises `firstFresh` over what is not fresh and returns it; `count` when nothing is. */
  skipTouched(): number {
    while (this.firstFresh < this.count && !this.isFreshAt(this.firstFresh)) this.firstFresh++;
    return this.firstFresh;
  }

  /** Whether `runs` can be told without reading the segment. */
  get runsKnown(): boolean {
    return this.read || this.#touched.size === 0;
  }

  /** Inclusive runs of offsets that are not fresh; the last one behind the seal. */
  runs(): number[] {
    if (!this.read) return this.#runs;
    const runs: number[] = [];
    for (let i = 0; i < this.count; i++) {
      if (this.isFreshAt(i)) continue;
      const from = this.#offsets[i]!;
      while (i + 1 < this.count && !this.isFreshAt(i + 1)) i++;
      runs.push(from, this.#offsets[i]!);
    }
    if (this.#end < LAST) runs.push(this.#end, LAST);
    return runs;
  }

  #isFreshUnread(offset: number): boolean {
    return !this.#touched.has(offset) && !isInRuns(this.#runs, offset);
  }
}

/** Whether one of the inclusive runs [from, to, from, to, …], ascending, holds the offset. */
export function isInRuns(runs: readonly number[], offset: number): boolean {
  let low = 0;
  let high = runs.length / 2 - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (runs[middle * 2]! > offset) high = middle - 1;
    else if (runs[middle * 2 + 1]! < offset) low = middle + 1;
    else return true;
  }
  return false;
}
