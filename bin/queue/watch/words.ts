/** How a queue stands, in words: what `queue status` and `queue watch` both say. Pure. */
import type { QueueStatus } from '../../../src/backend.ts';
import type { Message } from '../../../src/message.ts';
import { bar, fit, pad, widthOf } from '../../layout.ts';
import { counted, grouped } from '../../output.ts';
import { lasting } from '../../when.ts';
import { oneLine, type Row, type Span } from './row.ts';
import type { Found } from './sight.ts';

export interface Trouble {
  topic: 'damaged' | 'failed' | 'paused' | 'nobody' | 'full';
  style: 'red' | 'yellow';
  text: string;
  /** The command that helps; absent where none does. */
  hint?: string;
}

/** Between two messages of a busy queue nobody holds one; after so many milliseconds that is no such moment. */
const QUIET_MS = 10_000;
/** A queue is nearly full from this share of its limit on. */
const NEARLY = 0.9;

/** What a person should know first; the worst first. */
export function troubles(status: QueueStatus, found: Found, now: number): Trouble[] {
  const { queue, counts, damaged, paused, options } = status;
  const said: Trouble[] = [];
  const { unreadable } = found;
  if (damaged > 0 || unreadable > 0) {
    const parts = [
      damaged > 0 && counted(damaged, 'damaged record'),
      unreadable > 0 && `${counted(unreadable, 'failed message')} cannot be read`,
    ];
    const text = parts.filter((part) => part !== false).join(', ');
    said.push({ topic: 'damaged', style: 'red', text, hint: `queue repair ${queue} --dry-run` });
  }
  const failed = counts.failed - unreadable;
  if (failed > 0) {
    const last = lastFailure(found, failed);
    const text = `${grouped(failed)} failed${last ? `, the last ${ageOf(last, now)} ago` : ''}`;
    said.push({ topic: 'failed', style: 'red', text, hint: `queue find ${queue} --state failed` });
  }
  if (paused) {
    const text = 'paused: nothing is handed out';
    said.push({ topic: 'paused', style: 'yellow', text, hint: `queue resume ${queue}` });
  } else if (isNobodyThere(status, found, now)) {
    const { waitingSince } = found;
    const since = waitingSince instanceof Date ? `, the first for ${ageOf(waitingSince, now)}` : '';
    const text = `nobody works on it: ${grouped(counts.ready)} ready${since}`;
    said.push({ topic: 'nobody', style: 'yellow', text, hint: `queue-worker ${queue}` });
  }
  const waiting = status.messagesToProcess + counts.disabled;
  if (options.maxMessages !== undefined && waiting >= options.maxMessages * NEARLY) {
    const how = waiting >= options.maxMessages ? 'full' : 'nearly full';
    const text = `${how}: ${grouped(waiting)} of at most ${grouped(options.maxMessages)} messages`;
    said.push({ topic: 'full', style: 'yellow', text });
  }
  return said;
}

/** Undefined when not all that have failed were looked at. */
function lastFailure({ failed }: Found, count: number): Date | undefined {
  if (failed.length < count) return undefined;
  const times = failed.map(failedAt).filter((time) => time !== undefined);
  return times.length === 0 ? undefined : new Date(Math.max(...times.map((time) => time.getTime())));
}

function isNobodyThere(status: QueueStatus, { waitingSince }: Found, now: number): boolean {
  const { counts, lastMessageProcessed, createdAt } = status;
  // A message that is ready by the counts alone may have come, or gone, this very moment.
  if (counts.ready === 0 || counts.claimed > 0 || waitingSince === undefined) return false;
  const since = waitingSince === 'far' ? createdAt : waitingSince;
  return now - Math.max(lastMessageProcessed?.timestamp.getTime() ?? 0, since.getTime()) > QUIET_MS;
}

/** The number and the kind; those of which there are none are left out, but for `ready`. */
export function countSpans({ counts }: QueueStatus): Span[] {
  const spans: Span[] = [`ready ${grouped(counts.ready)}`];
  if (counts.claimed > 0) spans.push('  ', `claimed ${grouped(counts.claimed)}`);
  if (counts.deferred > 0) spans.push('  ', `deferred ${grouped(counts.deferred)}`);
  if (counts.disabled > 0) spans.push('  ', `disabled ${grouped(counts.disabled)}`);
  if (counts.failed > 0) spans.push('  ', ['red', `failed ${grouped(counts.failed)}`]);
  return spans;
}

/** What people call a message: its alias, else its uuid. */
export function nameOf({ uuid, alias }: Pick<Message, 'uuid' | 'alias'>): string {
  return alias === '' ? uuid : oneLine(alias);
}

/** `12s`, `3h`: the largest unit alone, so that a screen of them seldom changes. */
function ageOf(date: Date, now: number): string {
  return lasting(Math.max(1000, now - date.getTime())).split(' ')[0] ?? '';
}

/** The name's end tells messages without an alias apart: a uuid begins with the time. */
function nameIn(columns: number, message: Message): string {
  const name = nameOf(message);
  return message.alias === '' && name.length > columns ? `…${name.slice(1 - columns)}` : pad(name, columns);
}

function nameColumns(messages: readonly Message[], columns: number): number {
  const widest = Math.max(0, ...messages.map((message) => widthOf(nameOf(message))));
  return Math.max(8, Math.min(widest, Math.floor(columns * 0.4)));
}

/** From here on there is room for a bar. */
const ROOMY = 60;

/** One row for each claimed message: who, for how long, what, how far. */
export function workingRows(messages: readonly Message[], columns: number, now: number): Row[] {
  const name = nameColumns(messages, columns);
  return messages.map((message) => {
    const { pid, since, progress } = message.holder ?? {};
    const who = pid === undefined ? '-' : String(pid);
    const age = since === undefined ? '' : ageOf(since, now);
    const row: Span[] = [who.padEnd(7), ' ', age.padStart(4), '  ', nameIn(name, message)];
    if (progress) {
      const percent = `${Math.floor(progress.percent)}%`.padStart(4);
      row.push('  ', columns < ROOMY ? percent : `${bar(progress.percent, 12)} ${percent}`);
      if (progress.text !== '') row.push('  ', oneLine(progress.text));
    } else if (message.attempts > 1) row.push('  ', ['dim', `try ${message.attempts}`]);
    return row;
  });
}

/** One row for each failed message: when, what, why. */
export function failedRows(messages: readonly Message[], columns: number, now: number): Row[] {
  const name = nameColumns(messages, columns);
  return messages.map((message) => {
    const at = failedAt(message);
    const age = at === undefined ? '' : ageOf(at, now);
    return [age.padStart(4), '  ', nameIn(name, message), '  ', fit(lastError(message), 500)];
  });
}

/** Name and text of the last error; '' when there is none. */
export function lastError({ errors }: Message): string {
  const error = errors.at(-1);
  return error ? oneLine(`${error.name}: ${error.message}`) : '';
}

function failedAt({ errors }: Message): Date | undefined {
  const at = new Date(errors.at(-1)?.at ?? Number.NaN);
  return Number.isNaN(at.getTime()) ? undefined : at;
}
