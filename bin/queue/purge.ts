import type { Command } from 'commander';
import type { QueueStatus } from '../../src/backend.ts';
import { withManager, type CommonOptions } from '../cli.ts';
import { confirm, messagesIn, YES } from '../confirm.ts';
import { EXIT } from '../exit-codes.ts';
import { counted, grouped, print, safeJson } from '../output.ts';

interface Options extends CommonOptions {
  yes?: true;
  json?: true;
}

export function purgeCommand(program: Command): void {
  program
    .command('purge <queue>')
    .description('remove every message that is not claimed, failed and disabled ones too')
    .option(...YES)
    .option('--json', 'print { queue, purged } as JSON, the number of messages')
    .addHelpText(
      'after',
      '\nThe queue stays, with its attributes; so do the messages that workers have in hand.\n\nExample:\n  queue purge invoices --yes',
    )
    .action(async (queue: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await withManager(options, async (manager) => {
        if (!(await confirm(options.yes, async () => question(await manager.queueStatus(queue))))) {
          process.exitCode = EXIT.failure;
          return;
        }
        const purged = await manager.purgeQueue(queue);
        await print(
          options.json ? safeJson({ queue, purged }) : `purged ${counted(purged, 'message')} from ${queue}`,
        );
      });
    });
}

function question({ queue, counts }: QueueStatus): string {
  const { claimed, ...lost } = counts;
  const stays = claimed > 0 ? `; ${grouped(claimed)} claimed stay` : '';
  return `Purge ${queue}? It loses ${messagesIn(lost)}${stays}.`;
}
