/**
 * The messages that a verb is to act on, named by uuid or alias. What verbs with several targets have in common: what
 * is not found is told on stderr and makes the exit code 1, the rest is done; what was so already is told, and is no error.
 */
import { QueueError, escapeControls, quote } from '../../src/errors.ts';
import type { Message } from '../../src/message.ts';
import type { QueueManager } from '../../src/queue-manager.ts';
import { tell } from '../cli.ts';
import { EXIT } from '../exit-codes.ts';
import { print, safeJson } from '../output.ts';
import { lookAtFailed } from './watch/sight.ts';

export const TARGETS_HELP = `
A target is a uuid or an alias; of several messages with one alias the first in line is meant. What is not found is
named on stderr and makes the exit code 1; the others are done all the same.`;

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** So many are looked up one by one; more of them cost one look at every message of the queue. */
const FEW = 8;
/** Acted on at once, so that they reach the disk together. */
export const GROUP = 1000;

/** What a verb needs to know of a message; not its data, of which there may be much. */
export type Subject = Pick<Message, 'uuid' | 'alias' | 'state' | 'disabled'>;

/** What is done to each target. */
export interface Deed {
  /** What the message is afterwards, in words and as the key in JSON: `removed`. */
  done: string;
  /** What is said of one about which it changes nothing: `had failed already`. */
  already(message: Subject): string;
  /** False: it changed nothing. */
  act(message: Subject): Promise<boolean>;
}

/**
 * Each message once, in the order of the texts. A text in the form of a uuid is looked up as one first, then as an alias.
 * Errors: MESSAGE_NOT_FOUND, naming all that are not there; INVALID_ARGUMENT for an empty text.
 */
export async function resolveTargets(
  manager: QueueManager,
  queue: string,
  texts: readonly string[],
): Promise<Message[]> {
  const { found, missing } = await look(manager, queue, texts);
  if (missing.length > 0) throw notFound(queue, missing, await whereToLook(manager, queue));
  return found;
}

/** As `resolveTargets`, but what is not found is told on stderr and in the exit code of the process. */
export async function findTargets(
  manager: QueueManager,
  queue: string,
  texts: readonly string[],
): Promise<Message[]> {
  const { found, missing } = await look(manager, queue, texts);
  if (missing.length === 0) return found;
  const hint = await whereToLook(manager, queue);
  for (const text of missing) tellMissing(notFound(queue, [text], hint));
  return found;
}

/**
 * Does it to each that is found, and prints a line for each. Rejects as `act` does, but for
 * MESSAGE_NOT_FOUND, when what was done has been printed.
 */
export async function onTargets(
  manager: QueueManager,
  queue: string,
  texts: readonly string[],
  deed: Deed,
  json: boolean,
): Promise<void> {
  await actOn(await findTargets(manager, queue, texts), deed, json);
}

/** The same for messages that have been found before. */
export async function actOn(messages: readonly Subject[], deed: Deed, json: boolean): Promise<void> {
  for (let i = 0; i < messages.length; i += GROUP) {
    const group = messages.slice(i, i + GROUP);
    const answers = await Promise.allSettled(group.map((message) => deed.act(message)));
    for (const [index, answer] of answers.entries()) {
      const message = group[index];
      if (message && answer.status === 'fulfilled') await tellDeed(message, deed, answer.value, json);
    }
    for (const answer of answers) if (answer.status === 'rejected') tellMissing(answer.reason);
  }
}

/** A message that has ended since it was found is one that is not there; anything else is thrown on. */
function tellMissing(error: unknown): void {
  if (!(error instanceof QueueError) || error.code !== 'MESSAGE_NOT_FOUND') throw error;
  tell('queue', error);
  process.exitCode = EXIT.failure;
}

/** One line about one message: what was done to it, or that it was so already. */
export async function tellDeed(
  message: Subject,
  { done, already }: Pick<Deed, 'done' | 'already'>,
  changed: boolean,
  json: boolean,
): Promise<void> {
  const { uuid, alias } = message;
  if (json) await print(safeJson({ uuid, alias, [done]: changed }));
  else await print(changed ? `${done} ${nameOf(message)}` : `${nameOf(message)} ${already(message)}`);
}

function nameOf({ uuid, alias }: Subject): string {
  return alias === '' ? uuid : `${uuid}  ${escapeControls(alias)}`;
}

async function look(
  manager: QueueManager,
  queue: string,
  texts: readonly string[],
): Promise<{ found: Message[]; missing: string[] }> {
  if (texts.includes('')) {
    throw new QueueError('INVALID_ARGUMENT', "expected a message's uuid or alias, received an empty text", {
      queue,
    });
  }
  const wanted = [...new Set(texts)];
  const known = wanted.length > FEW ? await lookAtAll(manager, queue, wanted) : undefined;
  const found = new Map<string, Message>();
  const missing: string[] = [];
  for (const text of wanted) {
    // A message that changed during a look at all may not have been seen.
    const message = known?.get(text) ?? (await lookUp(manager, queue, text));
    if (message) found.set(message.uuid, message);
    else missing.push(text);
  }
  return { found: [...found.values()], missing };
}

async function lookUp(manager: QueueManager, queue: string, text: string): Promise<Message | undefined> {
  const byUuid = UUID.test(text) ? await manager.findMessage(queue, { uuid: text.toLowerCase() }) : undefined;
  return byUuid ?? manager.findMessage(queue, { alias: text });
}

async function lookAtAll(
  manager: QueueManager,
  queue: string,
  wanted: readonly string[],
): Promise<Map<string, Message>> {
  const uuids = new Map(wanted.filter((text) => UUID.test(text)).map((text) => [text.toLowerCase(), text]));
  const texts = new Set(wanted);
  const byUuid = new Map<string, Message>();
  const byAlias = new Map<string, Message>();
  for await (const message of manager.findMessages(queue)) {
    const named = uuids.get(message.uuid);
    if (named !== undefined) byUuid.set(named, message);
    // The first in line comes first.
    if (texts.has(message.alias) && !byAlias.has(message.alias)) byAlias.set(message.alias, message);
  }
  return new Map([...byAlias, ...byUuid]);
}

function notFound(queue: string, texts: readonly string[], hint: string): QueueError {
  const named = texts.map((text) => quote(text)).join(', ');
  return new QueueError(
    'MESSAGE_NOT_FOUND',
    `expected the uuid or alias of a message in ${queue}, received ${named}; ${hint}`,
    { queue },
  );
}

/** Where to look for what was not found. */
async function whereToLook(manager: QueueManager, queue: string): Promise<string> {
  const status = await manager.queueStatus(queue);
  const { unreadable } = await lookAtFailed(manager, status);
  const hint = `\`queue find ${queue}\` lists what is there`;
  return status.damaged + unreadable === 0
    ? hint
    : `${hint}, \`queue verify ${queue}\` names what cannot be read`;
}
