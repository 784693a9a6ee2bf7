/**
 * What others do with a daemon that runs: stop it, have it read its configuration again. Whoever is sent a signal is looked
 * at just before, by pid and start time, so that no process is ever taken for another that had its number.
 */
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { QueueError } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { factsOf, isEnded, isNobody, nodeProcesses } from '../process-table.ts';
import { concludeDead } from './keeper.ts';
import { tellOrder, type Order } from './life-sign.ts';
import { HOLDER, holderOf, isHere, lifeOf, pathsOf, takePlace, type Holder } from './place.ts';
import { makeSmall } from './small-file.ts';
import type { Failure } from './state.ts';
import { isUp, judge, type Judgement } from './verify.ts';

/** Looks at what nothing announces come in these distances, in ms: the first is doubled up to the last. */
const FIRST_LOOK = 10;
const LAST_LOOK = 100;
/** What was killed is gone in a moment, unless it hangs in the kernel; ms. */
const BURIAL = 5000;
/** What a daemon has left in its process group may go on so long to clean up; ms. */
const CLEANING_UP = 2000;

const windows = process.platform === 'win32';

export interface StopOptions {
  /** Ms that it has to end by itself; then it is killed with all its process group. */
  timeout: number;
  /** Whether it is to stay stopped until somebody starts it, which `verify --revive` does not. */
  lasting: boolean;
}

export interface Stopped {
  before: Judgement;
  /** It had not ended in time. */
  forced: boolean;
  /** How many processes it had left behind in its group; they have been ended. */
  orphans: number;
  /** What could not be written of its end, such as that it is to stay stopped. */
  unwritten: QueueError | undefined;
}

/**
 * Resolves when the process of the daemon has ended, and what it had left behind; at once when it does not run. Then its
 * place is free. That nothing can be written to the folder keeps nobody from stopping a daemon.
 * Errors: DAEMON_FAILED: it may not be signalled, cannot be reached from here, or does not even end when it is killed.
 */
export async function stopDaemon(
  stateDir: string,
  name: string,
  { timeout, lasting }: StopOptions,
): Promise<Stopped> {
  const before = await judge(stateDir, name);
  const { holder } = before;
  const notes = new Notes();
  const mark = async (): Promise<void> => {
    if (lasting) await notes.write(() => markStopped(stateDir, name));
  };
  if (!holder || !isUp(before)) {
    const orphans = holder ? await endLeftBehind(holder) : 0;
    if (holder) await notes.write(() => clear(stateDir, name, false));
    await mark();
    return { before, forced: false, orphans, unwritten: notes.refused };
  }
  const target = { ...before, holder, stateDir };
  const group = groupOf(target);
  // Before it ends: whoever sees that must know that it was wanted.
  await mark();
  // One that is stopping already would take a second word for "at once".
  if (before.state?.phase !== 'stopping') await tell(target, 'stop');
  const forced = !(await isGone(target, timeout));
  if (forced) {
    await kill(target, group);
    if (!(await isGone(target, BURIAL))) throw failed(target, 'does not end, although it was killed');
  }
  const left = group === undefined ? 0 : await endOrphans(group);
  // What was killed with it and is not gone yet was not left behind.
  const orphans = forced ? 0 : left;
  await notes.write(() => clear(stateDir, name, forced));
  await mark();
  return { before, forced, orphans, unwritten: notes.refused };
}

/** Writes what can be written, and keeps the first refusal. */
class Notes {
  refused: QueueError | undefined;

  async write(note: () => Promise<void> | void): Promise<void> {
    try {
      await note();
    } catch (error) {
      const isStorage = error instanceof QueueError && error.code.startsWith('STORAGE_');
      if (!isStorage) throw error;
      this.refused ??= error;
    }
  }
}

/**
 * Ends a daemon as a crash would, for the service of the system that runs it to start it again: one that is told to stop has
 * ended well. What it has started is for that service to end. Resolves when its process is gone; at once when it does not run.
 * Errors: DAEMON_FAILED, as of `stopDaemon`.
 */
export async function crashDaemon(stateDir: string, name: string): Promise<void> {
  const before = await judge(stateDir, name);
  const { holder } = before;
  if (!holder || !isUp(before)) return;
  const target = { ...before, holder, stateDir };
  await kill(target, undefined);
  if (!(await isGone(target, BURIAL))) throw failed(target, 'does not end, although it was killed');
}

