/** What a child prints, line by line: bounded in length and rate whatever it is, and harmless wherever it is shown. */
import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { escapeControls } from '../errors.ts';
import { LOGGED } from '../worker/log.ts';

/** Characters of a line that are handed on. */
const LONGEST_LINE = 4000;
/** Of a line of a log, which is read by the supervisor, and so must be whole. */
const LONGEST_LOGGED = 1024 * 1024;
/** What Node prints behind the message of an error that nobody has caught. */
const BEHIND_ERROR = /^(?:\s+at |Node\.js v\d)/;
/** So many a second, and as many again at once. */
const RATE = 500;
/** How often it is told how many were left out; ms. */
const TELL_EVERY = 1000;

/** Lets so many pass a second, and counts the rest. */
export class Rate {
  readonly #most: number;
  readonly #onLeftOut: (count: number) => void;
  #left: number;
  #since = performance.now();
  #leftOut = 0;
  #telling: NodeJS.Timeout | undefined;

  /** @param onLeftOut called once a second while some are left out. Must not throw. */
  constructor(most: number, onLeftOut: (count: number) => void) {
    this.#most = most;
    this.#left = most * 2;
    this.#onLeftOut = onLeftOut;
  }

  /** Whether one more may pass. */
  take(): boolean {
    const now = performance.now();
    this.#left = Math.min(this.#most * 2, this.#left + ((now - this.#since) / 1000) * this.#most);
    this.#since = now;
    if (this.#left >= 1) {
      this.#left--;
      return true;
    }
    this.#leftOut++;
    this.#telling ??= setTimeout(() => this.tell(), TELL_EVERY);
    return false;
  }

  /** Tells now what there is to be told. */
  tell(): void {
    clearTimeout(this.#telling);
    this.#telling = undefined;
    if (this.#leftOut > 0) this.#onLeftOut(this.#leftOut);
    this.#leftOut = 0;
  }
}

export interface LinesListeners {
  /** Gets each line that is not empty, without control characters; of a long one the beginning. Must not throw. */
  onLine: (line: string) => void;
  /** Gets a line that looks like one of a Coda log, as it is. Must not throw. */
  onLogged: (line: string) => void;
  onLeftOut: (count: number) => void;
}

/** Reads the stream to its end. Returns what tells its last line, of an error in Node its message. */
export function readLines(stream: Readable, { onLine, onLogged, onLeftOut }: LinesListeners): () => string {
  const decoder = new StringDecoder('utf8');
  const rate = new Rate(RATE, onLeftOut);
  let line = '';
  let last = '';
  const give = (): void => {
    const text = line.endsWith('\r') ? line.slice(0, -1) : line;
    line = '';
    if (text.trim() === '') return;
    if (text.startsWith(LOGGED) && text.length <= LONGEST_LOGGED) {
      if (rate.take()) onLogged(text);
      return;
    }
    const shown = escapeControls(text.length > LONGEST_LINE ? `${text.slice(0, LONGEST_LINE)}…` : text);
    if (!BEHIND_ERROR.test(text)) last = shown;
    if (rate.take()) onLine(shown);
  };
  const take = (text: string): void => {
    for (const [index, part] of text.split('\n').entries()) {
      if (index > 0) give();
      const longest = (line === '' ? part : line).startsWith(LOGGED) ? LONGEST_LOGGED : LONGEST_LINE;
      // One character more than is shown, so that it can be told that there were more.
      line += part.slice(0, Math.max(0, longest + 1 - line.length));
    }
  };
  stream.on('data', (chunk: Buffer) => take(decoder.write(chunk)));
  stream.once('close', () => {
    take(decoder.end());
    give();
    rate.tell();
  });
  // A pipe that breaks is a pipe that ends.
  stream.on('error', () => undefined);
  return () => last;
}
