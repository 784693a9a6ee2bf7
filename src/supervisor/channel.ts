/**
 * Messages between the supervisor and a child, both ways: a line of JSON each, over a pipe of their own. Neither end
 * trusts the other: a line that is too long, or no JSON, ends the channel, and what is read is checked by who gets it.
 *
 * Not the channel that Node opens with `fork`: that takes lines of any length into memory, and goes on reading whatever
 * comes. Here a process that floods is read no faster than its messages are dealt with, and one that does not read
 * is sent no more than a bounded amount.
 */
import type { Duplex } from 'node:stream';
import { QueueError, quote } from '../errors.ts';

/** Bytes of what one message may carry: arguments, an answer. */
export const LARGEST_MESSAGE = 1024 * 1024;
/** Bytes of a line: what is carried, and its envelope. */
const LONGEST_LINE = LARGEST_MESSAGE + 16 * 1024;
/** Bytes that may wait until the other end reads; one message more is taken while there are fewer. */
const MOST_WAITING = 4 * LARGEST_MESSAGE;
const NEWLINE = 0x0a;

export interface ChannelListeners {
  /** Gets each message, which may be any JSON. Must not throw. */
  onMessage: (message: unknown) => void;
  /** Called once, when nothing comes any more: the other end is gone, or has broken the rules, as `why` says. */
  onEnd: (why: string | undefined) => void;
}

export class Channel {
  readonly #pipe: Duplex;
  readonly #listeners: ChannelListeners;
  #parts: Buffer[] = [];
  #length = 0;
  #open = true;

  constructor(pipe: Duplex, listeners: ChannelListeners) {
    this.#pipe = pipe;
    this.#listeners = listeners;
    pipe.on('data', (chunk: Buffer) => this.#take(chunk));
    // A pipe that breaks is a pipe that ends.
    pipe.on('error', () => this.#end(undefined));
    pipe.once('end', () => this.#end(undefined));
    pipe.once('close', () => this.#end(undefined));
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Whether as much waits to be read at the other end as may. */
  get isFull(): boolean {
    return this.#pipe.writableLength >= MOST_WAITING;
  }

  /**
   * Hands a message to the system, or to memory while the other end does not read. Whether it is ever read is another matter.
   * Errors: CHILD_GONE: the channel has ended; CHILD_BUSY: 4 MiB wait already; MESSAGE_TOO_LARGE.
   */
  send(message: object): void {
    if (!this.#open) throw new QueueError('CHILD_GONE', 'the channel has ended');
    if (this.isFull) {
      throw new QueueError(
        'CHILD_BUSY',
        `expected the other end to read; ${this.#pipe.writableLength} bytes wait for it already`,
      );
    }
    const line = Buffer.from(`${JSON.stringify(message)}\n`);
    if (line.length > LONGEST_LINE) {
      throw new QueueError(
        'MESSAGE_TOO_LARGE',
        `expected a message of at most ${LARGEST_MESSAGE} bytes, received ${line.length}`,
      );
    }
    this.#pipe.write(line);
  }

  /** Nothing comes or goes any more; `onEnd` has been called. */
  close(): void {
    this.#end(undefined);
  }

  #take(chunk: Buffer): void {
    let rest = chunk;
    while (this.#open) {
      const end = rest.indexOf(NEWLINE);
      const part = end < 0 ? rest : rest.subarray(0, end);
      this.#length += part.length;
      if (this.#length > LONGEST_LINE) return this.#end(`a message of more than ${LARGEST_MESSAGE} bytes`);
      this.#parts.push(part);
      if (end < 0) return;
      const line = Buffer.concat(this.#parts).toString('utf8');
      this.#parts = [];
      this.#length = 0;
      rest = rest.subarray(end + 1);
      this.#read(line);
    }
  }

  #read(line: string): void {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch {
      return this.#end(`${quote(line)} instead of a message`);
    }
    this.#listeners.onMessage(message);
  }

  #end(why: string | undefined): void {
    if (!this.#open) return;
    this.#open = false;
    this.#parts = [];
    this.#pipe.destroy();
    this.#listeners.onEnd(why);
  }
}
