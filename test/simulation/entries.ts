/** What clients know of one message, and of one claim on it. */
import type { Claim } from '../../src/message.ts';
import type { Process } from './process.ts';

/** Has not happened. */
export const NEVER = Infinity;

/** Times are counted over all calls and answers: each is later than the one before. */
export interface Entry {
  readonly id: number;
  readonly alias: string;
  /** Ready when added. */
  readonly plain: boolean;
  /** Never to be claimed as it was added. */
  held: boolean;
  readonly calledAt: number;
  /** By which handle; its calls are in order. */
  readonly handle: object;
  uuid: string | undefined;
  /** Somebody was told that it was added. */
  ackedAt: number;
  /** It has been seen in the queue, or its add was answered. */
  seenAt: number;
  /** Its add was refused. */
  refused: boolean;
  /** Calls that may have ended it, but for those that were told that they have not. While there are none, it is there. */
  dooms: number;
  /** Ends that were told that they came too late. */
  tooLate: number;
  /** Somebody was told that it has ended, `durably` if a power cut cannot undo it. */
  endedAt: number;
  durably: boolean;
  /** Versions of the data: the last answered, when that was, and the last asked for. */
  version: number;
  versionAt: number;
  asked: number;
  changing: boolean;
  /** Under `interval`: what of this was answered so long ago that it is on the device. */
  ripe: { added: boolean; ended: boolean; version: number };
  /** Others may take it from whoever holds it. */
  contested: boolean;
  /** Nothing but its add has ever concerned it. */
  untouched: boolean;
  claims: Held[];
}

/** A claim, from its answer to its end. */
export interface Held {
  readonly entry: Entry;
  readonly claim: Claim;
  readonly process: Process;
  readonly calledAt: number;
  readonly grantedAt: number;
  /** The machine's time until which it lasts at least. */
  until: number;
  /** Its holder has begun to end it. */
  ending: boolean;
  /** Others have called what takes it away, whoever holds it. */
  contested: boolean;
  /** An end of it was answered with true. */
  ended: boolean;
}

/** What a message holds: sizes that differ, and bytes that a shifted read would show. */
export interface Data {
  id: number;
  version: number;
  pad: string;
}

export function dataOf(id: number, version: number): Data {
  return { id, version, pad: String(id).repeat((id * 7 + version * 3) % 17) };
}

export function newEntry(
  of: Pick<Entry, 'id' | 'alias' | 'plain' | 'held' | 'calledAt' | 'handle' | 'dooms'>,
): Entry {
  return {
    ...of,
    uuid: undefined,
    ackedAt: NEVER,
    seenAt: NEVER,
    refused: false,
    tooLate: 0,
    endedAt: NEVER,
    durably: false,
    version: 0,
    versionAt: 0,
    asked: 0,
    changing: false,
    ripe: { added: false, ended: false, version: 0 },
    contested: false,
    untouched: true,
    claims: [],
  };
}

/** What clients have been told of it counts for nothing any more, but for what is ripe. Whether it must still be there. */
export function forgetUnripe(entry: Entry): boolean {
  const { ripe } = entry;
  if (!ripe.added) entry.ackedAt = NEVER;
  entry.seenAt = entry.ackedAt;
  if (!ripe.ended) entry.endedAt = NEVER;
  entry.durably = ripe.ended;
  entry.version = ripe.version;
  return ripe.added && entry.dooms === 0;
}

/** Whether `first` stands before `second` in line, for all who know no more than clients do. */
export function isBefore(first: Entry, second: Entry): boolean {
  if (first.ackedAt < second.calledAt) return true;
  // One whose alias was another's for a moment longer is written again, behind what was added with it.
  return (
    first.alias === '' && first.handle === second.handle && first.id < second.id && first.ackedAt !== NEVER
  );
}
