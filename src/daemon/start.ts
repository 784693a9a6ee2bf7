/** Starts a daemon in the background: in a session of its own, so that it outlives the terminal, and prints to a file. */
import { spawn, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import type { Command } from '../worker/crew/child.ts';
import type { Exit } from '../worker/crew/evidence.ts';
import { QueueError, quote } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { endLeftBehind, looking } from './control.ts';
import { pathsOf } from './place.ts';
import { makeSmall, removeSmall } from './small-file.ts';
import { isUp, judge, type Judgement } from './verify.ts';

/** How long a process that does not come up may take to end; ms. */
const PATIENCE = 5000;
/** One that has come up is looked at once more after this, for its first iteration may have ended it; ms. */
const FIRST_BREATH = 100;
/** A file of what was printed is begun anew when it has more bytes than this; so many are kept of the end of it. */
const LARGEST = 1024 * 1024;
/** Bytes shown of the end of what it has printed. */
const KEPT = 4096;

export type Started =
  /** It has come up; perhaps it has come to its end, or has died, already. `printed` is the end of what it wrote. */
  | { outcome: 'up'; after: Judgement; printed: string }
  /** Its process has ended before it had come up. */
  | { outcome: 'ended'; exit: Exit; printed: string }
  /** It had not come up in time, and was ended. */
  | { outcome: 'late'; printed: string };

export interface StartOptions {
  /** Runs it; it must know by itself that it is in the background. */
  command: Command;
  /** Ms that it has to come up. */
  timeout: number;
}

/**
 * Resolves when daemon `name` has come up, or will not. What it prints is added to its log.
 * Errors: DAEMON_RUNNING: it runs already; DAEMON_FAILED: its process cannot be started; STORAGE_FAILED, STORAGE_FULL: what it
 * prints cannot be written.
 */
export async function startDaemon(
  stateDir: string,
  name: string,
  { command, timeout }: StartOptions,
): Promise<Started> {
  const before = await judge(stateDir, name);
  refuseIfUp(before);
  // Else they would be in its way, with the port that one of them holds, or would do its work twice.
  if (before.holder) await endLeftBehind(before.holder);
  const path = pathsOf(stateDir, name).output;
  const output = openOutput(stateDir, name);
  const from = fs.fstatSync(output).size;
  let child: ChildProcess;
  let exit: Exit | undefined;
  try {
    child = await spawned(command, output);
  } finally {
    fs.closeSync(output);
  }
  child.once('exit', (code, signal) => (exit = { code, signal }));
  let after = before;
  // A process that had the same number once may have left its state.
  const isUpNow = (): boolean =>
    after.state?.pid === child.pid && after.state?.token !== before.state?.token && after.state?.upAt != null;
  const said = await looking(timeout, async () => {
    // In this order: what has ended has written all it will.
    const hasEnded = exit !== undefined;
    after = await judge(stateDir, name);
    return hasEnded || isUpNow();
  });
  if (isUpNow() && said) {
    const hasEnded = (): boolean => exit !== undefined;
    await looking(FIRST_BREATH, hasEnded);
    after = await judge(stateDir, name);
    if (after.state?.end && (await looking(PATIENCE, hasEnded))) after = await judge(stateDir, name);
    child.unref();
    return { outcome: 'up', after, printed: lastWords(path, from) };
  }
  if (exit) {
    // Somebody else may have been quicker.
    refuseIfUp(after);
    return { outcome: 'ended', exit, printed: lastWords(path, from) };
  }
  await end(child);
  return { outcome: 'late', printed: lastWords(path, from) };
}

/**
 * Refuses what `startDaemon` would refuse for its files, for who has to end a daemon before it is started again.
 * Errors: STORAGE_FAILED, STORAGE_FULL.
 */
export function checkFiles(stateDir: string, name: string): void {
  fs.closeSync(openOutput(stateDir, name));
}

/** Errors: DAEMON_RUNNING. */
function refuseIfUp(judgement: Judgement): void {
  const { name, holder } = judgement;
  if (!holder || !isUp(judgement)) return;
  throw new QueueError('DAEMON_RUNNING', `daemon ${name} runs already, as process ${holder.who.pid}`);
}

/** Errors: STORAGE_FAILED, STORAGE_FULL. */
function openOutput(stateDir: string, name: string): number {
  const { output: path, state } = pathsOf(stateDir, name);
  const { O_WRONLY, O_CREAT, O_APPEND } = fs.constants;
  try {
    makeFolder(stateDir);
    // Anything else in its place is replaced; this would keep the daemon from ever saying that it is up.
    if (fs.lstatSync(state, { throwIfNoEntry: false })?.isDirectory())
      throw new QueueError(
        'STORAGE_FAILED',
        `expected a file for the state of the daemon at ${quote(state, 300)}, found a folder`,
        { path: state },
      );
    // What is said here is little, unless a daemon prints where it should log.
    trimOutput(path);
    lookForRoom(path);
    return fs.openSync(path, O_WRONLY | O_CREAT | O_APPEND | (fs.constants.O_NOFOLLOW ?? 0), 0o600);
  } catch (cause) {
    if (cause instanceof QueueError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    const full = code === 'ENOSPC' || code === 'EDQUOT';
    const found = code === 'ELOOP' ? 'a link' : code;
    throw new QueueError(
      full ? 'STORAGE_FULL' : 'STORAGE_FAILED',
      `expected a file for what the daemon prints at ${quote(path, 300)}: ${found}`,
      { path, cause },
    );
  }
}

/** Throws the system's error, where the disk is full: the daemon could not even print why it does not come up. */
function lookForRoom(path: string): void {
  const file = `${path}.${process.pid}`;
  removeSmall(file);
  makeSmall(file, ' '.repeat(KEPT), { synced: false });
  removeSmall(file);
}

/**
 * Empties the file of what a daemon has printed where that has grown too large, and keeps the end of it beside. What is printed
 * right in that moment may be lost; a disk that is full of it would cost more. Throws the system's error.
 */
export function trimOutput(path: string): void {
  const size = fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size <= LARGEST) return;
  const fd = fs.openSync(path, fs.constants.O_RDWR | (fs.constants.O_NOFOLLOW ?? 0));
  try {
    const end = Buffer.alloc(LARGEST);
    const length = fs.readSync(fd, end, 0, LARGEST, size - LARGEST);
    // First, for the disk may be full of it.
    fs.ftruncateSync(fd);
    fs.rmSync(`${path}.old`, { force: true });
    fs.writeFileSync(`${path}.old`, end.subarray(0, length), { flag: 'wx', mode: 0o600 });
  } finally {
    fs.closeSync(fd);
  }
}

async function spawned({ file, args, env }: Command, output: number): Promise<ChildProcess> {
  try {
    const child = spawn(file, args, {
      detached: true,
      windowsHide: true,
      stdio: ['ignore', output, output],
      env,
    });
    await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
    return child;
  } catch (cause) {
    const { message } = cause as Error;
    throw new QueueError('DAEMON_FAILED', `its process cannot be started: ${message}`, { cause });
  }
}

/** Resolves when it has ended, with all that it started, unless it hangs in the kernel. */
async function end(child: ChildProcess): Promise<void> {
  const ended = (): boolean => child.exitCode !== null || child.signalCode !== null;
  child.kill('SIGTERM');
  if (await looking(PATIENCE, ended)) return;
  try {
    // Not asked for its end yet, so the number is still its own.
    if (process.platform === 'win32') child.kill('SIGKILL');
    else process.kill(-(child.pid ?? 0), 'SIGKILL');
  } catch {
    child.kill('SIGKILL');
  }
  await looking(PATIENCE, ended);
}

/**
 * The end of what a daemon has printed, whole lines; '' where there is nothing to read.
 * @param since a byte offset: how long the file was when it began. All of it is shown when the file has been begun anew since.
 */
export function lastWords(path: string, since: number): string {
  try {
    const fd = fs.openSync(path, fs.constants.O_RDONLY | (fs.constants.O_NOFOLLOW ?? 0));
    try {
      const { size } = fs.fstatSync(fd);
      const from = since > size ? 0 : since;
      const begin = Math.max(from, size - KEPT);
      const bytes = Buffer.alloc(Math.max(0, size - begin));
      const length = fs.readSync(fd, bytes, 0, bytes.length, begin);
      const text = bytes.toString('utf8', 0, length);
      return (begin > from ? text.slice(text.indexOf('\n') + 1) : text).trimEnd();
    } finally {
      fs.closeSync(fd);
    }
  } catch {
    return '';
  }
}
