/** `queue-daemon start`, `restart` and `condrestart`. */
import type { Command } from 'commander';
import { stopDaemon } from '../../src/daemon/control.ts';
import { checkFiles } from '../../src/daemon/start.ts';
import { isUp, judge } from '../../src/daemon/verify.ts';
import { QueueError, quote } from '../../src/errors.ts';
import { note } from '../output.ts';
import { lasting } from '../when.ts';
import { named, patience, say, serviceOf, start, toJson, type Named } from './daemons.ts';
import { logLevel, TO_COME_UP, UP, type TimedOptions } from './options.ts';

export function startCommand(program: Command): void {
  program
    .command('start <daemon>')
    .description('start a daemon in the background, and wait until it is up')
    .option(...UP)
    .addOption(logLevel())
    .option('--json', 'print what was started as JSON')
    .addHelpText(
      'after',
      `
It gets a session of its own, so that it outlives the terminal. Its log is <name>.log in [daemon] stateDir, unless [log]
destination is a file; what else it prints, its last words too, goes to <name>.out beside it. When it does not come up,
the end of that is shown. One that runs already is refused (exit code 75).

Examples:
  queue-daemon start queue
  queue-daemon start reports --config /etc/coda.ini --json | jq .pid`,
    )
    .action(async (name: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<TimedOptions>();
      await startAndTell(await named(name, options), options, 'started');
    });
}

export function restartCommand(program: Command): void {
  program
    .command('restart <daemon>')
    .description('stop a daemon, if it runs, and start it')
    .option(...UP)
    .addOption(logLevel())
    .option('--json', 'print what was started as JSON')
    .addHelpText('after', '\nExample:\n  queue-daemon restart queue')
    .action(async (name: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<TimedOptions>();
      await restart(await named(name, options), options);
    });
}

export function condrestartCommand(program: Command): void {
  program
    .command('condrestart <daemon>')
    .description('restart a daemon if it runs; leave it be if it does not')
    .option(...UP)
    .addOption(logLevel())
    .option('--json', 'print what was started as JSON, or how it stands')
    .addHelpText('after', '\nExample, after an update of its code:\n  queue-daemon condrestart queue')
    .action(async (name: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<TimedOptions>();
      const daemon = await named(name, options);
      const judgement = await judge(daemon.stateDir, name);
      if (isUp(judgement)) return restart(daemon, options);
      await say(options.json, toJson(daemon.config, judgement), `${name}: not running, left as it is`);
    });
}

async function restart(daemon: Named, options: TimedOptions): Promise<void> {
  const { name, config, stateDir } = daemon;
  await refuseService(stateDir, name);
  checkFiles(stateDir, name);
  const { forced, before } = await stopDaemon(stateDir, name, { timeout: patience(config), lasting: false });
  if (forced) note(`${name}: had not ended within ${lasting(patience(config))}, and was killed`);
  await startAndTell(daemon, options, isUp(before) ? 'restarted' : 'started');
}

/** Errors: DAEMON_RUNNING: a service runs it, which would know nothing of what is started here. */
async function refuseService(stateDir: string, name: string): Promise<void> {
  const now = await judge(stateDir, name);
  const service = serviceOf(stateDir, now);
  if (!isUp(now) || service === undefined) return;
  throw new QueueError(
    'DAEMON_RUNNING',
    `daemon ${name} is run by the service ${quote(service)}: restart that, as with "systemctl restart"`,
  );
}

async function startAndTell(daemon: Named, options: TimedOptions, verb: string): Promise<void> {
  const after = await start(daemon, options, options.timeout ?? TO_COME_UP);
  if (!after) return;
  const { name, config } = daemon;
  const what = isUp(after)
    ? `${verb}, process ${after.state?.pid}`
    : `${verb}, and has come to its end already${after.reason === '' ? '' : `: ${after.reason}`}`;
  await say(options.json, toJson(config, after), `${name}: ${what}`);
}
