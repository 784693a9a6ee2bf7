/**
 * Runs a daemon: calls the methods of its class, one at a time, and answers to what it is told meanwhile.
 *
 *        onStart ok           told to stop or reload, stop(), maxSessions
 *   starting ──► iterating ─────────────────────────────────┐
 *      ▲  │       │     ▲                                   ▼
 *      │  │       ▼     │ time is up                     stopping ──► stopped
 *      │  │      sleeping ────────────────────────────────► │  executeStop
 *      │  │                  told …                         │
 *      │  └──► failed        (onStart threw)                │ reload: the new configuration
 *      └────────────────────────────────────────────────────┘
 *
 * Told to stop, it waits for the iteration up to the deadline, has it give up, waits a second more, and abandons it.
 * Told to reload, it abandons nothing: two iterations never run at once. Whatever the class does, it is called as
 * often as its docstrings say, and nothing it throws ends the daemon but `onStart`.
 */
import type { Clock } from '../cache/ports.ts';
import { nodePorts } from '../cache/node-ports.ts';
import type { Config } from '../config.ts';
import { toTryError } from '../try-error.ts';
import { GRACE } from '../worker/pool.ts';
import { logAbout, type Log, type LogSink } from '../worker/log.ts';
import { HandlerAborted } from '../worker/worker.ts';
import { bind, type Daemon, type DaemonRun } from './daemon.ts';
import { Deadline } from './deadline.ts';
import { maxSessionsOf, stallAfterOf, troublesOf } from './declared.ts';
import { Health } from './health.ts';
import type { Orders } from './orders.ts';
import { OtherSignals } from './other-signals.ts';
import { isConsequence, messageOf, startFailed } from './outcome.ts';
import { Rest } from './rest.ts';
import type { Keeper, Thrown } from './state.ts';

export interface RunOptions {
  daemon: Daemon;
  name: string;
  config: Config;
  sink: LogSink;
  /** Fires: the daemon is to stop. */
  signal: AbortSignal;
  /** Fires after `signal`: the deadline is now. */
  force: AbortSignal;
  orders: Orders;
  /** Reads the configuration again. */
  reread: () => Promise<Config>;
  /** Called when another configuration is in force. Must not throw. */
  onConfig: (config: Config) => void;
  keeper: Keeper;
  clock?: Clock;
}

export interface RunReport {
  /** `stopped`: told to; `itself`: by its own `stop()`; `limit`: `maxSessions` was reached. */
  ended: 'stopped' | 'itself' | 'limit';
  /** Iterations that have ended, and how many of them had failed. */
  sessions: number;
  failed: number;
  /** Something had not ended in time, and was not waited for; it may still be running. */
  abandoned: boolean;
}

/**
 * Resolves when the daemon has stopped, and nothing more of it will be called.
 * Errors: DAEMON_FAILED: it cannot start, or not again after a reload; the `QueueError` that its `onStart` threw, such as
 * CONFIG_INVALID.
 */
export function runDaemon(options: RunOptions): Promise<RunReport> {
  return new Runner(options).run();
}

class Runner implements DaemonRun {
  readonly name: string;
  readonly log: Log;
  readonly #options: RunOptions;
  readonly #clock: Clock;
  /** Of the stop. */
  readonly #deadline: Deadline;
  #config: Config;
  /** To be in force after the reload that is under way. */
  #next: Config | undefined;
  /** One from `onStart` to `executeStop`; fires when that has to come. */
  #phase: AbortController | undefined;
  /** Fires when the iteration that runs has to give up. */
  #iteration: AbortController | undefined;
  /** Why it ends, once it does. */
  #end: RunReport['ended'] | undefined;
  #hasStarted = false;
  #hasEnded = false;
  #sessions = 0;
  #failed = 0;
  #failedInARow = 0;
  #abandoned = false;
  #isRereading = false;
  readonly #signals: OtherSignals;
  readonly #health: Health;
  readonly #rest: Rest;
  /** Keeps an iteration from holding up a reload for ever. */
  #endPatience: () => void = () => undefined;
  #hasComplained = false;
  /** Milliseconds. */
  #stallAfter: number | undefined;

  constructor(options: RunOptions) {
    this.#options = options;
    this.name = options.name;
    this.log = logAbout(options.sink, { daemon: options.name });
    this.#config = options.config;
    this.#clock = options.clock ?? nodePorts.clock;
    this.#deadline = new Deadline(this.#clock);
    this.#signals = new OtherSignals(options.daemon, options.orders, this.log);
    this.#rest = new Rest(options.daemon, options.keeper, this.log, this.#clock);
    this.#health = new Health(options.daemon, options.keeper, this.#clock);
    this.#deadline.passed.addEventListener('abort', () => this.#giveUp(), { once: true });
  }

