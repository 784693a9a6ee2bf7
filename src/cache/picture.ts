/**
 * A queue's folder as it was at one moment, for who reads all of it while others append, rotate and delete. The segments
 * are all held open, and read no further than they reached then; so what the newest head refers to cannot go meanwhile. Nothing can
 * be written through it. Of other files, indexes say, it shows what is there when they are looked at.
 */
import { errorCode, isGone, listSegments, newestSegment, segmentName } from './files.ts';
import type { FileSystem } from './ports.ts';

/** How often it is taken again because a segment came or went while the files were opened: a matter of microseconds. */
const ATTEMPTS = 100;

interface Held {
  fd: number;
  size: number;
}

export interface Picture {
  /** The folder; a handle of a segment is shared by all who open it. */
  fs: FileSystem;
  /** Numbers of all that was listed as a segment, ascending. What could not be opened as a file is among them. */
  segments: readonly number[];
  close(): void;
}

/** Costs an open file for each segment. Errors: ENOENT, ENOTDIR: there is no folder; and what opening a file may end with. */
export function takePicture(fs: FileSystem, folder: string): Picture {
  for (let attempt = 1; ; attempt++) {
    const held = new Map<number, Held>();
    const close = (): void => {
      for (const { fd } of held.values()) fs.close(fd);
      held.clear();
    };
    try {
      const segments = listSegments(fs, folder);
      const newest = segments.at(-1) ?? 0;
      for (const segment of segments.toReversed()) {
        const fd = openSegment(fs, `${folder}/${segmentName(segment)}`, segment === newest);
        if (fd === undefined) continue;
        const file: Held = { fd, size: 0 };
        held.set(segment, file);
        file.size = fs.stat(fd).size;
      }
      // Segments go when a newer one has come, so what this one needs has been there all the time.
      if (newestSegment(fs, folder) === newest) return { fs: frozen(fs, folder, held), segments, close };
      if (attempt === ATTEMPTS) throw new Error('the folder is never at rest');
    } catch (error) {
      close();
      if (errorCode(error) !== 'ENOENT' || attempt === ATTEMPTS || fs.kind(folder) === undefined) throw error;
      continue;
    }
    close();
  }
}

/** Undefined: something else than a file, or an older one that is gone since it was listed. */
function openSegment(fs: FileSystem, path: string, newest: boolean): number | undefined {
  try {
    return fs.open(path, 'read');
  } catch (error) {
    if (isGone(error) && !(newest && errorCode(error) === 'ENOENT')) return undefined;
    throw error;
  }
}

function refuse(): never {
  throw Object.assign(new Error('nothing is written to a picture'), { code: 'EROFS' });
}

const READ_ONLY = {
  write: refuse,
  truncate: refuse,
  setOwner: refuse,
  setMode: refuse,
  sync: refuse,
  syncFolder: refuse,
  rename: refuse,
  remove: refuse,
  makeFolder: refuse,
  removeFolder: refuse,
};

function frozen(fs: FileSystem, folder: string, held: ReadonlyMap<number, Held>): FileSystem {
  const byPath = new Map([...held].map(([segment, file]) => [`${folder}/${segmentName(segment)}`, file]));
  const byHandle = new Map([...held.values()].map((file) => [file.fd, file]));
  return {
    ...READ_ONLY,
    open(path, how) {
      if (how !== 'read') return refuse();
      return byPath.get(path)?.fd ?? fs.open(path, how);
    },
    close(fd) {
      if (!byHandle.has(fd)) fs.close(fd);
    },
    read(fd, into, offset, length, position) {
      const size = byHandle.get(fd)?.size ?? Infinity;
      const within = Math.min(length, Math.max(0, size - position));
      return within === 0 ? 0 : fs.read(fd, into, offset, within, position);
    },
    stat(fd) {
      const stat = fs.stat(fd);
      return { ...stat, size: Math.min(stat.size, byHandle.get(fd)?.size ?? Infinity) };
    },
    kind: (path) => (byPath.has(path) ? 'file' : fs.kind(path)),
    list: (path) => fs.list(path),
    resolve: (path) => fs.resolve(path),
    space: (path) => fs.space(path),
    watch: (path, listener) => fs.watch(path, listener),
  };
}
