/** The folder that holds the queues: made, checked, listed; and the birth of a queue's own folder in it. */
import { dirname } from 'node:path';
import type { QueueOptions } from '../backend.ts';
import { QueueError, quote } from '../errors.ts';
import {
  errorCode,
  FileScanner,
  isFull,
  listSegments,
  segmentName,
  syncName,
  type FileVisitor,
} from './files.ts';
import { writeHead } from './head.ts';
import { decode, isOwn } from './header.ts';
import { CONTROL } from './operations.ts';
import type { FileStat, FileSystem, Ports } from './ports.ts';
import { Batch, lineChecksum } from './record.ts';
import { writeReserve } from './space.ts';
import { QueueState } from './state.ts';

/**
 * File systems on which appends of several machines or programs are not one order, or a rename or sync does not hold
 * (magic numbers of statfs(2) and of the kernel's sources).
 */
const UNSUPPORTED = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x65735546, 'FUSE or virtiofs'],
  [0x01021997, '9p'],
  [0x00c36400, 'Ceph'],
  [0x5346414f, 'AFS'],
  [0x6b414653, 'kAFS'],
  [0x73757245, 'Coda (the file system)'],
  [0x47504653, 'GPFS'],
  [0x0bd00bd0, 'Lustre'],
  [0x786f4256, 'VirtualBox shared folders'],
  [0xbacbacbc, 'VMware shared folders'],
]);

/** The root's real path. Made with mode 0700 if absent. Errors: STORAGE_UNSUPPORTED, STORAGE_FAILED. */
export async function openRoot(ports: Ports, path: string): Promise<string> {
  const { fs } = ports;
  await makeFolders(fs, path);
  const root = fs.resolve(path);
  await syncName(fs, root);
  const kind = fs.kind(root);
  if (kind !== 'folder') {
    throw new QueueError(
      'STORAGE_UNSUPPORTED',
      `cacheRoot: expected a folder, received a ${kind ?? 'path without a file'}`,
      { path },
    );
  }
  checkFileSystem(fs, root);
  return root;
}

/** Errors: STORAGE_UNSUPPORTED. */
export function checkFileSystem(fs: FileSystem, path: string, queue?: string): void {
  const { type } = fs.space(path);
  const name = UNSUPPORTED.get(type >>> 0);
  if (name === undefined) return;
  const text = `queues need a local file system (ext4, XFS, btrfs, APFS, NTFS, tmpfs, …); this folder is on ${name}`;
  throw new QueueError('STORAGE_UNSUPPORTED', text, queue === undefined ? { path } : { path, queue });
}

/** Tries out what everything rests on: appends of two handles in order, and a rename. Errors: STORAGE_UNSUPPORTED. */
export function probe(ports: Ports, root: string): void {
  let holds: boolean;
  try {
    holds = appendsAndRenames(ports, root);
  } catch (error) {
    // A full disk must not keep consumers out.
    if (isFull(error)) return;
    throw error;
  }
  if (holds) return;
  throw new QueueError('STORAGE_UNSUPPORTED', 'appends or renames do not hold on this file system', {
    path: root,
  });
}

function appendsAndRenames({ fs, random }: Ports, root: string): boolean {
  const path = `${root}/.probe-${random.hex(8)}`;
  let named = path;
  fs.close(fs.open(path, 'create', 0o600));
  try {
    const one = fs.open(path, 'append');
    const read = Buffer.alloc(3);
    let two = -1;
    try {
      two = fs.open(path, 'append');
      fs.write(one, Buffer.from('a'), 0, 1);
      fs.write(two, Buffer.from('b'), 0, 1);
      fs.write(one, Buffer.from('c'), 0, 1);
      fs.read(one, read, 0, 3, 0);
    } finally {
      fs.close(one);
      if (two >= 0) fs.close(two);
    }
    fs.rename(path, `${path}-2`);
    named = `${path}-2`;
    return read.toString('latin1') === 'abc' && fs.kind(named) === 'file';
  } finally {
    fs.remove(named);
  }
}

async function makeFolders(fs: FileSystem, path: string): Promise<void> {
  if (fs.kind(path) !== undefined) return;
  const parent = dirname(path);
  if (parent !== path) await makeFolders(fs, parent);
  try {
    fs.makeFolder(path, 0o700);
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
  }
  await fs.syncFolder(parent);
}

