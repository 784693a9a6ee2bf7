#!/usr/bin/env node
/** `queue-daemon`: run daemons, in the foreground or the background, and look after them. One file per verb below ./queue-daemon/. */
import { Command } from 'commander';
import { commonOptions, run } from './cli.ts';
import { EXIT_HELP } from './exit-codes.ts';
import { flush } from './output.ts';
import { ctlCommand } from './queue-daemon/ctl.ts';
import { DAEMONS } from './queue-daemon/daemons.ts';
import { installCommand, uninstallCommand } from './queue-daemon/install.ts';
import { listCommand } from './queue-daemon/list.ts';
import { logsCommand } from './queue-daemon/logs.ts';
import { reloadCommand } from './queue-daemon/reload.ts';
import { runCommand } from './queue-daemon/run.ts';
import { condrestartCommand, restartCommand, startCommand } from './queue-daemon/start.ts';
import { statusCommand } from './queue-daemon/status.ts';
import { stopCommand } from './queue-daemon/stop.ts';
import { superviseCommand } from './queue-daemon/supervise.ts';
import { verifyCommand } from './queue-daemon/verify.ts';

const program = commonOptions(new Command('queue-daemon'))
  .option(...DAEMONS)
  .description('Run daemons, and look after them.')
  .addHelpText('after', EXIT_HELP);
/** In the order of help. */
const VERBS = {
  'Running:': [
    runCommand,
    superviseCommand,
    startCommand,
    stopCommand,
    restartCommand,
    condrestartCommand,
    reloadCommand,
  ],
  'Looking:': [statusCommand, listCommand, logsCommand, verifyCommand],
  'The supervisor:': [ctlCommand],
  'Services:': [installCommand, uninstallCommand],
};
for (const [heading, verbs] of Object.entries(VERBS)) {
  program.commandsGroup(heading);
  for (const add of verbs) add(program);
}
program.helpCommand(true);
await run(program);
await flush();
// What a daemon has left open, or the code beside it that was loaded to find it, would keep the process alive.
process.exit();
