/** The files of a queue's folder: their names, and reading one line by line. */
import { dirname } from 'node:path';
import { QueueError } from '../errors.ts';
import type { FileStat, FileSystem, Ports } from './ports.ts';
import { scanLines, type LineVisitor } from './record.ts';

const SEGMENT = /^(\d{8})\.journal$/;
const TEMPORARY = /^tmp-(\d{8})-([0-9a-f]{16})$/;
/** Written zeros, freed when the disk is full for whatever ends messages. */
export const RESERVE = 'reserve';

const digits = (segment: number): string => String(segment).padStart(8, '0');
export const segmentName = (segment: number): string => `${digits(segment)}.journal`;
export const indexName = (segment: number): string => `${digits(segment)}.index`;
export const temporaryName = (segment: number, random: string): string => `tmp-${digits(segment)}-${random}`;

export function parseSegmentName(name: string): number | undefined {
  const match = SEGMENT.exec(name);
  return match ? Number(match[1]) : undefined;
}
export function parseIndexName(name: string): number | undefined {
  return name.endsWith('.index') ? parseSegmentName(name.replace(/index$/, 'journal')) : undefined;
}
export function parseTemporaryName(name: string): { segment: number; random: string } | undefined {
  const match = TEMPORARY.exec(name);
  return match ? { segment: Number(match[1]), random: match[2]! } : undefined;
}

/** What is under a name where a file should be. Of a link, where it leads: once it is moved it may lead elsewhere. */
export function standsAt(fs: FileSystem, path: string): string {
  const kind = fs.kind(path);
  if (kind !== 'link') return kind === undefined ? 'nothing' : `a ${kind}`;
  try {
    return `a link to ${fs.resolve(path)}`;
  } catch {
    return 'a link that leads nowhere';
  }
}

/** What this process works on has been overtaken: a segment that it looks for was spent and deleted. Start from the newest. */
export class Behind extends Error {}

/** Numbers of the segments in a folder, ascending. */
export function listSegments(fs: FileSystem, folder: string): number[] {
  const found: number[] = [];
  for (const name of fs.list(folder)) {
    const segment = parseSegmentName(name);
    if (segment !== undefined) found.push(segment);
  }
  return found.sort((a, b) => a - b);
}

/** 0 when the listing shows none. */
export function newestSegment(fs: FileSystem, folder: string): number {
  return listSegments(fs, folder).at(-1) ?? 0;
}

export function errorCode(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

/** Whether a segment's file is not there: it has no name, or something else stands under it. */
export function isGone(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'ENOENT' || code === 'EISDIR' || code === 'ELOOP' || code === 'ENOTDIR';
}

/** What the system's codes mean to whoever has to mend it. */
const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'there is no space left on the device',
  EDQUOT: 'the disk quota of this account is used up',
  EFBIG: 'the file is as large as this process may make one (ulimit -f)',
  EIO: 'the device has reported an error',
  EROFS: 'the file system can only be read',
  EACCES: 'this account may not do that',
  EPERM: 'this account may not do that',
  EMFILE: 'this process has as many files open as it may (ulimit -n)',
  ENFILE: 'the system has as many files open as it can',
  ENOENT: 'a file or folder is gone; was it moved or deleted, or its disk unmounted?',
  ENOTDIR: 'there is a file where a folder should be',
  EISDIR: 'there is a folder where a file should be',
  ELOOP: 'there is a link where a file should be, and links are not followed',
};

/** The typed error for what the operating system refused. */
export function storageError(error: unknown, doing: string, queue: string, path: string): QueueError {
  if (error instanceof QueueError) return error;
  const code = errorCode(error);
  const reason = REASONS[code ?? ''];
  const text = reason === undefined ? `(${code ?? String(error)})` : `because ${reason} (${code})`;
  const details = { queue, path, cause: error };
  return new QueueError(
    isFull(error) ? 'STORAGE_FULL' : 'STORAGE_FAILED',
    `${doing} failed ${text}`,
    details,
  );
}

export function isFull(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'ENOSPC' || code === 'EDQUOT';
}

/** 0 when it has been deleted meanwhile. */
export function sizeOf(fs: FileSystem, path: string): number {
  try {
    const fd = fs.open(path, 'read');
    try {
      return fs.stat(fd).size;
    } finally {
      fs.close(fd);
    }
  } catch (error) {
    if (isGone(error)) return 0;
    throw error;
  }
}

/** Gives the open file the owner, group and mode of another one. Errors: EPERM. */
export function takeOwner(fs: FileSystem, fd: number, { uid, gid, mode }: FileStat): void {
  const made = fs.stat(fd);
  if (made.uid !== uid || made.gid !== gid) fs.setOwner(fd, uid, gid);
  fs.setMode(fd, mode);
}

/** Removes a file that nobody needs any more; where that cannot be, it does no harm. */
export function removeSpent(fs: FileSystem, path: string): void {
  try {
    fs.remove(path);
  } catch {
    // Gone already, or held open by somebody on Windows: the next sweep meets it again.
  }
}

