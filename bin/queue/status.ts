import type { Command } from 'commander';
import type { Mark, QueueStatus } from '../../src/backend.ts';
import { withManager, type CommonOptions } from '../cli.ts';
import { columnsOf } from '../layout.ts';
import { counted, grouped, print, safeJson } from '../output.ts';
import { fromNow, stamp } from '../when.ts';
import { fitRow, paint, type Row } from './watch/row.ts';
import { lookAround, type Found } from './watch/sight.ts';
import { countSpans, failedRows, nameOf, troubles, workingRows } from './watch/words.ts';

/** Of a list that is cut: enough to see what it is about. */
const FIRST_ROWS = 5;
/** Columns that a list is laid out for, on wide screens and in pipes. */
const WIDEST_LIST = 120;

export function statusCommand(program: Command): void {
  program
    .command('status <queue>')
    .description('show how a queue stands: what is wrong, how much is waiting, who works on what')
    .option('--json', 'print the whole status as JSON')
    .addHelpText(
      'after',
      '\n`queue watch` shows the same, live.\n\nExamples:\n  queue status invoices\n  queue status invoices --json | jq .counts',
    )
    .action(async (queue: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions & { json?: true }>();
      await withManager(options, async (manager) => {
        const status = await manager.queueStatus(queue);
        if (options.json) return print(safeJson(status));
        const found = await lookAround(manager, status);
        const columns = columnsOf(process.stdout) ?? Infinity;
        for (const row of inWords(status, found, columns, Date.now())) await print(paint(row));
      });
    });
}

/** Rows for a screen of so many columns; of Infinity where there is none. */
function inWords(status: QueueStatus, found: Found, columns: number, now: number): Row[] {
  const said = troubles(status, found, now);
  const room = Math.min(columns, WIDEST_LIST) - 2;
  const rows: Row[] = [
    ...facts(status, now),
    ...list('working', status.counts.claimed, workingRows(found.working, room, now)),
    ...list('failed', status.counts.failed - found.unreadable, failedRows(found.failed, room, now)),
  ];
  return [
    fitRow([['bold', status.queue], '  ', ...countSpans(status)], columns),
    ...said.flatMap(({ style, text, hint }): Row[] => [
      fitRow([[style, `! ${text}`]], columns),
      // Commands are never cut: those who copy them need them whole.
      ...(hint === undefined ? [] : [[`  ${hint}`]]),
    ]),
    ...(said.length === 0 ? [['nothing is wrong']] : []),
    [],
    ...rows.map((row) => fitRow(row, columns)),
  ];
}

function facts(status: QueueStatus, now: number): Row[] {
  const { options, customAttributes, durability, lossWindow } = status;
  const limits = [
    options.uniqueAlias && 'aliases are unique',
    options.maxMessages !== undefined && `at most ${counted(options.maxMessages, 'message')}`,
    options.maxBytes !== undefined && `at most ${grouped(options.maxBytes)} bytes`,
  ].filter((limit) => typeof limit === 'string');
  const named: [string, string | false][] = [
    ['to process', grouped(status.messagesToProcess)],
    ['processed', `${grouped(status.processed)} ever`],
    ['last added', mark(status.lastMessageInserted, now)],
    ['last processed', mark(status.lastMessageProcessed, now)],
    ['last change', fromNow(status.lastQueueModifyTime, now)],
    ['created', stamp(status.createdAt)],
    ['durability', `${durability}: a power cut costs ${lossWindow === 'none' ? 'nothing' : lossWindow}`],
    ['limits', limits.length > 0 && limits.join(', ')],
    ['attributes', Object.keys(customAttributes).length > 0 && safeJson(customAttributes)],
  ];
  return named.flatMap(([name, text]): Row[] => (text === false ? [] : [[['dim', name.padEnd(16)], text]]));
}

function mark(given: Mark | null, now: number): string {
  return given ? `${fromNow(given.timestamp, now)}  ${nameOf(given)}` : 'never';
}

function list(title: string, count: number, rows: readonly Row[]): Row[] {
  if (rows.length === 0) return [];
  const shown = rows.slice(0, FIRST_ROWS);
  const more = count - shown.length;
  return [
    [],
    [['bold', title]],
    ...shown.map((row): Row => ['  ', ...row]),
    ...(more > 0 ? [[['dim', `  and ${grouped(more)} more`]] as Row] : []),
  ];
}
