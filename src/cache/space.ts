/**
 * A full disk stops producers, never consumers: adds are refused below a floor of free space, and each queue keeps a
 * reserve of written zeros that is freed only for records that end messages, for heads and for notes.
 */
import { QueueError } from '../errors.ts';
import { RESERVE, sizeOf, takeOwner } from './files.ts';
import type { FileStat, FileSystem, Ports } from './ports.ts';

/** Room for the three small segments and heads that draining goes through when nothing else is left. */
const RESERVE_BYTES = 1024 * 1024;
/** Below this much free space, and room for two heads, adds are refused: for the reserve again, and for what other writers have in hand. */
const FLOOR_BYTES = 2 * 1024 * 1024;
/** Free space is looked at again after a part of it was written, or this much time has passed. */
const LEAST_LOOK_BYTES = 16 * 1024;
const MOST_LOOK_BYTES = 8 * 1024 * 1024;
const LOOK_MS = 1000;

interface SpaceOptions {
  ports: Ports;
  queue: string;
  folder: string;
}

export class Space {
  readonly #options: SpaceOptions;
  readonly #headBytes: () => number;
  #free = Infinity;
  #sinceLook = Infinity;
  #lookedAt = -Infinity;

  /** @param headBytes tells how long the present head is: the next one will be about as long. */
  constructor(options: SpaceOptions, headBytes: () => number) {
    this.#options = options;
    this.#headBytes = headBytes;
  }

  wrote(bytes: number): void {
    this.#sinceLook += bytes;
  }

  /** Why an add may not be written now that makes the batch `batch` bytes long. */
  refusal(batch: number): QueueError | undefined {
    const free = this.#look(batch);
    const floor = this.#floor;
    if (free >= floor) return undefined;
    const { queue, folder } = this.#options;
    const text = `adds need ${floor} bytes of free space, so that consumers can go on; there are ${Math.max(free, 0)}`;
    return new QueueError('STORAGE_FULL', text, { queue, path: folder });
  }

  /** Whether space is so short that segments should be sealed early. */
  inNeed(): boolean {
    return this.#look(0) < this.#floor;
  }

  /** Bytes that consumers have for settles and heads: what is free, and the reserve. */
  get room(): number {
    const { ports, folder } = this.#options;
    return ports.fs.space(folder).free + sizeOf(ports.fs, `${folder}/${RESERVE}`);
  }

  get #floor(): number {
    return FLOOR_BYTES + 2 * this.#headBytes();
  }

  /** True when there is room now; false also when that cannot be told. */
  freeReserve(): boolean {
    this.#lookedAt = -Infinity;
    const { fs } = this.#options.ports;
    const path = `${this.#options.folder}/${RESERVE}`;
    empty(fs, path);
    try {
      fs.remove(path);
      return true;
    } catch {
      // Another may just have freed it: then there is room now.
    }
    try {
      return this.#look(0) > 0;
    } catch {
      return false;
    }
  }

  /** Writes the reserve anew when it is not there, or not whole, and there is enough space: see `writeReserve`. */
  async restoreReserve(like: FileStat): Promise<void> {
    this.#lookedAt = -Infinity;
    await writeReserve(this.#options.ports.fs, this.#options.folder, like);
  }

  #look(more: number): number {
    const { fs, clock } = this.#options.ports;
    const now = clock.monotonic();
    // What runs short is watched closely.
    const span = Math.min(Math.max(this.#free / 256, LEAST_LOOK_BYTES), MOST_LOOK_BYTES);
    if (this.#sinceLook + more >= span || now - this.#lookedAt >= LOOK_MS) {
      this.#free = fs.space(this.#options.folder).free;
      this.#sinceLook = 0;
      this.#lookedAt = now;
    }
    return this.#free - this.#sinceLook - more;
  }
}

/**
 * Written, not punched, and flushed: a hole, or what a power cut has emptied, would promise space that may be gone. Does
 * nothing where it is whole, nor where there is little space: that is for the consumers of the queues that are there. Its name is
 * not flushed. What goes wrong is of no consequence now; the next rotation tries again.
 * @param like of a segment: who may write to that may empty the reserve.
 */
export async function writeReserve(fs: FileSystem, folder: string, like: FileStat): Promise<void> {
  const path = `${folder}/${RESERVE}`;
  try {
    const isThere = fs.kind(path) !== undefined;
    if (isThere && sizeOf(fs, path) >= RESERVE_BYTES) return;
    if (fs.space(folder).free < FLOOR_BYTES + RESERVE_BYTES) return;
    if (isThere) fs.remove(path);
    const fd = fs.open(path, 'create', 0o600);
    try {
      takeOwner(fs, fd, like);
      const zeros = Buffer.alloc(64 * 1024);
      for (let left = RESERVE_BYTES; left > 0; left -= zeros.length) {
        // Whoever has stood still must not take what a consumer of another queue has freed meanwhile.
        if (fs.space(folder).free < FLOOR_BYTES + left) break;
        fs.write(fd, zeros, 0, zeros.length);
      }
      await fs.sync(fd);
    } finally {
      fs.close(fd);
    }
  } catch {
    // No room for it, or another is writing it.
  }
}

/** Whoever is writing it has it open: then its removal alone would free nothing yet. */
function empty(fs: FileSystem, path: string): void {
  try {
    const fd = fs.open(path, 'append');
    try {
      fs.truncate(fd, 0);
    } finally {
      fs.close(fd);
    }
  } catch {
    // Not there, or not for this account to open.
  }
}
