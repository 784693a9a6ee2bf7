import type { Command } from 'commander';
import type { QueueManager } from '../../src/queue-manager.ts';
import { withManager, type CommonOptions } from '../cli.ts';
import { counted, print, safeJson } from '../output.ts';
import { findTargets, TARGETS_HELP, tellDeed, type Subject } from './targets.ts';

interface Options extends CommonOptions {
  all?: true;
  json?: true;
}

export function retryCommand(program: Command): void {
  program
    .command('retry <queue> [targets...]')
    .description('put failed messages back in line, each at its place, with its tries counted anew')
    .option('--all', 'all failed messages')
    .option('--json', 'print { uuid, alias, retried } as JSON, one line each; { queue, retried } for --all')
    .addHelpText(
      'after',
      `${TARGETS_HELP} One that has not failed stays as it is.\n\nExamples:\n  queue retry invoices invoice-17\n  queue retry invoices --all`,
    )
    .action(async (queue: string, targets: string[], _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      if (targets.length > 0 === (options.all === true)) {
        command.error('error: expected either targets or --all');
      }
      await withManager(options, (manager) =>
        options.all ? retryAll(manager, queue, options) : retry(manager, queue, targets, options),
      );
    });
}

async function retryAll(manager: QueueManager, queue: string, { json }: Options): Promise<void> {
  const retried = await manager.retryMessages(queue, 'all');
  const text = retried === 0 ? `nothing has failed in ${queue}` : `retried ${counted(retried, 'message')}`;
  await print(json ? safeJson({ queue, retried }) : text);
}

async function retry(
  manager: QueueManager,
  queue: string,
  targets: readonly string[],
  { json }: Options,
): Promise<void> {
  const messages = await findTargets(manager, queue, targets);
  const failed = messages.filter(({ state }) => state === 'failed');
  // In one call, because each looks at every failed message. One that somebody else has retried since is back as well.
  if (failed.length > 0)
    await manager.retryMessages(
      queue,
      failed.map(({ uuid }) => uuid),
    );
  const already = ({ state }: Subject): string => `has not failed: it is ${state}`;
  for (const message of messages) {
    await tellDeed(message, { done: 'retried', already }, message.state === 'failed', json === true);
  }
}
