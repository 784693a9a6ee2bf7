/**
 * Records: one per line, each line valid JSON.
 *
 *     ["<crc32>:<line length>:<header length>",{"op":…},<payload>]
 *
 * The three numbers are hexadecimal of fixed width (8, 8, 6 digits), lengths in bytes, the newline not counted.
 * The checksum covers every byte of the line after its own eight digits. Headers are pure ASCII, so that their
 * length in characters is their length in bytes. Every write begins and ends with a newline; empty lines mean nothing.
 */
import { crc32 } from 'node:zlib';
import type { Json } from '../message.ts';
import type { Operation, Where, Written } from './operations.ts';

export const PREFIX = 28;
/** Six hexadecimal digits. */
const LONGEST_HEADER = 0xffffff;
/** The checksum covers the line from here. */
const COVERED = 10;
const NEWLINE = 10;
const OPEN = 0x5b;
const CLOSE = 0x5d;
const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;

const DIGITS = Buffer.from('0123456789abcdef', 'latin1');
const VALUES = new Int8Array(256).fill(-1);
for (let i = 0; i < 16; i++) VALUES[DIGITS[i]!] = i;

function putHex(buffer: Buffer, at: number, digits: number, value: number): void {
  let rest = value;
  for (let i = at + digits - 1; i >= at; i--) {
    buffer[i] = DIGITS[rest & 15]!;
    rest >>>= 4;
  }
}

/** Whether `putHex` would have written this. Cheaper than to read a number of more than 31 bits, and compare. */
function hasHex(buffer: Buffer, at: number, digits: number, value: number): boolean {
  let rest = value;
  for (let i = at + digits - 1; i >= at; i--) {
    if (buffer[i] !== DIGITS[rest & 15]) return false;
    rest >>>= 4;
  }
  return true;
}

