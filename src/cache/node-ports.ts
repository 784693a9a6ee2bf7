/** The ports over the real machine. */
import fs from 'node:fs';
import { nodeProcesses } from '../process-table.ts';
import { randomHex } from '../random.ts';
import { uuidv7 } from '../uuid.ts';
import type { Clock, FileSystem, OpenMode, Ports, Random } from './ports.ts';

const { O_RDONLY, O_RDWR, O_APPEND, O_CREAT, O_EXCL, O_WRONLY } = fs.constants;
/** Absent on Windows, where links are refused by `kind` alone. */
const O_NOFOLLOW = fs.constants.O_NOFOLLOW ?? 0;
/** Of a pipe, which is no file: to open it would wait for a writer. */
const O_NONBLOCK = fs.constants.O_NONBLOCK ?? 0;
const FLAGS: Record<OpenMode, number> = {
  read: O_RDONLY | O_NOFOLLOW | O_NONBLOCK,
  append: O_RDWR | O_APPEND | O_NOFOLLOW,
  create: O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
};

const windows = process.platform === 'win32';

/** Virus scanners and indexers hold files for a moment on Windows: try again for about a second. */
function patiently(operation: () => void): void {
  for (let attempt = 0; ; attempt++) {
    try {
      operation();
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (!windows || attempt === 40 || (code !== 'EPERM' && code !== 'EBUSY' && code !== 'EACCES'))
        throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 25);
    }
  }
}

const nodeFs: FileSystem = {
  open(path, how, mode) {
    const fd = fs.openSync(path, FLAGS[how], mode);
    // A folder can be opened for reading, but is no file.
    if (how !== 'read' || fs.fstatSync(fd).isFile()) return fd;
    fs.closeSync(fd);
    throw Object.assign(new Error(`EISDIR: ${path}`), { code: 'EISDIR' });
  },
  close: (fd) => fs.closeSync(fd),
  write: (fd, bytes, offset, length, position) => fs.writeSync(fd, bytes, offset, length, position),
  read: (fd, into, offset, length, position) => fs.readSync(fd, into, offset, length, position),
  stat(fd) {
    const s = fs.fstatSync(fd);
    return { size: s.size, links: s.nlink, inode: s.ino, uid: s.uid, gid: s.gid, mode: s.mode & 0o7777 };
  },
  truncate: (fd, size) => fs.ftruncateSync(fd, size),
  setOwner: (fd, uid, gid) => fs.fchownSync(fd, uid, gid),
  setMode: (fd, mode) => fs.fchmodSync(fd, mode),
  sync: (fd) =>
    new Promise((resolve, reject) => fs.fdatasync(fd, (error) => (error ? reject(error) : resolve()))),
  async syncFolder(path) {
    // Folders cannot be opened on Windows; NTFS keeps names in its own log.
    if (windows) return;
    const fd = fs.openSync(path, O_RDONLY);
    try {
      await new Promise<void>((resolve, reject) =>
        fs.fsync(fd, (error) => (error ? reject(error) : resolve())),
      );
    } finally {
      fs.closeSync(fd);
    }
  },
  rename: (from, to) => patiently(() => fs.renameSync(from, to)),
  remove: (path) => patiently(() => fs.unlinkSync(path)),
  makeFolder(path, mode, like) {
    fs.mkdirSync(path, { mode });
    // The process's umask must not take away what the configuration grants.
    fs.chmodSync(path, mode);
    if (like === undefined || process.getuid?.() !== 0) return;
    const { uid, gid } = fs.lstatSync(like);
    fs.lchownSync(path, uid, gid);
  },
  removeFolder: (path) => fs.rmdirSync(path),
  list: (path) => fs.readdirSync(path),
  kind(path) {
    const s = fs.lstatSync(path, { throwIfNoEntry: false });
    if (!s) return undefined;
    return s.isFile() ? 'file' : s.isDirectory() ? 'folder' : s.isSymbolicLink() ? 'link' : 'device';
  },
  resolve: (path) => fs.realpathSync(path),
  space(path) {
    const s = fs.statfsSync(path);
    return { free: s.bavail * s.bsize, type: s.type };
  },
  watch(folder, listener) {
    const watcher = fs.watch(folder, { persistent: false }, listener);
    // The poll beside it goes on; a watch that breaks costs latency, not messages.
    watcher.on('error', () => watcher.close());
    return () => watcher.close();
  },
};

const nodeClock: Clock = {
  now: () => Date.now(),
  monotonic: () => Number(process.hrtime.bigint() / 1_000_000n),
  timer(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  yield: () => new Promise((resolve) => setImmediate(resolve)),
  busy() {
    const now = nodeClock.monotonic();
    if (busySince === undefined) {
      busySince = now;
      setImmediate(turned);
    }
    return now - busySince;
  },
};

let busySince: number | undefined;
function turned(): void {
  busySince = undefined;
}

const nodeRandom: Random = {
  uuid: uuidv7,
  hex: randomHex,
};

export const nodePorts: Ports = {
  fs: nodeFs,
  clock: nodeClock,
  random: nodeRandom,
  processes: nodeProcesses,
};
