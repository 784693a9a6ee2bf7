/** After a repair: nothing stays in the folder that nobody needs, or that is not sound. */
import { errorCode, indexName, parseIndexName, parseSegmentName, parseTemporaryName } from '../files.ts';
import type { FileSystem, Ports } from '../ports.ts';
import { mendSegment } from './mend.ts';
import { placesOf, type Salvage } from './salvage.ts';

/**
 * On the device when it resolves. May be done again, and by halves: the newest head names what is needed, and what is not
 * sound is passed over by all. Errors: those of node:fs.
 * @param disputed segments whose records do not lead to what their successors say.
 */
export async function tidy(
  ports: Ports,
  folder: string,
  salvaged: Salvage,
  disputed: ReadonlySet<number>,
  quarantine: string,
): Promise<void> {
  const { fs } = ports;
  const clear = (name: string): void => {
    const path = `${folder}/${name}`;
    // A link, or a folder with whatever is in it, is not ours to delete.
    if (fs.kind(path) === 'file') drop(ports, path);
    else if (fs.kind(path) !== undefined) fs.rename(path, `${quarantine}/old/${name}`);
  };
  for (const segment of placesOf(salvaged)) {
    // An index may know of adds that are no more.
    if (await mendSegment(ports, folder, segment, disputed.has(segment))) clear(indexName(segment));
  }
  for (const name of spentIn(fs, folder, salvaged)) clear(name);
  await fs.syncFolder(folder);
  await fs.syncFolder(`${quarantine}/old`);
}

/** Names in the folder that nobody needs any more. */
export function spentIn(fs: FileSystem, folder: string, salvaged: Salvage): string[] {
  const needed = placesOf(salvaged);
  return fs.list(folder).filter((name) => {
    const segment = parseSegmentName(name) ?? parseIndexName(name);
    const temporary = parseTemporaryName(name);
    const spent = segment !== undefined && segment <= salvaged.newest && !needed.has(segment);
    return spent || (temporary !== undefined && temporary.segment <= salvaged.newest + 1);
  });
}

function drop({ fs }: Ports, path: string): void {
  try {
    fs.remove(path);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
}
