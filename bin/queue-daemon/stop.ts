import type { Command } from 'commander';
import { stopDaemon, type Stopped } from '../../src/daemon/control.ts';
import { isUp } from '../../src/daemon/verify.ts';
import type { QueueError } from '../../src/errors.ts';
import { tell } from '../cli.ts';
import { counted, note } from '../output.ts';
import { lasting } from '../when.ts';
import { namedAnyhow, patience, say } from './daemons.ts';
import { STOP, type TimedOptions } from './options.ts';

export function stopCommand(program: Command): void {
  program
    .command('stop <daemon>')
    .description('stop a daemon and wait until it has ended')
    .option(...STOP)
    .option('--json', 'print what was done as JSON')
    .addHelpText(
      'after',
      `
Its iteration may end; what then still runs is killed, with all its process group. It stays stopped until it is
started: "verify --revive" leaves it be. Stopping one that does not run is no failure.

Examples:
  queue-daemon stop queue
  queue-daemon stop queue --timeout 5m`,
    )
    .action(async (name: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<TimedOptions>();
      const { config, stateDir } = await namedAnyhow(name, options);
      const timeout = options.timeout ?? patience(config);
      const stopped = await stopDaemon(stateDir, name, { timeout, lasting: true });
      const { before, forced, orphans, unwritten } = stopped;
      if (unwritten) tellUnwritten(name, unwritten);
      const changed = isUp(before);
      const object = { name, stopped: changed, before: before.standing, forced, orphans };
      await say(options.json, object, `${name}: ${inWords(stopped, timeout)}`);
    });
}

/** It has ended, and that is what was asked for. */
function tellUnwritten(name: string, error: QueueError): void {
  tell('queue-daemon', error);
  note(`  ${name} has ended all the same; "verify --revive" may start it again once that can be written`);
}

function inWords({ before, forced, orphans }: Stopped, timeout: number): string {
  const left = orphans > 0 ? `; ended what it had left behind: ${counted(orphans, 'process')}` : '';
  if (before.standing === 'dead') return `had died already; its place is cleared up${left}`;
  if (!isUp(before)) return 'was not running';
  return (forced ? `had not ended within ${lasting(timeout)}, and was killed` : 'stopped') + left;
}
