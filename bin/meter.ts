/** How far long work on a file has come: one line on a terminal, nothing elsewhere. */
import { bar, columnsOf, fit } from './layout.ts';
import { progress } from './output.ts';

const PAUSE_MS = 100;
const WIDEST_BAR = 30;

export class Meter {
  readonly #doing: string;
  readonly #total: number;
  readonly #startedAt = Date.now();
  #shownAt = 0;

  /** @param doing such as `adding`. @param total bytes; 0 when that is not known. */
  constructor(doing: string, total: number) {
    this.#doing = doing;
    this.#total = total;
  }

  /** Shows the line, at most ten times a second, as far as the terminal is wide enough. @param done bytes. */
  show(done: number, besides = ''): void {
    const columns = columnsOf(process.stderr);
    const now = Date.now();
    if (columns === undefined || now - this.#shownAt < PAUSE_MS) return;
    this.#shownAt = now;
    progress(this.#line(done, now - this.#startedAt, besides, columns - 1));
  }

  #line(done: number, elapsed: number, besides: string, columns: number): string {
    const rate = elapsed < PAUSE_MS ? '' : `${bytes((done / elapsed) * 1000)}/s`;
    if (this.#total === 0) return joined([this.#doing, bytes(done), rate, besides], columns);
    // The file may have grown since its size was asked.
    const percent = Math.min(100, Math.floor((done / this.#total) * 100));
    const share = `${String(percent).padStart(3)}%`;
    const parts = [this.#doing, share, `${bytes(done)} of ${bytes(this.#total)}`, rate, besides];
    const text = joined(parts, columns);
    const room = columns - text.length - 2;
    if (room < 10) return text;
    return [this.#doing, bar(percent, Math.min(WIDEST_BAR, room)), ...parts.slice(1)]
      .filter((part) => part !== '')
      .join('  ');
  }
}

/** As many of the first parts as there is room for. */
function joined(parts: readonly string[], columns: number): string {
  const told = parts.filter((part) => part !== '');
  while (told.length > 1 && told.join('  ').length > columns) told.pop();
  return fit(told.join('  '), columns);
}

/** `340 B`, `1.2 MB`. */
function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = count;
  while (value >= 999.5 && units.length > 1) {
    value /= 1000;
    units.shift();
  }
  return `${units[0] === 'B' || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${units[0]}`;
}
