/**
 * What a supervisor looks after, what it tells of it, and what may be asked of it. A *process* is an entry of the
 * configuration, with a name; a *child* is one process of the operating system, of which a process may have several.
 */
import type { FailureActions } from '../failure-actions.ts';
import type { Json } from '../message.ts';

/** What is run: a class that extends `ManagedProcess`, a daemon, the worker of a type, or a program. */
export type ProcessKind = 'class' | 'daemon' | 'worker' | 'exec';

/** An entry `[process:NAME]` of the configuration, or one that was added since. Frozen. */
export interface ProcessSpec {
  readonly name: string;
  readonly kind: ProcessKind;
  /** The path of the class's module, the daemon's name, the worker's type, or the program. */
  readonly target: string;
  /** Of a program: what follows its name. Else none. */
  readonly args: readonly string[];
  /** What a class reads as `this.params`; text when it comes from config.ini. */
  readonly params: Readonly<Record<string, Json>>;
  /** How many children there are to be; between `autoscale.min` and `.max` at the beginning. */
  readonly instances: number;
  readonly autoscale: Autoscale | undefined;
  /** Of a worker. Default: the type. */
  readonly queue: string | undefined;
  /** Of a worker: messages at once in each child. Default: as configured. */
  readonly concurrency: number | undefined;
  /** False: it is there, but nobody starts it unless told to. */
  readonly autostart: boolean;
  /** Milliseconds from the wish to stop it until it is killed. */
  readonly stopDeadline: number;
  /** Bytes of resident memory beyond which a child is started anew; undefined: as many as it likes. */
  readonly memoryLimit: number | undefined;
  readonly recovery: Recovery;
}

/** What follows when a child ends that nobody told to. */
export interface Recovery {
  readonly onFailure: FailureActions;
  /** Milliseconds from the first failure to the restart; twice as long with each further one, up to `delayMax`. */
  readonly delay: number;
  readonly delayMax: number;
  /** Milliseconds without a failure after which the next one counts as the first. */
  readonly resetPeriod: number;
  /** So many failures within `resetPeriod` and it stays down, as failed, until it is reset. */
  readonly limit: number;
}

export interface Autoscale {
  readonly min: number;
  readonly max: number;
  /** Messages waiting, for each child, above which one more is started. */
  readonly backlog: number;
  /** Milliseconds that the oldest message may wait before one more is started. */
  readonly age: number;
}

/** `waiting`: for its next start after a failure. `failed`: it has failed too often, and stays down until it is reset. */
export type ChildState = 'stopped' | 'starting' | 'running' | 'stopping' | 'waiting' | 'failed';

export interface ChildStatus {
  /** `name#1`, `name#2`, … */
  readonly id: string;
  readonly state: ChildState;
  readonly pid: number | undefined;
  readonly startedAt: Date | undefined;
  /** How often it was started again after a failure, ever. */
  readonly restarts: number;
  /** How often it has failed lately; see `Recovery`. */
  readonly failures: number;
  /** How it ended last, in a sentence without control characters. */
  readonly lastEnd: { readonly at: Date; readonly why: string; readonly failed: boolean } | undefined;
  readonly nextStartAt: Date | undefined;
  /** Bytes of resident memory, when it was last looked at. */
  readonly memory: number | undefined;
  /** What its health check said last; undefined: it has none, or was not asked yet. */
  readonly healthy: boolean | undefined;
}

export interface ProcessStatus {
  readonly spec: ProcessSpec;
  /** Whether it comes from the configuration, from code, or was added at run time (and whether that is kept). */
  readonly origin: 'configured' | 'code' | 'added' | 'saved';
  /** How many children it should have now. */
  readonly wanted: number;
  readonly children: readonly ChildStatus[];
}

export interface SupervisorStatus {
  readonly name: string;
  readonly pid: number;
  readonly startedAt: Date;
  readonly state: 'starting' | 'running' | 'stopping' | 'stopped';
  readonly processes: readonly ProcessStatus[];
}

/** Numbered from 1 on, without gaps. */
export interface SupervisorEvent {
  readonly id: number;
  readonly at: Date;
  /** `told` is an event that a child sent of its own accord; `control` is an action that somebody asked for. */
  readonly type:
    | 'starting'
    | 'running'
    | 'ended'
    | 'failed'
    | 'waiting'
    | 'stopping'
    | 'stopped'
    | 'unhealthy'
    | 'scaled'
    | 'added'
    | 'removed'
    | 'told'
    | 'control';
  readonly process: string | undefined;
  readonly child: string | undefined;
  readonly data: Json;
}

/** What one child answered, or why there is no answer. */
export type Answer =
  | { readonly child: string; readonly ok: true; readonly result: Json }
  | {
      readonly child: string;
      readonly ok: false;
      readonly error: { readonly code: string; readonly message: string };
    };

export interface SendOptions {
  /** Milliseconds for each child; default 5,000. */
  readonly deadline?: number;
}

export interface ChangeOptions {
  /** Keeps the change beyond the end of the supervisor. */
  readonly save?: boolean;
  /** Who asks, for the log. */
  readonly by?: string;
}

/**
 * What may be asked of a running supervisor. A `target` is the name of a process (all of its children), or a child's id.
 * Errors: UNKNOWN_PROCESS: there is none of that name; PROCESS_EXISTS: there is one already; CONFIG_INVALID: the spec is
 * none; CLOSED: the supervisor is stopping.
 */
export interface SupervisorControl {
  status(): SupervisorStatus;
  /** Resolves when its children are up, or one has failed. */
  add(spec: ProcessSpec, options?: ChangeOptions): Promise<ProcessStatus>;
  /** Resolves when its children have ended. */
  remove(name: string, options?: ChangeOptions): Promise<void>;
  /** Resolves when they are up, or have failed. Errors: CHILD_GONE: one was stopped meanwhile. */
  start(target: string, options?: ChangeOptions): Promise<void>;
  stop(target: string, options?: ChangeOptions): Promise<void>;
  /**
   * One child after the other, the next only when the one before it is up again.
   * Errors: CHILD_GONE: one did not come up, and those behind it go on as they were; or one was stopped meanwhile.
   */
  restart(target: string, options?: ChangeOptions): Promise<void>;
  scale(name: string, instances: number, options?: ChangeOptions): Promise<ProcessStatus>;
  /** Forgets its failures, and starts what has failed. Errors: CHILD_GONE: one was stopped meanwhile. */
  reset(target: string, options?: ChangeOptions): Promise<void>;
  /** Resolves with the child's answer. Errors: UNKNOWN_COMMAND, COMMAND_FAILED (its own words), COMMAND_TIMEOUT, CHILD_GONE. */
  send(target: string, command: string, args: Json, options?: SendOptions): Promise<Json>;
  /** The answers of all children of the target ('*': of all processes); each in time, and none waits for another. Never rejects for a child's sake. */
  collect(target: string, command: string, args: Json, options?: SendOptions): Promise<Answer[]>;
  /** Tells all children, and waits for no answer. */
  broadcast(command: string, args: Json): void;
  /** Calls `listener` with each event from now on; what it returns ends that. Must not throw. */
  onEvent(listener: (event: SupervisorEvent) => void): () => void;
  /** The last events, oldest first, from the given id on; a bounded number is kept. */
  eventsSince(id: number): SupervisorEvent[];
}
