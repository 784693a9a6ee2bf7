/**
 * The terminal while a program has all of it: the alternate screen, keys one by one, rows that are drawn where they
 * have changed. However the program ends or pauses, the terminal is then as it was before.
 */
import { emitKeypressEvents } from 'node:readline';
import type { Key } from './view.ts';

const ESC = '\u001b[';
/** Alternate screen, hidden cursor; no wrapping, so that a row that turns out too wide hurts only itself; pastes marked. */
const ENTER = `${ESC}?1049h${ESC}?25l${ESC}?7l${ESC}?2004h`;
const LEAVE = `${ESC}?2004l${ESC}?7h${ESC}?25h${ESC}?1049l`;
/** What stands between these is shown at once, by terminals that know them; others pass them over. */
const [BEGIN, END] = [`${ESC}?2026h`, `${ESC}?2026l`];
/** After so many milliseconds a process that has asked to be stopped, and runs, has not been: its group is an orphan. */
const STOPPED_MS = 200;

export interface ScreenEvents {
  key(key: Key): void;
  /** What is on the terminal is no longer what was drawn: it has another size, or was somebody else's. */
  spoilt(): void;
  /** The terminal is gone. */
  gone(): void;
}

export class Screen {
  readonly #events: ScreenEvents;
  /** What the terminal shows. */
  #drawn: string[] = [];
  #inside = false;
  #pasting = false;
  #stopped: NodeJS.Timeout | undefined;

  constructor(events: ScreenEvents) {
    this.#events = events;
  }

  /** False where stdin is no terminal: then only signals end the program. */
  get hasKeys(): boolean {
    return process.stdin.isTTY;
  }

  get size(): { columns: number; rows: number } {
    // A terminal that does not know its size says 0.
    return { columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 };
  }

  open(): void {
    const { stdin, stdout } = process;
    stdout.on('resize', this.#spoilt);
    process.on('SIGTSTP', this.suspend).on('SIGCONT', this.#resume);
    // Before an error is printed: on the alternate screen nobody would find it.
    process.on('uncaughtExceptionMonitor', this.#leave).on('exit', this.#leave);
    if (this.hasKeys) {
      // Half a second is Node's wait for the rest of an escape sequence; none takes that long.
      emitKeypressEvents(stdin);
      stdin.on('keypress', this.#key).on('end', this.#gone).on('error', this.#gone);
    }
    this.#enter();
  }

  close(): void {
    const { stdin, stdout } = process;
    clearTimeout(this.#stopped);
    this.#leave();
    stdout.off('resize', this.#spoilt);
    process.off('SIGTSTP', this.suspend).off('SIGCONT', this.#resume);
    process.off('uncaughtExceptionMonitor', this.#leave).off('exit', this.#leave);
    stdin.off('keypress', this.#key).off('end', this.#gone).off('error', this.#gone);
    if (this.hasKeys) stdin.pause();
  }

  /** Shows these rows, each as wide as the terminal at most; writes those that have changed. */
  draw(rows: readonly string[]): void {
    // A terminal that is behind gets the next frame instead.
    if (!this.#inside || process.stdout.writableNeedDrain) return;
    let text = '';
    for (const [index, row] of rows.entries()) {
      // Erased first: after a row of full width the cursor stands on its last character.
      if (row !== this.#drawn[index]) text += `${ESC}${index + 1}H${ESC}K${row}`;
    }
    if (text !== '') process.stdout.write(`${BEGIN}${text}${END}`);
    this.#drawn = [...rows];
  }

  /** Draws everything with the next frame. */
  forget(): void {
    this.#drawn = [];
  }

  /** Gives the terminal back and stops, with all of its job, until the shell says to go on. */
  readonly suspend = (): void => {
    if (!this.#inside) return;
    this.#leave();
    // Ours would be called in place of being stopped.
    process.off('SIGTSTP', this.suspend);
    process.kill(0, 'SIGTSTP');
    this.#stopped = setTimeout(this.#resume, STOPPED_MS);
  };

  readonly #resume = (): void => {
    clearTimeout(this.#stopped);
    process.off('SIGTSTP', this.suspend).on('SIGTSTP', this.suspend);
    if (!this.#inside) this.#enter();
    this.#spoilt();
  };

  #enter(): void {
    this.#inside = true;
    if (this.hasKeys) process.stdin.setRawMode(true).resume();
    process.stdout.write(ENTER);
  }

  readonly #leave = (): void => {
    if (!this.#inside) return;
    this.#inside = false;
    process.stdout.write(LEAVE);
    if (this.hasKeys) process.stdin.setRawMode(false);
  };

  readonly #spoilt = (): void => {
    this.forget();
    this.#events.spoilt();
  };

  readonly #gone = (): void => this.#events.gone();

  readonly #key = (_: string | undefined, key: Key): void => {
    if (key.name === 'paste-start') this.#pasting = true;
    else if (key.name === 'paste-end') this.#pasting = false;
    // Text that was meant for another window is no orders.
    else if (!this.#pasting) this.#events.key(key);
  };
}
