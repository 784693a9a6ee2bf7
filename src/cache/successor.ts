/**
 * The next segment in the making: a temporary file that has the owner of the present one and room for its head before that
 * is sealed, and the head behind the seal. Several handles may each make one; which of them counts, the log says (`rotation.ts`).
 */
import { QueueError } from '../errors.ts';
import { breathe } from './breath.ts';
import { chooseCarried, rescue, type Load } from './carried.ts';
import { errorCode, isFull, removeSpent, storageError, takeOwner, temporaryName } from './files.ts';
import { writeHead } from './head.ts';
import type { Log } from './log.ts';
import { Batch, Tally } from './record.ts';
import { allFlushed } from './syncer.ts';

/** A head is written in parts of at most this size. */
const PART_BYTES = 1024 * 1024;
/** What a head grows by what others write before the seal, about. */
const SPARE_BYTES = 16 * 1024;

/** A temporary file, by what tells its name from others. */
export interface Temporary {
  random: string;
  path: string;
}

export class Successor {
  readonly #log: Log;
  #file: (Temporary & { fd: number }) | undefined;
  #mayBeMade = true;

  constructor(log: Log) {
    this.#log = log;
  }

  /** False when this process may not give a successor the owner of its predecessor: then others must seal. */
  get mayBeMade(): boolean {
    return this.#mayBeMade;
  }

  get isPrepared(): boolean {
    return this.#file !== undefined;
  }

  /**
   * Makes the file, with room for the head; does nothing when that is done. Errors: STORAGE_FAILED, when it may not be made; those
   * of the system; ENOSPC, too, when the head would have more than `most` bytes.
   */
  async prepare(useReserve: boolean, most = Infinity): Promise<void> {
    if (this.#file) return;
    const log = this.#log;
    const { fs, random } = log.options.ports;
    const name = random.hex(8);
    const path = `${log.options.folder}/${temporaryName(log.state.segment + 1, name)}`;
    const model = fs.stat(log.fd);
    const fd = fs.open(path, 'create', 0o600);
    try {
      takeOwner(fs, fd, model);
      await this.#reserveRoom(fd, useReserve, most);
    } catch (error) {
      fs.close(fd);
      removeSpent(fs, path);
      if (errorCode(error) !== 'EPERM') throw error;
      this.#mayBeMade = false;
      throw this.#notOurs();
    }
    this.#file = { random: name, path, fd };
  }

  /** A full disk must not leave a seal without a successor: the head's room is taken before. */
  async #reserveRoom(fd: number, useReserve: boolean, most: number): Promise<void> {
    const head = new Tally();
    // What moves into it does so only where there is more than enough room.
    await this.#writeHead(head, undefined);
    if (head.length > most) throw Object.assign(new Error('the next head is too large'), { code: 'ENOSPC' });
    const zeros = Buffer.alloc(16 * 1024);
    await this.#fill(fd, head.length + SPARE_BYTES, () => zeros, useReserve);
  }

  async #writeHead(batch: Batch | Tally, load: Load | undefined): Promise<void> {
    const log = this.#log;
    const { state, space, options } = log;
    const { clock } = options.ports;
    for (const table of state.tables.values()) if (!table.runsKnown) await log.readTable(table);
    const source = {
      state,
      seal: state.seal,
      load,
      gone: this.#gone(),
      // How past messages ended is not worth the room when there is none.
      outcomes: !space.inNeed(),
      now: clock.now(),
    };
    await writeHead(batch, state.segment + 1, source, clock);
  }

  #notOurs(): QueueError {
    const { path, options } = this.#log;
    const text = 'this account may not give the next segment the owner of the last one';
    return new QueueError('STORAGE_FAILED', text, { queue: options.queue, path });
  }

  /**
   * Writes the head of the state at the seal. Resolves with the finished file when that is on the device, and the sealed segment
   * with it; it is not this object's any more. Errors: STORAGE_FULL, STORAGE_FAILED.
   */
  async write(): Promise<Temporary> {
    const log = this.#log;
    const { ports, folder, queue } = log.options;
    const { fs } = ports;
    await this.prepare(true);
    const { random, path, fd } = this.#file!;
    const batch = new Batch();
    await this.#writeHead(batch, this.#load());
    try {
      const part = (from: number): Uint8Array =>
        batch.buffer.subarray(from, Math.min(from + PART_BYTES, batch.length));
      await this.#fill(fd, batch.length, part, true);
      fs.truncate(fd, batch.length);
      // Pages reach the disk in any order: a note that is there after a power cut must not name a head that knows more.
      await allFlushed([fs.sync(fd), fs.syncFolder(folder), log.synced()]);
    } catch (error) {
      // Not to be tried again with the same file: after a failed flush its pages may be gone.
      this.abandon();
      throw storageError(error, 'writing the next head', queue, path);
    }
    fs.close(fd);
    this.#file = undefined;
    return { random, path };
  }

  #load(): Load | undefined {
    const { state, contents, options, space } = this.#log;
    if (state.seal?.why === 'sync') return rescue(state, contents);
    if (state.seal?.why === 'destroy' || space.inNeed()) return undefined;
    return chooseCarried(state, contents, options.segmentBytes);
  }

  /** Writers known dead whose claims are all over need not be remembered. */
  #gone(): Set<string> {
    const { state, options } = this.#log;
    const holding = new Set([...state.claimed].map((at) => state.touched.get(at)?.lease?.writer));
    const gone = new Set<string>();
    for (const [w, { who }] of state.writers) {
      // One of an earlier start of the machine, should it live on somewhere, introduces itself anew.
      const stranger = who.boot !== options.ports.processes.self().boot;
      if (!holding.has(w) && (stranger || options.ports.processes.isKnownDead(who))) gone.add(w);
    }
    return gone;
  }

  /** Writes so many bytes, in parts, others running in between; the reserve is freed for them at most once. */
  async #fill(
    fd: number,
    length: number,
    part: (from: number) => Uint8Array,
    useReserve: boolean,
  ): Promise<void> {
    const { options, space } = this.#log;
    const { fs, clock } = options.ports;
    let mayFree = useReserve;
    for (let written = 0; written < length;) {
      const bytes = part(written);
      try {
        const n = fs.write(fd, bytes, 0, bytes.length, written);
        if (n === 0) throw Object.assign(new Error('nothing written'), { code: 'ENOSPC' });
        written += n;
      } catch (error) {
        // A quota may be used up where there is room.
        if (!isFull(error) || !mayFree || !space.freeReserve()) throw error;
        mayFree = false;
      }
      await breathe(clock);
    }
  }

  /** Lets the file go: it was made for the successor of this segment and no other. */
  abandon(): void {
    if (!this.#file) return;
    const { fs } = this.#log.options.ports;
    fs.close(this.#file.fd);
    removeSpent(fs, this.#file.path);
    this.#file = undefined;
  }
}
