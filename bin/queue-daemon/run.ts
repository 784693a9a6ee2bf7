/** `queue-daemon run`: a daemon in the foreground. What `start` starts in the background runs this too. */
import { statSync } from 'node:fs';
import { inspect } from 'node:util';
import { Option, type Command } from 'commander';
import type { LogThreshold } from '../../src/config-keys.ts';
import { loadConfig, type Config } from '../../src/config.ts';
import type { Daemon } from '../../src/daemon/daemon.ts';
import { signalsOf } from '../../src/daemon/declared.ts';
import { tellEventLog } from '../../src/daemon/event-log.ts';
import { keepState, type StateKeeper } from '../../src/daemon/keeper.ts';
import { findDaemon, type FoundDaemon } from '../../src/daemon/loader.ts';
import { notifying, takeNotifyTarget } from '../../src/daemon/notify.ts';
import { Orders } from '../../src/daemon/orders.ts';
import { HOLDER, pathsOf, takePlace, type Place } from '../../src/daemon/place.ts';
import { runDaemon, type RunReport } from '../../src/daemon/runner.ts';
import { trimOutput } from '../../src/daemon/start.ts';
import { unless } from '../../src/daemon/unless.ts';
import { QueueError, escapeControls, quote } from '../../src/errors.ts';
import * as library from '../../src/index.ts';
import type { TryError } from '../../src/message.ts';
import { toTryError } from '../../src/try-error.ts';
import { Redaction } from '../../src/log/redaction.ts';
import type { LogFields, LogSink } from '../../src/worker/log.ts';
import type { CommonOptions } from '../cli.ts';
import { EXIT, exitCodeOf } from '../exit-codes.ts';
import { counted, note, safe } from '../output.ts';
import { logLevel } from './options.ts';
import { heedSignals, type Heeded } from './signals.ts';

export type RunOptions = CommonOptions & {
  daemons?: string;
  background?: true;
  service?: string;
  logLevel?: LogThreshold;
};

/** How often the daemon looks whether its place is still its own, in ms. */
const GUARD_EVERY = 5000;

const HELP = `
A daemon is a file <name>Daemon.ts, .js or .mjs in the folder of daemons; it default-exports a class that extends Daemon.
"queue", which ships, drains the queues that [daemon] queues names; "supervisor" runs what the sections [process:NAME] name.

SIGTERM and SIGINT stop it: its iteration may end up to [worker] stopDeadline, then it is told to give up; exit code 0. A
second one does that at once and exits 1; a third one exits 1 without waiting for anything. SIGHUP has it stop, read
its configuration again, and start anew in the same process; a configuration that is wrong is refused, and the old one
stays. SIGUSR1, SIGUSR2 and those that it declares are its own affair.

Examples:
  queue-daemon run queue
  queue-daemon run reports --daemons ./daemons --config /etc/coda.ini`;

export function runCommand(program: Command): void {
  program
    .command('run <daemon>')
    .description('run a daemon here, in the foreground, until it is told to stop')
    .addOption(logLevel())
    .addOption(new Option('--background', 'it was started by "start"').hideHelp())
    .addOption(new Option('--service <name>', 'this service of the system runs it').hideHelp())
    .addHelpText('after', HELP)
    .action(async (name: string, _: unknown, command: Command) => {
      await runDaemonHere(name, command.optsWithGlobals<RunOptions>());
    });
}

/** Resolves when the daemon has ended, and has left its place. Errors: those of finding, loading and running it. */
export async function runDaemonHere(name: string, options: RunOptions): Promise<void> {
  const target = takeNotifyTarget(process.env);
  const orders = new Orders();
  let sink: LogSink = () => undefined;
  const heeded = heedSignals(orders, (...line) => sink(...line));
  const reread = configReader(name, options);
  const config = await reread();
  // Before its own code is loaded, which may print.
  const printedFrom = sizeOf(pathsOf(config.daemon.stateDir, name).output);
  // Not before: help and completion need no log.
  const { DaemonLog } = await import('./log.ts');
  const log = new DaemonLog(config);
  sink = (level, text, fields) => log.sink(level, text, { daemon: name, ...fields });
  // Before anything is left behind that bears the name.
  const found = await findDaemon(name, { daemonsDir: config.daemon.daemonsDir, library });
  const place = await takePlace(config.daemon.stateDir, name);
  process.title = `coda: ${name}`;
  const limit = config.daemon.stallAfter;
  // Whatever process the daemon starts can be told to be its own, even when it has died.
  process.env[HOLDER] = place.holder.token;
  let redaction = new Redaction(config);
  const state = keepState(place, {
    limit,
    background: options.background === true,
    service: options.service,
    printedFrom,
    clean: (text) => redaction.clean(text),
    onTrouble: (error) => sink('WARN', error.message, {}),
  });
  const keeper = target
    ? notifying(state, { target, limit, onTrouble: (why) => sink('WARN', why, {}) })
    : state;
  const abnormal = onAbnormalEnd(config.daemon, heeded, state, (why, fields) => {
    sink('FATAL', why, fields);
    tellEventLog(name, why);
  });
  const guard = guardPlace(place, (error) => {
    if (error.code !== 'DAEMON_RUNNING') return sink('WARN', error.message, {});
    state.disown();
    sink('FATAL', `has lost its place, for its files were removed: ${error.message}`, {});
    process.exitCode = exitCodeOf(error);
    if (!heeded.signal.aborted) heeded.stop('the place is lost');
  });
  try {
    const daemon = await loaded(found, heeded.signal);
    if (!daemon) {
      sink('INFO', 'stopped before its file was loaded', {});
      keeper.ended('told');
      return;
    }
    heeded.pass(signalsOf(daemon));
    heedPlace(place, heeded);
    sink('INFO', 'starting', { pid: process.pid, file: found.path });
    const report = await runDaemon({
      daemon,
      name,
      config,
      sink: log.sink,
      signal: heeded.signal,
      force: heeded.force,
      orders,
      reread: async () => {
        log.reopen();
        const next = await reread();
        refuseMove(config, next);
        log.check(next);
        return next;
      },
      onConfig: (next) => {
        redaction = new Redaction(next);
        log.use(next);
      },
      keeper,
    });
    sink('INFO', inWords(report), {});
    keeper.ended(report.ended === 'stopped' ? 'told' : 'itself');
    if (heeded.force.aborted) process.exitCode = EXIT.failure;
  } catch (error) {
    keeper.ended({ error });
    // On a terminal it is told below.
    if (isFile(config)) sink('FATAL', toTryError(error, 1, Date.now()).message, {});
    throw error;
  } finally {
    clearInterval(guard);
    abnormal.expect();
    await place.release();
  }
}

