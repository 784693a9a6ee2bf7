/**
 * What programs open to work with queues. It checks what it is given, at once, within the call; hands it to the
 * backend in the same tick, so that calls made together reach the disk together; and tells its listeners of what it
 * has done. It keeps no state of the queues but the handles that are open.
 *
 * Every method of a queue may reject with INVALID_QUEUE_NAME, QUEUE_NOT_FOUND, QUEUE_DESTROYED (the queue this manager
 * had open is gone; the next call finds the new one of that name, if there is one), STORAGE_FAILED and CLOSED; its own
 * docstring names what else. Dates are `Date`s, durations milliseconds.
 */
import type {
  Added,
  Backend,
  ClaimRef,
  Ending,
  Inspection,
  Loss,
  MessageFilter,
  QueueChange,
  QueueOptions,
  QueueStatus,
} from './backend.ts';
import { openBackend } from './backends.ts';
import { backoffDelay } from './backoff.ts';
import type { Config } from './config.ts';
import { QueueError, quote } from './errors.ts';
import { Emitter } from './events.ts';
import type { Listener } from './events.ts';
import type { AnyJobs, ManagerEvents, QueueName } from './job-map.ts';
import { readOptions } from './manager-options.ts';
import type { OpenOptions } from './manager-options.ts';
import type { Claim, Json, Message } from './message.ts';
import { OpenQueues } from './open-queues.ts';
import { PayloadSchemas } from './payload-schemas.ts';
import type { Question } from './payload-schemas.ts';
import { toTryError } from './try-error.ts';
import {
  checkAttributes,
  checkCallOptions,
  checkChanges,
  checkClaim,
  checkDate,
  checkFilter,
  checkFlag,
  checkLabel,
  checkMessage,
  checkMessages,
  checkPercent,
  checkQueueName,
  checkQueueOptions,
  checkSignal,
  checkTarget,
  checkText,
  checkUuidList,
  checkUuids,
  checkWhole,
} from './validate.ts';
import type { MessageChanges, MessageInput } from './validate.ts';

/** A message that was added, or the one that was there: then `duplicate` is true, and nothing was added. */
export type AddedMessage<T = Json> = Message<T> & { duplicate: boolean };

/** What proves a claim: the message as it was claimed, or its uuid and token. The alias is for the queue's status. */
export type ClaimProof = Pick<ClaimRef, 'uuid' | 'token'> & Partial<Pick<ClaimRef, 'alias'>>;

/** The answer as it is. */
const same = <T>(answer: T): T => answer;

/** Claims of messages, not of all there is: what a claim returns is in memory, and under lease. */
const MOST_CLAIMED = 10_000;
/** Node's timers overflow beyond. */
const LONGEST_WAIT = 2 ** 31 - 1;

export class QueueManager<Jobs extends object = AnyJobs> {
  readonly #config: Config;
  readonly #events = new Emitter<ManagerEvents<Jobs>>();
  readonly #queues: OpenQueues;
  readonly #schemas: PayloadSchemas | undefined;

  /**
   * Resolves with a manager when its configuration is valid and its store can be used; no queue is read yet. Reads at
   * most one configuration file.
   * Errors: CONFIG_INVALID, UNKNOWN_QUEUE_TYPE, STORAGE_UNSUPPORTED, STORAGE_FAILED; INVALID_QUEUE_NAME for a schema's.
   */
  static async open<Jobs extends object = AnyJobs>(
    options: OpenOptions<Jobs> = {},
  ): Promise<QueueManager<Jobs>> {
    const config = await readOptions(options);
    const schemas = options.schemas === undefined ? undefined : new PayloadSchemas(options.schemas);
    return new QueueManager<Jobs>(config, options.backend ?? (await openBackend(config)), schemas);
  }

  private constructor(config: Config, backend: Backend, schemas: PayloadSchemas | undefined) {
    this.#config = config;
    this.#schemas = schemas;
    this.#queues = new OpenQueues(backend, (error) => this.#events.tell('error', () => ({ error })));
  }

