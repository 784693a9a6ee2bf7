/**
 * Messages in bulk, one JSON object a line. Every line is checked before the first is added, so a bad one means that
 * none is; or the bad ones are skipped, and told. Messages are added in batches, the next when the last has been
 * answered. Memory holds one batch.
 */
import { QueueError, escapeControls, quote } from '../../src/errors.ts';
import type { QueueManager } from '../../src/queue-manager.ts';
import { checkMessage, type MessageInput } from '../../src/validate.ts';
import { openLines, type LineSource } from '../lines.ts';
import { Meter } from '../meter.ts';
import { counted, grouped, progress } from '../output.ts';
import { parseDate } from './time.ts';

export type AddedMessage = Awaited<ReturnType<QueueManager['addMessage']>>;

export interface BulkOptions {
  queue: string;
  /** A file, or `-`. */
  path: string;
  /** For what a line does not say itself. */
  defaults: Omit<MessageInput, 'data' | 'alias'>;
  maxMessageBytes: number;
  /** Add the good lines whatever the others are. */
  skipBad: boolean;
  /** Called once there is something to add, and nothing against adding it. */
  beforeAdding(): Promise<void>;
  onAdded(messages: readonly AddedMessage[]): Promise<void>;
  /** A line that was skipped. */
  onBad(error: QueueError): void;
}

const BATCH_MESSAGES = 1000;
const BATCH_CHARACTERS = 1024 * 1024;

/** What a line has come to: a message to add, or why it is none. */
type Entry = { length: number; end: number } & (
  | { input: MessageInput; error?: undefined }
  | { error: QueueError }
);

/**
 * Resolves when all are added, as durably as `addMessages` promises. Errors: INVALID_MESSAGE, MESSAGE_TOO_LARGE with the
 * number of the line, unless such lines are skipped; those of `addMessages`, with how many had been added before.
 */
export async function addLines(manager: QueueManager, options: BulkOptions): Promise<void> {
  const copying = new Meter('reading', 0);
  try {
    const source = await openLines(options.path, (bytes) => copying.show(bytes));
    try {
      const total = options.skipBad ? undefined : await checkAll(source, options);
      await addAll(source, options, manager, total);
    } finally {
      await source.close();
    }
  } finally {
    progress('');
  }
}

/** Resolves with the number of messages. */
async function checkAll(source: LineSource, options: BulkOptions): Promise<number> {
  const meter = new Meter('checking', source.size);
  let total = 0;
  for await (const { error, end } of entries(source, options)) {
    if (error) throw withEnding(error, 'nothing was added');
    total++;
    meter.show(end, counted(total, 'message'));
  }
  return total;
}

/** @param total what has been checked; undefined when nothing has. */
async function addAll(
  source: LineSource,
  options: BulkOptions,
  manager: QueueManager,
  total: number | undefined,
): Promise<void> {
  const meter = new Meter('adding', source.size);
  let added = 0;
  let begun = false;
  let batch: MessageInput[] = [];
  let characters = 0;
  const flush = async (): Promise<void> => {
    if (!begun) await options.beforeAdding();
    begun = true;
    if (batch.length === 0) return;
    const answers = await manager.addMessages(options.queue, batch);
    added += answers.length;
    batch = [];
    characters = 0;
    // What is printed for them begins a line of its own.
    progress('');
    await options.onAdded(answers);
  };
  try {
    for await (const entry of entries(source, options)) {
      if (entry.error) {
        if (!options.skipBad) throw entry.error;
        progress('');
        options.onBad(entry.error);
        continue;
      }
      batch.push(entry.input);
      characters += entry.length;
      if (batch.length < BATCH_MESSAGES && characters < BATCH_CHARACTERS) continue;
      await flush();
      meter.show(entry.end, counted(added, 'message'));
    }
    // An input without a message still creates the queue, unless there was nothing good in it.
    if (batch.length > 0 || total !== undefined) await flush();
  } catch (error) {
    const all = total === undefined ? '' : ` of ${grouped(total)}`;
    const before = added === 0 ? 'nothing was added' : `${grouped(added)}${all} had been added before`;
    throw withEnding(error, before);
  }
}

/** One for each line that is not empty. */
async function* entries(source: LineSource, options: BulkOptions): AsyncGenerator<Entry> {
  const { maxMessageBytes, queue } = options;
  // Spelt with \u escapes throughout, text takes six times the room; the labels beside the payload are short.
  for await (const line of source.lines(6 * maxMessageBytes + 64 * 1024)) {
    const { end, number } = line;
    try {
      if (line.problem !== undefined) throw new QueueError('INVALID_MESSAGE', line.problem);
      if (line.text.trim() === '') continue;
      const input = await inputOf(line.text, options.defaults);
      checkMessage(input, maxMessageBytes, queue);
      yield { input, length: line.text.length, end };
    } catch (error) {
      if (!(error instanceof QueueError)) throw error;
      const message = `${source.name}, line ${number}: ${error.message}`;
      yield { error: new QueueError(error.code, message, { cause: error }), length: 0, end };
    }
  }
}

/** What a message may be beyond this, `checkMessage` knows. Errors: INVALID_MESSAGE. */
async function inputOf(text: string, defaults: BulkOptions['defaults']): Promise<MessageInput> {
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch (cause) {
    const why = escapeControls((cause as Error).message);
    throw new QueueError('INVALID_MESSAGE', `expected a JSON object: ${why}`, { cause });
  }
  if (typeof line !== 'object' || line === null || Array.isArray(line)) {
    throw new QueueError('INVALID_MESSAGE', `expected an object { "data": … }, received ${quote(line)}`);
  }
  const input = { ...defaults, ...line } as MessageInput & { dateTimeDeferredExecution?: unknown };
  const due = input.dateTimeDeferredExecution;
  if (typeof due === 'string') {
    const date = await parseDate(due);
    // What is no date stays as it is, and is refused as such.
    if (date) input.dateTimeDeferredExecution = date;
  }
  return input;
}

function withEnding(error: unknown, ending: string): unknown {
  if (!(error instanceof QueueError)) return error;
  const { code, message, queue } = error;
  return new QueueError(code, `${message}; ${ending}`, {
    cause: error,
    ...(queue !== undefined && { queue }),
  });
}
