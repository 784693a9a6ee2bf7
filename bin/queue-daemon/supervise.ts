/** `queue-daemon supervise`: the daemon that ships as "supervisor", in the foreground, by a name that one finds. */
import type { Command } from 'commander';
import { logLevel } from './options.ts';
import { runDaemonHere, type RunOptions } from './run.ts';

const HELP = `
The supervisor runs what the sections [process:NAME] of the configuration name, each in children of its own: workers,
daemons, programs, and classes that extend ManagedProcess. It starts again what fails, scales workers by what waits, and
answers over its control API (queue-daemon ctl). With nothing configured it waits for what is added there.

It is a daemon named "supervisor", and this is "queue-daemon run supervisor": start, stop, reload, status, logs, verify and
install take that name. SIGHUP has it read its configuration again: only what has changed is started, stopped or started
anew, one child after the other. docs/supervisor.md describes all of it.

Examples:
  queue-daemon supervise
  queue-daemon start supervisor
  queue-daemon install supervisor --dry-run`;

export function superviseCommand(program: Command): void {
  program
    .command('supervise')
    .description('run the supervisor here, in the foreground, until it is told to stop')
    .addOption(logLevel())
    .addHelpText('after', HELP)
    .action(async (_: unknown, command: Command) => {
      await runDaemonHere('supervisor', command.optsWithGlobals<RunOptions>());
    });
}
