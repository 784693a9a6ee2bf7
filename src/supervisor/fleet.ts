/** A supervisor that runs: all its processes, and what people and programs ask of them. Loaded when it begins. */
import type { Clock } from '../cache/ports.ts';
import { loadConfig, type Config } from '../config.ts';
import { QueueError, quote } from '../errors.ts';
import { openOptionsOf } from '../manager-options.ts';
import type { Json } from '../message.ts';
import { encodePayload } from '../payload.ts';
import { QueueManager } from '../queue-manager.ts';
import { nearest } from '../suggest.ts';
import { logAbout, type Log, type LogSink } from '../worker/log.ts';
import { Autoscaler } from './autoscale.ts';
import { LARGEST_MESSAGE } from './channel.ts';
import { canonical, changesBetween } from './changes.ts';
import { Child } from './child.ts';
import type { EventLog } from './event-log.ts';
import { Launcher } from './launch.ts';
import { Register } from './orphans.ts';
import { Process } from './process.ts';
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
import { MOST_INSTANCES, checkProcess, type ProcessInput } from './spec.ts';

/** Milliseconds. */
const USUAL_DEADLINE = 5000;
const LONGEST_DEADLINE = 24 * 86_400_000;
/** How often children are looked at for their memory and health; ms. */
const LOOK_EVERY = 5000;
const LONGEST_COMMAND = 100;

export interface SupervisorOptions {
  /** Of the supervisor itself: in its files, and in the titles of processes. Default "supervisor". */
  name?: string;
  /** What it looks after from the beginning. Relative paths count from the working directory. */
  processes?: readonly ProcessInput[];
  /** The configuration, or its file; else as every program finds it. Its sections [process:NAME] are left alone. */
  config?: Config | string;
  /** Where it notes which processes it has started. Default: [daemon] stateDir. */
  stateDir?: string;
  /** Gets what happens, and what children print and log. Default: nobody does. */
  log?: Log;
}

/** What the daemon that ships brings along besides. */
export interface Surroundings {
  /** Keeps changes that are to be saved; see `saved.ts`. */
  readonly saved?: Saved;
  /** Called once it can be asked, before a child is started. Must not throw. */
  readonly onUp?: () => void;
  readonly clock?: Clock;
  /** A number in [0, 1). */
  readonly chance?: () => number;
}

/** Each throws STORAGE_FAILED or STORAGE_FULL when the change cannot be kept; it is not made then. */
export interface Saved {
  added(spec: ProcessSpec): void;
  removed(name: string): void;
  changed(spec: ProcessSpec, change: { instances?: number; autostart?: boolean }): void;
}

/** A process as it should be. */
export interface Desired {
  readonly spec: ProcessSpec;
  readonly origin: ProcessStatus['origin'];
}

export class Fleet implements SupervisorControl {
  readonly #options: SupervisorOptions;
  readonly #surroundings: Surroundings;
  readonly #clock: Clock;
  readonly #log: LogSink;
  readonly #events: EventLog;
  readonly #processes = new Map<string, Process>();
  #state: SupervisorStatus['state'] = 'stopped';
  #startedAt = new Date(0);
  #launcher: Launcher | undefined;
  #autoscaler: Autoscaler | undefined;
  #config: Config | undefined;

  constructor(
    options: SupervisorOptions,
    surroundings: Surroundings,
    { clock, log, events }: { clock: Clock; log: LogSink; events: EventLog },
  ) {
    this.#options = options;
    this.#surroundings = surroundings;
    this.#clock = clock;
    this.#log = log;
    this.#events = events;
  }

