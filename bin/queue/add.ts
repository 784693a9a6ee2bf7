import type { Command } from 'commander';
import { loadConfig } from '../../src/config.ts';
import { QueueError, escapeControls } from '../../src/errors.ts';
import type { Json } from '../../src/message.ts';
import type { QueueManager } from '../../src/queue-manager.ts';
import type { MessageInput } from '../../src/validate.ts';
import { whole, withManager, type CommonOptions } from '../cli.ts';
import { counted, isRead, print, safe, safeJson } from '../output.ts';
import { addLines, type AddedMessage } from './add-lines.ts';
import { parseTime } from './time.ts';

interface Options extends CommonOptions {
  ndjson?: string;
  alias?: string;
  retries?: number;
  defer?: string;
  disabled?: true;
  user?: string;
  create?: true;
  json?: true;
}

const EXAMPLES = `
A line for --ndjson: {"data": …}, with alias, retries, dateTimeDeferredExecution, disabled and username if wanted; what
it does not say is taken from the options. When one line is bad, nothing is added.

Examples:
  queue add invoices '{"id": 17, "total": 99.5}' --create --retries 3
  queue add invoices '{"id": 18}' --alias invoice-18 --defer 10m
  jq -c '{alias: (.id | tostring), data: .}' orders.ndjson | queue add invoices --ndjson -`;

export function addCommand(program: Command): void {
  program
    .command('add <queue> [data]')
    .description(
      'add a message whose payload is the JSON in [data], or on stdin for -; or many with --ndjson',
    )
    .option('--ndjson <file>', 'add one message per line of a file, or of stdin for -')
    .option('--alias <text>', 'a key of your own for the message')
    .option('--retries <n>', 'how many more times it is tried after a failed try', whole(0))
    .option('--defer <when>', 'not before: a duration such as 10m, or a date such as 2026-12-24T18:00')
    .option('--disabled', 'keep it, but pass it over until it is enabled')
    .option('--user <name>', 'who adds it')
    .option('--create', 'create the queue if it does not exist')
    .option('--json', 'print what was added as JSON, one line each')
    .addHelpText('after', EXAMPLES)
    .action(async (queue: string, data: string | undefined, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      if ((data === undefined) === (options.ndjson === undefined)) {
        command.error('error: expected either [data] or --ndjson');
      }
      if (options.ndjson !== undefined && options.alias !== undefined) {
        command.error('error: --alias is for one message; with --ndjson each line has its own');
      }
      await withManager(options, (manager) => add(manager, queue, data, options));
    });
}

async function add(
  manager: QueueManager,
  queue: string,
  data: string | undefined,
  options: Options,
): Promise<void> {
  const common: Omit<MessageInput, 'data'> = {
    retries: options.retries,
    dateTimeDeferredExecution: options.defer === undefined ? undefined : await parseTime(options.defer),
    disabled: options.disabled,
    username: options.user,
  };
  const maxMessageBytes = (await loadConfig({ config: options.config })).queue.maxMessageBytes;
  const create = async (): Promise<void> => {
    if (options.create) await manager.createQueue(queue);
  };

  if (data !== undefined) {
    const payload = parsePayload(data === '-' ? await readStdin(6 * maxMessageBytes) : data);
    await create();
    const added = await manager.addMessage(queue, { ...common, alias: options.alias, data: payload });
    await print(options.json ? safeJson(added) : inWords(added));
    return;
  }

  // Asked before a long input is read; the status of a queue that does not exist rejects, naming one that does.
  if (!options.create && !(await manager.queueExists(queue))) await manager.queueStatus(queue);
  let added = 0;
  let duplicates = 0;
  await addLines(manager, {
    queue,
    path: options.ndjson ?? '-',
    defaults: common,
    maxMessageBytes,
    beforeAdding: create,
    onAdded: async (messages) => {
      for (const message of messages) {
        if (message.duplicate) duplicates++;
        else added++;
        if (options.json && isRead()) await print(safeJson(message));
      }
    },
  });
  const besides = duplicates > 0 ? `, ${counted(duplicates, 'duplicate')} of waiting ones left out` : '';
  if (!options.json) await print(`added ${counted(added, 'message')} to ${queue}${besides}`);
}

function inWords({ uuid, alias, duplicate }: AddedMessage): string {
  const name = alias === '' ? uuid : `${uuid}  ${safe(alias)}`;
  return duplicate ? `${name} was there already` : `added ${name}`;
}

function parsePayload(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch (cause) {
    const why = escapeControls((cause as Error).message);
    throw new QueueError(
      'INVALID_MESSAGE',
      `expected the payload as JSON (text in "double quotes"): ${why}`,
      { cause },
    );
  }
}

async function readStdin(longest: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > longest) {
      throw new QueueError(
        'MESSAGE_TOO_LARGE',
        `stdin: expected a payload of at most ${longest} bytes as JSON, received more`,
      );
    }
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch (cause) {
    throw new QueueError('INVALID_MESSAGE', 'stdin: expected JSON in UTF-8', { cause });
  }
}
