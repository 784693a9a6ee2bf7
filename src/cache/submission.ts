/** What a caller wants written: what it needs before, how it is answered, and what is left of it when a write is cut. */
import type { QueueError } from '../errors.ts';
import type { Draft, InFlight } from './log.ts';
import type { Effect, QueueState } from './state.ts';
import type { SegmentTable } from './table.ts';

/** Before so much is written it is worth a look whether the segment has been sealed: then it would be in vain. */
const LARGE_BYTES = 64 * 1024;

/** Work that must not overlap with any other on the journal: reading a table, or whatever the function does. */
export type Obstacle = SegmentTable | (() => Promise<void>);

/** Something a caller wants written. */
export interface Submission {
  /** Adds are refused when space runs low; what ends messages may use the reserve. */
  readonly purpose: 'add' | 'settle' | 'other';
  /** Bytes that it will take, about; of adds only. */
  readonly size?: number;
  /** Whether, under `always`, the answer waits for the device. */
  readonly synced: boolean;
  /** Whether what others have written meanwhile must be known before `draft` is called. */
  readonly current: boolean;
  /** Whether the control records suffice to answer it; everything else needs the whole state. */
  readonly light?: boolean;
  /** A claim: the writer must be known to those who may have to judge whether it lives. */
  readonly registers?: boolean;
  /**
   * The record to write; undefined when there is none (the submission has answered its caller); or what has to be
   * done first, after which it is asked again. `picked`: positions named by others in the same write.
   */
  draft(state: QueueState, picked: Set<number>): Draft | readonly Draft[] | Obstacle | undefined;
  /** Of several records: what stands for those at `indices`, when only they must be written again. */
  rest?(indices: readonly number[]): Submission;
  /** Called for each record. @param time when it was written, by the wall clock. @param index among several. */
  done(effect: Effect, time: number, index: number): void;
  failed(error: QueueError): void;
}

export function needsWhole({ light }: Submission): boolean {
  return !light;
}

/** Whether it must not be written before what others have written is known. */
export function looksFirst({ current, size = 0 }: Submission): boolean {
  return current || size > LARGE_BYTES;
}

export function mayUseReserve({ tag }: InFlight<Submission>): boolean {
  return tag?.purpose !== 'add';
}

/** The submissions of records that are not in the log: as they were, or what is left of them. */
export function unfinished(
  missing: readonly InFlight<Submission>[],
  landed: readonly InFlight<Submission>[],
): Submission[] {
  const indices = new Map<Submission, number[]>();
  for (const { tag, index } of missing) {
    if (!tag) continue;
    const known = indices.get(tag);
    if (known) known.push(index);
    else indices.set(tag, [index]);
  }
  // A write is cut at one place: only the submission at the cut can be there in part.
  const last = landed.at(-1)?.tag;
  return [...indices].map(([tag, some]) => (tag === last && tag.rest ? tag.rest(some) : tag));
}
