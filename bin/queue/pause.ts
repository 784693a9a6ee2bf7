/** `queue pause` and `queue resume`: the same with the sign changed. */
import type { Command } from 'commander';
import type { QueueManager } from '../../src/queue-manager.ts';
import { withManager, type CommonOptions } from '../cli.ts';
import { counted, print, safeJson } from '../output.ts';

type Options = CommonOptions & { json?: true };

export function pauseCommand(program: Command): void {
  program
    .command('pause <queue>')
    .description('let nobody claim or take messages until the queue is resumed; adding goes on')
    .option('--json', 'print { queue, paused, changed } as JSON')
    .addHelpText(
      'after',
      '\nMessages that workers have in hand are finished.\n\nExample:\n  queue pause invoices',
    )
    .action(act(true));
}

export function resumeCommand(program: Command): void {
  program
    .command('resume <queue>')
    .description('let the messages of a paused queue be claimed again')
    .option('--json', 'print { queue, paused, changed } as JSON')
    .addHelpText('after', '\nExample:\n  queue resume invoices')
    .action(act(false));
}

function act(pause: boolean) {
  return async (queue: string, _: unknown, command: Command): Promise<void> => {
    const options = command.optsWithGlobals<Options>();
    await withManager(options, async (manager) => {
      const changed = (await manager.queueStatus(queue)).paused !== pause;
      if (changed) await (pause ? manager.pauseQueue(queue) : manager.resumeQueue(queue));
      if (options.json) await print(safeJson({ queue, paused: pause, changed }));
      else await print(await inWords(manager, queue, pause, changed));
    });
  };
}

async function inWords(
  manager: QueueManager,
  queue: string,
  pause: boolean,
  changed: boolean,
): Promise<string> {
  if (!changed) return `${queue} was ${pause ? 'paused already' : 'not paused'}`;
  if (!pause) return `resumed ${queue}`;
  const { claimed } = (await manager.queueStatus(queue)).counts;
  return `paused ${queue}${claimed > 0 ? `; ${counted(claimed, 'message')} still in hand` : ''}`;
}
