import type { Command } from 'commander';
import type { QueueManager } from '../../src/queue-manager.ts';
import { withManager, type CommonOptions } from '../cli.ts';
import { confirm, messagesIn, requireTerminal, YES } from '../confirm.ts';
import { EXIT } from '../exit-codes.ts';
import { note } from '../output.ts';
import { actOn, findTargets, GROUP, TARGETS_HELP, tellDeed, type Deed, type Subject } from './targets.ts';

interface Options extends CommonOptions {
  failed?: true;
  yes?: true;
  json?: true;
}

export function removeCommand(program: Command): void {
  program
    .command('remove <queue> [targets...]')
    .description('remove messages, whatever their state; a worker that has one in hand is told to end')
    .option('--failed', 'remove all failed messages')
    .option(...YES)
    .option('--json', 'print { uuid, alias, removed } as JSON, one line each')
    .addHelpText(
      'after',
      `${TARGETS_HELP}\n\nExamples:\n  queue remove invoices invoice-17 --yes\n  queue remove invoices --failed`,
    )
    .action(async (queue: string, targets: string[], _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      if (targets.length > 0 === (options.failed === true)) {
        command.error('error: expected either targets or --failed');
      }
      if (!options.yes) requireTerminal();
      await withManager(options, (manager) =>
        options.failed
          ? removeFailed(manager, queue, options)
          : removeTargets(manager, queue, targets, options),
      );
    });
}

async function removeTargets(
  manager: QueueManager,
  queue: string,
  targets: readonly string[],
  { yes, json }: Options,
): Promise<void> {
  const messages = await findTargets(manager, queue, targets);
  if (messages.length === 0 || !(await mayRemove(queue, messages, yes))) return;
  await actOn(messages, deedOf(manager, queue), json === true);
}

/** All that have failed; of those that were counted before somebody was asked, all that still have. */
async function removeFailed(manager: QueueManager, queue: string, { yes, json }: Options): Promise<void> {
  const counted = new Map<string, Subject>();
  if (!yes) {
    for await (const message of failedOnes(manager, queue)) counted.set(message.uuid, message);
    if (counted.size > 0 && !(await mayRemove(queue, [...counted.values()], yes))) return;
  }
  const deed = deedOf(manager, queue);
  let found = false;
  let group: Subject[] = [];
  for await (const message of failedOnes(manager, queue)) {
    if (!yes && !counted.delete(message.uuid)) continue;
    found = true;
    // Removed soon after it was seen to have failed: one that is retried by then is not meant.
    group.push(message);
    if (group.length < GROUP) continue;
    await actOn(group, deed, json === true);
    group = [];
  }
  await actOn(group, deed, json === true);
  const meanwhile = { done: deed.done, already: () => 'has been retried or has gone meanwhile' };
  for (const message of counted.values()) await tellDeed(message, meanwhile, false, json === true);
  if (!found && counted.size === 0) note(`nothing has failed in ${queue}`);
}

/** False: the person said no, and the exit code is set. */
async function mayRemove(
  queue: string,
  messages: readonly Subject[],
  yes: true | undefined,
): Promise<boolean> {
  const may = await confirm(yes, async () => `Remove ${messagesIn(statesOf(messages))} from ${queue}?`);
  if (!may) process.exitCode = EXIT.failure;
  return may;
}

function deedOf(manager: QueueManager, queue: string): Deed {
  return {
    done: 'removed',
    already: () => 'had gone already',
    act: ({ uuid }) => manager.removeMessage(queue, uuid),
  };
}

/** Without their data, of which there may be much. */
async function* failedOnes(manager: QueueManager, queue: string): AsyncGenerator<Subject> {
  for await (const { uuid, alias, state, disabled } of manager.findMessages(queue, { state: 'failed' })) {
    yield { uuid, alias, state, disabled };
  }
}

function statesOf(messages: readonly Subject[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { state } of messages) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}
