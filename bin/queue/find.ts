import { Option, type Command } from 'commander';
import type { MessageFilter } from '../../src/backend.ts';
import { escapeControls } from '../../src/errors.ts';
import type { Message, State } from '../../src/message.ts';
import { whole, withManager, type CommonOptions } from '../cli.ts';
import { columnsOf, fit, pad } from '../layout.ts';
import { counted, isRead, note, print, safe, safeJson, styled } from '../output.ts';
import { fromNow } from '../when.ts';
import { duration } from './time.ts';

interface Options extends CommonOptions {
  state?: State;
  alias?: string;
  user?: string;
  olderThan?: number;
  newerThan?: number;
  text?: string;
  disabled?: true;
  limit?: number;
  json?: true;
}

const HELP = `
Messages are listed in order of their place in line; those that have ended are not among them. --text is looked for in the
payload as JSON, and in the texts in it, as it is spelt. That nothing matches is no failure: the exit code is 0.

Examples:
  queue find invoices --state failed --older-than 1h
  queue find invoices --alias 'customer-17-*' --json | jq -r .uuid
  queue find invoices --text '"total":0'`;

export function findCommand(program: Command): void {
  program
    .command('find <queue>')
    .description('list messages, all or those that match every option given')
    .addOption(
      new Option('--state <state>', 'where they stand').choices(['ready', 'deferred', 'claimed', 'failed']),
    )
    .option('--alias <pattern>', "with this alias; * stands for any text, as in 'a*'")
    .option('--user <name>', 'added by this user')
    .option('--older-than <duration>', 'added longer ago than this', duration())
    .option('--newer-than <duration>', 'added within this time', duration())
    .option('--text <text>', 'with this text in the payload')
    .option('--disabled', 'only disabled ones')
    .option('--limit <n>', 'no more than the first n', whole(1))
    .option('--json', 'print each message as one line of JSON')
    .addHelpText('after', HELP)
    .action(async (queue: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await withManager(options, async (manager) => {
        const list = options.json ? printJson : lister(options.state === 'failed');
        const chosen = chooser(options, Date.now());
        let found = 0;
        for await (const message of manager.findMessages(queue, filterOf(options))) {
          if (!chosen(message)) continue;
          await list(message);
          if (++found === options.limit || !isRead()) break;
        }
        if (found === 0) note('no messages match');
        // By now: the search notes what it cannot read.
        const { damaged } = await manager.queueStatus(queue);
        if (damaged > 0)
          note(
            `${counted(damaged, 'damaged record')}: what cannot be read is not listed; see queue verify ${queue}`,
          );
      });
    });
}

/** What the queue itself can look for. */
function filterOf({ state, alias, user, disabled }: Options): MessageFilter {
  return {
    ...(state !== undefined && { state }),
    ...(alias !== undefined && !alias.includes('*') && { alias }),
    ...(user !== undefined && { username: user }),
    ...(disabled && { disabled }),
  };
}

/** The rest. */
function chooser(
  { alias = '*', olderThan, newerThan, text }: Options,
  now: number,
): (message: Message) => boolean {
  const named = alias.includes('*') ? globbed(alias) : undefined;
  // As it may stand between other JSON, and as it stands within a text there.
  const spellings = text === undefined ? undefined : [text, JSON.stringify(text).slice(1, -1)];
  return (message) => {
    const age = now - message.insertedAt.getTime();
    if (named && !named(message.alias)) return false;
    if (olderThan !== undefined && age <= olderThan) return false;
    if (newerThan !== undefined && age > newerThan) return false;
    if (!spellings) return true;
    const json = JSON.stringify(message.data);
    return spellings.some((spelling) => json.includes(spelling));
  };
}

/** Whether a text is `pattern` with something for each `*`. Takes no longer than the text is long, unlike an expression. */
export function globbed(pattern: string): (text: string) => boolean {
  const [first = '', ...others] = pattern.split('*');
  const last = others.pop() ?? '';
  return (text) => {
    if (!text.startsWith(first) || !text.endsWith(last)) return false;
    let from = first.length;
    for (const part of others) {
      const at = text.indexOf(part, from);
      if (at < 0) return false;
      from = at + part.length;
    }
    return from <= text.length - last.length;
  };
}

async function printJson(message: Message): Promise<void> {
  await print(safeJson(message));
}

/** Columns of a table in which every message is one row. */
const UUID = 36;
const STATE = 17;
const ALIAS = 20;
const ADDED = 9;
const TRIES = 5;
/** What the last column has where no terminal limits it. */
const WIDEST = 200;
/** A terminal of fewer columns gets two rows for a message. */
const ONE_ROW = 110;

/** Prints rows as messages come, so widths cannot be learnt from them. @param errors last errors instead of payloads. */
function lister(errors: boolean): (message: Message) => Promise<void> {
  const columns = columnsOf(process.stdout);
  const tail = (message: Message): string => {
    const error = message.errors.at(-1);
    if (!errors || !error) return safeJson(message.data);
    return safe(`${error.name}: ${error.message}`).replaceAll('\n', ' ');
  };
  const facts = (message: Message): [string, string, string] => [
    stateOf(message),
    escapeControls(message.alias),
    fromNow(message.insertedAt),
  ];
  const coloured = (message: Message, text: string): string =>
    message.state === 'failed' ? styled('red', text) : text;

  if (columns !== undefined && columns < ONE_ROW) {
    return async (message) => {
      const [state, alias, added] = facts(message);
      const about = [state, alias, added, tail(message)].filter((fact) => fact !== '').join('  ');
      await print(styled('bold', fit(message.uuid, columns)));
      await print(coloured(message, fit(`  ${about}`, columns)));
    };
  }
  const before = UUID + STATE + ALIAS + ADDED + TRIES + 5 * 2;
  const room = columns === undefined ? WIDEST : columns - before;
  const cell = (text: string, width: number): string =>
    columns === undefined ? text.padEnd(width) : pad(text, width);
  const header = ['uuid', 'state', 'alias', 'added', 'tries', errors ? 'last error' : 'data'];
  let headed = false;
  return async (message) => {
    const row = (cells: readonly string[]): string =>
      [UUID, STATE, ALIAS, ADDED, TRIES]
        .map((width, column) => cell(cells[column] ?? '', width))
        .concat(fit(cells[5] ?? '', room))
        .join('  ')
        .trimEnd();
    if (!headed) await print(styled('bold', row(header)));
    headed = true;
    const cells = [message.uuid, ...facts(message), String(message.attempts), tail(message)];
    await print(coloured(message, row(cells)));
  };
}

/** `ready`, `deferred in 3h`, `claimed 45%`, `failed disabled`. */
function stateOf({ state, disabled, dateTimeDeferredExecution: due, holder }: Message): string {
  if (disabled) return `${state} disabled`;
  if (state === 'deferred' && due) return `${state} ${fromNow(due)}`;
  return holder?.progress ? `${state} ${Math.floor(holder.progress.percent)}%` : state;
}
