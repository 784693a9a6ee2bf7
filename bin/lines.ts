/** Lines of a file or of stdin, read in bounded memory, as often as needed. */
import { fstatSync } from 'node:fs';
import { open, mkdtemp, rm, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { QueueError, quote } from '../src/errors.ts';

const CHUNK = 256 * 1024;
const NEWLINE = 10;

/** A line, or why it cannot be read as one; reading goes on behind it either way. */
export type Line = {
  /** From 1. */
  number: number;
  /** Bytes of the source up to its end. */
  end: number;
} & ({ text: string; problem?: undefined } | { problem: string });

/** A source of lines that can be read again from its start. */
export interface LineSource {
  /** As in messages to people. */
  readonly name: string;
  /** Bytes, when it was opened. */
  readonly size: number;
  /** A line of more than `longest` bytes, or not in UTF-8, has a problem. */
  lines(longest: number): AsyncGenerator<Line>;
  close(): Promise<void>;
}

/**
 * Opens a file, or stdin for `-`. What cannot be read twice (stdin, a pipe) is first copied to a temporary file that
 * only this account can read; its size is bounded by the disk, not by memory.
 * @param copied is told how many bytes have been copied so far. Errors: INVALID_ARGUMENT.
 */
export async function openLines(path: string, copied: (bytes: number) => void): Promise<LineSource> {
  const name = path === '-' ? 'stdin' : quote(path, 300);
  if (path !== '-') {
    const file = await openFile(path, name);
    const stat = await file.stat();
    if (stat.isFile()) return sourceOf(name, file, stat.size, () => file.close());
    try {
      return await spool(name, file.createReadStream({ autoClose: false }), copied);
    } finally {
      await file.close();
    }
  }
  // Node tells of no error when stdin is a folder.
  if (fstatSync(0).isDirectory()) throw isFolder(name);
  return spool(name, process.stdin, copied);
}

function isFolder(name: string): QueueError {
  return new QueueError('INVALID_ARGUMENT', `expected a file with one message per line, ${name} is a folder`);
}

async function openFile(path: string, name: string): Promise<FileHandle> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    if (!(await file.stat()).isDirectory()) return file;
  } catch (cause) {
    throw new QueueError(
      'INVALID_ARGUMENT',
      `expected a readable file, ${name}: ${(cause as NodeJS.ErrnoException).code}`,
      { cause },
    );
  }
  await file.close();
  throw isFolder(name);
}

async function spool(
  name: string,
  input: AsyncIterable<Uint8Array>,
  copied: (bytes: number) => void,
): Promise<LineSource> {
  let size = 0;
  let remove = async (): Promise<void> => undefined;
  let file: FileHandle | undefined;
  try {
    const folder = await mkdtemp(join(tmpdir(), 'coda-add-'));
    remove = () => rm(folder, { recursive: true, force: true });
    file = await open(join(folder, 'input.ndjson'), 'wx+', 0o600);
    // Where the system allows it the file has no name from here on, so that nothing stays behind, however this ends.
    await remove().catch(() => undefined);
    for await (const chunk of input) {
      await file.appendFile(chunk);
      size += chunk.length;
      copied(size);
    }
  } catch (cause) {
    await file?.close();
    await remove();
    const { code } = cause as NodeJS.ErrnoException;
    throw new QueueError(
      code === 'ENOSPC' ? 'STORAGE_FULL' : 'STORAGE_FAILED',
      `${name} cannot be copied to a temporary file: ${code}`,
      { path: tmpdir(), cause },
    );
  }
  const copy = file;
  return sourceOf(name, copy, size, async () => {
    await copy.close();
    await remove();
  });
}

function sourceOf(name: string, file: FileHandle, size: number, close: () => Promise<void>): LineSource {
  return { name, size, lines: (longest) => readLines(file, longest), close };
}

async function* readLines(file: FileHandle, longest: number): AsyncGenerator<Line> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  /** The beginning of the line that the last chunk ended in. */
  let parts: Uint8Array[] = [];
  let length = 0;
  let number = 1;
  const take = (end: number): Line => {
    const bytes = parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts);
    const tooLong = length > longest;
    parts = [];
    length = 0;
    const place = { number: number++, end };
    if (tooLong) return { ...place, problem: `expected at most ${longest} bytes, received more` };
    try {
      return { ...place, text: decoder.decode(bytes) };
    } catch {
      return { ...place, problem: 'expected text in UTF-8' };
    }
  };
  let offset = 0;
  for (;;) {
    const chunk = Buffer.allocUnsafe(CHUNK);
    const { bytesRead } = await file.read(chunk, 0, CHUNK, offset);
    if (bytesRead === 0) break;
    let start = 0;
    for (;;) {
      const newline = chunk.subarray(0, bytesRead).indexOf(NEWLINE, start);
      const end = newline < 0 ? bytesRead : newline;
      length += end - start;
      // What is too long to be used is read, but not kept.
      if (length <= longest) parts.push(chunk.subarray(start, end));
      else parts = [];
      if (newline < 0) break;
      yield take(offset + newline + 1);
      start = newline + 1;
    }
    offset += bytesRead;
  }
  if (length > 0) yield take(offset);
}
