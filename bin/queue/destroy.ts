import type { Command } from 'commander';
import { withManager, type CommonOptions } from '../cli.ts';
import { confirm, messagesIn, YES } from '../confirm.ts';
import { EXIT } from '../exit-codes.ts';
import { print, safeJson } from '../output.ts';

interface Options extends CommonOptions {
  yes?: true;
  json?: true;
}

export function destroyCommand(program: Command): void {
  program
    .command('destroy <queue>')
    .description('end a queue with all its messages')
    .option(...YES)
    .option('--json', 'print { queue, destroyed } as JSON')
    .addHelpText(
      'after',
      '\nClaimed messages are lost too: what their workers do is discarded. The disk space is given back by and by.\n\nExample:\n  queue destroy invoices --yes',
    )
    .action(async (queue: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await withManager(options, async (manager) => {
        const loses = async (): Promise<string> =>
          `Destroy ${queue}? It loses ${messagesIn((await manager.queueStatus(queue)).counts)}.`;
        if (!(await confirm(options.yes, loses))) {
          process.exitCode = EXIT.failure;
          return;
        }
        // The status of a queue that does not exist rejects, naming one that does.
        if (!(await manager.destroyQueue(queue))) await manager.queueStatus(queue);
        await print(options.json ? safeJson({ queue, destroyed: true }) : `destroyed ${queue}`);
      });
    });
}