/** Reads the configuration, each time from the same file and under the same options. */
function configReader(
  name: string,
  { config: file, cacheRoot, durability, daemons: daemonsDir, background, logLevel: level }: RunOptions,
): () => Promise<Config> {
  // The daemon may go elsewhere.
  const cwd = process.cwd();
  return async () => {
    const config = await loadConfig({
      config: file,
      cwd,
      flags: { cacheRoot, durability, daemonsDir, level },
    });
    if (!background || isFile(config)) return config;
    // What it prints goes to a file that nobody rotates.
    const destination = pathsOf(config.daemon.stateDir, name).log;
    return Object.freeze({ ...config, log: Object.freeze({ ...config.log, destination }) });
  };
}

/** The daemon of that file; undefined when the signal fires before it is loaded. */
async function loaded(file: FoundDaemon, signal: AbortSignal): Promise<Daemon | undefined> {
  // A file that waits for what is no handle would let the process end without a word.
  const alive = setInterval(() => undefined, 60_000);
  try {
    return await unless(signal, file.load());
  } finally {
    clearInterval(alive);
  }
}

/** The daemon would have its place in one folder, and be looked for in another. */
function refuseMove(before: Config, { daemon: { stateDir }, file }: Config): void {
  if (stateDir === before.daemon.stateDir) return;
  throw new QueueError(
    'CONFIG_INVALID',
    `[daemon] stateDir: expected ${quote(before.daemon.stateDir, 300)}, for a daemon that runs does not move, ` +
      `received ${quote(stateDir, 300)}`,
    file === undefined ? {} : { path: file },
  );
}

/** Looks after the place, and what is printed there, now and then; no more once the timer is cleared. `tell` must not throw. */
function guardPlace(place: Place, tell: (error: NodeJS.ErrnoException) => void): NodeJS.Timeout {
  let said = '';
  const keep = async (): Promise<void> => {
    await place.keep();
    // In the foreground too: launchd has it print there.
    trimOutput(place.paths.output);
  };
  return setInterval(() => {
    keep().then(
      () => (said = ''),
      (error: NodeJS.ErrnoException) => {
        if (error.code !== said) tell(error);
        said = error.code ?? '';
      },
    );
  }, GUARD_EVERY).unref();
}

/** Orders that come through the daemon's place, where there are no signals. */
function heedPlace(place: Place, heeded: Heeded): void {
  place.onOrder((order) => heeded[order]('told'));
}

/** Has the log and the state tell of an end that nobody asked for: an error that nobody caught, or `process.exit()`. */
function onAbnormalEnd(
  { exitMode, exitCode }: Config['daemon'],
  { force }: Heeded,
  state: StateKeeper,
  tell: (why: string, fields: LogFields) => void,
): { expect: () => void } {
  let thrown: TryError | undefined;
  const uncaught = (error: unknown): void => {
    thrown = toTryError(error, 1, Date.now());
  };
  // As Node would, but with nothing in it that a terminal obeys. Where the daemon has a handler of its own, that decides.
  const told = (error: unknown): void => {
    if (process.listenerCount('uncaughtException') > 1) return;
    note(safe(`Uncaught ${inspect(error, { colors: false })}`));
    process.exit(EXIT.failure);
  };
  const ended = (code: number): void => {
    // The third word to stop, which waits for nothing.
    if (!thrown && force.aborted) return state.ended('told');
    const why = thrown
      ? `ended with an error that nothing caught: ${thrown.message}`
      : `ended its process with process.exit(${code})`;
    tell(why, thrown?.stack === undefined ? {} : { stack: thrown.stack });
    state.crashed({ error: new QueueError('DAEMON_FAILED', escapeControls(why)) });
    // Whoever looks after this process must not take that for an end that was wanted, unless the configuration says so.
    if (exitMode === 'success') process.exitCode = 0;
    else if (thrown !== undefined || code === 0) process.exitCode = exitCode;
  };
  process.on('uncaughtExceptionMonitor', uncaught);
  process.on('uncaughtException', told);
  process.on('exit', ended);
  return {
    expect: () => {
      process.off('uncaughtExceptionMonitor', uncaught);
      process.off('uncaughtException', told);
      process.off('exit', ended);
    },
  };
}

function inWords({ ended, sessions, failed, abandoned }: RunReport): string {
  const why = { stopped: 'stopped', itself: 'has ended by itself', limit: 'has come to its last iteration' }[
    ended
  ];
  const what = `${counted(sessions, 'iteration')}${failed > 0 ? `, ${failed} of them failed` : ''}`;
  return `${why} after ${what}${abandoned ? '; something had not ended in time' : ''}`;
}

/** 0 where there is none, or none that can be looked at. */
function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}

function isFile({ log: { destination } }: Config): boolean {
  return destination !== 'stdout' && destination !== 'stderr';
}
