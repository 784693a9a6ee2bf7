/**
 * The segment that is written to, and the state that its records have led to. Records go out in batches, `O_APPEND`;
 * the file is then read up to the end of the batch and every record on the way applied in the order of the file. When
 * nobody else wrote in between, they are applied without being read. One caller at a time: see `journal.ts`.
 */
import type { Durability } from '../backend.ts';
import { QueueError } from '../errors.ts';
import type { Json } from '../message.ts';
import { Contents, toMessage } from './contents.ts';
import {
  Behind,
  isGone,
  FileScanner,
  isFull,
  newestSegment,
  segmentName,
  storageError,
  syncName,
  type FileVisitor,
} from './files.ts';
import { decodeOwn, isTime } from './header.ts';
import { CONTROL, type Operation } from './operations.ts';
import { AddReader } from './add-reader.ts';
import type { Ports } from './ports.ts';
import { readTable } from './read-table.ts';
import { Batch, encodeHeader, lineChecksum, parsePayload } from './record.ts';
import { Space } from './space.ts';
import type { Damage, Effect, Header, QueueState } from './state.ts';
import { allFlushed, Syncer } from './syncer.ts';
import type { SegmentTable } from './table.ts';

/** A folder that others have put in the place of this one is noticed after so long. */
const LOOK_MS = 1000;

const NEWLINE = Buffer.from('\n');

export interface LogOptions {
  ports: Ports;
  queue: string;
  folder: string;
  durability: Durability;
  /** Milliseconds between flushes under `interval`. */
  syncInterval: number;
  keepOutcomes: number;
  /** A segment is sealed when its own records reach this, or four times its head. */
  segmentBytes: number;
  /** Told of what goes wrong outside any call: damaged records, a failed flush, states that differ. */
  report: (error: QueueError) => void;
}

export interface Draft {
  op: Operation;
  /** The payload as JSON text. */
  json?: string;
}

/** A record of the batch in the making, or just written. `tag` is its submitter's. */
export interface InFlight<Tag> {
  tag: Tag | undefined;
  /** Among the records of its submission. */
  index: number;
  header: Header;
  json: string | undefined;
  start: number;
  length: number;
  headerLength: number;
  /** What it has done, once it has been met in the log before any seal. */
  effect: Effect | undefined;
  /** Where it was met. */
  offset: number;
}

export class Log<Tag = unknown> implements FileVisitor {
  readonly options: LogOptions;
  readonly contents: Contents;
  readonly space: Space;
  /** Names this handle in its records: 64 random bits. */
  readonly writer: string;
  /** Set by whoever opens a segment (`loading.ts`), before anything else is done. */
  state!: QueueState;
  syncer!: Syncer;
  fd = -1;
  /** Where the segment's own records begin, and up to where they have been applied. */
  headEnd = 0;
  applied = 0;
  /** Whether the state is the whole one. A mere producer does without: it only looks for control records. */
  whole = false;
  /** Something was met that a seal may have been lost in. */
  suspicious = false;
  flight: InFlight<Tag>[] = [];
  /** Why the last write did not go through whole. */
  writeError: Error | undefined;

  readonly #scanner: FileScanner;
  readonly #batch = new Batch();
  readonly #control = Buffer.from(CONTROL);
  readonly #own: Buffer;
  /** The bytes of `writer`. */
  readonly #writerBytes: Buffer;
  /** An add that nobody here waits for, as it is met. */
  readonly #adds = new AddReader();
  /** Records of this writer in this segment so far; those in flight included. */
  #records = 0;
  /** The file that the numbers of those in flight were given for. */
  #numbersOf = -1;
  #saidSynced = 0;
  /** Whether the name of the queue's folder, and the one that it found the segment by, are known to be on the device. */
  #named = false;
  /** Of the batch in the making. */
  #time = 0;
  /** Up to where the file is known to reach. */
  #reach = 0;
  #lookedAt = -Infinity;
  /** Segments that were left and are still being flushed. */
  readonly #left = new Set<Promise<void>>();
  /** Damage that was met last, and may turn out to be what a restart of the machine has cost. */
  #untold: Damage | undefined;

  constructor(options: LogOptions) {
    this.options = options;
    const { fs, random } = options.ports;
    this.contents = new Contents(fs, options.folder);
    this.space = new Space(options, () => this.headEnd);
    this.writer = random.hex(8);
    // Without the first quote, as `CONTROL`.
    this.#own = Buffer.from(`w":"${this.writer}"`);
    this.#writerBytes = Buffer.from(this.writer);
    this.#scanner = new FileScanner(fs);
  }

  get path(): string {
    return `${this.options.folder}/${segmentName(this.state.segment)}`;
  }

