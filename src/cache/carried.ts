/**
 * Contents that move into a head, out of a segment in which little lives, or that may never reach the device: nothing needs that
 * segment any more. Where a message stands in line stays as it was.
 */
import type { Contents } from './contents.ts';
import type { Content } from './operations.ts';
import { position, segmentOf } from './position.ts';
import type { QueueState } from './state.ts';

/** A segment is worth emptying when what lives there is this little: this part of a segment's size, so many messages. */
const CARRY_PART = 32;
const CARRY_MESSAGES = 1000;

/** A message whose content moves into a head. */
interface Carried {
  at: number;
  inserted: number;
  content: Content;
  json: string;
}

/** What a head carries. */
export interface Load {
  /** The segment in which nothing lives after that, or 0. */
  segment: number;
  messages: Carried[];
}

/**
 * What the next head should carry: all that lives in the oldest segment that holds little. One segment a rotation; one
 * of which a content cannot be read is left as it is.
 */
export function chooseCarried(state: QueueState, contents: Contents, segmentBytes: number): Load | undefined {
  const most = segmentBytes / CARRY_PART;
  const bySegment = new Map<number, number[] | 'much'>();
  const note = (segment: number, at: number): void => {
    const known = bySegment.get(segment);
    if (known === undefined) bySegment.set(segment, [at]);
    else if (known !== 'much' && known.push(at) > CARRY_MESSAGES) bySegment.set(segment, 'much');
  };
  for (const [at, { place }] of state.touched) note(segmentOf(place), at);
  for (const table of state.tables.values()) {
    if (table.fresh > CARRY_MESSAGES || !table.read) {
      bySegment.set(table.segment, 'much');
      continue;
    }
    for (let i = table.skipTouched(); i < table.count; i++) {
      if (table.isFreshAt(i)) note(table.segment, position(table.segment, table.offsetAt(i)));
    }
  }
  const damaged = new Set(state.damage.map(({ segment }) => segment));
  for (const [segment, positions] of [...bySegment].sort(([a], [b]) => a - b)) {
    // The predecessor is kept anyway, and a damaged segment stays until it is repaired.
    if (segment >= state.segment || damaged.has(segment) || positions === 'much') continue;
    const messages = readLoad(state, contents, positions, most);
    if (messages) return { segment, messages };
  }
  return undefined;
}

/**
 * After a failed flush: all that lives in the sealed segment. Its pages may never reach the device, however often they
 * are flushed again, and a flush by another handle may have been told nothing; as long as they can be read, their
 * contents move to the head.
 */
export function rescue(state: QueueState, contents: Contents): Load {
  const table = state.tables.get(state.segment)!;
  for (let i = 0; i < table.count; i++) {
    if (!table.isFreshAt(i)) continue;
    const at = position(table.segment, table.offsetAt(i));
    // Where it is now, but by itself: a table tells only of messages that stand in their segment.
    state.carry(at, at, table.lengthAt(i), table.headerLengthAt(i));
  }
  const messages: Carried[] = [];
  for (const [at, { place }] of state.touched) {
    if (segmentOf(place) !== state.segment) continue;
    const found = contents.read(state, at);
    if (found) messages.push({ at, inserted: found.inserted, content: found.content, json: found.json });
  }
  return { segment: 0, messages };
}

/** Undefined when it is more than `most` bytes, or cannot be read. */
function readLoad(
  state: QueueState,
  contents: Contents,
  positions: readonly number[],
  most: number,
): Carried[] | undefined {
  const messages: Carried[] = [];
  let bytes = 0;
  for (const at of positions) {
    const found = contents.read(state, at);
    bytes += found ? found.json.length : Infinity;
    if (!found || bytes > most) return undefined;
    messages.push({ at, inserted: found.inserted, content: found.content, json: found.json });
  }
  return messages;
}
