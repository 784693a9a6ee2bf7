import type { Command } from 'commander';
import { escapeControls } from '../../src/errors.ts';
import type { Message } from '../../src/message.ts';
import { withManager, type CommonOptions } from '../cli.ts';
import { EXIT } from '../exit-codes.ts';
import { note, print, safeJson, styled } from '../output.ts';

export function getCommand(program: Command): void {
  program
    .command('get <queue>')
    .description('take the next message off a queue and print it; exits 1 when there is none')
    .option('--json', 'print the whole message as one line of JSON')
    .addHelpText(
      'after',
      '\nThe message is gone once it is printed.\n\nExample:\n  queue get invoices --json | jq .data',
    )
    .action(async (queue: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions & { json?: true }>();
      const message = await withManager(options, (manager) => manager.getMessage(queue));
      if (!message) {
        note(`nothing to get from ${queue}`);
        process.exitCode = EXIT.failure;
      } else await print(options.json ? safeJson(message) : inWords(message));
    });
}

function inWords(message: Message): string {
  const { uuid, alias, username, insertedAt, attempts, data } = message;
  const facts = [
    uuid,
    alias !== '' && escapeControls(alias),
    `added ${insertedAt.toISOString()}${username === '' ? '' : ` by ${escapeControls(username)}`}`,
    attempts > 0 && `tried before: ${attempts}`,
  ];
  return `${styled('dim', facts.filter((fact) => fact !== false).join('  '))}\n${safeJson(data, 2)}`;
}
