/**
 * The hooks that frame a worker's life: `start` before its first message, `stop` after its last one. They may take as
 * long as they want until the worker is told to stop; then as long as handlers may, and a second at least.
 */
import { performance } from 'node:perf_hooks';
import type { Config } from '../config.ts';
import { QueueError, escapeControls } from '../errors.ts';
import { toTryError } from '../try-error.ts';
import type { WorkerEvent } from './events.ts';
import { logAbout, type LogSink } from './log.ts';
import { GRACE } from './pool.ts';
import { HandlerAborted, type Worker } from './worker.ts';

export interface HookOptions {
  queue: string;
  worker: Worker;
  config: Config;
  /** Milliseconds. */
  stopDeadline: number;
  stop: AbortSignal;
  force: AbortSignal;
  sink: LogSink;
  onEvent: (event: WorkerEvent) => void;
}

export class Hooks {
  readonly #options: HookOptions;
  /** What `start` is given: fires when the worker is told to stop, and when it stops by itself. */
  readonly #stopping = new AbortController();
  readonly #heed = (): void => this.#beTold();
  /** When the worker was told to stop; monotonic milliseconds. */
  #stoppedAt: number | undefined;

  constructor(options: HookOptions) {
    this.#options = options;
    if (options.stop.aborted) this.#beTold();
    else options.stop.addEventListener('abort', this.#heed, { once: true });
  }

  /**
   * True: the worker has started. False: it was told to stop before it had; what its hook threw then has been told.
   * Errors: the `QueueError` that the hook threw, such as CONFIG_INVALID; WORKER_FAILED with anything else as its cause.
   */
  async start(): Promise<boolean> {
    const { worker, queue, config, sink, stop, onEvent } = this.#options;
    if (!worker.start || stop.aborted) return !stop.aborted;
    try {
      const log = logAbout(sink, { queue });
      await this.#patiently(() => worker.start?.({ queue, config, log, signal: this.#stopping.signal }));
      return true;
    } catch (error) {
      stop.removeEventListener('abort', this.#heed);
      if (!stop.aborted) throw failed(error, queue);
      // Giving up with the signal's reason is what a hook is meant to do.
      if (error !== this.#stopping.signal.reason) onEvent({ type: 'hook', hook: 'start', error });
      return false;
    }
  }

  /** Never rejects: what the hook throws is told. */
  async stop(): Promise<void> {
    const { worker, stop, onEvent } = this.#options;
    this.#fire();
    try {
      await this.#patiently(() => worker.stop?.());
    } catch (error) {
      onEvent({ type: 'hook', hook: 'stop', error });
    }
    stop.removeEventListener('abort', this.#heed);
  }

  #beTold(): void {
    this.#stoppedAt = performance.now();
    this.#fire();
  }

  #fire(): void {
    if (!this.#stopping.signal.aborted)
      this.#stopping.abort(new HandlerAborted('STOPPING', 'the worker is stopping'));
  }

  /** Resolves, or rejects, when the hook has ended; rejects too when the worker cannot wait for it any longer. */
  async #patiently(hook: () => Promise<void> | void): Promise<void> {
    const { stop, force, stopDeadline } = this.#options;
    // A hook that waits for something which is no handle would let the process end without a word.
    const alive = setInterval(() => undefined, 60_000);
    let timer: NodeJS.Timeout | undefined;
    let giveUp: (error: Error) => void = () => undefined;
    const over = new Promise<never>((_, reject) => {
      giveUp = reject;
    });
    const within = (milliseconds: number): void => {
      clearTimeout(timer);
      timer = setTimeout(() => giveUp(new Error('had not ended when the worker did')), milliseconds);
    };
    const onStop = (): void => {
      const since = performance.now() - (this.#stoppedAt ?? performance.now());
      within(Math.max(GRACE, stopDeadline - since));
    };
    const onForce = (): void => within(GRACE);
    stop.addEventListener('abort', onStop, { once: true });
    force.addEventListener('abort', onForce, { once: true });
    if (force.aborted) onForce();
    else if (stop.aborted) onStop();
    try {
      await Promise.race([hook(), over]);
    } finally {
      clearInterval(alive);
      clearTimeout(timer);
      stop.removeEventListener('abort', onStop);
      force.removeEventListener('abort', onForce);
    }
  }
}

function failed(cause: unknown, queue: string): QueueError {
  if (cause instanceof QueueError) return cause;
  // Hooks throw anything; this survives all of it.
  const { message } = toTryError(cause, 1, Date.now());
  return new QueueError('WORKER_FAILED', `start() of the worker failed: ${escapeControls(message)}`, {
    queue,
    cause,
  });
}
