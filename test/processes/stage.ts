/** What a test with several processes needs: a folder, processes that share a queue in it, and an end without leftovers. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test as base } from 'vitest';
import type { Backend, MessageFilter, NewMessage, Queue } from '../../src/backend.ts';
import { openCache, type CacheOptions } from '../../src/cache/backend.ts';
import { QueueError, type QueueErrorCode } from '../../src/errors.ts';
import type { Message } from '../../src/message.ts';

/** The queue that is there when a sentence begins. */
export const Q = 'jobs';

const PROGRAM = fileURLToPath(new URL('remote.mjs', import.meta.url));

/** `keepOutcomes` small: a head must not outgrow a small segment. */
const DEFAULTS = {
  durability: 'always',
  syncInterval: 50,
  fileMode: 0o600,
  keepOutcomes: 20,
  crashLimit: 3,
} as const;

export type Options = Partial<Omit<CacheOptions, 'cacheRoot'>>;
type RemoteOptions = Omit<Options, 'ports'>;

export interface StartOptions extends RemoteOptions {
  /** The account under which the process opens the queue. Only for root. */
  become?: { uid: number; gid: number };
  /** Its parent never asks how it ended: once dead, it is a zombie until the test is over. */
  unreaped?: boolean;
}

/** `[segment, offset, producer, n]` of each message of a claim. */
export type Consumed = [segment: number, offset: number, producer: number, n: number][];

/** The loops of tasks.mjs. */
interface Tasks {
  produce(options: {
    producer: number;
    count: number;
    chunk: number;
    alias?: boolean;
    size?: number;
  }): Promise<void>;
  consume(options: { limit: number; expected: number }): Promise<{ claims: Consumed[]; refused: number }>;
  moveOn(options: { folder: string; count: number; done: string }): Promise<void>;
  hold(options: { limit: number; done: string }): Promise<void>;
  findAll(filter: MessageFilter): Promise<Message[]>;
  /** The next two never resolve. */
  produceNoting(options: {
    notes: string;
    batch: number;
    size: number;
    pause: number;
    most?: number;
  }): Promise<never>;
  workNoting(options: { notes: string; limit: number }): Promise<never>;
}

type Remoted<T> = {
  [K in keyof T]: T[K] extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>> : never;
};

interface Answer {
  ready?: number;
  id?: number;
  value?: unknown;
  error?: { message: string; code?: QueueErrorCode };
}

/** A process with a handle of its own on the queue. */
export class Remote {
  readonly backend = this.#proxy('backend') as Remoted<Omit<Backend, 'open'>>;
  readonly queue = this.#proxy('queue') as Remoted<Omit<Queue, 'find' | 'wait'>> & {
    wait(timeout: number): Promise<boolean>;
  };
  readonly tasks = this.#proxy('tasks') as Tasks;
  pid = 0;
  readonly #child: ChildProcess;
  readonly #calls = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  readonly #ended: Promise<void>;
  #lastCall = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', (answer: Answer) => this.#answered(answer));
    this.#ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        for (const { reject } of this.#calls.values())
          reject(new Error(`the process ended with ${signal ?? code}`));
        this.#calls.clear();
        resolve();
      });
    });
  }

  static async start(options: StartOptions & { cacheRoot: string }): Promise<Remote> {
    const { become, unreaped, ...engine } = options;
    const command = [process.execPath, PROGRAM, JSON.stringify({ name: Q, options: engine, become })];
    // `sleep` takes the place of the shell and knows nothing of the shell's child.
    const wrapped = unreaped ? ['sh', '-c', '"$@" & exec sleep 1000', 'sh', ...command] : command;
    const child = spawn(wrapped[0]!, wrapped.slice(1), {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
      env: { PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'] },
    });
    const remote = new Remote(child);
    const ready = new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('error', reject);
      void remote.#ended.then(() => reject(new Error('the process ended before it was ready')));
    });
    await ready;
    return remote;
  }

  /** Ended at once, whatever it was doing. */
  async kill(): Promise<void> {
    process.kill(this.pid, 'SIGKILL');
    if (this.pid === this.#child.pid) await this.#ended;
  }

  /** Stopped, and known to stand still when this resolves. */
  async stop(): Promise<void> {
    process.kill(this.pid, 'SIGSTOP');
    await until(() => stateOf(this.pid) === 'T');
  }

  resume(): void {
    process.kill(this.pid, 'SIGCONT');
  }

  async end(): Promise<void> {
    if (this.pid !== this.#child.pid && stateOf(this.pid) !== undefined) process.kill(this.pid, 'SIGKILL');
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  #answered({ ready, id, value, error }: Answer): void {
    if (ready !== undefined) this.pid = ready;
    const call = this.#calls.get(id ?? 0);
    if (!call) return;
    this.#calls.delete(id!);
    if (!error) call.resolve(value);
    else call.reject(error.code ? new QueueError(error.code, error.message) : new Error(error.message));
  }

  #call(request: object): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const id = ++this.#lastCall;
      this.#calls.set(id, { resolve, reject });
      this.#child.send({ ...request, id }, (error) => error && reject(error));
    });
  }

  #proxy(target: string): object {
    return new Proxy(
      {},
      {
        get:
          (_, method) =>
          (...args: unknown[]) => {
            const call = this.#call({ target, method, args });
            // A test that has failed leaves loops behind, which end with their process: that is no further failure.
            call.catch(() => undefined);
            return call;
          },
      },
    );
  }
}

