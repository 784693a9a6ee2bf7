/** `queue-daemon ctl command`: puts a command to children, and prints what they answer. */
import type { Command } from 'commander';
import { QueueError, quote } from '../../../src/errors.ts';
import { EXIT } from '../../exit-codes.ts';
import { note, print, safeJson, table } from '../../output.ts';
import { duration } from '../../queue/time.ts';
import type { Options as Common } from '../daemons.ts';
import { Client, part } from './client.ts';
import { answersOf } from './shapes.ts';

interface Options extends Common {
  deadline?: number;
}

const LONGEST = 300_000;

export function commandCommand(ctl: Command): void {
  ctl
    .command('command <process> <word> [args]')
    .description('ask all children of a process, or one child, and print what they answer')
    .option('--deadline <duration>', 'how long each child may take; default 5s', duration(LONGEST))
    .option('--json', 'print an array of the answers as JSON')
    .addHelpText(
      'after',
      `
"zoom" is answered by the method commandZoom of the class; args is JSON. A child that does not answer delays no other.
Exits with 1 when one has not answered.

Examples:
  queue-daemon ctl command camera status
  queue-daemon ctl command camera#2 zoom '{"factor": 2}' --deadline 30s`,
    )
    .action(async (target: string, word: string, args: string | undefined, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      const { deadline } = options;
      const body = {
        command: word,
        ...(args !== undefined && { args: parsed(args) }),
        ...(deadline !== undefined && { deadline: Math.max(1, deadline) }),
      };
      const client = await Client.of(options);
      const { answers } = answersOf(
        await client.change('POST', `/api/processes/${part(target)}/command`, body),
      );
      if (answers.some(({ ok }) => !ok)) process.exitCode = EXIT.failure;
      if (options.json) return print(safeJson(answers));
      if (answers.length === 0) return note('no children');
      const rows = answers.map((answer) =>
        answer.ok
          ? [answer.child, 'ok', safeJson(answer.result ?? null)]
          : [answer.child, answer.error.code, answer.error.message],
      );
      for (const line of table(['child', '', 'answer'], rows)) await print(line);
    });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new QueueError(
      'INVALID_ARGUMENT',
      `expected args as JSON, such as '{"factor": 2}', received ${quote(text)}`,
    );
  }
}
