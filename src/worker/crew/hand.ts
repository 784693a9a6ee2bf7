/**
 * What one member of a crew has in hand, as far as it has told: which messages it has claimed, and whose handlers run
 * since when. A message leaves the hand when its claim is settled and its handler has ended, whichever comes last: a
 * handler that goes on after its claim was lost can be overdue like any other.
 */
import type { Held, Moves } from './protocol.ts';

interface Entry {
  readonly held: Held;
  /** Its claim is still to be settled. */
  owed: boolean;
  /** When its handler was called, in monotonic milliseconds; undefined while none runs. */
  startedAt: number | undefined;
}

export class Hand {
  readonly #entries = new Map<string, Entry>();

  /** Takes in what was told at `now`, in monotonic milliseconds. */
  heed({ ended = [], settled = [], claimed = [], started }: Moves, now: number): void {
    for (const token of ended) this.#change(token, (entry) => (entry.startedAt = undefined));
    for (const token of settled) this.#change(token, (entry) => (entry.owed = false));
    for (const held of claimed) this.#entries.set(held.token, { held, owed: true, startedAt: undefined });
    if (started !== undefined) this.#change(started, (entry) => (entry.startedAt = now));
  }

  /** When the handler was called that has run longest; Infinity while none runs. */
  get oldest(): number {
    let oldest = Infinity;
    for (const { startedAt = Infinity } of this.#entries.values()) oldest = Math.min(oldest, startedAt);
    return oldest;
  }

  /**
   * Empties the hand: the messages whose handlers were called at `time` or before, and those others that are still
   * to be settled.
   */
  drop(time: number): { overdue: Held[]; others: Held[] } {
    const overdue: Held[] = [];
    const others: Held[] = [];
    for (const { held, owed, startedAt = Infinity } of this.#entries.values()) {
      if (startedAt <= time) overdue.push(held);
      else if (owed) others.push(held);
    }
    this.#entries.clear();
    return { overdue, others };
  }

  #change(token: string, change: (entry: Entry) => void): void {
    const entry = this.#entries.get(token);
    if (!entry) return;
    change(entry);
    if (!entry.owed && entry.startedAt === undefined) this.#entries.delete(token);
  }
}
