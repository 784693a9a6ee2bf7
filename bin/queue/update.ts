import type { Command } from 'commander';
import { QueueError, escapeControls } from '../../src/errors.ts';
import type { Message } from '../../src/message.ts';
import type { MessageChanges } from '../../src/validate.ts';
import { whole, withManager, type CommonOptions } from '../cli.ts';
import { note, print, safeJson } from '../output.ts';
import { fromNow, stamp } from '../when.ts';
import { readPayload } from './payload.ts';
import { resolveTargets } from './targets.ts';
import { parseTime } from './time.ts';

interface Options extends CommonOptions {
  data?: string;
  alias?: string;
  retries?: number;
  defer?: string;
  now?: true;
  user?: string;
  json?: true;
}

const HELP = `
What is not named stays as it is, the place in line in any case. A message that is being worked on takes new data, alias and
retries at its next try. Only a waiting message can be put off or brought forward: a failed one is brought back by
\`queue retry\`, one that is being worked on is stopped by \`queue cancel\`.

Examples:
  queue update invoices invoice-17 --data '{"id": 17, "total": 89.5}'
  queue update invoices invoice-18 --now
  queue update invoices 01890a5d-ac96-774b-bcce-b302099a8057 --defer 2026-12-24T18:00 --retries 5`;

export function updateCommand(program: Command): void {
  program
    .command('update <queue> <target>')
    .description('change a message, named by uuid or alias')
    .option('--data <json>', 'a new payload: JSON, or - for stdin')
    .option('--alias <text>', "a new key; '' for none")
    .option('--retries <n>', 'how many more times it is tried after a failed try', whole(0))
    .option('--defer <when>', 'not before: a duration such as 10m, or a date such as 2026-12-24T18:00')
    .option('--now', 'no longer deferred')
    .option('--user <name>', 'who has added it')
    .option('--json', 'print the message afterwards as JSON')
    .addHelpText('after', HELP)
    .action(async (queue: string, target: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      const { data, alias, retries, defer, now, user } = options;
      if (defer !== undefined && now) command.error('error: expected either --defer or --now');
      if ([data, alias, retries, defer, now, user].every((option) => option === undefined)) {
        command.error('error: expected something to change, such as --data');
      }
      const changes: MessageChanges = {
        alias,
        retries,
        username: user,
        dateTimeDeferredExecution: now ? null : defer === undefined ? undefined : await parseTime(defer),
      };
      await withManager(options, async (manager, config) => {
        if (data !== undefined) changes.data = await readPayload(data, config.queue.maxMessageBytes);
        const [message] = await resolveTargets(manager, queue, [target]);
        if (!message) return;
        const moved = changes.dateTimeDeferredExecution !== undefined;
        if (moved) mustWait(message, queue, 'nothing was changed');
        const updated = await manager.updateMessage(queue, message.uuid, changes);
        await print(options.json ? safeJson(updated) : inWords(updated));
        // It may have been claimed in between.
        if (moved) mustWait(updated, queue, 'all else was changed');
        else if (updated.state === 'claimed') note('it is being worked on; this counts from its next try on');
      });
    });
}

/** Errors: INVALID_MESSAGE. */
function mustWait({ state, uuid }: Message, queue: string, besides: string): void {
  if (state !== 'claimed' && state !== 'failed') return;
  const hint =
    state === 'failed'
      ? `it has failed; \`queue retry ${queue} ${uuid}\` brings it back`
      : `it is being worked on; \`queue cancel ${queue} ${uuid}\` stops that`;
  const expected = 'expected a message that waits, to put it off or bring it forward';
  throw new QueueError('INVALID_MESSAGE', `${expected}: ${hint}; ${besides}`, { queue });
}

function inWords({ uuid, alias, state, dateTimeDeferredExecution: due }: Message): string {
  const name = alias === '' ? uuid : `${uuid}  ${escapeControls(alias)}`;
  const when = state === 'deferred' && due ? `, deferred to ${stamp(due)} (${fromNow(due)})` : '';
  return `updated ${name}${when}`;
}
