/** A claim's token as callers hold it: whose claim (writer and number), on which message, the end of whose uuid. */
import type { ClaimRef } from '../backend.ts';
import { offsetOf, position, segmentOf } from './position.ts';

export interface Token {
  /** Writer and number, as the log names the claim. */
  claim: string;
  /** The position of the message. */
  at: number;
}

const WRITER = 16;
const LONGEST_NUMBER = 13;
const SEGMENT_DIGITS = 7;
const OFFSET_DIGITS = 10;
const UUID_END = 12;

const DIGIT = 1;
const HEX = 2;
const BASE36 = 4;
/** Which of these each character of ASCII is. */
const KINDS = new Uint8Array(128);
for (const digit of '0123456789') KINDS[digit.charCodeAt(0)] = DIGIT | HEX | BASE36;
for (const letter of 'abcdefghijklmnopqrstuvwxyz')
  KINDS[letter.charCodeAt(0)] = letter <= 'f' ? HEX | BASE36 : BASE36;

export function makeToken(claim: string, at: number, uuid: string): string {
  return `${claim}@${segmentOf(at)}.${offsetOf(at)}/${uuid.slice(-UUID_END)}`;
}

/**
 * Undefined when it is not a token for that message. Read character by character: each settle of a message does it, and a
 * regular expression with its groups takes three times as long. The claim becomes part of a record as it stands.
 */
export function parseToken({ token, uuid }: ClaimRef): Token | undefined {
  const dot = endOf(token, 0, WRITER, HEX);
  if (dot !== WRITER || token[dot] !== '.') return undefined;
  const sign = endOf(token, dot + 1, LONGEST_NUMBER, BASE36);
  if (sign === dot + 1 || token[sign] !== '@') return undefined;
  const point = endOf(token, sign + 1, SEGMENT_DIGITS, DIGIT);
  if (point === sign + 1 || token[point] !== '.') return undefined;
  const slash = endOf(token, point + 1, OFFSET_DIGITS, DIGIT);
  if (slash === point + 1 || token[slash] !== '/') return undefined;
  const end = endOf(token, slash + 1, UUID_END, HEX);
  if (end !== slash + 1 + UUID_END || end !== token.length || !uuid.endsWith(token.slice(slash + 1)))
    return undefined;
  const at = position(wholeAt(token, sign + 1, point), wholeAt(token, point + 1, slash));
  return { claim: token.slice(0, sign), at };
}

/** Where the characters of that kind end, `most` of them at most. */
function endOf(text: string, from: number, most: number, kind: number): number {
  let end = from;
  while (end < from + most && (KINDS[text.charCodeAt(end)]! & kind) !== 0) end++;
  return end;
}

function wholeAt(text: string, from: number, end: number): number {
  let value = 0;
  for (let i = from; i < end; i++) value = value * 10 + text.charCodeAt(i) - 0x30;
  return value;
}
