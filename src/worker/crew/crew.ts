/**
 * A parent that keeps a number of worker processes, its members, at work on one queue: replaces those that die, ends
 * those whose handlers do not end, and has all stop together. It runs no handler, so that it can act whatever the
 * handlers do, and it writes to the queue only what a member can no longer write itself.
 */
import { performance } from 'node:perf_hooks';
import type { Backoff } from '../../backoff.ts';
import { QueueError } from '../../errors.ts';
import type { LoopReport } from '../loop.ts';
import { pause, pauseAfter } from '../trouble.ts';
import { Child, type Command } from './child.ts';
import { addCounts, noCounts } from './counts.ts';
import type { Exit, WorkerDied } from './evidence.ts';
import { Settler, type CrewQueues, type SettlingEvent } from './settling.ts';

export type CrewEvent =
  | SettlingEvent
  /** Its worker has started. */
  | { type: 'ready'; pid: number }
  /** `pause`: another takes its place after so many ms; without, none does. Likewise with the next two. */
  | { type: 'died'; evidence: WorkerDied; pause?: number | undefined }
  /** It was stopped by somebody else than its parent. */
  | { type: 'left'; pid: number; pause?: number | undefined }
  /** Its worker could not start, although others could before. */
  | { type: 'refused'; error: Error; pause?: number | undefined }
  /** It is being killed: a handler has not ended in time, or it has not stopped in time. */
  | { type: 'halted'; pid: number; why: string };

type WhyHalted = keyof typeof WHY;

const WHY = {
  overdue: 'a handler had not ended in time',
  stuck: 'it had not stopped in time',
};

export interface CrewOptions {
  /** Makes a member. */
  command: Command;
  /** What all members go by, whenever they are started: of `environmentOf`. */
  settings: Readonly<Record<string, string>>;
  queues: CrewQueues;
  queue: string;
  /** How many members are kept. */
  processes: number;
  /** Of how many tries is the work of all together; no limit when absent. */
  limit?: number | undefined;
  /** Milliseconds that a try may take before its signal fires; no limit when absent. */
  timeout?: number | undefined;
  /** Milliseconds that handlers may go on after `stop`, as the members have it. */
  stopDeadline: number;
  /** Where the worker does not name its own. */
  backoff: Backoff;
  /** Fires: all are to stop. */
  stop: AbortSignal;
  /** Fires after `stop`: their handlers are aborted now. */
  force: AbortSignal;
  /** Fires after `force`: they have been killed when the call that fires it returns. */
  kill: AbortSignal;
  /** Must not throw. */
  onEvent: (event: CrewEvent) => void;
  /** A line that a member has written to its stderr. Must not throw. */
  onStderr: (line: string) => void;
}

export interface CrewReport extends LoopReport {
  /** Processes that died unasked. */
  died: number;
  /** Processes that were killed, as a handler did not end, or they did not stop, in time. */
  killed: number;
}

/** What a member may need, beyond the time of its handlers, to give back what it holds and to end; ms. */
export const STOP_MARGIN = 5000;
/** One that has worked for so long has not died young: the next pause is the shortest again; ms. */
const STABLE = 10_000;
/** How often it is looked for handlers that are overdue, in ms. */
const LOOK_EVERY = 100;
/** A parent that looks so much later was itself stopped, and perhaps its members with it (Ctrl-Z); ms. */
const STOOD_STILL = 1000;
const MEMORY_EVERY = 1000;

/** Milliseconds that a handler has to end after the signal of its timeout: as long again, within 1 and 5 seconds. */
export function graceOf(timeout: number): number {
  return Math.min(5000, Math.max(1000, timeout));
}

/**
 * Runs until `stop` fires or every member has come to the end of its work; resolves when none is left, with the sum of
 * their numbers. Those of a member that died may lack its last tenth of a second.
 * Rejects when a member refuses to begin before any has begun, or cannot go on, with its error; with WORKER_FAILED when
 * all die before one has begun. No member is left then either.
 */
