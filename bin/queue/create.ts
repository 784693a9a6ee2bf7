import { InvalidArgumentError, type Command } from 'commander';
import { parseSize } from '../../src/units.ts';
import { whole, withManager, type CommonOptions } from '../cli.ts';
import { print, safeJson } from '../output.ts';

interface Options extends CommonOptions {
  uniqueAlias?: true;
  maxMessages?: number;
  maxBytes?: number;
  json?: true;
}

export function createCommand(program: Command): void {
  program
    .command('create <queue>')
    .description('create a queue; one that is there already is left as it is')
    .option(
      '--unique-alias',
      'refuse a second unfinished message with an alias: adding it returns the first one',
    )
    .option('--max-messages <n>', 'refuse adds beyond so many waiting messages', whole(1))
    .option('--max-bytes <size>', 'refuse adds beyond so many bytes of waiting payloads, such as 2GiB', bytes)
    .option('--json', 'print { queue, created } as JSON')
    .addHelpText('after', '\nExample:\n  queue create invoices --unique-alias --max-messages 100000')
    .action(async (queue: string, _: unknown, command: Command) => {
      const { uniqueAlias, maxMessages, maxBytes, json, ...common } = command.optsWithGlobals<Options>();
      const options = {
        ...(uniqueAlias && { uniqueAlias }),
        ...(maxMessages !== undefined && { maxMessages }),
        ...(maxBytes !== undefined && { maxBytes }),
      };
      const created = await withManager(common, (manager) => manager.createQueue(queue, options), {
        makes: true,
      });
      const text = created ? `created ${queue}` : `${queue} was there already`;
      await print(json ? safeJson({ queue, created }) : text);
    });
}

function bytes(text: string): number {
  const size = parseSize(text);
  if (size !== undefined && size > 0) return size;
  throw new InvalidArgumentError('Expected a size such as 500MB or 2GiB.');
}
