/** What a daemon says of itself. Its class may say anything; what makes no sense is told, never believed. */
import { constants } from 'node:os';
import { QueueError, quote } from '../errors.ts';
import { nearest } from '../suggest.ts';
import { USUAL_SLEEP, type Daemon } from './daemon.ts';

/** Seconds that a daemon may want to sleep. */
const LONGEST_SLEEP = 366 * 86_400;

/** What every daemon's `handleOtherSignals` is told; on Windows there are none. */
const ALWAYS: readonly NodeJS.Signals[] = ['SIGUSR1', 'SIGUSR2'];
/** They say what the runner is to do. */
const TAKEN = new Set(['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGBREAK']);
/** The system lets nobody handle the first two; after the others, a program that goes on is in a state nobody knows. */
const IMPOSSIBLE = new Set([
  'SIGKILL',
  'SIGSTOP',
  'SIGSEGV',
  'SIGBUS',
  'SIGFPE',
  'SIGILL',
  'SIGTRAP',
  'SIGSYS',
]);

/** Milliseconds until the next iteration. Rejects with what `getSleepTime` throws; DAEMON_FAILED when it is no such number. */
export async function sleepOf(daemon: Daemon): Promise<number> {
  const seconds: unknown = await daemon.getSleepTime();
  if (typeof seconds === 'number' && seconds >= 0 && seconds <= LONGEST_SLEEP) return seconds * 1000;
  throw failed(
    `expected seconds from 0 to ${LONGEST_SLEEP} from getSleepTime(), received ${quote(seconds)}; ` +
      `${USUAL_SLEEP} are taken`,
  );
}

/** After how many iterations it ends; 0: never. Errors: DAEMON_FAILED. */
export function maxSessionsOf(daemon: Daemon): number {
  const most: unknown = daemon.maxSessions ?? 0;
  if (typeof most === 'number' && Number.isSafeInteger(most) && most >= 0) return most;
  throw failed(`maxSessions: expected a whole number, 0 or more, received ${quote(most)}`);
}

/** Milliseconds after which it counts as stalled; undefined: as configured. Errors: DAEMON_FAILED. */
export function stallAfterOf(daemon: Daemon): number | undefined {
  const seconds: unknown = daemon.stallAfter;
  if (seconds === undefined) return undefined;
  if (typeof seconds === 'number' && seconds > 0 && seconds <= LONGEST_SLEEP) return seconds * 1000;
  throw failed(`stallAfter: expected seconds, more than 0, received ${quote(seconds)}`);
}

/** What is wrong with parts of it. Throws what `troubles` throws; DAEMON_FAILED when it is no list of texts. */
export function troublesOf(daemon: Daemon): readonly string[] {
  const troubles: unknown = daemon.troubles?.() ?? [];
  if (Array.isArray(troubles) && troubles.every((each) => typeof each === 'string')) return troubles;
  throw failed(`troubles(): expected a list of texts, received ${quote(troubles)}`);
}

/** The signals that its `handleOtherSignals` is to be told. Errors: DAEMON_FAILED. */
export function signalsOf(daemon: Daemon): NodeJS.Signals[] {
  const declared: unknown = daemon.signals ?? [];
  if (!Array.isArray(declared))
    throw failed(`signals: expected a list such as ["SIGWINCH"], received ${quote(declared)}`);
  const possible = Object.keys(constants.signals).filter((name) => !TAKEN.has(name) && !IMPOSSIBLE.has(name));
  for (const name of declared as unknown[]) {
    if (typeof name === 'string' && possible.includes(name)) continue;
    const near = typeof name === 'string' ? nearest(name, possible) : undefined;
    const why = TAKEN.has(String(name))
      ? 'one that has no meaning of its own'
      : near === undefined
        ? `one of ${possible.join(', ')}`
        : `a signal (did you mean ${near}?)`;
    throw failed(`signals: expected ${why}, received ${quote(name)}`);
  }
  return [
    ...new Set([...ALWAYS.filter((name) => possible.includes(name)), ...(declared as NodeJS.Signals[])]),
  ];
}

function failed(why: string): QueueError {
  return new QueueError('DAEMON_FAILED', why);
}