/** Puts a folder's name on the device: whoever made it may not have come to that, and what is in it is about to be promised. */
export async function syncName(fs: FileSystem, folder: string): Promise<void> {
  try {
    await fs.syncFolder(dirname(folder));
  } catch (error) {
    // Who may not read the folder above has not made this one, and has to trust who has.
    if (errorCode(error) !== 'EACCES' && errorCode(error) !== 'EPERM') throw error;
  }
}

export interface FileVisitor {
  /** A sound record: `buffer[start, end)`, at `offset` of the file. */
  record(buffer: Buffer, start: number, end: number, headerLength: number, offset: number): void;
  bad(buffer: Buffer, start: number, end: number, kind: 'torn' | 'rot', offset: number): void;
}

/**
 * Visits all complete lines of `[from, to)` of a file, others running in between; resolves with the offset behind the
 * last of them.
 */
export async function scanFile(
  { fs, clock }: Pick<Ports, 'fs' | 'clock'>,
  fd: number,
  visitor: FileVisitor,
  from = 0,
  to = Infinity,
): Promise<number> {
  const scanner = new FileScanner(fs);
  const end = Math.min(to, fs.stat(fd).size);
  let at = from;
  while (at < end) {
    const next = scanner.chunk(fd, at, end, visitor);
    if (next === at) break;
    at = next;
    await clock.yield();
  }
  return at;
}

const CHUNK = 64 * 1024;
const NEWLINE = 10;

/** Reads files line by line, a chunk at a call, so that its caller can let others run in between. */
export class FileScanner {
  readonly #fs: FileSystem;
  #buffer = Buffer.allocUnsafe(CHUNK);

  constructor(fs: FileSystem) {
    this.#fs = fs;
  }

  /**
   * Visits complete lines of `[from, to)` and returns the offset behind the last of them, which is `from` only when
   * no line ends before `to`. One call reads one chunk, or one line where a line is longer.
   */
  chunk(fd: number, from: number, to: number, visitor: FileVisitor): number {
    for (;;) {
      const wanted = Math.min(this.#buffer.length, to - from);
      const got = this.#fill(fd, from, wanted);
      const lines: LineVisitor = {
        record: (buffer, start, end, headerLength) =>
          visitor.record(buffer, start, end, headerLength, from + start),
        bad: (buffer, start, end, kind) => visitor.bad(buffer, start, end, kind, from + start),
      };
      const consumed = scanLines(this.#buffer, 0, got, lines, got < wanted ? 0 : to - from - got);
      if (consumed > 0 || got < wanted || from + got >= to) {
        if (this.#buffer.length > 4 * 1024 * 1024) this.#buffer = Buffer.allocUnsafe(CHUNK);
        return from + consumed;
      }
      this.#buffer = Buffer.allocUnsafe(this.#buffer.length * 2);
    }
  }

  /**
   * Like `chunk`, but visits only the sound records of lines that hold one of `needles`, and looks at nothing else:
   * several gigabytes a second.
   */
  sift(
    fd: number,
    from: number,
    to: number,
    needles: readonly Buffer[],
    visitor: Pick<FileVisitor, 'record'>,
  ): number {
    for (;;) {
      const wanted = Math.min(this.#buffer.length, to - from);
      const got = this.#fill(fd, from, wanted);
      const end = this.#buffer.subarray(0, got).lastIndexOf(NEWLINE) + 1;
      if (end === 0 && got === wanted && from + got < to) {
        this.#buffer = Buffer.allocUnsafe(this.#buffer.length * 2);
        continue;
      }
      const text = this.#buffer.subarray(0, end);
      const starts = new Set<number>();
      for (const needle of needles) {
        for (let hit = text.indexOf(needle); hit >= 0;) {
          starts.add(text.lastIndexOf(NEWLINE, hit) + 1);
          const lineEnd = text.indexOf(NEWLINE, hit);
          hit = lineEnd < 0 ? -1 : text.indexOf(needle, lineEnd);
        }
      }
      for (const start of [...starts].sort((a, b) => a - b)) {
        scanLines(text, start, text.indexOf(NEWLINE, start) + 1, {
          record: (buffer, recordStart, recordEnd, headerLength) =>
            visitor.record(buffer, recordStart, recordEnd, headerLength, from + recordStart),
          bad() {},
        });
      }
      return from + end;
    }
  }

  /** Visits all complete lines without a pause: for what is known to be small. */
  all(fd: number, from: number, to: number, visitor: FileVisitor): number {
    let at = from;
    while (at < to) {
      const next = this.chunk(fd, at, to, visitor);
      if (next === at) break;
      at = next;
    }
    return at;
  }

  #fill(fd: number, from: number, wanted: number): number {
    let got = 0;
    while (got < wanted) {
      const n = this.#fs.read(fd, this.#buffer, got, wanted - got, from + got);
      if (n === 0) break;
      got += n;
    }
    return got;
  }
}
