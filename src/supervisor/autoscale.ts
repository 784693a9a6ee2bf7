/**
 * How many children a worker's process should have, by what waits in its queue. The decision is pure; the loop asks the queues
 * and tells the supervisor.
 *
 * Up quickly: as many as the backlog needs, at most twice as many at once; or one more when the oldest message has waited
 * for too long. Down slowly: one at a time, and only after a quiet time in which one child less would have had little to do. Between the
 * two lies a gap (a backlog that is too much for n children, and one that is little for n - 1), so that the number does not swing.
 */
import type { Clock } from '../cache/ports.ts';
import type { QueueStatus } from '../backend.ts';
import { escapeControls } from '../errors.ts';
import type { Message } from '../message.ts';
import type { Log } from '../worker/log.ts';
import type { Autoscale, ChildStatus, ProcessStatus, SupervisorControl } from './shape.ts';

/** What waits in a queue. */
export interface Load {
  /** Messages that may run now. */
  readonly waiting: number;
  /** Milliseconds since the oldest of them may run; 0 when none waits. */
  readonly age: number;
}

/** What was seen so far of one process; times by the clock that `decide` is told. */
export interface Trend {
  /** When the last one was started, or there was last too much to do to end one. */
  readonly busyAt: number;
  /** When the last step up was. */
  readonly upAt: number;
}

export interface Step {
  /** How many children there should be. */
  readonly wanted: number;
  readonly trend: Trend;
  /** Why the number changes, in a clause; '' when it does not. */
  readonly why: string;
}

/** What a process has seen that is new. */
export function noTrend(now: number): Trend {
  return { busyAt: now, upAt: -Infinity };
}

/** So long a step up has to show an effect before the age of the oldest message asks for the next; ms. */
const UP_PAUSE = 5000;
/**
 * A child is ended when there was little to do for as long as a message may wait, but not longer than this; ms. Who lets
 * messages wait for a minute saves little by ending children sooner.
 */
const LONGEST_QUIET = 5 * 60_000;
/** Part of what n - 1 children may have waiting that counts as little. */
const LITTLE = 0.5;

/** @param now milliseconds, by a clock that only goes forward. @param current how many there are, or are about to be. */
export function decide(scale: Autoscale, current: number, load: Load, trend: Trend, now: number): Step {
  const { min, max, backlog, age } = scale;
  if (current < min || current > max) {
    const wanted = Math.min(max, Math.max(min, current));
    return { wanted, trend: { ...trend, busyAt: now }, why: `between ${min} and ${max} are configured` };
  }
  const needed = Math.min(max, Math.ceil(load.waiting / backlog));
  if (needed > current) {
    const wanted = Math.min(needed, Math.max(1, current * 2));
    return { wanted, trend: { busyAt: now, upAt: now }, why: `${load.waiting} messages wait` };
  }
  const isLate = load.waiting > 0 && load.age > age;
  if (isLate && current < max && now - trend.upAt >= UP_PAUSE) {
    const seconds = Math.round(load.age / 1000);
    const trendUp = { busyAt: now, upAt: now };
    return { wanted: current + 1, trend: trendUp, why: `a message has waited for ${seconds} s` };
  }
  const isQuiet = !isLate && load.waiting <= backlog * (current - 1) * LITTLE;
  if (!isQuiet || current === min) return { wanted: current, trend: { ...trend, busyAt: now }, why: '' };
  if (now - trend.busyAt < Math.min(age, LONGEST_QUIET)) return { wanted: current, trend, why: '' };
  // The next one goes after another quiet time.
  return { wanted: current - 1, trend: { ...trend, busyAt: now }, why: 'little has waited for a while' };
}

/** The part of a manager that is asked. */
export interface ScaledQueues {
  queueExists(queue: string): Promise<boolean>;
  queueStatus(queue: string): Promise<QueueStatus>;
  findMessages(queue: string, filter: object): AsyncIterable<Message>;
  close(): Promise<void>;
}

export interface AutoscalerOptions {
  control: Pick<SupervisorControl, 'status' | 'scale'>;
  /** Called when queues are asked for the first time, and again after `renew`. */
  open: () => Promise<ScaledQueues>;
  log: Log;
  clock: Clock;
}

/** How often the queues are asked; ms. */
const EVERY = 2000;
/** So many messages are looked at for the oldest that may run; those before them are deferred, claimed or failed. */
const LOOKED_AT = 256;
/** Of those that may run, the first stands for the next few: one that has just come due is older than it seems. */
const FIRST_FEW = 8;

/** Asks the queues of all processes that scale, and has the supervisor scale them, until it is closed. */
export class Autoscaler {
  readonly #options: AutoscalerOptions;
  readonly #trends = new Map<string, Trend>();
  /** Of processes whose queue could not be asked: what was said of it. */
  readonly #troubles = new Map<string, string>();
  readonly #closed = new AbortController();
  #queues: Promise<ScaledQueues> | undefined;
  #isStale = false;
  #running: Promise<void> = Promise.resolve();
  #wake: () => void = () => undefined;

  constructor(options: AutoscalerOptions) {
    this.#options = options;
  }

