/**
 * Changes of processes that are kept beyond the end of the supervisor (`save`), in a file beside its state.
 *
 * A change is made on what the configuration says, and holds as long as that says the same: **the newer word counts**. Each
 * saved change carries a digest of the entry that it was made on, or of there being none. Once the configuration says something
 * else of that name (a removed process has been edited, an added one has got a section of its own), the change is
 * dropped, with a line in the log. What is edited of deadlines and recovery is no such difference.
 *
 * The file is replaced in one step, before what it says is done. One that is damaged is put aside, and one entry of it that
 * makes no sense is passed over: neither keeps the supervisor from starting.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { dirname } from 'node:path';
import type { Config } from '../config.ts';
import { makeSmall, readSmall, removeSmall } from '../daemon/small-file.ts';
import { QueueError, quote } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { canonical } from './changes.ts';
import type { ProcessSpec } from './shape.ts';
import { MOST_INSTANCES, checkProcess, inputOf, type ProcessInput } from './spec.ts';

/** A process as it should be. */
export interface Desired {
  readonly spec: ProcessSpec;
  /** `saved`: it is not in the configuration, but was added and kept. */
  readonly origin: 'configured' | 'saved';
}

/** What is kept of one process. */
type Kept =
  | { readonly of: string; readonly kept: 'removed' }
  | { readonly of: string; readonly kept: 'added'; readonly process: ProcessInput }
  | {
      readonly of: string;
      readonly kept: 'changed';
      readonly instances?: number;
      readonly autostart?: boolean;
    };

const VERSION = 1;
/** Bytes. Thousands of processes; what is larger is not ours. */
const LARGEST = 4 * 1024 * 1024;
/** The digest of no entry. */
const NONE = '';

export interface SavedOptions {
  path: string;
  /** What processes that were added do not say is in them already; relative paths there are none. */
  config: Config;
  /** Is told what was wrong with the file, and each change that is dropped. Must not throw. */
  onTrouble: (why: string) => void;
}

export class SavedChanges {
  readonly #options: SavedOptions;
  readonly #changes = new Map<string, Kept>();
  /** Digests of what the configuration says, by name. */
  #configured = new Map<string, string>();

  /** Reads what is kept. Never throws for the file's sake. */
  constructor(options: SavedOptions) {
    this.#options = options;
    try {
      const text = readSmall(options.path, LARGEST);
      if (text !== undefined) this.#read(text);
    } catch (error) {
      if (!(error instanceof QueueError)) throw error;
      this.#trouble(`${error.message}; what was saved does not hold`);
      this.#putAside();
    }
  }

