/** `queue enable` and `queue disable`: the flag beside a message's state. */
import type { Command } from 'commander';
import { QueueError } from '../../src/errors.ts';
import type { QueueManager } from '../../src/queue-manager.ts';
import { withManager, type CommonOptions } from '../cli.ts';
import { counted, print, progress, safeJson } from '../output.ts';
import { onTargets, TARGETS_HELP, type Deed } from './targets.ts';

interface Options extends CommonOptions {
  all?: true;
  json?: true;
}

type Verb = 'enable' | 'disable';

/** Changed at once, so that they reach the disk together. */
const GROUP = 64;

export function enableCommand(program: Command): void {
  switchCommand(program, 'enable', 'let disabled messages run again, each at its place in line');
}

export function disableCommand(program: Command): void {
  switchCommand(
    program,
    'disable',
    'keep messages, but pass them over until they are enabled; a try that is under way goes on',
  );
}

function switchCommand(program: Command, verb: Verb, description: string): void {
  const done = `${verb}d`;
  program
    .command(`${verb} <queue> [targets...]`)
    .description(description)
    .option('--all', verb === 'enable' ? 'all disabled messages' : 'all that are there now')
    .option('--json', `print { uuid, alias, ${done} } as JSON, one line each; { queue, ${done} } for --all`)
    .addHelpText(
      'after',
      `${TARGETS_HELP}\n\nExamples:\n  queue ${verb} invoices invoice-17 invoice-18\n  queue ${verb} invoices --all`,
    )
    .action(async (queue: string, targets: string[], _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      if (targets.length > 0 === (options.all === true)) {
        command.error('error: expected either targets or --all');
      }
      await withManager(options, async (manager) => {
        if (options.all) await toAll(manager, queue, verb, options.json === true);
        else await toTargets(manager, queue, targets, verb, options.json === true);
      });
    });
}

async function toTargets(
  manager: QueueManager,
  queue: string,
  targets: readonly string[],
  verb: Verb,
  json: boolean,
): Promise<void> {
  const disabled = verb === 'disable';
  const deed: Deed = {
    done: `${verb}d`,
    already: () => `was ${verb}d already`,
    act: async (message) => {
      if (message.disabled === disabled) return false;
      await manager.updateMessage(queue, message.uuid, { disabled });
      return true;
    },
  };
  await onTargets(manager, queue, targets, deed, json);
}

async function toAll(manager: QueueManager, queue: string, verb: Verb, json: boolean): Promise<void> {
  const count = await switchAll(manager, queue, verb === 'disable');
  const text = count === 0 ? `nothing to ${verb} in ${queue}` : `${verb}d ${counted(count, 'message')}`;
  await print(json ? safeJson({ queue, [`${verb}d`]: count }) : text);
}

/** Resolves with the number of messages changed; those that end meanwhile are passed over. */
async function switchAll(manager: QueueManager, queue: string, disabled: boolean): Promise<number> {
  let count = 0;
  let group: Promise<boolean>[] = [];
  const finish = async (): Promise<void> => {
    const settled = await Promise.allSettled(group);
    group = [];
    for (const one of settled) if (one.status === 'rejected') throw one.reason;
    count += settled.filter((one) => one.status === 'fulfilled' && one.value).length;
    progress(`${disabled ? 'disabled' : 'enabled'} ${counted(count, 'message')}`);
  };
  try {
    for await (const { uuid } of manager.findMessages(queue, { disabled: !disabled })) {
      group.push(change(manager, queue, uuid, disabled));
      if (group.length === GROUP) await finish();
    }
    await finish();
  } finally {
    progress('');
  }
  return count;
}

/** False: it has ended meanwhile. */
async function change(
  manager: QueueManager,
  queue: string,
  uuid: string,
  disabled: boolean,
): Promise<boolean> {
  try {
    await manager.updateMessage(queue, uuid, { disabled });
    return true;
  } catch (error) {
    if (error instanceof QueueError && error.code === 'MESSAGE_NOT_FOUND') return false;
    throw error;
  }
}
