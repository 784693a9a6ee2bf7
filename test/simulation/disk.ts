/**
 * A disk and the page cache above it, kept apart, so that the power can be cut. What it promises is what POSIX
 * promises, and no more:
 *
 * - A flush of a file puts on the disk what the file held when the flush was begun; not the file's name.
 * - A flush of a folder puts the names in it on the disk; not what the files hold, nor the folder's own name.
 * - After a power cut each sector that was not flushed is there or not, and so is each change of a name; `Loss`.
 * - A flush that fails has dropped its sectors: they stay readable and never reach the disk. Each open handle is told
 *   once, whichever of its flushes comes first; a later one succeeds (Linux's errseq_t).
 *
 * A flush takes time: it is begun, and finished by another call. Knows no processes and no promises. (The disk of
 * `test/support/sim-fs.ts` is the same for tests that await it.)
 */
import { posix } from 'node:path';
import type { FileStat, OpenMode } from '../../src/cache/ports.ts';
import type { Stream } from './choices.ts';
import { File, Folder, type Extent, type Names } from './inodes.ts';
import { survivors, type Loss } from './loss.ts';

interface Handle {
  path: string;
  node: File | Folder;
  append: boolean;
  told: number;
}

/** A flush under way. */
export interface Flush {
  handle: Handle | undefined;
  folder: Folder | undefined;
  extents: Set<Extent>;
  changes: ((names: Names) => void)[];
  size: number;
  cut: boolean;
}

export function errno(code: string, path = ''): NodeJS.ErrnoException {
  // There are many, and nobody looks at where they come from.
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  const error = Object.assign(new Error(`${code}: ${path}`), { code, path });
  Error.stackTraceLimit = limit;
  return error;
}

export class Disk {
  /** Bytes in all. */
  capacity = Infinity;
  used = 0;
  readonly #root: Folder;
  readonly #handles = new Map<number, Handle>();
  #nextHandle = 3;

  constructor(root = new Folder()) {
    this.#root = root;
  }

  // --- Files -----------------------------------------------------------------------------------------------------

  open(path: string, how: OpenMode, mode = 0o666): number {
    let node = this.#find(path);
    if (how === 'create') {
      if (node) throw errno('EEXIST', path);
      const file = (node = Object.assign(new File(), { links: 1, mode }));
      const name = posix.basename(path);
      this.#parent(path).change((names) => names.set(name, file));
    }
    if (!node) throw errno('ENOENT', path);
    if (node.kind === 'folder') throw errno('EISDIR', path);
    node.handles++;
    const fd = this.#nextHandle++;
    this.#handles.set(fd, { path, node, append: how === 'append', told: node.failures });
    return fd;
  }

  close(fd: number): void {
    const { node } = this.#handle(fd);
    this.#handles.delete(fd);
    if (node.kind !== 'file') return;
    node.handles--;
    this.#release(node);
  }

  write(fd: number, bytes: Uint8Array, position?: number): number {
    const { path, append } = this.#handle(fd);
    const file = this.#file(fd);
    const from = append || position === undefined ? file.cache.size : position;
    const growth = Math.max(0, from + bytes.length - file.cache.size);
    const short = Math.min(bytes.length, Math.max(0, growth - Math.max(0, this.capacity - this.used)));
    const written = bytes.length - short;
    if (written === 0 && bytes.length > 0) throw errno('ENOSPC', path);
    this.used += growth - short;
    file.cache.set(from, bytes.subarray(0, written));
    file.dirty.push({ from, to: from + written });
    return written;
  }

  read(fd: number, into: Uint8Array, offset: number, length: number, position: number): number {
    const found = this.#file(fd).cache.get(position, position + length);
    into.set(found, offset);
    return found.length;
  }

  stat(fd: number): FileStat {
    const { cache, links, inode, uid, gid, mode } = this.#file(fd);
    return { size: cache.size, links, inode, uid, gid, mode };
  }

  truncate(fd: number, size: number): void {
    const file = this.#file(fd);
    this.used += size - file.cache.size;
    file.cache.resize(size);
    file.cut = true;
  }

