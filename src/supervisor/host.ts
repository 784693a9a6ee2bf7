/**
 * What runs in a child that has a class: makes the instance, runs it, carries out what the supervisor asks for, and
 * does not outlive the supervisor by long.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { LEVELS } from '../config-keys.ts';
import { messageOf } from '../daemon/outcome.ts';
import { QueueError, escapeControls, quote } from '../errors.ts';
import { plainFields, plainText } from '../log/plain.ts';
import { Redaction } from '../log/redaction.ts';
import { openOptionsOf } from '../manager-options.ts';
import type { Json } from '../message.ts';
import { encodePayload } from '../payload.ts';
import { QueueManager } from '../queue-manager.ts';
import { instanceOf } from '../worker/class-loader.ts';
import type { Pipes } from '../worker/exec/group.ts';
import { logAbout, type LogSink } from '../worker/log.ts';
import { Channel, LARGEST_MESSAGE } from './channel.ts';
import { Commands } from './commands.ts';
import { watchMaster } from './lifeline.ts';
import { bind, isManagedProcess, type ManagedProcess } from './managed-process.ts';
import {
  LARGEST_EVENT,
  isEventName,
  toOrder,
  type Begin,
  type Order,
  type Told,
  type Trouble,
} from './protocol.ts';

const KIND = { base: 'ManagedProcess', method: 'run(signal)', code: 'PROCESS_FAILED' } as const;

/** How long the last word may take to be read; ms. */
const LAST_WORD = 1000;

export interface HostOptions {
  /** From the supervisor, and to it. */
  pipes: Pipes;
  /** What `import … from 'coda-queue'` means in a file that has no such package installed beside it. */
  library: object;
}

/**
 * Resolves when the process has ended, and the supervisor has been told how: with true when it ended well.
 * @param stop fires when it is told to stop otherwise than by the supervisor: by a signal.
 */
export function runHost(options: HostOptions, stop: AbortSignal): Promise<boolean> {
  return new Host(options, stop).run();
}

class Host {
  readonly #options: HostOptions;
  readonly #channel: Channel;
  readonly #stop = new AbortController();
  readonly #begun: Promise<Begin | undefined>;
  #begin: (begin: Begin | undefined) => void = () => undefined;
  #manager: Promise<QueueManager> | undefined;
  #instance: ManagedProcess | undefined;
  #commands: Commands | undefined;
  /** To be called when the supervisor is gone. */
  #orphaned: () => void = () => undefined;
  #hasEnded = false;
  /** Lines of the log that could not be sent. */
  #unlogged = 0;

