/** A worker, run on a queue in memory that exists for one call. */
import { loadConfig } from '../config.ts';
import type { Config } from '../config.ts';
import { QueueError, quote } from '../errors.ts';
import { openOptionsOf } from '../manager-options.ts';
import { openMemory } from '../memory/backend.ts';
import type { Message } from '../message.ts';
import { QueueManager } from '../queue-manager.ts';
import type { AddedMessage } from '../queue-manager.ts';
import type { StandardSchema } from '../standard-schema.ts';
import type { MessageInput } from '../validate.ts';
import { runLoop, type WorkerQueues } from '../worker/loop.ts';
import type { Worker } from '../worker/worker.ts';
import { Recorder, type LogLine } from './recorder.ts';

/** A worker, or its class: then one is made for the call. */
export type TestedWorker = Worker<unknown> | (new () => Worker<unknown>);

type InstanceOf<W extends TestedWorker> = W extends new () => infer One ? One : W;
/** What may be added for a worker: what its schema takes, else what it processes. */
export type InputOf<W extends TestedWorker> =
  InstanceOf<W> extends { readonly schema: StandardSchema<infer Input, infer _Output> }
    ? Input
    : InstanceOf<W> extends Worker<infer Data>
      ? Data
      : never;
export type MessageOf<W extends TestedWorker> = Message<InputOf<W>>;

export interface TryOptions {
  /** The configuration file; else CODA_CONFIG, else ./config.ini when there is one. The queue is in memory, whatever it says. */
  config?: string | undefined;
}

export interface DrainOptions extends TryOptions {
  /**
   * What becomes of messages that were added for a later time. `run` (the default): each has its turn when nothing else
   * may run, the earliest first. `leave`: they are left alone.
   */
  deferred?: 'run' | 'leave' | undefined;
}

/** What became of one try. */
export type Tried<W extends TestedWorker> = {
  /** As it was handed to the worker when it was completed, else as it stands in the queue afterwards. */
  message: MessageOf<W>;
  logs: LogLine[];
} & (
  | { outcome: 'completed'; error?: undefined }
  /** `retried`: tries are left. `error`: the very value that was thrown. */
  | { outcome: 'retried' | 'failed'; error: unknown }
);

/** What became of one message. */
export interface Processed<W extends TestedWorker> {
  /** `left`: it was not, or not to be, worked on: disabled, or deferred and to be left. */
  outcome: 'completed' | 'failed' | 'left';
  /** As it was handed to the worker when it was completed, else as it stands in the queue afterwards. */
  message: MessageOf<W>;
  /** How often it was tried. */
  tries: number;
  /** What the failed tries threw: the very values, in their order. */
  errors: unknown[];
}

export interface Drained<W extends TestedWorker> {
  /** In the order of the inputs. */
  messages: Processed<W>[];
  /** Of all tries and hooks, in their order. */
  logs: LogLine[];
}

/** What the worker sees as its queue. */
const QUEUE = 'test';

/**
 * Has a worker try one message, once, now: even one that is deferred or disabled. Its `start` and `stop` hooks frame
 * the try, `failed` follows it, its schema is checked: all as in `queue-worker`. Resolves when all of that is over, with
 * what became of the message. What the handler throws is an outcome, and rejects nothing.
 *
 *     const { outcome, error } = await inline(MailWorker, { data: { to: 'nobody' }, retries: 2 });
 *     assert.equal(outcome, 'retried');
 *     assert.match(error.message, /no such address/);
 *
 * Errors: INVALID_MESSAGE and MESSAGE_TOO_LARGE, as `addMessage`; WORKER_FAILED when `start` throws; INVALID_ARGUMENT;
 * CONFIG_INVALID.
 */
export async function inline<W extends TestedWorker>(
  worker: W,
  input: MessageInput<InputOf<W>>,
  options: TryOptions = {},
): Promise<Tried<W>> {
  return onBench(options, async (manager, config) => {
    const now = { disabled: false, dateTimeDeferredExecution: undefined };
    // What is no message is refused as such.
    const message = typeof input === 'object' ? { ...input, ...now } : input;
    const { uuid } = await manager.addMessage(QUEUE, message as MessageInput);
    const recorder = new Recorder();
    await work(worker, { queues: manager, config, recorder, limit: 1 });
    const tried = recorder.tries.get(uuid)?.[0];
    if (!tried) throw new QueueError('WORKER_FAILED', 'the worker ended before it had tried the message');
    const left = (await manager.findMessage(QUEUE, { uuid })) ?? tried.message;
    return { ...tried, message: left as MessageOf<W>, logs: recorder.logs };
  });
}

