/**
 * Finds a worker type's class: `<type>.ts`, `.js` or `.mjs`, first in the user's folder, then in the one that ships.
 * A type is a bare name, never a path, and only what lies in these two folders is ever loaded.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { QueueError, quote } from '../errors.ts';
import { nearest } from '../suggest.ts';
import type { Worker } from './worker.ts';

/** In the order in which they are preferred when a folder has several for one type. */
const EXTENSIONS = ['.ts', '.js', '.mjs'] as const;
type Extension = (typeof EXTENSIONS)[number];

const TYPE = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;

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
  if (!TYPE.test(type)) {
    throw new QueueError(
      'UNKNOWN_WORKER_TYPE',
      `expected a worker type (letters, digits, '.', '_', '-'), received ${quote(type)}`,
    );
  }
  const path = await find(type, options.workersDir);
  let exported: unknown;
  try {
    exported = await importDefault(path, options.library);
  } catch (cause) {
    throw refused(
      path,
      `cannot be loaded: ${cause instanceof Error ? quote(cause.message, 500) : quote(cause)}`,
      cause,
    );
  }
  if (typeof exported !== 'function' || !/^class\b/.test(Function.prototype.toString.call(exported))) {
    const kind = exported === undefined ? 'nothing' : `a ${typeof exported}`;
    throw refused(path, `expected its default export to be a class that extends Worker, received ${kind}`);
  }
  const Class = exported as new () => Partial<Worker>;
  let worker: Partial<Worker>;
  try {
    worker = new Class();
  } catch (cause) {
    throw refused(
      path,
      `its constructor failed: ${cause instanceof Error ? quote(cause.message, 500) : quote(cause)}`,
      cause,
    );
  }
  if (typeof worker.process !== 'function') {
    throw refused(path, 'expected a class with a method process(message, context), found no such method');
  }
  return { worker: worker as Worker, path };
}

async function find(type: string, workersDir: string): Promise<string> {
  const own = await typesIn(workersDir);
  const shipped = await typesIn(SHIPPED);
  for (const [folder, types] of [
    [workersDir, own],
    [SHIPPED, shipped],
  ] as const) {
    const extension = types?.get(type);
    if (extension !== undefined) return join(folder, type + extension);
  }
  const known = [...new Set([...(own?.keys() ?? []), ...(shipped?.keys() ?? [])])].sort();
  const near = nearest(type, known);
  const found = known.length > 0 ? `found ${known.map((name) => quote(name)).join(', ')}` : 'found none';
  throw new QueueError(
    'UNKNOWN_WORKER_TYPE',
    `no worker of type ${quote(type)}${near === undefined ? '.' : `; did you mean ${near}?`}` +
      ` Looked for ${type}.ts, .js and .mjs in ${quote(workersDir, 300)}${own ? '' : ' (no such folder)'}` +
      ` and in ${quote(SHIPPED, 300)}; ${found}`,
    { path: workersDir },
  );
}

/** The types in a folder with the extension to load; undefined when there is no such folder. */
async function typesIn(folder: string): Promise<Map<string, Extension> | undefined> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new QueueError(
      'UNKNOWN_WORKER_TYPE',
      `expected a readable folder of workers at ${quote(folder, 300)}: ${code}`,
      {
        path: folder,
        cause,
      },
    );
  }
  const types = new Map<string, Extension>();
  for (const extension of EXTENSIONS.toReversed()) {
    for (const name of names) {
      const type = name.slice(0, -extension.length);
      if (name.endsWith(extension) && !name.endsWith('.d.ts') && TYPE.test(type)) types.set(type, extension);
    }
  }
  return types;
}

async function importDefault(path: string, library: object): Promise<unknown> {
  if (!path.endsWith('.ts')) {
    try {
      return defaultOf(await import(pathToFileURL(path).href));
    } catch (cause) {
      // Imports are resolved before any code runs, so nothing of the file has run when it is loaded a second time.
      if (!lacksLibrary(cause)) throw cause;
    }
  }
  const { createJiti } = await import('jiti');
  const jiti = createJiti(pathToFileURL(path).href, {
    virtualModules: { 'coda-queue': library },
    interopDefault: false,
    // Its cache lies in a shared temporary folder, where others could plant code.
    fsCache: false,
  });
  return defaultOf(await jiti.import(path));
}

/** CommonJS that was compiled from ES modules wraps its default export once more. */
function defaultOf(module: unknown): unknown {
  const exported = (module as { default?: unknown }).default;
  return typeof exported === 'object' && exported !== null && 'default' in exported
    ? exported.default
    : exported;
}

function lacksLibrary(cause: unknown): boolean {
  const { code, message } = cause as NodeJS.ErrnoException;
  return code === 'ERR_MODULE_NOT_FOUND' && message.includes("'coda-queue'");
}

function refused(path: string, why: string, cause?: unknown): QueueError {
  return new QueueError('UNKNOWN_WORKER_TYPE', `${quote(path, 300)}: ${why}`, { path, cause });
}
