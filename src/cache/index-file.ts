/**
 * An index beside a sealed segment: where its messages lie, so that nobody has to read the segment to find out. A
 * cache: written once, unsynced, named by nothing; one that does not match its segment is ignored and made anew.
 *
 * First a record, whose header names the seal and describes the rest; then, as little-endian numbers, for all adds of
 * the segment in order: offsets (4 bytes each), line lengths (4), header lengths (2), flags (1: 2 deferred, 4
 * disabled), and the due times of the deferred ones (8, a double). Then, where aliases are unique, JSON:
 * [[index, alias], …] of the messages that were live when it was written.
 */
import { crc32 } from 'node:zlib';
import { indexName, segmentName, takeOwner } from './files.ts';
import type { FileStat, FileSystem } from './ports.ts';
import { position } from './position.ts';
import { asciiJson, Batch, checkLine, headerText, lineChecksum, PREFIX } from './record.ts';
import type { SegmentTable } from './table.ts';

export interface SealName {
  offset: number;
  checksum: string;
}

interface IndexHeader {
  op: 'index';
  segment: number;
  seal: [offset: number, checksum: string];
  count: number;
  /** Bytes behind the record's newline, and their checksum. */
  bytes: number;
  crc: number;
}

/** Where an add stands, and what it says of when it may run. The alias only of a message that was live. */
type IndexVisitor = (
  offset: number,
  length: number,
  headerLength: number,
  due: number | undefined,
  disabled: boolean,
  alias: string | undefined,
) => void;

const DEFERRED = 2;
const DISABLED = 4;
const PER_ADD = 4 + 4 + 2 + 1;

/**
 * Writes the index of a sealed segment, in place of one that does not match. `like`: the segment's owner and mode. What goes wrong is of no consequence: the segment can be read instead.
 */
export function writeIndex(
  fs: FileSystem,
  folder: string,
  table: SegmentTable,
  seal: SealName,
  like: FileStat,
  aliasOf: (at: number) => string | undefined,
): void {
  const { count, segment } = table;
  const numbers = Buffer.alloc(count * PER_ADD);
  const dues: number[] = [];
  const aliases: [number, string][] = [];
  for (let i = 0; i < count; i++) {
    const { due, disabled } = table.asAdded(i);
    numbers.writeUInt32LE(table.offsetAt(i), i * 4);
    numbers.writeUInt32LE(table.lengthAt(i), (count + i) * 4);
    numbers.writeUInt16LE(table.headerLengthAt(i), count * 8 + i * 2);
    numbers[count * 10 + i] = (due === undefined ? 0 : DEFERRED) | (disabled ? DISABLED : 0);
    if (due !== undefined) dues.push(due);
    const alias = aliasOf(position(segment, table.offsetAt(i)));
    if (alias !== undefined) aliases.push([i, alias]);
  }
  const times = Buffer.alloc(dues.length * 8);
  for (const [i, due] of dues.entries()) times.writeDoubleLE(due, i * 8);
  const body = Buffer.concat([
    numbers,
    times,
    Buffer.from(aliases.length > 0 ? JSON.stringify(aliases) : ''),
  ]);
  const batch = new Batch();
  const { offset, checksum } = seal;
  batch.add(
    asciiJson({
      op: 'index',
      segment,
      seal: [offset, checksum],
      count,
      bytes: body.length,
      crc: crc32(body),
    } satisfies IndexHeader),
  );
  const bytes = Buffer.concat([batch.buffer.subarray(0, batch.length), body]);
  const path = `${folder}/${indexName(segment)}`;
  try {
    if (fs.kind(path) !== undefined) fs.remove(path);
    const fd = fs.open(path, 'create', 0o600);
    try {
      takeOwner(fs, fd, like);
      if (fs.write(fd, bytes, 0, bytes.length) < bytes.length) fs.remove(path);
    } finally {
      fs.close(fd);
    }
  } catch {
    // No room, not allowed, or another writes it.
  }
}

/** The index of the segment, or undefined when there is none that matches it. */
export function readIndex(fs: FileSystem, folder: string, segment: number): SegmentIndex | undefined {
  const path = `${folder}/${indexName(segment)}`;
  if (fs.kind(path) !== 'file') return undefined;
  try {
    return parseIndex(fs, folder, segment, path);
  } catch {
    // Gone meanwhile, or not for this account to read: as good as none.
    return undefined;
  }
}

