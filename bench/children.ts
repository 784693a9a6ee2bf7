/** The processes that this benchmark starts. They are ended by their handle, all of them, however it ends. */
import { fork, spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { FromChild, FromParent } from './parent.ts';
import type { Job, ModuleName, Params, Result, RoleName } from './roles.ts';
import { micros } from './timing.ts';

const CHILD = fileURLToPath(new URL('child.js', import.meta.url));
const ENQUEUE_ONE = fileURLToPath(new URL('enqueue-one.js', import.meta.url));

/** A child that takes longer hangs: nothing but what is told beforehand takes a tenth of it. */
const LONGEST_MS = 120_000;

export interface Child<T> {
  readonly ready: Promise<void>;
  /** Resolves when the child has answered and is gone. */
  readonly result: Promise<T>;
  tell(word: FromParent): void;
}

export class Children {
  readonly #running = new Set<ChildProcess>();
  readonly #nodeOptions: string[];
  readonly #longest: number;

  /**
   * @param profiles folder for a CPU profile of each child.
   * @param expected milliseconds that a child may take beyond what is usual.
   */
  constructor(profiles: string | undefined, expected = 0) {
    this.#longest = LONGEST_MS + expected;
    this.#nodeOptions = profiles === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', profiles];
  }

  /** Starts a child and waits for its result. */
  run<M extends ModuleName, R extends RoleName<M>>(
    module: M,
    role: R,
    params: Params<M, R>,
  ): Promise<Result<M, R>> {
    return this.start(module, role, params).result;
  }

  /** @param onProgress called with what the child tells while it works. */
  start<M extends ModuleName, R extends RoleName<M>>(
    module: M,
    role: R,
    params: Params<M, R>,
    onProgress: (progress: number) => void = () => undefined,
  ): Child<Result<M, R>> {
    const job: Job = { module, role, params };
    const child = fork(CHILD, [JSON.stringify(job)], {
      execArgv: this.#nodeOptions,
      serialization: 'advanced',
    });
    this.#running.add(child);
    let answer: FromChild | undefined;
    let isReady = (): void => undefined;
    const ready = new Promise<void>((resolve) => (isReady = resolve));
    const tooLong = setTimeout(() => child.kill('SIGKILL'), this.#longest);
    child.on('message', (message) => {
      const said = message as FromChild;
      if (said.type === 'ready') isReady();
      else if (said.type === 'progress') onProgress(said.progress);
      else answer = said;
    });
    const result = new Promise<Result<M, R>>((resolve, reject) => {
      child.once('error', reject);
      // Not at its exit: what it sent last may still be on the way.
      child.once('close', (code, signal) => {
        clearTimeout(tooLong);
        this.#running.delete(child);
        if (answer?.type === 'result') resolve(answer.result as Result<M, R>);
        else
          reject(
            new Error(
              `${job.role}: ${answer?.type === 'error' ? answer.error : `ended with ${signal ?? code}`}`,
            ),
          );
      });
    });
    // One that fails before it is ready must not leave its parent waiting.
    const readyOrFailed = Promise.race([ready, result.then(() => undefined)]);
    readyOrFailed.catch(() => undefined);
    return { ready: readyOrFailed, result, tell: (word) => void child.send(word, () => undefined) };
  }

  /** Milliseconds from the start of `node -e 0` to its end. */
  timeNode(): Promise<number> {
    return this.#time(['-e', '0']);
  }

  /** Milliseconds from the start to the end of a program that enqueues one message below the folder. */
  timeEnqueueOne(folder: string): Promise<number> {
    return this.#time([...this.#nodeOptions, ENQUEUE_ONE, folder]);
  }

  #time(args: string[]): Promise<number> {
    const start = micros();
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    this.#running.add(child);
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => {
        this.#running.delete(child);
        if (code === 0) resolve((micros() - start) / 1000);
        else reject(new Error(`${args.join(' ')} ended with ${signal ?? code}`));
      });
    });
  }

  /** Resolves when no child is left. */
  async end(): Promise<void> {
    await Promise.all(
      [...this.#running].map((child) => {
        const gone = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGKILL');
        return gone;
      }),
    );
  }
}
