/**
 * One repair of a queue at a time: two would only be wasteful, since the log decides between them. So a lock that now and
 * then lets two in is good enough.
 */
import { basename, dirname } from 'node:path';
import { QueueError } from '../../errors.ts';
import { errorCode, storageError } from '../files.ts';

/** Longer than the ten seconds after which the lock of a process that has died counts as nobody's. */
const PATIENCE = { retries: 12, factor: 1, minTimeout: 1000, maxTimeout: 1000 };

/** Waits for a repair that is under way. Errors: STORAGE_FAILED when that takes more than twelve seconds. */
export async function alone<T>(folder: string, run: () => Promise<T>): Promise<T> {
  const queue = basename(folder);
  const lockfilePath = `${dirname(folder)}/.repair-${queue}`;
  // Every other command does without it.
  const { lock } = await import('proper-lockfile');
  let release: () => Promise<void>;
  try {
    // A lock that is lost means that this process stood still for long: it may go on, as said above.
    const onCompromised = (): void => undefined;
    release = await lock(folder, { lockfilePath, realpath: false, onCompromised, retries: PATIENCE });
  } catch (error) {
    if (errorCode(error) !== 'ELOCKED') throw storageError(error, 'locking the queue', queue, lockfilePath);
    throw new QueueError('STORAGE_FAILED', 'another repair of this queue is under way', {
      queue,
      path: lockfilePath,
      cause: error,
    });
  }
  try {
    return await run();
  } finally {
    // Taken over by another meanwhile: then it is theirs.
    await release().catch(() => undefined);
  }
}
