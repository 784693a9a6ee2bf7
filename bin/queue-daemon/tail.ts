/** The end of a log, and what is added to it, across rotations. Only whole lines are told. */
import fs from 'node:fs';
import { QueueError, quote } from '../../src/errors.ts';
import { logFiles } from '../../src/log/files.ts';

const BLOCK = 64 * 1024;
/** Bytes of lines that are looked for at the end; and of one that grows without ever ending. */
const MOST = 16 * 1024 * 1024;
const NEWLINE = 0x0a;

export class Tail {
  readonly #path: string;
  /** The file that is read. */
  #fd: number | undefined;
  #offset = 0;
  /** What came behind the last line break. */
  #rest = Buffer.alloc(0);

  /** @param path of the file that is written now. */
  constructor(path: string) {
    this.#path = path;
  }

  /** The last lines there are, at most `count`; `next` goes on behind them. Errors: STORAGE_FAILED: it may not be read. */
  last(count: number): string[] {
    const lines: string[] = [];
    for (const path of logFiles(this.#path).toReversed()) {
      const fd = open(path);
      if (fd === undefined) continue;
      const size = fs.fstatSync(fd).size;
      const [before, rest] = count === 0 ? [[], Buffer.alloc(0)] : lastLines(fd, size, count - lines.length);
      lines.unshift(...before);
      if (this.#fd === undefined) {
        this.#fd = fd;
        this.#offset = size;
        this.#rest = rest;
      } else fs.closeSync(fd);
      if (lines.length >= count) break;
    }
    return lines;
  }

  /** The lines that have come since. */
  next(): string[] {
    const lines: string[] = [];
    for (;;) {
      lines.push(...this.#read());
      if (!this.#moveOn()) return lines;
    }
  }

  close(): void {
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }

  #read(): string[] {
    const fd = this.#fd;
    if (fd === undefined) return [];
    // Emptied by somebody (`> mails.log`).
    if (fs.fstatSync(fd).size < this.#offset) this.#offset = 0;
    const parts = [this.#rest];
    const block = Buffer.alloc(BLOCK);
    for (let length = BLOCK; length === BLOCK; this.#offset += length) {
      length = fs.readSync(fd, block, 0, BLOCK, this.#offset);
      parts.push(Buffer.from(block.subarray(0, length)));
    }
    const bytes = Buffer.concat(parts);
    const end = bytes.lastIndexOf(NEWLINE) + 1;
    const whole = end === 0 && bytes.length > MOST ? bytes.length : end;
    this.#rest = Buffer.from(bytes.subarray(whole));
    return textLines(bytes.subarray(0, whole));
  }

  /** Whether the file that was read is the one before this. */
  #isNext(fd: number): boolean {
    const inodes = logFiles(this.#path).map((path) => fs.lstatSync(path, { throwIfNoEntry: false })?.ino);
    const at = inodes.indexOf(fs.fstatSync(fd).ino);
    return at > 0 && this.#fd !== undefined && inodes[at - 1] === fs.fstatSync(this.#fd).ino;
  }

  /** Goes over to the file that follows the one that was read to its end; false when there is none, or none for sure. */
  #moveOn(): boolean {
    const files = logFiles(this.#path);
    const held = this.#fd === undefined ? undefined : fs.fstatSync(this.#fd).ino;
    const index = files.findIndex((path) => fs.lstatSync(path, { throwIfNoEntry: false })?.ino === held);
    // One that is not among them was deleted: nobody knows what stood behind it, so the newest is next.
    const next = index >= 0 ? files[index + 1] : files.at(-1);
    const fd = next === undefined ? undefined : open(next);
    if (fd === undefined) return false;
    // What was added between the last look and the rename.
    const more = this.#fd !== undefined && fs.fstatSync(this.#fd).size > this.#offset;
    // Since the listing another file may have come to stand there, with a whole one between the two.
    if (more || (index >= 0 && !this.#isNext(fd))) {
      fs.closeSync(fd);
      return more;
    }
    this.close();
    this.#fd = fd;
    this.#offset = 0;
    this.#rest = Buffer.alloc(0);
    return true;
  }
}

function open(path: string): number | undefined {
  try {
    const fd = fs.openSync(path, fs.constants.O_RDONLY | (fs.constants.O_NONBLOCK ?? 0));
    if (fs.fstatSync(fd).isFile()) return fd;
    fs.closeSync(fd);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'EACCES') {
      const text = `this account may not read the log ${quote(path, 300)} (${code})`;
      throw new QueueError('STORAGE_FAILED', text, { path, cause });
    }
    // Gone: as if it had never been there.
  }
  return undefined;
}

function lastLines(fd: number, size: number, count: number): [lines: string[], rest: Buffer<ArrayBuffer>] {
  let begin = size;
  let bytes = Buffer.alloc(0);
  while (begin > 0 && size - begin < MOST && breaksIn(bytes) <= count) {
    const length = Math.min(Math.max(BLOCK, bytes.length), begin);
    const block = Buffer.alloc(length);
    begin -= length;
    bytes = Buffer.concat([block.subarray(0, fs.readSync(fd, block, 0, length, begin)), bytes]);
  }
  const end = bytes.lastIndexOf(NEWLINE) + 1;
  return [textLines(bytes.subarray(0, end)).slice(-count), Buffer.from(bytes.subarray(end))];
}

function breaksIn(bytes: Buffer): number {
  let breaks = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) breaks++;
  return breaks;
}

/** @param bytes that end with a line break, or are none. */
function textLines(bytes: Buffer): string[] {
  return bytes.length === 0 ? [] : bytes.toString('utf8').replace(/\n$/, '').split('\n');
}
