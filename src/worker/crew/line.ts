/**
 * What leads from a member to its parent. Node's own channel is for a parent that trusts its members: it takes what they say
 * into memory whatever its length, and a line that is no JSON is the end of the parent. A supervisor, which is not to fall
 * with any worker, has a pipe for each way instead and bounds what comes through them (src/supervisor/channel.ts).
 */
import { Socket } from 'node:net';
import type { Order, Told } from './protocol.ts';

/** Descriptors to a supervisor, and from it, as it starts its children. */
const TOLD = 3;
const ORDERS = 4;

export interface LineListeners {
  /** Told to stop, or else to give up at once. Must not throw. */
  onOrder: (force: boolean) => void;
  /** The parent is gone. May be called more than once, and before the constructor has returned. Must not throw. */
  onEnd: () => void;
}

export interface Line {
  /** Calls `done` when the parent has got it, as far as the system tells, or is gone; its end is noticed elsewhere. */
  tell(told: Told, done: () => void): void;
}

export class IpcLine implements Line {
  readonly #send = process.send?.bind(process);

  constructor({ onOrder, onEnd }: LineListeners) {
    // The channel is the crew's own: a worker finds none, as if it ran by itself, and can say nothing in its place.
    delete process.send;
    process.on('message', ({ type }: Order) => onOrder(type === 'force'));
    process.once('disconnect', onEnd);
    if (!process.connected) onEnd();
  }

  tell(told: Told, done: () => void): void {
    if (process.connected) this.#send?.(told, undefined, {}, done);
    else done();
  }
}

export class PipeLine implements Line {
  readonly #told = new Socket({ fd: TOLD, readable: false, writable: true });
  readonly #orders = new Socket({ fd: ORDERS, readable: true, writable: false });

  constructor({ onOrder, onEnd }: LineListeners) {
    let text = '';
    this.#orders.setEncoding('utf8');
    this.#orders.on('data', (part: string) => {
      const lines = (text + part).split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) onOrder((JSON.parse(line) as Order).type === 'force');
    });
    // A pipe that breaks is a pipe that ends.
    for (const pipe of [this.#orders, this.#told]) pipe.on('error', () => undefined);
    this.#orders.once('close', onEnd);
  }

  tell(told: Told, done: () => void): void {
    if (this.#told.writable) this.#told.write(`${JSON.stringify(told)}\n`, done);
    else done();
  }
}