  get config(): Config {
    return this.#config;
  }

  get isRunning(): boolean {
    return this.#phase?.signal.aborted === false;
  }

  get completedSessions(): number {
    return this.#sessions;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  stop(): void {
    this.#finish('itself');
  }

  async run(): Promise<RunReport> {
    const { daemon, signal, force, orders } = this.#options;
    bind(daemon, this);
    // One that waits for something which is no handle would let the process end without a word.
    const alive = setInterval(() => undefined, 60_000);
    const heeding = new AbortController();
    const when = (event: AbortSignal, act: () => void): void => {
      if (event.aborted) act();
      else event.addEventListener('abort', act, { signal: heeding.signal });
    };
    when(signal, () => this.#beTold());
    when(force, () => this.#deadline.force());
    orders.onWord(() => this.#heed());
    try {
      if (this.#end === undefined && (await this.#start())) await this.#live();
      return {
        ended: this.#end ?? 'stopped',
        sessions: this.#sessions,
        failed: this.#failed,
        abandoned: this.#abandoned,
      };
    } finally {
      this.#hasEnded = true;
      this.#over();
      orders.onWord(() => undefined);
      heeding.abort();
      this.#deadline.end();
      clearInterval(alive);
    }
  }

  /** From one `executeStop` to the next. */
  async #live(): Promise<void> {
    do {
      this.#hasCome();
      while (this.isRunning) await this.#iterate();
      await this.#stop();
    } while (this.#end === undefined && (await this.#restart()));
  }

  /** True: it has started. False: it was told to stop before it had. */
  async #start(): Promise<boolean> {
    const { daemon } = this.#options;
    this.#phase = new AbortController();
    try {
      maxSessionsOf(daemon);
      this.#stallAfter = stallAfterOf(daemon);
      if (!(await this.#deadline.within(() => daemon.onStart?.()))) {
        this.#abandon('onStart()');
        return false;
      }
    } catch (error) {
      const isConsequence = this.#isConsequence(error);
      this.#over();
      if (this.#end === undefined) throw startFailed(error);
      if (!isConsequence) this.log.error(`onStart() failed: ${messageOf(error)}`);
      return false;
    }
    if (this.#end !== undefined) this.#over();
    return true;
  }

  #hasCome(): void {
    this.#hasStarted = true;
    this.#options.keeper.started(this.#stallAfter ?? this.#config.daemon.stallAfter);
    this.#health.start();
    this.#heed();
  }

  async #iterate(): Promise<void> {
    const { daemon, keeper } = this.#options;
    const stopping = this.#phase?.signal;
    if (!stopping) return;
    this.#iteration = new AbortController();
    const { signal } = this.#iteration;
    keeper.iterationStarted();
    const began = this.#clock.monotonic();
    const progress = (): void => {
      if (this.#iteration?.signal === signal) keeper.progressed();
    };
    let thrown: Thrown | undefined;
    try {
      if (!(await this.#deadline.within(() => daemon.executeStart({ stopping, signal, progress })))) {
        this.#abandon('the iteration');
        return;
      }
    } catch (error) {
      if (!this.#isConsequence(error)) thrown = { error };
    }
    this.#iteration = undefined;
    this.#endPatience();
    this.#sessions++;
    keeper.iterationEnded(thrown);
    if (thrown) this.#hasFailed(thrown.error);
    else {
      this.#failedInARow = 0;
      const ms = Math.round(this.#clock.monotonic() - began);
      this.log.debug(`iteration ${this.#sessions} is done`, { ms });
    }
    this.#tellTroubles();
    if (this.#isLast()) this.#finish('limit');
    await this.#rest.take(this.#failedInARow, stopping);
  }

  #hasFailed(error: unknown): void {
    this.#failed++;
    this.#failedInARow++;
    this.log.error(`iteration ${this.#sessions} failed: ${messageOf(error)}`);
    const { stack } = toTryError(error, 1, this.#clock.now());
    if (stack !== undefined) this.log.debug(stack);
  }

  #tellTroubles(): void {
    const { daemon, keeper } = this.#options;
    keeper.troubled(this.#declared(() => troublesOf(daemon)) ?? []);
  }

  #isLast(): boolean {
    const most = this.#declared(() => maxSessionsOf(this.#options.daemon)) ?? 0;
    return most > 0 && this.#sessions >= most;
  }

  /** What the daemon says of itself; undefined when that makes no sense, which is told once. */
  #declared<Value>(read: () => Value): Value | undefined {
    try {
      return read();
    } catch (error) {
      if (!this.#hasComplained) this.log.warn(`${messageOf(error)}; it goes on`);
      this.#hasComplained = true;
      return undefined;
    }
  }

  /** `executeStop`, and what else has to end before. */
  async #stop(): Promise<void> {
    const { daemon, keeper } = this.#options;
    this.#hasStarted = false;
    this.#health.stop();
    if (this.#end === undefined) keeper.reloading();
    else keeper.stopping(this.#patience);
    if (!(await this.#deadline.within(() => this.#signals.stop()))) this.#abandon('handleOtherSignals()');
    try {
      const context = { signal: this.#deadline.passed };
      if (!(await this.#deadline.within(() => daemon.executeStop?.(context)))) this.#abandon('executeStop()');
    } catch (error) {
      this.log.error(`executeStop() failed: ${messageOf(error)}`);
    }
  }

  /** True: it has started anew. False: it was told to stop meanwhile. */
  async #restart(): Promise<boolean> {
    const { keeper } = this.#options;
    const previous = this.#config;
    this.#adopt(this.#next ?? previous);
    this.#next = undefined;
    try {
      if (!(await this.#start())) return false;
      keeper.reloaded();
      this.log.info('started anew with the configuration read again');
      return true;
    } catch (error) {
      if (this.#end !== undefined) return false;
      this.#adopt(previous);
      keeper.reloaded({ error });
      const why = messageOf(error);
      this.log.error(`does not start with the configuration read again: ${why}; starts with the one it had`);
    }
    return this.#start();
  }

  #adopt(config: Config): void {
    if (config === this.#config) return;
    this.#config = config;
    this.#options.onConfig(config);
  }

  /** Milliseconds from when it is told to stop until it has stopped, by force if need be; what `executeStop` needs included. */
  get #patience(): number {
    return this.#config.worker.stopDeadline + 3 * GRACE;
  }

  #beTold(): void {
    this.#deadline.begin(this.#config.worker.stopDeadline);
    this.#options.keeper.stopping(this.#patience);
    this.#finish('stopped');
  }

  #finish(end: RunReport['ended']): void {
    this.#end ??= end;
    this.#over();
  }

  /** Ends the phase: nothing new is to begin. */
  #over(): void {
    if (this.isRunning) this.#phase?.abort(new HandlerAborted('STOPPING', 'the daemon is told to end'));
  }

  /** Tells the iteration that its time is over. */
  #giveUp(): void {
    if (!this.#iteration || this.#iteration.signal.aborted) return;
    this.log.warn('the iteration has not ended by the deadline, and is told to give up');
    this.#iteration.abort(
      new HandlerAborted('STOPPING', 'the daemon is told to end, and its deadline has passed'),
    );
  }

  #abandon(what: string): void {
    this.#abandoned = true;
    this.log.warn(`${what} has not ended in time, and is not waited for`);
  }

  #isConsequence(error: unknown): boolean {
    return isConsequence(error, [this.#phase?.signal, this.#iteration?.signal]);
  }

  /** Called when there is word, and when it can be heeded. */
  #heed(): void {
    if (!this.#hasStarted) return;
    void this.#heedReload();
    this.#signals.heed();
  }

  async #heedReload(): Promise<void> {
    const { daemon, orders, reread, keeper } = this.#options;
    if (this.#isRereading) return;
    this.#isRereading = true;
    while (this.#end === undefined && orders.takeReload()) {
      try {
        const next = await reread();
        if ((await daemon.onReload?.(next)) === true) {
          this.#adopt(next);
          keeper.reloaded();
          this.log.info('goes on with the configuration read again');
          this.#rest.tell();
          continue;
        }
        this.#next = next;
      } catch (error) {
        this.log.error(`the configuration, read again, is refused: ${messageOf(error)}; the old one stays`);
        keeper.reloaded({ error });
        this.#rest.tell();
        continue;
      }
      this.#over();
      this.#endPatience();
      const patience = this.#config.worker.stopDeadline;
      if (this.#iteration) this.#endPatience = this.#clock.timer(patience, () => this.#giveUp());
    }
    this.#isRereading = false;
  }
}
