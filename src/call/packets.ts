/** Finds packets in a stream of bytes, or in a datagram: where one begins, in which format it is, and what it asks. */
import { refusal, type CallAnswer } from './codes.ts';
import { JSON_FORMAT } from './json.ts';
import { requestOf, type CallRequest, type PacketFormat, type PacketScan, type Scanned } from './packet.ts';
import { PHP_FORMAT } from './php.ts';

/** What has come. `refused`: it asks nothing that could be done, and this is the answer. */
export type Incoming = {
  readonly format: PacketFormat;
  /** No packet is read behind it: its client reads to the end, or nobody can tell where another begins. */
  readonly isLast: boolean;
} & (
  | { readonly request: CallRequest; readonly refused?: undefined }
  | { readonly request?: undefined; readonly refused: CallAnswer }
);

const NEWLINE = 0x0a;
const BRACE = 0x7b;
/** The types of PHP's values, each with the colon behind it, but for `N;`. */
const PHP = /^(?:[abdisCEORrS]:|N;)/;

export class Packets {
  readonly #most: number;
  #bytes: Buffer = Buffer.alloc(0);
  /** What is there lies between these two. */
  #start = 0;
  #end = 0;
  /** Whether the buffer is its own, so that there may be room behind the end. */
  #isOwn = false;
  #hasEnded = false;
  #isSkippingLine = false;
  #isOver = false;
  #current: { format: PacketFormat; scan: PacketScan } | undefined;
  /** What has been found where it stands, and not been taken. */
  #found: Scanned | undefined;

  /** @param most bytes that a packet may have. */
  constructor(most: number) {
    this.#most = most;
  }

  push(chunk: Buffer): void {
    const length = this.#end - this.#start;
    if (length === 0) {
      this.#bytes = chunk;
      this.#isOwn = false;
      this.#start = 0;
      this.#end = chunk.length;
      return;
    }
    if (!this.#isOwn || this.#end + chunk.length > this.#bytes.length) this.#own(2 * (length + chunk.length));
    chunk.copy(this.#bytes, this.#end);
    this.#end += chunk.length;
  }

  /** No more will come. */
  end(): void {
    this.#hasEnded = true;
  }

  /** Bytes of a packet of which more has to come. */
  get held(): number {
    return this.#end - this.#start;
  }

  /** What there is to be taken. `slow`: reading it keeps all others waiting, so it is taken in a turn of its own; see ./turn.ts. */
  peek(): 'nothing' | 'quick' | 'slow' {
    const found = this.#isOver ? undefined : this.#look();
    if (found === undefined) return 'nothing';
    return found !== 'unknown' && found.type === 'slow' ? 'slow' : 'quick';
  }

  /** The next that has come whole; undefined: more has to come, or the last has come. */
  next(): Incoming | undefined {
    const incoming = this.#isOver ? undefined : this.#find();
    this.#isOver ||= incoming?.isLast === true;
    if (this.#isOver) this.#drop(this.#end - this.#start);
    return incoming;
  }

  #look(): Scanned | 'unknown' | undefined {
    if (this.#found) return this.#found;
    this.#skip();
    const bytes = this.#bytes.subarray(this.#start, this.#end);
    if (bytes.length === 0) {
      this.#drop(0);
      return undefined;
    }
    if (!this.#current) {
      const format = formatOf(bytes, this.#hasEnded);
      if (format === 'unknown') return format;
      if (format) this.#current = { format, scan: format.scan(this.#most) };
    }
    this.#found = this.#current?.scan.look(bytes, this.#hasEnded);
    // A view would hold on to all that it is a part of.
    if (!this.#found && !this.#isOwn) this.#own(bytes.length);
    return this.#found;
  }

  #find(): Incoming | undefined {
    const scanned = this.#look();
    if (scanned === 'unknown') return UNKNOWN;
    if (!scanned || !this.#current) return undefined;
    this.#found = undefined;
    const found = scanned.type === 'slow' ? scanned.read() : scanned;
    const { format } = this.#current;
    this.#current = undefined;
    this.#drop(found.length);
    if (found.type === 'malformed') {
      this.#isSkippingLine = found.next === 'line';
      const refused = refusal(found.isTooLarge ? 'TOO_LARGE' : 'MALFORMED', `malformed packet: ${found.why}`);
      return { format, refused, isLast: found.next === 'nowhere' || format.closes };
    }
    const request = requestOf(found.value);
    if (typeof request !== 'string') return { format, request, isLast: request.isLast || format.closes };
    const { value } = found;
    const saysNom = typeof value === 'object' && value !== null && Object.hasOwn(value, 'nom');
    const refused = refusal('MALFORMED', `malformed packet: ${request}`);
    return { format, refused, isLast: saysNom || format.closes };
  }

  /** The rest of a line that was no packet, and blanks between packets. */
  #skip(): void {
    if (this.#current) return;
    if (this.#isSkippingLine) {
      const newline = this.#bytes.subarray(this.#start, this.#end).indexOf(NEWLINE);
      this.#isSkippingLine = newline < 0;
      this.#start = newline < 0 ? this.#end : this.#start + newline;
    }
    while (this.#start < this.#end && isBlank(this.#bytes[this.#start]!)) this.#start++;
  }

  #drop(length: number): void {
    this.#start += length;
    if (this.#start < this.#end) return;
    this.#bytes = Buffer.alloc(0);
    this.#isOwn = false;
    this.#start = 0;
    this.#end = 0;
  }

  #own(size: number): void {
    const own = Buffer.allocUnsafe(size);
    this.#end = this.#bytes.copy(own, 0, this.#start, this.#end);
    this.#start = 0;
    this.#bytes = own;
    this.#isOwn = true;
  }
}

/**
 * What begins like no packet ends it all: it may be the first line of HTTP, sent by somebody's browser, and a line of
 * its body would be a packet.
 */
const UNKNOWN: Incoming = {
  format: JSON_FORMAT,
  refused: refusal('MALFORMED', 'expected a packet, which begins with { or as PHP writes it'),
  isLast: true,
};

/** `unknown`: in none; undefined: it cannot be told yet. */
function formatOf(bytes: Buffer, ended: boolean): PacketFormat | 'unknown' | undefined {
  if (bytes[0] === BRACE) return JSON_FORMAT;
  if (PHP.test(bytes.toString('latin1', 0, 2))) return PHP_FORMAT;
  return bytes.length === 1 && !ended ? undefined : 'unknown';
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}
