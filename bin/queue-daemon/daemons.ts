/** What the verbs of `queue-daemon` share: which daemon is meant, how it is started, how it is told about. */
import { statSync } from 'node:fs';
import type { LogThreshold } from '../../src/config-keys.ts';
import { loadConfig, type Config } from '../../src/config.ts';
import { QueueError, escapeControls, quote } from '../../src/errors.ts';
import { listDaemons } from '../../src/daemon/loader.ts';
import { checkDaemonName } from '../../src/daemon/name.ts';
import { pathsOf } from '../../src/daemon/place.ts';
import { isInstalled } from '../../src/daemon/service/host.ts';
import { startDaemon, type Started } from '../../src/daemon/start.ts';
import { isUp, isWell, knownNames, type Judgement } from '../../src/daemon/verify.ts';
import * as library from '../../src/index.ts';
import { nearest } from '../../src/suggest.ts';
import { STOP_MARGIN } from '../../src/worker/crew/crew.ts';
import { path, tell, type CommonOptions } from '../cli.ts';
import { EXIT } from '../exit-codes.ts';
import { note, print, safe, safeJson, styled } from '../output.ts';
import type { Row } from '../queue/watch/row.ts';
import { lasting } from '../when.ts';

export interface Options extends CommonOptions {
  daemons?: string;
  json?: true;
  /** Of a daemon that is started. */
  logLevel?: LogThreshold;
}

/** Declared by the program, for all its verbs. */
export const DAEMONS = ['--daemons <dir>', 'folder of daemon classes', path] as const;

/** Errors: CONFIG_INVALID. */
export function configOf(
  { config, cacheRoot, durability, daemons }: Options,
  onWrong?: (error: QueueError) => void,
): Promise<Config> {
  const flags = { cacheRoot, durability, daemonsDir: daemons };
  return loadConfig({ config, flags, ...(onWrong && { onWrong }) });
}

/**
 * What is sound of the configuration, with the first thing that is not: a daemon can be looked at and stopped all the
 * same, for it runs with the configuration that it had.
 */
export async function soundPartOf(
  options: Options,
): Promise<{ config: Config; wrong: QueueError | undefined }> {
  const errors: QueueError[] = [];
  const config = await configOf(options, (error) => errors.push(error));
  return { config, wrong: errors[0] };
}

/** Says on stderr what is wrong, and what holds all the same. */
export function warn(wrong: QueueError, { daemon: { stateDir } }: Config): void {
  tell('queue-daemon', wrong);
  note(`  carrying on with what is right in it, and with the state of daemons in ${quote(stateDir, 300)}`);
}

/** A daemon that somebody has named. */
export interface Named {
  name: string;
  config: Config;
  stateDir: string;
}

/**
 * As `named`. A configuration that is wrong is only told where a daemon of that name has left something in the state folder,
 * which shows that this is the right one.
 */
export async function namedAnyhow(name: string, options: Options): Promise<Named> {
  checkDaemonName(name);
  const { config, wrong } = await soundPartOf(options);
  const { stateDir } = config.daemon;
  if (!wrong) return find(name, config);
  if (!knownNames(stateDir).includes(name)) throw wrong;
  warn(wrong, config);
  return { name, config, stateDir };
}

/**
 * Resolves when there is such a daemon, or something that one has left.
 * Errors: INVALID_ARGUMENT; UNKNOWN_DAEMON, naming the near one; CONFIG_INVALID.
 */
export async function named(name: string, options: Options): Promise<Named> {
  checkDaemonName(name);
  return find(name, await configOf(options));
}

/** Errors: UNKNOWN_DAEMON. */
async function find(name: string, config: Config): Promise<Named> {
  const { stateDir } = config.daemon;
  const known = knownNames(stateDir);
  if (!known.includes(name)) {
    const { names, error } = await registeredNames(config);
    const all = [...new Set([...known, ...names])].sort();
    if (error) throw error;
    if (!all.includes(name)) {
      const near = nearest(name, all);
      const found = all.length === 0 ? 'there is none at all.' : `known: ${all.join(', ')}.`;
      throw new QueueError(
        'UNKNOWN_DAEMON',
        `no daemon named ${quote(name)}; ${near === undefined ? found : `did you mean ${near}?`} ` +
          `Looked in ${quote(config.daemon.daemonsDir, 300)}`,
        { path: config.daemon.daemonsDir },
      );
    }
  }
  return { name, config, stateDir };
}

/** All names, with the error that hides some: what is registered in code can only be told by running that code. */
export async function allNames(config: Config): Promise<{ names: string[]; error: QueueError | undefined }> {
  const { names, error } = await registeredNames(config);
  return { names: [...new Set([...knownNames(config.daemon.stateDir), ...names])].sort(), error };
}

async function registeredNames(config: Config): Promise<{ names: string[]; error: QueueError | undefined }> {
  try {
    const daemons = await listDaemons({ daemonsDir: config.daemon.daemonsDir, library });
    return { names: daemons.map(({ name }) => name), error: undefined };
  } catch (error) {
    if (!(error instanceof QueueError)) throw error;
    return { names: [], error };
  }
}

/** How long a daemon may take to end by itself, in ms, where nobody says otherwise. */
export function patience({ worker }: Config): number {
  return worker.stopDeadline + STOP_MARGIN;
}

