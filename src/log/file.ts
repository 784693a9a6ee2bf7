/**
 * A file that several processes log to. Each line is one write at its end (O_APPEND), so that lines do not mix; who writes
 * holds no lock, and nobody is told anything: before each line a writer looks whether the name still leads to the file it has
 * open, and goes over to the new one when somebody has put the old one aside, be it another writer, logrotate or `mv`.
 *
 * Putting aside is nothing but a rename, to a name of its own: whoever does it, and dies after it, loses nothing. Only one writer
 * does so at a time, for of two the second could put aside what the first has just begun, under a name that comes too
 * early. An empty file beside the log says that somebody does; nobody waits for it longer than a moment, and one that is
 * left over by a death counts for ten seconds. Of what comes of `mv` at the same moment, a fresh file gets its name back.
 */
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { QueueError, quote } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { asideNames, nextAside, prune } from './files.ts';

export interface LogFileOptions {
  /** Bytes that a file does not exceed, but by a line that is larger; 0: no matter. */
  rotateSize: number;
  /** Milliseconds after which a file is put aside; 0: never. */
  rotateAge: number;
  /** How many are kept of those put aside. */
  rotateKeep: number;
  /** The line that tells of lines which could not be written. */
  lost(count: number, why: string): string;
  /** Called when lines begin to be lost, and when rotation fails: somewhere else this can be told. */
  onTrouble(text: string): void;
  /** Epoch milliseconds. Default: the system's. */
  now?: () => number;
}

const { O_APPEND, O_CREAT, O_EXCL, O_RDWR } = fs.constants;
/** Before the umask; what is put aside hands on its own. */
const MODE = 0o640;
/** How long nothing is put aside after that has failed, in ms. */
const PAUSE = 60_000;
/** How long one that finds another putting the file aside waits for that, in ms; and leaves it to others when that is in vain. */
const PATIENCE = 50;
const LEFT_TO_OTHERS = 200;
/** After so many ms whoever has begun to put a file aside does so no more. */
const CLAIM_LASTS = 10_000;
/** How often a line is written again after its file was deleted under it. */
const MOST_TRIES = 3;
/** Others' writes that are waited for when the file does not end with a line break. */
const MOST_WAITS = 100;
const NEWLINE = 0x0a;
/** Full for everybody, and for a while: no reason to refuse to begin. */
const FULL: readonly unknown[] = ['ENOSPC', 'EDQUOT'];

export class LogFile {
  readonly #options: LogFileOptions;
  readonly #now: () => number;
  /** As it was given: what it leads to may change between two openings. */
  readonly #given: string;
  /** Without links: a rename must not put aside a link. */
  #path: string;
  #fd: number | undefined;
  #file: fs.BigIntStats | undefined;
  /** The file's size when this process has last written, if nothing of others was in between; -1: not known. */
  #end = -1n;
  /** Epoch ms of the first look at this file, for file systems that do not tell when it was made. */
  #since = 0;
  #lost = 0;
  #why = '';
  #pauseUntil = 0;
  #closed = false;

  /**
   * The folder is made if need be (0700), the file too. Errors: CONFIG_INVALID where it cannot be written; but on a full
   * disk lines are lost until there is room.
   */
  constructor(path: string, options: LogFileOptions) {
    this.#given = this.#path = path;
    this.#options = options;
    this.#now = options.now ?? Date.now;
    try {
      this.#open();
    } catch (cause) {
      if (cause instanceof QueueError) throw cause;
      const { code } = cause as NodeJS.ErrnoException;
      if (FULL.includes(code)) return;
      throw new QueueError(
        'CONFIG_INVALID',
        `expected a log file that can be written, [log] destination ${quote(path, 300)}: ${code ?? String(cause)}`,
        { path, cause },
      );
    }
  }