  setOwner(fd: number, uid: number, gid: number): void {
    Object.assign(this.#file(fd), { uid, gid });
  }

  setMode(fd: number, mode: number): void {
    this.#file(fd).mode = mode;
  }

  pathOf(fd: number): string {
    return this.#handle(fd).path;
  }

  // --- Flushes ---------------------------------------------------------------------------------------------------

  beginSync(fd: number): Flush {
    const handle = this.#handle(fd);
    const file = this.#file(fd);
    const extents = new Set(file.dirty);
    const { cut } = file;
    file.cut = false;
    return { handle, folder: undefined, extents, changes: [], size: file.cache.size, cut };
  }

  beginSyncFolder(path: string): Flush {
    const folder = this.#folder(path);
    return {
      handle: undefined,
      folder,
      extents: new Set(),
      changes: [...folder.pending],
      size: 0,
      cut: false,
    };
  }

  /** Throws what the caller of the flush is told. */
  finish({ handle, folder, extents, changes, size, cut }: Flush, failure?: Error): void {
    if (folder) {
      if (failure) throw failure;
      for (const change of changes) {
        const at = folder.pending.indexOf(change);
        // Another flush may have been quicker.
        if (at < 0) continue;
        change(folder.durable);
        folder.pending.splice(at, 1);
      }
      return;
    }
    const { path, node } = handle!;
    if (node.kind === 'folder') return;
    node.dirty = node.dirty.filter((extent) => !extents.has(extent));
    if (failure) node.failures++;
    else {
      for (const { from, to } of extents) node.device.set(from, node.cache.get(from, to));
      node.device.resize(cut ? size : Math.max(size, node.device.size));
    }
    if (handle!.told === node.failures) return;
    handle!.told = node.failures;
    throw failure ?? errno('EIO', path);
  }

  // --- Names -----------------------------------------------------------------------------------------------------

  rename(from: string, to: string): void {
    const folder = this.#parent(from);
    if (folder !== this.#parent(to)) throw errno('EXDEV', from);
    const node = this.#find(from);
    const replaced = this.#find(to);
    if (!node) throw errno('ENOENT', from);
    if (node === replaced) return;
    if (replaced?.kind === 'folder') {
      if (node.kind === 'file') throw errno('EISDIR', to);
      if (replaced.names.size > 0) throw errno('ENOTEMPTY', to);
    } else if (replaced && node.kind === 'folder') throw errno('ENOTDIR', to);
    const [oldName, newName] = [posix.basename(from), posix.basename(to)];
    folder.change((names) => {
      if (names.get(oldName) === node) names.delete(oldName);
      names.set(newName, node);
    });
    if (replaced?.kind === 'file') this.#unlink(replaced);
  }

  remove(path: string): void {
    const node = this.#find(path);
    if (!node) throw errno('ENOENT', path);
    if (node.kind === 'folder') throw errno('EISDIR', path);
    const name = posix.basename(path);
    this.#parent(path).change((names) => {
      if (names.get(name) === node) names.delete(name);
    });
    this.#unlink(node);
  }

  makeFolder(path: string): void {
    if (this.#find(path)) throw errno('EEXIST', path);
    const name = posix.basename(path);
    const folder = new Folder();
    this.#parent(path).change((names) => names.set(name, folder));
  }

  removeFolder(path: string): void {
    const folder = this.#folder(path);
    if (folder.names.size > 0) throw errno('ENOTEMPTY', path);
    const name = posix.basename(path);
    this.#parent(path).change((names) => {
      if (names.get(name) === folder) names.delete(name);
    });
  }

  list(path: string): string[] {
    return [...this.#folder(path).names.keys()];
  }

  kind(path: string): 'file' | 'folder' | undefined {
    return this.#find(path)?.kind;
  }

  // --- For the simulation ----------------------------------------------------------------------------------------

  /** The disk as it is found when the machine is started again. */
  powerCut(loss: Loss, choices: Stream): Disk {
    const { root, used } = survivors(this.#root, loss, choices);
    const after = new Disk(root);
    // Names that had been removed may be back, and with them what they take.
    after.capacity = Math.max(this.capacity, used);
    after.used = used;
    return after;
  }

  /** What is read from the file now. */
  contents(path: string): Uint8Array {
    const node = this.#find(path);
    if (node?.kind !== 'file') throw errno('ENOENT', path);
    return node.cache.get(0, node.cache.size);
  }

  /** Changes a byte on the disk and in the cache, as rot does. */
  corrupt(path: string, at: number, flip: number): void {
    const node = this.#find(path);
    if (node?.kind !== 'file') throw errno('ENOENT', path);
    for (const { data, size } of [node.cache, node.device]) if (at < size) data[at]! ^= flip;
  }

  // ---------------------------------------------------------------------------------------------------------------

  #handle(fd: number): Handle {
    const handle = this.#handles.get(fd);
    if (!handle) throw errno('EBADF', String(fd));
    return handle;
  }

  #file(fd: number): File {
    const { node, path } = this.#handle(fd);
    if (node.kind !== 'file') throw errno('EISDIR', path);
    return node;
  }

  #find(path: string): File | Folder | undefined {
    let node: File | Folder | undefined = this.#root;
    for (const name of path.split('/')) {
      if (name === '') continue;
      if (node?.kind === 'file') throw errno('ENOTDIR', path);
      node = node?.names.get(name);
    }
    return node;
  }

  #folder(path: string): Folder {
    const node = this.#find(path);
    if (!node) throw errno('ENOENT', path);
    if (node.kind === 'file') throw errno('ENOTDIR', path);
    return node;
  }

  #parent(path: string): Folder {
    return this.#folder(posix.dirname(path));
  }

  #unlink(file: File): void {
    file.links--;
    this.#release(file);
  }

  #release(file: File): void {
    if (file.links === 0 && file.handles === 0) this.used -= file.cache.size;
  }
}