export async function runCrew(options: CrewOptions): Promise<CrewReport> {
  const crew = new Crew(options);
  const heeding = new AbortController();
  const when = (signal: AbortSignal, act: () => void): void => {
    if (signal.aborted) act();
    else signal.addEventListener('abort', act, { signal: heeding.signal });
  };
  when(options.stop, () => crew.stop());
  when(options.force, () => crew.force());
  when(options.kill, () => crew.kill());
  try {
    return await crew.run();
  } finally {
    heeding.abort();
  }
}

/** A member's place. Who has it changes; what is left of its work does not begin anew. */
interface Place {
  /** Tries that are left of its share. */
  left: number | undefined;
  /** How many in a row have died young here. */
  young: number;
}

class Crew {
  readonly #options: CrewOptions;
  readonly #settler: Settler;
  readonly #children = new Set<Child>();
  readonly #counts = noCounts();
  /** How members came to the end of their work. */
  readonly #ends = new Set<LoopReport['ended']>();
  /** Fires when nobody is replaced any more. */
  readonly #over = new AbortController();
  #anyReady = false;
  #died = 0;
  #killed = 0;
  #failure: Error | undefined;
  #patience: NodeJS.Timeout | undefined;
  #lookedAt = performance.now();
  /** Nothing before this time tells how long a handler has run; monotonic milliseconds. */
  #awakeSince = -Infinity;

  constructor(options: CrewOptions) {
    this.#options = options;
    this.#settler = new Settler(options);
  }

