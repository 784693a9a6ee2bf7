/**
 * Packets of JSON: one a line. A packet ends with the brace that closes it, or else with its line: so a client that sends
 * neither a newline nor the end of its side is answered too, and what is no JSON spoils nothing behind its line. Older clients
 * send keys without quotes, and texts in single ones: what is no JSON is read as JSON5, which is JavaScript's notation.
 */
import JSON5 from 'json5';
import { escapeControls } from '../errors.ts';
import type { Json } from '../message.ts';
import { DEEPEST, type PacketFormat, type PacketScan, type Read, type Scanned } from './packet.ts';

/** Bytes: JSON5 is read at half a MB to 2 MB a second, and while it is read nothing else happens. */
const LONGEST_LEGACY = 8 * 1024;

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export const JSON_FORMAT: PacketFormat = {
  closes: false,
  scan: (most) => new JsonScan(most),
  write: (answer) => `${JSON.stringify(answer)}\n`,
};

const NEWLINE = 0x0a;
const BACKSLASH = 0x5c;
const QUOTE = 0x22;
const APOSTROPHE = 0x27;

class JsonScan implements PacketScan {
  readonly #most: number;
  /** Up to where it has looked. */
  #at = 0;
  #depth = 0;
  /** The quote that the text it stands in began with; 0: in none. */
  #quote = 0;
  #isEscaped = false;

  constructor(most: number) {
    this.#most = most;
  }

  look(bytes: Buffer, ended: boolean): Scanned | undefined {
    const end = Math.min(bytes.length, this.#most);
    for (let at = this.#at; at < end; at++) {
      const byte = bytes[at]!;
      // JSON has no raw newline in a text.
      if (byte === NEWLINE) return read(bytes.subarray(0, at), at + 1, 'here');
      if (this.#quote !== 0) {
        if (this.#isEscaped) this.#isEscaped = false;
        else if (byte === BACKSLASH) this.#isEscaped = true;
        else if (byte === this.#quote) this.#quote = 0;
      } else if (byte === QUOTE || byte === APOSTROPHE) this.#quote = byte;
      // [ and { are 0x5b and 0x7b, their counterparts 0x5d and 0x7d.
      else if ((byte & 0xdf) === 0x5b) {
        if (++this.#depth > DEEPEST) return malformed(`nested deeper than ${DEEPEST}`, at, 'nowhere');
      } else if ((byte & 0xdf) === 0x5d && --this.#depth === 0)
        return read(bytes.subarray(0, at + 1), at + 1, 'line');
    }
    this.#at = end;
    if (bytes.length > this.#most) {
      const why = `expected at most ${this.#most} bytes, received more`;
      return { type: 'malformed', why, isTooLarge: true, length: end, next: 'nowhere' };
    }
    return ended ? read(bytes, bytes.length, 'nowhere') : undefined;
  }
}

function read(bytes: Buffer, length: number, next: 'here' | 'line' | 'nowhere'): Scanned {
  let text: string;
  try {
    text = UTF8.decode(bytes);
  } catch {
    return malformed('expected UTF-8', length, next);
  }
  try {
    return { type: 'packet', length, value: JSON.parse(text) as Json };
  } catch {
    // Whoever says `nom` reads to the end, and would wait for it.
    const rest = /^\{\s*["']?nom["']?\s*:/.test(text) ? 'nowhere' : next;
    if (bytes.length <= LONGEST_LEGACY)
      return { type: 'slow', length, read: () => readLegacy(text, length, rest) };
    const why = `it is no JSON; with keys that are not quoted it may have ${LONGEST_LEGACY} bytes`;
    return malformed(why, length, rest);
  }
}

function readLegacy(text: string, length: number, rest: 'here' | 'line' | 'nowhere'): Read {
  try {
    // It would print a warning where these stand raw in a text.
    const value: Json = JSON5.parse(text.replace(/[\u2028\u2029]/g, escapeControls));
    if (isPlain(value)) return { type: 'packet', length, value };
    return malformed('a number is not finite', length, rest);
  } catch {
    return malformed('it is no JSON', length, rest);
  }
}

/** JSON5 knows Infinity and NaN, which JSON could not answer. */
function isPlain(value: Json): boolean {
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || value === null) return true;
  return Object.values(value).every(isPlain);
}

function malformed(why: string, length: number, next: 'here' | 'line' | 'nowhere'): Read {
  return { type: 'malformed', why, isTooLarge: false, length, next };
}
