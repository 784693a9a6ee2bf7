/**
 * Finds a class by its name and makes an instance: `<name><suffix>.ts`, `.js` or `.mjs`, first in the user's folder, then
 * in the one that ships. Only what lies in these two folders is ever loaded; the caller has checked that the name is no
 * path.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { QueueError, quote, type QueueErrorCode } from '../errors.ts';
import { nearest } from '../suggest.ts';

/** In the order in which they are preferred when a folder has several for one name. */
const EXTENSIONS = ['.ts', '.js', '.mjs'] as const;
type Extension = (typeof EXTENSIONS)[number];

/** What is looked for. */
export interface Kind {
  readonly noun: 'worker' | 'daemon' | 'controller' | 'method';
  /** What stands between the noun and its name. */
  readonly called: 'of type' | 'named';
  /** Behind the name in the names of files. */
  readonly suffix: '' | 'Daemon' | 'Controller';
  /** What a name is. */
  readonly pattern: RegExp;
  /** The class to extend, and a method without which an instance is none. */
  readonly base: string;
  readonly method: string;
  /** Of all errors. */
  readonly code: QueueErrorCode;
}

export interface Places {
  /** The user's folder, absolute. */
  readonly own: string;
  readonly shipped: string;
}

/** A file that was found, absolute. */
export interface Found {
  readonly name: string;
  readonly path: string;
}

/** What there is in both folders, by name; the user's hides the one that ships. */
export async function findAll(kind: Kind, { own, shipped }: Places): Promise<Found[]> {
  const found = new Map<string, string>();
  for (const folder of [shipped, own]) {
    for (const [name, extension] of (await namesIn(kind, folder)) ?? [])
      found.set(name, join(folder, name + kind.suffix + extension));
  }
  return [...found].map(([name, path]) => ({ name, path })).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * Resolves with the path of the file.
 * @param others names that are known besides: they may be meant.
 */
export async function find(
  kind: Kind,
  name: string,
  { own, shipped }: Places,
  others: readonly string[] = [],
): Promise<string> {
  const { noun, called, suffix, code } = kind;
  const names = await namesIn(kind, own);
  const shippedNames = await namesIn(kind, shipped);
  for (const [folder, there] of [
    [own, names],
    [shipped, shippedNames],
  ] as const) {
    const extension = there?.get(name);
    if (extension !== undefined) return join(folder, name + suffix + extension);
  }
  const known = [...new Set([...(names?.keys() ?? []), ...(shippedNames?.keys() ?? []), ...others])].sort();
  const near = nearest(name, known) ?? known.find((other) => suffix !== '' && name === `${other}${suffix}`);
  const found = known.length > 0 ? `found ${known.map((each) => quote(each)).join(', ')}` : 'found none';
  throw new QueueError(
    code,
    `no ${noun} ${called} ${quote(name)}${near === undefined ? '.' : `; did you mean ${near}?`}` +
      ` Looked for ${name}${suffix}.ts, .js and .mjs in ${quote(own, 300)}${names ? '' : ' (no such folder)'}` +
      ` and in ${quote(shipped, 300)}; ${found}`,
    { path: own },
  );
}

/**
 * Resolves with a new instance of the class that the file exports. Costs the import of the file; for TypeScript, and for
 * files that find no coda-queue package, also that of a compiler.
 * @param library what `import … from 'coda-queue'` means in a file that has no such package installed beside it.
 */
export async function instanceOf(
  kind: Pick<Kind, 'base' | 'method' | 'code'>,
  path: string,
  library: object,
): Promise<object> {
  const exported = await classOf(kind, path, library);
  let instance: object;
  try {
    instance = new exported();
  } catch (cause) {
    throw refused(kind, path, `its constructor failed: ${inWords(cause)}`, cause);
  }
  const { method } = kind;
  const name = method.replace(/\(.*/, '');
  if (typeof (instance as Record<string, unknown>)[name] !== 'function')
    throw refused(kind, path, `expected a class with a method ${method}, found no such method`);
  return instance;
}

/** Resolves with the class itself. Costs the same. */
export async function classOf(
  kind: Pick<Kind, 'base' | 'code'>,
  path: string,
  library: object,
): Promise<new () => object> {
  let exported: unknown;
  try {
    exported = await importDefault(path, library);
  } catch (cause) {
    throw refused(kind, path, `cannot be loaded: ${inWords(cause)}`, cause);
  }
  if (isClass(exported)) return exported;
  const what = exported === undefined ? 'nothing' : `a ${typeof exported}`;
  throw refused(
    kind,
    path,
    `expected its default export to be a class that extends ${kind.base}, received ${what}`,
  );
}

function isClass(value: unknown): value is new () => object {
  return typeof value === 'function' && /^class\b/.test(Function.prototype.toString.call(value));
}

/** The names in a folder with the extension to load; undefined when there is no such folder. */
async function namesIn(
  { noun, suffix, pattern, code }: Kind,
  folder: string,
): Promise<Map<string, Extension> | undefined> {
  let files: string[];
  try {
    files = await readdir(folder);
  } catch (cause) {
    const { code: why } = cause as NodeJS.ErrnoException;
    if (why === 'ENOENT') return undefined;
    throw new QueueError(code, `expected a readable folder of ${noun}s at ${quote(folder, 300)}: ${why}`, {
      path: folder,
      cause,
    });
  }
  const names = new Map<string, Extension>();
  for (const extension of EXTENSIONS.toReversed()) {
    const end = suffix + extension;
    for (const file of files) {
      const name = file.slice(0, -end.length);
      if (file.endsWith(end) && !file.endsWith('.d.ts') && pattern.test(name)) names.set(name, extension);
    }
  }
  return names;
}

/** The default export of a module, whatever it is written in. Rejects with whatever loading it throws. */
export async function importDefault(path: string, library: object): Promise<unknown> {
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

function refused({ code }: Pick<Kind, 'code'>, path: string, why: string, cause?: unknown): QueueError {
  return new QueueError(code, `${quote(path, 300)}: ${why}`, { path, cause });
}

function inWords(cause: unknown): string {
  return cause instanceof Error ? quote(cause.message, 500) : quote(cause);
}
