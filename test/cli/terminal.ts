/** Runs the compiled commands in a real pseudo-terminal, and keeps its screen as the person before it would see it. */
import { spawn, type IPty } from '@lydell/node-pty';
import headless from '@xterm/headless';
import { fileURLToPath } from 'node:url';
import type { CommandName } from './commands.ts';

const BIN = fileURLToPath(new URL('../../dist/bin/', import.meta.url));

/** What keys send. */
export const KEYS = {
  up: '\u001b[A',
  down: '\u001b[B',
  enter: '\r',
  escape: '\u001b',
  ctrlC: '\u0003',
  ctrlD: '\u0004',
  ctrlZ: '\u001a',
} as const;

export interface TerminalOptions {
  /** The folder in which the command runs. */
  cwd: string;
  /** 80 unless it is said. */
  cols?: number;
  /** 24 unless it is said. */
  rows?: number;
  env?: Record<string, string>;
}

export interface TerminalEnd {
  code: number;
  /** 0 when no signal ended it. */
  signal: number;
}

export class Terminal {
  /** Resolves when the command has ended and all it wrote is on the screen. */
  readonly ended: Promise<TerminalEnd>;
  readonly #pty: IPty;
  readonly #screen: headless.Terminal;
  readonly #listeners = new Set<() => void>();
  #output = '';
  #end: TerminalEnd | undefined;

  constructor(
    file: string,
    args: readonly string[],
    { cwd, cols = 80, rows = 24, env = {} }: TerminalOptions,
  ) {
    this.#screen = new headless.Terminal({ cols, rows, allowProposedApi: true, scrollback: 1000 });
    this.#pty = spawn(file, [...args], {
      name: env['TERM'] ?? 'xterm-256color',
      cwd,
      cols,
      rows,
      env: { PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'], LANG: 'C.UTF-8', ...env },
    });
    this.#pty.onData((text) => {
      this.#output += text;
      this.#screen.write(text, () => this.#changed());
    });
    // What programs ask of a terminal (where the cursor is, what it is) it answers.
    this.#screen.onData((answer) => this.#pty.write(answer));
    this.ended = new Promise((resolve) => {
      this.#pty.onExit(({ exitCode, signal = 0 }) => {
        // What was written before this is on the screen when this is.
        this.#screen.write('', () => {
          this.#end = { code: exitCode, signal };
          this.#changed();
          resolve(this.#end);
        });
      });
    });
  }

  /** A compiled command. */
  static command(command: CommandName, args: readonly string[], options: TerminalOptions): Terminal {
    return new Terminal(process.execPath, [`${BIN}${command}.js`, ...args], options);
  }

  /** A shell at its prompt `$ `, with job control; `queue` and `queue-worker` are commands in it. */
  static shell(options: TerminalOptions): Terminal {
    const env = { ...options.env, NODE: process.execPath, BIN, PS1: '$ ', ENV: '', HISTFILE: '' };
    const terminal = new Terminal('bash', ['--noprofile', '--norc', '-i'], { ...options, env });
    terminal.type('queue() { "$NODE" "$BIN/queue.js" "$@"; }\r');
    terminal.type('queue-worker() { "$NODE" "$BIN/queue-worker.js" "$@"; }\r');
    return terminal;
  }

  get pid(): number {
    return this.#pty.pid;
  }

  /** All that was written to the terminal so far, escape sequences and all. */
  get output(): string {
    return this.#output;
  }

  /** The rows of the screen from its top, without what was never written at their ends. */
  screen(): string[] {
    const { baseY } = this.#screen.buffer.active;
    return Array.from({ length: this.#screen.rows }, (_, row) => this.#row(baseY + row));
  }

  /** The rows that have scrolled out of sight, then the screen. */
  everything(): string[] {
    const { length } = this.#screen.buffer.active;
    return Array.from({ length }, (_, row) => this.#row(row));
  }

  /** What a program has switched the terminal to, and has to switch back. */
  modes(): { alternateScreen: boolean; cursorHidden: boolean; wraps: boolean; bracketedPaste: boolean } {
    const { wraparoundMode, bracketedPasteMode } = this.#screen.modes;
    // xterm tells of everything but its cursor.
    const cursor = Math.max(this.#output.lastIndexOf('\u001b[?25l'), this.#output.lastIndexOf('\u001b[?25h'));
    return {
      alternateScreen: this.#screen.buffer.active.type === 'alternate',
      cursorHidden: this.#output.startsWith('\u001b[?25l', Math.max(cursor, 0)),
      wraps: wraparoundMode,
      bracketedPaste: bracketedPasteMode,
    };
  }

  /** Resolves when the screen shows it; rejects when the command ends without, or after `most` ms, with what it shows. */
  shows(wanted: string | RegExp, most = 20_000): Promise<void> {
    return this.until(
      (rows) => {
        const text = rows.join('\n');
        return typeof wanted === 'string' ? text.includes(wanted) : wanted.test(text);
      },
      String(wanted),
      most,
    );
  }

  /** Resolves when the rows of the screen are as wanted, `what` in words. Rejects as `shows` does. */
  until(holds: (rows: string[]) => boolean, what: string, most = 20_000): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (error?: Error): void => {
        clearTimeout(timer);
        this.#listeners.delete(look);
        if (error) reject(error);
        else resolve();
      };
      const fail = (why: string): void =>
        done(new Error(`${why} without showing ${what}; the screen:\n${this.screen().join('\n')}`));
      const look = (): void => {
        if (holds(this.screen())) done();
        else if (this.#end) fail(`ended with ${this.#end.code}`);
      };
      const timer = setTimeout(() => fail(`${most} ms passed`), most);
      this.#listeners.add(look);
      look();
    });
  }

  /** Types as a person would: `keys` are characters, and what is in `KEYS`. */
  type(keys: string): void {
    this.#pty.write(keys);
  }

  /** What a person does with the corner of a window. The command is told by SIGWINCH. */
  resize(cols: number, rows: number): void {
    this.#screen.resize(cols, rows);
    this.#pty.resize(cols, rows);
  }

  signal(name: NodeJS.Signals): void {
    this.#pty.kill(name);
  }

  /** Ends the command if it runs; resolves when it is gone. */
  async close(): Promise<void> {
    if (!this.#end) this.#pty.kill('SIGKILL');
    await this.ended;
    this.#screen.dispose();
  }

  #row(number: number): string {
    const row = this.#screen.buffer.active.getLine(number);
    if (!row) return '';
    // As wide as the screen is now: rows that were wider before keep what cannot be seen any more.
    let end = Math.min(this.#screen.cols, row.length);
    while (end > 0 && isBlank(row.getCell(end - 1))) end--;
    return row.translateToString(false, 0, end);
  }

  #changed(): void {
    for (const look of this.#listeners) look();
  }
}

/** Never written to, or erased. The second half of a wide character has no text of its own, and no width. */
function isBlank(cell: headless.IBufferCell | undefined): boolean {
  return cell === undefined || (cell.getChars() === '' && cell.getWidth() > 0);
}