  constructor(options: HostOptions, stop: AbortSignal) {
    this.#options = options;
    this.#begun = new Promise((resolve) => (this.#begin = resolve));
    const abort = (): void => this.#stop.abort();
    stop.addEventListener('abort', abort, { once: true });
    this.#channel = new Channel(options.pipes, {
      onMessage: (message) => this.#heed(toOrder(message)),
      // The supervisor is gone: nobody is left to run for.
      onEnd: () => {
        this.#begin(undefined);
        abort();
        if (!this.#hasEnded) this.#orphaned();
      },
    });
  }

  async run(): Promise<boolean> {
    const begin = await this.#begun;
    if (!begin) return false;
    // What nobody catches ends the process; the supervisor is to know more of it than an exit code.
    process.on('uncaughtExceptionMonitor', (error) => {
      this.#tell({ type: 'failed', error: toTrouble(error) });
    });
    this.#orphaned = watchMaster(begin.master, begin.stopDeadline);
    try {
      await this.#run(begin);
      return true;
    } catch (error) {
      await this.#lastWord(error);
      return false;
    } finally {
      await this.#manager?.then((manager) => manager.close()).catch(() => undefined);
      this.#hasEnded = true;
      this.#channel.close();
    }
  }

  async #run(begin: Begin): Promise<void> {
    const loaded = await instanceOf(KIND, begin.path, this.#options.library);
    if (!isManagedProcess(loaded)) {
      const message = `${quote(begin.path, 300)}: expected a class that extends ManagedProcess, received another class`;
      throw new QueueError('PROCESS_FAILED', message, { path: begin.path });
    }
    if (this.#stop.signal.aborted) return;
    this.#bind(loaded, begin);
    this.#commands = new Commands(loaded);
    this.#instance = loaded;
    // First: it may never let go of the event loop.
    this.#tell({ type: 'ready', verifies: typeof loaded.verify === 'function' });
    const running = (async () => loaded.run(this.#stop.signal))();
    // An instance that waits for what is no handle would let the process end without a word.
    const alive = setInterval(() => undefined, 60_000);
    try {
      await running;
    } finally {
      clearInterval(alive);
    }
  }

  #bind(instance: ManagedProcess, { name, id, params, config }: Begin): void {
    const redaction = new Redaction(config);
    const least = LEVELS.indexOf(config.log.level);
    const sink: LogSink = (level, text, fields) => {
      if (LEVELS.indexOf(level) < least) return;
      this.#log({
        type: 'log',
        level,
        text: plainText(text, redaction),
        fields: plainFields(fields, redaction),
      });
    };
    bind(instance, {
      name,
      id,
      params: frozen(params),
      config: frozen(config),
      log: logAbout(sink, {}),
      add: async (queue, message) => (await this.#queues(config)).addMessage(queue, message),
      emit: (event, data) => this.#emit(event, data),
    });
  }

  #heed(order: Order | undefined): void {
    switch (order?.type) {
      case 'begin':
        return this.#begin(order.begin);
      case 'stop':
        return this.#stop.abort();
      case 'command':
        void this.#answer(order.id, () => this.#call(order.name, order.args));
        return;
      case 'verify':
        void this.#answer(order.id, async () => (await this.#instance?.verify?.()) !== false);
        return;
      case 'tell':
        this.#call(order.name, order.args).catch((error: unknown) =>
          this.#log({
            type: 'log',
            level: 'WARN',
            text: `command ${quote(order.name)} has failed: ${escapeControls(messageOf(error))}`,
            fields: {},
          }),
        );
        return;
      case undefined:
        // Of a supervisor of another version, perhaps.
        return;
    }
  }

  async #call(name: string, args: Json): Promise<unknown> {
    return this.#commands?.call(name, args);
  }

  /** Sends the outcome. Never rejects. */
  async #answer(id: number, act: () => Promise<unknown>): Promise<void> {
    try {
      const result = ((await act()) ?? null) as Json;
      encodePayload(result, 'its answer', LARGEST_MESSAGE);
      this.#channel.send({ type: 'answer', id, result } satisfies Told);
    } catch (error) {
      this.#tell({ type: 'answer', id, error: toTrouble(error) });
    }
  }

  #emit(event: string, data: Json): void {
    if (!isEventName(event)) {
      const message = `expected the name of an event, 1 to 100 characters, received ${quote(event)}`;
      throw new QueueError('INVALID_ARGUMENT', message);
    }
    encodePayload(data, 'data', LARGEST_EVENT);
    // One that is told to end, and whose supervisor has ended, need not know of that here.
    if (this.#channel.isOpen) this.#channel.send({ type: 'event', event, data } satisfies Told);
  }

  #log(line: Told & { type: 'log' }): void {
    if (this.#unlogged > 0 && !this.#channel.isFull) {
      const text = `${this.#unlogged} lines of this log were left out: the supervisor did not read as fast`;
      this.#unlogged = 0;
      this.#tell({ type: 'log', level: 'WARN', text, fields: {} });
    }
    if (!this.#tell(line)) this.#unlogged++;
  }

  /** False when it could not be sent. */
  #tell(told: Told): boolean {
    try {
      this.#channel.send(told);
      return true;
    } catch {
      return false;
    }
  }

  #queues(config: Config): Promise<QueueManager> {
    this.#manager ??= QueueManager.open(openOptionsOf(config));
    // A store that is not there now may be there for the next call.
    this.#manager.catch(() => (this.#manager = undefined));
    return this.#manager;
  }

  /** Resolves when the supervisor has got it, or will not. */
  async #lastWord(cause: unknown): Promise<void> {
    if (!this.#tell({ type: 'failed', error: toTrouble(cause) })) return;
    const limit = new AbortController();
    const { outgoing } = this.#options.pipes;
    const written = new Promise((resolve) => outgoing.end(resolve));
    await Promise.race([written, sleep(LAST_WORD, undefined, { signal: limit.signal })]);
    limit.abort();
  }
}

function toTrouble(error: unknown): Trouble {
  const code = error instanceof QueueError ? error.code : 'COMMAND_FAILED';
  return { code, message: messageOf(error) };
}

/** The same, to its depths. Only of what came as JSON. */
function frozen<Value>(value: Value): Value {
  if (typeof value !== 'object' || value === null) return value;
  for (const part of Object.values(value)) frozen(part);
  return Object.freeze(value);
}
