/** Lines of a file or of stdin, read in bounded memory, as often as needed. */
import { open, mkdtemp, rm, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { QueueError, quote } from '../src/errors.ts';

const CHUNK = 256 * 1024;
const NEWLINE = 10;

export interface Line {
  /** From 1. */
  number: number;
  text: string;
}

/** A source of lines that can be read again from its start. */
export interface LineSource {
  /** As in messages to people. */
  readonly name: string;
  /** Errors: INVALID_MESSAGE for a line of more than `longest` bytes or not in UTF-8, naming its number. */
  lines(longest: number): AsyncGenerator<Line>;
  close(): Promise<void>;
}

/**
 * Opens a file, or stdin for `-`. What cannot be read twice (stdin, a pipe) is first copied to a temporary file that
 * only this account can read; its size is bounded by the disk, not by memory. Errors: INVALID_ARGUMENT.
 */
export async function openLines(path: string): Promise<LineSource> {
  const name = path === '-' ? 'stdin' : quote(path, 300);
  if (path !== '-') {
    const file = await openFile(path, name);
    if ((await file.stat()).isFile()) return sourceOf(name, file, () => file.close());
    try {
      return await spool(name, file.createReadStream({ autoClose: false }));
    } finally {
      await file.close();
    }
  }
  return spool(name, process.stdin);
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
  throw new QueueError('INVALID_ARGUMENT', `expected a file with one message per line, ${name} is a folder`);
}

async function spool(name: string, input: AsyncIterable<Uint8Array>): Promise<LineSource> {
  let remove = async (): Promise<void> => undefined;
  let file: FileHandle | undefined;
  try {
    const folder = await mkdtemp(join(tmpdir(), 'coda-add-'));
    remove = () => rm(folder, { recursive: true, force: true });
    file = await open(join(folder, 'input.ndjson'), 'wx+', 0o600);
    // Where the system allows it the file has no name from here on, so that nothing stays behind, however this ends.
    await remove().catch(() => undefined);
    for await (const chunk of input) await file.appendFile(chunk);
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
  return sourceOf(name, copy, async () => {
    await copy.close();
    await remove();
  });
}

function sourceOf(name: string, file: FileHandle, close: () => Promise<void>): LineSource {
  return { name, lines: (longest) => readLines(file, name, longest), close };
}

async function* readLines(file: FileHandle, name: string, longest: number): AsyncGenerator<Line> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const refuse = (number: number, why: string): QueueError =>
    new QueueError('INVALID_MESSAGE', `${name}, line ${number}: ${why}`);
  const decode = (bytes: Uint8Array, number: number): string => {
    try {
      return decoder.decode(bytes);
    } catch {
      throw refuse(number, 'expected text in UTF-8');
    }
  };
  /** The beginning of the line that the last chunk ended in. */
  let parts: Uint8Array[] = [];
  let length = 0;
  let number = 1;
  for (let offset = 0; ;) {
    const chunk = Buffer.allocUnsafe(CHUNK);
    const { bytesRead } = await file.read(chunk, 0, CHUNK, offset);
    if (bytesRead === 0) break;
    let start = 0;
    for (;;) {
      const newline = chunk.subarray(0, bytesRead).indexOf(NEWLINE, start);
      const end = newline < 0 ? bytesRead : newline;
      parts.push(chunk.subarray(start, end));
      length += end - start;
      if (length > longest) throw refuse(number, `expected at most ${longest} bytes, received more`);
      if (newline < 0) break;
      yield { number, text: decode(joined(parts), number) };
      parts = [];
      length = 0;
      number++;
      start = newline + 1;
    }
    offset += bytesRead;
  }
  if (length > 0) yield { number, text: decode(joined(parts), number) };
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts);
}
