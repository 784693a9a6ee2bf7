/** To read what messages hold while others carry it on to newer segments, and delete the files that it stood in. */
import { newestSegment } from './files.ts';
import type { Journal } from './journal.ts';

/**
 * What `read` has found once the log had been read to its end: again as long as that lacks something, and others have gone on since. A process
 * may be stopped between the two looks for longer than it takes to carry a content on and delete its file. Errors: those of `Journal.refresh`.
 * Resolves also with whether what is lacking is lost: not where there is a newer segment to which the log does not lead.
 */
export async function readCaughtUp<T>(
  journal: Journal,
  read: () => T,
  lacks: (found: T) => boolean,
): Promise<{ found: T; isLost: boolean }> {
  const { ports, folder } = journal.options;
  for (let last = 0; ;) {
    await journal.refresh();
    const { segment } = journal.state;
    const found = read();
    if (!lacks(found)) return { found, isLost: false };
    // Who deletes a file has made newer ones before.
    const isLost = newestSegment(ports.fs, folder) <= segment;
    if (isLost || segment <= last) return { found, isLost };
    last = segment;
  }
}
