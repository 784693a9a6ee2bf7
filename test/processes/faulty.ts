/**
 * Surroundings that fail, and processes in them: a small disk, system calls that are refused, a process with a manager as
 * any program has it. What is mounted or started here is gone when the test is over.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test as base } from 'vitest';
import type { QueueManager } from '../../src/queue-manager.ts';
import { QueueError, type QueueErrorCode } from '../../src/errors.ts';
import { Bench } from '../cli/commands.ts';

const PROGRAM = fileURLToPath(new URL('managed.mjs', import.meta.url));
const SHIM = fileURLToPath(new URL('shim.c', import.meta.url));

/** The queue that these tests use. */
export const Q = 'jobs';

// --- Processes --------------------------------------------------------------------------------------------------------

type Methods = Omit<QueueManager, 'close' | 'getLastError' | 'findMessages' | 'on' | 'off'> & Extra;

/** See managed.mjs. */
interface Extra {
  addNumbers(queue: string, options: { first: number; count: number; bytes: number }): Promise<number[]>;
  drain(queue: string): Promise<unknown[]>;
}

interface Surroundings {
  env?: Record<string, string>;
  /** A command that runs the one that follows it. */
  prefix?: readonly string[];
}

/** A process with a manager of its own. */
export class Managed {
  /** Its manager; what an answer holds has gone through JSON, dates included. */
  readonly manager = this.#proxy();
  readonly #child: ChildProcess;
  readonly #calls = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  readonly #ended: Promise<void>;
  readonly #ready: Promise<void>;
  #lastCall = 0;

  constructor(options: { cacheRoot: string; durability?: string }, { env = {}, prefix = [] }: Surroundings) {
    const command = [...prefix, process.execPath, PROGRAM, JSON.stringify(options)];
    const child = spawn(command[0]!, command.slice(1), {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'], ...env },
    });
    this.#child = child;
    child.on('message', (answer: Answer) => this.#answered(answer));
    this.#ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        for (const { reject } of this.#calls.values())
          reject(new Error(`the process ended with ${signal ?? code}`));
        resolve();
      });
    });
    this.#ready = new Promise((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('error', reject);
      void this.#ended.then(() => reject(new Error('the process ended before it was ready')));
    });
  }

  /** Of the process itself, if its prefix has not left a parent in between. */
  get pid(): number {
    return this.#child.pid!;
  }

  async ready(): Promise<this> {
    await this.#ready;
    return this;
  }

  async end(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  #answered({ id, value, error }: Answer): void {
    const call = id === undefined ? undefined : this.#calls.get(id);
    if (!call) return;
    this.#calls.delete(id!);
    if (!error) return call.resolve(value);
    const { code, message, path } = error;
    call.reject(
      code ? new QueueError(code, message, path === undefined ? {} : { path }) : new Error(message),
    );
  }

  #proxy(): Methods {
    const call = (method: string, args: unknown[]): Promise<unknown> =>
      new Promise((resolve, reject) => {
        const id = ++this.#lastCall;
        this.#calls.set(id, { resolve, reject });
        this.#child.send({ id, method, args }, (error) => error && reject(error));
      });
    return new Proxy({} as Methods, {
      get:
        (_, method) =>
        (...args: unknown[]) => {
          const answer = call(String(method), args);
          // Of a test that has failed, the process is ended with calls under way: that is no further failure.
          answer.catch(() => undefined);
          return answer;
        },
    });
  }
}

interface Answer {
  id?: number;
  value?: unknown;
  error?: { message: string; code?: QueueErrorCode; path?: string };
}

// --- Refused system calls ---------------------------------------------------------------------------------------------

/** Numbers of Linux. */
const ERRNO = { EIO: 5, EMFILE: 24, EFBIG: 27, ENOSPC: 28, EROFS: 30, EDQUOT: 122 } as const;

export interface Fault {
  call: 'write' | 'read' | 'sync' | 'truncate' | 'rename' | 'unlink' | 'open';
  /** A part of the path. */
  path: string;
  /** Calls that go through before, and calls that then fail. */
  skip?: number;
  times?: number;
  /** How they fail; `bytes`: so much is written, and no error. */
  how: keyof typeof ERRNO | { bytes: number };
}

/** The shim, compiled into a folder of its own. */
export class Shim {
  readonly #folder = mkdtempSync(join(tmpdir(), 'coda-shim-'));

  /** Why there is none here; undefined when there is. */
  readonly missing: string | undefined;

  constructor() {
    this.missing = process.platform === 'linux' ? this.#compile() : 'system calls are only refused on Linux';
  }

  #compile(): string | undefined {
    const args = ['-shared', '-fPIC', '-O1', '-Wall', '-Werror', '-o', this.#path, SHIM, '-ldl'];
    const { status, stderr, error } = spawnSync('cc', args);
    return status === 0 ? undefined : `no C compiler: ${error?.message ?? stderr.toString()}`;
  }

