/**
 * Packets as PHP's `serialize()` writes them, for `unserialize()` to read the answer. The notation says how long everything is,
 * so the end of a packet is known without the end of the connection. Only what is data is read: no object, no reference.
 *
 * It is read here and not by a package because the end of a packet has to be found in what has come so far, which takes
 * the whole grammar; it is a stack instead of a recursion, and what JSON could not hold is refused instead of guessed.
 */
import type { Json } from '../message.ts';
import type { CallAnswer } from './codes.ts';
import { DEEPEST, put, type PacketFormat, type PacketScan, type Scanned } from './packet.ts';

export const PHP_FORMAT: PacketFormat = {
  closes: true,
  scan: (most) => new PhpScan(most),
  write: ({ code, message, result }: CallAnswer) => serialize({ code, message, result }),
};

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Characters of a number, or of a length. */
const LONGEST_NUMBER = 40;
/** Bytes that an element takes at least: `i:0;N;`. */
const LEAST_ELEMENT = 6;

const SEMICOLON = 0x3b;
const COLON = 0x3a;
const QUOTE = 0x22;
const OPENED = 0x7b;
const CLOSED = 0x7d;

/** An array that has begun. */
interface Frame {
  /** Elements that are still to come. */
  left: number;
  /** Of the element that has begun. */
  key: string | number | undefined;
  readonly elements: [key: string | number, value: Json][];
}

class PhpScan implements PacketScan {
  readonly #most: number;
  readonly #frames: Frame[] = [];
  /** Where the next token begins. */
  #at = 0;
  #value: Json | undefined;

  constructor(most: number) {
    this.#most = most;
  }