  /** From now on `fd` is the segment that is written to; its head reaches to `headEnd` and is on the device. */
  enter(fd: number, headEnd: number): void {
    this.headEnd = headEnd;
    this.applied = headEnd;
    this.suspicious = false;
    // The same file, with a whole state instead of a light one: this writer's numbers and flushes go on.
    if (this.fd === fd) return;
    this.contents.close();
    if (this.fd >= 0) this.#leave(this.fd);
    this.fd = fd;
    this.#records = 0;
    this.#saidSynced = 0;
    this.#reach = headEnd;
    const { clock } = this.options.ports;
    this.syncer = new Syncer(
      () => this.#flush(fd),
      clock,
      headEnd,
      () => this.#reach,
    );
  }

  /** Flushes of the old segment are under way; its waiters are answered by them. */
  #leave(old: number): void {
    const { ports, queue, report } = this.options;
    const { path } = this;
    const left = this.syncer
      .idle()
      .then(() => ports.fs.close(old))
      .catch((error: unknown) => report(storageError(error, 'closing a segment', queue, path)))
      .finally(() => this.#left.delete(left));
    this.#left.add(left);
  }

  /**
   * The first flush of this handle puts the queue's own name on the device, too: its maker may not have come to that.
   * Here and not on opening, it is side by side with another flush: about 80 µs more, once.
   */
  async #flush(fd: number): Promise<void> {
    const { ports, folder } = this.options;
    if (this.#named) return ports.fs.sync(fd);
    const names = [syncName(ports.fs, folder), ports.fs.syncFolder(folder)];
    await allFlushed([ports.fs.sync(fd), ...names]);
    this.#named = true;
  }

