/**
 * The in-memory backend: for tests of programs that use queues, and the specification that other backends are held
 * against. Several backends may open one store, as several processes open one folder. Nothing outlives the store.
 */
import type { Backend, Ending, Queue } from '../backend.ts';
import { QueueError, quote } from '../errors.ts';
import { nearest } from '../suggest.ts';
import { MemoryQueue } from './queue.ts';

/** What a folder is to the file backend: make one with `new Map()`. */
export type MemoryStore = Map<string, MemoryQueue>;

export interface MemoryOptions {
  /** Shared by the backends that are to see the same queues; default: one of its own. */
  store?: MemoryStore;
  /** Claims that may lapse before their message counts as failed; default 3. */
  crashLimit?: number;
  /** Ended messages that a queue remembers; default 1000. */
  keepOutcomes?: number;
  /** Epoch milliseconds, for leases and due times; default: `Date.now`. */
  now?: () => number;
}

/** The longest that a timer runs before the clock is looked at again: the clock may have been set meanwhile. */
const LONGEST_TIMER = 60_000;

export function openMemory(options: MemoryOptions = {}): Backend {
  const store = options.store ?? new Map<string, MemoryQueue>();
  // Looked up at each call, so that a test's fake timers are seen.
  const now = options.now ?? (() => Date.now());
  const settings = { crashLimit: options.crashLimit ?? 3, keepOutcomes: options.keepOutcomes ?? 1000, now };
  const open = new Set<MemoryHandle>();
  return {
    async create(name, queueOptions) {
      if (store.has(name)) return false;
      store.set(name, new MemoryQueue(name, { ...queueOptions }, settings));
      return true;
    },
    async destroy(name) {
      store.get(name)?.destroy();
      return store.delete(name);
    },
    async exists(name) {
      return store.has(name);
    },
    async list() {
      return [...store.keys()].toSorted();
    },
    async open(name) {
      const queue = store.get(name);
      if (!queue) {
        const near = nearest(name, [...store.keys()]);
        const hint = near === undefined ? '' : `; did you mean ${quote(near)}?`;
        throw new QueueError('QUEUE_NOT_FOUND', `there is no queue named ${quote(name)}${hint}`, {
          queue: name,
        });
      }
      const handle = new MemoryHandle(queue, now, () => open.delete(handle));
      open.add(handle);
      return handle;
    },
    lastError: () => undefined,
    async close() {
      for (const handle of open) await handle.close();
    },
  };
}

/** One backend's view of a queue, until it closes or the queue is destroyed. */
class MemoryHandle implements Queue {
  readonly #queue: MemoryQueue;
  readonly #now: () => number;
  readonly #onClose: () => void;
  readonly #waits = new Set<() => void>();
  #closed = false;

  constructor(queue: MemoryQueue, now: () => number, onClose: () => void) {
    this.#queue = queue;
    this.#now = now;
    this.#onClose = onClose;
  }

  // Each change happens within the call itself, before anything is awaited: in the order of the calls.
  async add(...args: Parameters<Queue['add']>): ReturnType<Queue['add']> {
    return this.#live().add(...args);
  }
  async claim(limit: number, lease: number): ReturnType<Queue['claim']> {
    return this.#live().claim(limit, lease, this);
  }
  async take(): ReturnType<Queue['take']> {
    return this.#live().take(this);
  }
  async settle(...args: Parameters<Queue['settle']>): ReturnType<Queue['settle']> {
    return this.#live().settle(...args);
  }
  async update(...args: Parameters<Queue['update']>): ReturnType<Queue['update']> {
    return this.#live().update(...args);
  }
  async change(...args: Parameters<Queue['change']>): ReturnType<Queue['change']> {
    return this.#live().change(...args);
  }
  async status(): ReturnType<Queue['status']> {
    return this.#live().status();
  }
  async *find(...args: Parameters<Queue['find']>): ReturnType<Queue['find']> {
    for (const message of this.#live().find(...args)) {
      yield message;
      this.#live();
    }
  }

  async losses(...args: Parameters<Queue['losses']>): ReturnType<Queue['losses']> {
    return this.#live().losses(...args);
  }
  async inspect(...args: Parameters<Queue['inspect']>): ReturnType<Queue['inspect']> {
    return this.#live().inspect(...args);
  }

  async *endings(uuids: readonly string[], signal: AbortSignal | undefined): AsyncGenerator<Ending> {
    const open = new Set(uuids);
    let told: Ending[] = [];
    let wake = (): void => {};
    // At each change: the queue remembers no more than its last endings.
    const look = (): void => {
      for (const uuid of open) {
        const ending = this.#queue.endingOf(uuid);
        if (ending && open.delete(uuid)) told.push(ending);
      }
      wake();
    };
    const unwatch = this.#queue.watch(look);
    this.#waits.add(look);
    signal?.addEventListener('abort', look);
    try {
      this.#live();
      look();
      for (;;) {
        if (signal?.aborted) return;
        const next = told;
        told = [];
        yield* next;
        if (open.size + told.length === 0) return;
        this.#live();
        if (told.length === 0 && !signal?.aborted) await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      unwatch();
      this.#waits.delete(look);
      signal?.removeEventListener('abort', look);
    }
  }

  wait(timeout: number | undefined, signal: AbortSignal | undefined): Promise<boolean> {
    return new Promise((resolve, reject) => {
      let turn: NodeJS.Timeout | undefined;
      const end = (answer: () => void): void => {
        clearTimeout(turn);
        clearTimeout(limit);
        signal?.removeEventListener('abort', giveUp);
        this.#waits.delete(look);
        unwatch();
        answer();
      };
      const giveUp = (): void => end(() => resolve(false));
      const look = (): void => {
        const gone = this.#gone();
        if (gone) return end(() => reject(gone));
        // A change in itself, upon which this very function is called: then what it found is found again here.
        this.#queue.endLapsed();
        if (this.#queue.claimable(this)) return end(() => resolve(true));
        clearTimeout(turn);
        const ms = this.#queue.nextTurn() - this.#now();
        if (ms < Number.POSITIVE_INFINITY) turn = setTimeout(look, Math.min(Math.max(ms, 1), LONGEST_TIMER));
      };
      const limit = timeout === undefined ? undefined : setTimeout(giveUp, timeout);
      const unwatch = this.#queue.watch(look);
      this.#waits.add(look);
      signal?.addEventListener('abort', giveUp);
      if (signal?.aborted) giveUp();
      else look();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#onClose();
    // Each finds the handle closed and rejects.
    for (const look of this.#waits) look();
  }

  #live(): MemoryQueue {
    const gone = this.#gone();
    if (gone) throw gone;
    return this.#queue;
  }

  #gone(): QueueError | undefined {
    const { name, destroyed } = this.#queue;
    if (this.#closed)
      return new QueueError('CLOSED', `queue ${quote(name)} has been closed`, { queue: name });
    if (!destroyed) return undefined;
    return new QueueError('QUEUE_DESTROYED', `queue ${quote(name)} has been destroyed`, { queue: name });
  }
}
