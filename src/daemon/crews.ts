/**
 * Crews of worker processes, one for each of several queues. Each begins, fails and begins again by itself: what
 * is wrong with one type of worker is nothing to the others.
 */
import { performance } from 'node:perf_hooks';
import type { Config } from '../config.ts';
import { QueueError, escapeControls } from '../errors.ts';
import { crewLog, stderrRelay } from '../log/crew-events.ts';
import type { DrainedQueue } from '../queue-list.ts';
import { STOP_MARGIN, runCrew } from '../worker/crew/crew.ts';
import type { Command } from '../worker/crew/child.ts';
import type { CrewQueues } from '../worker/crew/settling.ts';
import type { LogSink } from '../worker/log.ts';
import { messageOf } from './outcome.ts';

export interface CrewsOptions {
  config: Config;
  queues: CrewQueues & { createQueue(queue: string): Promise<boolean> };
  /** Makes a member of the crew of this queue, whose handlers have so many ms when they are to stop. */
  command: (queue: DrainedQueue, stopDeadline: number) => Command;
  sink: LogSink;
}

/** The wait until a crew that has failed begins again, doubled with each further failure; ms. */
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 60_000;
/** One that has worked for so long has begun well: the next wait is the shortest again; ms. */
const STABLE = 60_000;
/** What a crew may need, beyond the time of its handlers, until all its members are gone; ms. */
const AFTER_DEADLINE = STOP_MARGIN + 1000;

export class Crews {
  readonly #options: CrewsOptions;
  readonly #crews: Crew[];
  readonly #stop = new AbortController();
  readonly #force = new AbortController();
  /** Never fires: members end by themselves with their parent. */
  readonly #kill = new AbortController();

  constructor(options: CrewsOptions) {
    this.#options = options;
    this.#crews = options.config.daemon.queues.map((queue) => ({
      queue,
      running: undefined,
      beganAt: 0,
      failures: 0,
      notBefore: 0,
      trouble: '',
    }));
  }

  /**
   * Begins those that do not run, and have waited long enough.
   * Errors: DAEMON_FAILED: none runs, nor did since the last call.
   */
  tend(): void {
    const isDown = this.#crews.every(({ running }) => running === undefined);
    const troubles = this.#crews.map(({ queue, trouble }) => `${queue.queue}: ${trouble}`);
    const hasFailed = this.#crews.some(({ trouble }) => trouble !== '');
    const now = performance.now();
    for (const crew of this.#crews) {
      if (!crew.running && crew.notBefore <= now && !this.#stop.signal.aborted)
        crew.running = this.#run(crew);
    }
    if (isDown && hasFailed)
      throw new QueueError('DAEMON_FAILED', `no queue is being drained; ${troubles.join('; ')}`);
  }

  /** Resolves when all have ended, within [worker] stopDeadline. When `force` fires, handlers are told to end at once. */
  async stop(force: AbortSignal): Promise<void> {
    this.#stop.abort();
    const cut = (): void => this.#force.abort();
    if (force.aborted) cut();
    else force.addEventListener('abort', cut, { once: true });
    await Promise.all(this.#crews.flatMap(({ running }) => running ?? []));
    force.removeEventListener('abort', cut);
  }

  /** Never rejects. */
  async #run(crew: Crew): Promise<void> {
    const { sink } = this.#options;
    const { queue } = crew.queue;
    crew.beganAt = performance.now();
    try {
      // Producers need not wait for the first worker to come up.
      await this.#options.queues.createQueue(queue);
      await this.#crewOf(crew.queue);
      if (this.#stop.signal.aborted) return;
      this.#hasEnded(crew, 'its workers have all ended');
    } catch (error) {
      if (this.#stop.signal.aborted) sink('ERROR', `does not stop well: ${messageOf(error)}`, { queue });
      else this.#hasEnded(crew, messageOf(error));
    } finally {
      crew.running = undefined;
    }
  }

  #hasEnded(crew: Crew, why: string): void {
    const now = performance.now();
    crew.failures = now - crew.beganAt >= STABLE ? 1 : crew.failures + 1;
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(crew.failures - 1, 16));
    crew.notBefore = now + wait;
    crew.trouble = escapeControls(why);
    const { queue } = crew.queue;
    this.#options.sink('ERROR', `is not being drained: ${why}; again in ${wait / 1000} s`, { queue });
  }

  #crewOf(drained: DrainedQueue): Promise<unknown> {
    const { config, queues, command, sink } = this.#options;
    const { queue, processes, concurrency = config.worker.concurrency } = drained;
    const { backoff, backoffMax } = config.worker;
    const stopDeadline = handlersDeadline(config.worker.stopDeadline);
    return runCrew({
      command: command(drained, stopDeadline),
      queues,
      queue,
      processes,
      stopDeadline,
      backoff: { backoff, backoffMax },
      stop: this.#stop.signal,
      force: this.#force.signal,
      kill: this.#kill.signal,
      onEvent: crewLog(sink, queue, { processes, concurrency }),
      onStderr: stderrRelay(sink, (line) => sink('INFO', line, { queue })),
    });
  }
}

interface Crew {
  readonly queue: DrainedQueue;
  running: Promise<void> | undefined;
  /** Monotonic ms, as is the next but one. */
  beganAt: number;
  /** How many in a row. */
  failures: number;
  notBefore: number;
  /** Why it has ended last; '' when it never has. */
  trouble: string;
}

/** Of a daemon's deadline, what its handlers have: enough is left to give back what they hold, three quarters at least are theirs. */
function handlersDeadline(stopDeadline: number): number {
  return Math.round(stopDeadline - Math.min(AFTER_DEADLINE, stopDeadline / 4));
}
