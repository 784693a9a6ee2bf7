/**
 * Where what was not sound is kept: `<cacheRoot>/.quarantine/<queue>@<time>-<random>/`, for the owner alone. It holds the
 * report and, in `old/`, every file of the queue's folder as it was. Neither name can be a queue's.
 */
import { dirname, basename } from 'node:path';
import { QueueError } from '../../errors.ts';
import { errorCode } from '../files.ts';
import type { FileStat, FileSystem, Ports } from '../ports.ts';
import { writeAll } from './mend.ts';

const CHUNK = 1024 * 1024;

export interface Kept {
  path: string;
  bytes: number;
}

function rootOf(folder: string): string {
  return `${dirname(folder)}/.quarantine`;
}

/**
 * Copies the files of a queue's folder, and writes the report beside the copy; all on the device when it resolves with the
 * path. Links, and what else is no file, are left out; so is `own`. Leaves nothing when it fails. Errors:
 * STORAGE_UNSUPPORTED, those of node:fs.
 */
export async function setAside(
  ports: Ports,
  folder: string,
  own: string,
  report: Readonly<Record<string, string>>,
): Promise<string> {
  const { fs, clock, random } = ports;
  const root = rootOf(folder);
  await makeRoot(fs, root, folder);
  const time = new Date(clock.now()).toISOString().replaceAll(/[-:]|\.\d+/g, '');
  const path = `${root}/${basename(folder)}@${time}-${random.hex(4)}`;
  fs.makeFolder(path, 0o700, folder);
  try {
    fs.makeFolder(`${path}/old`, 0o700, folder);
    let owner: FileStat | undefined;
    for (const name of fs.list(folder)) {
      if (name !== own && fs.kind(`${folder}/${name}`) === 'file')
        owner = await copy(ports, `${folder}/${name}`, `${path}/old/${name}`);
    }
    for (const [name, text] of Object.entries(report)) await write(fs, `${path}/${name}`, text, owner);
    for (const changed of [`${path}/old`, path, root]) await fs.syncFolder(changed);
    return path;
  } catch (error) {
    removeAll(fs, path);
    throw error;
  }
}

async function makeRoot(fs: FileSystem, root: string, folder: string): Promise<void> {
  if (fs.kind(root) === undefined) {
    try {
      fs.makeFolder(root, 0o700, folder);
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error;
    }
    await fs.syncFolder(dirname(root));
  }
  const kind = fs.kind(root);
  if (kind === 'folder') return;
  const text = `expected a folder for what is not sound, received a ${kind ?? 'path without a file'}`;
  throw new QueueError('STORAGE_UNSUPPORTED', text, { path: root });
}

/** Resolves with what there is to be known of the original. */
async function copy({ fs, clock }: Ports, from: string, to: string): Promise<FileStat> {
  const source = fs.open(from, 'read');
  try {
    const target = fs.open(to, 'create', 0o600);
    try {
      giveBack(fs, target, fs.stat(source));
      const buffer = Buffer.allocUnsafe(CHUNK);
      for (let at = 0; ;) {
        const got = fs.read(source, buffer, 0, CHUNK, at);
        if (got === 0) break;
        writeAll(fs, target, buffer.subarray(0, got), at);
        at += got;
        await clock.yield();
      }
      await fs.sync(target);
      return fs.stat(source);
    } finally {
      fs.close(target);
    }
  } finally {
    fs.close(source);
  }
}

/** What root keeps of somebody's queue is theirs. */
function giveBack(fs: FileSystem, fd: number, { uid, gid }: FileStat): void {
  if (fs.stat(fd).uid === 0 && uid !== 0) fs.setOwner(fd, uid, gid);
}

async function write(fs: FileSystem, path: string, text: string, owner: FileStat | undefined): Promise<void> {
  const fd = fs.open(path, 'create', 0o600);
  try {
    if (owner) giveBack(fs, fd, owner);
    writeAll(fs, fd, Buffer.from(text), 0);
    await fs.sync(fd);
  } finally {
    fs.close(fd);
  }
}

/** What is kept of a queue of that name, oldest first; also of one that has been destroyed since. */
export function keptOf({ fs }: Ports, folder: string): Kept[] {
  const root = rootOf(folder);
  if (fs.kind(root) !== 'folder') return [];
  const names = fs.list(root).filter((name) => name.startsWith(`${basename(folder)}@`));
  return names.sort().map((name) => ({ path: `${root}/${name}`, bytes: sizeOf(fs, `${root}/${name}`) }));
}

/** Deletes it. Errors: those of node:fs. */
export async function discard({ fs }: Ports, kept: readonly Kept[]): Promise<void> {
  for (const { path } of kept) {
    removeAll(fs, path);
    await fs.syncFolder(dirname(path));
  }
}

export function sizeOf(fs: FileSystem, path: string): number {
  const kind = fs.kind(path);
  if (kind === 'folder') return fs.list(path).reduce((sum, name) => sum + sizeOf(fs, `${path}/${name}`), 0);
  if (kind !== 'file') return 0;
  const fd = fs.open(path, 'read');
  try {
    return fs.stat(fd).size;
  } finally {
    fs.close(fd);
  }
}

/** Links are removed, never followed. */
function removeAll(fs: FileSystem, path: string): void {
  if (fs.kind(path) !== 'folder') return fs.remove(path);
  for (const name of fs.list(path)) removeAll(fs, `${path}/${name}`);
  fs.removeFolder(path);
}
