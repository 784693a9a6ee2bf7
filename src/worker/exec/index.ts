/**
 * Any program as a worker: it is started once for each try, gets the message's data as JSON on its stdin and what else is
 * known of the message in its environment, and says with its exit code what has become of it.
 */
import type { Message } from '../../message.ts';
import { FinalError, HandlerAborted, Worker, type StartContext, type WorkerContext } from '../worker.ts';
import { Group } from './group.ts';
import { Keeper } from './keeper.ts';
import { follow } from './output.ts';
import { findProgram } from './program.ts';
import { abandoned, judge, notStarted } from './verdict.ts';
import { filled, wordsOf, type Values } from './words.ts';

export interface ExecOptions {
  /** Milliseconds between SIGTERM and SIGKILL when a try is aborted; default 3 s. */
  grace?: number;
  /** What commands find in their environment, besides what is known of the message; default: that of this process. */
  env?: NodeJS.ProcessEnv;
}

/** Less than the 5 s that a handler may take behind its timeout before its process is killed, stderr and all. */
const GRACE = 3000;
/** When the worker stops, its pool waits one second for aborted handlers; this leaves time to read the rest. In ms. */
const STOP_GRACE = 400;

/**
 * A worker that runs `command` for each message. The command is split into words as by a shell, without one; {alias},
 * {uuid}, {queue}, {attempt}, {retries} and {username} are then replaced in the words. A value that begins with '-' looks
 * like an option to many programs: put `--` before it.
 *
 * Exit 0 completes the message, 65 fails it for good, anything else is a failed try; the end of stderr is kept with it.
 * When the try is aborted (timeout, stop, cancelled, claim lost) the command and all it has started are told to end, and
 * killed after `grace`; whatever it exits with then, it has not succeeded. What a command leaves running ends with it,
 * and all of it with this process.
 *
 * Lines on stdout are logged at DEBUG, lines on stderr at INFO. Its `start` refuses a program that is not there
 * (INVALID_ARGUMENT). Errors: INVALID_ARGUMENT for a command that makes no sense, see `wordsOf`.
 */
export function execWorker(command: string, options: ExecOptions = {}): Worker {
  return new ExecWorker(wordsOf(command), options.grace ?? GRACE, options.env ?? process.env);
}

class ExecWorker extends Worker {
  readonly #words: readonly string[];
  readonly #grace: number;
  readonly #env: NodeJS.ProcessEnv;
  #queue = '';
  #keeper: Keeper | undefined;

  constructor(words: readonly string[], grace: number, env: NodeJS.ProcessEnv) {
    super();
    this.#words = words;
    this.#grace = grace;
    this.#env = env;
  }

  override async start({ queue, log }: StartContext): Promise<void> {
    this.#queue = queue;
    // Windows looks for programs in its own way, and has no groups to keep.
    if (process.platform === 'win32') return;
    await findProgram(this.#words[0] ?? '');
    this.#keeper = new Keeper((why) =>
      log.warn(`/bin/sh ${why}: should this worker be killed, its commands will go on`),
    );
  }

  override async stop(): Promise<void> {
    await this.#keeper?.close();
  }

  override async process(message: Message, { signal, log }: WorkerContext): Promise<void> {
    signal.throwIfAborted();
    const values = valuesOf(message, this.#queue);
    const group = startGroup(filled(this.#words, values), {
      ...this.#env,
      ...variablesOf(message, values),
    });
    const { pid } = group;
    if (pid === undefined) throw notStarted(await group.exit.catch((error: unknown) => error));
    this.#keeper?.began(pid);
    follow(group.stdout, (line) => log.debug(line, { pid }));
    const stderr = follow(group.stderr, (line) => log.info(line, { pid }));
    // A command need not read what it is given.
    group.stdin.on('error', () => undefined);
    group.stdin.end(`${JSON.stringify(message.data)}\n`);

    const abortion = listen(signal);
    const exit = await Promise.race([group.exit, abortion.happened]);
    abortion.ignore();
    await group.end(isStop(signal) ? STOP_GRACE : this.#grace);
    this.#keeper?.ended(pid);
    if (exit === undefined) throw abandoned(signal.reason, stderr.text);
    judge(exit, stderr.text);
  }
}

function startGroup(words: readonly string[], env: NodeJS.ProcessEnv): Group {
  try {
    return new Group(words, env);
  } catch (error) {
    throw notStarted(error);
  }
}

/** A NUL ends a text in arguments and environment alike: the command would see another alias than there is. */
function valuesOf(message: Message, queue: string): Values {
  const { uuid, alias, attempts, retries, username } = message;
  for (const [name, value] of [
    ['alias', alias],
    ['username', username],
  ] as const) {
    if (value.includes('\0'))
      throw new FinalError(`its ${name} contains a NUL, which no command can be given`);
  }
  return { alias, uuid, queue, attempt: String(attempts), retries: String(retries), username };
}

/**
 * What is known of the message. The names are near to none of Coda's own variables: the command may run `queue` itself, which
 * refuses those that look misspelt.
 */
function variablesOf(message: Message, values: Values): NodeJS.ProcessEnv {
  return {
    CODA_MESSAGE_UUID: values.uuid,
    CODA_MESSAGE_ALIAS: values.alias,
    CODA_MESSAGE_QUEUE: values.queue,
    CODA_MESSAGE_ATTEMPT: values.attempt,
    CODA_MESSAGE_RETRIES: values.retries,
    CODA_MESSAGE_USERNAME: values.username,
    CODA_MESSAGE_INSERTED_AT: message.insertedAt.toISOString(),
  };
}

function listen(signal: AbortSignal): { happened: Promise<undefined>; ignore(): void } {
  const listening = new AbortController();
  const happened = new Promise<undefined>((resolve) => {
    signal.addEventListener('abort', () => resolve(undefined), { signal: listening.signal });
  });
  return { happened, ignore: () => listening.abort() };
}

function isStop({ reason }: AbortSignal): boolean {
  return reason instanceof HandlerAborted && reason.code === 'STOPPING';
}
