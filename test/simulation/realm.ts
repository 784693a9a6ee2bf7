/**
 * The engine, loaded once for each simulated process, so that one thread can run many of them *inside one another*.
 *
 * The engine's file operations are synchronous, and what it does between two of them cannot be suspended in JavaScript.
 * But another process can be run to wherever it waits while the first one stands inside a file operation, provided that
 * the other's promises go on meanwhile. In one realm they do not: microtasks run when the stack is empty. So each process
 * has a V8 context with a microtask queue of its own (`microtaskMode: 'afterEvaluate'`), which is emptied when the
 * simulation says so, however deep the stack. It costs less than a microsecond, and everything is one thread, so a run
 * is the same each time. (Threads that block in `Atomics.wait` would allow one thing more: that A goes on while B stands
 * inside an operation in which A stood before. They would cost a change of threads at each operation.)
 *
 * Modules are translated from the sources in memory; a mutant is another text for one of them.
 */
import { createRequire } from 'node:module';
import { constants, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createContext, Script, type Context } from 'node:vm';
import { createJiti } from 'jiti';

const root = fileURLToPath(new URL('../..', import.meta.url));
const builtin = createRequire(import.meta.url);
const EMPTY = new Script('0');

/** A change of the sources that makes them wrong. */
export interface Edit {
  /** From the root of the project. */
  file: string;
  find: string;
  replace: string;
}

/**
 * Sizes that real queues reach seldom and simulated ones never would: buffers are smaller than the files that are read
 * through them, the reserve is soon written, and who makes a head may pause between any two of its records.
 */
const SCALED: readonly Edit[] = [
  { file: 'src/cache/files.ts', find: 'const CHUNK = 64 * 1024;', replace: 'const CHUNK = 2 * 1024;' },
  { file: 'src/cache/head.ts', find: 'const STRETCH = 64;', replace: 'const STRETCH = 1;' },
  { file: 'src/cache/search.ts', find: 'const CHUNK = 1024 * 1024;', replace: 'const CHUNK = 2 * 1024;' },
  {
    file: 'src/cache/rotation.ts',
    find: 'const SLOW_BYTES = 1.25 * 1024 * 1024;',
    replace: 'const SLOW_BYTES = 128;',
  },
  {
    file: 'src/cache/space.ts',
    find: 'const RESERVE_BYTES = 1024 * 1024;',
    replace: 'const RESERVE_BYTES = 256 * 1024;',
  },
];
/** Of the reserve. */
export const RESERVE_BYTES = 256 * 1024;

/** What a run may not come near: it would not be the same on another machine. */
const NOTHING_REAL = { 'node:fs': { constants } };

type Module = Readonly<Record<string, unknown>>;
type Body = (exports: object, require: (name: string) => unknown, process: object) => void;

/** The translated sources. */
export class Code {
  readonly #edits: readonly Edit[];
  readonly #scripts = new Map<string, Script>();
  readonly #jiti = createJiti(import.meta.url);

  /** Errors: a text to be replaced that does not stand in its file exactly once; what stands there then does not parse. */
  constructor(edits: readonly Edit[] = []) {
    this.#edits = [...SCALED, ...edits];
    for (const { file } of edits) this.script(file);
  }

  /** Of a function that runs the module at `path`, from the root of the project. */
  script(path: string): Script {
    const known = this.#scripts.get(path);
    if (known) return known;
    let source = readFileSync(`${root}/${path}`, 'utf8');
    for (const { file, find, replace } of this.#edits) {
      if (file !== path) continue;
      const found = source.split(find).length - 1;
      if (found !== 1) throw new Error(`${path}: expected this text once, found it ${found} times: ${find}`);
      source = source.replace(find, () => replace);
    }
    const text = this.#jiti.transform({ source, filename: `${root}/${path}`, ts: true });
    // It does not throw: where it cannot parse, it makes a module that holds why.
    const why = /^exports\.__JITI_ERROR__ = (.*)/.exec(text)?.[1];
    if (why !== undefined) throw new Error(`${path}: expected a text that parses: ${why}`);
    const script = new Script(`(function (exports, require, process) {${text}\n})`, { filename: path });
    this.#scripts.set(path, script);
    return script;
  }
}

/** Errors: as of `Code`. */
export function checkEdits(edits: readonly Edit[]): Code {
  return new Code(edits);
}

export interface Deferred<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: unknown) => void;
}

/** What a process takes from outside instead of the real thing. */
export interface Surroundings {
  /** Built-in modules by name. */
  modules: Readonly<Record<string, object>>;
  /** The global `process`. */
  process: object;
}

export class Realm {
  readonly #code: Code;
  readonly #context: Context;
  readonly #modules = new Map<string, object>();
  readonly #ticks: (() => void)[] = [];
  readonly #defer: () => Deferred<unknown>;

  constructor(code: Code) {
    this.#code = code;
    const globals = { Error, Buffer, structuredClone, AbortController, AbortSignal };
    this.#context = createContext(globals, { microtaskMode: 'afterEvaluate' });
    this.#defer = new Script(
      '(() => { const d = {}; d.promise = new Promise((a, b) => { d.resolve = a; d.reject = b; }); return d; })',
    ).runInContext(this.#context) as () => Deferred<unknown>;
  }

  /** A module of the project; the same one each time. */
  load(path: string): object {
    const known = this.#modules.get(path);
    if (known) return known;
    const process = { nextTick: (run: () => void) => void this.#ticks.push(run) };
    const module = this.#evaluate(path, { modules: NOTHING_REAL, process }, (name) => this.load(name));
    this.#modules.set(path, module);
    return module;
  }

  /** A module evaluated anew, in surroundings of its own. What it imports from the project is shared. */
  fresh(path: string, surroundings: Surroundings): object {
    return this.#evaluate(path, surroundings, (name) => this.load(name));
  }

  #evaluate(path: string, { modules, process }: Surroundings, load: (path: string) => object): Module {
    const exports = {};
    const require = (name: string): unknown => {
      if (name.startsWith('.')) return load(posix.join(posix.dirname(path), name));
      return modules[name] ?? builtin(name);
    };
    const body = this.#code.script(path).runInContext(this.#context) as Body;
    body(exports, require, process);
    return exports;
  }

  /** A promise of this realm: who awaits it goes on when this realm runs. */
  deferred<T>(): Deferred<T> {
    return this.#defer() as Deferred<T>;
  }

  /** One turn of this process's event loop: `task`, then ticks and promises as Node does them, until none is left. */
  run(task: () => void): void {
    task();
    do {
      for (let tick = this.#ticks.shift(); tick; tick = this.#ticks.shift()) tick();
      EMPTY.runInContext(this.#context);
    } while (this.#ticks.length > 0);
  }

  /** Forgets what a dead process had still to do. */
  clear(): void {
    this.#ticks.length = 0;
  }
}
