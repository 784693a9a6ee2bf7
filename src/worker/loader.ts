/** Finds the class of a worker's type in the user's folder or among those that ship. A type is a bare name, never a path. */
import { fileURLToPath } from 'node:url';
import { QueueError, quote } from '../errors.ts';
import { find, instanceOf, type Kind } from './class-loader.ts';
import type { Worker } from './worker.ts';

const KIND: Kind = {
  noun: 'worker',
  called: 'of type',
  suffix: '',
  pattern: /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/,
  base: 'Worker',
  method: 'process(message, context)',
  code: 'UNKNOWN_WORKER_TYPE',
};

/** Beside this module in the sources as in dist/. */
const SHIPPED = fileURLToPath(new URL('../../workers', import.meta.url));

export interface LoaderOptions {
  /** Absolute. */
  workersDir: string;
  /** What `import … from 'coda-queue'` means in a worker that has no such package installed beside it. */
  library: object;
}

export interface LoadedWorker {
  worker: Worker;
  /** The file it came from, absolute. */
  path: string;
}

/**
 * Resolves with a new instance of the type's class. Costs the import of its file; for TypeScript, and for files that
 * find no coda-queue package, also that of a compiler.
 * Errors: UNKNOWN_WORKER_TYPE: no such type, its file cannot be loaded, or does not export a worker class.
 */
export async function loadWorker(type: string, options: LoaderOptions): Promise<LoadedWorker> {
  const path = await findWorker(type, options.workersDir);
  return { worker: (await instanceOf(KIND, path, options.library)) as Worker, path };
}

/** Resolves with the file of the type's class, absolute. Errors: UNKNOWN_WORKER_TYPE: there is none. */
export async function findWorker(type: string, workersDir: string): Promise<string> {
  if (!KIND.pattern.test(type)) {
    throw new QueueError(
      'UNKNOWN_WORKER_TYPE',
      `expected a worker type (letters, digits, '.', '_', '-'), received ${quote(type)}`,
    );
  }
  return find(KIND, type, { own: workersDir, shipped: SHIPPED });
}
