import fs from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a folder for its owner only, with those above it, where there is none. Throws the system's error: ENOTDIR where
 * something else stands. Not mkdir's `recursive`: of a disk that is read-only that says ENOENT, and on some paths, such as
 * /proc/x, it never returns.
 */
export function makeFolder(path: string): void {
  // The slash makes a file in its place an error.
  if (fs.statSync(`${path}/`, { throwIfNoEntry: false })) return;
  const parent = dirname(path);
  if (parent !== path) makeFolder(parent);
  try {
    fs.mkdirSync(path, 0o700);
  } catch (error) {
    // Somebody else was faster.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
