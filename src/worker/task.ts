/** One try of one message, from its claim to the end of its handler: what the handler sees of it, and how it is told to end. */
import { performance } from 'node:perf_hooks';
import type { Claim } from '../message.ts';
import { logAbout, type Log, type LogSink } from './log.ts';
import { HandlerAborted, type AbortCode, type WorkerContext } from './worker.ts';

/**
 * - `running`: the handler's result will decide what becomes of the message.
 * - `stopping`: the handler was told to end; unless it succeeds, the message is released.
 * - `over`: the claim has ended or is being settled; what the handler still does changes nothing.
 */
export type TaskStage = 'running' | 'stopping' | 'over';

export class Task {
  readonly claim: Claim;
  readonly context: WorkerContext;
  /** Monotonic milliseconds. */
  readonly startedAt = performance.now();
  /** When the lease began that is known to hold; monotonic milliseconds. */
  leasedAt = this.startedAt;
  stage: TaskStage = 'running';
  #abortion: HandlerAborted | undefined;
  #controller: AbortController | undefined;

  constructor(claim: Claim, queue: string, sink: LogSink, renew: (task: Task) => Promise<boolean>) {
    this.claim = claim;
    this.context = new Context(this, queue, sink, renew);
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
}

class Context implements WorkerContext {
  readonly #task: Task;
  readonly #queue: string;
  readonly #sink: LogSink;
  /** Bound, for handlers take the context apart. */
  readonly renew: () => Promise<boolean>;
  #log: Log | undefined;

  constructor(task: Task, queue: string, sink: LogSink, renew: (task: Task) => Promise<boolean>) {
    this.#task = task;
    this.#queue = queue;
    this.#sink = sink;
    this.renew = () => renew(task);
  }

  get signal(): AbortSignal {
    return this.#task.signal;
  }

  get attempt(): number {
    return this.#task.claim.attempts;
  }

  readonly progress = (_percent: number, _text?: string): void => {};

  get log(): Log {
    const { uuid, alias, attempts } = this.#task.claim;
    this.#log ??= logAbout(this.#sink, {
      queue: this.#queue,
      uuid,
      alias: alias === '' ? undefined : alias,
      attempt: attempts,
    });
    return this.#log;
  }
}
