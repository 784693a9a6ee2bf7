/**
 * Messages between the supervisor and a child, both ways: a line of JSON each, over a pipe of its own for each way, so that
 * what the other end has said is heard also when that does not listen any more. Neither end trusts the other: a line that is
 * too long, or no JSON, ends the channel, and what is read is checked by who gets it.
 *
 * Not the channel that Node opens with `fork`: that takes lines of any length into memory, and goes on reading whatever
 * comes. Here a process that floods is read no faster than its messages are dealt with, and one that does not read
 * is sent no more than a bounded amount.
 */
import type { Readable, Writable } from 'node:stream';
import { QueueError, quote } from '../errors.ts';
import type { Pipes } from '../worker/exec/group.ts';

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
  readonly #incoming: Readable;
  readonly #outgoing: Writable;
  readonly #listeners: ChannelListeners;
  #parts: Buffer[] = [];
  #length = 0;
  #open = true;

  constructor({ incoming, outgoing }: Pipes, listeners: ChannelListeners) {
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    this.#listeners = listeners;
    incoming.on('data', (chunk: Buffer) => this.#take(chunk));
    // A pipe that breaks is a pipe that ends.
    incoming.on('error', () => this.#end(undefined));
    incoming.once('end', () => this.#end(undefined));
    incoming.once('close', () => this.#end(undefined));
    // What it has said before it went is still to come.
    outgoing.on('error', () => undefined);
  }

  /** Whether anything may be sent. */
  get isOpen(): boolean {
    return this.#open && this.#outgoing.writable;
  }

  /** Whether as much waits to be read at the other end as may. */
  get isFull(): boolean {
    return this.#outgoing.writableLength >= MOST_WAITING;
  }

  /**
   * Hands a message to the system, or to memory while the other end does not read. Whether it is ever read is another matter.
   * Errors: CHILD_GONE: the channel has ended, or nobody listens any more; CHILD_BUSY: 4 MiB wait already; MESSAGE_TOO_LARGE.
   */
  send(message: object): void {
    if (!this.isOpen) throw new QueueError('CHILD_GONE', 'the channel has ended');
    if (this.isFull) {
      throw new QueueError(
        'CHILD_BUSY',
        `expected the other end to read; ${this.#outgoing.writableLength} bytes wait for it already`,
      );
    }
    const line = Buffer.from(`${JSON.stringify(message)}\n`);
    if (line.length > LONGEST_LINE) {
      throw new QueueError(
        'MESSAGE_TOO_LARGE',
        `expected a message of at most ${LARGEST_MESSAGE} bytes, received ${line.length}`,
      );
    }
    this.#outgoing.write(line);
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
    this.#incoming.destroy();
    this.#outgoing.destroy();
    this.#listeners.onEnd(why);
  }
}
