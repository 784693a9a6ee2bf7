/** One try of one message, from its claim to the end of its handler: what the handler sees of it, and how it is told to end. */
import { performance } from 'node:perf_hooks';
import type { Claim } from '../message.ts';
import { logAbout, type Log, type LogSink } from './log.ts';
import { ProgressNotes, type Word } from './progress.ts';
import { HandlerAborted, type AbortCode, type WorkerContext } from './worker.ts';

/**
 * - `running`: the handler's result will decide what becomes of the message.
 * - `stopping`: the handler was told to end; unless it succeeds, the message is released.
 * - `over`: the claim has ended or is being settled; what the handler still does changes nothing.
 */
export type TaskStage = 'running' | 'stopping' | 'over';

/** What a handler may ask of the pool that runs it. */
export interface TaskOwner {
  readonly queue: string;
  readonly sink: LogSink;
  renew(task: Task): Promise<boolean>;
  /** Never rejects. */
  report(task: Task, word: Word): Promise<void>;
}

export class Task {
  readonly claim: Claim;
  readonly context: WorkerContext;
  /** Where it stands among those that run. */
  slot = -1;
  /** The message's data, as the handler gets it. */
  data: unknown;
  /** Monotonic milliseconds. */
  readonly startedAt = performance.now();
  /** When the lease began that is known to hold; monotonic milliseconds. */
  leasedAt = this.startedAt;
  readonly #owner: TaskOwner;
  #stage: TaskStage = 'running';
  #abortion: HandlerAborted | undefined;
  #controller: AbortController | undefined;
  #progress: ProgressNotes | undefined;
  #timeout: NodeJS.Timeout | undefined;

  constructor(claim: Claim, owner: TaskOwner) {
    this.claim = claim;
    this.data = claim.data;
    this.#owner = owner;
    this.context = new Context(this, owner);
  }

  get stage(): TaskStage {
    return this.#stage;
  }

  /** Why the handler was told to end, if it was: the first reason. */
  get abortion(): HandlerAborted | undefined {
    return this.#abortion;
  }

  get timedOut(): boolean {
    return this.#abortion?.code === 'TIMEOUT';
  }

  /** Made when a handler first asks: most handlers of short messages never do. */
  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#abortion) this.#controller.abort(this.#abortion);
    }
    return this.#controller.signal;
  }

  /** Fires the signal; only the first reason counts. */
  abort(code: AbortCode, message: string): void {
    if (this.#abortion) return;
    this.#abortion = new HandlerAborted(code, message);
    this.#controller?.abort(this.#abortion);
  }

  /** Aborts with TIMEOUT after so many milliseconds, unless it is over by then. */
  limit(milliseconds: number): void {
    const told = `the try has taken longer than ${milliseconds} ms`;
    this.#timeout = setTimeout(() => this.abort('TIMEOUT', told), milliseconds);
  }

  /** A try that has timed out is told to end already, and has failed if it does: it goes on running. */
  stop(): void {
    if (this.#stage === 'running' && !this.timedOut) this.#stage = 'stopping';
    this.abort('STOPPING', 'the worker is stopping');
  }

  /** Returns the stage that this ends. */
  end(): TaskStage {
    const stage = this.#stage;
    this.#stage = 'over';
    this.#progress?.close();
    if (this.#timeout) clearTimeout(this.#timeout);
    return stage;
  }

  say(percent: number, text: string | undefined): void {
    if (this.#stage === 'over') return;
    this.#progress ??= new ProgressNotes(this.startedAt, (word) => this.#owner.report(this, word));
    this.#progress.say(percent, text);
  }
}

class Context implements WorkerContext {
  readonly #task: Task;
  readonly #owner: TaskOwner;
  #log: Log | undefined;

  constructor(task: Task, owner: TaskOwner) {
    this.#task = task;
    this.#owner = owner;
  }

  get signal(): AbortSignal {
    return this.#task.signal;
  }

  get attempt(): number {
    return this.#task.claim.attempts;
  }

  // Functions made when they are asked for, not methods: handlers take the context apart, and most never ask.
  get renew(): () => Promise<boolean> {
    return () => this.#owner.renew(this.#task);
  }

  get progress(): (percent: number, text?: string) => void {
    return (percent, text) => this.#task.say(percent, text);
  }

  get log(): Log {
    const { uuid, alias, attempts } = this.#task.claim;
    this.#log ??= logAbout(this.#owner.sink, {
      queue: this.#owner.queue,
      uuid,
      alias: alias === '' ? undefined : alias,
      attempt: attempts,
    });
    return this.#log;
  }
}
