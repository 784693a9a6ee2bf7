/** What `queue-daemon install` and `uninstall` are asked for, as a service and as a plan for one system. */
import { existsSync, realpathSync } from 'node:fs';
import { basename, dirname, extname, join, resolve, sep } from 'node:path';
import type { Config } from '../../src/config.ts';
import { SECTIONS, variableOf } from '../../src/config-keys.ts';
import { checkDaemonName } from '../../src/daemon/name.ts';
import * as host from '../../src/daemon/service/host.ts';
import { launchdPlan } from '../../src/daemon/service/launchd.ts';
import {
  WORKERS,
  checkService,
  type Init,
  type Plan,
  type Service,
} from '../../src/daemon/service/service.ts';
import { systemdPlan } from '../../src/daemon/service/systemd.ts';
import { sysvPlan } from '../../src/daemon/service/sysv.ts';
import { windowsPlan } from '../../src/daemon/service/windows.ts';
import { QueueError } from '../../src/errors.ts';
import { patience, type Options } from './daemons.ts';

export interface ServiceOptions extends Options {
  init?: Init;
  /** Of the service, behind `coda-`. */
  name?: string;
  user?: string;
  root?: string;
  dryRun?: true;
}

export interface Asked {
  init: Init;
  /** Absolute. */
  root: string | undefined;
  service: Service;
  plan: Plan;
  warnings: string[];
}

/** Errors: INVALID_ARGUMENT: what is asked for makes no sense, or cannot be written down; SERVICE_FAILED: no system is known. */
export function asked(name: string, config: Config, options: ServiceOptions): Asked {
  const init = options.init ?? host.detectInit();
  const root = options.root === undefined ? undefined : resolve(options.root);
  const isOwn =
    init === 'systemd-user' || (init === 'launchd' && !host.isRoot() && options.user === undefined);
  if (name === WORKERS && !init.startsWith('systemd'))
    throw new QueueError('INVALID_ARGUMENT', `${WORKERS} is a template, which only systemd has`);
  const { service, warnings } = serviceOf(name, config, options, init, isOwn);
  checkService(service);
  const plan = planOf(service, init, root, isOwn);
  if (root === undefined && init.startsWith('systemd') && !isOwn) makeFolders(plan, service);
  return { init, root, service, plan, warnings };
}

function planOf(service: Service, init: Init, root: string | undefined, isOwn: boolean): Plan {
  const { home, uid } = host.self();
  switch (init) {
    case 'systemd':
      return systemdPlan(service, { home: undefined, root });
    case 'systemd-user':
      return systemdPlan(service, { home, root });
    case 'sysv':
      return sysvPlan(service, { linker: host.sysvLinker(), root });
    case 'launchd':
      return launchdPlan(service, { agent: isOwn ? { home, uid } : undefined, root });
    case 'windows':
      return windowsPlan(service);
  }
}

/** Folders outside the working folder that it cannot make itself, where all else is read-only for it. */
function makeFolders(plan: Plan, { account = 'root', folder, writable }: Service): void {
  const absent = writable.filter((path) => !isBelow(path, folder) && !existsSync(path));
  plan.made.unshift(...absent.map((path) => ['install', '-d', '-m', '0700', '-o', account, path]));
}

function serviceOf(
  name: string,
  config: Config,
  options: ServiceOptions,
  init: Init,
  isOwn: boolean,
): { service: Service; warnings: string[] } {
  const script = realpathSync(process.argv[1] ?? '');
  const isTemplate = name === WORKERS;
  const { stateDir, daemonsDir, onFailure, recoveryDelay, resetPeriod, stallAfter } = config.daemon;
  const { environment, hidden } = variables();
  const folder = process.cwd();
  const account = accountOf(options, config, init, isOwn);
  const service: Service = {
    name,
    called: calledOf(name, options),
    home: homeOf(config, folder),
    node: process.execPath,
    script: isTemplate ? join(dirname(script), `queue-worker${extname(script)}`) : script,
    options: flagsOf(config, options, isTemplate),
    folder,
    account,
    environment,
    stateDir,
    writable: outermost([folder, stateDir, config.queue.cacheRoot, ...logFolder(config)]),
    readable: [...(config.file === undefined ? [] : [config.file]), daemonsDir, config.worker.workersDir],
    policy: { onFailure, recoveryDelay, resetPeriod },
    patience: patience(config),
    stallAfter,
  };
  const warnings = host.warningsFor({ node: service.node, script, account, isOwn });
  for (const variable of hidden)
    warnings.push(`${variable} is a secret, and not written down: put it where docs/services.md says`);
  return { service, warnings };
}

/** Errors: INVALID_ARGUMENT: no service can have that name. */
function calledOf(name: string, { name: given }: ServiceOptions): string {
  if (given === undefined) return name;
  checkDaemonName(given);
  return name === WORKERS ? `${given}@` : given;
}

/** The folder of the configuration that is in force; its file, where that may be one of several there. */
function homeOf({ file }: Config, folder: string): string {
  if (file === undefined) return folder;
  return basename(file) === 'config.ini' ? dirname(file) : file;
}

/** The account that the service runs under; undefined: that of whoever looks after it. Errors: INVALID_ARGUMENT. */
function accountOf(
  { user }: ServiceOptions,
  { queue }: Config,
  init: Init,
  isOwn: boolean,
): string | undefined {
  if (isOwn) {
    if (user === undefined || user === host.self().name) return undefined;
    throw new QueueError('INVALID_ARGUMENT', '--user: the services of an account run under that account');
  }
  if (user !== undefined || init === 'windows') return user;
  // Who else could read what is there, and write beside it?
  const owner = host.ownerOf(queue.cacheRoot);
  if (owner !== undefined) return owner;
  throw new QueueError('INVALID_ARGUMENT', 'expected --user: the folder of the queues belongs to no account');
}

/** Absolute, so that they mean the same wherever it is started. */
function flagsOf(
  { file }: Config,
  { cacheRoot, durability, daemons }: ServiceOptions,
  isTemplate: boolean,
): string[] {
  const flags = {
    '--config': file,
    '--cache-root': cacheRoot === undefined ? undefined : resolve(cacheRoot),
    '--durability': durability,
    '--daemons': daemons === undefined || isTemplate ? undefined : resolve(daemons),
  };
  return Object.entries(flags).flatMap(([flag, value]) => (value === undefined ? [] : [`${flag}=${value}`]));
}

/** Keys that are set in the environment, as the service is to have them; those that are secret stay out of files that all may read. */
function variables(): { environment: Record<string, string>; hidden: string[] } {
  const environment: Record<string, string> = {};
  const hidden: string[] = [];
  for (const keys of Object.values(SECTIONS)) {
    for (const [name, key] of Object.entries(keys)) {
      const variable = variableOf(name);
      const value = process.env[variable];
      if (value === undefined || value === '') continue;
      if (key.hidden) hidden.push(variable);
      else environment[variable] = value;
    }
  }
  return { environment, hidden };
}

function logFolder({ log: { destination } }: Config): string[] {
  return destination === 'stdout' || destination === 'stderr' ? [] : [dirname(destination)];
}

function outermost(folders: readonly string[]): string[] {
  return [...new Set(folders)].filter(
    (folder) => !folders.some((other) => other !== folder && isBelow(folder, other)),
  );
}

function isBelow(path: string, folder: string): boolean {
  return path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}