  /** See `Supervisor.run`. */
  async run(signal: AbortSignal, force?: AbortSignal): Promise<void> {
    const { name = 'supervisor', config: given, processes = [] } = this.#options;
    const config = typeof given === 'object' ? given : await loadConfig({ config: given });
    const desired = processes.map((input): Desired => {
      const spec = checkProcess(input, { config, folder: process.cwd() });
      return { spec, origin: 'code' };
    });
    refuseTwins(desired);
    const { register, ended } = await Register.take(
      this.#options.stateDir ?? config.daemon.stateDir,
      name,
      ({ message }) => this.#log('WARN', message, {}),
      force,
    );
    if (ended > 0) this.#log('WARN', `has ended ${ended} processes that an earlier run had left behind`, {});
    this.#launcher = new Launcher({ config, log: this.#log, register });
    this.#config = config;
    this.#startedAt = new Date(this.#clock.now());
    this.#state = 'starting';
    this.#surroundings.onUp?.();
    for (const { spec, origin } of desired) this.#put(spec, origin);
    const kill = (): void => {
      for (const each of this.#processes.values()) each.kill();
    };
    const unlook = this.#keepLooking();
    this.#autoscaler = this.#scaleBy(config);
    try {
      void this.#begin(signal);
      await fired(signal);
    } finally {
      this.#state = 'stopping';
      // It may wait for a child, until that is stopped.
      const closed = this.#autoscaler.close();
      const stopped = Promise.all([...this.#processes.values()].map((each) => each.stop()));
      if (force?.aborted) kill();
      force?.addEventListener('abort', kill, { once: true });
      await stopped;
      await closed;
      force?.removeEventListener('abort', kill);
      unlook();
      await this.#launcher.close();
      this.#state = 'stopped';
    }
  }

  status(): SupervisorStatus {
    return {
      name: this.#options.name ?? 'supervisor',
      pid: process.pid,
      startedAt: this.#startedAt,
      state: this.#state,
      processes: [...this.#processes.values()].map(({ status }) => status),
    };
  }

  async add(spec: ProcessSpec, { save = false, by }: ChangeOptions = {}): Promise<ProcessStatus> {
    this.#refuseUnlessUp();
    if (this.#processes.has(spec.name))
      throw new QueueError('PROCESS_EXISTS', `there is a process named ${spec.name} already`);
    if (save) this.#keeper().added(spec);
    const added = this.#put(spec, save ? 'saved' : 'added');
    this.#events.tell('added', { process: spec.name }, { by: by ?? null });
    await added.begin();
    return added.status;
  }

  async remove(name: string, { save = false, by }: ChangeOptions = {}): Promise<void> {
    this.#refuseUnlessUp();
    const gone = this.#process(name);
    if (save) this.#keeper().removed(name);
    await gone.leave();
    // Two may have asked for it.
    if (this.#processes.get(name) !== gone) return;
    this.#processes.delete(name);
    this.#events.tell('removed', { process: name }, { by: by ?? null });
  }

  start(target: string, options: ChangeOptions = {}): Promise<void> {
    return this.#change('start', target, options, { autostart: true }, (each, child) => each.start(child));
  }

  stop(target: string, options: ChangeOptions = {}): Promise<void> {
    return this.#change('stop', target, options, { autostart: false }, (each, child) => each.stop(child));
  }

  restart(target: string, options: ChangeOptions = {}): Promise<void> {
    return this.#change('restart', target, options, undefined, (each, child) => each.restart(child));
  }

  reset(target: string, options: ChangeOptions = {}): Promise<void> {
    return this.#change('reset', target, options, undefined, (each, child) => each.reset(child));
  }

  async scale(
    name: string,
    instances: number,
    { save = false, by }: ChangeOptions = {},
  ): Promise<ProcessStatus> {
    this.#refuseUnlessUp();
    const scaled = this.#process(name);
    const { kind, autoscale } = scaled.spec;
    // Beyond its range an autoscaled process would not stay for long.
    const { min, max } = autoscale ?? { min: 0, max: kind === 'daemon' ? 1 : MOST_INSTANCES };
    if (!Number.isInteger(instances) || instances < min || instances > max) {
      throw new QueueError(
        'INVALID_ARGUMENT',
        `expected ${min} to ${max} children of ${name}, received ${quote(instances)}`,
      );
    }
    if (save) this.#keep(scaled, { instances });
    const from = scaled.wanted;
    if (from !== instances)
      this.#events.tell('scaled', { process: name }, { from, to: instances, by: by ?? null });
    await scaled.scale(instances);
    return scaled.status;
  }

  /**
   * Looks after these processes from now on, and no longer after others that came from the configuration or were saved;
   * those from code, or added for the time being, stay. What has not changed is not touched. Resolves when all of it has been
   * done.
   * @param config by which children are started from now on.
   * Errors: CLOSED; PROCESS_EXISTS: one has the name of another from code, or that was added: nothing has been done then.
   * CHILD_GONE: a rolling restart went wrong; everything else has been done, and the next call goes on with that.
   */
  async apply(desired: readonly Desired[], config: Config): Promise<void> {
    this.#refuseUnlessUp();
    const before = [...this.#processes.values()].filter(({ origin }) => isApplied(origin));
    refuseTwins(desired);
    for (const { spec } of desired) {
      const there = this.#processes.get(spec.name);
      if (there && !isApplied(there.origin))
        throw new QueueError('PROCESS_EXISTS', `there is a process named ${spec.name} already`);
    }
    const changes = changesBetween(
      { specs: before.map(({ spec }) => spec), config: this.#config ?? config },
      { specs: desired.map(({ spec }) => spec), config },
    );
    if (canonical(this.#config?.queue) !== canonical(config.queue)) this.#autoscaler?.renew();
    this.#config = config;
    if (this.#launcher) this.#launcher.config = config;
    const origins = new Map(desired.map(({ spec, origin }) => [spec.name, origin]));
    for (const each of before) each.origin = origins.get(each.spec.name) ?? each.origin;
    const touched = new Set([...changes.restarted, ...changes.adjusted, ...changes.added]);
    const unfinished = desired.filter(({ spec }) => !touched.has(spec) && this.#process(spec.name).isBehind);
    const gone = changes.removed.map((name) => this.remove(name));
    const added = changes.added.map((spec) => {
      const each = this.#put(spec, origins.get(spec.name) ?? 'configured');
      this.#events.tell('added', { process: spec.name }, { by: 'configuration' });
      return each.begin();
    });
    const used = [
      ...changes.restarted.map((spec) => this.#process(spec.name).use(spec, true)),
      ...changes.adjusted.map((spec) => this.#process(spec.name).use(spec, false)),
      ...unfinished.map(({ spec }) => this.#process(spec.name).use(spec, false)),
    ];
    const done = await Promise.allSettled([...gone, ...added, ...used]);
    for (const one of done) if (one.status === 'rejected') throw one.reason;
  }

  async send(target: string, command: string, args: Json, options: SendOptions = {}): Promise<Json> {
    const deadline = deadlineOf(options);
    check(command, args);
    const { process: asked, child } = this.#target(target);
    const [only, ...more] = child ? [child] : asked.children;
    if (!only) throw new QueueError('CHILD_GONE', `${asked.spec.name} has no children`);
    if (more.length === 0) return only.send(command, args, deadline);
    throw new QueueError(
      'INVALID_ARGUMENT',
      `expected one child, such as ${only.id}; ${asked.spec.name} has ${more.length + 1} of them`,
    );
  }

  async collect(target: string, command: string, args: Json, options: SendOptions = {}): Promise<Answer[]> {
    const deadline = deadlineOf(options);
    check(command, args);
    return Promise.all(
      this.#children(target).map(async (child): Promise<Answer> => {
        try {
          return { child: child.id, ok: true, result: await child.send(command, args, deadline) };
        } catch (error) {
          const { code = 'CHILD_GONE', message } = error as Partial<QueueError> & Error;
          return { child: child.id, ok: false, error: { code, message } };
        }
      }),
    );
  }

  /** Errors: INVALID_ARGUMENT, INVALID_MESSAGE, MESSAGE_TOO_LARGE. */
  broadcast(command: string, args: Json): void {
    check(command, args);
    for (const child of this.#children('*')) {
      try {
        child.tell(command, args);
      } catch (error) {
        this.#log('WARN', `was not told ${quote(command)}: ${(error as Error).message}`, { child: child.id });
      }
    }
  }

  onEvent(listener: (event: SupervisorEvent) => void): () => void {
    return this.#events.listen(listener);
  }

  eventsSince(id: number): SupervisorEvent[] {
    return this.#events.since(id);
  }

  async #begin(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    await Promise.all([...this.#processes.values()].map((each) => each.begin()));
    if (!signal.aborted && this.#state === 'starting') this.#state = 'running';
  }

  #put(spec: ProcessSpec, origin: ProcessStatus['origin']): Process {
    const launcher = this.#launcher;
    if (!launcher) throw closed(this.#state);
    const added = new Process(
      spec,
      origin,
      (id, its) =>
        new Child({
          id,
          spec: its,
          clock: this.#clock,
          chance: this.#surroundings.chance ?? Math.random,
          launch: (now, child, listeners) => launcher.launch(now, child, listeners),
          alarm: launcher.alarm,
          onEvent: (type, child, data) => this.#events.tell(type, { process: spec.name, child }, data),
        }),
    );
    this.#processes.set(spec.name, added);
    return added;
  }

  async #change(
    action: string,
    target: string,
    { save = false, by }: ChangeOptions,
    kept: { autostart: boolean } | undefined,
    act: (process: Process, child: Child | undefined) => Promise<void>,
  ): Promise<void> {
    this.#refuseUnlessUp();
    const { process: changed, child } = this.#target(target);
    if (save) {
      if (!kept || child) {
        const what = child ? `the ${action} of one child` : `a ${action}`;
        throw new QueueError('INVALID_ARGUMENT', `expected a change that can be saved, received ${what}`);
      }
      this.#keep(changed, kept);
    }
    this.#events.tell(
      'control',
      { process: changed.spec.name, child: child?.id },
      { action, by: by ?? null },
    );
    await act(changed, child);
  }

  /** @param first holds until `apply` says otherwise. */
  #scaleBy(first: Config): Autoscaler {
    const autoscaler = new Autoscaler({
      control: this,
      open: () => QueueManager.open(openOptionsOf(this.#config ?? first)),
      log: logAbout(this.#log, {}),
      clock: this.#clock,
    });
    autoscaler.start();
    return autoscaler;
  }

  #keepLooking(): () => void {
    let cancel = (): void => undefined;
    const look = (): void => {
      for (const child of this.#children('*')) child.look();
      cancel = this.#clock.timer(LOOK_EVERY, look);
    };
    cancel = this.#clock.timer(LOOK_EVERY, look);
    return () => cancel();
  }

  /** '*': all. Errors: UNKNOWN_PROCESS. */
  #children(target: string): readonly Child[] {
    if (target === '*') return [...this.#processes.values()].flatMap(({ children }) => children);
    const { process: asked, child } = this.#target(target);
    return child ? [child] : asked.children;
  }

  /** A process, or one child of it. Errors: UNKNOWN_PROCESS. */
  #target(target: string): { process: Process; child: Child | undefined } {
    const at = target.lastIndexOf('#');
    if (at < 0) return { process: this.#process(target), child: undefined };
    const named = this.#process(target.slice(0, at));
    const child = named.children.find(({ id }) => id === target);
    if (child) return { process: named, child };
    const known = named.children.map(({ id }) => id).join(', ');
    throw new QueueError(
      'UNKNOWN_PROCESS',
      `no child ${quote(target)}; known: ${known === '' ? 'none' : known}`,
    );
  }

  /** Errors: UNKNOWN_PROCESS. */
  #process(name: string): Process {
    const found = this.#processes.get(name);
    if (found) return found;
    const known = [...this.#processes.keys()].sort();
    const near = nearest(name, known);
    const shown = known.slice(0, 20).join(', ') + (known.length > 20 ? ', …' : '');
    const hint = near === undefined ? `known: ${shown === '' ? 'none' : shown}` : `did you mean ${near}?`;
    throw new QueueError('UNKNOWN_PROCESS', `no process named ${quote(name)}; ${hint}`);
  }

  /** Saves a change; of a process that was added for the time being all of it. Errors: INVALID_ARGUMENT; those of `Saved`. */
  #keep(changed: Process, change: { instances?: number; autostart?: boolean }): void {
    const spec: ProcessSpec = Object.freeze({ ...changed.spec, ...change });
    // Whatever else has, or had, its name.
    if (changed.origin === 'added') this.#keeper().added(spec);
    else this.#keeper().changed(changed.spec, change);
    changed.keep(spec);
  }

  /** Errors: INVALID_ARGUMENT. */
  #keeper(): Saved {
    const { saved } = this.#surroundings;
    if (saved) return saved;
    throw new QueueError(
      'INVALID_ARGUMENT',
      'expected a change for the time being: this supervisor saves none',
    );
  }

  /** Errors: CLOSED. */
  #refuseUnlessUp(): void {
    if (this.#state !== 'starting' && this.#state !== 'running') throw closed(this.#state);
  }
}

function closed(state: string): QueueError {
  return new QueueError('CLOSED', `expected a supervisor that runs; it is ${state}`);
}

/** Whether `apply` says what becomes of it. */
function isApplied(origin: ProcessStatus['origin']): boolean {
  return origin === 'configured' || origin === 'saved';
}

/** Errors: PROCESS_EXISTS. */
function refuseTwins(desired: readonly Desired[]): void {
  const names = new Set<string>();
  for (const { spec } of desired) {
    if (names.has(spec.name)) throw new QueueError('PROCESS_EXISTS', `two processes are named ${spec.name}`);
    names.add(spec.name);
  }
}

/** Errors: INVALID_ARGUMENT. */
function deadlineOf({ deadline = USUAL_DEADLINE }: SendOptions): number {
  if (typeof deadline === 'number' && deadline >= 0 && deadline <= LONGEST_DEADLINE) return deadline;
  throw new QueueError(
    'INVALID_ARGUMENT',
    `deadline: expected milliseconds from 0 to ${LONGEST_DEADLINE}, received ${quote(deadline)}`,
  );
}

/** Errors: INVALID_ARGUMENT: no command has that name; INVALID_MESSAGE, MESSAGE_TOO_LARGE: `args` cannot be sent. */
function check(command: string, args: Json): void {
  if (typeof command !== 'string' || command === '' || command.length > LONGEST_COMMAND) {
    const expected = `the name of a command, 1 to ${LONGEST_COMMAND} characters`;
    throw new QueueError('INVALID_ARGUMENT', `expected ${expected}, received ${quote(command)}`);
  }
  encodePayload(args, 'args', LARGEST_MESSAGE);
}

function fired(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