/** -1 when it is not hexadecimal. */
function getHex(buffer: Buffer, at: number, digits: number): number {
  let value = 0;
  for (let i = at; i < at + digits; i++) {
    const digit = VALUES[buffer[i]!]!;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

const NOT_ASCII = /[^\u0020-\u007e]/g;
/** A uuid, for one: stands in JSON as it is. */
const PLAIN = /^[\w-]*$/;

/** JSON text for a header: ASCII only, so that readers may take bytes for characters. */
export function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    NOT_ASCII,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/**
 * A record's header as JSON text. What every message needs, its add, claim and completion, is put together by hand, in half
 * the time that JSON.stringify takes.
 */
export function encodeHeader(header: Operation & Written): string {
  switch (header.op) {
    case 'add': {
      const { u, a, r, d, x, by } = header;
      let text = `{"op":"add","u":"${u}"`;
      if (a !== undefined) text += `,"a":${asciiJson(a)}`;
      if (r !== undefined) text += `,"r":${r}`;
      if (d !== undefined) text += `,"d":${d}`;
      if (x !== undefined) text += `,"x":${x}`;
      if (by !== undefined) text += `,"by":${asciiJson(by)}`;
      return text + writtenText(header);
    }
    case 'claim': {
      const { k, m, ms, max, c } = header;
      return `{"op":"claim","k":"${k}","m":${m},"ms":${ms},"max":${max},"c":${whereText(c)}${writtenText(header)}`;
    }
    case 'done': {
      const { k, c, u, a } = header;
      return `{"op":"done","k":"${k}","c":${whereText(c)},"u":${textsText(u)},"a":${textsText(a)}${writtenText(header)}`;
    }
    default:
      return asciiJson(header);
  }
}

/** The end of a header. */
function writtenText({ w, n, t, s }: Written): string {
  const text = `,"w":"${w}","n":${n},"t":${t}`;
  return s === undefined ? `${text}}` : `${text},"s":${s}}`;
}

function whereText(where: readonly Where[]): string {
  let text = '[';
  for (const group of where) {
    text += `${text.length > 1 ? ',' : ''}[${group[0]}`;
    for (let i = 1; i < group.length; i++) {
      const entry = group[i]!;
      text += typeof entry === 'number' ? `,${entry}` : `,[${entry[0]},${entry[1]}]`;
    }
    text += ']';
  }
  return `${text}]`;
}

function textsText(texts: readonly string[]): string {
  let text = '[';
  for (const one of texts)
    text += `${text.length > 1 ? ',' : ''}${PLAIN.test(one) ? `"${one}"` : asciiJson(one)}`;
  return `${text}]`;
}

/** Records gathered for one write. Reused from write to write. */
export class Batch {
  buffer = Buffer.allocUnsafe(64 * 1024);
  length = 0;

  clear(): void {
    this.length = 0;
    // A rare giant must not stay in memory.
    if (this.buffer.length > 4 * 1024 * 1024) this.buffer = Buffer.allocUnsafe(64 * 1024);
  }

  /** Appends a record and returns where in the batch its line begins. The header must be ASCII. */
  add(header: string, payload?: string): number {
    if (header.length > LONGEST_HEADER)
      throw new RangeError(`a header of ${header.length} bytes is too long`);
    const payloadRoom =
      payload === undefined ? 0 : payload.length < 65_536 ? payload.length * 3 : Buffer.byteLength(payload);
    this.#room(1 + PREFIX + header.length + 1 + payloadRoom + 2);
    const { buffer } = this;
    if (this.length === 0) buffer[this.length++] = NEWLINE;
    const start = this.length;
    buffer[start] = OPEN;
    buffer[start + 1] = QUOTE;
    buffer[start + 10] = COLON;
    buffer[start + 19] = COLON;
    putHex(buffer, start + 20, 6, header.length);
    buffer[start + 26] = QUOTE;
    buffer[start + 27] = COMMA;
    let end = start + PREFIX + buffer.write(header, start + PREFIX, 'latin1');
    if (payload !== undefined) {
      buffer[end++] = COMMA;
      end += buffer.write(payload, end, 'utf8');
    }
    buffer[end++] = CLOSE;
    putHex(buffer, start + 11, 8, end - start);
    putHex(buffer, start + 2, 8, crc32(buffer.subarray(start + COVERED, end)));
    buffer[end] = NEWLINE;
    this.length = end + 1;
    return start;
  }

  #room(more: number): void {
    const wanted = this.length + more;
    if (wanted <= this.buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(wanted, this.buffer.length * 2));
    this.buffer.copy(larger, 0, 0, this.length);
    this.buffer = larger;
  }
}

/** What a `Batch` of the same records would be long. */
export class Tally {
  length = 0;

  add(header: string, payload?: string): number {
    const start = this.length === 0 ? 1 : this.length;
    const payloadLength = payload === undefined ? 0 : 1 + Buffer.byteLength(payload);
    this.length = start + PREFIX + header.length + payloadLength + 2;
    return start;
  }
}

/** The header's length when `buffer[start, end)` is a sound line, else -1. */
export function checkLine(buffer: Buffer, start: number, end: number): number {
  const length = end - start;
  if (
    length < PREFIX + 3 ||
    buffer[start] !== OPEN ||
    buffer[start + 1] !== QUOTE ||
    buffer[end - 1] !== CLOSE
  )
    return -1;
  if (!hasHex(buffer, start + 11, 8, length)) return -1;
  const headerLength = getHex(buffer, start + 20, 6);
  if (headerLength < 2 || PREFIX + headerLength >= length) return -1;
  if (!hasHex(buffer, start + 2, 8, crc32(buffer.subarray(start + COVERED, end)))) return -1;
  return headerLength;
}

/** The checksum that a sound line begins with; names a record beyond doubt together with its offset. */
export function lineChecksum(buffer: Buffer, start: number): string {
  return buffer.toString('latin1', start + 2, start + 10);
}

/** The line's length as its prefix says, unverified; 0 when it says nothing. */
export function lineLength(buffer: Buffer, start: number): number {
  return Math.max(0, getHex(buffer, start + 11, 8));
}

export function headerText(buffer: Buffer, start: number, headerLength: number): string {
  return buffer.toString('latin1', start + PREFIX, start + PREFIX + headerLength);
}

/** The payload as JSON text, '' when the record has none. */
export function payloadText(buffer: Buffer, start: number, end: number, headerLength: number): string {
  const from = start + PREFIX + headerLength + 1;
  return from >= end ? '' : buffer.toString('utf8', from, end - 1);
}

export function parsePayload(text: string): Json {
  return text === '' ? null : (JSON.parse(text) as Json);
}

export function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

export interface LineVisitor {
  /** A sound line at `buffer[start, end)`. */
  record(buffer: Buffer, start: number, end: number, headerLength: number): void;
  /** Bytes that are no record: `torn`, a write that was cut off and so never acknowledged, or `rot`. */
  bad(buffer: Buffer, start: number, end: number, kind: 'torn' | 'rot'): void;
}

/**
 * Visits every complete line of `buffer[from, to)` and returns where the first incomplete one begins.
 * Goes on behind a damaged line at the next newline. The places where a damaged newline would hide a sound neighbour
 * are known by position, never searched for: a payload may hold bytes that look like a record. For the same reason
 * a line that was cut in two by a byte that became a newline is passed over whole.
 * @param behind how many bytes the file has behind `to`: a cut line that reaches there is left for when they are seen.
 */
export function scanLines(
  buffer: Buffer,
  from: number,
  to: number,
  visitor: LineVisitor,
  behind = 0,
): number {
  let start = from;
  while (start < to) {
    if (buffer[start] === NEWLINE) {
      start++;
      continue;
    }
    const end = buffer.indexOf(NEWLINE, start);
    if (end < 0 || end >= to) return start;
    const whole = visitLine(buffer, start, end, to, behind, visitor);
    if (whole < 0) return start;
    start = whole + 1;
  }
  return start;
}

/** Returns where what was visited ends, or -1 when more of the file must be seen first. */
function visitLine(
  buffer: Buffer,
  start: number,
  end: number,
  to: number,
  behind: number,
  visitor: LineVisitor,
): number {
  const headerLength = checkLine(buffer, start, end);
  if (headerLength >= 0) {
    visitor.record(buffer, start, end, headerLength);
    return end;
  }
  // The newline that begins a write was damaged: the record follows it.
  const behindFirst = end - start > PREFIX ? checkLine(buffer, start + 1, end) : -1;
  if (behindFirst >= 0) {
    visitor.bad(buffer, start, start + 1, 'rot');
    visitor.record(buffer, start + 1, end, behindFirst);
    return end;
  }
  // The newline behind a sound record was damaged: its own length says where it ends.
  const length = end - start > PREFIX ? getHex(buffer, start + 11, 8) : -1;
  const cut = start + length;
  const first = length > 0 && cut < end ? checkLine(buffer, start, cut) : -1;
  if (first >= 0) {
    visitor.record(buffer, start, cut, first);
    visitor.bad(buffer, cut, cut + 1, 'rot');
    // What follows is a line of its own.
    return cut;
  }
  const kind = damageKind(buffer, start, end);
  if (kind === 'torn' && length > 0) {
    if (cut >= to && cut < to + behind) return -1;
    if (cut < to && wasCutAt(buffer, start, end, cut)) {
      visitor.bad(buffer, start, cut, 'rot');
      return cut;
    }
  }
  // Nobody writes zeros: what stood there, and what follows up to the newline, was of other records, which are lost.
  const zero = kind === 'torn' ? buffer.indexOf(0, start) : -1;
  if (zero < 0 || zero >= end) visitor.bad(buffer, start, end, kind);
  else {
    visitor.bad(buffer, start, zero, 'torn');
    visitor.bad(buffer, zero, end, 'rot');
  }
  return end;
}

/** Whether `buffer[start, end)` is a record but for the byte at `newline`. */
function wasCutAt(buffer: Buffer, start: number, newline: number, end: number): boolean {
  if (buffer[end] !== NEWLINE) return false;
  const line = Buffer.from(buffer.subarray(start, end));
  for (let byte = 0; byte < 256; byte++) {
    line[newline - start] = byte;
    if (checkLine(line, 0, line.length) >= 0) return true;
  }
  return false;
}

const SHAPE = Buffer.from('["________:________:______",', 'latin1');
const FIXED = [...SHAPE.entries()].filter(([, byte]) => byte !== 0x5f);

/** Whether most of what is the same in every prefix stands there, or zeros. */
export function startsLikeRecord(line: Buffer): boolean {
  let fits = 0;
  for (const [i, byte] of FIXED) if (line[i] === byte || line[i] === 0) fits++;
  return fits >= 4;
}

/**
 * A line shorter than its prefix says, or than a prefix, was cut off by the death of its writer, unless it is
 * whole in shape: then its length was damaged.
 */
function damageKind(buffer: Buffer, start: number, end: number): 'torn' | 'rot' {
  const length = end - start;
  for (let i = 0; i < Math.min(length, PREFIX); i++) {
    const expected = SHAPE[i]!;
    const fits = expected === 0x5f ? VALUES[buffer[start + i]!]! >= 0 : buffer[start + i] === expected;
    if (!fits) return 'rot';
  }
  if (length < PREFIX) return 'torn';
  if (length >= getHex(buffer, start + 11, 8)) return 'rot';
  if (buffer[end - 1] !== CLOSE) return 'torn';
  return isJson(buffer.toString('utf8', start, end)) ? 'rot' : 'torn';
}
