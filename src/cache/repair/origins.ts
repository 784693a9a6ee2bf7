/**
 * Files that are not what their names say: renamed, or copied here from another queue. What is sound in them is told of
 * other positions, or of other messages, so no repair can make anything true of it. But a person can.
 */
import { QueueError } from '../../errors.ts';
import { indexName, segmentName } from '../files.ts';
import type { Start } from './partial-head.ts';

/** Segments of the usual size behind it hold eight terabytes. */
const HIGHEST = 98_999_999;

/** By the heads that are sound as far as that. Errors: JOURNAL_CORRUPT. */
export function checkNames(folder: string, starts: ReadonlyMap<number, Start>): void {
  for (const [segment, { header }] of starts) {
    if (header.segment !== segment)
      refuse(
        folder,
        segmentName(segment),
        `says that it is ${segmentName(header.segment)}; give it its name back, or put it aside`,
      );
    const before = starts.get(segment - 1)?.header;
    // A queue that takes the place of another begins in a segment without one.
    if (header.prev && before && isOther(before.id, header.id))
      refuse(
        folder,
        segmentName(segment),
        `and ${segmentName(segment - 1)} belong to two queues; put the wrong one aside`,
      );
  }
}

/**
 * By the numbers of all segments and indexes that are listed: a repair begins the next one, which has to have a name of eight digits,
 * as have all that come after. Errors: JOURNAL_CORRUPT.
 */
export function checkNumbers(folder: string, listed: readonly number[], indexed: readonly number[]): void {
  const names = new Map([
    ...indexed.map((each): [number, string] => [each, indexName(each)]),
    ...listed.map((each): [number, string] => [each, segmentName(each)]),
  ]);
  for (const [segment, file] of names)
    if (segment > HIGHEST) refuse(folder, file, 'leaves no numbers for the segments after it; put it aside');
}

/** Of the segments in which messages of the queue with this id stand. Errors: JOURNAL_CORRUPT. */
export function checkOwner(
  folder: string,
  starts: ReadonlyMap<number, Start>,
  needed: Iterable<number>,
  id: string,
): void {
  for (const segment of needed) {
    if (isOther(starts.get(segment)?.header.id ?? '', id))
      refuse(folder, segmentName(segment), 'belongs to another queue; put it aside');
  }
}

function isOther(one: string, other: string): boolean {
  return one !== '' && other !== '' && one !== other;
}

function refuse(folder: string, file: string, what: string): never {
  const text = `${file} ${what}, then repair again`;
  throw new QueueError('JOURNAL_CORRUPT', text, { path: `${folder}/${file}` });
}
