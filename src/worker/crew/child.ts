/** A process of a crew, seen from its parent: started, told to stop, halted, killed, and what it has told meanwhile. */
import { spawn, type ChildProcess } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { QueueError } from '../../errors.ts';
import type { WorkerCounts } from '../events.ts';
import type { LoopReport } from '../loop.ts';
import { noCounts } from './counts.ts';
import { WorkerDied, memoryOf, standsStill, type Exit } from './evidence.ts';
import { Guard } from './guard.ts';
import { Hand } from './hand.ts';
import { ASSIGNMENT, fromRefusal, type Assignment, type Order, type Told } from './protocol.ts';
import { Stderr } from './stderr.ts';

/** The command that makes a member. */
export interface Command {
  file: string;
  args: readonly string[];
  env: NodeJS.ProcessEnv;
}

export interface Listeners {
  /** Called with each line of its stderr. */
  onStderr: (line: string) => void;
  /** Called when its worker has started. */
  onReady: (pid: number) => void;
}

/** How long a dead child's channel may take to close, which it does when all it has told has been heard; ms. */
const LAST_NEWS = 2000;
/** How long its stderr may take to: what it has started may keep that open; ms. */
const LAST_WORDS = 100;
/** How long a child that was told to halt is watched until it does, in ms. */
const HALT = 200;

export class Child {
  readonly hand = new Hand();
  /** 0: it could not be started. */
  readonly pid: number;
  /** Resolves when it has ended, with all it has told and most of what it has written. Never rejects. */
  readonly exited: Promise<Exit>;
  /** When its worker had started, in monotonic milliseconds. */
  readyAt: number | undefined;
  /** Of its worker, where that names one. */
  backoff: { backoff?: number; backoffMax?: number } = {};
  /** As last told. */
  counts: WorkerCounts = noCounts();
  /** Tries begun, where each is told. */
  begun = 0;
  /** Set when it has told how its work ended. */
  report: LoopReport | undefined;
  /** Set when it has told why it cannot begin or go on. */
  refusal: Error | undefined;
  /** Set while the parent puts an end to it: resolves when what it held has been settled, and it is dead. */
  end: Promise<void> | undefined;
  /** Why it does, for the evidence. */
  why: string | undefined;
  readonly #onReady: (pid: number) => void;
  /** Undefined: the system refused at once. */
  readonly #process: ChildProcess | undefined;
  readonly #stderr: Stderr | undefined;
  #memory: number | undefined;
  #guard: Guard | undefined;

  constructor({ file, args, env }: Command, assignment: Assignment, { onStderr, onReady }: Listeners) {
    this.#onReady = onReady;
    try {
      this.#process = spawn(file, args, {
        stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
        env: { ...env, [ASSIGNMENT]: JSON.stringify(assignment) },
        windowsHide: true,
      });
    } catch (error) {
      this.#unborn(error);
    }
    this.pid = this.#process?.pid ?? 0;
    this.#process?.on('message', (told: Told) => this.#heed(told));
    if (this.#process?.stderr) this.#stderr = new Stderr(this.#process.stderr, onStderr);
    this.exited = this.#process ? this.#watch(this.#process) : Promise.resolve({ code: null, signal: null });
  }

  order(order: Order['type']): void {
    // One that is gone, or going, needs no order.
    if (this.#process?.connected) this.#process.send({ type: order }, () => undefined);
  }

  /**
   * Resolves when it stands still: from now on it writes nothing, and what it had told has been heard. It can do nothing
   * for itself then; should this process die before it kills it, its guard does. (Windows, not tested, knows no such halt.)
   */
  async halt(): Promise<void> {
    if (process.platform === 'win32') return;
    this.#guard = this.pid === 0 ? undefined : new Guard(this.pid);
    this.#process?.kill('SIGSTOP');
    const deadline = performance.now() + HALT;
    do await sleep(5);
    while (!standsStill(this.pid) && performance.now() < deadline);
  }

  kill(): void {
    this.#process?.kill('SIGKILL');
    this.#guard?.dismiss();
  }

  lookAtMemory(): void {
    if (this.pid !== 0) this.#memory = memoryOf(this.pid) ?? this.#memory;
  }

  /** What is known of its death. */
  evidence(exit: Exit): WorkerDied {
    return new WorkerDied(this.pid, exit, {
      why: this.why,
      memory: this.#memory,
      stderr: this.#stderr?.end ?? '',
    });
  }

  #unborn(cause: unknown): void {
    const { message } = cause as Error;
    this.refusal = new QueueError('WORKER_FAILED', `a worker process cannot be started: ${message}`, {
      cause,
    });
  }

  #heed(told: Told): void {
    switch (told.type) {
      case 'ready': {
        const { backoff, backoffMax, memory } = told;
        this.#memory = memory;
        this.readyAt = performance.now();
        this.backoff = {
          ...(backoff === undefined ? {} : { backoff }),
          ...(backoffMax === undefined ? {} : { backoffMax }),
        };
        this.#onReady(this.pid);
        break;
      }
      case 'moves':
        this.hand.heed(told, performance.now());
        if (told.started !== undefined) this.begun++;
        break;
      case 'counts':
        this.counts = told.counts;
        break;
      case 'report':
        this.report = told.report;
        break;
      case 'refused':
        this.refusal = fromRefusal(told.error);
        break;
      default:
    }
  }

  async #watch(child: ChildProcess): Promise<Exit> {
    const told = new Promise<void>((resolve) => child.once('disconnect', resolve));
    const exit = await new Promise<Exit>((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
      // Also told of orders that come too late, which is no matter.
      child.on('error', (error) => {
        if (this.pid !== 0) return;
        this.#unborn(error);
        resolve({ code: null, signal: null });
      });
    });
    if (this.pid !== 0) {
      await within(LAST_NEWS, told);
      if (this.#stderr) await within(LAST_WORDS, this.#stderr.closed);
    }
    this.#stderr?.flush();
    return exit;
  }
}

async function within(milliseconds: number, event: Promise<void>): Promise<void> {
  const limit = new AbortController();
  await Promise.race([event, sleep(milliseconds, undefined, { signal: limit.signal })]);
  limit.abort();
}
