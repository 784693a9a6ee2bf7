/**
 * Which daemons there are: those registered in code, and the files `<name>Daemon.ts`, `.js` or `.mjs` in the user's folder
 * and in the one that ships, in this order. A file `index` in the user's folder is loaded first: it is the place to
 * register daemons that have no file of their own, such as several of one class.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { QueueError, quote } from '../errors.ts';
import { toTryError } from '../try-error.ts';
import { find, findAll, importDefault, instanceOf, type Kind } from '../worker/class-loader.ts';
import { isDaemon, type Daemon } from './daemon.ts';
import { DAEMON_NAME, checkDaemonName } from './name.ts';
import { registered } from './registry.ts';

const KIND: Kind = {
  noun: 'daemon',
  called: 'named',
  suffix: 'Daemon',
  pattern: DAEMON_NAME,
  base: 'Daemon',
  method: 'executeStart()',
  code: 'UNKNOWN_DAEMON',
};

/** Beside this module in the sources as in dist/. */
const SHIPPED = fileURLToPath(new URL('../../daemons', import.meta.url));

export interface DaemonLoaderOptions {
  /** Absolute. */
  daemonsDir: string;
  /** What `import … from 'coda-queue'` means in a daemon that has no such package installed beside it. */
  library: object;
}

export interface FoundDaemon {
  /** Its file, absolute; undefined of one that was registered in code. */
  path: string | undefined;
  /**
   * Resolves with an instance. Costs the import of its file; for TypeScript also that of a compiler.
   * Errors: UNKNOWN_DAEMON: the file cannot be loaded, or does not export a class that extends Daemon.
   */
  load(): Promise<Daemon>;
}

/**
 * Resolves when there is that daemon; nothing of its file has run by then, but `index`, if there is one.
 * Errors: INVALID_ARGUMENT: no such name is possible; UNKNOWN_DAEMON: there is none of that name.
 */
export async function findDaemon(name: string, options: DaemonLoaderOptions): Promise<FoundDaemon> {
  checkDaemonName(name);
  await loadIndex(options);
  const known = registered().get(name);
  if (known !== undefined) {
    return { path: undefined, load: async () => checked(made(known, name), `daemon ${name}`) };
  }
  const path = await find(KIND, name, places(options), [...registered().keys()]);
  const load = async (): Promise<Daemon> =>
    checked(await instanceOf(KIND, path, options.library), quote(path, 300), path);
  return { path, load };
}

/** Resolves with all names, in order, each with its file if it has one. Errors: UNKNOWN_DAEMON: a folder or `index` cannot be read. */
export async function listDaemons(
  options: DaemonLoaderOptions,
): Promise<{ name: string; path: string | undefined }[]> {
  await loadIndex(options);
  const found = new Map<string, string | undefined>();
  for (const { name, path } of await findAll(KIND, places(options))) found.set(name, path);
  for (const name of registered().keys()) found.set(name, undefined);
  return [...found].map(([name, path]) => ({ name, path })).sort((a, b) => (a.name < b.name ? -1 : 1));
}

function places({ daemonsDir }: DaemonLoaderOptions): { own: string; shipped: string } {
  return { own: daemonsDir, shipped: SHIPPED };
}

function made(known: Daemon | (new () => Daemon), name: string): object {
  if (typeof known !== 'function') return known;
  try {
    return new known();
  } catch (cause) {
    const { message } = toTryError(cause, 1, Date.now());
    throw new QueueError('UNKNOWN_DAEMON', `daemon ${name}: its constructor failed: ${quote(message, 500)}`, {
      cause,
    });
  }
}

function checked(instance: object, where: string, path?: string): Daemon {
  if (isDaemon(instance)) return instance;
  throw new QueueError(
    'UNKNOWN_DAEMON',
    `${where}: expected a class that extends Daemon, received another class`,
    path === undefined ? {} : { path },
  );
}

/** Loaded once: what it registers cannot be registered twice. */
const indexes = new Map<string, Promise<void>>();

function loadIndex(options: DaemonLoaderOptions): Promise<void> {
  const loading = indexes.get(options.daemonsDir) ?? importIndex(options);
  indexes.set(options.daemonsDir, loading);
  return loading;
}

async function importIndex({ daemonsDir, library }: DaemonLoaderOptions): Promise<void> {
  // A folder that cannot be read is told of when its daemons are looked for.
  const files = await readdir(daemonsDir).catch((): string[] => []);
  const index = ['index.ts', 'index.js', 'index.mjs'].find((name) => files.includes(name));
  if (index === undefined) return;
  const path = join(daemonsDir, index);
  try {
    await importDefault(path, library);
  } catch (cause) {
    const { message } = toTryError(cause, 1, Date.now());
    throw new QueueError('UNKNOWN_DAEMON', `${quote(path, 300)}: cannot be loaded: ${quote(message, 500)}`, {
      path,
      cause,
    });
  }
}