export class Stage {
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-processes-')));
  readonly cacheRoot: string;
  readonly #options: Options;
  readonly #remotes: Remote[] = [];
  readonly #backends: Backend[] = [];

  /** @param options for everything on this stage; `cacheRoot` elsewhere than in its folder. */
  constructor(options: Options = {}, cacheRoot?: string) {
    this.#options = options;
    this.cacheRoot = cacheRoot ?? join(this.folder, 'queues');
  }

  /** The queue's own folder. */
  get queueFolder(): string {
    return join(this.cacheRoot, Q);
  }

  /** A process with a handle of its own. */
  async start(options: StartOptions = {}): Promise<Remote> {
    const { ports: _, ...shared } = this.#options;
    const remote = await Remote.start({ ...DEFAULTS, ...shared, ...options, cacheRoot: this.cacheRoot });
    this.#remotes.push(remote);
    return remote;
  }

  startAll(count: number, options: StartOptions = {}): Promise<Remote[]> {
    return Promise.all(Array.from({ length: count }, () => this.start(options)));
  }

  /** A backend in this process. */
  async open(options: Options = {}): Promise<Backend> {
    const backend = await openCache({ ...DEFAULTS, ...this.#options, ...options, cacheRoot: this.cacheRoot });
    this.#backends.push(backend);
    return backend;
  }

  /** A handle in this process on the queue, which is made if need be. */
  async queue(options: Options = {}): Promise<Queue> {
    const backend = await this.open(options);
    await backend.create(Q, {});
    return backend.open(Q);
  }

  /** What any process on this stage, still alive, has noticed beside its calls. */
  async complaints(): Promise<string[]> {
    const alive = this.#remotes.filter(({ pid }) => stateOf(pid) !== undefined && stateOf(pid) !== 'Z');
    const errors = await Promise.all(alive.map(({ backend }) => backend.lastError()));
    return [...errors, ...this.#backends.map((backend) => backend.lastError())].flatMap((error) =>
      error ? error.message : [],
    );
  }

  async close(): Promise<void> {
    await Promise.all(this.#remotes.map((remote) => remote.end()));
    await Promise.all(this.#backends.map((backend) => backend.close()));
    rmSync(this.folder, { recursive: true });
  }
}

/** A sentence with a stage of its own, on which there is the queue. */
export function stageTest(options: Options = {}) {
  return base.extend<{ stage: Stage; queue: Queue }>({
    // oxlint-disable-next-line no-empty-pattern -- vitest reads from the pattern which fixtures this one needs
    stage: async ({}, use) => {
      const stage = new Stage(options);
      try {
        await use(stage);
      } finally {
        await stage.close();
      }
    },
    queue: async ({ stage }, use) => use(await stage.queue()),
  });
}

/** A letter as in proc_pid_stat(5); undefined when there is no such process. */
export function stateOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[0];
  } catch {
    return undefined;
  }
}

/** Waits for something that nothing announces; fails after `most` ms. */
export async function until(holds: () => boolean | Promise<boolean>, most = 20_000): Promise<void> {
  const deadline = performance.now() + most;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not so after ${most} ms: ${String(holds)}`);
    await sleep(10);
  }
}

/** Messages as the engine takes them. */
export function messages(...data: unknown[]): NewMessage[] {
  return data.map((item) => ({
    json: JSON.stringify(item),
    alias: '',
    retries: 0,
    disabled: false,
    username: '',
  }));
}

/** Whole numbers from 0. */
export function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
