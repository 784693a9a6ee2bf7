/** Many runs, on all cores: each thread takes seeds, a few at a time, as long as it is told to. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { fileURLToPath } from 'node:url';
import type { Edit } from './realm.ts';
import type { Broken } from './violation.ts';

/** What a thread is asked for. It ends a task at the first violation. */
export interface Task {
  first: number;
  count: number;
  edits: readonly Edit[];
}

/** What a thread has found. */
export interface Finding {
  seeds: number;
  operations: number;
  met: [what: string, times: number][];
  violation: (Broken & { seed: number }) | undefined;
}

/**
 * A thread that says nothing for so long runs in circles in which it does nothing that is counted. What a run does is bounded by
 * the machine (`machine.ts`); this is for the rest, and long enough for any load.
 */
const SILENCE_MS = 900_000;
const FILE = fileURLToPath(new URL('../../scripts/simulate-thread.mjs', import.meta.url));

/** A thread that works off tasks. */
export class Runner {
  #thread: Worker | undefined;

  /** Resolves with what was found; a run that does not come to an end is a violation, too. Errors: what has ended the thread. */
  run(task: Task): Promise<Finding> {
    const thread = (this.#thread ??= new Worker(FILE));
    return new Promise((resolve, reject) => {
      const circles = setTimeout(() => {
        void this.close();
        const text = `a run of seeds ${task.first} to ${task.first + task.count - 1} goes in circles`;
        resolve({ seeds: 0, operations: 0, met: [], violation: { seed: task.first, kind: 'hang', text } });
      }, SILENCE_MS);
      thread.removeAllListeners();
      thread.once('message', (finding: Finding) => {
        clearTimeout(circles);
        resolve(finding);
      });
      thread.once('error', (error) => {
        clearTimeout(circles);
        this.#thread = undefined;
        reject(error);
      });
      // A thread's port knows no origins.
      // oxlint-disable-next-line unicorn/require-post-message-target-origin
      thread.postMessage(task);
    });
  }

  async close(): Promise<void> {
    await this.#thread?.terminate();
    this.#thread = undefined;
  }
}

/** Has `work` done with each item, as many at a time as there are cores. Resolves when all are done. */
export async function onAllCores<T>(
  items: Iterable<T>,
  work: (item: T, runner: Runner) => Promise<void>,
): Promise<void> {
  const iterator = items[Symbol.iterator]();
  const lane = async (): Promise<void> => {
    const runner = new Runner();
    try {
      for (let next = iterator.next(); !next.done; next = iterator.next()) await work(next.value, runner);
    } finally {
      await runner.close();
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, lane));
}
