/** From what is known to what the terminal shows: a row of text for each of its rows, whatever its size. Pure. */
import type { QueueStatus } from '../../../src/backend.ts';
import { counted, grouped } from '../../output.ts';
import { fromNow, lasting } from '../../when.ts';
import { fitRow, oneLine, type Row, type Span } from './row.ts';
import type { Found } from './sight.ts';
import { rateInWords, SPAN_MS, type Trend } from './trend.ts';
import { selectable, type View } from './view.ts';
import { countSpans, failedRows, lastError, troubles, workingRows } from './words.ts';

export interface Scene {
  queue: string;
  /** The last one that was got; undefined when the queue is not there. */
  status: QueueStatus | undefined;
  found: Found;
  trend: Pick<Trend, 'rates' | 'sparkline' | 'most'>;
  view: View;
  /** Why the last look failed; '' when it did not. */
  trouble: string;
  /** Whether there is a keyboard. */
  keys: boolean;
  /** Epoch milliseconds. */
  now: number;
}

export interface Size {
  columns: number;
  rows: number;
}

const WIDEST_SPARKLINE = 60;
/** Rows that the list gets before the less important rows above it … */
const LIST_ROWS = 3;
/** … of which so many come first of all. */
const TOP_ROWS = 2;
/** From so many rows on there is room for the selected message in full. */
const ROOMY_ROWS = 14;

const HELP: readonly (readonly [string, string])[] = [
  ['up down, k j', 'select a message'],
  ['p', 'pause or resume the queue'],
  ['r', 'retry the selected failed message'],
  ['R', 'retry all that have failed'],
  ['c', 'cancel the selected message that is worked on'],
  ['Ctrl-L', 'draw the screen anew'],
  ['Ctrl-Z', 'go to the background; fg comes back'],
  ['q, Ctrl-C', 'quit'],
];

/** Exactly `rows` rows, none wider than `columns`. */
export function frame(scene: Scene, { columns, rows }: Size): Row[] {
  const body = bodyOf(scene, columns, Math.max(0, rows - 2));
  while (body.length < rows - 2) body.push([]);
  const all = rows < 2 ? [header(scene)] : [header(scene), ...body, footer(scene, columns)];
  return all.slice(0, rows).map((row) => fitRow(row, columns));
}

function header({ queue, status, trouble }: Scene): Row {
  const name: Span = ['bold', queue];
  if (trouble !== '') return [name, '  ', ['red', oneLine(trouble)]];
  if (!status) return [name, '  ', ['red', 'is not there; waiting for it']];
  if (status.paused) return [name, '  ', ['yellow', 'paused']];
  return [
    name,
    '  ',
    status.counts.claimed > 0 ? 'at work' : status.messagesToProcess > 0 ? 'waiting' : 'nothing to do',
  ];
}

function footer({ view, keys }: Scene, columns: number): Row {
  if (view.question) return [['bold', view.question.text], '  y yes, any other key no'];
  if (view.notice !== '') return [['bold', view.notice]];
  if (!keys) return [['dim', 'Ctrl-C quits']];
  const hints = ['q quit', '? help', 'p pause', 'r retry', 'R retry all', 'c cancel', 'up down select'];
  while (hints.length > 1 && hints.join('  ').length > columns) hints.pop();
  return [['dim', hints.join('  ')]];
}

function bodyOf(scene: Scene, columns: number, room: number): Row[] {
  if (scene.view.help) return HELP.map(([keys, what]) => [keys.padEnd(14), what] as const).slice(0, room);
  const { status } = scene;
  if (!status) return [];
  const list = listOf(scene, columns);
  const details = room >= ROOMY_ROWS ? detailsOf(scene) : [];
  const topRoom = Math.max(TOP_ROWS, room - details.length - Math.min(LIST_ROWS, list.rows.length));
  const top = shortened(topOf(scene, status, columns), Math.min(room, topRoom));
  const rest = room - top.length - details.length;
  const gap = rest > LIST_ROWS && list.rows.length > 0 ? 1 : 0;
  const shown = windowOf(list, rest - gap);
  return [...top, ...(gap === 1 ? [[]] : []), ...shown, ...details];
}