/**
 * Where a segment's seal stood when its index was written, if it is that very seal that stands at `offset`: elsewhere where bytes have
 * gone from the segment since, or come into it.
 */
export function indexedSeal(
  fs: FileSystem,
  folder: string,
  segment: number,
  offset: number,
): number | undefined {
  const path = `${folder}/${indexName(segment)}`;
  if (fs.kind(path) !== 'file') return undefined;
  try {
    const { header } = headerIn(readWhole(fs, path), segment) ?? {};
    if (!header) return undefined;
    const [stood, checksum] = header.seal;
    return hasSeal(fs, `${folder}/${segmentName(segment)}`, [offset, checksum]) ? stood : undefined;
  } catch {
    // Gone meanwhile, or not for this account to read: as good as none.
    return undefined;
  }
}

function headerIn(bytes: Buffer, segment: number): { header: IndexHeader; body: Buffer } | undefined {
  const lineEnd = bytes.indexOf(10, 1);
  const headerLength = lineEnd < 0 ? -1 : checkLine(bytes, 1, lineEnd);
  if (headerLength < 0) return undefined;
  const header = JSON.parse(headerText(bytes, 1, headerLength)) as IndexHeader;
  if (header.op !== 'index' || header.segment !== segment) return undefined;
  return { header, body: bytes.subarray(lineEnd + 1) };
}

function parseIndex(fs: FileSystem, folder: string, segment: number, path: string): SegmentIndex | undefined {
  const { header, body } = headerIn(readWhole(fs, path), segment) ?? {};
  if (!header || !body) return undefined;
  if (body.length !== header.bytes || crc32(body) !== header.crc) return undefined;
  if (!hasSeal(fs, `${folder}/${segmentName(segment)}`, header.seal)) return undefined;
  return new SegmentIndex(body, header.count);
}

/** The adds of a segment, in order. */
export class SegmentIndex {
  readonly #body: Buffer;
  readonly #count: number;
  /** By the add's index. */
  readonly #aliases: ReadonlyMap<number, string>;

  /** Errors: of any kind, for a body that does not hold what its header says. */
  constructor(body: Buffer, count: number) {
    this.#body = body;
    this.#count = count;
    let deferred = 0;
    for (let i = 0; i < count; i++) if (body[count * 10 + i]! & DEFERRED) deferred++;
    const end = count * PER_ADD + deferred * 8;
    if (!(end <= body.length)) throw new RangeError(`expected ${end} bytes, got ${body.length}`);
    const aliases = body.toString('utf8', end);
    this.#aliases = new Map(aliases === '' ? [] : (JSON.parse(aliases) as [number, string][]));
  }

  /** A call for each instead of an object: a segment holds tens of thousands, and whoever opens a queue waits for this. */
  each(visit: IndexVisitor): void {
    const count = this.#count;
    const { buffer, byteOffset, byteLength } = this.#body;
    const numbers = new DataView(buffer, byteOffset, byteLength);
    let times = count * PER_ADD;
    for (let i = 0; i < count; i++) {
      const flags = numbers.getUint8(count * 10 + i);
      let due: number | undefined;
      if (flags & DEFERRED) {
        due = numbers.getFloat64(times, true);
        times += 8;
      }
      visit(
        numbers.getUint32(i * 4, true),
        numbers.getUint32((count + i) * 4, true),
        numbers.getUint16(count * 8 + i * 2, true),
        due,
        (flags & DISABLED) !== 0,
        this.#aliases.get(i),
      );
    }
  }
}

/** Whether the segment's file has that very seal. Errors: ENOENT. */
function hasSeal(fs: FileSystem, path: string, [offset, checksum]: [number, string]): boolean {
  const fd = fs.open(path, 'read');
  try {
    const line = Buffer.alloc(1024);
    const got = fs.read(fd, line, 0, line.length, offset);
    const end = line.subarray(0, got).indexOf(10);
    return end > PREFIX && checkLine(line, 0, end) >= 0 && lineChecksum(line, 0) === checksum;
  } finally {
    fs.close(fd);
  }
}

function readWhole(fs: FileSystem, path: string): Buffer {
  const fd = fs.open(path, 'read');
  try {
    const bytes = Buffer.alloc(fs.stat(fd).size);
    let got = 0;
    while (got < bytes.length) {
      const n = fs.read(fd, bytes, got, bytes.length - got, got);
      if (n === 0) break;
      got += n;
    }
    return bytes.subarray(0, got);
  } finally {
    fs.close(fd);
  }
}