  /**
   * The processes as they should be: those of the configuration, in order, with what was changed of them; then those that
   * were added. What the configuration has overtaken is dropped, and told.
   */
  over(configured: readonly ProcessSpec[]): Desired[] {
    this.#configured = new Map(configured.map((spec) => [spec.name, digestOf(spec)]));
    const overtaken = [...this.#changes].filter(([name, { of }]) => of !== this.#digest(name));
    for (const [name, { kept }] of overtaken) {
      this.#changes.delete(name);
      // One that is removed there too is what was wanted.
      if (kept === 'removed' && !this.#configured.has(name)) continue;
      const why = 'is dropped, for the configuration says something else by now';
      this.#trouble(`process ${quote(name)}: that it was ${kept} ${why}`);
    }
    if (overtaken.length > 0) this.#tryToWrite();
    const desired: Desired[] = [];
    for (const spec of configured) {
      const change = this.#changes.get(spec.name);
      if (!change) desired.push({ spec, origin: 'configured' });
      else if (change.kept === 'changed') desired.push({ spec: changed(spec, change), origin: 'configured' });
    }
    for (const [name, change] of this.#changes) {
      const spec = change.kept === 'added' ? this.#checked(name, change.process) : undefined;
      if (spec) desired.push({ spec, origin: 'saved' });
    }
    return desired;
  }

  /** It has been written when this returns, as with the others. Errors: STORAGE_FAILED, STORAGE_FULL: it has not, and nothing is kept. */
  added(spec: ProcessSpec): void {
    this.#keep(spec.name, { of: this.#digest(spec.name), kept: 'added', process: inputOf(spec) });
  }

  removed(name: string): void {
    const of = this.#digest(name);
    this.#keep(name, of === NONE ? undefined : { of, kept: 'removed' });
  }

  /** @param spec as it is now. */
  changed(spec: ProcessSpec, change: { instances?: number; autostart?: boolean }): void {
    const { name } = spec;
    const of = this.#digest(name);
    const before = this.#changes.get(name);
    // One that is not in the configuration, or was put in the place of what is there.
    if (of === NONE || before?.kept === 'added') {
      this.#keep(name, { of, kept: 'added', process: inputOf(changed(spec, change)) });
    } else {
      this.#keep(name, { ...(before?.kept === 'changed' && before), ...change, of, kept: 'changed' });
    }
  }

  #digest(name: string): string {
    return this.#configured.get(name) ?? NONE;
  }

  #keep(name: string, change: Kept | undefined): void {
    const before = this.#changes.get(name);
    if (change) this.#changes.set(name, change);
    else if (!this.#changes.delete(name)) return;
    try {
      this.#write();
    } catch (error) {
      if (before) this.#changes.set(name, before);
      else this.#changes.delete(name);
      throw error;
    }
  }

  #checked(name: string, process: ProcessInput): ProcessSpec | undefined {
    const { config, path } = this.#options;
    try {
      return checkProcess(process, { config, folder: dirname(path) });
    } catch (error) {
      this.#trouble(
        `process ${quote(name)} was added and kept, but is none by now: ${(error as Error).message}`,
      );
      return undefined;
    }
  }

  #read(text: string): void {
    const { path } = this.#options;
    const parsed = parsedJson(text);
    if (!isRecord(parsed) || !isRecord(parsed['changes'])) throw unreadable(path, quote(text));
    if (parsed['version'] !== VERSION)
      throw unreadable(path, `one of version ${quote(parsed['version'])}, this Coda has ${VERSION}`);
    for (const [name, change] of Object.entries(parsed['changes'])) {
      if (isKept(name, change)) this.#changes.set(name, change);
      else
        this.#trouble(
          `${quote(path, 300)}: ${quote(name)} makes no sense, and is passed over: ${quote(change)}`,
        );
    }
  }

  /** Its evidence is kept, and the next change has a file of its own. */
  #putAside(): void {
    const { path } = this.#options;
    try {
      fs.renameSync(path, `${path}.damaged`);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT') this.#trouble(`${quote(path, 300)} cannot be put aside: ${code}`);
    }
  }

  #tryToWrite(): void {
    try {
      this.#write();
    } catch (error) {
      this.#trouble((error as Error).message);
    }
  }

  /** Errors: STORAGE_FAILED, STORAGE_FULL. */
  #write(): void {
    const { path } = this.#options;
    const draft = `${path}.draft`;
    const changes = Object.fromEntries(this.#changes);
    const text = `${JSON.stringify({ version: VERSION, changes }, null, 2)}\n`;
    try {
      if (text.length > LARGEST)
        throw Object.assign(new Error('too large'), { code: `more than ${LARGEST} bytes` });
      makeFolder(dirname(path));
      removeSmall(draft);
      makeSmall(draft, text, { synced: true });
      fs.renameSync(draft, path);
      syncFolder(dirname(path));
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      const full = code === 'ENOSPC' || code === 'EDQUOT';
      throw new QueueError(
        full ? 'STORAGE_FULL' : 'STORAGE_FAILED',
        `the change cannot be kept in ${quote(path, 300)}: ${code}`,
        { path, cause },
      );
    }
  }

  #trouble(why: string): void {
    this.#options.onTrouble(why);
  }
}

/** What a process is, and how many: what a change of it was made on. */
function digestOf({
  kind,
  target,
  args,
  params,
  queue,
  instances,
  autoscale,
  autostart,
}: ProcessSpec): string {
  const text = canonical([kind, target, args, params, queue, instances, autoscale, autostart]);
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

function changed(
  spec: ProcessSpec,
  { instances, autostart }: { instances?: number; autostart?: boolean },
): ProcessSpec {
  return Object.freeze({
    ...spec,
    ...(instances !== undefined && { instances }),
    ...(autostart !== undefined && { autostart }),
  });
}

function isKept(name: string, value: unknown): value is Kept {
  if (!isRecord(value) || typeof value['of'] !== 'string') return false;
  const { kept, process, instances, autostart } = value;
  if (kept === 'removed') return true;
  if (kept === 'added') return isRecord(process) && process['name'] === name;
  const isCount = instances === undefined || isInstances(instances);
  return kept === 'changed' && isCount && (autostart === undefined || typeof autostart === 'boolean');
}

function isInstances(value: unknown): boolean {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MOST_INSTANCES;
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function unreadable(path: string, found: string): QueueError {
  return new QueueError(
    'STORAGE_FAILED',
    `expected changes that were saved at ${quote(path, 300)}, found ${found}`,
    {
      path,
    },
  );
}

/** The name too is to survive a power cut. Windows has no such sync. */
function syncFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const fd = fs.openSync(folder, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}
