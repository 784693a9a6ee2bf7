/**
 * A process of a crew, seen from inside: obeys its parent's orders, tells it what it holds and has done, and does not
 * outlive it by long. What it holds is told before any of its handlers is called, for that may block the event loop for
 * ever.
 */
import { Worker as Thread } from 'node:worker_threads';
import type { Claim } from '../../message.ts';
import type { WorkerEvent } from '../events.ts';
import type { LoopReport, WorkerQueues } from '../loop.ts';
import type { Worker } from '../worker.ts';
import { count, noCounts } from './counts.ts';
import { IpcLine, PipeLine, type Line } from './line.ts';
import { ASSIGNMENT, toHeld, toRefusal, type Assignment, type Moves, type Told } from './protocol.ts';

/** The numbers are told at most so often, in ms. */
const COUNTS_EVERY = 100;
/** How often a member makes sure that its parent lives, in ms. */
const WATCH_EVERY = 1000;

/** This process's assignment, if it is a member. Taken out of the environment: what a worker starts is none. */
export function takeAssignment(env: NodeJS.ProcessEnv): Assignment | undefined {
  const text = env[ASSIGNMENT];
  delete env[ASSIGNMENT];
  if (text === undefined) return undefined;
  const assignment = JSON.parse(text) as Assignment;
  return assignment.line === 'pipe' || process.send ? assignment : undefined;
}

export class Member {
  readonly #assignment: Assignment;
  readonly #line: Line;
  readonly #stop = new AbortController();
  readonly #force = new AbortController();
  readonly #counts = noCounts();
  /** Set while the numbers have been told lately; `untold`: they have changed since. */
  #counting: NodeJS.Timeout | undefined;
  #untold = false;
  #ready = false;
  /** Not told yet. */
  #moves: { ended: string[]; settled: string[] } = { ended: [], settled: [] };
  #movesDue: NodeJS.Immediate | undefined;

  /** @param patience ms after which a member that its parent has left is killed, whatever it is doing. */
  constructor(assignment: Assignment, patience: number) {
    this.#assignment = assignment;
    const listeners = {
      onOrder: (force: boolean): void => {
        this.stop();
        if (force) this.#force.abort();
      },
      onEnd: () => this.stop(),
    };
    this.#line = assignment.line === 'pipe' ? new PipeLine(listeners) : new IpcLine(listeners);
    // A worker that calls process.exit, or throws where nobody catches it.
    process.once('exit', () => {
      if (this.#untold) this.#tellCounts();
    });
    watchParent(assignment.parent, patience);
  }

  /** Of how many tries is this member's share. */
  get limit(): number | undefined {
    return this.#assignment.limit;
  }

  /** Fire as the parent orders; the first also when the parent is gone. */
  get signals(): { stop: AbortSignal; force: AbortSignal } {
    return { stop: this.#stop.signal, force: this.#force.signal };
  }

  /** Stops this member alone. */
  stop(): void {
    this.#stop.abort();
  }

  /** The same queues, but the parent is told of each claim before anybody works on it. */
  telling(queues: WorkerQueues, worker: Worker): WorkerQueues {
    const claimMessages: WorkerQueues['claimMessages'] = async (queue, options) => {
      // The loop's first claim: the worker has started.
      if (!this.#ready) this.#tellReady(worker);
      const claims: Claim[] = await queues.claimMessages(queue, options);
      if (this.#assignment.tellsEach && claims.length > 0) this.#tellMoves({ claimed: claims.map(toHeld) });
      return claims;
    };
    return new Proxy(queues, {
      get(target, name) {
        if (name === 'claimMessages') return claimMessages;
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  }

  /** To be called with each event of the loop. */
  heed(event: WorkerEvent): void {
    if (count(this.#counts, event)) {
      this.#untold = true;
      if (!this.#counting) this.#tellCounts();
    }
    if (!this.#assignment.tellsEach || event.type === 'trouble' || event.type === 'hook') return;
    const { token } = event.message;
    if (event.type === 'started') return this.#tellMoves({ started: token });
    this.#moves[event.type === 'ended' ? 'ended' : 'settled'].push(token);
    // It can wait: who blocks the loop next will have told that it has started, and this with it.
    this.#movesDue ??= setImmediate(() => this.#tellMoves({}));
  }

  /** Resolves when the parent has been told, or is gone; the process is to end then. */
  finish(report: LoopReport): Promise<void> {
    return this.#last({ type: 'report', report });
  }

  /** Likewise, of a member that cannot begin or go on. */
  refuse(error: unknown): Promise<void> {
    return this.#last({ type: 'refused', error: toRefusal(error) });
  }

  #tellReady({ backoff, backoffMax }: Worker): void {
    this.#ready = true;
    this.#tell({ type: 'ready', backoff, backoffMax, memory: process.memoryUsage.rss() });
  }

  #tellMoves(moves: Moves): void {
    clearImmediate(this.#movesDue);
    this.#movesDue = undefined;
    this.#tell({ type: 'moves', ...this.#moves, ...moves });
    this.#moves = { ended: [], settled: [] };
  }

  #tellCounts(): void {
    this.#untold = false;
    this.#tell({ type: 'counts', counts: this.#counts });
    this.#counting = setTimeout(() => {
      this.#counting = undefined;
      if (this.#untold) this.#tellCounts();
    }, COUNTS_EVERY);
  }

  #last(told: Told): Promise<void> {
    clearTimeout(this.#counting);
    this.#untold = false;
    return new Promise((resolve) => this.#tell(told, resolve));
  }

  #tell(told: Told, done: () => void = () => undefined): void {
    this.#line.tell(told, done);
  }
}

/**
 * A thread of its own, which sees the parent's death even while a handler blocks the event loop, and ends the process
 * when it is still there `patience` ms later. On Windows a process keeps the number of its dead parent: there only
 * handlers that do not block are ended.
 */
function watchParent(parent: number, patience: number): void {
  const code = `
    const { parent, patience, every } = require('node:worker_threads').workerData;
    let left = patience;
    setInterval(() => {
      if (process.ppid !== parent && (left -= every) <= 0) process.kill(process.pid, 'SIGKILL');
    }, every);`;
  const thread = new Thread(code, {
    eval: true,
    execArgv: [],
    env: {},
    workerData: { parent, patience, every: Math.min(WATCH_EVERY, Math.max(patience, 50)) },
    resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 2 },
  });
  thread.unref();
}