export interface Birth {
  root: string;
  name: string;
  options: QueueOptions;
  fileMode: number;
}

/**
 * Makes a queue as a complete folder that is renamed to its name; on the device when this resolves.
 * False: there is a folder of that name.
 */
export async function bear(ports: Ports, { root, name, options, fileMode }: Birth): Promise<boolean> {
  const { fs, random, clock, processes } = ports;
  const folder = `${root}/${name}`;
  if (fs.kind(folder) !== undefined) return false;
  const cradle = `${root}/.new-${name}-${random.hex(8)}`;
  // Who may read the files may enter the folder.
  fs.makeFolder(cradle, fileMode | ((fileMode & 0o444) >> 2));
  const state = new QueueState(1, 0);
  state.id = random.hex(16);
  state.options = options;
  state.created = clock.now();
  state.boot = processes.self().boot;
  const batch = new Batch();
  const source = {
    state,
    seal: undefined,
    load: undefined,
    gone: new Set<string>(),
    outcomes: false,
    now: state.created,
  };
  await writeHead(batch, 1, source, clock);
  try {
    const fd = fs.open(`${cradle}/${segmentName(1)}`, 'create', fileMode);
    let like: FileStat;
    try {
      fs.setMode(fd, fileMode);
      like = fs.stat(fd);
      const written = fs.write(fd, batch.buffer, 0, batch.length);
      if (written < batch.length) throw Object.assign(new Error('short write'), { code: 'ENOSPC' });
      await fs.sync(fd);
    } finally {
      fs.close(fd);
    }
    await writeReserve(fs, cradle, like);
    await fs.syncFolder(cradle);
    fs.rename(cradle, folder);
  } catch (error) {
    for (const file of fs.list(cradle)) fs.remove(`${cradle}/${file}`);
    fs.removeFolder(cradle);
    const code = errorCode(error);
    // Another was born meanwhile. Windows says EPERM for a folder that exists.
    if (code === 'ENOTEMPTY' || code === 'EEXIST' || (code === 'EPERM' && fs.kind(folder) === 'folder'))
      return false;
    throw error;
  }
  await fs.syncFolder(root);
  return true;
}

/** Errors: STORAGE_UNSUPPORTED for a link or a file where a queue's folder should be. False: nothing is there. */
export function checkFolder(fs: FileSystem, folder: string, queue: string): boolean {
  const kind = fs.kind(folder);
  if (kind === undefined) return false;
  if (kind === 'folder') return true;
  throw new QueueError(
    'STORAGE_UNSUPPORTED',
    `expected the queue's own folder, received a ${kind} named ${quote(queue)}`,
    {
      queue,
      path: folder,
    },
  );
}

/** Whether the folder holds a queue now, told from the newest segment without building its state. */
export function holdsQueue(fs: FileSystem, folder: string): boolean {
  for (let attempt = 0; attempt < 100; attempt++) {
    const newest = listSegments(fs, folder).at(-1);
    // Neither a queue nor nothing: opening it says what is wrong.
    if (newest === undefined) return true;
    let fd: number;
    try {
      fd = fs.open(`${folder}/${segmentName(newest)}`, 'read');
    } catch (error) {
      if (errorCode(error) === 'ENOENT') continue;
      throw error;
    }
    try {
      return liveAtEnd(fs, fd);
    } finally {
      fs.close(fd);
    }
  }
  return true;
}

function liveAtEnd(fs: FileSystem, fd: number): boolean {
  const state = new QueueState(0, 0);
  const scanner = new FileScanner(fs);
  const { size } = fs.stat(fd);
  const needles = [Buffer.from(CONTROL)];
  let isTold = false;
  const visitor: Pick<FileVisitor, 'record'> = {
    record(buffer, start, end, headerLength, offset) {
      const decoded = decode(buffer, start, end, headerLength);
      if (!decoded) return;
      const { header, payload } = decoded;
      const isHead = header.op === 'head' && offset <= 1;
      isTold ||= isHead;
      if (isOwn(header) || isHead)
        state.applyControl(header, offset, lineChecksum(buffer, start), () => payload);
    },
  };
  for (let at = 0; at < size;) {
    const next = scanner.sift(fd, at, size, needles, visitor);
    if (next === at) break;
    at = next;
  }
  // Where the head is damaged, opening the queue says what it was.
  return (state.id !== '' || !isTold) && state.seal?.why !== 'destroy';
}