export type Reloaded =
  | { outcome: 'taken' | 'not running' }
  /** It goes on with the old configuration. */
  | { outcome: 'refused'; error: Failure }
  /** It was told, and has not said anything yet: perhaps its iteration has not ended. Or it does not come up, and was not told. */
  | { outcome: 'pending' | 'starting' }
  /** It has ended instead. */
  | { outcome: 'ended'; after: Judgement };

/**
 * Has a daemon read its configuration again. Resolves when it has said what came of that, at the latest after `timeout` ms.
 * Errors: DAEMON_FAILED: it may not be signalled, cannot be reached from here, or what it says cannot be read.
 */
export async function reloadDaemon(stateDir: string, name: string, timeout: number): Promise<Reloaded> {
  const deadline = performance.now() + timeout;
  const before = await judge(stateDir, name);
  const { holder } = before;
  if (!holder || !isUp(before)) return { outcome: 'not running' };
  const target = { ...before, holder, stateDir };
  if (!before.state && before.reason !== '') throw failed(target, `cannot be asked: ${before.reason}`);
  // Before it has come up it may not know what the signal means, and die of it.
  let now = await until(target, deadline, ({ state }) => state?.upAt != null);
  if (!now) return { outcome: 'starting' };
  const count = now.state?.reloads.count ?? 0;
  if (isSame(now, holder)) {
    await tell(target, 'reload');
    now = await until(target, deadline, ({ state }) => (state?.reloads.count ?? 0) > count);
  }
  if (!now) return { outcome: 'pending' };
  if (!isSame(now, holder)) return { outcome: 'ended', after: now };
  const error = now.state?.reloads.error;
  return error ? { outcome: 'refused', error } : { outcome: 'taken' };
}

type Target = Pick<Judgement, 'name' | 'state'> & { holder: Holder; stateDir: string };

/** Whether that run of the daemon still goes on. */
function isSame(now: Judgement, { token }: Holder): boolean {
  return isUp(now) && now.holder?.token === token;
}

/** The daemon as soon as `holds` is true of it, or it is another run of it, or none; undefined when that takes too long. */
async function until(
  { stateDir, name, holder }: Target,
  deadline: number,
  holds: (now: Judgement) => boolean,
): Promise<Judgement | undefined> {
  let found: Judgement | undefined;
  const met = await looking(deadline - performance.now(), async () => {
    found = await judge(stateDir, name);
    if (!isSame(found, holder)) return true;
    return found.state?.token === holder.token && holds(found);
  });
  return met ? found : undefined;
}

/** Looks again and again, for so many ms, whether something is so; at least once. */
export async function looking(
  milliseconds: number,
  isSo: () => Promise<boolean> | boolean,
): Promise<boolean> {
  const deadline = performance.now() + milliseconds;
  for (let pause = FIRST_LOOK; !(await isSo()); pause = Math.min(pause * 2, LAST_LOOK)) {
    const left = deadline - performance.now();
    if (left <= 0) return false;
    await sleep(Math.min(pause, left));
  }
  return true;
}

function isGone({ stateDir, name, holder }: Target, milliseconds: number): Promise<boolean> {
  return looking(milliseconds, async () => {
    const life = await lifeOf(holder, stateDir);
    // Where its death cannot be proven, that it has left its place must do.
    return life === 'dead' || (life === 'unknown' && holderOf(stateDir, name)?.token !== holder.token);
  });
}

async function tell(target: Target, order: Order): Promise<void> {
  const { holder, stateDir } = target;
  if (!windows && isHere(holder.who)) {
    signal(target, order === 'stop' ? 'SIGTERM' : 'SIGHUP', holder.who.pid);
    // One that stands still hears nothing.
    signal(target, 'SIGCONT', holder.who.pid);
    return;
  }
  const heard = await tellOrder(stateDir, holder.token, order);
  // It may have ended meanwhile, which is no failure.
  if (!heard && (await lifeOf(holder, stateDir)) !== 'dead')
    throw failed(target, 'cannot be reached from here');
}