  /** True: created, and durable; false: it was there, and keeps the options it was created with. Errors: INVALID_ARGUMENT. */
  async createQueue(queue: QueueName<Jobs>, options: QueueOptions = {}): Promise<boolean> {
    const created = await this.#queues.turn(queue, (backend) =>
      backend.create(queue, checkQueueOptions(options, queue)),
    );
    if (created) this.#events.tell('created', () => ({ queue }));
    return created;
  }

  /** True: destroyed with all its messages, and durably so; false: there was none. Claims on its messages have ended. */
  async destroyQueue(queue: QueueName<Jobs>): Promise<boolean> {
    const destroyed = await this.#queues.turn(queue, (backend) => backend.destroy(queue));
    if (destroyed) this.#events.tell('destroyed', () => ({ queue }));
    return destroyed;
  }

  queueExists(queue: QueueName<Jobs>): Promise<boolean> {
    return this.#queues.store(async (backend) => {
      checkQueueName(queue);
      return backend.exists(queue);
    });
  }

  /** Names in alphabetical order, those outside the job map included. */
  listQueues(): Promise<string[]> {
    return this.#queues.store((backend) => backend.list());
  }

  /**
   * Resolves when the message is as durable as `durability` says. Calls made in one tick are written together, in the
   * order of the calls. The data is taken as it is at the call; the answer carries the very value that was given.
   *
   * With a schema for the queue, the data must fit it as JSON leaves it, and is stored as it was given, not as the schema
   * makes it. Of a schema that answers with promises, calls are written when it has answered, alone or with others, and
   * still in the order of the calls: adds and updates of the queue wait for those before them.
   * Errors: INVALID_MESSAGE, MESSAGE_TOO_LARGE, QUEUE_FULL, STORAGE_FULL.
   */
  addMessage<Q extends QueueName<Jobs>>(
    queue: Q,
    input: MessageInput<Jobs[Q]>,
  ): Promise<AddedMessage<Jobs[Q]>> {
    return this.#queues.ask(
      queue,
      () => {
        const messages = [checkMessage(input, this.#config.queue.maxMessageBytes, queue)];
        const add: Question<Added[]> = (open) => open.add(messages);
        return this.#schemas?.whenFit(queue, messages, add) ?? add;
      },
      (added) => this.#toldAdded(queue, added as AddedMessage<Jobs[Q]>[])[0]!,
    );
  }

  /**
   * Like `addMessage` for each, in the order given. One that is invalid refuses all; of those that a full
   * queue refuses (QUEUE_FULL), others of the same call may have been added.
   * Errors: INVALID_ARGUMENT, INVALID_MESSAGE, MESSAGE_TOO_LARGE, QUEUE_FULL, STORAGE_FULL.
   */
  addMessages<Q extends QueueName<Jobs>>(
    queue: Q,
    inputs: readonly MessageInput<Jobs[Q]>[],
  ): Promise<AddedMessage<Jobs[Q]>[]> {
    return this.#queues.ask(
      queue,
      () => {
        const messages = checkMessages(inputs, this.#config.queue.maxMessageBytes, queue);
        const add: Question<Added[]> = (open) => open.add(messages);
        return this.#schemas?.whenFit(queue, messages, add, true) ?? add;
      },
      (added) => this.#toldAdded(queue, added as AddedMessage<Jobs[Q]>[]),
    );
  }

  /**
   * The first message that may run, taken away as it is handed over: who dies now has lost it. Undefined when none may,
   * or the queue is paused. Never waits.
   */
  getMessage<Q extends QueueName<Jobs>>(queue: Q): Promise<Message<Jobs[Q]> | undefined> {
    return this.#queues.ask(
      queue,
      () => (open) => open.take(),
      (taken) => {
        const message = taken as Message<Jobs[Q]> | undefined;
        if (message) this.#events.tell('taken', () => ({ queue, message }));
        return message;
      },
    );
  }

  /**
   * Up to `limit` (default 1) of the messages that may run, in order, each under a lease of `lease` ms. None when none
   * may, or the queue is paused. Never waits. A message that has crashed a worker before is claimed alone.
   * Errors: INVALID_ARGUMENT.
   */
  claimMessages<Q extends QueueName<Jobs>>(
    queue: Q,
    options: { limit?: number | undefined; lease?: number | undefined } = {},
  ): Promise<Claim<Jobs[Q]>[]> {
    return this.#queues.ask(
      queue,
      () => {
        const { limit = 1, lease } = checkCallOptions(options, ['limit', 'lease'], queue);
        const most = checkWhole('limit', limit, 1, MOST_CLAIMED, queue);
        const milliseconds = this.#lease(lease, queue);
        return (open) => open.claim(most, milliseconds);
      },
      (claimed) => {
        const claims = claimed as Claim<Jobs[Q]>[];
        for (const message of claims) this.#events.tell('claimed', () => ({ queue, message }));
        return claims;
      },
    );
  }

  /** True: the message is done and gone. False: the claim had ended meanwhile, nothing changed. Errors: INVALID_ARGUMENT. */
  completeMessage(queue: QueueName<Jobs>, claim: ClaimProof): Promise<boolean> {
    return this.#settle(queue, claim, { type: 'complete' }, 'completed');
  }

  /**
   * Ends a failed try. With tries left, the message is deferred to `retryAt`, else by a backoff that doubles with each
   * try; without, or when `final`, it stays in the queue as failed. The error, whatever was thrown, is kept with it,
   * cut to a few KB. False: the claim had ended meanwhile, nothing changed. Errors: INVALID_ARGUMENT.
   */
  failMessage(
    queue: QueueName<Jobs>,
    claim: ClaimProof & Pick<Claim, 'attempts' | 'retries'>,
    error: unknown,
    options: { final?: boolean | undefined; retryAt?: Date | undefined } = {},
  ): Promise<boolean> {
    let tryError: ReturnType<typeof toTryError>;
    let due: number | undefined;
    return this.#queues.ask(
      queue,
      () => {
        const ref = checkClaim(claim, queue);
        const attempts = checkWhole('attempts', claim.attempts, 1, Number.MAX_SAFE_INTEGER, queue);
        const retries = checkWhole('retries', claim.retries, 0, Number.MAX_SAFE_INTEGER, queue);
        const { final = false, retryAt } = checkCallOptions(options, ['final', 'retryAt'], queue);
        const asked = retryAt === undefined ? undefined : checkDate('retryAt', retryAt, queue);
        const tryAgain = !checkFlag('final', final, queue) && attempts <= retries;
        const now = Date.now();
        tryError = toTryError(error, attempts, now);
        if (tryAgain) due = asked ?? now + backoffDelay(attempts, this.#config.worker, Math.random());
        return (open) =>
          open.settle(ref, { type: 'fail', error: tryError, ...(due === undefined ? {} : { due }) });
      },
      (settled) => {
        if (settled) {
          const fate = due === undefined ? { final: true } : { final: false, retryAt: new Date(due) };
          this.#events.tell('failed', () => ({ queue, uuid: claim.uuid, error: tryError, ...fate }));
        }
        return settled;
      },
    );
  }

  /** Back in line at its place, the try given back. False: the claim had ended meanwhile. Errors: INVALID_ARGUMENT. */
  releaseMessage(queue: QueueName<Jobs>, claim: ClaimProof): Promise<boolean> {
    return this.#settle(queue, claim, { type: 'release' }, 'released');
  }

  /** The claim now lasts `lease` ms from here. False: it had ended meanwhile. Errors: INVALID_ARGUMENT. */
  renewMessage(queue: QueueName<Jobs>, claim: ClaimProof, lease?: number): Promise<boolean> {
    return this.#queues.ask(
      queue,
      () => {
        const ref = checkClaim(claim, queue);
        const milliseconds = this.#lease(lease, queue);
        return (open) => open.settle(ref, { type: 'renew', lease: milliseconds });
      },
      same,
    );
  }

  /**
   * Says how far the work on a claimed message has come, in percent (cut to 0 … 100) and words (up to 1 KiB), for
   * `findMessages` and those who watch, and begins the lease anew. False: the claim had ended. Errors: INVALID_ARGUMENT.
   */
  reportProgress(
    queue: QueueName<Jobs>,
    claim: ClaimProof,
    progress: { percent: number; text?: string | undefined; lease?: number | undefined },
  ): Promise<boolean> {
    return this.#queues.ask(
      queue,
      () => {
        const ref = checkClaim(claim, queue);
        const { percent, text = '', lease } = checkCallOptions(progress, ['percent', 'text', 'lease'], queue);
        const report = { percent: checkPercent(percent, queue), text: checkLabel('text', text, queue) };
        const milliseconds = this.#lease(lease, queue);
        return (open) => open.settle(ref, { type: 'renew', lease: milliseconds, progress: report });
      },
      same,
    );
  }

  /**
   * Why those of these claims that have ended did, by token; a claim that is still held is not in it. `cancelled`: the
   * message was cancelled or removed; `lapsed`: anything else. Writes nothing. Errors: INVALID_ARGUMENT.
   */
  lostClaims(queue: QueueName<Jobs>, claims: readonly ClaimProof[]): Promise<ReadonlyMap<string, Loss>> {
    return this.#queues.ask(
      queue,
      () => {
        const refs = claims.map((claim) => checkClaim(claim, queue));
        return (open) => open.losses(refs);
      },
      same,
    );
  }

  /**
   * Ends the claims of a process of this machine that has died, with what is known of its death, which stays with its
   * messages: each has crashed a worker once more. Resolves with their number: none when it still lives, or its claims
   * have been ended by others. Errors: INVALID_ARGUMENT.
   */
  reportDeath(queue: QueueName<Jobs>, pid: number, evidence: unknown): Promise<number> {
    return this.#change(
      queue,
      () => ({
        type: 'died',
        pid: checkWhole('pid', pid, 1, Number.MAX_SAFE_INTEGER, queue),
        error: toTryError(evidence, 0, Date.now()),
      }),
      same,
    );
  }

  /** The first in line with that uuid or alias, as it stands now. Errors: INVALID_ARGUMENT. */
  async findMessage<Q extends QueueName<Jobs>>(
    queue: Q,
    target: { uuid: string } | { alias: string },
  ): Promise<Message<Jobs[Q]> | undefined> {
    const found = this.#queues.each(queue, () => {
      const filter = checkTarget(target, queue);
      return (open) => open.find(filter);
    });
    for await (const message of found) return message as Message<Jobs[Q]>;
    return undefined;
  }

  /**
   * All messages that match, in order of insertion, read as they are iterated. One that is added, changed or ended
   * meanwhile may or may not be seen. Costs a look at every message of the queue, unless by uuid.
   * Errors: INVALID_ARGUMENT.
   */
  findMessages<Q extends QueueName<Jobs>>(
    queue: Q,
    filter: MessageFilter = {},
  ): AsyncIterable<Message<Jobs[Q]>> {
    return this.#queues.each(queue, () => {
      const checked = checkFilter(filter, queue);
      return (open) => open.find(checked) as AsyncIterable<Message<Jobs[Q]>>;
    });
  }

  /**
   * All that is known of a message, one that has ended too while its queue remembers it: how it stands, what happened
   * to it, how it ended. Costs a look at all bytes of the queue's files. Errors: INVALID_ARGUMENT.
   */
  inspectMessage(
    queue: QueueName<Jobs>,
    target: { uuid: string } | { alias: string },
  ): Promise<Inspection | undefined> {
    return this.#queues.ask(
      queue,
      () => {
        const { uuid, alias = '' } = checkTarget(target, queue);
        return (open) => open.inspect(uuid === undefined ? { alias } : { uuid });
      },
      same,
    );
  }

  /**
   * Tells of each of these messages, once, that it has ended or failed: at once when it has already, else when it does.
   * Done when all have been told, or when the signal fires. A failed message may be retried afterwards. Who is stopped
   * while more end than `keepOutcomes` says, and are cleaned away, may be told `unknown` of some.
   * Errors: INVALID_ARGUMENT.
   */
  waitForEndings(
    queue: QueueName<Jobs>,
    uuids: readonly string[],
    options: { signal?: AbortSignal | undefined } = {},
  ): AsyncIterable<Ending> {
    return this.#queues.each(queue, () => {
      const wanted = checkUuidList(uuids, queue);
      const { signal } = checkCallOptions(options, ['signal'], queue);
      const checked = checkSignal(signal, queue);
      return (open) => open.endings(wanted, checked);
    });
  }

  /**
   * Resolves with the message after the change. Of a claimed message, new data counts from its next try on; only a
   * waiting one can be deferred or brought forward. New data must fit the queue's schema, as in `addMessage`.
   * Errors: INVALID_MESSAGE (also when another message of a `uniqueAlias` queue has the alias), MESSAGE_TOO_LARGE,
   * MESSAGE_NOT_FOUND.
   */
  updateMessage<Q extends QueueName<Jobs>>(
    queue: Q,
    uuid: string,
    changes: MessageChanges<Jobs[Q]>,
  ): Promise<Message<Jobs[Q]>> {
    return this.#queues.ask(
      queue,
      () => {
        checkText('uuid', uuid, queue);
        const patch = checkChanges(changes, this.#config.queue.maxMessageBytes, queue);
        const update: Question<Message<Jobs[Q]>> = async (open) => {
          const updated = await open.update(uuid, patch);
          if (updated) return updated as Message<Jobs[Q]>;
          throw new QueueError(
            'MESSAGE_NOT_FOUND',
            `expected the uuid of a message in the queue, received ${quote(uuid)}`,
            { queue },
          );
        };
        return this.#schemas?.whenFit(queue, [patch], update) ?? update;
      },
      (message) => {
        this.#events.tell('updated', () => ({ queue, message }));
        return message;
      },
    );
  }

  /** True: gone, whatever its state, and a claim on it has ended. False: there was none. Errors: INVALID_ARGUMENT. */
  removeMessage(queue: QueueName<Jobs>, uuid: string): Promise<boolean> {
    return this.#change(
      queue,
      () => ({ type: 'remove', uuid: checkText('uuid', uuid, queue) }),
      (count) => {
        if (count > 0) this.#events.tell('removed', () => ({ queue, uuid }));
        return count > 0;
      },
    );
  }

  /**
   * Has nobody work on a message any more: it stands as failed, with `reason`, and a claim on it has ended; the worker
   * that held it tells its handler within a second. `retryMessages` brings it back. False: there was none, or it had
   * failed already. Errors: INVALID_ARGUMENT.
   */
  cancelMessage(queue: QueueName<Jobs>, uuid: string, reason = 'cancelled'): Promise<boolean> {
    return this.#change(
      queue,
      () => {
        const message = checkLabel('reason', reason, queue);
        const error = {
          at: new Date().toISOString(),
          attempt: 0,
          name: 'Cancelled',
          message,
          code: 'CANCELLED',
        };
        return { type: 'cancel', uuid: checkText('uuid', uuid, queue), error };
      },
      (count) => {
        if (count > 0) this.#events.tell('cancelled', () => ({ queue, uuid }));
        return count > 0;
      },
    );
  }

  /**
   * Puts failed messages back in line, each at its place, with tries and crashes counted anew. Resolves with their
   * number; those that have not failed are left as they are. Errors: INVALID_ARGUMENT.
   */
  retryMessages(queue: QueueName<Jobs>, uuids: readonly string[] | 'all'): Promise<number> {
    return this.#change(
      queue,
      () => ({ type: 'retry', uuids: checkUuids(uuids, queue) }),
      (count) => {
        if (count > 0) this.#events.tell('retried', () => ({ queue, count }));
        return count;
      },
    );
  }

  /** Removes every message that is not claimed, failed and disabled ones too. Resolves with their number. */
  purgeQueue(queue: QueueName<Jobs>): Promise<number> {
    return this.#change(
      queue,
      () => ({ type: 'purge' }),
      (count) => {
        this.#events.tell('purged', () => ({ queue, count }));
        return count;
      },
    );
  }

  /** Nothing is claimed or taken from now on, by anybody; adding and settling go on. */
  pauseQueue(queue: QueueName<Jobs>): Promise<void> {
    return this.#change(
      queue,
      () => ({ type: 'pause' }),
      () => {
        this.#events.tell('paused', () => ({ queue }));
      },
    );
  }

  resumeQueue(queue: QueueName<Jobs>): Promise<void> {
    return this.#change(
      queue,
      () => ({ type: 'resume' }),
      () => {
        this.#events.tell('resumed', () => ({ queue }));
      },
    );
  }

  async customAttributes(queue: QueueName<Jobs>): Promise<Record<string, Json>> {
    return (await this.queueStatus(queue)).customAttributes;
  }

  /** Sets the keys of `patch`, up to 64 KiB of JSON; a null removes its key, the others stay. Errors: INVALID_ARGUMENT. */
  setCustomAttributes(queue: QueueName<Jobs>, patch: Readonly<Record<string, Json>>): Promise<void> {
    return this.#change(
      queue,
      () => ({ type: 'attributes', patch: checkAttributes(patch, queue) }),
      () => undefined,
    );
  }

  queueStatus(queue: QueueName<Jobs>): Promise<QueueStatus> {
    return this.#queues.ask(queue, () => (open) => open.status(), same);
  }

  /** Sets the status's `lastMessageProcessed`, for programs that process outside of claims. Errors: INVALID_ARGUMENT. */
  updateLastMessageProcessed(
    queue: QueueName<Jobs>,
    message: { uuid: string; alias?: string | undefined },
  ): Promise<void> {
    return this.#change(
      queue,
      () => {
        const { uuid, alias = '' } = checkCallOptions(message, ['uuid', 'alias'], queue);
        return {
          type: 'processed',
          uuid: checkText('uuid', uuid, queue),
          alias: checkText('alias', alias, queue),
        };
      },
      () => undefined,
    );
  }

  /**
   * True as soon as something may be claimable, at once if it is now; another may have claimed it before you do. False
   * after `timeout` ms, or when the signal fires. Costs nothing but a file watch while it waits. Errors: INVALID_ARGUMENT.
   */
  waitForMessage(
    queue: QueueName<Jobs>,
    options: { signal?: AbortSignal | undefined; timeout?: number | undefined } = {},
  ): Promise<boolean> {
    return this.#queues.ask(
      queue,
      () => {
        const { timeout, signal } = checkCallOptions(options, ['signal', 'timeout'], queue);
        const milliseconds =
          timeout === undefined ? undefined : checkWhole('timeout', timeout, 0, LONGEST_WAIT, queue);
        const checked = checkSignal(signal, queue);
        return (open) => open.wait(milliseconds, checked);
      },
      same,
    );
  }

  /** Calls `listener` at each such operation of this manager, until the returned function is called. */
  on<Name extends keyof ManagerEvents<Jobs>>(
    name: Name,
    listener: Listener<ManagerEvents<Jobs>[Name]>,
  ): () => void {
    return this.#events.on(name, listener);
  }

  /** The last error that a call of this manager rejected with, or that its store met in the background. */
  getLastError(): QueueError | undefined {
    return this.#queues.lastError();
  }

  /** Resolves when every queue is closed and what was added is as durable as it is going to be. Waits are rejected. */
  close(): Promise<void> {
    return this.#queues.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #settle(
    queue: QueueName<Jobs>,
    claim: ClaimProof,
    settlement: { type: 'complete' | 'release' },
    event: 'completed' | 'released',
  ): Promise<boolean> {
    return this.#queues.ask(
      queue,
      () => {
        const ref = checkClaim(claim, queue);
        return (open) => open.settle(ref, settlement);
      },
      (settled) => {
        if (settled) this.#events.tell(event, () => ({ queue, uuid: claim.uuid }));
        return settled;
      },
    );
  }

  #change<R>(queue: QueueName<Jobs>, prepare: () => QueueChange, done: (count: number) => R): Promise<R> {
    return this.#queues.ask(
      queue,
      () => {
        const change = prepare();
        return (open) => open.change(change);
      },
      done,
    );
  }

  #toldAdded<Q extends QueueName<Jobs>>(queue: Q, added: AddedMessage<Jobs[Q]>[]): AddedMessage<Jobs[Q]>[] {
    for (const message of added) {
      if (!message.duplicate) this.#events.tell('added', () => ({ queue, message }));
    }
    return added;
  }

  #lease(given: unknown, queue: string): number {
    const lease = given === undefined ? this.#config.worker.lease : given;
    return checkWhole('lease', lease, 1, Number.MAX_SAFE_INTEGER, queue);
  }
}
