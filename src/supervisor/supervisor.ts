/**
 * Keeps processes alive and answers for them: starts their children, judges how they end, and carries out what people and
 * programs ask of them. Light to import, as every program that enqueues a message does: the rest is loaded by `run`.
 */
import { nodePorts } from '../cache/node-ports.ts';
import type { Clock } from '../cache/ports.ts';
import type { Config } from '../config.ts';
import { QueueError, escapeControls } from '../errors.ts';
import type { Json } from '../message.ts';
import { sinkOf, type Log, type LogSink } from '../worker/log.ts';
import { EventLog } from './event-log.ts';
import type { Desired, Fleet, SupervisorOptions, Surroundings } from './fleet.ts';
import type {
  Answer,
  ChangeOptions,
  ProcessSpec,
  ProcessStatus,
  SendOptions,
  SupervisorControl,
  SupervisorEvent,
  SupervisorStatus,
} from './shape.ts';

/** Before it runs it can be listened to, and nothing else: CLOSED. */
export class Supervisor implements SupervisorControl {
  readonly #options: SupervisorOptions;
  readonly #surroundings: Surroundings;
  readonly #log: LogSink;
  readonly #events: EventLog;
  #hasRun = false;
  #fleet: Fleet | undefined;

  constructor(options: SupervisorOptions = {}, surroundings: Surroundings = {}) {
    this.#options = options;
    this.#surroundings = surroundings;
    this.#log = harmless(options.log);
    this.#events = new EventLog(this.#log, () => this.#clock.now());
  }

  /**
   * Ends what a supervisor of this name has left behind when it was killed, starts the processes, and keeps them. Resolves
   * when `signal` has fired and nothing of them lives any more; without a signal never. Once for each instance.
   * @param force fires: children that have not ended yet are killed.
   * Errors: CONFIG_INVALID: a process is none, or the configuration is not valid; PROCESS_EXISTS: two have one name;
   * DAEMON_RUNNING: a supervisor of this name runs already; STORAGE_FAILED: `stateDir` is not usable; CLOSED: it has been run.
   */
  async run(signal: AbortSignal = new AbortController().signal, force?: AbortSignal): Promise<void> {
    if (this.#hasRun) throw new QueueError('CLOSED', 'this supervisor has been run already');
    this.#hasRun = true;
    const { Fleet } = await import('./fleet.ts');
    this.#fleet = new Fleet(this.#options, this.#surroundings, {
      clock: this.#clock,
      log: this.#log,
      events: this.#events,
    });
    await this.#fleet.run(signal, force);
  }

  status(): SupervisorStatus {
    const { name = 'supervisor' } = this.#options;
    const { pid } = process;
    return this.#fleet?.status() ?? { name, pid, startedAt: new Date(0), state: 'stopped', processes: [] };
  }

  async add(spec: ProcessSpec, options?: ChangeOptions): Promise<ProcessStatus> {
    return this.#up().add(spec, options);
  }

  async remove(name: string, options?: ChangeOptions): Promise<void> {
    return this.#up().remove(name, options);
  }

  async start(target: string, options?: ChangeOptions): Promise<void> {
    return this.#up().start(target, options);
  }

  async stop(target: string, options?: ChangeOptions): Promise<void> {
    return this.#up().stop(target, options);
  }

  async restart(target: string, options?: ChangeOptions): Promise<void> {
    return this.#up().restart(target, options);
  }

  async reset(target: string, options?: ChangeOptions): Promise<void> {
    return this.#up().reset(target, options);
  }

  async scale(name: string, instances: number, options?: ChangeOptions): Promise<ProcessStatus> {
    return this.#up().scale(name, instances, options);
  }

  /** See `Fleet.apply`. */
  async apply(desired: readonly Desired[], config: Config): Promise<void> {
    return this.#up().apply(desired, config);
  }

  async send(target: string, command: string, args: Json, options?: SendOptions): Promise<Json> {
    return this.#up().send(target, command, args, options);
  }

  async collect(target: string, command: string, args: Json, options?: SendOptions): Promise<Answer[]> {
    return this.#up().collect(target, command, args, options);
  }

  broadcast(command: string, args: Json): void {
    this.#up().broadcast(command, args);
  }

  onEvent(listener: (event: SupervisorEvent) => void): () => void {
    return this.#events.listen(listener);
  }

  eventsSince(id: number): SupervisorEvent[] {
    return this.#events.since(id);
  }

  get #clock(): Clock {
    return this.#surroundings.clock ?? nodePorts.clock;
  }

  /** Errors: CLOSED. */
  #up(): Fleet {
    if (this.#fleet) return this.#fleet;
    throw new QueueError('CLOSED', 'expected a supervisor that runs; it has not begun');
  }
}

/** A program's own log may print as it comes what children have said, and may throw. */
function harmless(log: Log | undefined): LogSink {
  if (!log) return () => undefined;
  const sink = sinkOf(log);
  return (level, text, fields) => {
    try {
      sink(level, escapeControls(text), fields);
    } catch {
      // A log that cannot be written is no reason to give up children.
    }
  };
}
