/**
 * A file system in memory that keeps apart what programs see (the page cache) and what is on the device, so that the
 * power can be cut. What it promises is what POSIX promises, and no more:
 *
 * - `sync` puts on the device what the file held when it was called; not the file's name.
 * - `syncFolder` puts the names in the folder on the device; not what the files hold, nor the folder's own name.
 * - What was not synced may be there after a power cut or not: see `Loss`.
 * - A sync that fails has dropped the pages: they stay readable and never reach the device. Each open handle is told
 *   once, whichever of its syncs comes first; a later one succeeds (as on Linux, errseq_t).
 *
 * Its errors are those of node:fs, told apart by `code`. There are no links.
 */
import { posix } from 'node:path';
import type { FileStat, FileSystem, OpenMode } from '../../src/cache/ports.ts';
import type { Seeded } from './seeded.ts';

/**
 * What becomes of what was not synced.
 * - `drop`: nothing of it was written. - `cut`: a part from the beginning, up to any byte.
 * - `zero`: the file has its length, but zeros where the data should be. - `pages`: some pages are written, others not.
 */
export type Loss = 'drop' | 'cut' | 'zero' | 'pages';

const PAGE = 4096;

/** Bytes [from, to) of a file that are not on the device. */
interface Extent {
  from: number;
  to: number;
  /** A sync has seen it: what is written now is another. */
  closed: boolean;
}

class Bytes {
  data = new Uint8Array(0);
  size = 0;

  set(from: number, bytes: Uint8Array): void {
    this.#room(from + bytes.length);
    this.data.set(bytes, from);
    this.size = Math.max(this.size, from + bytes.length);
  }

  get(from: number, to: number): Uint8Array {
    return this.data.subarray(Math.min(from, this.size), Math.min(to, this.size));
  }

  resize(size: number): void {
    this.#room(size);
    if (size < this.size) this.data.fill(0, size, this.size);
    this.size = size;
  }

  #room(size: number): void {
    if (size <= this.data.length) return;
    const larger = new Uint8Array(Math.max(size, this.data.length * 2, 1024));
    larger.set(this.data);
    this.data = larger;
  }
}

/** Of the next file that is made, on any disk. */
let nextInode = 1;

class File {
  readonly kind = 'file';
  readonly inode = nextInode++;
  readonly cache = new Bytes();
  readonly device = new Bytes();
  dirty: Extent[] = [];
  /** Has become shorter since the last sync. */
  cut = false;
  /** Names and handles. The space is free when there are none. */
  links = 0;
  handles = 0;
  uid = 0;
  gid = 0;
  mode: number;
  /** Syncs that have failed. */
  failures = 0;

  constructor(mode: number) {
    this.mode = mode;
  }

  wrote(from: number, to: number): void {
    const last = this.dirty.at(-1);
    if (last && !last.closed && last.to === from) last.to = to;
    else this.dirty.push({ from, to, closed: false });
  }
}

type Names = Map<string, Node>;

class Folder {
  readonly kind = 'folder';
  names: Names = new Map();
  readonly durable: Names = new Map();
  /** Changes that are not on the device, in their order. */
  pending: ((names: Names) => void)[] = [];

  change(change: (names: Names) => void): void {
    change(this.names);
    this.pending.push(change);
  }
}

type Node = File | Folder;

interface Handle {
  path: string;
  node: Node;
  append: boolean;
  /** Failures of syncs that this handle was told of. */
  told: number;
}

