/** What a command prints: handed on line by line, and its end kept, in bounded memory whatever it is. */
import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';

/** Characters of a line that are handed on. */
const LONGEST_LINE = 2000;
/** Lines of one stream that are handed on: a command that chatters must not drown the log. */
const MOST_LINES = 1000;
/** Bytes. */
const KEPT = 2048;

/**
 * Reads the stream to its end. `onLine` gets each line that is not empty, without its end; of too many or too long ones
 * the beginning.
 */
export function follow(stream: Readable, onLine: (line: string) => void): Tail {
  const tail = new Tail();
  const decoder = new StringDecoder('utf8');
  let line = '';
  let count = 0;
  const give = (): void => {
    const text = line.endsWith('\r') ? line.slice(0, -1) : line;
    line = '';
    if (text === '' || count > MOST_LINES) return;
    count++;
    if (count > MOST_LINES) onLine(`(more than ${MOST_LINES} lines; the rest is left out)`);
    else onLine(text.length > LONGEST_LINE ? `${text.slice(0, LONGEST_LINE)}…` : text);
  };
  const take = (text: string): void => {
    for (const [index, part] of text.split('\n').entries()) {
      if (index > 0) give();
      // One character more than is shown, so that it can be told that there were more.
      line += part.slice(0, LONGEST_LINE + 1 - line.length);
    }
  };
  stream.on('data', (chunk: Buffer) => {
    tail.push(chunk);
    if (count <= MOST_LINES) take(decoder.write(chunk));
  });
  stream.once('close', () => {
    take(decoder.end());
    give();
  });
  // A pipe that breaks is a pipe that ends: the command's exit is what counts.
  stream.on('error', () => undefined);
  return tail;
}

/** The last bytes of a stream. */
export class Tail {
  #bytes = Buffer.alloc(0);
  #cut = false;

  push(chunk: Buffer): void {
    const all = Buffer.concat([this.#bytes, chunk.subarray(-KEPT)]);
    this.#cut ||= this.#bytes.length + chunk.length > KEPT;
    this.#bytes = all.subarray(-KEPT);
  }

  /** As text; '…' stands for what came before. */
  get text(): string {
    let start = 0;
    // Not from the middle of a character.
    if (this.#cut) while (start < 4 && ((this.#bytes[start] ?? 0) & 0xc0) === 0x80) start++;
    const text = this.#bytes.subarray(start).toString('utf8').trimEnd();
    return this.#cut ? `…${text}` : text;
  }
}
