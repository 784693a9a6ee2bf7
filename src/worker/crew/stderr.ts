/** A child's stderr: handed on line by line, so that the lines of several children do not mix, and its end kept. */
import type { Readable } from 'node:stream';
import { LOGGED } from '../log.ts';

/** Characters kept of the end. */
const KEPT = 2048;
/** A line longer than this is handed on in pieces. */
const LONGEST_LINE = 64 * 1024;
/** But those of a log are read by the parent, and so must stay whole. */
const LONGEST_LOGGED = 16 * 1024 * 1024;

export class Stderr {
  #end = '';
  #line = '';
  readonly #onLine: (line: string) => void;
  /** Resolves when nobody writes to it any more; what the child started may do so longer than the child. */
  readonly closed: Promise<void>;

  constructor(stream: Readable, onLine: (line: string) => void) {
    this.#onLine = onLine;
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => this.#take(text));
    this.closed = new Promise((resolve) => stream.once('close', resolve));
  }

  get end(): string {
    return this.#end;
  }

  /** Hands on a last line that was never finished. */
  flush(): void {
    if (this.#line !== '') this.#onLine(this.#line);
    this.#line = '';
  }

  #take(text: string): void {
    this.#end = (this.#end + text).slice(-KEPT);
    const [begun = '', ...lines] = text.split('\n');
    // Appended, not split again: a long line comes in many pieces.
    this.#line += begun;
    for (const line of lines) {
      this.#onLine(this.#line);
      this.#line = line;
    }
    if (this.#line.length <= LONGEST_LINE) return;
    if (this.#line.length > LONGEST_LOGGED || !this.#line.startsWith(LOGGED)) this.flush();
  }
}