export function errno(code: string, path = ''): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${path}`), { code, path });
}

export class SimFileSystem implements FileSystem {
  /**
   * Called before each operation but `close`, with its name and path. What it throws is how the operation fails (see
   * `errno`); it may also use the file system itself, as another process does in between.
   */
  onOperation: ((operation: keyof FileSystem, path: string) => void) | undefined;
  /** How long a sync takes. */
  latency: () => Promise<void> = async () => {};
  /** Bytes in all. */
  capacity = Infinity;

  readonly #root = new Folder();
  readonly #handles = new Map<number, Handle>();
  readonly #watchers = new Map<string, Set<() => void>>();
  #nextHandle = 3;
  #used = 0;
  #on = true;

  // --- Files -----------------------------------------------------------------------------------------------------

  open(path: string, how: OpenMode, mode = 0o666): number {
    this.#begin('open', path);
    let node = this.#find(path);
    if (how === 'create') {
      if (node) throw errno('EEXIST', path);
      const file = (node = new File(mode));
      file.links = 1;
      const name = posix.basename(path);
      this.#parent(path).change((names) => names.set(name, file));
      this.#tell(path);
    }
    if (!node) throw errno('ENOENT', path);
    if (node.kind === 'folder' && how === 'append') throw errno('EISDIR', path);
    if (node.kind === 'file') node.handles++;
    const fd = this.#nextHandle++;
    const told = node.kind === 'file' ? node.failures : 0;
    this.#handles.set(fd, { path, node, append: how === 'append', told });
    return fd;
  }

  close(fd: number): void {
    const { node } = this.#handle(fd);
    this.#handles.delete(fd);
    if (node.kind !== 'file') return;
    node.handles--;
    this.#release(node);
  }

  write(fd: number, bytes: Uint8Array, offset: number, length: number, position?: number): number {
    const { path, append } = this.#handle(fd);
    this.#begin('write', path);
    const file = this.#file(fd);
    const from = append || position === undefined ? file.cache.size : position;
    const growth = Math.max(0, from + length - file.cache.size);
    const short = Math.max(0, growth - (this.capacity - this.#used));
    const written = length - short;
    if (written === 0 && length > 0) throw errno('ENOSPC', path);
    this.#used += growth - short;
    file.cache.set(from, bytes.subarray(offset, offset + written));
    file.wrote(from, from + written);
    this.#tell(path);
    return written;
  }

  read(fd: number, into: Uint8Array, offset: number, length: number, position: number): number {
    this.#begin('read', this.#handle(fd).path);
    const found = this.#file(fd).cache.get(position, position + length);
    into.set(found, offset);
    return found.length;
  }

  stat(fd: number): FileStat {
    this.#begin('stat', this.#handle(fd).path);
    const { cache, links, inode, uid, gid, mode } = this.#file(fd);
    return { size: cache.size, links, inode, uid, gid, mode };
  }

  truncate(fd: number, size: number): void {
    this.#begin('truncate', this.#handle(fd).path);
    const file = this.#file(fd);
    this.#used += size - file.cache.size;
    file.cache.resize(size);
    file.cut = true;
  }

  setOwner(fd: number, uid: number, gid: number): void {
    this.#begin('setOwner', this.#handle(fd).path);
    Object.assign(this.#file(fd), { uid, gid });
  }

  setMode(fd: number, mode: number): void {
    this.#begin('setMode', this.#handle(fd).path);
    this.#file(fd).mode = mode;
  }

  async sync(fd: number): Promise<void> {
    const handle = this.#handle(fd);
    const file = this.#file(fd);
    const flushed = new Set(file.dirty);
    const { size } = file.cache;
    const { cut } = file;
    file.cut = false;
    for (const extent of flushed) extent.closed = true;
    const failure = this.#attempt(() => this.#begin('sync', handle.path));
    await this.latency();
    this.#begin('stat', handle.path);
    file.dirty = file.dirty.filter((extent) => !flushed.has(extent));
    if (failure) file.failures++;
    else {
      for (const { from, to } of flushed) file.device.set(from, file.cache.get(from, to));
      // Another sync, begun later, may have been quicker.
      file.device.resize(cut ? size : Math.max(size, file.device.size));
    }
    if (handle.told === file.failures) return;
    handle.told = file.failures;
    throw failure ?? errno('EIO', handle.path);
  }

  // --- Names -----------------------------------------------------------------------------------------------------

  async syncFolder(path: string): Promise<void> {
    const folder = this.#folder(path);
    const flushed = [...folder.pending];
    const failure = this.#attempt(() => this.#begin('syncFolder', path));
    await this.latency();
    this.#begin('stat', path);
    if (failure) throw failure;
    // Another sync may have been quicker.
    for (const change of flushed) {
      if (folder.pending[0] !== change) continue;
      change(folder.durable);
      folder.pending.shift();
    }
  }

  rename(from: string, to: string): void {
    this.#begin('rename', from);
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
      names.delete(oldName);
      names.set(newName, node);
    });
    if (replaced?.kind === 'file') this.#unlink(replaced);
    this.#tell(to);
  }

  remove(path: string): void {
    this.#begin('remove', path);
    const node = this.#find(path);
    if (!node) throw errno('ENOENT', path);
    if (node.kind === 'folder') throw errno('EISDIR', path);
    const name = posix.basename(path);
    this.#parent(path).change((names) => names.delete(name));
    this.#unlink(node);
    this.#tell(path);
  }

  makeFolder(path: string): void {
    this.#begin('makeFolder', path);
    if (this.#find(path)) throw errno('EEXIST', path);
    const name = posix.basename(path);
    const folder = new Folder();
    this.#parent(path).change((names) => names.set(name, folder));
  }

  removeFolder(path: string): void {
    this.#begin('removeFolder', path);
    if (this.#folder(path).names.size > 0) throw errno('ENOTEMPTY', path);
    const name = posix.basename(path);
    this.#parent(path).change((names) => names.delete(name));
  }

  list(path: string): string[] {
    this.#begin('list', path);
    return [...this.#folder(path).names.keys()];
  }

  kind(path: string): 'file' | 'folder' | undefined {
    this.#begin('kind', path);
    return this.#find(path)?.kind;
  }

  resolve(path: string): string {
    this.#begin('resolve', path);
    return posix.resolve('/', path);
  }

  space(path: string): { free: number; type: number } {
    this.#begin('space', path);
    const EXT4 = 0xef53;
    return { free: this.capacity - this.#used, type: EXT4 };
  }

  watch(folder: string, listener: () => void): () => void {
    this.#begin('watch', folder);
    const watchers = this.#watchers.get(folder) ?? new Set();
    this.#watchers.set(folder, watchers.add(listener));
    return () => void watchers.delete(listener);
  }

  // --- For the test ----------------------------------------------------------------------------------------------

  /**
   * Ends this file system: every operation fails from now on, those under way included. Returns the one that the
   * machine finds when it is started again.
   */
  powerCut(loss: Loss, random: Seeded): SimFileSystem {
    this.#on = false;
    const after = new SimFileSystem();
    after.capacity = this.capacity;
    const survivors = new Map<File, File>();
    const restore = (from: Folder, to: Folder): void => {
      const names = new Map(from.durable);
      const kept = loss === 'drop' ? 0 : random.below(from.pending.length + 1);
      for (const change of from.pending.slice(0, kept)) change(names);
      for (const [name, node] of names) {
        if (node.kind === 'folder') {
          const folder = new Folder();
          restore(node, folder);
          to.change((entries) => entries.set(name, folder));
          continue;
        }
        const file = survivors.get(node) ?? survivor(node, loss, random);
        survivors.set(node, file);
        file.links++;
        to.change((entries) => entries.set(name, file));
      }
      for (const change of to.pending.splice(0)) change(to.durable);
    };
    restore(this.#root, after.#root);
    for (const file of survivors.values()) after.#used += file.cache.size;
    return after;
  }

  /** What a program reads from the file now. */
  contents(path: string): Buffer {
    const node = this.#find(path);
    if (node?.kind !== 'file') throw errno('ENOENT', path);
    return Buffer.from(node.cache.get(0, node.cache.size));
  }

  /** Bytes of the file that are not on the device. */
  unsynced(path: string): number {
    const node = this.#find(path);
    if (node?.kind !== 'file') throw errno('ENOENT', path);
    return node.dirty.reduce((sum, { from, to }) => sum + to - from, 0);
  }

  /** Changes what is on the device and what is read, as rot does. */
  corrupt(path: string, at: number, bytes: Uint8Array): void {
    const node = this.#find(path);
    if (node?.kind !== 'file') throw errno('ENOENT', path);
    for (const image of [node.cache, node.device]) {
      const end = Math.min(at + bytes.length, image.size);
      if (at < end) image.data.set(bytes.subarray(0, end - at), at);
    }
  }

  /** Names that are open, for tests that count handles. */
  get openFiles(): string[] {
    return [...this.#handles.values()].map(({ path }) => path);
  }

  // ---------------------------------------------------------------------------------------------------------------

  #begin(operation: keyof FileSystem, path: string): void {
    if (this.#on) this.onOperation?.(operation, path);
    if (!this.#on) throw errno('EIO', `${path} (the power is off)`);
  }

  #attempt(run: () => void): Error | undefined {
    try {
      run();
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }

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

  #find(path: string): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const name of posix.resolve('/', path).split('/')) {
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
    if (file.links === 0 && file.handles === 0) this.#used -= file.cache.size;
  }

  #tell(path: string): void {
    for (const listener of this.#watchers.get(posix.dirname(path)) ?? []) queueMicrotask(listener);
  }
}

/** The file as it is found after a power cut. */
function survivor(file: File, loss: Loss, random: Seeded): File {
  const { cache, device, dirty, mode, uid, gid } = file;
  const after = Object.assign(new File(mode), { uid, gid });
  const put = (from: number, bytes: Uint8Array): void => {
    after.cache.set(from, bytes);
    after.device.set(from, bytes);
  };
  put(0, device.get(0, device.size));
  if (loss === 'cut') {
    let left = random.below(dirty.reduce((sum, { from, to }) => sum + to - from, 0) + 1);
    for (const { from, to } of dirty) {
      const length = Math.min(left, to - from);
      left -= length;
      if (length > 0) put(from, cache.get(from, from + length));
    }
  } else if (loss !== 'drop' && cache.size > after.cache.size) {
    const size = after.cache.size + random.below(cache.size - after.cache.size + 1);
    after.cache.resize(size);
    after.device.resize(size);
  }
  if (loss !== 'pages') return after;
  for (const { from, to } of dirty) {
    for (let at = from; at < Math.min(to, after.cache.size);) {
      const end = Math.min(to, after.cache.size, (Math.floor(at / PAGE) + 1) * PAGE);
      if (random.chance(0.5)) put(at, cache.get(at, end));
      at = end;
    }
  }
  return after;
}
