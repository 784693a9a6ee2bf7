/**
 * One model of a service, from which those of all systems are made: what is to run, as whom, where, and what follows when
 * it fails. Everything in it may come from outside; `checkService` refuses what no file could hold, the rest is
 * quoted where it is written.
 */
import { QueueError, quote } from '../../errors.ts';
import type { RecoveryPolicy } from '../recovery.ts';

export const INITS = ['systemd', 'systemd-user', 'sysv', 'launchd', 'windows'] as const;
export type Init = (typeof INITS)[number];

/** In the place of a daemon's name: the service is a template, and each of its instances a worker of that type. */
export const WORKERS = 'worker@';

export interface Service {
  /** Of the daemon; or `WORKERS`. */
  readonly name: string;
  /** What the service is called, behind `coda-`: as the daemon, unless it was given a name of its own. That of a template ends with `@`. */
  readonly called: string;
  /** Where its configuration lies: what tells this installation from others, whose daemons may have the same names. */
  readonly home: string;
  /** Absolute, as are all paths here. */
  readonly node: string;
  /** Of `queue-daemon`; of `queue-worker` for workers. */
  readonly script: string;
  /** Of the script, before the name: `--config=/srv/app/config.ini`. */
  readonly options: readonly string[];
  readonly folder: string;
  /** Undefined: that of whoever runs the services, which is root's for those of the system. */
  readonly account: string | undefined;
  readonly environment: Readonly<Record<string, string>>;
  readonly stateDir: string;
  /** Folders in which it writes. */
  readonly writable: readonly string[];
  /** What it reads beside that, as far as it is known. */
  readonly readable: readonly string[];
  readonly policy: RecoveryPolicy;
  /** Milliseconds within which it has ended by itself when it is told to. */
  readonly patience: number;
  /** Milliseconds within which it must be heard of. */
  readonly stallAfter: number;
}

export interface ServiceFile {
  path: string;
  /** Permission bits. */
  mode: number;
  content: string;
}

export interface Plan {
  init: Init;
  /** By which the system knows it. */
  id: string;
  files: ServiceFile[];
  /** Files that an installation may have made too, under another policy, with the mark of those above. */
  others: string[];
  /** Commands, word by word: when the files are there; to have it start now, and with the machine. */
  made: string[][];
  enabled: string[][];
  /** Before the files are removed, whatever comes of it; and when they are gone. */
  disabled: string[][];
  removed: string[][];
  /** What is asked for and cannot be had from this system. */
  unable: string[];
  /** What is to be typed next, when it was not enabled. */
  next: string[];
}

/** Among the first words of every file, which are the same in all that one installation writes for one service. */
export const MARK = 'Written by "queue-daemon install';

export function markOf({ name, called, home }: Service): string {
  const own = called === name ? '' : ` --name ${called.replace('@', '')}`;
  return `${MARK} ${name}${own}" for ${home}; "queue-daemon uninstall ${name}${own}" there removes it.`;
}

/** `coda-reports`; `coda-worker@`. */
export function idOf({ called }: Pick<Service, 'called'>): string {
  return `coda-${called}`;
}

/**
 * A unit that goes with a service: `coda.verify-reports`, `coda.failure-worker@all`. It does not begin as services do, and no daemon
 * has a `@` in its name, so it is never the service of another, nor beside one.
 */
export function besideOf({ called }: Pick<Service, 'called'>, what: string): string {
  return `coda.${what}-${called.replace('@', '@all')}`;
}

export function titleOf({ name, called }: Pick<Service, 'name' | 'called'>): string {
  const own = called === name ? '' : ` of ${called.replace('@', '')}`;
  return (name === WORKERS ? 'Coda worker %i' : `Coda daemon ${name}`) + own;
}

/** The words of `queue-daemon <verb>` for this service. */
export function commandOf({ node, script, options, name }: Service, ...verb: string[]): string[] {
  return [node, script, ...verb, ...options, '--', name];
}

/**
 * Errors: INVALID_ARGUMENT: a word that cannot be written down (control characters, half characters), a path that is
 * not absolute, no name of an account.
 */
export function checkService(service: Service): void {
  const { node, script, folder, home, stateDir, writable, readable, options, environment, account } = service;
  for (const path of [node, script, folder, home, stateDir, ...writable, ...readable]) {
    if (!/^(?:\/|[A-Za-z]:[\\/]|\\\\)/.test(path)) throw refused('an absolute path', path);
    // Some files hold a path to the end of its line, and no quotes.
    if (/[\s\\]$/.test(path) && !/^[A-Za-z]:\\$/.test(path))
      throw refused('a path that does not end with a blank or a backslash', path);
  }
  const commands = service.policy.onFailure.flatMap((action) =>
    action.kind === 'run' ? action.command : [],
  );
  for (const text of [
    node,
    script,
    folder,
    home,
    stateDir,
    ...writable,
    ...readable,
    ...options,
    ...commands,
  ])
    checkText(text);
  for (const [name, value] of Object.entries(environment)) {
    if (!/^[A-Z_][A-Z0-9_]*$/.test(name)) throw refused('the name of a variable', name);
    checkText(value);
  }
  if (account !== undefined && !ACCOUNT.test(account))
    throw refused("the name of an account (letters, digits, '.', '_', '-')", account);
}

/** What useradd takes; Windows also knows a domain before it, such as `NT AUTHORITY`. */
const ACCOUNT = /^(?:[A-Za-z0-9. -]{1,32}\\)?[A-Za-z_][A-Za-z0-9._-]{0,31}$/;

function checkText(text: string): void {
  // oxlint-disable-next-line no-control-regex -- these are the characters it is for
  if (/[\u0000-\u001f\u007f-\u009f\u2028\u2029\ufffe\uffff]|\p{Cs}/u.test(text))
    throw refused('a text without control characters', text);
}

function refused(expected: string, received: string): QueueError {
  return new QueueError('INVALID_ARGUMENT', `a service needs ${expected}, received ${quote(received, 300)}`);
}

/** Whole seconds, rounded up. */
export function seconds(milliseconds: number): number {
  return Math.ceil(milliseconds / 1000);
}