/** With what each row is worth: the lower the number, the longer it stays when there is little room. */
function topOf(scene: Scene, status: QueueStatus, columns: number): { worth: number; row: Row }[] {
  const { found, trend, now } = scene;
  const alarms = troubles(status, found, now)
    // The header has said it.
    .filter(({ topic }) => topic !== 'paused')
    .map(({ style, text }, index) => ({ worth: index === 0 ? 2 : 4, row: [[style, `! ${text}`]] as Row }));
  return [
    ...alarms,
    { worth: 1, row: countSpans(status) },
    { worth: 3, row: ratesRow(scene, status) },
    { worth: 5, row: sparkRow(trend, columns) },
    { worth: 6, row: lastRow(status, now) },
  ];
}

function shortened(rows: readonly { worth: number; row: Row }[], room: number): Row[] {
  const kept = new Set(rows.toSorted((a, b) => a.worth - b.worth).slice(0, room));
  return rows.filter((row) => kept.has(row)).map(({ row }) => row);
}

function ratesRow({ trend }: Scene, status: QueueStatus): Row {
  const { rates } = trend;
  if (!rates) return [`processed ${grouped(status.processed)} ever`];
  const { added, processed, emptyIn } = rates;
  const empty = emptyIn === undefined ? '' : `  empty in ${lasting(Math.max(1000, emptyIn)).split(' ')[0]}`;
  return [`added ${rateInWords(added)}  processed ${rateInWords(processed)}${empty}`];
}

function sparkRow(trend: Scene['trend'], columns: number): Row {
  const tail = `  most ${grouped(trend.most)} in ${lasting(SPAN_MS)}`;
  const room = Math.min(WIDEST_SPARKLINE, columns - 'backlog '.length - tail.length);
  return ['backlog ', trend.sparkline(Math.max(8, room)), ['dim', tail]];
}

function lastRow({ lastMessageInserted, lastMessageProcessed }: QueueStatus, now: number): Row {
  const when = (mark: QueueStatus['lastMessageInserted']): string =>
    mark ? fromNow(mark.timestamp, now) : 'never';
  return [['dim', `last added ${when(lastMessageInserted)}  last processed ${when(lastMessageProcessed)}`]];
}

interface List {
  rows: Row[];
  /** The row of the selected message. */
  selected: number;
}

function listOf({ status, found, view, now }: Scene, columns: number): List {
  const list: List = { rows: [], selected: 0 };
  const add = (title: string, count: number, messages: Found['working'], rows: readonly Row[]): void => {
    if (messages.length === 0) return;
    list.rows.push([['bold', title]]);
    for (const [index, row] of rows.entries()) {
      const selected = messages[index]?.uuid === view.selected?.uuid;
      if (selected) list.selected = list.rows.length;
      list.rows.push(selected ? [['bold', '> '], ...row.map(emphasized)] : ['  ', ...row]);
    }
    const more = count - messages.length;
    if (more > 0) list.rows.push([['dim', `  and ${counted(more, 'other')}`]]);
  };
  const { claimed = 0, failed = 0 } = status?.counts ?? {};
  add('working', claimed, found.working, workingRows(found.working, columns - 2, now));
  add('failed', failed, found.failed, failedRows(found.failed, columns - 2, now));
  return list;
}

function emphasized(span: Span): Span {
  return typeof span === 'string' ? ['bold', span] : span;
}

/** So many rows of the list around the selected one. */
function windowOf({ rows, selected }: List, height: number): Row[] {
  if (height <= 0) return [];
  const from = Math.max(0, Math.min(selected - Math.floor(height / 2), rows.length - height));
  return rows.slice(from, from + height);
}

/** The selected message, with what its row has no room for. */
function detailsOf({ found, view, now }: Scene): Row[] {
  const message = selectable(found).find(({ uuid }) => uuid === view.selected?.uuid);
  if (!message) return [];
  const { uuid, alias, attempts, crashes, insertedAt, username } = message;
  const by = username === '' ? '' : ` by ${oneLine(username)}`;
  const crashed = crashes === 0 ? '' : `, ${counted(crashes, 'crash').replace(/hs$/, 'hes')}`;
  const facts = `added ${fromNow(insertedAt, now)}${by}, ${attempts === 1 ? '1 try' : `${attempts} tries`}${crashed}`;
  const error = lastError(message);
  return [
    [],
    [uuid, '  ', ['dim', facts]],
    ...(alias === '' ? [] : [[oneLine(alias)]]),
    ...(error === '' ? [] : [[['red', error]] as Row]),
  ];
}
