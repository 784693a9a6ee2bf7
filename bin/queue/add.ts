import type { Command } from 'commander';
import { QueueError, escapeControls } from '../../src/errors.ts';
import type { QueueManager } from '../../src/queue-manager.ts';
import type { MessageInput } from '../../src/validate.ts';
import { whole, withManager, type CommonOptions } from '../cli.ts';
import { EXIT } from '../exit-codes.ts';
import { counted, grouped, isRead, note, print, safeJson } from '../output.ts';
import { addLines, type AddedMessage } from './add-lines.ts';
import { Endings, LONGEST_TIMEOUT } from './endings.ts';
import { readPayload } from './payload.ts';
import { duration, parseTime } from './time.ts';

interface Options extends CommonOptions {
  ndjson?: string;
  skipBad?: true;
  alias?: string;
  retries?: number;
  defer?: string;
  disabled?: true;
  user?: string;
  create?: true;
  wait?: true;
  timeout?: number;
  json?: true;
}

/** Bad lines that are told one by one. */
const MOST_TOLD = 20;

const HELP = `
A line for --ndjson: {"data": …}, with alias, retries, dateTimeDeferredExecution, disabled and username if wanted; what
it does not say is taken from the options. When one line is bad, nothing is added; with --skip-bad the others are, the
bad ones are named on stderr (the first ${MOST_TOLD}) and counted, and the exit code is 1.

With --wait the endings are told as they come (of --ndjson those that did not complete), with --json one line of JSON each
after those of the messages; what was there already in a queue of unique aliases is waited for, too. The exit code is 0
when all have completed, 1 when one has failed, been removed or purged, 75 when --timeout came first.

Examples:
  queue add invoices '{"id": 17, "total": 99.5}' --create --retries 3
  queue add invoices '{"id": 18}' --alias invoice-18 --defer 10m
  queue add invoices '{"id": 19}' --wait --timeout 5m && echo paid
  jq -c '{alias: (.id | tostring), data: .}' orders.ndjson | queue add invoices --ndjson -`;

export function addCommand(program: Command): void {
  program
    .command('add <queue> [data]')
    .description(
      'add a message whose payload is the JSON in [data], or on stdin for -; or many with --ndjson',
    )
    .option('--ndjson <file>', 'add one message per line of a file, or of stdin for -')
    .option('--skip-bad', 'with --ndjson: add the good lines though others are bad')
    .option('--alias <text>', 'a key of your own for the message')
    .option('--retries <n>', 'how many more times it is tried after a failed try', whole(0))
    .option('--defer <when>', 'not before: a duration such as 10m, or a date such as 2026-12-24T18:00')
    .option('--disabled', 'keep it, but pass it over until it is enabled')
    .option('--user <name>', 'who adds it')
    .option('--create', 'create the queue if it does not exist')
    .option('--wait', 'wait until what was added has ended')
    .option('--timeout <duration>', 'with --wait: no longer than this', duration(LONGEST_TIMEOUT))
    .option('--json', 'print what was added as JSON, one line each')
    .addHelpText('after', HELP)
    .action(async (queue: string, data: string | undefined, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      const refuse = (why: string): never => command.error(`error: ${why}`);
      if ((data === undefined) === (options.ndjson === undefined)) {
        refuse('expected either [data] or --ndjson');
      }
      if (options.ndjson !== undefined && options.alias !== undefined) {
        refuse('--alias is for one message; with --ndjson each line has its own');
      }
      if (options.skipBad && options.ndjson === undefined) refuse('--skip-bad is for --ndjson');
      if (options.timeout !== undefined && !options.wait) refuse('--timeout is for --wait');
      await withManager(
        options,
        (manager, config) => add(manager, queue, data, options, config.queue.maxMessageBytes),
        { makes: options.create === true },
      ).catch(namingCreate);
    });
}

async function add(
  manager: QueueManager,
  queue: string,
  data: string | undefined,
  options: Options,
  maxMessageBytes: number,
): Promise<void> {
  const common: Omit<MessageInput, 'data'> = {
    retries: options.retries,
    dateTimeDeferredExecution: options.defer === undefined ? undefined : await parseTime(options.defer),
    disabled: options.disabled,
    username: options.user,
  };
  const { timeout, json } = options;
  const endings = options.wait
    ? new Endings(manager, queue, { timeout, json, brief: data === undefined })
    : undefined;

  if (data !== undefined) {
    const payload = await readPayload(data, maxMessageBytes);
    if (options.create) await manager.createQueue(queue);
    const added = await manager.addMessage(queue, { ...common, alias: options.alias, data: payload });
    await endings?.add([added.uuid]);
    await print(json ? safeJson(added) : inWords(added));
  } else await addMany(manager, queue, options, common, maxMessageBytes, endings);
  if (endings) process.exitCode = (await endings.done()) || process.exitCode;
}

async function addMany(
  manager: QueueManager,
  queue: string,
  options: Options,
  defaults: Omit<MessageInput, 'data'>,
  maxMessageBytes: number,
  endings: Endings | undefined,
): Promise<void> {
  // Asked before a long input is read; the status of a queue that does not exist rejects, naming one that does.
  if (!options.create && !(await manager.queueExists(queue))) await manager.queueStatus(queue);
  let added = 0;
  let duplicates = 0;
  let bad = 0;
  await addLines(manager, {
    queue,
    path: options.ndjson ?? '-',
    defaults,
    maxMessageBytes,
    skipBad: options.skipBad === true,
    beforeAdding: async () => {
      if (options.create) await manager.createQueue(queue);
    },
    onAdded: async (messages) => {
      await endings?.add(messages.map(({ uuid }) => uuid));
      for (const message of messages) {
        if (message.duplicate) duplicates++;
        else added++;
        if (options.json && isRead()) await print(safeJson(message));
      }
    },
    onBad: (error) => {
      if (++bad <= MOST_TOLD) note(`skipped ${escapeControls(error.message)}`);
    },
  });
  if (bad > MOST_TOLD) note(`skipped ${grouped(bad - MOST_TOLD)} more`);
  const besides = duplicates > 0 ? `, ${counted(duplicates, 'duplicate')} of waiting ones left out` : '';
  if (!options.json) await print(`added ${counted(added, 'message')} to ${queue}${besides}`);
  if (bad === 0) return;
  note(`${counted(bad, 'bad line')} skipped`);
  process.exitCode = EXIT.failure;
}

/** Whoever has no queue yet may not know that this makes one. */
function namingCreate(error: unknown): never {
  if (!(error instanceof QueueError) || error.code !== 'QUEUE_NOT_FOUND') throw error;
  const { code, message } = error;
  throw new QueueError(code, `${message}${message.endsWith('?') ? '' : ';'} --create makes it`, error);
}

function inWords({ uuid, alias, duplicate }: AddedMessage): string {
  const name = alias === '' ? uuid : `${uuid}  ${escapeControls(alias)}`;
  return duplicate ? `${name} was there already` : `added ${name}`;
}
