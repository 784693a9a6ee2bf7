/** What of this machine decides how a service is installed, and what may go wrong with it later. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { delimiter, dirname, isAbsolute, join } from 'node:path';
import { QueueError } from '../../errors.ts';
import type { Init } from './service.ts';

/** Errors: SERVICE_FAILED: none that is known here. */
export function detectInit(): Init {
  if (process.platform === 'darwin') return 'launchd';
  if (process.platform === 'win32') return 'windows';
  if (runsSystemd()) return 'systemd';
  if (fs.existsSync('/etc/init.d')) return 'sysv';
  throw new QueueError(
    'SERVICE_FAILED',
    'expected systemd or /etc/init.d, found neither; --init says which system is meant',
  );
}

/** See sd_booted(3). */
export function runsSystemd(): boolean {
  return fs.lstatSync('/run/systemd/system', { throwIfNoEntry: false })?.isDirectory() === true;
}

/**
 * Whether the service of that name, as a daemon has it in its state, is there to start that daemon again. True where that
 * cannot be told. @param uid of the account whose daemon it is.
 */
export function isInstalled(service: string, uid: number | undefined): boolean {
  // What bears another name was not made by us, and neither Windows' list of services nor another account's home is looked at here.
  if (process.platform !== 'linux' || !/^[A-Za-z0-9:_.@-]+\.service$/.test(service)) return true;
  if (uid !== undefined && uid !== process.geteuid?.() && uid !== 0) return true;
  return UNITS.map((folder) => (isAbsolute(folder) ? folder : join(homedir(), folder))).some((folder) =>
    fs.lstatSync(join(folder, service), { throwIfNoEntry: false }),
  );
}

/** Where units are; see systemd.unit(5). Relative: below the home of the account. */
const UNITS: readonly string[] = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
  '/etc/systemd/user',
  '/usr/lib/systemd/user',
  '.config/systemd/user',
];

/** What makes links for run levels here. */
export function sysvLinker(): 'update-rc.d' | 'chkconfig' | undefined {
  return (['update-rc.d', 'chkconfig'] as const).find((name) =>
    [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'].some((folder) =>
      fs.existsSync(join(folder, name)),
    ),
  );
}

export function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

/** Of the account that this process runs under. */
export function self(): { name: string; uid: number; home: string } {
  const { username: name, uid } = userInfo();
  return { name, uid, home: homedir() };
}

/** The name of the account that owns a file or folder, or would own it if it were made; undefined where it has none. */
export function ownerOf(path: string): string | undefined {
  for (let at = path; ; at = dirname(at)) {
    const stat = fs.statSync(at, { throwIfNoEntry: false });
    if (stat) return nameOf(stat.uid);
    if (dirname(at) === at) return undefined;
  }
}

/** Errors: SERVICE_FAILED: there is no such account. */
export function checkAccount(name: string): void {
  if (id('-u', name) !== undefined) return;
  throw new QueueError('SERVICE_FAILED', `expected an account of this machine, there is none named ${name}`);
}

function nameOf(uid: number): string | undefined {
  if (uid === process.getuid?.()) return userInfo().username;
  return id('-nu', String(uid));
}

function id(...args: string[]): string | undefined {
  try {
    return execFileSync('id', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined;
  }
}

/** Where version managers keep a Node; such a path is gone with the next version, and other accounts often cannot read it. */
const MANAGED: readonly (readonly [RegExp, string])[] = [
  [/[\\/]\.?nvm[\\/]/, 'nvm'],
  [/[\\/]\.?fnm(?:_multishells)?[\\/]/, 'fnm'],
  [/[\\/]\.?volta[\\/]/i, 'volta'],
  [/[\\/]\.?asdf[\\/]/, 'asdf'],
  [/[\\/]n[\\/]versions[\\/]/, 'n'],
  [/[\\/]mise[\\/]/, 'mise'],
  [/[\\/]\.?nodenv[\\/]/, 'nodenv'],
];

/** What will break a service some day, or does at once. Empty: nothing that is known. */
export function warningsFor(service: {
  node: string;
  script: string;
  account: string | undefined;
  isOwn: boolean;
}): string[] {
  const { node, script, account, isOwn } = service;
  const manager = MANAGED.find(([pattern]) => pattern.test(node))?.[1];
  const linger = join('/var/lib/systemd/linger', self().name);
  return [
    ...(manager === undefined
      ? []
      : [`${node} belongs to ${manager}: when it removes that version, the service does not start any more`]),
    ...(/[\\/]_npx[\\/]/.test(script)
      ? [`${script} lies in npx's cache, which may be emptied: install the package first`]
      : []),
    ...(isOwn && !fs.existsSync(linger)
      ? [
          `services of ${self().name} end with the last login, and do not start with the machine, before "loginctl enable-linger ${self().name}"`,
        ]
      : []),
    ...(!isOwn && account === 'root' ? ['it runs as root: --user names an account with fewer rights'] : []),
  ];
}
