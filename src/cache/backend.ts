/** The file backend: queues are folders below `cacheRoot`. Nothing to install, nothing to run beside it. */
import type { Backend, Durability } from '../backend.ts';
import { QueueError, quote } from '../errors.ts';
import { nearest } from '../suggest.ts';
import { bear, checkFileSystem, checkFolder, holdsQueue, openRoot, probe } from './folder.ts';
import { storageError } from './files.ts';
import { Journal } from './journal.ts';
import { nodePorts } from './node-ports.ts';
import type { FileSystem, Ports } from './ports.ts';
import { CacheQueue } from './queue.ts';

export interface CacheOptions {
  cacheRoot: string;
  durability: Durability;
  /** Milliseconds between flushes under `interval`. */
  syncInterval: number;
  fileMode: number;
  keepOutcomes: number;
  /** Deaths of its worker after which a message goes to *failed*. */
  crashLimit: number;
  /** Bytes of its own records at which a segment is sealed. */
  segmentBytes?: number;
  ports?: Ports;
}

/** Measured: larger segments make opening slower, smaller ones more heads. */
const SEGMENT_BYTES = 8 * 1024 * 1024;
const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;

/** Errors: STORAGE_UNSUPPORTED, STORAGE_FAILED. */
export async function openCache(options: CacheOptions): Promise<Backend> {
  const ports = options.ports ?? nodePorts;
  let root: string;
  try {
    root = await openRoot(ports, options.cacheRoot);
  } catch (error) {
    throw storageError(error, 'opening cacheRoot', '', options.cacheRoot);
  }
  return new CacheBackend(options, ports, root);
}

class CacheBackend implements Backend {
  readonly #options: CacheOptions;
  readonly #ports: Ports;
  readonly #root: string;
  readonly #open = new Set<CacheQueue>();
  #lastError: QueueError | undefined;
  #probed = false;

  constructor(options: CacheOptions, ports: Ports, root: string) {
    this.#options = options;
    this.#ports = ports;
    this.#root = root;
  }

  async create(name: string, options: Parameters<Backend['create']>[1]): Promise<boolean> {
    return this.#guarded('creating the queue', name, async () => {
      this.#probe();
      const { fileMode } = this.#options;
      if (await bear(this.#ports, { root: this.#root, name, options, fileMode })) return true;
      checkFolder(this.#ports.fs, this.#folder(name), name);
      // Its maker may not have come to this yet.
      await this.#ports.fs.syncFolder(this.#root);
      return this.#withJournal(name, async (journal) => {
        // The control records say so: no need to read the rest.
        if (journal.state.id === '' || journal.state.seal) {
          if (await this.#createAnew(journal, options)) return true;
        }
        // Whoever has created it anew may not have come to flushing that.
        await journal.flush();
        return false;
      });
    });
  }

  /** A folder whose queue was destroyed is used again, under a new id: its numbers go on. */
  #createAnew(journal: Journal, options: Parameters<Backend['create']>[1]): Promise<boolean> {
    const { random } = this.#ports;
    return new Promise((resolve, failed) => {
      journal.submit({
        purpose: 'other',
        synced: true,
        current: true,
        draft: (state) => {
          if (state.id === '') {
            const json = JSON.stringify({ options, attributes: {} });
            return { op: { op: 'create', ctl: 1, id: random.hex(16) }, json };
          }
          resolve(false);
          return undefined;
        },
        done: (effect) => resolve(effect.kind === 'changed'),
        failed,
      });
    });
  }

  async destroy(name: string): Promise<boolean> {
    return this.#guarded('destroying the queue', name, async () => {
      if (!checkFolder(this.#ports.fs, this.#folder(name), name)) return false;
      const destroyed = await this.#withJournal(name, (journal) => journal.destroy());
      if (destroyed) await this.#tidy(name);
      return destroyed;
    });
  }

  /** What a destroyed queue held is let go now: nobody may ever create it again. Where that cannot be, it goes later. */
  async #tidy(name: string): Promise<void> {
    try {
      await this.#withJournal(name, (journal) => journal.tidy());
    } catch (error) {
      const reported = storageError(error, 'tidying up', name, this.#folder(name));
      // Else another has created it, and destroyed it again.
      if (reported.code !== 'QUEUE_DESTROYED') this.#lastError = reported;
    }
  }

  async exists(name: string): Promise<boolean> {
    return this.#guarded('looking for the queue', name, async () => {
      const folder = this.#folder(name);
      return checkFolder(this.#ports.fs, folder, name) && holdsQueue(this.#ports.fs, folder);
    });
  }

  async list(): Promise<string[]> {
    return this.#guarded('listing the queues', '', async () => {
      const { fs } = this.#ports;
      const names = fs
        .list(this.#root)
        .filter((name) => NAME.test(name) && fs.kind(this.#folder(name)) === 'folder');
      return names.filter((name) => mayHoldQueue(fs, this.#folder(name))).sort();
    });
  }

  async open(name: string): Promise<CacheQueue> {
    return this.#guarded('opening the queue', name, async () => {
      if (!checkFolder(this.#ports.fs, this.#folder(name), name)) throw await this.#notFound(name);
      this.#probe();
      const journal = await this.#openJournal(name);
      if (journal.state.id === '') {
        try {
          // Refuses where it may only not be known.
          await journal.refresh();
          throw await this.#notFound(name);
        } finally {
          await journal.close();
        }
      }
      const queue = new CacheQueue(name, journal, this.#options.crashLimit, () => this.#open.delete(queue));
      this.#open.add(queue);
      return queue;
    });
  }

  lastError(): QueueError | undefined {
    return this.#lastError;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open].map((queue) => queue.close()));
  }

  #folder(name: string): string {
    return `${this.#root}/${name}`;
  }

  #probe(): void {
    if (this.#probed) return;
    probe(this.#ports, this.#root);
    this.#probed = true;
  }

  async #openJournal(name: string): Promise<Journal> {
    const { durability, syncInterval, keepOutcomes, segmentBytes = SEGMENT_BYTES } = this.#options;
    const folder = this.#folder(name);
    checkFileSystem(this.#ports.fs, folder, name);
    const report = (error: QueueError): void => void (this.#lastError = error);
    const options = {
      ports: this.#ports,
      queue: name,
      folder,
      durability,
      syncInterval,
      keepOutcomes,
      segmentBytes,
      report,
    };
    for (;;) {
      try {
        return await Journal.open(options);
      } catch (error) {
        // Destroyed while it was being opened: what stands there now is what was asked for.
        if (!(error instanceof QueueError) || error.code !== 'QUEUE_DESTROYED') throw error;
      }
    }
  }

  async #withJournal<T>(name: string, use: (journal: Journal) => Promise<T>): Promise<T> {
    const journal = await this.#openJournal(name);
    try {
      return await use(journal);
    } finally {
      await journal.close();
    }
  }

  async #notFound(name: string): Promise<QueueError> {
    const near = nearest(name, await this.list());
    const hint = near === undefined ? '' : `; did you mean ${quote(near)}?`;
    return new QueueError('QUEUE_NOT_FOUND', `there is no queue named ${quote(name)}${hint}`, {
      queue: name,
      path: this.#root,
    });
  }

  async #guarded<T>(doing: string, name: string, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      throw storageError(error, doing, name, name === '' ? this.#root : this.#folder(name));
    }
  }
}

/** What cannot be read is listed: opening it says what is wrong, and the others are not hidden by it. */
function mayHoldQueue(fs: FileSystem, folder: string): boolean {
  try {
    return holdsQueue(fs, folder);
  } catch {
    return true;
  }
}