  /** Has written the line when it returns, or counted it as lost; never throws. @param line without its line break. */
  append(line: string): void {
    if (this.#closed) return;
    try {
      if (this.#lost > 0) {
        this.#put(this.#options.lost(this.#lost, this.#why));
        this.#lost = 0;
      }
      this.#put(line);
    } catch (error) {
      this.#end = -1n;
      this.#why = (error as NodeJS.ErrnoException).code ?? String(error);
      if (this.#lost++ === 0) this.#tell(`lines are being lost: ${this.#why}`);
    }
  }

  /** Opens the file by its name again; where that fails it goes on with what it has, and says so. */
  reopen(): void {
    if (this.#closed) return;
    try {
      this.#path = this.#given;
      this.#open();
    } catch (error) {
      this.#tell(`cannot be opened again: ${messageOf(error)}`);
    }
  }

  /** What comes after is dropped. */
  close(): void {
    if (this.#lost > 0) {
      this.#tell(
        `at its end ${this.#lost === 1 ? '1 line was' : `${this.#lost} lines were`} lost: ${this.#why}`,
      );
    }
    this.#lost = 0;
    this.#closed = true;
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }

  #put(line: string): void {
    const bytes = Buffer.from(`${line}\n`);
    for (let tries = 1; ; tries++) {
      this.#follow(bytes.length);
      if (this.#write(bytes)) return;
      if (tries === MOST_TRIES) throw new Error('the file is deleted again and again');
    }
  }

  /** Has the file open that the name leads to, with room for so many bytes. */
  #follow(room: number): void {
    let there = statOf(this.#path);
    if (!there || !this.#isOpen(there)) {
      this.#openNext();
      there = statOf(this.#path);
    }
    if (!there?.isFile() || there.size === 0n || !this.#isDue(there, room)) return;
    if (this.#putAside(there)) this.#openNext(there);
  }

  #isDue({ size, birthtimeMs }: fs.BigIntStats, room: number): boolean {
    const { rotateSize, rotateAge } = this.#options;
    if (rotateSize > 0 && Number(size) + room > rotateSize) return this.#now() >= this.#pauseUntil;
    const born = Number(birthtimeMs) || this.#since;
    return rotateAge > 0 && this.#now() - born >= rotateAge && this.#now() >= this.#pauseUntil;
  }

  /** False when it is left where it is. */
  #putAside(expected: fs.BigIntStats): boolean {
    // Who cannot give the next file to the same account would lock that out.
    const uid = process.geteuid?.() ?? 0;
    if (uid !== 0 && BigInt(uid) !== expected.uid) return false;
    const claim = `${this.#path}.rotating`;
    try {
      if (!claimed(claim)) {
        this.#pauseUntil = this.#now() + LEFT_TO_OTHERS;
        return false;
      }
      try {
        this.#rename(expected);
      } finally {
        fs.rmSync(claim, { force: true });
      }
    } catch (error) {
      // Somebody else was faster.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
      this.#pauseUntil = this.#now() + PAUSE;
      this.#tell(`cannot be put aside, and grows: ${messageOf(error)}`);
      return false;
    }
    return true;
  }

  #rename(expected: fs.BigIntStats): void {
    const names = asideNames(this.#path);
    const name = nextAside(this.#path, names, this.#now());
    const aside = join(dirname(this.#path), name);
    const there = statOf(this.#path);
    if (!there || !isSame(there, expected)) return;
    fs.renameSync(this.#path, aside);
    const moved = statOf(aside);
    if (moved && !isSame(moved, expected)) giveBack(aside, this.#path);
    else prune(this.#path, [...names, name], this.#options.rotateKeep);
  }

  /** As `#open`; but whoever has a file goes on with that when there is no other to be had. */
  #openNext(predecessor = this.#file): void {
    try {
      this.#open(predecessor);
    } catch (error) {
      if (this.#fd === undefined || fs.fstatSync(this.#fd).nlink === 0) throw error;
    }
  }

  #open(predecessor?: fs.BigIntStats): void {
    const there = statOf(this.#path);
    if (there && !there.isFile() && !there.isCharacterDevice()) {
      const kind = there.isDirectory() ? 'a folder' : 'something else';
      const path = this.#path;
      throw new QueueError(
        'CONFIG_INVALID',
        `[log] destination: expected a file, received ${kind}: ${quote(path, 300)}`,
        { path },
      );
    }
    if (!there) makeFolder(dirname(this.#path));
    const fd = openOrMake(this.#path, predecessor);
    const file = fs.fstatSync(fd, { bigint: true });
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = fd;
    this.#file = file;
    this.#end = -1n;
    this.#since = this.#now();
    // The name may have gone again.
    if (statOf(this.#path)) this.#path = realPath(this.#path);
  }

  #isOpen(stat: fs.BigIntStats): boolean {
    return this.#fd !== undefined && this.#file !== undefined && isSame(stat, this.#file);
  }

  /** False when the file has lost its last name meanwhile, and the line with it. Throws when it is not written whole. */
  #write(bytes: Buffer): boolean {
    const fd = this.#fd!;
    const { size } = fs.fstatSync(fd, { bigint: true });
    const whole = this.#endsWithin(size) ? Buffer.concat([Buffer.of(NEWLINE), bytes]) : bytes;
    if (fs.writeSync(fd, whole) < whole.length) throw Object.assign(new Error('short'), { code: 'ENOSPC' });
    const after = fs.fstatSync(fd, { bigint: true });
    if (!after.isFile()) return true;
    if (after.nlink === 0n) return false;
    const alone = after.size === size + BigInt(whole.length);
    this.#end = alone ? after.size : -1n;
    // Somebody was killed as he wrote, right before this line, which hangs on to his: once more.
    if (!alone && whole === bytes && this.#isGlued(bytes, size, after.size)) fs.writeSync(fd, bytes);
    return true;
  }

  /**
   * Whether the file ends within a line: its writer was killed as he wrote, or the disk was full. Looks only where others have
   * written. Who is still writing is waited for.
   */
  #endsWithin(size: bigint): boolean {
    if (size === 0n || size === this.#end || !this.#file?.isFile()) return false;
    for (let waits = 0; waits < MOST_WAITS; waits++) {
      if (this.#byteBefore(size) === NEWLINE) return false;
      waitForWriter(this.#fd!);
      const now = fs.fstatSync(this.#fd!, { bigint: true }).size;
      if (now === size) return true;
      size = now;
    }
    return false;
  }

  #byteBefore(position: bigint): number | undefined {
    const byte = Buffer.alloc(1);
    return fs.readSync(this.#fd!, byte, 0, 1, position - 1n) === 1 ? byte[0] : undefined;
  }

  #isGlued(bytes: Buffer, from: bigint, to: bigint): boolean {
    const written = Buffer.alloc(Number(to - from));
    const length = fs.readSync(this.#fd!, written, 0, written.length, from);
    const at = written.subarray(0, length).indexOf(bytes);
    return at > 0 && written[at - 1] !== NEWLINE;
  }

  #tell(text: string): void {
    this.#options.onTrouble(`the log ${quote(this.#path, 300)}: ${text}`);
  }
}

function statOf(path: string): fs.BigIntStats | undefined {
  return fs.statSync(path, { bigint: true, throwIfNoEntry: false });
}

function isSame(a: fs.BigIntStats, b: fs.BigIntStats): boolean {
  return a.ino === b.ino && a.dev === b.dev;
}

/** A file that is made gets the owner and the permissions of the one before it. */
function openOrMake(path: string, predecessor: fs.BigIntStats | undefined): number {
  const append = O_RDWR | O_APPEND;
  try {
    return fs.openSync(path, append);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  let fd: number;
  try {
    fd = fs.openSync(path, append | O_CREAT | O_EXCL, MODE);
  } catch (error) {
    // Somebody else was faster; or a link that leads nowhere yet, which is made to lead there.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return fs.openSync(path, append | O_CREAT, MODE);
  }
  if (!predecessor?.isFile()) return fd;
  const { uid, gid, mode } = predecessor;
  try {
    fs.fchmodSync(fd, Number(mode & 0o777n));
    fs.fchownSync(fd, Number(uid), Number(gid));
  } catch {
    // Not in that group any more, say: better a log of one's own than none.
  }
  return fd;
}

/** Whether this process has made the file, alone; another one's is waited for a moment. */
function claimed(claim: string): boolean {
  for (let waited = 0; ; waited++) {
    try {
      fs.closeSync(fs.openSync(claim, 'wx', 0o600));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const there = statOf(claim);
    if (waited === PATIENCE) return false;
    // By the clock of the system, as the file's time is; it may have been set back since.
    if (there && Math.abs(Date.now() - Number(there.mtimeMs)) > CLAIM_LASTS)
      fs.rmSync(claim, { force: true });
    else pause(1);
  }
}

/** A fresh file that was put aside by mistake; unless there is another under its name already. */
function giveBack(aside: string, path: string): void {
  try {
    fs.linkSync(aside, path);
    fs.unlinkSync(aside);
  } catch (error) {
    if (!['EEXIST', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

/** Returns when no write to the file is going on that had begun: the system changes a file's mode only between writes. */
function waitForWriter(fd: number): void {
  try {
    fs.fchmodSync(fd, fs.fstatSync(fd).mode & 0o777);
  } catch {
    // Another account's.
    pause(5);
  }
}

/** Nothing else happens in this process meanwhile. */
function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

function realPath(path: string): string {
  try {
    return fs.realpathSync(path);
  } catch {
    return path;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
