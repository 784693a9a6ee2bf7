/**
 * How many messages may be lost of which nothing is legible. What is told here may be too much, never too little, as far as
 * the files tell at all: of what stood behind the last record of a writer, or of a file, no number tells.
 */
import { groupBy } from '../group-by.ts';
import type { Move } from '../moved.ts';
import { countBefore, Ranges } from '../ranges.ts';
import { PREFIX } from '../record.ts';
import { spansOf, wasUnsynced, type BadRange, type Survey } from '../survey.ts';
import type { Start } from './partial-head.ts';

/** Bytes of the shortest line that adds a message, with the newline. */
const SHORTEST_ADD = 120;

/** Bytes of a record that tells that messages have ended, without what it says of each; and of that: its offset and its uuid. */
const SHORTEST_END = 130;
const ENDED = 43;

/** Whether it is told in another way what it did: see `losses.ts` and `settle.ts`. */
function isTold({ isAdd, uuid, change }: BadRange): boolean {
  return change !== undefined || (isAdd && uuid !== undefined);
}

/** As the numbers of a segment's writers tell. Those that are missing at the end of one are not among them. */
function numberedIn({ gaps, bad, mended = [] }: Survey): number {
  const told = groupBy(
    bad.filter((range) => isTold(range) && (range.lastWriter ?? range.writer) === range.writer),
    ({ writer }) => writer,
  );
  const toldBefore = new Ranges(mended);
  return gaps.reduce((sum, { from, offset, writer, count }) => {
    // An earlier repair has told of it.
    if (toldBefore.anyWithin(from, offset)) return sum;
    const named = told.get(writer) ?? [];
    const first = countBefore(named, (range) => range.from >= from);
    const end = countBefore(named, (range) => range.to > offset);
    return sum + Math.max(0, count - Math.max(0, end - first));
  }, 0);
}

/**
 * In a segment whose head ends at `headEnd`: as the numbers tell, and in bad bytes behind the head that none span, by what room
 * there was. Each line that has changed was one.
 */
export function unnamedIn(survey: Survey, headEnd: number): number {
  const { bad, tail, gaps } = survey;
  const ranges = [...bad, ...(tail?.zeros ? [tail] : [])].filter((range) => {
    const { from, to, note, zeros } = range;
    // A newline, at most.
    if (to - from < PREFIX) return false;
    return !note && !wasUnsynced(survey, range) && (from >= headEnd || zeros);
  });
  const spans = spansOf(gaps);
  // The numbers around it span what it held: those of its writer, where that is legible, unless another one's record ends it.
  const outside = ranges.filter(({ from, to, writer, lastWriter = writer }) => {
    if (writer !== undefined && lastWriter !== writer) return true;
    return !spans.get(lastWriter)?.anyCovers(from, to);
  });
  const numbered = numberedIn(survey) + outside.reduce((sum, range) => sum + mostIn(range), 0);
  return Math.max(numbered, ranges.filter((range) => range.blank === 0 && !isTold(range)).length);
}

/** Where no number tells of records that are missing, though what stands behind them has moved: by what room they had. */
export function missedIn(survey: Survey, move: Move | undefined): number {
  if (!move || numberedIn(survey) > 0) return 0;
  if (move.missing === undefined) return 1;
  return Math.floor(move.missing / SHORTEST_ADD) + Number(move.isLeast);
}

/**
 * How many messages a record may have ended by names that are not legible: as many as there was room for. Where that is one, it is
 * counted like any other record.
 */
export function mostEnded({ from, to, op, single, blank, change }: BadRange): number {
  if (op !== undefined && op !== 'done' && single && blank === 0) return 0;
  const named = Math.max(change?.uuids.length ?? 0, change?.places.length ?? 0);
  const room = Math.floor((to - from - SHORTEST_END) / ENDED) - named;
  return room > 1 ? room : 0;
}

/** Zeros may stand for whole records, and for parts of one on either side; other bytes that nobody wrote for those within. */
function mostIn(range: BadRange): number {
  const { from, to, blank, single } = range;
  const several = blank > 0 ? Math.floor(blank / SHORTEST_ADD) + 2 : Math.floor((to - from) / SHORTEST_ADD);
  const whole = single ? 1 : Math.max(1, several);
  return isTold(range) ? whole - 1 : whole;
}

/**
 * Of a sealed segment in which records do not stand where they were written: how many adds may be missing without a name. By
 * what the heads before and behind it count, where that is the whole truth; else at least by the numbers.
 */
export function missingAddsIn(
  survey: Survey,
  start: Start | undefined,
  next: Start | undefined,
  move?: Move,
  wasDamaged: (offset: number) => boolean = () => false,
): number {
  const numbered = numberedIn(survey) + missedIn(survey, move);
  const prev = next?.header.prev;
  // What an earlier repair has told of is in those counts as well.
  if (!start || !next || survey.mended || prev?.segment !== start.header.segment) return numbered;
  // One that begins with the creation of a queue has none at first; one that ends with its end tells of none.
  if (next.header.id === '') return numbered;
  const missing = next.header.added - start.header.added - survey.adds;
  const named = survey.bad.filter(({ isAdd, uuid, note, from }) => {
    // What was damaged before the successor's head was made is not in its count.
    return isAdd && uuid !== undefined && !note && !wasDamaged(from);
  });
  const { uniqueAlias, maxMessages, maxBytes } = next.payload.options;
  // Some of the adds that are there may have been refused.
  const isExact = !uniqueAlias && maxMessages === undefined && maxBytes === undefined;
  const counted = missing - named.length;
  return Math.max(isExact ? 0 : numbered, counted);
}
