/**
 * Payloads that tell whether they are whole: all of one follows from its message's id, its version and its size, so that a
 * reader makes it again and compares. Sizes from some ten bytes to 300 KB; the text holds what a careless reader of the
 * files would trip over.
 */
import { crc32 } from 'node:zlib';
import { isDeepStrictEqual } from 'node:util';
import type { Json } from '../../src/message.ts';

/** Newlines, quotes, halves of a record, characters of two to four bytes, a NUL. */
const PIECES = [
  '\n["',
  '"op":"seal"',
  '\\',
  '\u0000',
  'é',
  '例',
  '😀',
  '\n\n',
  'x'.repeat(40),
  '"]\n',
  '\u2028',
];
/** From here on a payload is an object; below it is a string. */
const SMALL = 80;

export function makePayload(id: string, version: string, size: number): Json {
  const sum = crc32(`${id} ${version} ${size}`).toString(16);
  if (size < SMALL) return `${id} ${version} ${size} ${sum}`;
  let text = '';
  let state = crc32(sum);
  while (text.length < size - SMALL) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    text += PIECES[(state >>> 8) % PIECES.length]! + state.toString(36);
  }
  // The bytes by which mere producers look for control records.
  return { id, version, size, ...(state % 4 === 0 ? { ctl: 1 } : {}), text, sum };
}

/** Whose payload it is; undefined when it is not, to the last character, one that `makePayload` makes. */
export function readPayload(data: Json): { id: string; version: string } | undefined {
  const [id, version, size] = partsOf(data);
  if (typeof id !== 'string' || typeof version !== 'string' || typeof size !== 'number') return undefined;
  return isDeepStrictEqual(makePayload(id, version, size), data) ? { id, version } : undefined;
}

function partsOf(data: Json): (Json | undefined)[] {
  if (typeof data === 'string') {
    const [id, version, size] = data.split(' ');
    return [id, version, Number(size)];
  }
  if (data === null || typeof data !== 'object' || Array.isArray(data)) return [];
  return [data['id'], data['version'], data['size']];
}
