/** Loops under test: a queue in memory for each test, workers from functions, and what they tell. */
import { tmpdir } from 'node:os';
import { afterEach, beforeEach } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { openMemory, type MemoryStore } from '../../src/memory/backend.ts';
import type { Message } from '../../src/message.ts';
import { QueueManager } from '../../src/queue-manager.ts';
import type { WorkerEvent } from '../../src/worker/events.ts';
import { runLoop, type LoopOptions, type LoopReport, type WorkerQueues } from '../../src/worker/loop.ts';
import { Worker, type WorkerContext } from '../../src/worker/worker.ts';

export const QUEUE = 'plates';
export const config = await loadConfig({ cwd: tmpdir(), env: {} });

/** How long to poll for what takes milliseconds on a machine that is not busy. */
export const PATIENCE = { timeout: 30_000 };

export let manager: QueueManager;
let store: MemoryStore;
/** How far the store's clock is ahead of the real one, ms. */
let ahead: number;

beforeEach(async () => {
  store = new Map();
  ahead = 0;
  manager = await open();
  await manager.createQueue(QUEUE);
});
afterEach(() => manager.close());

/** Another manager of the same store. */
export function open(): Promise<QueueManager> {
  const backend = openMemory({ store, now: () => Date.now() + ahead });
  return QueueManager.open({ backend, backoff: 0 });
}

/** Ends every claim as one ends whose lease is over. */
export async function lapseAll(): Promise<void> {
  ahead += 3_600_000;
  await manager.waitForMessage(QUEUE, { timeout: 0 });
}

export type Handler = (message: Message, context: WorkerContext) => Promise<void> | void;

export interface Running {
  report: Promise<LoopReport>;
  stop: () => void;
  force: () => void;
  events: WorkerEvent[];
  /** The types of the events so far. */
  readonly told: WorkerEvent['type'][];
  /** Resolves at the first event of that type, also when it has happened already. */
  event<Type extends WorkerEvent['type']>(type: Type): Promise<Extract<WorkerEvent, { type: Type }>>;
}

/** A worker of this handler, with further members as given. */
export function workerOf(handler: Handler, members: Partial<Worker> = {}): Worker {
  class Test extends Worker {
    override process(message: Message, context: WorkerContext): Promise<void> | void {
      return handler(message, context);
    }
  }
  return Object.assign(new Test(), members);
}

export function start(what: Handler | Worker, options: Partial<LoopOptions> = {}): Running {
  const stop = new AbortController();
  const force = new AbortController();
  const events: WorkerEvent[] = [];
  const waiting = new Map<string, (event: WorkerEvent) => void>();
  const report = runLoop({
    queues: manager,
    queue: QUEUE,
    worker: typeof what === 'function' ? workerOf(what) : what,
    config,
    concurrency: 1,
    lease: 30_000,
    stopDeadline: 30_000,
    drain: false,
    stop: stop.signal,
    force: force.signal,
    sink: () => undefined,
    onEvent: (event) => {
      events.push(event);
      waiting.get(event.type)?.(event);
    },
    ...options,
  });
  return {
    report,
    stop: () => stop.abort(),
    force: () => force.abort(),
    events,
    get told() {
      return events.map(({ type }) => type);
    },
    event: (type) =>
      new Promise((resolve) => {
        const found = resolve as (event: WorkerEvent) => void;
        const past = events.find((event) => event.type === type);
        if (past) found(past);
        else waiting.set(type, found);
      }),
  };
}

export function drain(what: Handler | Worker, options: Partial<LoopOptions> = {}): Promise<LoopReport> {
  return start(what, { drain: true, ...options }).report;
}

export async function add(count: number, rest: { retries?: number } = {}): Promise<void> {
  await manager.addMessages(
    QUEUE,
    Array.from({ length: count }, (_, index) => ({ data: index, ...rest })),
  );
}

/** The first message in line. */
export async function first(): Promise<Message> {
  for await (const message of manager.findMessages(QUEUE)) return message;
  throw new Error('the queue is empty');
}

/** A promise to be resolved from outside. */
export function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

export function aborted(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(signal.reason);
    else signal.addEventListener('abort', () => resolve(signal.reason), { once: true });
  });
}

/** The manager with some of its methods replaced. */
export function altered(changes: Partial<WorkerQueues>): WorkerQueues {
  const all: WorkerQueues = {
    createQueue: (...args) => manager.createQueue(...args),
    claimMessages: (...args) => manager.claimMessages(...args),
    completeMessage: (...args) => manager.completeMessage(...args),
    failMessage: (...args) => manager.failMessage(...args),
    releaseMessage: (...args) => manager.releaseMessage(...args),
    renewMessage: (...args) => manager.renewMessage(...args),
    reportProgress: (...args) => manager.reportProgress(...args),
    lostClaims: (...args) => manager.lostClaims(...args),
    queueStatus: (...args) => manager.queueStatus(...args),
    waitForMessage: (...args) => manager.waitForMessage(...args),
  };
  return { ...all, ...changes };
}
