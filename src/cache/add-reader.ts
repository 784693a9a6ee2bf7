/**
 * Reads what the state needs of an add as most are, of a message that may run at once, has no alias, and says nothing else of
 * itself, from the bytes of its header: every process meets every add of the others, and an object and strings that nobody
 * asks for would take longer than all the rest. It knows no shape but the very one that `encodeHeader` gives such an add; of
 * any other it says nothing, and `decode` has to look.
 */
import { PREFIX } from './record.ts';

export const UUID_LENGTH = 36;
const WRITER_LENGTH = 16;
/** Offsets within the header. */
const UUID = '{"op":"add","u":"'.length;
const WRITER = UUID + UUID_LENGTH + '","w":"'.length;

/** Stands in a template for any byte that stands for itself in a JSON string. */
const ANY = 0;
const STANDS_FOR_ITSELF = new Uint8Array(256).fill(1, 0x20, 0x7f);
for (const special of '"\\') STANDS_FOR_ITSELF[special.charCodeAt(0)] = 0;

const any = (length: number): string => '\0'.repeat(length);
/** Every header of a plain add begins with this. A number follows. */
const BEGINNING = Buffer.from(`{"op":"add","u":"${any(UUID_LENGTH)}","w":"${any(WRITER_LENGTH)}","n":`);
const TIME = Buffer.from(',"t":');
const SYNCED = Buffer.from(',"s":');

const BRACE = 0x7d;
const ZERO = 0x30;
/** So many are exact in a double, and never more than a Date can hold. */
const DIGITS = 15;

const NOTHING = Buffer.alloc(0);

/** Used again for each record: it tells of the one that was read last, while that is in its buffer. */
export class AddReader {
  time = 0;
  /** 0 where nothing is said of it. */
  synced = 0;
  #buffer: Buffer = NOTHING;
  #header = 0;
  #at = 0;

  /** Whether the sound line `buffer[start, end)` is such an add. */
  read(buffer: Buffer, start: number, end: number, headerLength: number): boolean {
    this.#buffer = buffer;
    this.#header = this.#at = start + PREFIX;
    const headerEnd = this.#header + headerLength;
    // Its payload is not looked at, but must be there.
    if (end < headerEnd + 3 || !this.#has(BEGINNING) || this.#whole() < 0 || !this.#has(TIME)) return false;
    this.time = this.#whole();
    this.synced = this.#has(SYNCED) ? this.#whole() : 0;
    if (this.time < 0 || this.synced < 0) return false;
    return this.#at === headerEnd - 1 && buffer[this.#at] === BRACE;
  }

  /** @param writer the bytes of its name. */
  isBy(writer: Uint8Array): boolean {
    const from = this.#header + WRITER;
    for (let i = 0; i < WRITER_LENGTH; i++) if (this.#buffer[from + i] !== writer[i]) return false;
    return true;
  }

  copyUuid(to: Uint8Array): void {
    const from = this.#header + UUID;
    for (let i = 0; i < UUID_LENGTH; i++) to[i] = this.#buffer[from + i]!;
  }

  /** Lets the buffer go: it may be a large one, for a rare giant. */
  forget(): void {
    this.#buffer = NOTHING;
  }

  /** Steps over what fits the template, if it comes next. */
  #has(template: Uint8Array): boolean {
    const buffer = this.#buffer;
    const at = this.#at;
    for (let i = 0; i < template.length; i++) {
      const byte = buffer[at + i]!;
      const expected = template[i];
      if (expected === ANY ? STANDS_FOR_ITSELF[byte] !== 1 : byte !== expected) return false;
    }
    this.#at = at + template.length;
    return true;
  }

  /** Steps over a whole number; -1 when none comes next that is as simple as that. */
  #whole(): number {
    const buffer = this.#buffer;
    const from = this.#at;
    let at = from;
    let value = 0;
    for (let digit = buffer[at]! - ZERO; digit >= 0 && digit <= 9; digit = buffer[++at]! - ZERO)
      value = value * 10 + digit;
    this.#at = at;
    const digits = at - from;
    return digits === 0 || digits > DIGITS || (digits > 1 && buffer[from] === ZERO) ? -1 : value;
  }
}