  look(bytes: Buffer, ended: boolean): Scanned | undefined {
    try {
      while (this.#value === undefined) {
        if (!this.#step(bytes)) {
          if (bytes.length > this.#most) throw this.#tooLarge();
          return ended ? this.#refused(new Refused('it ends too early')) : undefined;
        }
      }
      if (this.#at > this.#most) throw this.#tooLarge();
      return { type: 'packet', length: this.#at, value: this.#value };
    } catch (error) {
      if (error instanceof Refused) return this.#refused(error);
      throw error;
    }
  }

  #refused({ message, isTooLarge }: Refused): Scanned {
    const why = isTooLarge ? message : `${message}, at byte ${this.#at}`;
    return { type: 'malformed', why, isTooLarge, length: this.#at, next: 'nowhere' };
  }

  /** Reads a token, if all of it is there. */
  #step(bytes: Buffer): boolean {
    const frame = this.#frames.at(-1);
    if (frame?.left === 0) return this.#close(bytes, frame);
    if (bytes.length < this.#at + 2) return false;
    const type = String.fromCharCode(bytes[this.#at]!);
    const isKey = frame !== undefined && frame.key === undefined;
    if (isKey && type !== 'i' && type !== 's')
      throw new Refused('expected a key, which is an integer or a text');
    if (bytes[this.#at + 1] !== (type === 'N' ? SEMICOLON : COLON)) throw new Refused('expected a value');
    switch (type) {
      case 'N':
        this.#at += 2;
        this.#take(null);
        return true;
      case 'b':
      case 'i':
      case 'd': {
        const text = this.#until(bytes, SEMICOLON);
        if (text === undefined) return false;
        this.#take(numberOf(type, text), text.length + 3);
        return true;
      }
      case 's':
        return this.#text(bytes);
      case 'a':
        return this.#open(bytes);
      case 'O':
      case 'C':
      case 'E':
        throw new Refused('objects are not read; send an array');
      case 'R':
      case 'r':
        throw new Refused('references are not read; send copies');
      default:
        throw new Refused('expected a value');
    }
  }

  /** What stands behind `x:` up to a character; undefined: that has not come yet. */
  #until(bytes: Buffer, character: number): string | undefined {
    const from = this.#at + 2;
    const window = bytes.subarray(from, from + LONGEST_NUMBER + 1);
    const length = window.indexOf(character);
    if (length >= 0) return window.toString('latin1', 0, length);
    if (window.length > LONGEST_NUMBER) throw new Refused('expected a number');
    return undefined;
  }

  /** `s:5:"bytes";` */
  #text(bytes: Buffer): boolean {
    const size = this.#until(bytes, COLON);
    if (size === undefined) return false;
    const from = this.#at + 2 + size.length + 2;
    const to = from + lengthOf(size);
    // Told at once, not when it has all been sent.
    if (to > this.#most) throw this.#tooLarge();
    if (bytes.length < to + 2) return false;
    if (bytes[from - 1] !== QUOTE || bytes[to] !== QUOTE || bytes[to + 1] !== SEMICOLON)
      throw new Refused('a text is not as long as it says');
    let text: string;
    try {
      text = UTF8.decode(bytes.subarray(from, to));
    } catch {
      throw new Refused('a text is not UTF-8');
    }
    this.#take(text, to + 2 - this.#at);
    return true;
  }

  /** `a:2:{` */
  #open(bytes: Buffer): boolean {
    const size = this.#until(bytes, COLON);
    if (size === undefined) return false;
    const from = this.#at + 2 + size.length + 2;
    if (bytes.length < from) return false;
    if (bytes[from - 1] !== OPENED) throw new Refused('expected {');
    const left = lengthOf(size);
    if (left * LEAST_ELEMENT > this.#most) throw this.#tooLarge();
    if (this.#frames.length === DEEPEST) throw new Refused(`nested deeper than ${DEEPEST}`);
    this.#frames.push({ left, key: undefined, elements: [] });
    this.#at = from;
    return true;
  }

  #close(bytes: Buffer, { elements }: Frame): boolean {
    if (bytes.length <= this.#at) return false;
    if (bytes[this.#at] !== CLOSED) throw new Refused('expected }');
    this.#frames.pop();
    this.#take(arrayOf(elements), 1);
    return true;
  }

  /** A value, or a key, that took so many bytes. */
  #take(value: Json, length = 0): void {
    this.#at += length;
    const frame = this.#frames.at(-1);
    if (frame === undefined) this.#value = value;
    else if (frame.key === undefined) frame.key = value as string | number;
    else {
      frame.elements.push([frame.key, value]);
      frame.key = undefined;
      frame.left--;
    }
  }

  #tooLarge(): Refused {
    return new Refused(`expected at most ${this.#most} bytes, received more`, true);
  }
}

class Refused extends Error {
  readonly isTooLarge: boolean;

  constructor(message: string, isTooLarge = false) {
    super(message);
    this.isTooLarge = isTooLarge;
  }
}

function lengthOf(text: string): number {
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw new Refused('expected a length');
}

function numberOf(type: 'b' | 'i' | 'd', text: string): boolean | number {
  if (type === 'b') {
    if (text === '0' || text === '1') return text === '1';
    throw new Refused('expected a boolean');
  }
  const value = Number(text);
  if (type === 'i') {
    if (!/^-?\d{1,20}$/.test(text)) throw new Refused('expected an integer');
    // PHP's have 64 bits: rounded it would be another number.
    if (!Number.isSafeInteger(value))
      throw new Refused('an integer beyond 2^53, which JSON would round; send a text');
    // There is no negative zero among them.
    return value === 0 ? 0 : value;
  }
  if (/^(?:-?INF|NAN)$/.test(text)) throw new Refused('a number that is not finite');
  if (!/^-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(text)) throw new Refused('expected a number');
  if (!Number.isFinite(value)) throw new Refused('a number that is not finite');
  return value;
}

/** A list when its keys count from 0, as those of PHP's lists do; an empty one may have been meant as either. */
function arrayOf(elements: readonly [string | number, Json][]): Json {
  if (elements.every(([key], index) => key === index)) return elements.map(([, value]) => value);
  const object: Record<string, Json> = {};
  for (const [key, value] of elements) put(object, String(key), value);
  return object;
}

/** @param value nested a few dozen deep at most. */
function serialize(value: Json): string {
  switch (typeof value) {
    case 'boolean':
      return `b:${value ? 1 : 0};`;
    case 'number':
      return Number.isSafeInteger(value) ? `i:${value};` : `d:${value};`;
    case 'string':
      return `s:${Buffer.byteLength(value)}:"${value}";`;
    default: {
      if (value === null) return 'N;';
      const elements = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
      const inner = elements.map(([key, each]) => serialize(key) + serialize(each)).join('');
      return `a:${elements.length}:{${inner}}`;
    }
  }
}