  /** Begins. Nothing that goes wrong with a queue ends it, or concerns another process. */
  start(): void {
    this.#running = this.#run();
  }

  /** Has the queues opened anew before they are asked again: they may lie elsewhere. */
  renew(): void {
    this.#isStale = true;
  }

  /** Asks and tells nothing any more. Resolves when what is under way has ended, which may be a child that comes up. */
  async close(): Promise<void> {
    this.#closed.abort();
    this.#wake();
    await this.#running;
    await this.#leave();
  }

  async #run(): Promise<void> {
    const { control } = this.#options;
    while (!this.#closed.signal.aborted) {
      if (this.#isStale) await this.#leave();
      const scaled = control.status().processes.filter(isScaled);
      const names = new Set(scaled.map(({ spec }) => spec.name));
      for (const known of [this.#trends, this.#troubles])
        for (const name of known.keys()) if (!names.has(name)) known.delete(name);
      await Promise.all(scaled.map((process) => this.#look(process)));
      if (!this.#closed.signal.aborted) await this.#rest();
    }
  }

  #open(): Promise<ScaledQueues> {
    if (this.#queues) return this.#queues;
    const opening = this.#options.open();
    this.#queues = opening;
    // What is wrong now may be mended for the next look.
    opening.catch(() => (this.#queues = undefined));
    return opening;
  }

  async #leave(): Promise<void> {
    this.#isStale = false;
    const left = this.#queues;
    this.#queues = undefined;
    await left?.then((queues) => queues.close()).catch(() => undefined);
  }

  #rest(): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#options.clock.timer(EVERY, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }

  /** Never rejects. */
  async #look(process: ProcessStatus): Promise<void> {
    const { control, log, clock } = this.#options;
    const { spec, wanted: current } = process;
    const { name, autoscale } = spec;
    if (!autoscale) return;
    try {
      const before = this.#trends.get(name) ?? noTrend(clock.monotonic());
      const load = await this.#load(process, autoscale);
      const step = decide(autoscale, current, load, before, clock.monotonic());
      if (this.#closed.signal.aborted) return;
      // A worker that does not come up, or dies, does so however many there are.
      if (step.wanted > current && process.children.some(isDown)) return;
      if (step.wanted < current && (await this.#isAtWork(process))) return;
      this.#trends.set(name, step.trend);
      if (step.wanted !== current) {
        await control.scale(name, step.wanted, { by: `autoscale, as ${step.why}` });
      }
      this.#troubles.delete(name);
    } catch (error) {
      const why = escapeControls((error as Error).message);
      // It has been removed, or all of it stops.
      if (this.#closed.signal.aborted || this.#troubles.get(name) === why) return;
      this.#troubles.set(name, why);
      log.warn(`${name}: its queue cannot be asked how many children are needed: ${why}`);
    }
  }

  async #load({ spec, wanted }: ProcessStatus, { backlog, max }: Autoscale): Promise<Load> {
    const { clock } = this.#options;
    const queues = await this.#open();
    const queue = spec.queue ?? spec.target;
    // The first worker makes it.
    if (!(await queues.queueExists(queue))) return { waiting: 0, age: 0 };
    const { counts, paused } = await queues.queueStatus(queue);
    // Nobody can claim anything, however many there are.
    if (paused || counts.ready === 0) return { waiting: 0, age: 0 };
    const isAgeAsked = wanted < max && Math.ceil(counts.ready / backlog) <= wanted;
    const age = isAgeAsked ? await oldestIn(queues, queue, clock.now()) : 0;
    return { waiting: counts.ready, age };
  }

  /** Whether the child that would go holds a message: its stop lets it finish, but not for longer than the deadline. */
  async #isAtWork({ spec, children }: ProcessStatus): Promise<boolean> {
    const pid = children.at(-1)?.pid;
    if (pid === undefined) return false;
    const queue = spec.queue ?? spec.target;
    const queues = await this.#open();
    for await (const { holder } of queues.findMessages(queue, { state: 'claimed' }))
      if (holder?.pid === pid) return true;
    return false;
  }
}

function isScaled({ spec, children, wanted }: ProcessStatus): boolean {
  if (!spec.autoscale) return false;
  // What a person has stopped stays so.
  return wanted === 0 ? spec.autoscale.min === 0 : children.some(({ state }) => state !== 'stopped');
}

function isDown({ state }: ChildStatus): boolean {
  return state === 'waiting' || state === 'failed';
}

/**
 * Milliseconds for which the oldest of the messages that may run has waited, by the first few of them; 0 when none stands
 * near the beginning of the line.
 */
async function oldestIn(queues: ScaledQueues, queue: string, now: number): Promise<number> {
  let looked = 0;
  let found = 0;
  let oldest = now;
  for await (const message of queues.findMessages(queue, {})) {
    if (message.state === 'ready' && !message.disabled) {
      const since = message.dateTimeDeferredExecution ?? message.insertedAt;
      oldest = Math.min(oldest, since.getTime());
      if (++found === FIRST_FEW) break;
    }
    if (++looked === LOOKED_AT) break;
  }
  return now - oldest;
}
