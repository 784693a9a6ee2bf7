/**
 * What the author of a process sees: the class to extend, for what runs in a process of its own under a supervisor.
 * Nothing of how it is run.
 */
import type { Config } from '../config.ts';
import { QueueError } from '../errors.ts';
import type { Json } from '../message.ts';
import type { AddedMessage } from '../queue-manager.ts';
import type { MessageInput } from '../validate.ts';
import type { Log } from '../worker/log.ts';

// A process's file may come with its own copy of this module, so that `instanceof` would not know its class.
const RUN = Symbol.for('coda-queue.ManagedProcess');

/**
 * Runs in a child of the supervisor, one instance in each child, for as long as `run` takes.
 *
 * A method `command<Name>(args)` is a command: `commandStatus` answers "status", `commandReloadCache` answers
 * "reload-cache". Its arguments are whatever JSON the caller has sent, and may be anything; what it returns, or its promise
 * resolves with, is the answer, as JSON; what it throws is told to the caller by its message. Commands may overlap. Those
 * that were asked for before a stop are answered until `run` has ended.
 *
 * @typeParam Params what `params` holds; from config.ini every value is text.
 */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- whoever extends it says what `params` holds
export abstract class ManagedProcess<Params extends object = Readonly<Record<string, Json>>> {
  readonly [RUN]: ProcessRun | undefined = undefined;

  /** The name under which it is configured. Like all that follows it is known once it runs, not in the constructor. */
  get name(): string {
    return runOf(this).name;
  }

  /** Which of the children of that name this is: `name#1`, `name#2`, … */
  get id(): string {
    return runOf(this).id;
  }

  /** As configured, frozen. */
  get params(): Params {
    return runOf(this).params as Params;
  }

  /** The configuration in force when this child was started, frozen. */
  get config(): Config {
    return runOf(this).config;
  }

  /** Goes to the supervisor's log; each line names the child. Lines beyond what the supervisor can take are left out, and counted. */
  get log(): Log {
    return runOf(this).log;
  }

  /**
   * What the child is for. It ends when this has ended: well when it resolves, as a failure when it rejects; the supervisor
   * starts it again only then.
   * @param signal fires when it is to stop: end soon, for the process is killed when the deadline of the stop has passed.
   */
  abstract run(signal: AbortSignal): Promise<void> | void;

  /**
   * A health check, called every 10 seconds while it runs. False, a throw, or no answer within 5 seconds, three times in a
   * row: the child is started anew. So is one whose event loop is blocked for so long; without this method nobody asks.
   */
  verify?(): Promise<boolean> | boolean;

  /**
   * Resolves when the message is in the queue, as durably as configured. One manager serves all calls; it is opened by
   * the first, and closed when `run` has ended.
   * Errors: those of `QueueManager.addMessage`, QUEUE_NOT_FOUND among them.
   */
  sendQueue(queue: string, data: Json, options: Omit<MessageInput, 'data'> = {}): Promise<AddedMessage> {
    return runOf(this).add(queue, { ...options, data });
  }

  /**
   * Tells the supervisor, which has it among its events as `told`. Returns at once; nothing is known of who listens.
   * Errors: INVALID_ARGUMENT: `event` is no name of 1 to 100 characters; INVALID_MESSAGE, MESSAGE_TOO_LARGE: `data` is no
   * JSON, or more than 16 KiB of it; CHILD_BUSY: the supervisor does not read as fast.
   */
  emit(event: string, data: Json = null): void {
    runOf(this).emit(event, data);
  }
}

/** What stands behind an instance while it runs. */
export interface ProcessRun {
  readonly name: string;
  readonly id: string;
  readonly params: Readonly<Record<string, Json>>;
  readonly config: Config;
  readonly log: Log;
  add(queue: string, message: MessageInput): Promise<AddedMessage>;
  emit(event: string, data: Json): void;
}

/** Whether its class extends `ManagedProcess`, of whichever copy of this package. */
export function isManagedProcess(value: unknown): value is ManagedProcess {
  if (typeof value !== 'object' || value === null) return false;
  return RUN in value && typeof (value as Partial<ManagedProcess>).run === 'function';
}

export function bind(instance: ManagedProcess, run: ProcessRun): void {
  (instance as { [RUN]: ProcessRun })[RUN] = run;
}

function runOf(instance: { readonly [RUN]: ProcessRun | undefined }): ProcessRun {
  const run = instance[RUN];
  if (run) return run;
  throw new QueueError(
    'PROCESS_FAILED',
    'name, params, config and log are known once the process runs, from run() on',
  );
}
