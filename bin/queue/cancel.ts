import type { Command } from 'commander';
import { withManager, type CommonOptions } from '../cli.ts';
import { onTargets, TARGETS_HELP } from './targets.ts';

interface Options extends CommonOptions {
  reason?: string;
  json?: true;
}

export function cancelCommand(program: Command): void {
  program
    .command('cancel <queue> <targets...>')
    .description('have nobody work on messages any more; each stands as failed')
    .option('--reason <text>', 'kept with the message')
    .option('--json', 'print { uuid, alias, cancelled } as JSON, one line each')
    .addHelpText(
      'after',
      `\nA worker that has the message in hand is told within a second. \`queue retry\` brings the message back.\n${TARGETS_HELP}\n\nExamples:\n  queue cancel invoices invoice-17 --reason 'wrong total'\n  queue find invoices --state claimed --json | jq -r .uuid | xargs queue cancel invoices`,
    )
    .action(async (queue: string, targets: string[], _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await withManager(options, (manager) =>
        onTargets(
          manager,
          queue,
          targets,
          {
            done: 'cancelled',
            already: ({ state }) => (state === 'failed' ? 'had failed already' : 'has ended meanwhile'),
            act: ({ uuid }) => manager.cancelMessage(queue, uuid, options.reason),
          },
          options.json === true,
        ),
      );
    });
}
