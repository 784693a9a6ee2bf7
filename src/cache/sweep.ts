/** What a rotation leaves over, and when that may be deleted: not before two heads that are on the device do without it. */
import {
  parseIndexName,
  parseSegmentName,
  parseTemporaryName,
  removeSpent,
  segmentName,
  storageError,
} from './files.ts';
import { loadHead } from './head.ts';
import type { Log } from './log.ts';

/**
 * Removes segments that neither of the last two heads names, both being on the device; and stale temporaries. What goes wrong is
 * reported and fails nobody: the next rotation sweeps again.
 */
export async function sweep(log: Log): Promise<void> {
  const { queue, folder, report } = log.options;
  try {
    await removeAllSpent(log);
  } catch (error) {
    report(storageError(error, 'deleting what is spent', queue, folder));
  }
}

async function removeAllSpent(log: Log): Promise<void> {
  const { ports, folder } = log.options;
  const current = log.state.segment;
  const needed = await namedBy(log, [current, current - 1]);
  for (const name of ports.fs.list(folder)) {
    const segment = parseSegmentName(name) ?? parseIndexName(name);
    const temporary = parseTemporaryName(name);
    const spent =
      needed !== undefined && segment !== undefined && segment < current - 1 && !needed.has(segment);
    if (spent || (temporary && temporary.segment <= current)) removeSpent(ports.fs, `${folder}/${name}`);
  }
}

/** The segments that the heads of `segments` name; undefined when that cannot be told for certain. */
async function namedBy(log: Log, segments: readonly number[]): Promise<Set<number> | undefined> {
  const { ports, folder, keepOutcomes } = log.options;
  const { fs } = ports;
  const named = new Set<number>(segments);
  for (const segment of segments) {
    if (segment < 1) continue;
    const path = `${folder}/${segmentName(segment)}`;
    let fd: number;
    try {
      fd = fs.open(path, 'append');
    } catch {
      return undefined;
    }
    try {
      await fs.sync(fd);
      const loaded = await loadHead(ports, fd, segment, keepOutcomes, path);
      if (!loaded) return undefined;
      for (const reference of loaded.references) named.add(reference);
    } finally {
      fs.close(fd);
    }
  }
  await fs.syncFolder(folder);
  for (const { segment } of log.state.damage) named.add(segment);
  return named;
}