/**
 * Starts a daemon in the background. Undefined when it is not up, or has died already: then it has said on stderr why, and set
 * the exit code.
 * Errors: those of `startDaemon`.
 */
export async function start(
  { name, stateDir }: Named,
  options: Options,
  timeout: number,
): Promise<Judgement | undefined> {
  noteAccount(name, stateDir);
  const started = await startDaemon(stateDir, name, { command: commandOf(name, options), timeout });
  if (started.outcome === 'up' && !isFallen(started.after)) return started.after;
  const { printed } = started;
  const fate = inWords(started, timeout);
  note(`${styled('red', 'queue-daemon:', process.stderr)} daemon ${name} ${fate}`);
  for (const line of printed === '' ? [] : printed.split('\n')) note(`  ${escapeControls(line)}`);
  const code = started.outcome === 'ended' ? started.exit.code : null;
  process.exitCode =
    Object.values<number | null>(EXIT).includes(code) && code !== 0 ? code! : EXIT.unavailable;
  return undefined;
}

/** Says so when root starts what ran under another account: by mistake, most often, and its files would be root's from then on. */
function noteAccount(name: string, stateDir: string): void {
  const owner = statSync(pathsOf(stateDir, name).state, { throwIfNoEntry: false })?.uid ?? 0;
  if (process.geteuid?.() !== 0 || owner === 0) return;
  note(`daemon ${name} ran as user ${owner} before, and is started as root now; else: sudo -u '#${owner}' …`);
}

function isFallen({ standing }: Judgement): boolean {
  return standing === 'dead' || standing === 'failed';
}

function inWords(started: Started, timeout: number): string {
  switch (started.outcome) {
    case 'up':
      return `came up, and is ${started.after.standing} already: ${escapeControls(started.after.reason)}`;
    case 'late':
      return `did not come up: it was not up after ${lasting(timeout)}, and was ended`;
    case 'ended': {
      const { code, signal } = started.exit;
      const how = signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`;
      return `did not come up: it ${how}`;
    }
  }
}

/** The same program, with the same options, in the foreground. */
function commandOf(
  name: string,
  { config, cacheRoot, durability, daemons, logLevel }: Options,
): { file: string; args: string[]; env: NodeJS.ProcessEnv } {
  const flags = {
    '--config': config,
    '--cache-root': cacheRoot,
    '--durability': durability,
    '--daemons': daemons,
    '--log-level': logLevel,
  };
  const given = Object.entries(flags).flatMap(([flag, value]) =>
    value === undefined ? [] : [`${flag}=${value}`],
  );
  const script = process.argv[1] ?? '';
  return {
    file: process.execPath,
    args: [...process.execArgv, script, 'run', '--background', ...given, '--', name],
    env: process.env,
  };
}

/** The file that a daemon logs to; undefined of one in the foreground whose log is a stream, which is whoever's that runs it. */
export function logFileOf({ log, daemon }: Config, { name, state }: Judgement): string | undefined {
  const { destination } = log;
  if (destination !== 'stdout' && destination !== 'stderr') return destination;
  return state?.background === false ? undefined : pathsOf(daemon.stateDir, name).log;
}

/** What `--json` prints of a daemon. */
export function toJson(config: Config, judgement: Judgement): object {
  const { name, standing, reason, wanted, holder, state } = judgement;
  const up = isUp(judgement);
  const { output } = pathsOf(config.daemon.stateDir, name);
  const {
    version: _,
    token: __,
    pid: ___,
    name: ____,
    process: _____,
    printedFrom: ______,
    phase,
    due,
    memory,
    ...heard
  } = state ?? {};
  return {
    name,
    state: standing,
    reason,
    wanted,
    pid: up ? (holder?.who.pid ?? null) : null,
    startedAt: null,
    sessions: 0,
    health: null,
    troubles: [],
    ...heard,
    phase: up ? (phase ?? null) : null,
    dueAt: up ? (due?.at ?? null) : null,
    memory: up ? (memory ?? null) : null,
    uptime:
      up && state?.startedAt !== undefined ? Math.max(0, Date.now() - Date.parse(state.startedAt)) : null,
    log: logFileOf(config, judgement) ?? null,
    output,
  };
}

/** `mails: stalled: its iteration does not end`, in the colour of what it says. */
export function headline({ name, standing, reason }: Judgement): Row {
  const style = standing === 'stopped' ? 'dim' : 'red';
  const word = isWell({ standing }) && standing !== 'stopped' ? standing : ([style, standing] as const);
  return [['bold', name], ': ', word, ...(reason === '' ? [] : [`: ${escapeControls(reason)}`])];
}

/** The service that is to start a daemon again; undefined when there is none, or none any more. */
export function serviceOf(stateDir: string, { name, state }: Judgement): string | undefined {
  const service = state?.service ?? undefined;
  if (service === undefined) return undefined;
  const owner = statSync(pathsOf(stateDir, name).state, { throwIfNoEntry: false })?.uid;
  return isInstalled(service, owner) ? service : undefined;
}

export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}

/** Prints one object, or a sentence. */
export async function say(json: true | undefined, object: object, sentence: string): Promise<void> {
  await print(json ? safeJson(object) : safe(sentence));
}