  /** Resolves when no file is open any more: not before flushes of segments that were left are done. */
  async close(): Promise<void> {
    this.contents.end();
    if (this.fd >= 0) this.options.ports.fs.close(this.fd);
    this.fd = -1;
    await Promise.all(this.#left);
  }

  /** Resolves when all that is known to be in the segment is on the device; rejects with what went wrong. */
  synced(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.syncer.wait(this.applied, (error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  // --- Writing --------------------------------------------------------------------------------------------------

  /** Bytes of the batch in the making. */
  get batched(): number {
    return this.#batch.length;
  }

  begin(): void {
    this.#batch.clear();
    this.flight = [];
    this.#numbersOf = this.fd;
    const now = this.options.ports.clock.now();
    // A clock that has been tampered with must not make a record that nobody can read.
    this.#time = isTime(now) ? now : 0;
  }

  /** Adds a record to the batch. */
  append(draft: Draft, tag?: Tag, index = 0): void {
    // The draft's own object: copying it would cost more than writing it.
    const header = draft.op as Header;
    header.w = this.writer;
    header.n = ++this.#records;
    header.t = this.#time;
    header.s = header.op === 'seal' ? this.syncer.synced : undefined;
    if (this.flight.length === 0 && this.syncer.synced > this.#saidSynced) {
      this.#saidSynced = header.s = this.syncer.synced;
    }
    const text = encodeHeader(header);
    const start = this.#batch.add(text, draft.json);
    const length = this.#batch.length - 1 - start;
    this.flight.push({
      tag,
      index,
      header,
      json: draft.json,
      start,
      length,
      headerLength: text.length,
      effect: undefined,
      offset: 0,
    });
  }

  /**
   * Writes the batch. A short write is a full disk: what is whole in the log has happened.
   * @param useReserve whether the reserve may be freed for it.
   */
  write(useReserve: boolean): void {
    const { fs } = this.options.ports;
    const { buffer, length } = this.#batch;
    for (let attempt = 0; ; attempt++) {
      this.writeError = undefined;
      try {
        const written = fs.write(this.fd, buffer, 0, length);
        this.space.wrote(written);
        if (written < length) this.writeError = this.#whyShort(written);
        return;
      } catch (error) {
        this.writeError = error instanceof Error ? error : new Error(String(error));
        if (!isFull(error) || !useReserve || attempt > 0 || !this.space.freeReserve()) return;
      }
    }
  }

  /** A short write does not say what has cut it off. The next one does, were it only the newline that ends the torn line. */
  #whyShort(written: number): Error {
    // In the place of a record's last byte, with the next write's newline behind it, it would look as if that byte had rotted.
    const lacksOneByte = this.flight.some(({ start, length }) => start + length - 1 === written);
    try {
      if (!lacksOneByte) this.options.ports.fs.write(this.fd, NEWLINE, 0, 1);
      return Object.assign(new Error('short write'), { code: 'ENOSPC' });
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  /** Applies the batch from memory when the file has grown by just what was written; else false. */
  applyBatch(): boolean {
    if (this.writeError !== undefined) return false;
    const { size, links } = this.options.ports.fs.stat(this.fd);
    if (links === 0 || size !== this.applied + this.#batch.length) return false;
    if (!this.#keepsItsName()) return false;
    const { buffer } = this.#batch;
    let json: string | undefined;
    const payload = (): Json => parsePayload(json ?? '');
    for (const record of this.flight) {
      const { header, start, length, headerLength } = record;
      json = record.json;
      this.#tellDamage(header.op === 'boot');
      const offset = this.applied + start;
      const checksum = header.op === 'seal' ? lineChecksum(buffer, start) : '';
      this.#happened(record, offset, this.#apply(header, offset, length, headerLength, checksum, payload));
    }
    this.applied = this.#reach = size;
    return true;
  }

  /** Takes the records out of flight: those that are in the log, and those that are not. Numbers are given anew. */
  land(): { landed: InFlight<Tag>[]; missing: InFlight<Tag>[] } {
    const landed = this.flight.filter(({ effect }) => effect !== undefined);
    const missing = this.flight.filter(({ effect }) => effect === undefined);
    this.#records -= missing.length;
    this.flight = [];
    return { landed, missing };
  }

  /** Whoever waits for those in flight has been told of an error: what has come of them nobody knows, until `landForsaken`. */
  forsake(): void {
    const isHere = this.#numbersOf === this.fd;
    this.flight = isHere ? this.flight.map((record) => ({ ...record, tag: undefined })) : [];
  }

  /** Reads on past those that were forsaken: the numbers of what is not there are given again, and no others. */
  async landForsaken(): Promise<void> {
    await this.catchUp();
    this.land();
  }

  /** Writes one record by itself and reads the log up to it: for seals and notes. False: it came behind a seal. */
  async appendNow(op: Operation): Promise<boolean> {
    for (let attempt = 0; ; attempt++) {
      this.begin();
      this.append({ op });
      this.write(true);
      await this.catchUp();
      const { landed } = this.land();
      if (landed.length > 0) return true;
      const error = this.writeError;
      if (error === undefined) break;
      // A full disk may have taken the beginning: that is torn, and the rest has room in the reserve.
      if (!isFull(error) || attempt > 0 || !this.space.freeReserve()) throw error;
    }
    // Behind a seal it has no effect, but its number is used up.
    this.#records++;
    return false;
  }

  // --- Reading --------------------------------------------------------------------------------------------------

  /** Applies at most one chunk of what has been written since; true when there is no more. */
  step(): boolean {
    const { size, links } = this.options.ports.fs.stat(this.fd);
    this.#reach = Math.max(this.#reach, size);
    if (size < this.applied || (links === 0 && !this.state.seal)) this.suspicious = true;
    this.#keepsItsName();
    if (size <= this.applied) return true;
    const next = this.whole
      ? this.#scanner.chunk(this.fd, this.applied, size, this)
      : this.#scanner.sift(this.fd, this.applied, size, this.#needles(), this);
    this.#adds.forget();
    // The rest is the beginning of a line: a write under way, or one that was cut off.
    const unfinished = next === this.applied;
    this.applied = next;
    return unfinished || next >= size;
  }

  /** Looked at once a second: who moves a folder leaves its files their names. */
  #keepsItsName(): boolean {
    const now = this.options.ports.clock.monotonic();
    if (this.state.seal || now - this.#lookedAt < LOOK_MS) return true;
    this.#lookedAt = now;
    const keeps = this.inPlace();
    if (!keeps) this.suspicious = true;
    return keeps;
  }

  /** Whether the folder still holds the file that this handle writes to, under its name. */
  inPlace(): boolean {
    const { fs } = this.options.ports;
    try {
      const fd = fs.open(this.path, 'read');
      try {
        return fs.stat(fd).inode === fs.stat(this.fd).inode;
      } finally {
        fs.close(fd);
      }
    } catch (error) {
      // What cannot be looked at may well be there.
      return !isGone(error);
    }
  }

  async catchUp(): Promise<void> {
    while (!this.step()) await this.options.ports.clock.yield();
  }

  record(buffer: Buffer, start: number, end: number, headerLength: number, offset: number): void {
    const add = this.#adds;
    if (this.whole && add.read(buffer, start, end, headerLength) && !this.#awaits(add)) {
      this.#tellDamage(false);
      const known = this.state.damage.length;
      this.state.applyAdd(add, { offset, length: end - start, headerLength });
      this.#hearOfDamage(known);
      return;
    }
    const decoded = decodeOwn(buffer, start, end, headerLength);
    if (!decoded) return this.bad(buffer, start, end, 'rot', offset);
    const { header, payload } = decoded;
    this.#tellDamage(header.op === 'boot');
    const sealed = this.state.seal !== undefined;
    const checksum = header.op === 'seal' ? lineChecksum(buffer, start) : '';
    const effect = this.#apply(header, offset, end - start, headerLength, checksum, () => payload);
    // A note without the seal that it names: was the seal damaged?
    if (header.op === 'next' && !sealed) this.suspicious = true;
    if (header.w !== this.writer || sealed) return;
    const first = this.flight[0];
    const own = first && this.flight[header.n - first.header.n];
    if (own) this.#happened(own, offset, effect);
  }

  /** Whether it may be one of those in flight. */
  #awaits(add: AddReader): boolean {
    return this.flight.length > 0 && add.isBy(this.#writerBytes);
  }

  #happened(own: InFlight<Tag>, offset: number, effect: Effect): void {
    own.offset = offset;
    own.effect = effect;
    if (effect.kind !== 'duplicate') return;
    // Now, before what follows in the log ends it.
    const { state, contents, options } = this;
    try {
      const stored = contents.read(state, effect.at);
      effect.message = stored && toMessage(stored, state, options.ports.clock.now());
    } catch {
      // Who asked looks again. Here the rest must be applied: what has been, would be once more when it is read anew.
    }
  }

  bad(buffer: Buffer, start: number, end: number, kind: 'torn' | 'rot', offset: number): void {
    if (kind === 'torn') return;
    this.#tellDamage(false);
    const zeros = buffer.subarray(start, end).includes(0);
    this.#untold = this.state.noteRot(offset, offset + end - start, zeros);
    // What follows may show that it is none.
    if (!zeros) this.#tellDamage(false);
    this.suspicious = true;
  }

  #tellDamage(restarted: boolean): void {
    const damage = this.#untold;
    this.#untold = undefined;
    if (damage && !restarted) this.#report(damage);
  }

  #apply(
    h: Header,
    offset: number,
    length: number,
    headerLength: number,
    checksum: string,
    payload: () => Json,
  ): Effect {
    const { state } = this;
    if (!this.whole) return state.applyControl(h, offset, checksum, payload);
    const known = state.damage.length;
    const effect = state.apply(h, offset, length, headerLength, checksum, payload);
    this.#hearOfDamage(known);
    return effect;
  }

  /** What has been applied may have shown that records are missing; so many damages were known before. */
  #hearOfDamage(known: number): void {
    if (this.state.damage.length > known) this.#untold = this.state.damage.at(-1);
  }

  #needles(): Buffer[] {
    return this.flight.length > 0 ? [this.#control, this.#own] : [this.#control];
  }

  noteDamage(segment: number, from: number, to: number): void {
    if (this.state.knowsOf({ segment, from, to })) return;
    this.state.damage.push({ segment, from, to });
    this.#report({ segment, from, to });
  }

  #report({ segment, from, to }: Damage): void {
    const { queue, folder, report } = this.options;
    const file = segmentName(segment);
    const what =
      from < to
        ? `bytes ${from} to ${to} of ${file} are damaged and were passed over`
        : `records of ${file} are missing, or do not stand where they were written`;
    const text = `${what}; see queue verify`;
    report(new QueueError('JOURNAL_CORRUPT', text, { queue, path: `${folder}/${file}` }));
  }

  /**
   * Reads where the messages of an older segment lie. Errors: Behind, when the segment is gone because its messages
   * are; where it is gone without reason, its messages are lost, and reported.
   */
  async readTable(table: SegmentTable, state = this.state): Promise<void> {
    const { ports, folder, queue } = this.options;
    const path = `${folder}/${segmentName(table.segment)}`;
    let damage: [number, number][];
    try {
      damage = await readTable({
        ports,
        scanner: this.#scanner,
        folder,
        state,
        table,
        writes: true,
      });
    } catch (error) {
      if (!isGone(error)) throw storageError(error, 'reading an older segment', queue, path);
      if (newestSegment(ports.fs, folder) > state.segment)
        throw new Behind(`${segmentName(table.segment)} is not there`);
      const lost = table.fresh;
      table.finishReading();
      state.counts.ready -= lost;
      damage = [[0, 0]];
    }
    const { segment } = table;
    for (const each of state.unknownOf(damage.map(([from, to]) => ({ segment, from, to })))) {
      state.damage.push(each);
      state.untold = true;
      this.#report(each);
    }
  }
}

/** Between 0 and 1, differently for each writer. */
export function jitterOf(writer: string): number {
  return Number.parseInt(writer.slice(0, 4), 16) / 0xffff;
}
