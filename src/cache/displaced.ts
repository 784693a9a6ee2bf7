/**
 * Segments in which records do not stand where they were written: bytes have gone from their midst, or come into it. Who reads such a
 * one anew takes ended messages for waiting ones, and who knows it from before does not. So none of them stands in an add's way.
 */
import type { Operation, Where } from './operations.ts';
import { offsetOf, segmentOf } from './position.ts';
import { eachMessage } from './where.ts';

interface Damage {
  segment: number;
  from: number;
  to: number;
}

interface Damaged {
  readonly damage: readonly Damage[];
  readonly tables: ReadonlyMap<number, { segment: number; fresh: number }>;
}

/** Of a segment in which a record should stand at `offset`, and none does. */
export function displacement(offset: number): [from: number, to: number] {
  return [offset, offset];
}

export function isDisplacement({ from, to }: Pick<Damage, 'from' | 'to'>): boolean {
  return from === to && from > 0;
}

/** The messages of a state that stand in such a segment, as far as a damage tells of it. */
export class Doubted implements Pick<ReadonlySet<number>, 'has' | 'size'> {
  readonly #state: Damaged;

  constructor(state: Damaged) {
    this.#state = state;
  }

  has(at: number): boolean {
    return this.#isIn(segmentOf(at));
  }

  /** Of the fresh ones only: the others are known by more than where they stand. */
  get size(): number {
    if (this.#state.damage.length === 0) return 0;
    let size = 0;
    for (const { segment, fresh } of this.#state.tables.values()) if (this.#isIn(segment)) size += fresh;
    return size;
  }

  #isIn(segment: number): boolean {
    return this.#state.damage.some((each) => each.segment === segment && isDisplacement(each));
  }
}

interface Places {
  readonly segment: number;
  mayHoldAdd(offset: number): boolean;
}

/**
 * A place in its own segment at which the record names a message, and where no add stands, nor anything that may be left of one. Costs
 * nothing where all that it names was `changed`.
 */
export function misnamedBy(op: Operation, changed: number, state: Places): number | undefined {
  const named = namedBy(op);
  if (changed === named.reduce((sum, group) => sum + group.length - 1, 0)) return undefined;
  const { segment } = state;
  let misnamed: number | undefined;
  eachMessage(named, (at) => {
    const offset = offsetOf(at);
    if (misnamed === undefined && segmentOf(at) === segment && !state.mayHoldAdd(offset)) misnamed = offset;
  });
  return misnamed;
}

/** The messages that a record is about, as its writer knew them: what ends a claim names what a caller holds, perhaps of another queue. */
function namedBy(h: Operation): Where[] {
  switch (h.op) {
    case 'claim':
    case 'lapse':
      return h.c;
    case 'retry':
      return h.c ?? [];
    case 'update':
    case 'set':
    case 'cancel':
    case 'remove':
      return [h.p];
    default:
      return [];
  }
}
