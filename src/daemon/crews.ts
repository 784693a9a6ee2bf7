/**
 * Crews of worker processes, one for each of several queues. Each begins, fails and begins again by itself: what
 * is wrong with one type of worker is nothing to the others.
 */
import { performance } from 'node:perf_hooks';
import type { Config } from '../config.ts';
import { environmentOf } from '../config-environment.ts';
import { QueueError, escapeControls } from '../errors.ts';
import { crewLog, stderrRelay } from '../log/crew-events.ts';
import type { DrainedQueue } from '../queue-list.ts';
import { STOP_MARGIN, runCrew } from '../worker/crew/crew.ts';
import type { Command } from '../worker/crew/child.ts';
import type { CrewQueues } from '../worker/crew/settling.ts';
import type { LogSink } from '../worker/log.ts';
import { pause } from '../worker/trouble.ts';
import { messageOf } from './outcome.ts';

export interface CrewsOptions {
  config: Config;
  queues: CrewQueues & { createQueue(queue: string): Promise<boolean> };
  /** Makes a member of the crew of this queue. */
  command: (queue: DrainedQueue) => Command;
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

  constructor(options: CrewsOptions) {
    this.#options = options;
    this.#crews = options.config.daemon.queues.map((drained) => ({
      drained,
      trouble: '',
      loss: '',
      kept: undefined,
    }));
  }

  /** Begins with all of them. */
  start(): void {
    for (const crew of this.#crews) crew.kept = this.#keep(crew);
  }

  /** Of each queue that is not being drained now, or not by as many processes as it should: why. */
  get troubles(): string[] {
    return this.#crews.flatMap(({ drained: { queue }, trouble, loss }) => {
      if (trouble !== '') return `${queue} is not being drained: ${trouble}`;
      return loss === '' ? [] : `${queue} lacks a process: ${loss}`;
    });
  }

  /** Errors: DAEMON_FAILED: no queue is being drained, as all crews are in trouble. */
  check(): void {
    if (this.#crews.some(({ trouble }) => trouble === '')) return;
    const troubles = this.#crews.map(({ drained, trouble }) => `${drained.queue}: ${trouble}`);
    throw new QueueError('DAEMON_FAILED', `no queue is being drained; ${troubles.join('; ')}`);
  }

  /** Resolves when all have ended, within [worker] stopDeadline. When `force` fires, handlers are told to end at once. */
  async stop(force: AbortSignal): Promise<void> {
    this.#stop.abort();
    const cut = (): void => this.#force.abort();
    if (force.aborted) cut();
    else force.addEventListener('abort', cut, { once: true });
    await Promise.all(this.#crews.flatMap(({ kept }) => kept ?? []));
    force.removeEventListener('abort', cut);
  }

  /** Has a crew at work until all stop. Never rejects. */
  async #keep(crew: Crew): Promise<void> {
    const { sink, queues } = this.#options;
    const { queue } = crew.drained;
    for (let failures = 0; !this.#stop.signal.aborted;) {
      const began = performance.now();
      let why = 'its workers have all ended';
      try {
        // Producers need not wait for the first worker to come up.
        await queues.createQueue(queue);
        await this.#run(crew);
      } catch (error) {
        why = messageOf(error);
        if (this.#stop.signal.aborted) sink('ERROR', `did not stop well: ${why}`, { queue });
      }
      if (this.#stop.signal.aborted) return;
      crew.trouble = escapeControls(why);
      failures = performance.now() - began >= STABLE ? 1 : failures + 1;
      const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(failures - 1, 16));
      sink('ERROR', `is not being drained: ${why}; again in ${wait / 1000} s`, { queue });
      await pause(wait, this.#stop.signal);
    }
  }

  #run(crew: Crew): Promise<unknown> {
    const { config, queues, command, sink } = this.#options;
    const { queue, processes, concurrency = config.worker.concurrency } = crew.drained;
    const { backoff, backoffMax } = config.worker;
    const stopDeadline = handlersDeadline(config.worker.stopDeadline);
    const log = crewLog(sink, queue, { processes, concurrency });
    return runCrew({
      command: command(crew.drained),
      settings: environmentOf({ ...config, worker: { ...config.worker, stopDeadline } }),
      queues,
      queue,
      processes,
      stopDeadline,
      backoff: { backoff, backoffMax },
      stop: this.#stop.signal,
      force: this.#force.signal,
      // Members that are left behind end by themselves, and give back what they hold.
      kill: new AbortController().signal,
      onEvent: (event) => {
        if (event.type === 'ready') crew.trouble = crew.loss = '';
        else if (event.type === 'refused') crew.loss = escapeControls(event.error.message);
        else if (event.type === 'died') crew.loss = escapeControls(event.evidence.summary);
        log(event);
      },
      onStderr: stderrRelay(sink, (line) => sink('INFO', line, { queue })),
    });
  }
}

interface Crew {
  readonly drained: DrainedQueue;
  /** Why it has ended last; '' when it never has, or has come up since. */
  trouble: string;
  /** Why the last process that was lost has ended, or could not begin; '' when one has begun since. */
  loss: string;
  /** Resolves when it is kept no more. */
  kept: Promise<void> | undefined;
}

/** Of a daemon's deadline, what its handlers have: enough is left to give back what they hold, three quarters at least are theirs. */
export function handlersDeadline(stopDeadline: number): number {
  return Math.round(stopDeadline - Math.min(AFTER_DEADLINE, stopDeadline / 4));
}
