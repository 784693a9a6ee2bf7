/**
 * Messages in bulk, one JSON object a line. Every line is checked before the first is added, so a bad one means that
 * none is; then they are added in batches, the next when the last has been answered. Memory holds one batch.
 */
import { QueueError, escapeControls, quote } from '../../src/errors.ts';
import type { QueueManager } from '../../src/queue-manager.ts';
import { checkMessage, type MessageInput } from '../../src/validate.ts';
import { openLines, type LineSource } from '../lines.ts';
import { grouped, progress } from '../output.ts';
import { parseDate } from './time.ts';

export type AddedMessage = Awaited<ReturnType<QueueManager['addMessage']>>;

export interface BulkOptions {
  queue: string;
  /** A file, or `-`. */
  path: string;
  /** For what a line does not say itself. */
  defaults: Omit<MessageInput, 'data' | 'alias'>;
  maxMessageBytes: number;
  /** Called once all lines have been found good. */
  beforeAdding(): Promise<void>;
  onAdded(messages: readonly AddedMessage[]): Promise<void>;
}

const BATCH_MESSAGES = 1000;
const BATCH_CHARACTERS = 1024 * 1024;

/**
 * Resolves when all are added, as durably as `addMessages` promises. Errors: INVALID_MESSAGE, MESSAGE_TOO_LARGE with the
 * number of the line; those of `addMessages`, with how many had been added before.
 */
export async function addLines(manager: QueueManager, options: BulkOptions): Promise<void> {
  const source = await openLines(options.path);
  try {
    const total = await checkAll(source, options);
    await options.beforeAdding();
    await addAll(source, options, manager, total);
  } finally {
    progress('');
    await source.close();
  }
}

async function checkAll(source: LineSource, options: BulkOptions): Promise<number> {
  const show = throttled();
  let total = 0;
  try {
    for await (const { number, input } of inputs(source, options)) {
      try {
        checkMessage(input, options.maxMessageBytes, options.queue);
      } catch (error) {
        throw error instanceof QueueError ? inLine(source, number, error) : error;
      }
      total++;
      show(() => `checked ${grouped(total)}`);
    }
  } catch (error) {
    throw withEnding(error, 'nothing was added');
  }
  return total;
}

async function addAll(
  source: LineSource,
  options: BulkOptions,
  manager: QueueManager,
  total: number,
): Promise<void> {
  const show = throttled();
  let added = 0;
  let batch: MessageInput[] = [];
  let characters = 0;
  const flush = async (): Promise<void> => {
    const answers = await manager.addMessages(options.queue, batch);
    added += answers.length;
    batch = [];
    characters = 0;
    show(() => `added ${grouped(added)} of ${grouped(total)}`);
    await options.onAdded(answers);
  };
  try {
    for await (const { input, length } of inputs(source, options)) {
      batch.push(input);
      characters += length;
      if (batch.length === BATCH_MESSAGES || characters >= BATCH_CHARACTERS) await flush();
    }
    if (batch.length > 0) await flush();
  } catch (error) {
    throw withEnding(error, `${grouped(added)} of ${grouped(total)} had been added before`);
  }
}

/** The messages of the lines; empty lines are passed over. What a message may be, `checkMessage` knows. */
async function* inputs(
  source: LineSource,
  { defaults, maxMessageBytes }: BulkOptions,
): AsyncGenerator<{ number: number; input: MessageInput; length: number }> {
  // Spelt with \u escapes throughout, text takes six times the room; the labels beside the payload are short.
  for await (const { number, text } of source.lines(6 * maxMessageBytes + 64 * 1024)) {
    if (text.trim() === '') continue;
    let line: unknown;
    try {
      line = JSON.parse(text);
    } catch (cause) {
      const why = escapeControls((cause as Error).message);
      throw inLine(source, number, new QueueError('INVALID_MESSAGE', `expected a JSON object: ${why}`));
    }
    if (typeof line !== 'object' || line === null || Array.isArray(line)) {
      const received = new QueueError(
        'INVALID_MESSAGE',
        `expected an object { "data": … }, received ${quote(line)}`,
      );
      throw inLine(source, number, received);
    }
    const input = { ...defaults, ...line } as MessageInput & { dateTimeDeferredExecution?: unknown };
    const due = input.dateTimeDeferredExecution;
    if (typeof due === 'string') {
      const date = await parseDate(due);
      // What is no date stays as it is, and is refused as such.
      if (date) input.dateTimeDeferredExecution = date;
    }
    yield { number, input, length: text.length };
  }
}

function inLine(source: LineSource, number: number, error: QueueError): QueueError {
  return new QueueError(error.code, `${source.name}, line ${number}: ${error.message}`, { cause: error });
}

function withEnding(error: unknown, ending: string): unknown {
  if (!(error instanceof QueueError)) return error;
  const { code, message, queue } = error;
  return new QueueError(code, `${message}; ${ending}`, {
    cause: error,
    ...(queue !== undefined && { queue }),
  });
}

/** Shows a line of progress at most ten times a second. */
function throttled(): (text: () => string) => void {
  let shownAt = 0;
  return (text) => {
    const now = Date.now();
    if (now - shownAt < 100) return;
    shownAt = now;
    progress(text());
  };
}
