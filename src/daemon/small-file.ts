/** Small files that others may have put there, or damaged: read with care, and replaced in one step. */
import fs from 'node:fs';
import { QueueError, quote } from '../errors.ts';

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL } = fs.constants;
/** Both absent on Windows. A pipe in the place of a file must not be waited for. */
const O_NOFOLLOW = fs.constants.O_NOFOLLOW ?? 0;
const O_NONBLOCK = fs.constants.O_NONBLOCK ?? 0;

/** Bytes; most of ours have less than one thousand. */
const LARGEST = 64 * 1024;

/**
 * The text of a file, or undefined when there is none.
 * Errors: STORAGE_FAILED when something else stands there, or it cannot be read.
 */
export function readSmall(path: string, largest = LARGEST): string | undefined {
  let fd: number;
  try {
    fd = fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    if (code === 'EACCES' || code === 'EPERM') throw notAllowed(path, code, cause);
    throw refused(path, code === 'ELOOP' ? 'a link' : `one that cannot be opened (${code})`, cause);
  }
  try {
    const stat = fs.fstatSync(fd);
    if (!stat.isFile()) throw refused(path, stat.isDirectory() ? 'a folder' : 'a device or pipe');
    if (stat.size > largest) throw refused(path, `one of ${stat.size} bytes`);
    return fs.readFileSync(fd, 'utf8');
  } catch (cause) {
    if (cause instanceof QueueError) throw cause;
    throw refused(path, `one that cannot be read (${(cause as NodeJS.ErrnoException).code})`, cause);
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * Makes a file with that text, readable by its owner only; all of it or none. Throws the system's error; EEXIST when something
 * is there.
 */
export function makeSmall(path: string, text: string, { synced }: { synced: boolean }): void {
  const fd = fs.openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    fs.writeFileSync(fd, text);
    if (synced) fs.fsyncSync(fd);
  } catch (error) {
    removeSmall(path);
    throw error;
  } finally {
    fs.closeSync(fd);
  }
}

/** Removes a file; one that is not there is none to remove. */
export function removeSmall(path: string): void {
  fs.rmSync(path, { force: true });
}

/** It is the daemon's account that may, and root. */
function notAllowed(path: string, code: string, cause: unknown): QueueError {
  const owner = fs.lstatSync(path, { throwIfNoEntry: false })?.uid;
  const whose = owner === undefined ? '' : `; it belongs to user ${owner}, whose daemon that is`;
  return new QueueError('STORAGE_FAILED', `this account may not read ${quote(path, 300)} (${code})${whose}`, {
    path,
    cause,
  });
}

function refused(path: string, found: string, cause?: unknown): QueueError {
  return new QueueError('STORAGE_FAILED', `expected a small file at ${quote(path, 300)}, found ${found}`, {
    path,
    ...(cause === undefined ? {} : { cause }),
  });
}
