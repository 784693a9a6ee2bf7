/**
 * What damaged records have done to messages that are there: one that was updated holds an earlier content, one that has
 * ended is back.
 */
import { Contents } from '../contents.ts';
import { scanFile, type FileVisitor } from '../files.ts';
import { decode } from '../header.ts';
import type { Change } from '../legible.ts';
import type { Ports } from '../ports.ts';
import { position } from '../position.ts';
import type { QueueState } from '../state.ts';
import { freshOf } from './partial-head.ts';

/** `at`: position of the damaged record. */
export type LostChange = Change & { at: number };

/** Messages read between two turns of the event loop. */
const STRIDE = 256;

/**
 * Adds to `ended` the uuids of the messages that sound records of the open file say to have been completed. Returns where the last
 * purge stands; -1: there is none.
 */
export async function findEnds(
  ports: Pick<Ports, 'fs' | 'clock'>,
  fd: number,
  ended: Set<string>,
): Promise<number> {
  let purged = -1;
  const visitor: FileVisitor = {
    record(buffer, start, end, headerLength, offset) {
      const header = decode(buffer, start, end, headerLength)?.header;
      if (header?.op === 'done') for (const uuid of header.u) ended.add(uuid);
      if (header?.op === 'purge') purged = offset;
    },
    bad() {},
  };
  await scanFile(ports, fd, visitor);
  return purged;
}

/** Where the messages with these uuids are, of those that are there. */
export async function findByUuid(
  { fs, clock }: Pick<Ports, 'fs' | 'clock'>,
  folder: string,
  state: QueueState,
  wanted: ReadonlySet<string>,
): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  if (wanted.size === 0) return found;
  const live = liveIn(state).sort((a, b) => a - b);
  const contents = new Contents(fs, folder);
  try {
    for (let i = 0; i < live.length; i += STRIDE) {
      for (const stored of contents.readAll(state, live.slice(i, i + STRIDE))) {
        if (stored && wanted.has(stored.content.u)) found.set(stored.content.u, stored.at);
      }
      await clock.yield();
    }
  } finally {
    contents.close();
  }
  return found;
}

/** Positions of all messages that are there. Only for a state whose tables have been read. */
export function liveIn(state: QueueState): number[] {
  return [...state.touched.keys(), ...freshOf(state)];
}

/** Positions of the messages that a damaged record was about; `known`: of those that are there, by uuid. */
export function changedBy(
  change: LostChange,
  known: ReadonlyMap<string, number>,
  state: QueueState,
): number[] {
  if (change.what === 'purge') return liveIn(state).filter((at) => at < change.at && !state.claimed.has(at));
  const named = change.uuids.flatMap((uuid) => known.get(uuid) ?? []);
  // Each bit of it may be the one that has changed: a message that is not found by the one is by the other.
  const some = named.length > 0 && change.uuids.length === 1;
  const placed = some ? [] : change.places.map((place) => position(...place));
  const there = placed.filter((at) => state.lifeOf(at) !== undefined);
  return [...new Set([...named, ...there])].filter((at) => at < change.at);
}
