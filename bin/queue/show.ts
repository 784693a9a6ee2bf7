import type { Command } from 'commander';
import type { Ending, HistoryEvent, Inspection } from '../../src/backend.ts';
import { QueueError, escapeControls, quote } from '../../src/errors.ts';
import type { Holder, Message, TryError } from '../../src/message.ts';
import type { QueueManager } from '../../src/queue-manager.ts';
import { withManager, type CommonOptions } from '../cli.ts';
import { bar, columnsOf } from '../layout.ts';
import { print, safe, safeJson, styled } from '../output.ts';
import { fromNow, lasting, stamp } from '../when.ts';
import { resolveTargets } from './targets.ts';

const HELP = `
One that has ended is shown as far as its queue remembers it ([queue] keepOutcomes). With --json it is one object: the message, or
the uuid and alias of one that has ended, with \`history\`, whether that is \`complete\`, and \`ending\` once it has ended or
failed. An alias means the first message in line that has it; when none has, the last one remembered.

Examples:
  queue show invoices invoice-17
  queue show invoices 01890a5d-ac96-774b-bcce-b302099a8057 --json | jq .history`;

export function showCommand(program: Command): void {
  program
    .command('show <queue> <target>')
    .description('show all that is known of one message, named by uuid or alias')
    .option('--json', 'print it as one line of JSON')
    .addHelpText('after', HELP)
    .action(async (queue: string, target: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions & { json?: true }>();
      const inspection = await withManager(options, (manager) => inspect(manager, queue, target));
      if (options.json) await print(safeJson(asJson(inspection)));
      else for (const line of inWords(queue, inspection)) await print(line);
    });
}

/** Errors: MESSAGE_NOT_FOUND. */
async function inspect(manager: QueueManager, queue: string, target: string): Promise<Inspection> {
  if (target === '')
    throw new QueueError('INVALID_ARGUMENT', "expected a message's uuid or alias", { queue });
  const uuid = target.toLowerCase();
  const [byUuid] = UUID.test(target) ? [await manager.inspectMessage(queue, { uuid })] : [];
  const found = byUuid ?? (await manager.inspectMessage(queue, { alias: target }));
  if (found) return found;
  // Rejects, in the words of all verbs; or the message has come just now.
  const [message] = await resolveTargets(manager, queue, [target]);
  const again = message && (await manager.inspectMessage(queue, { uuid: message.uuid }));
  if (again) return again;
  throw new QueueError('MESSAGE_NOT_FOUND', `the message ${quote(target)} has ended just now`, { queue });
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

function asJson({ message, ending, history, complete }: Inspection): object {
  const { uuid, alias } = ending ?? {};
  return { ...(message ?? { uuid, alias }), history, complete, ...(ending && { ending }) };
}

function inWords(queue: string, { message, ending, history, complete }: Inspection): string[] {
  const { uuid = '', alias = '' } = message ?? ending ?? {};
  const facts: [string, string | false | undefined][] = [
    ['message', styled('bold', uuid)],
    ['alias', alias !== '' && escapeControls(alias)],
    ['queue', queue],
    ['state', message ? stateOf(message, ending) : ending && endingOf(ending)],
    ...(message ? factsOf(message) : []),
  ];
  const lines = facts.flatMap(([name, text]) =>
    typeof text === 'string' ? [`${name.padEnd(NAME)}  ${text}`] : [],
  );
  if (message) lines.push('', styled('bold', 'data'), ...indented(safeJson(message.data, 2)));
  if (message && message.errors.length > 0) {
    lines.push('', styled('bold', 'errors'), ...message.errors.flatMap(errorInWords));
  }
  lines.push('', styled('bold', 'history'), ...timeline(history, complete));
  return lines;
}

/** The longest name of a fact. */
const NAME = 'progress'.length;

function factsOf(message: Message): [string, string | false | undefined][] {
  const {
    insertedAt,
    username,
    attempts,
    retries,
    crashes,
    dateTimeDeferredExecution: due,
    holder,
  } = message;
  const tries = `${attempts} of ${retries + 1}`;
  return [
    ['added', `${both(insertedAt)}${username === '' ? '' : ` by ${escapeControls(username)}`}`],
    ['due', due && both(due)],
    ['tries', crashes === 0 ? tries : `${tries}; ${crashes} more ended with the worker`],
    ...(holder ? workOf(holder) : []),
  ];
}

function workOf({ pid, since, progress }: Holder): [string, string | undefined][] {
  const process = pid === undefined ? '' : `process ${pid}, `;
  const text = progress && progress.text !== '' ? `  ${escapeControls(progress.text)}` : '';
  return [
    ['worker', `${process}for ${lasting(Date.now() - since.getTime())}`],
    [
      'progress',
      progress &&
        `${bar(progress.percent, 22)} ${Math.floor(progress.percent)}%${text}  ${styled('dim', fromNow(progress.at))}`,
    ],
  ];
}

function stateOf({ state, disabled }: Message, ending: Ending | undefined): string {
  const since = ending?.at ? `, ${both(ending.at)}` : '';
  const text = `${state}${disabled ? ', disabled' : ''}${since}`;
  return state === 'failed' ? styled('red', text) : text;
}

function endingOf({ outcome, at }: Ending): string {
  const text = `${outcome}${at ? `, ${both(at)}` : ''}`;
  return outcome === 'completed' ? text : styled('yellow', text);
}

function both(date: Date): string {
  return `${stamp(date)} (${fromNow(date)})`;
}

function errorInWords({ at, attempt, name, message, code, stack }: TryError): string[] {
  const when = attempt > 0 ? `try ${attempt}, ${fromNow(new Date(at))}: ` : `${fromNow(new Date(at))}: `;
  const what = `${escapeControls(name)}: ${safe(message)}${code === undefined ? '' : ` (${escapeControls(code)})`}`;
  // The stack of an error most often begins with its message.
  const trace = stack?.startsWith(`${name}: ${message}`) ? stack.slice(`${name}: ${message}`.length) : stack;
  return [
    ...indented(`${when}${styled('red', what)}`),
    ...indented(safe(trace ?? '').replace(/^\n+|\s+$/g, '')).map((line) => styled('dim', line)),
  ];
}

function indented(text: string, by = '  '): string[] {
  return text === '' ? [] : text.split('\n').map((line) => by + line);
}

/** A terminal of fewer columns is told how long ago things were, and no dates. */
const DATED = 80;

/** What happened, oldest first: when, how long after the event before, and what. */
function timeline(history: readonly HistoryEvent[], complete: boolean): string[] {
  const narrow = (columnsOf(process.stdout) ?? DATED) < DATED;
  const lines = history.map((event, index) => {
    const before = history[index - 1]?.at.getTime();
    const later = before === undefined ? '' : `+${lasting(event.at.getTime() - before)}`;
    const when = narrow ? fromNow(event.at).padStart(8) : stamp(event.at);
    return `  ${styled('dim', when)}  ${later.padStart(8)}  ${eventInWords(event)}`;
  });
  return complete ? lines : ['  … what was before is no longer known', ...lines];
}

function eventInWords({ event, pid, error, due }: HistoryEvent): string {
  // All of it stands among the errors.
  const why =
    error && `${escapeControls(error.name)}: ${escapeControls(error.message.split('\n', 1)[0] ?? '')}`;
  const facts = [
    pid === undefined ? event : `${event} by process ${pid}`,
    why && styled('red', why),
    due && `${event === 'failed' ? 'again' : 'due'} ${stamp(due)}`,
  ];
  return facts.filter((fact) => typeof fact === 'string').join(', ');
}
