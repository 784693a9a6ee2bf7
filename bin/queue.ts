#!/usr/bin/env node
/** `queue`: work with queues from the command line. One file per verb below ./queue/. */
import { Command } from 'commander';
import { commonOptions, run } from './cli.ts';
import { EXIT_HELP } from './exit-codes.ts';
import { addCommand } from './queue/add.ts';
import { attrCommand } from './queue/attr.ts';
import { cancelCommand } from './queue/cancel.ts';
import { checkCommand } from './queue/check.ts';
import { completionCommand } from './queue/completion.ts';
import { createCommand } from './queue/create.ts';
import { destroyCommand } from './queue/destroy.ts';
import { disableCommand, enableCommand } from './queue/enable.ts';
import { findCommand } from './queue/find.ts';
import { getCommand } from './queue/get.ts';
import { listCommand } from './queue/list.ts';
import { pauseCommand, resumeCommand } from './queue/pause.ts';
import { purgeCommand } from './queue/purge.ts';
import { removeCommand } from './queue/remove.ts';
import { repairCommand } from './queue/repair.ts';
import { retryCommand } from './queue/retry.ts';
import { showCommand } from './queue/show.ts';
import { statusCommand } from './queue/status.ts';
import { updateCommand } from './queue/update.ts';
import { verifyCommand } from './queue/verify.ts';
import { watchCommand } from './queue/watch.ts';
import { waitCommand } from './queue/wait.ts';

const program = commonOptions(new Command('queue'))
  .description('Work with queues that live in a folder.')
  .addHelpText('after', EXIT_HELP);
/** In the order of help: what is told of first is what is needed first. */
const VERBS = {
  'Queues:': [
    createCommand,
    listCommand,
    statusCommand,
    watchCommand,
    pauseCommand,
    resumeCommand,
    purgeCommand,
    destroyCommand,
    attrCommand,
    verifyCommand,
    repairCommand,
    checkCommand,
  ],
  'Messages:': [
    addCommand,
    getCommand,
    findCommand,
    showCommand,
    waitCommand,
    updateCommand,
    enableCommand,
    disableCommand,
    retryCommand,
    cancelCommand,
    removeCommand,
  ],
  'Others:': [completionCommand],
};
for (const [heading, verbs] of Object.entries(VERBS)) {
  program.commandsGroup(heading);
  for (const add of verbs) add(program);
}
// Among the others, not below a heading of its own.
program.helpCommand(true);
await run(program);
