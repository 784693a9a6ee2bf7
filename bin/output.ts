/**
 * What commands write: data to stdout, all else to stderr. Text that came from outside reaches neither with control
 * characters in it. A reader who has had enough (`| head`) is no error.
 */
import { once } from 'node:events';
import type { WriteStream } from 'node:tty';
import { escapeControls } from '../src/errors.ts';
import { EXIT } from './exit-codes.ts';

let readerLeft = false;
process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
  readerLeft = true;
  if (code === 'EPIPE') return;
  note(`stdout: ${message}`);
  // Whatever the command makes of the rest: what it was run for has not arrived.
  process.once('exit', () => (process.exitCode ||= EXIT.failure));
});
// Nobody is left to be told.
process.stderr.on('error', () => undefined);

/** False when nobody reads stdout any more. */
export function isRead(): boolean {
  return !readerLeft;
}

/** A line of data. Resolves when there is room for the next. The text must be safe already: `safeJson`, `safe`. */
export async function print(line: string): Promise<void> {
  if (readerLeft || process.stdout.write(`${line}\n`)) return;
  // A reader that leaves ends the wait with `close`.
  const done = new AbortController();
  await Promise.race([
    once(process.stdout, 'drain', { signal: done.signal }),
    once(process.stdout, 'close', { signal: done.signal }),
  ])
    .catch(() => undefined)
    .finally(() => done.abort());
}

/** Resolves when what was written has been handed to the system, for a process that is about to exit. */
export async function flush(): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    if (stream.writable) await new Promise((written) => stream.write('', written));
  }
}

/** A line for people, to stderr. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** A line on the terminal that the next one overwrites; nothing where stderr is no terminal. '' removes it. */
export function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
}

/**
 * Text of several lines with everything but its line breaks made harmless. Where a line break would begin a line that is
 * not ours, such as in an alias, it is `escapeControls` that is wanted.
 */
export function safe(text: string): string {
  return text.split('\n').map(escapeControls).join('\n');
}

/** JSON in which every control character is escaped, those that JSON itself would let through too. */
export function safeJson(value: unknown, indent?: number): string {
  return safe(JSON.stringify(value, undefined, indent));
}

/** `text` in a style, where stdout is a terminal with colours and NO_COLOR is not set. */
export function styled(
  style: 'bold' | 'dim' | 'red' | 'yellow',
  text: string,
  stream: WriteStream = process.stdout,
): string {
  const codes = { bold: [1, 22], dim: [2, 22], red: [31, 39], yellow: [33, 39] }[style];
  const coloured = stream.isTTY && stream.hasColors();
  return coloured ? `\u001b[${codes[0]}m${text}\u001b[${codes[1]}m` : text;
}

/** Rows below a header, in columns; numbers to the right. */
export function table(header: readonly string[], rows: readonly (readonly (string | number)[])[]): string[] {
  const cells = rows.map((row) => row.map((cell) => escapeControls(String(cell))));
  const widths = header.map((title, column) =>
    Math.max(title.length, ...cells.map((row) => row[column]?.length ?? 0)),
  );
  const right = header.map((_, column) => rows.every((row) => typeof row[column] === 'number'));
  const lay = (row: readonly string[]): string =>
    row
      .map((cell, column) =>
        right[column] ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return [styled('bold', lay(header)), ...cells.map(lay)];
}

/** 1234567 as 1,234,567. */
export function grouped(count: number): string {
  return count.toLocaleString('en');
}

/** "1 message", "2 messages", "3 processes". */
export function counted(count: number, noun: string): string {
  const plural = noun.endsWith('s') ? 'es' : 's';
  return `${grouped(count)} ${noun}${count === 1 ? '' : plural}`;
}
