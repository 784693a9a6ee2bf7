/** What the verbs of `queue-daemon` share: which daemon is meant, how it is started, how it is told about. */
import { loadConfig, type Config } from '../../src/config.ts';
import { QueueError, escapeControls, quote } from '../../src/errors.ts';
import { listDaemons } from '../../src/daemon/loader.ts';
import { checkDaemonName } from '../../src/daemon/name.ts';
import { pathsOf } from '../../src/daemon/place.ts';
import { startDaemon } from '../../src/daemon/start.ts';
import { isUp, isWell, knownNames, type Judgement } from '../../src/daemon/verify.ts';
import * as library from '../../src/index.ts';
import { nearest } from '../../src/suggest.ts';
import { STOP_MARGIN } from '../../src/worker/crew/crew.ts';
import { path, type CommonOptions } from '../cli.ts';
import { EXIT } from '../exit-codes.ts';
import { note, print, safe, safeJson, styled } from '../output.ts';
import type { Row } from '../queue/watch/row.ts';

export interface Options extends CommonOptions {
  daemons?: string;
  json?: true;
}

/** Declared by the program, for all its verbs. */
export const DAEMONS = ['--daemons <dir>', 'folder of daemon classes', path] as const;

export function configOf({ config, cacheRoot, durability, daemons }: Options): Promise<Config> {
  return loadConfig({ config, flags: { cacheRoot, durability, daemonsDir: daemons } });
}

/** A daemon that somebody has named. */
export interface Named {
  name: string;
  config: Config;
  stateDir: string;
}

/**
 * Resolves when there is such a daemon, or something that one has left.
 * Errors: INVALID_ARGUMENT; UNKNOWN_DAEMON, naming the near one; CONFIG_INVALID.
 */
export async function named(name: string, options: Options): Promise<Named> {
  checkDaemonName(name);
  const config = await configOf(options);
  const { stateDir } = config.daemon;
  const known = knownNames(stateDir);
  if (!known.includes(name)) {
    const { names, error } = await registeredNames(config);
    const all = [...new Set([...known, ...names])].sort();
    if (error) throw error;
    if (!all.includes(name)) {
      const near = nearest(name, all);
      const found = all.length === 0 ? 'there is none' : `there are ${all.join(', ')}`;
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
 * Starts a daemon in the background. True when it is up; else it has said on stderr why not, and set the exit code.
 * Errors: those of `startDaemon`.
 */
export async function start(
  { name, stateDir }: Named,
  options: Options,
  timeout: number,
): Promise<Judgement | undefined> {
  const started = await startDaemon(stateDir, name, { command: commandOf(name, options), timeout });
  if (started.outcome === 'up') return started.after;
  const { printed } = started;
  const how =
    started.outcome === 'late'
      ? `was not up after ${timeout} ms, and was ended`
      : started.exit.signal === null
        ? `ended with exit code ${started.exit.code}`
        : `was ended by ${started.exit.signal}`;
  note(`${styled('red', 'queue-daemon:', process.stderr)} daemon ${name} did not come up: it ${how}`);
  for (const line of printed === '' ? [] : printed.split('\n')) note(`  ${escapeControls(line)}`);
  const code = started.outcome === 'ended' ? started.exit.code : null;
  process.exitCode =
    Object.values<number | null>(EXIT).includes(code) && code !== 0 ? code! : EXIT.unavailable;
  return undefined;
}

/** The same program, with the same options, in the foreground. */
function commandOf(
  name: string,
  { config, cacheRoot, durability, daemons }: Options,
): { file: string; args: string[]; env: NodeJS.ProcessEnv } {
  const flags = {
    '--config': config,
    '--cache-root': cacheRoot,
    '--durability': durability,
    '--daemons': daemons,
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

/** What `--json` prints of a daemon. */
export function toJson(stateDir: string, judgement: Judgement): object {
  const { name, standing, reason, wanted, holder, state } = judgement;
  const up = isUp(judgement);
  const { log, output } = pathsOf(stateDir, name);
  const { version: _, token: __, pid: ___, name: ____, phase, due, memory, ...heard } = state ?? {};
  return {
    name,
    state: standing,
    reason,
    wanted,
    pid: up ? (holder?.who.pid ?? null) : null,
    startedAt: null,
    sessions: 0,
    health: null,
    ...heard,
    phase: up ? (phase ?? null) : null,
    dueAt: up ? (due?.at ?? null) : null,
    memory: up ? (memory ?? null) : null,
    uptime:
      up && state?.startedAt !== undefined ? Math.max(0, Date.now() - Date.parse(state.startedAt)) : null,
    log,
    output,
  };
}

/** `mails: stalled: its iteration does not end`, in the colour of what it says. */
export function headline({ name, standing, reason }: Judgement): Row {
  const style = standing === 'stopped' ? 'dim' : 'red';
  const word = isWell({ standing }) && standing !== 'stopped' ? standing : ([style, standing] as const);
  return [['bold', name], ': ', word, ...(reason === '' ? [] : [`: ${escapeControls(reason)}`])];
}

export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}

/** Prints one object, or a sentence. */
export async function say(json: true | undefined, object: object, sentence: string): Promise<void> {
  await print(json ? safeJson(object) : safe(sentence));
}
