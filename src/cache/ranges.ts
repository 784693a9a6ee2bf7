/** Stretches of a file, to be asked what lies where: hostile bytes make very many of them, and ask as often. */
import { groupBy } from './group-by.ts';

export type Range = readonly [from: number, to: number];

/** How many come before the first for which `isBehind` is true, as it is for all that follow; found by halves. */
export function countBefore<T>(sorted: ArrayLike<T>, isBehind: (one: T) => boolean): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBehind(sorted[middle]!)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** By segment: those that lie there, and all of them to be asked. */
export function rangesBySegment<D extends { segment: number; from: number; to: number }>(
  some: readonly D[],
): ReadonlyMap<number, { all: readonly D[]; ranges: Ranges }> {
  const groups = [...groupBy(some, ({ segment }) => segment)];
  return new Map(
    groups.map(([segment, all]) => {
      return [segment, { all, ranges: new Ranges(all.map(({ from, to }) => [from, to])) }];
    }),
  );
}

/** They may overlap. Each question takes the logarithm of their number. */
export class Ranges {
  /** Where they begin, ascending. */
  readonly #from: Float64Array;
  /** The furthest end of each and of all before it, and the nearest one of it and of all behind it. */
  readonly #furthest: Float64Array;
  readonly #nearest: Float64Array;

  constructor(ranges: readonly Range[]) {
    const sorted = [...ranges].sort(([a], [b]) => a - b);
    this.#from = Float64Array.from(sorted, ([from]) => from);
    this.#furthest = Float64Array.from(sorted, ([, to]) => to);
    this.#nearest = this.#furthest.slice();
    for (let i = 1; i < sorted.length; i++)
      this.#furthest[i] = Math.max(this.#furthest[i]!, this.#furthest[i - 1]!);
    for (let i = sorted.length - 2; i >= 0; i--)
      this.#nearest[i] = Math.min(this.#nearest[i]!, this.#nearest[i + 1]!);
  }

  /** Whether one of them holds the byte at `offset`. */
  has(offset: number): boolean {
    return this.anyCovers(offset, offset + 1);
  }

  /** Whether one of them reaches from `from` or before that to `to` or behind it. */
  anyCovers(from: number, to: number): boolean {
    const i = countBefore(this.#from, (each) => each > from);
    return i > 0 && this.#furthest[i - 1]! >= to;
  }

  /** Whether one of them begins at `from` or behind that, and ends at `to` or before it. */
  anyWithin(from: number, to: number): boolean {
    const i = countBefore(this.#from, (each) => each >= from);
    return i < this.#from.length && this.#nearest[i]! <= to;
  }
}
