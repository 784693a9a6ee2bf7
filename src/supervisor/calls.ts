/** Questions to one child, and their answers: matched by number, each with a deadline, and none left when the child is gone. */
import type { Clock } from '../cache/ports.ts';
import { QueueError, escapeControls } from '../errors.ts';
import type { Json } from '../message.ts';
import type { Launched } from './launch.ts';
import type { Order, Told } from './protocol.ts';

/** Questions that may be open. */
const MOST_OPEN = 1000;

interface Call {
  readonly resolve: (result: Json) => void;
  readonly reject: (error: QueueError) => void;
  readonly cancel: () => void;
}

export class Calls {
  readonly #child: Launched;
  readonly #clock: Clock;
  readonly #id: string;
  readonly #open = new Map<number, Call>();
  #last = 0;

  constructor(child: Launched, clock: Clock, id: string) {
    this.#child = child;
    this.#clock = clock;
    this.#id = id;
  }

  /** Resolves with the answer. An answer that comes after the deadline is dropped. Errors: see `Child.send`. */
  call(order: (id: number) => Order, deadline: number): Promise<Json> {
    return new Promise((resolve, reject) => {
      if (this.#open.size >= MOST_OPEN)
        throw new QueueError('CHILD_BUSY', `${this.#id} has ${MOST_OPEN} questions to answer already`);
      const id = ++this.#last;
      this.#child.send(order(id));
      const late = (): void => {
        this.#open.delete(id);
        reject(
          new QueueError('COMMAND_TIMEOUT', `${this.#id} has not answered within ${Math.round(deadline)} ms`),
        );
      };
      this.#open.set(id, { resolve, reject, cancel: this.#clock.timer(deadline, late) });
    });
  }

  answered(answer: Told & { type: 'answer' }): void {
    const call = this.#open.get(answer.id);
    if (!call) return;
    this.#open.delete(answer.id);
    call.cancel();
    if ('result' in answer) return call.resolve(answer.result);
    const { code, message } = answer.error;
    // It may say anything; only this it can know better than its supervisor.
    const known = code === 'UNKNOWN_COMMAND' ? code : 'COMMAND_FAILED';
    call.reject(new QueueError(known, `${this.#id}: ${escapeControls(message)}`));
  }

  /** Nothing is answered any more. */
  end(error: QueueError): void {
    for (const { reject, cancel } of this.#open.values()) {
      cancel();
      reject(error);
    }
    this.#open.clear();
  }
}
