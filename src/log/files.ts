/**
 * The files of a log: the one that is written, and those put aside, which lie beside it and have its name with the time
 * behind it, such as coda.log.2026-03-17T18-57-08.123Z-9f31c0de. Names in order are files in order.
 */
import fs from 'node:fs';
import { randomBytes } from 'node:crypto';
import { basename, dirname, join } from 'node:path';

const BEHIND = /^\.\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z-[0-9a-f]{8}$/;

const STAMP_LENGTH = '2026-03-17T18-57-08.123Z'.length;

/** Names of those put aside, the oldest first; none where there is no such folder. Throws what the system says of any other. */
export function asideNames(path: string): string[] {
  const name = basename(path);
  let names: string[];
  try {
    names = fs.readdirSync(dirname(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return names.filter((other) => other.startsWith(name) && BEHIND.test(other.slice(name.length))).sort();
}

/**
 * A name under which a log can be put aside now: no file has it, and it comes after all that have such a name, whatever the
 * clock has done since.
 * @param aside what `asideNames` has found. @param now epoch milliseconds.
 */
export function nextAside(path: string, aside: readonly string[], now: number): string {
  const name = basename(path);
  const newest = aside.at(-1)?.slice(name.length + 1, name.length + 1 + STAMP_LENGTH);
  const time = stampOf(now);
  const after = newest === undefined || newest < time ? time : stampOf(timeOf(newest) + 1);
  return `${name}.${after}-${randomBytes(4).toString('hex')}`;
}

/** ISO 8601, but for the colons, which Windows does not have in names. */
function stampOf(time: number): string {
  return new Date(time).toISOString().replaceAll(':', '-');
}

function timeOf(stamp: string): number {
  return Date.parse(stamp.replace(/T(\d\d)-(\d\d)-/, 'T$1:$2:'));
}

/**
 * Where the lines of a log are, in the order in which they were written: those put aside, then the one that is written now, if it
 * is there. Who follows a log reads the file that he holds to its end when the last of these is another one (its inode
 * is), then goes on there.
 */
export function logFiles(path: string): string[] {
  let real = path;
  let there = true;
  try {
    real = fs.realpathSync(path);
  } catch {
    // Just put aside, and the next line will make it again.
    there = false;
  }
  return [...asideNames(real).map((name) => join(dirname(real), name)), ...(there ? [real] : [])];
}

/** Deletes all but the newest `keep` of those put aside. Several processes may do so at once. */
export function prune(path: string, aside: readonly string[], keep: number): void {
  for (const name of aside.slice(0, -keep)) fs.rmSync(join(dirname(path), name), { force: true });
}