  get #path(): string {
    return join(this.#folder, 'shim.so');
  }

  /** Faults for the processes that run with its `env`. */
  faults(): Faults {
    return new Faults(mkdtempSync(join(this.#folder, 'plan-')), this.#path);
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true });
  }
}

export class Faults {
  readonly env: Record<string, string>;
  readonly #plan: string;

  constructor(folder: string, shim: string) {
    this.#plan = join(folder, 'plan');
    this.env = { LD_PRELOAD: shim, FAULTS: this.#plan };
  }

  /** From now on, instead of those before. */
  begin(...faults: readonly Fault[]): void {
    const lines = faults.map(({ call, path, skip = 0, times = 1_000_000, how }) => {
      const what = typeof how === 'string' ? ERRNO[how] : `short ${how.bytes}`;
      return `${call} ${path} ${skip} ${times} ${what}\n`;
    });
    writeFileSync(this.#plan, lines.join(''));
  }

  end(): void {
    rmSync(this.#plan);
  }

  /** The calls that have failed, each `<call> <path>`. */
  met(): string[] {
    const log = `${this.#plan}.log`;
    return existsSync(log) ? readFileSync(log, 'utf8').split('\n').slice(0, -1) : [];
  }
}

// --- A small disk -----------------------------------------------------------------------------------------------------

/** A tmpfs of its own. */
export class Disk {
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-disk-')));

  /** @param bytes its size. */
  constructor(bytes: number) {
    try {
      must('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', this.folder]);
    } catch (error) {
      rmSync(this.folder, { recursive: true });
      throw error;
    }
  }

  /** Why there can be none here; undefined when there can. */
  static missing(): string | undefined {
    if (process.getuid?.() !== 0) return 'mounting a tmpfs needs root';
    try {
      new Disk(1024 * 1024).remove();
      return undefined;
    } catch (error) {
      return `a tmpfs cannot be mounted here: ${(error as Error).message}`;
    }
  }

  /** For all processes, those that have files open included. */
  readOnly(): void {
    // What is open for writing is in the way, unless it is forced to.
    must('mount', ['-o', 'remount,ro', this.folder]);
  }

  writable(): void {
    must('mount', ['-o', 'remount,rw', this.folder]);
  }

  /** Fills it to the last byte with a file that is not the queue's; returns what removes that. */
  fill(): () => void {
    const path = join(this.folder, 'foreign');
    const fd = openSync(path, 'a');
    const bytes = Buffer.alloc(64 * 1024, 'x');
    try {
      for (let size = bytes.length; size > 0;) {
        try {
          if (writeSync(fd, bytes, 0, size) < size) size >>= 1;
        } catch {
          size >>= 1;
        }
      }
    } finally {
      closeSync(fd);
    }
    return () => rmSync(path);
  }

  remove(): void {
    must('umount', [this.folder]);
    rmSync(this.folder, { recursive: true });
  }
}

/** Runs a command that must succeed. */
export function must(command: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(command, args);
  if (status !== 0) throw new Error(error?.message ?? stderr.toString().trim());
}

// --- A sentence -------------------------------------------------------------------------------------------------------

/** Processes, and commands in a folder of their own, in which `cacheRoot` is. */
export class Scene {
  readonly bench = new Bench();
  readonly cacheRoot: string;
  readonly #processes: Managed[] = [];

  /** @param cacheRoot elsewhere than in its folder. */
  constructor(cacheRoot?: string) {
    this.cacheRoot = cacheRoot ?? join(this.bench.folder, 'queues');
  }

  get queueFolder(): string {
    return join(this.cacheRoot, Q);
  }

  start(surroundings: Surroundings & { durability?: string } = {}): Promise<Managed> {
    const { durability, ...rest } = surroundings;
    const options = { cacheRoot: this.cacheRoot, ...(durability === undefined ? {} : { durability }) };
    const managed = new Managed(options, rest);
    this.#processes.push(managed);
    return managed.ready();
  }

  async close(): Promise<void> {
    await Promise.all(this.#processes.map((process) => process.end()));
    await this.bench.close();
  }
}

export const sceneTest = base.extend<{ scene: Scene }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads from the pattern which fixtures this one needs
  scene: async ({}, use) => {
    const scene = new Scene();
    try {
      await use(scene);
    } finally {
      await scene.close();
    }
  },
});

/** Claims and completes all that can be had; the data, or the number in it, in the order of the claims. */
export function drain({ manager }: Managed): Promise<unknown[]> {
  return manager.drain(Q);
}

/** What a call was refused with; an error when it was not. */
export async function refusal(call: Promise<unknown>): Promise<QueueError> {
  const answer = await call.then(
    (value) => new Error(`not refused, but answered with ${JSON.stringify(value)}`),
    (error: unknown) => error,
  );
  if (answer instanceof QueueError) return answer;
  throw answer;
}