/**
 * Adds all messages, then has a worker work until none is left that it could do something for, one at a time and in
 * order. Nobody waits: when nothing else may run, what is to be tried again is tried at once, whatever its backoff
 * or `RetryAt`; then comes what was deferred. (`Date.now()` stays what it is.) Resolves when the worker's `stop` hook has
 * ended, with what became of each message.
 *
 *     const { messages } = await drain(new MailWorker(transport), [
 *       { data: { to: 'ada' } },
 *       { data: { to: 'nobody' }, retries: 3 },
 *     ]);
 *     assert.deepEqual(messages.map(({ outcome, tries }) => [outcome, tries]), [['completed', 1], ['failed', 4]]);
 *
 * Errors: as `inline`.
 */
export async function drain<W extends TestedWorker>(
  worker: W,
  inputs: readonly MessageInput<InputOf<W>>[],
  options: DrainOptions = {},
): Promise<Drained<W>> {
  return onBench(options, async (manager, config) => {
    const added = await manager.addMessages(QUEUE, inputs as readonly MessageInput[]);
    const recorder = new Recorder();
    const deferred = options.deferred === 'leave' ? [] : added.filter(isDeferred).sort(byDue);
    const queues = hurried(manager, recorder, deferred);
    await work(worker, { queues, config, recorder });
    const left = new Map<string, Message>();
    for await (const message of manager.findMessages(QUEUE)) left.set(message.uuid, message);
    const messages = added.map(({ uuid }): Processed<W> => {
      const tries = recorder.tries.get(uuid) ?? [];
      const last = tries.at(-1);
      const errors = tries.flatMap((one) => (one.outcome === 'completed' ? [] : [one.error]));
      const message = left.get(uuid) ?? last?.message;
      const outcome = last === undefined || last.outcome === 'retried' ? 'left' : last.outcome;
      return { outcome, message: message as MessageOf<W>, tries: tries.length, errors };
    });
    return { messages, logs: recorder.logs };
  });
}

/** Runs on a queue that is gone afterwards. */
async function onBench<T>(
  { config: file }: TryOptions,
  use: (manager: QueueManager, config: Config) => Promise<T>,
): Promise<T> {
  const config = await loadConfig({ config: file });
  const backend = openMemory();
  const manager = await QueueManager.open({ ...openOptionsOf(config), backend });
  try {
    await manager.createQueue(QUEUE);
    return await use(manager, config);
  } finally {
    await manager.close();
  }
}

interface Work {
  queues: WorkerQueues;
  config: Config;
  recorder: Recorder;
  limit?: number;
}

async function work(worker: TestedWorker, { queues, config, recorder, limit }: Work): Promise<void> {
  const { lease, stopDeadline } = config.worker;
  const instance = typeof worker === 'function' ? new worker() : worker;
  if (typeof instance?.process !== 'function') {
    const text = `expected a worker or its class, with a method process; received ${quote(instance)}`;
    throw new QueueError('INVALID_ARGUMENT', text);
  }
  // Nobody stops it.
  const { signal } = new AbortController();
  await runLoop({
    queues,
    queue: QUEUE,
    worker: instance as Worker,
    config,
    concurrency: 1,
    lease,
    stopDeadline,
    drain: true,
    limit,
    stop: signal,
    force: signal,
    sink: recorder.sink,
    onEvent: recorder.onEvent,
  });
}

/** A queue on which nobody waits: when nothing may run, what would have its turn later has it now. */
function hurried(manager: QueueManager, recorder: Recorder, deferred: AddedMessage[]): WorkerQueues {
  return {
    /** Asked by the loop when it has nothing to do, to find out whether that is for good. */
    async queueStatus(queue) {
      const status = await manager.queueStatus(queue);
      if (status.counts.ready > 0 || status.counts.claimed > 0) return status;
      const again = recorder.takeRetried();
      const next = again.length > 0 ? again : deferred.splice(0, 1).map(({ uuid }) => uuid);
      for (const uuid of next) await manager.updateMessage(queue, uuid, { dateTimeDeferredExecution: null });
      return next.length > 0 ? manager.queueStatus(queue) : status;
    },
    createQueue: (...args) => manager.createQueue(...args),
    claimMessages: (...args) => manager.claimMessages(...args),
    waitForMessage: (...args) => manager.waitForMessage(...args),
    completeMessage: (...args) => manager.completeMessage(...args),
    failMessage: (...args) => manager.failMessage(...args),
    releaseMessage: (...args) => manager.releaseMessage(...args),
    renewMessage: (...args) => manager.renewMessage(...args),
    reportProgress: (...args) => manager.reportProgress(...args),
    lostClaims: (...args) => manager.lostClaims(...args),
  };
}

function isDeferred({ state, disabled }: Message): boolean {
  return state === 'deferred' && !disabled;
}

function byDue(one: Message, other: Message): number {
  return Number(one.dateTimeDeferredExecution) - Number(other.dateTimeDeferredExecution);
}
