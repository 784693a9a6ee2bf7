#!/usr/bin/env node
/** `queue`: work with queues from the command line. One file per verb below ./queue/. */
import { Command } from 'commander';
import { commonOptions, run } from './cli.ts';
import { EXIT_HELP } from './exit-codes.ts';
import { addCommand } from './queue/add.ts';
import { createCommand } from './queue/create.ts';
import { getCommand } from './queue/get.ts';
import { listCommand } from './queue/list.ts';
import { statusCommand } from './queue/status.ts';
import { verifyCommand } from './queue/verify.ts';

const program = commonOptions(new Command('queue'))
  .description('Work with queues that live in a folder.')
  .addHelpText('after', EXIT_HELP);
for (const add of [createCommand, addCommand, statusCommand, listCommand, getCommand, verifyCommand])
  add(program);
await run(program);