  async run(): Promise<CrewReport> {
    const timers = [setInterval(() => this.#lookAtMemory(), MEMORY_EVERY)];
    if (this.#options.timeout !== undefined)
      timers.push(setInterval(() => this.#lookAtHandlers(), LOOK_EVERY));
    await Promise.all(this.#places().map((place) => this.#keep(place)));
    for (const timer of timers) clearInterval(timer);
    clearTimeout(this.#patience);
    if (this.#failure) throw this.#failure;
    addCounts(this.#counts, this.#settler.counts);
    return { ended: this.#ended(), ...this.#counts, died: this.#died, killed: this.#killed };
  }

  stop(): void {
    this.#order('stop', this.#options.stopDeadline);
  }

  force(): void {
    this.#order('force', 0);
  }

  kill(): void {
    for (const child of this.#children) child.kill();
  }

  /** Has all end; those that have not `deadline` ms later, and what they need besides, are killed. */
  #order(order: 'stop' | 'force', deadline: number): void {
    this.#over.abort();
    for (const child of this.#children) child.order(order);
    clearTimeout(this.#patience);
    this.#patience = setTimeout(() => {
      for (const child of this.#children) this.#halt(child, 'stuck');
    }, deadline + STOP_MARGIN);
  }

  /** Each has its share of the limit; nobody is started for none. */
  #places(): Place[] {
    const { processes, limit } = this.#options;
    const length = Math.min(processes, limit ?? Infinity);
    return Array.from({ length }, (_, index) => ({
      left: limit === undefined ? undefined : Math.floor((limit + index) / length),
      young: 0,
    }));
  }

  /** Has the place taken by one member after the other. Never rejects. */
  async #keep(place: Place): Promise<void> {
    while (!this.#over.signal.aborted) {
      const child = this.#start(place);
      const exit = await child.exited;
      await child.end;
      this.#children.delete(child);
      addCounts(this.#counts, child.report ?? child.counts);
      if (place.left !== undefined) place.left -= child.begun;
      const wait = await this.#ending(child, exit, place);
      if (wait === undefined) return;
      await pause(wait, this.#over.signal);
    }
  }

  #start({ left }: Place): Child {
    const { command, settings, timeout, onStderr } = this.#options;
    const tellsEach = timeout !== undefined || left !== undefined;
    const child = new Child(
      command,
      { parent: process.pid, line: 'ipc', limit: left, tellsEach, settings },
      {
        onStderr,
        onReady: (pid) => {
          this.#anyReady = true;
          this.#options.onEvent({ type: 'ready', pid });
        },
      },
    );
    this.#children.add(child);
    return child;
  }

  /** What the end of a member means. Resolves with the ms until its place is taken again, or undefined if it is not. */
  async #ending(child: Child, exit: Exit, place: Place): Promise<number | undefined> {
    const { onEvent } = this.#options;
    const { pid, report, refusal } = child;
    if (report && report.ended !== 'stopped') {
      this.#ends.add(report.ended);
      return undefined;
    }
    if (refusal && (child.readyAt !== undefined || !this.#anyReady)) return this.#fail(refusal);
    const wait = this.#pauseAfter(child, place);
    if (!report && !refusal) await this.#bury(child, exit, wait);
    else if (wait !== undefined)
      onEvent(
        refusal ? { type: 'refused', error: refusal, pause: wait } : { type: 'left', pid, pause: wait },
      );
    return this.#over.signal.aborted ? undefined : wait;
  }

  #pauseAfter(child: Child, place: Place): number | undefined {
    if (this.#over.signal.aborted) this.#ends.add('stopped');
    else if (place.left !== undefined && place.left <= 0) this.#ends.add('limit');
    // A handler that does not end says nothing of the process that had to go with it.
    else if (child.end) return 0;
    else {
      const stable = child.readyAt !== undefined && performance.now() - child.readyAt >= STABLE;
      place.young = stable ? 1 : place.young + 1;
      return pauseAfter(place.young);
    }
    return undefined;
  }

  /** Has what it held back in line, with what is known of its death. */
  async #bury(child: Child, exit: Exit, wait: number | undefined): Promise<void> {
    const { pid, readyAt } = child;
    // Ctrl-C, which reaches every process of a terminal, ends one that had not come to say that it does not mind.
    if (readyAt === undefined && this.#over.signal.aborted) return;
    const evidence = child.evidence(exit);
    if (readyAt !== undefined) await this.#settler.reportDeath(pid, evidence);
    if (child.end) {
      this.#killed++;
      return;
    }
    this.#died++;
    this.#options.onEvent({ type: 'died', evidence, pause: wait });
    // Ctrl-C may reach its members before it reaches this process: that is no reason why none could begin.
    if (exit.signal === 'SIGINT' || exit.signal === 'SIGTERM') return;
    if (!this.#anyReady && this.#died >= this.#options.processes && !this.#over.signal.aborted) {
      const message = 'the worker processes die before they have begun to work; the last one: ';
      this.#fail(new QueueError('WORKER_FAILED', message + evidence.summary, { queue: this.#options.queue }));
    }
  }

  #fail(error: Error): undefined {
    this.#failure ??= error;
    this.force();
  }

  #lookAtMemory(): void {
    for (const child of this.#children) child.lookAtMemory();
  }

  #lookAtHandlers(): void {
    const { timeout = Infinity } = this.#options;
    const patience = timeout + graceOf(timeout);
    const now = performance.now();
    if (now - this.#lookedAt > LOOK_EVERY + STOOD_STILL) this.#awakeSince = now;
    this.#lookedAt = now;
    if (now < this.#awakeSince + graceOf(timeout)) return;
    for (const child of this.#children) {
      if (child.hand.oldest + patience <= now) this.#halt(child, 'overdue', now - patience);
    }
  }

  /** @param overdue handlers that were called at this time or before have failed; the others' messages go back. */
  #halt(child: Child, why: WhyHalted, overdue = -Infinity): void {
    if (child.end) return;
    child.why = WHY[why];
    child.end = this.#putDown(child, overdue);
    this.#options.onEvent({ type: 'halted', pid: child.pid, why: child.why });
  }

  /**
   * Halts it before its messages are settled, so that nothing runs twice, and kills it afterwards, so that nobody takes
   * its death for a crash of theirs.
   */
  async #putDown(child: Child, time: number): Promise<void> {
    const { timeout = Infinity, backoff } = this.#options;
    await child.halt();
    const { overdue, others } = child.hand.drop(time);
    const fate = { ...backoff, ...child.backoff };
    await Promise.all([
      ...overdue.map((held) => this.#settler.timeOut(held, fate, timeout, graceOf(timeout))),
      ...others.map((held) => this.#settler.release(held)),
    ]);
    child.kill();
  }

  #ended(): LoopReport['ended'] {
    const ranked = ['stopped', 'paused', 'drained', 'limit'] as const;
    return ranked.find((end) => this.#ends.has(end)) ?? 'stopped';
  }
}
