/**
 * How many messages may be lost of which nothing is legible. What is told here may be too much, never too little, as far as
 * the files tell at all: of what stood behind the last record of a writer, or of a file, no number tells.
 */
import { wasUnsynced, type BadRange, type Survey } from '../survey.ts';
import type { Start } from './partial-head.ts';

/** Bytes of the shortest line that adds a message, with the newline. */
const SHORTEST_ADD = 120;

/** Adds of which nothing but a beginning is left, that their writers' numbers show to have been whole. */
export function brokenAdds({ torn, gaps }: Survey): { from: number; uuid: string }[] {
  return torn.flatMap(([from, to, add]) => {
    const isMissed = gaps.some((gap) => gap.writer === add?.writer && from >= gap.from && to <= gap.offset);
    return add && isMissed ? { from, uuid: add.uuid } : [];
  });
}

/** As the numbers of a segment's writers tell. Those that are missing at the end of one are not among them. */
export function numberedIn({ gaps, bad, torn, mended = [] }: Survey): number {
  return gaps.reduce((sum, { from, offset, count, writer }) => {
    // An earlier repair has told of it.
    if (mended.some(([start, end]) => start >= from && end <= offset)) return sum;
    const named = bad.filter((range) => range.from >= from && range.to <= offset && range.uuid !== undefined);
    const cut = torn.filter(([start, end, add]) => start >= from && end <= offset && add?.writer === writer);
    return sum + Math.max(0, count - named.length - cut.length);
  }, 0);
}

/** In bad bytes behind the head that no numbers span: by what room there was. */
export function unnumberedIn(survey: Survey, headEnd: number): number {
  const { bad, tail, gaps } = survey;
  const ranges = [...bad, ...(tail?.zeros ? [tail] : [])].filter((range) => {
    const { from, to, note, zeros } = range;
    if (note || wasUnsynced(survey, range) || (from < headEnd && !zeros)) return false;
    return !gaps.some((gap) => from >= gap.from && to <= gap.offset);
  });
  return ranges.reduce((sum, range) => sum + mostIn(range), 0);
}

/** A line that has changed is one record. Zeros may stand for whole ones, and for parts of one on either side. */
function mostIn({ blank, uuid }: BadRange): number {
  const whole = blank === 0 ? 1 : Math.floor(blank / SHORTEST_ADD) + 2;
  return uuid === undefined ? whole : whole - 1;
}

/**
 * Of a sealed segment in which records do not stand where they were written: how many adds may be missing without a name. By
 * what the heads before and behind it count, where that is the whole truth; else at least by the numbers.
 */
export function missingAddsIn(survey: Survey, start: Start | undefined, next: Start | undefined): number {
  const numbered = numberedIn(survey);
  const prev = next?.header.prev;
  // What an earlier repair has told of is in those counts as well.
  if (!start || !next || survey.mended || prev?.segment !== start.header.segment) return numbered;
  if (start.header.id !== next.header.id) return numbered;
  const missing = next.header.added - start.header.added - survey.adds;
  const named = survey.bad.filter(({ isAdd, uuid, note }) => isAdd && uuid !== undefined && !note);
  const { uniqueAlias, maxMessages, maxBytes } = next.payload.options;
  // Some of the adds that are there may have been refused.
  const isExact = !uniqueAlias && maxMessages === undefined && maxBytes === undefined;
  const counted = missing - named.length - brokenAdds(survey).length;
  return Math.max(isExact ? 0 : numbered, counted);
}
