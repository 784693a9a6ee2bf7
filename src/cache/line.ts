/**
 * Who is next: of the messages that may run now, the one with the smallest position. Fresh, plain messages stand in
 * the tables in order; those that came back or fell due wait in a heap of positions. Heap entries are hints, checked
 * against the message's life when they come up, so nothing has to be taken out when a life changes.
 */
import type { Life } from '../message.ts';
import { MinHeap } from './heap.ts';
import { position } from './position.ts';
import type { SegmentTable } from './table.ts';

export interface Lives {
  /** In ascending order of segment. */
  readonly tables: ReadonlyMap<number, SegmentTable>;
  lifeOf(position: number): Life | undefined;
}

export class Line {
  readonly #lives: Lives;
  readonly #returned = new MinHeap();
  readonly #due = new MinHeap();

  constructor(lives: Lives) {
    this.#lives = lives;
  }

  /** To be told of every touched or special message that may run, now or later. */
  enter(at: number, life: Life): void {
    if (life.disabled) return;
    if (life.phase.state === 'ready') this.#returned.push(at, 0);
    else if (life.phase.state === 'deferred') this.#due.push(life.phase.due, at);
  }

  /**
   * The first `limit` positions that may run at `now` and are not in `excluded`. An unread table that might hold
   * one of them is returned instead: read it and ask again.
   */
  pick(limit: number, now: number, excluded: ReadonlySet<number>): number[] | SegmentTable {
    this.#promote(now);
    const picked: number[] = [];
    const returned: number[] = [];
    const fresh = new Fresh(this.#lives.tables);
    while (picked.length < limit) {
      const back = this.#firstReturned(now);
      if (fresh.unread && !(back < fresh.at)) {
        for (const at of returned) this.#returned.push(at, 0);
        return fresh.unread;
      }
      if (back < fresh.at) {
        this.#returned.pop();
        if (returned.at(-1) === back) continue;
        returned.push(back);
        if (!excluded.has(back)) picked.push(back);
      } else if (fresh.at === Infinity) {
        break;
      } else {
        if (!excluded.has(fresh.at)) picked.push(fresh.at);
        fresh.advance();
      }
    }
    for (const at of returned) this.#returned.push(at, 0);
    return picked;
  }

  /** Whether anything may run at `now`, as far as can be told without reading tables. */
  hasRunnable(now: number): boolean {
    this.#promote(now);
    if (this.#firstReturned(now) !== Infinity) return true;
    for (const table of this.#lives.tables.values()) if (table.fresh > table.special) return true;
    return false;
  }

  /** When the next deferred message falls due; Infinity when there is none. */
  nextDue(): number {
    while (this.#due.size > 0 && !this.#isDeferred(this.#due.value, this.#due.key)) this.#due.pop();
    return this.#due.key;
  }

  /** Deferred messages whose time has come. */
  countDue(now: number): number {
    this.#promote(now);
    const seen = new Set<number>();
    const kept: number[] = [];
    while (this.#firstReturned(now) !== Infinity) {
      const at = this.#returned.key;
      this.#returned.pop();
      kept.push(at);
      if (this.#lives.lifeOf(at)?.phase.state === 'deferred') seen.add(at);
    }
    for (const at of kept) this.#returned.push(at, 0);
    return seen.size;
  }

  #promote(now: number): void {
    while (this.#due.key <= now) {
      if (this.#isDeferred(this.#due.value, this.#due.key)) this.#returned.push(this.#due.value, 0);
      this.#due.pop();
    }
  }

  #isDeferred(at: number, due: number): boolean {
    const life = this.#lives.lifeOf(at);
    return life?.phase.state === 'deferred' && life.phase.due === due && !life.disabled;
  }

  #firstReturned(now: number): number {
    while (this.#returned.size > 0) {
      const life = this.#lives.lifeOf(this.#returned.key);
      if (life && mayRunAt(life, now)) return this.#returned.key;
      const at = this.#returned.key;
      this.#returned.pop();
      // A wall clock set back: not due after all, so it waits again.
      if (life?.phase.state === 'deferred') this.enter(at, life);
    }
    return Infinity;
  }
}

/** Goes along the fresh, plain messages in their order. Not a generator: one is made for every claim. */
class Fresh {
  /** Where it stands; the beginning of a table that has to be read first; Infinity at the end. */
  at = Infinity;
  /** The table that has to be read first. */
  unread: SegmentTable | undefined;
  readonly #tables: Iterator<SegmentTable>;
  #table: SegmentTable | undefined;
  #next = 0;

  constructor(tables: ReadonlyMap<number, SegmentTable>) {
    this.#tables = tables.values();
    this.#enter();
  }

  advance(): void {
    const table = this.#table!;
    while (this.#next < table.count) {
      const i = this.#next++;
      if (!table.isPlainAt(i)) continue;
      this.at = position(table.segment, table.offsetAt(i));
      return;
    }
    this.#enter();
  }

  /** The next table that holds any. */
  #enter(): void {
    this.at = Infinity;
    for (let next = this.#tables.next(); !next.done; next = this.#tables.next()) {
      const table = next.value;
      if (table.fresh === table.special) continue;
      this.#table = table;
      if (!table.read) {
        this.unread = table;
        this.at = position(table.segment, 0);
        return;
      }
      this.#next = table.skipTouched();
      return this.advance();
    }
  }
}

export function mayRunAt(life: Life, now: number): boolean {
  if (life.disabled) return false;
  return life.phase.state === 'ready' || (life.phase.state === 'deferred' && life.phase.due <= now);
}
