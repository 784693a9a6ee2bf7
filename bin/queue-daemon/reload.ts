import type { Command } from 'commander';
import { reloadDaemon, type Reloaded } from '../../src/daemon/control.ts';
import { EXIT } from '../exit-codes.ts';
import { lasting } from '../when.ts';
import { named, say } from './daemons.ts';
import { RELOAD, type TimedOptions } from './options.ts';

/** Ms. */
const TO_ANSWER = 30_000;

export function reloadCommand(program: Command): void {
  program
    .command('reload <daemon>')
    .description('have a daemon read its configuration again, in the same process')
    .option(...RELOAD)
    .option('--json', 'print what came of it as JSON')
    .addHelpText(
      'after',
      `
It lets its iteration end, and starts anew with the new configuration. When that is wrong it goes on with the old one,
and this says why and exits with 78. When it does not answer in time, which may be because its iteration is long, the
exit code is 75: it has been told.

Example:
  queue-daemon reload queue`,
    )
    .action(async (name: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<TimedOptions>();
      const { stateDir } = await named(name, options);
      const timeout = options.timeout ?? TO_ANSWER;
      const reloaded = await reloadDaemon(stateDir, name, timeout);
      process.exitCode = CODE[reloaded.outcome];
      const { outcome } = reloaded;
      const error = outcome === 'refused' ? reloaded.error : null;
      await say(options.json, { name, outcome, error }, `${name}: ${inWords(reloaded, timeout)}`);
    });
}

const CODE: Readonly<Record<Reloaded['outcome'], number>> = {
  taken: EXIT.ok,
  refused: EXIT.configuration,
  pending: EXIT.tryAgain,
  starting: EXIT.tryAgain,
  ended: EXIT.unavailable,
  'not running': EXIT.unavailable,
};

function inWords(reloaded: Reloaded, timeout: number): string {
  switch (reloaded.outcome) {
    case 'taken':
      return 'has taken the new configuration';
    case 'refused':
      return `goes on with the old configuration: ${reloaded.error.message}`;
    case 'pending':
      return `has been told, and has not answered within ${lasting(timeout)}`;
    case 'starting':
      return `has not come up within ${lasting(timeout)}, and was not told`;
    case 'ended':
      return `has ended instead: ${reloaded.after.standing}${reloaded.after.reason === '' ? '' : `, ${reloaded.after.reason}`}`;
    case 'not running':
      return 'is not running';
  }
}