async function kill(target: Target, group: number | undefined): Promise<void> {
  const { holder, stateDir } = target;
  const { pid } = holder.who;
  const tellsNamespaces = nodeProcesses.self().pidNamespace !== '';
  const isIt =
    isHere(holder.who) ||
    // Elsewhere that number may have gone to another process only if the daemon, which can still be heard, were gone.
    (!tellsNamespaces && !isNobody(pid) && (await lifeOf(holder, stateDir)) === 'alive');
  if (isIt) signal(target, 'SIGKILL', group === undefined ? pid : -group);
  else if ((await lifeOf(holder, stateDir)) !== 'dead') throw failed(target, 'cannot be killed from here');
}

function signal(target: Target, name: NodeJS.Signals, pid: number): void {
  try {
    process.kill(pid, name);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    // Gone by itself, meanwhile.
    if (code !== 'ESRCH') throw failed(target, `may not be sent ${name} from this account (${code})`, cause);
  }
}

function failed({ name, holder }: Target, why: string, cause?: unknown): QueueError {
  const text = `process ${holder.who.pid} of daemon ${name} ${why}`;
  return new QueueError('DAEMON_FAILED', text, cause === undefined ? {} : { cause });
}

/**
 * The process group in which there is nothing but the daemon and what it has started: one of a session that it leads. That of
 * a shell's pipe is none, although the daemon may be the first in it.
 */
function groupOf({ holder, state }: Target): number | undefined {
  if (windows) return undefined;
  const { pid } = holder.who;
  const facts = isHere(holder.who) ? factsOf(pid) : undefined;
  // Who is started in the background gets a session of its own.
  const leads = facts
    ? facts.session === pid
    : nodeProcesses.self().boot === '' && state?.background === true;
  return leads ? pid : undefined;
}

/**
 * Ends what a daemon that has died has left in a session of its own; resolves with how many processes that were. Nothing is
 * ended unless one of them bears its token: by now its number may have gone to another process, with a group of its own.
 */
export async function endLeftBehind({ who, token }: Holder): Promise<number> {
  const self = nodeProcesses.self();
  if (windows || who.boot !== self.boot || who.pidNamespace !== self.pidNamespace) return 0;
  const isIts = (pid: number): boolean => factsOf(pid)?.session === who.pid && bears(pid, token);
  return orphansOf(who.pid).some(isIts) ? endOrphans(who.pid) : 0;
}

/** Whether a process was started by that holder, or by what it has started. */
function bears(pid: number, token: string): boolean {
  try {
    return fs.readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(`${HOLDER}=${token}`);
  } catch {
    return false;
  }
}

/** Ends what is left of the group of a daemon that has ended; resolves with how many there were. */
async function endOrphans(group: number): Promise<number> {
  const count = orphansOf(group).length;
  if (count === 0) return 0;
  // The number of a group goes to nobody else as long as anybody is in it.
  const end = (name: NodeJS.Signals): void => {
    for (const pid of orphansOf(group)) {
      try {
        process.kill(pid, name);
      } catch {
        // Gone, or under another account.
      }
    }
  };
  end('SIGTERM');
  if (!(await looking(CLEANING_UP, () => orphansOf(group).length === 0))) end('SIGKILL');
  return count;
}

/** The living members of a group whose leader has ended; where the system does not list processes, none. */
function orphansOf(group: number): number[] {
  const leader = factsOf(group);
  if (leader && !isEnded(leader)) return [];
  let names: string[];
  try {
    names = fs.readdirSync('/proc');
  } catch {
    return [];
  }
  return names
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const facts = factsOf(pid);
      return facts?.group === group && !isEnded(facts);
    });
}

/** Takes the dead out of a place. @param killed whether that was meant: else it has crashed. */
async function clear(stateDir: string, name: string, killed: boolean): Promise<void> {
  if (holderOf(stateDir, name) === undefined) return;
  try {
    const place = await takePlace(stateDir, name);
    concludeDead(place, { killed });
    await place.release();
  } catch (error) {
    // Somebody has started it meanwhile, and has cleared it up.
    if (!(error instanceof QueueError && error.code === 'DAEMON_RUNNING')) throw error;
  }
}

function markStopped(stateDir: string, name: string): void {
  const { stopped } = pathsOf(stateDir, name);
  try {
    makeFolder(stateDir);
    makeSmall(stopped, '', { synced: false });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    throw new QueueError(
      'STORAGE_FAILED',
      `that daemon ${name} is to stay stopped cannot be noted (${code})`,
      {
        path: stopped,
        cause,
      },
    );
  }
}
