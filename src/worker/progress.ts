/**
 * What a handler says of its progress, on its way to the store: at most one record in half a second, with the last word
 * said. A try that is shorter than that writes none, and what was not yet written when it ends is dropped: nobody can
 * look at the message by then.
 */
import { performance } from 'node:perf_hooks';

/** Milliseconds between two records. */
const INTERVAL = 500;
/** Bytes of UTF-8; what a manager takes. */
const LONGEST_TEXT = 1024;

export interface Word {
  percent: number;
  text: string;
}

export class ProgressNotes {
  readonly #write: (word: Word) => Promise<void>;
  /** Monotonic milliseconds. */
  #lastAt: number;
  #unwritten: Word | undefined;
  #writing = false;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param since when the try began; monotonic milliseconds.
   * @param write must not reject.
   */
  constructor(since: number, write: (word: Word) => Promise<void>) {
    this.#lastAt = since;
    this.#write = write;
  }

  /** Takes anything: handlers divide by zero, and not all are written in TypeScript. */
  say(percent: unknown, text: unknown): void {
    this.#unwritten = {
      percent: typeof percent === 'number' && !Number.isNaN(percent) ? percent : 0,
      text: typeof text === 'string' ? cut(text) : '',
    };
    this.#next();
  }

  /** Nothing is to be said afterwards. */
  close(): void {
    this.#unwritten = undefined;
    clearTimeout(this.#timer);
  }

  #next(): void {
    if (this.#writing || this.#timer || !this.#unwritten) return;
    const wait = this.#lastAt + INTERVAL - performance.now();
    if (wait <= 0) void this.#put(this.#unwritten);
    else {
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        if (this.#unwritten) void this.#put(this.#unwritten);
      }, wait);
    }
  }

  async #put(word: Word): Promise<void> {
    this.#unwritten = undefined;
    this.#lastAt = performance.now();
    this.#writing = true;
    await this.#write(word);
    this.#writing = false;
    this.#next();
  }
}

function cut(text: string): string {
  if (text.length * 3 <= LONGEST_TEXT) return text;
  // Stops before a character that does not fit as a whole.
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(LONGEST_TEXT));
  return text.slice(0, read);
}
