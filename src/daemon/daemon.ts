/** What the author of a daemon sees: the class to extend, and the context of one iteration. Nothing of how it is run. */
import type { Config } from '../config.ts';
import { QueueError } from '../errors.ts';
import type { Log } from '../worker/log.ts';

// A daemon's file may come with its own copy of this module, so that `instanceof` would not know its class.
const RUN = Symbol.for('coda-queue.Daemon');

/** Seconds. */
export const USUAL_SLEEP = 5;

/**
 * Does something again and again: `executeStart`, sleep, `executeStart`, … until it is told to stop; then `executeStop`.
 * One instance lives as long as its process. `onStart`, `executeStart`, `getSleepTime` and `executeStop` are called one
 * at a time.
 */
export abstract class Daemon {
  // Declared only: fields of this class would hide what a JavaScript daemon defines as `get signals()`.

  /** The daemon ends by itself after so many iterations, failed ones included; 0, the default: never. */
  declare maxSessions?: number;
  /** Seconds: the daemon counts as stalled when an iteration takes longer and does not say `progress()`. Else as configured. */
  declare readonly stallAfter?: number;
  /**
   * Signals for `handleOtherSignals` besides SIGUSR1 and SIGUSR2, such as `['SIGWINCH']`. Not those that have a
   * meaning of their own (SIGTERM, SIGINT, SIGHUP) or that no program can handle.
   */
  declare readonly signals?: readonly NodeJS.Signals[];

  readonly [RUN]: DaemonRun | undefined = undefined;

  /** The name by which it is started and stopped. Like `config` and `log` it is known once the daemon runs, not in its constructor. */
  get name(): string {
    return runOf(this).name;
  }

  /** The configuration in force, frozen. A reload replaces it. */
  get config(): Config {
    return runOf(this).config;
  }

  /** Each line names the daemon. */
  get log(): Log {
    return runOf(this).log;
  }

  /** False before it has started, and from when it is told to stop or to reload: then begin nothing new. */
  get isRunning(): boolean {
    return this[RUN]?.isRunning ?? false;
  }

  /** How many iterations have ended since the process began, failed ones included: 0 during the first, 1 during the second. */
  get completedSessions(): number {
    return this[RUN]?.completedSessions ?? 0;
  }

  /** Ends the daemon after the iteration that is under way. Nothing happens when it does not run. */
  stop(): void {
    this[RUN]?.stop();
  }

  /**
   * Called before the first iteration, and again after each reload: open here what `executeStop` closes. When it throws,
   * the daemon does not come up; after a reload it starts again with the configuration that it had.
   */
  onStart?(): Promise<void> | void;

  /**
   * One iteration. What it throws is logged and counted, and the next one begins after a pause that grows with each
   * failure in a row: from a second up to a minute, or as long as the daemon sleeps if that is longer.
   */
  abstract executeStart(context: DaemonContext): Promise<void> | void;

  /**
   * Called once for each time the daemon has started, when no iteration runs any more: as it stops, and in a reload
   * before it starts again; also when the last iteration has failed. What it throws is logged. It is not waited for
   * longer than the deadline of a stop leaves, and a second at least.
   */
  executeStop?(context: DaemonStop): Promise<void> | void;

  /** Seconds between two iterations, fractions allowed; asked after each. What is no such number is logged, and counts as 5. */
  getSleepTime(): Promise<number> | number {
    return USUAL_SLEEP;
  }

  /**
   * Called in a reload with the configuration that was read, before anything is stopped, also while an iteration runs.
   * When it throws, that configuration is refused, and the daemon goes on as it was. With true it says that it goes by that
   * configuration now: nothing is stopped, and `config` is that one.
   */
  onReload?(next: Config): Promise<boolean | void> | boolean | void;

  /**
   * Called with SIGUSR1, SIGUSR2 and the `signals` that are declared, at once, also while an iteration runs; not twice
   * at a time. What it throws is logged. A signal that comes several times before it is handled is told once.
   */
  handleOtherSignals?(signal: NodeJS.Signals): Promise<void> | void;

  /**
   * What is wrong with parts of it while the rest works, such as with one camera of several: a short sentence each. Asked
   * after each iteration, and told by `queue-daemon status`. It makes the daemon neither failed nor unhealthy.
   */
  troubles?(): readonly string[];

  /** A health check of the daemon's own, called now and then while it runs: false, or a throw, means that it is unhealthy. */
  verify?(): Promise<boolean> | boolean;
}

/** What belongs to one iteration. */
export interface DaemonContext {
  /** Fires when the daemon is told to stop or to reload: finish what has begun, and begin nothing new. */
  readonly stopping: AbortSignal;
  /** Fires when it has not ended by the deadline of the stop: give up. Its reason is a `HandlerAborted`. */
  readonly signal: AbortSignal;
  /** Says that a long iteration is getting on: what it may take without being stalled counts anew. Costs little. */
  readonly progress: () => void;
}

/** What belongs to one `executeStop`. */
export interface DaemonStop {
  /** Fires when the deadline of the stop has passed: give up. */
  readonly signal: AbortSignal;
}

/** What stands behind an instance while it runs. */
export interface DaemonRun {
  readonly name: string;
  readonly config: Config;
  readonly log: Log;
  readonly isRunning: boolean;
  readonly completedSessions: number;
  /** Nothing of it happens any more. */
  readonly hasEnded: boolean;
  stop(): void;
}

/** Whether its class extends `Daemon`, of whichever copy of this package. */
export function isDaemon(value: unknown): value is Daemon {
  if (typeof value !== 'object' || value === null) return false;
  return RUN in value && typeof (value as Partial<Daemon>).executeStart === 'function';
}

/** Errors: DAEMON_FAILED: it is run already. */
export function bind(daemon: Daemon, run: DaemonRun): void {
  if (daemon[RUN]?.hasEnded === false)
    throw new QueueError('DAEMON_FAILED', `this instance is already run as ${daemon[RUN].name}`);
  (daemon as { [RUN]: DaemonRun })[RUN] = run;
}

function runOf(daemon: Daemon): DaemonRun {
  const run = daemon[RUN];
  if (run) return run;
  throw new QueueError(
    'DAEMON_FAILED',
    'name, config and log are known once the daemon runs, from onStart() on',
  );
}
