/**
 * The files of a daemon below the state folder, and what its pid file says: who has the place. Those beside it tell who comes
 * after whom, see `place.ts`.
 */
import { join } from 'node:path';
import { QueueError, quote } from '../errors.ts';
import type { Identity } from '../process-table.ts';
import { checkDaemonName } from './name.ts';
import { readSmall } from './small-file.ts';

/** The files of one daemon. */
export interface Paths {
  /** The pid in its first line, what tells it from others in the second. There while a process has the place, or when it died there. */
  pid: string;
  /** See `state.ts`. */
  state: string;
  /** The log of a daemon that was started in the background, unless the configuration names another file. */
  log: string;
  /** What its process prints beside its log, its last words among it. */
  output: string;
  /** There while the daemon is stopped because somebody wanted it: nobody is to revive it. */
  stopped: string;
}

/** Errors: INVALID_ARGUMENT: no daemon can have that name. */
export function pathsOf(stateDir: string, name: string): Paths {
  checkDaemonName(name);
  const path = (suffix: string): string => join(stateDir, name + suffix);
  return {
    pid: path('.pid'),
    state: path('.state.json'),
    log: path('.log'),
    output: path('.out'),
    stopped: path('.stopped'),
  };
}

/** Who has a place, as the pid file says. */
export interface Holder {
  who: Identity;
  /** No two holders ever have the same. */
  token: string;
}

/**
 * The holder that the pid file names, alive or not; undefined when nobody has the place.
 * Errors: STORAGE_FAILED when what stands there is no pid file of ours.
 */
export function readHolder(path: string): Holder | undefined {
  const text = readSmall(path);
  if (text === undefined) return undefined;
  const holder = parseHolder(text);
  if (holder) return holder;
  throw new QueueError(
    'STORAGE_FAILED',
    `expected the pid file of a daemon at ${quote(path, 300)}, found ${quote(text)}; ${removal(path)}`,
    { path },
  );
}

/** Nobody else removes it: were it taken for nobody's, two who find it at once could both come to have the place. */
function removal(path: string): string {
  return `remove it if that daemon does not run: rm ${quote(path, 300)}`;
}

/**
 * Who has the place of a daemon, alive or not, be it that its pid file is about to be put up; undefined when nobody has.
 * Errors: STORAGE_FAILED, as of `readHolder`; INVALID_ARGUMENT.
 */
export function holderOf(stateDir: string, name: string): Holder | undefined {
  const named = readHolder(pathsOf(stateDir, name).pid);
  return named && lastHeirOf(stateDir, name, named);
}

/**
 * Who stands at the end of the chain: `holder` itself when nobody has succeeded it.
 * Errors: STORAGE_FAILED, as of `readHolder`, and when the chain leads back to where it has been, as none of ours does.
 */
export function lastHeirOf(stateDir: string, name: string, holder: Holder): Holder {
  const passed = new Set<string>();
  for (let last = holder; ;) {
    const path = hidden(stateDir, name, 'after', last.token);
    const next = readHolder(path);
    if (!next) return last;
    passed.add(last.token);
    if (passed.has(next.token))
      throw new QueueError(
        'STORAGE_FAILED',
        `expected who comes after ${last.token} at ${quote(path, 300)}, found ${next.token}, who came before; ` +
          removal(path),
        { path },
      );
    last = next;
  }
}

/** Whether a file stands there that can be read and names nobody. Errors: STORAGE_FAILED: it is none, or cannot be read. */
export function isSpoilt(path: string): boolean {
  const text = readSmall(path);
  return text !== undefined && parseHolder(text) === undefined;
}

/** As `readHolder`, but what is no pid file names nobody. */
export function tryHolder(path: string): Holder | undefined {
  try {
    return readHolder(path);
  } catch {
    return undefined;
  }
}

/** A file of the chain: what is about to become the pid file (`pid`), or stands behind the holder of that token (`after`). */
export function hidden(stateDir: string, name: string, kind: 'pid' | 'after', token: string): string {
  return join(stateDir, `.${name}.${kind}-${token}`);
}

/** The daemon, the kind and the token in the name of such a file. */
export const HIDDEN = /^\.(.+)\.(pid|after)-([0-9a-f]{16})(?:-2)?$/;

/** What stands in the pid file. */
export function textOf({ who, token }: Holder): string {
  const { pid, ...rest } = who;
  return `${pid}\n${JSON.stringify({ token, ...rest })}\n`;
}

function parseHolder(text: string): Holder | undefined {
  const [first = '', second = ''] = text.split('\n');
  if (!/^[1-9]\d{0,9}$/.test(first)) return undefined;
  try {
    const { token, start, boot, pidNamespace, timeNamespace } = JSON.parse(second) as Record<string, unknown>;
    const texts = [start, boot, pidNamespace, timeNamespace];
    if (typeof token !== 'string' || !/^[0-9a-f]{16}$/.test(token)) return undefined;
    if (!texts.every((each) => typeof each === 'string')) return undefined;
    const who = { pid: Number(first), start, boot, pidNamespace, timeNamespace } as Identity;
    return { who, token };
  } catch {
    return undefined;
  }
}
