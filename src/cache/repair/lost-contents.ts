/** Contents that cannot be read where they should stand, and other copies of them. */
import type { TryError } from '../../message.ts';
import { Contents } from '../contents.ts';
import { scanFile, segmentName, type FileVisitor } from '../files.ts';
import { decode } from '../header.ts';
import type { Ports } from '../ports.ts';
import { offsetOf, position, segmentOf } from '../position.ts';
import { isJson, payloadText } from '../record.ts';
import type { QueueState } from '../state.ts';
import { freshOf } from './partial-head.ts';

export interface Copy {
  place: number;
  length: number;
  headerLength: number;
  op: 'add' | 'update' | 'carry';
}

/** Messages read between two turns of the event loop. */
const STRIDE = 256;

/** Positions of the messages whose content is not where it should be, or no JSON. */
export async function findUnreadable(
  { fs, clock }: Pick<Ports, 'fs' | 'clock'>,
  folder: string,
  state: QueueState,
): Promise<Set<number>> {
  const found = new Set<number>();
  const live = [...state.touched.keys(), ...freshOf(state)].sort((a, b) => a - b);
  const contents = new Contents(fs, folder);
  try {
    for (let i = 0; i < live.length; i += STRIDE) {
      const some = live.slice(i, i + STRIDE);
      for (const [j, stored] of contents.readAll(state, some).entries()) {
        if (!stored || !isJson(stored.json)) found.add(some[j]!);
      }
      await clock.yield();
    }
  } finally {
    contents.close();
  }
  return found;
}

/** Why a message stands as failed of which the content at `place` is damaged. */
export function outdatedError(place: number, now: number): TryError {
  const where = `offset ${offsetOf(place)} of ${segmentName(segmentOf(place))}`;
  return {
    at: new Date(now).toISOString(),
    attempt: 0,
    name: 'QueueError',
    code: 'JOURNAL_CORRUPT',
    message: `its content at ${where} is damaged: this is an earlier one; retry or update it if that will do`,
  };
}

/** Adds to `copies`, in the order of the open file, what it holds of these messages. */
export async function findContents(
  ports: Pick<Ports, 'fs' | 'clock'>,
  fd: number,
  segment: number,
  wanted: ReadonlySet<number>,
  copies: Map<number, Copy[]>,
): Promise<void> {
  const visitor: FileVisitor = {
    record(buffer, start, end, headerLength, offset) {
      const header = decode(buffer, start, end, headerLength)?.header;
      if (header?.op !== 'add' && header?.op !== 'update' && header?.op !== 'carry') return;
      const place = position(segment, offset);
      const at = header.op === 'add' ? place : position(...header.p);
      if (!wanted.has(at) || !isJson(payloadText(buffer, start, end, headerLength))) return;
      const copy = { place, length: end - start, headerLength, op: header.op };
      const known = copies.get(at);
      if (known) known.push(copy);
      else copies.set(at, [copy]);
    },
    bad() {},
  };
  await scanFile(ports, fd, visitor);
}
