/**
 * The queues that a manager has open, and the one way to ask something of them: checked, counted among the errors when
 * it fails, refused once the manager is closed. A handle whose queue has been destroyed, or whose storage has failed, is
 * forgotten with the call that found out, so that the next call opens what now has the name.
 */
import type { Backend, Queue } from './backend.ts';
import { QueueError, quote } from './errors.ts';
import { checkQueueName } from './validate.ts';

/** What a handle does not recover from. */
const OPEN_ANEW: ReadonlySet<string> = new Set(['QUEUE_DESTROYED', 'STORAGE_FAILED', 'JOURNAL_CORRUPT']);

/** A queue that is open, or about to be. */
interface Handle {
  queue: Queue | undefined;
  opening: Promise<Queue>;
  /** For the rejection of whatever was asked of the queue. */
  readonly refused: (error: unknown) => never;
}

export class OpenQueues {
  readonly #backend: Backend;
  readonly #onError: (error: QueueError) => void;
  readonly #handles = new Map<string, Handle>();
  #closing: Promise<void> | undefined;
  #lastError: QueueError | undefined;
  /** What the backend's own last error was when ours was noted. */
  #backgroundSeen: QueueError | undefined;

  /** @param onError called with each error that a call is about to reject with. */
  constructor(backend: Backend, onError: (error: QueueError) => void) {
    this.#backend = backend;
    this.#onError = onError;
  }

  /**
   * Asks something of a queue. Not an async function, and one `then` for all: when the queue is open, it is asked
   * before this returns, and its answer is the caller's one microtask later.
   * @param prepare checks what was given, and returns what to ask.
   */
  ask<T, R>(queue: string, prepare: () => (open: Queue) => Promise<T>, answer: (value: T) => R): Promise<R> {
    try {
      const question = this.#checked(queue, prepare);
      const handle = this.#handles.get(queue) ?? this.#open(queue);
      const asked = handle.queue ? question(handle.queue) : handle.opening.then(question);
      return asked.then(answer, handle.refused);
    } catch (error) {
      return Promise.reject(this.#noted(error));
    }
  }

  /** As `ask`, for what comes one by one. */
  async *each<T>(queue: string, prepare: () => (open: Queue) => AsyncIterable<T>): AsyncGenerator<T> {
    let handle: Handle | undefined;
    try {
      const question = this.#checked(queue, prepare);
      handle = this.#handles.get(queue) ?? this.#open(queue);
      yield* question(handle.queue ?? (await handle.opening));
    } catch (error) {
      handle?.refused(error);
      throw this.#noted(error);
    }
  }

  /** Asks something of the store as a whole. */
  async store<T>(ask: (backend: Backend) => Promise<T>): Promise<T> {
    try {
      this.#refuseClosed();
      return await ask(this.#backend);
    } catch (error) {
      throw this.#noted(error);
    }
  }

  /** Makes or ends a queue: when the answer is true, what was open under its name is so no more. */
  turn(queue: string, ask: (backend: Backend) => Promise<boolean>): Promise<boolean> {
    return this.store(async (backend) => {
      checkQueueName(queue);
      const before = this.#handles.get(queue);
      const turned = await ask(backend);
      if (turned && before) this.#forget(queue, before);
      return turned;
    });
  }

  lastError(): QueueError | undefined {
    const background = this.#backend.lastError();
    if (background !== this.#backgroundSeen) {
      this.#backgroundSeen = background;
      this.#lastError = background ?? this.#lastError;
    }
    return this.#lastError;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      // An opening that fails has told its callers.
      await Promise.allSettled([...this.#handles.values()].map(({ opening }) => opening));
      await this.#backend.close();
    } catch (error) {
      throw this.#noted(error);
    }
  }

  #checked<T>(queue: string, check: () => T): T {
    this.#refuseClosed();
    // What is open has a name that was checked.
    if (!this.#handles.has(queue)) checkQueueName(queue);
    return check();
  }

  #refuseClosed(): void {
    if (this.#closing) throw new QueueError('CLOSED', 'this QueueManager has been closed');
  }

  #open(name: string): Handle {
    const handle: Handle = {
      queue: undefined,
      opening: this.#backend.open(name).then(
        (queue) => (handle.queue = queue),
        (error: unknown) => {
          if (this.#handles.get(name) === handle) this.#handles.delete(name);
          throw error;
        },
      ),
      refused: (error) => {
        if (error instanceof QueueError && OPEN_ANEW.has(error.code)) this.#forget(name, handle);
        throw this.#noted(error);
      },
    };
    this.#handles.set(name, handle);
    return handle;
  }

  #forget(name: string, handle: Handle): void {
    if (this.#handles.get(name) !== handle) return;
    this.#handles.delete(name);
    handle.opening.then((queue) => queue.close()).catch((error: unknown) => this.#noted(error));
  }

  #noted(error: unknown): Error {
    if (error instanceof QueueError) {
      this.#lastError = error;
      this.#backgroundSeen = this.#backend.lastError();
      this.#onError(error);
    }
    return error instanceof Error ? error : new Error(quote(error));
  }
}
