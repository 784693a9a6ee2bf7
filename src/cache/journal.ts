/**
 * One handle on a queue's log: append, read back, answer.
 *
 * All that is submitted in one tick goes out in one write; the log is then read up to the end of that write, every
 * record on the way applied to the state, and each submission is answered by what its own record did. When nobody
 * else wrote in between, the records are applied without being read. Everything that touches the file or the state
 * happens inside `#pump`, one thing at a time, so no step sees another half done.
 */
import type { Durability } from '../backend.ts';
import { QueueError } from '../errors.ts';
import type { Json } from '../message.ts';
import { Contents } from './contents.ts';
import { FileScanner, isFull, listSegments, segmentName, storageError, type FileVisitor } from './files.ts';
import { checkVersion, loadHead, recount } from './head.ts';
import { CONTROL, type HeadRecord, type HeadStart, type Operation } from './operations.ts';
import type { Ports } from './ports.ts';
import { asciiJson, Batch, headerText, lineChecksum, parsePayload, payloadText } from './record.ts';
import { Rotation } from './rotation.ts';
import { Space } from './space.ts';
import { QueueState, type Effect, type Header } from './state.ts';
import { Syncer } from './syncer.ts';
import { readTable } from './read-table.ts';
import { SegmentTable } from './table.ts';

/** A write is at most about this long, unless one record is longer. */
const WRITE_BYTES = 1024 * 1024;

export interface JournalOptions {
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

/** Work that must not overlap with any other on the journal: reading a table, or whatever the function does. */
export type Obstacle = SegmentTable | (() => Promise<void>);

/** Something a caller wants written. */
export interface Submission {
  /** Adds are refused when space runs low; what ends messages may use the reserve. */
  readonly purpose: 'add' | 'settle' | 'other';
  /** Whether, under `always`, the answer waits for the device. */
  readonly synced: boolean;
  /** Whether what others have written meanwhile must be known before `draft` is called. */
  readonly current: boolean;
  /** Whether the control records suffice to answer it; everything else needs the whole state. */
  readonly light?: boolean;
  /** A claim: the writer must be known to those who may have to judge whether it lives. */
  readonly registers?: boolean;
  /**
   * The record to write; undefined when there is none (the submission has answered its caller); or what has to be
   * done first, after which it is asked again. `picked`: positions named by others in the same write.
   */
  draft(state: QueueState, picked: Set<number>): Draft | Obstacle | undefined;
  /** @param time when the record was written, by the wall clock. */
  done(effect: Effect, time: number): void;
  failed(error: QueueError): void;
}

interface InFlight {
  submission: Submission | undefined;
  header: Header;
  json: string | undefined;
  start: number;
  length: number;
  headerLength: number;
  effect: Effect | undefined;
}

export class Journal implements FileVisitor {
  readonly options: JournalOptions;
  readonly contents: Contents;
  readonly writer: string;
  readonly #scanner: FileScanner;
  readonly #batch = new Batch();
  readonly #space: Space;
  readonly #rotation: Rotation;
  state!: QueueState;
  /** The segment that is written to. */
  fd = -1;
  /** Where its own records begin, and up to where they have been applied. */
  headEnd = 0;
  applied = 0;
  syncer!: Syncer;
  /** Whether the state is the whole one. A mere producer does without: it only looks for control records. */
  whole = false;
  /** Why this handle cannot be used any more. */
  dead: QueueError | undefined;

  #pending: Submission[] = [];
  #flight: InFlight[] = [];
  #firstInFlight = 0;
  #records = 0;
  #saidSynced = 0;
  #scheduled = false;
  #pumping = false;
  #cancelInterval: (() => void) | undefined;
  #writeError: unknown;
  /** Adds wait for space that an early seal will free. */
  #reclaim = false;
  /** A damaged line was met: the seal may have been in it. */
  suspicious = false;
  #idle: (() => void)[] = [];
  /** Up to where the file is known to reach. */
  #reach = 0;
  readonly #control = Buffer.from(CONTROL);
  readonly #own: Buffer;

  private constructor(options: JournalOptions) {
    this.options = options;
    const { fs, random } = options.ports;
    this.contents = new Contents(fs, options.folder);
    this.#scanner = new FileScanner(fs);
    this.writer = random.hex(8);
    this.#own = Buffer.from(`"w":"${this.writer}"`);
    this.#space = new Space(options);
    this.#rotation = new Rotation(this, this.#space);
  }

  /** Opens the newest segment and reads its control records; the rest when it is needed. Errors: QUEUE_NOT_FOUND, JOURNAL_NEWER, JOURNAL_CORRUPT, STORAGE_FAILED. */
  static async open(options: JournalOptions): Promise<Journal> {
    const journal = new Journal(options);
    try {
      await journal.#load();
      await journal.catchUp();
      if (journal.state.seal) await journal.refresh();
    } catch (error) {
      journal.#release();
      throw journal.#typed(error, 'opening the journal');
    }
    return journal;
  }

  /** Hands a record in; it is written at the end of this tick. */
  submit(submission: Submission): void {
    if (this.dead) {
      submission.failed(this.dead);
      return;
    }
    this.#pending.push(submission);
    if (this.#scheduled || this.#pumping) return;
    this.#scheduled = true;
    process.nextTick(() => void this.#pump());
  }

  /** Resolves when everything that was in the log at the time of the call has been applied. */
  refresh(): Promise<void> {
    return new Promise((resolve, failed) => {
      const draft = (): undefined => {
        resolve();
      };
      this.submit({ purpose: 'other', synced: false, current: true, draft, done: () => resolve(), failed });
    });
  }

  /** Ends the queue. False: it had been ended by another. After it this handle is dead. */
  destroy(): Promise<boolean> {
    let won = false;
    return new Promise((resolve, reject) => {
      this.submit({
        purpose: 'settle',
        synced: true,
        current: true,
        draft: (state) => {
          if (state.id !== '') return () => this.#rotation.seal('destroy', () => (won = true));
          resolve(false);
          return undefined;
        },
        done: () => resolve(won),
        failed: (error) => (error.code === 'QUEUE_DESTROYED' ? resolve(won) : reject(error)),
      });
    });
  }

  /** Resolves when the table has been read: between two writes, so that no record is applied meanwhile. */
  read(table: SegmentTable): Promise<void> {
    return new Promise((resolve, failed) => {
      const draft = (): SegmentTable | undefined => {
        if (!table.read) return table;
        resolve();
        return undefined;
      };
      this.submit({ purpose: 'other', synced: false, current: false, draft, done: () => resolve(), failed });
    });
  }

  /** Finishes what was submitted, flushes as the durability says, and lets the files go. */
  async close(): Promise<void> {
    this.dead ??= new QueueError('CLOSED', 'this manager has been closed', { queue: this.options.queue });
    if (this.#pending.length > 0 || this.#pumping) await new Promise<void>((resolve) => this.#idle.push(resolve));
    if (this.#cancelInterval) {
      this.#cancelInterval();
      await new Promise<void>((resolve) => this.syncer.wait(this.applied, () => resolve()));
    }
    await this.syncer.idle();
    this.#release();
  }

  #release(): void {
    this.#cancelInterval?.();
    this.contents.close();
    if (this.fd >= 0) this.options.ports.fs.close(this.fd);
    this.fd = -1;
  }

  // --- The pump -------------------------------------------------------------------------------------------------

  async #pump(): Promise<void> {
    this.#scheduled = false;
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#pending.length > 0) {
      try {
        const obstacle = this.#turn();
        if (obstacle) await obstacle();
      } catch (error) {
        this.#failAll(this.#typed(error, 'working on the journal'));
      }
    }
    this.#pumping = false;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Writes what is pending, or returns what must be done first (or next) and takes longer. */
  #turn(): (() => Promise<void>) | undefined {
    if (this.syncer.failed) return () => this.#giveUp();
    if (this.suspicious) return () => this.#rotation.checkForSuccessor();
    if (!this.whole && this.#pending.some((submission) => !submission.light)) return () => this.makeWhole();
    if (this.state.seal) return () => this.#rotation.follow();
    if (this.#pending.some((submission) => submission.current)) {
      if (!this.step()) return () => this.catchUp();
      if (this.state.seal || this.suspicious) return undefined;
    }
    const obstacle = this.#draftAll();
    if (this.#flight.length > 0) {
      this.#write();
      if (!this.#appliedWithoutReading() && !this.step()) {
        return async () => {
          await this.catchUp();
          this.#answer();
        };
      }
      this.#answer();
      const why = this.#rotation.due();
      return why && (() => this.#rotation.seal(why));
    }
    if (this.#reclaim) return () => this.#rotation.seal('space');
    return obstacle instanceof SegmentTable ? () => this.readTable(obstacle) : obstacle;
  }

  #draftAll(): Obstacle | undefined {
    const batch = this.#batch;
    batch.clear();
    this.#flight = [];
    this.#firstInFlight = this.#records + 1;
    const picked = new Set<number>();
    let obstacle: Obstacle | undefined;
    let count = 0;
    this.#reclaim = false;
    for (const submission of this.#pending) {
      if (batch.length >= WRITE_BYTES) break;
      const refusal = submission.purpose === 'add' ? this.#space.refusal(batch.length) : undefined;
      if (refusal) {
        if (!this.whole) {
          obstacle = () => this.makeWhole();
          break;
        }
        this.#reclaim = this.#rotation.reclaims();
        if (this.#reclaim) break;
        count++;
        submission.failed(refusal);
        continue;
      }
      const draft = submission.draft(this.state, picked);
      if (draft instanceof SegmentTable || typeof draft === 'function') {
        obstacle = draft;
        break;
      }
      count++;
      if (!draft) continue;
      this.#introduce(submission.registers === true);
      this.append(draft, submission);
    }
    this.#pending.splice(0, count);
    return obstacle;
  }

  /** What others must know of this writer before its record, if they do not know it yet. */
  #introduce(registers: boolean): void {
    const { ports, durability } = this.options;
    if (this.#flight.length === 0) {
      const self = ports.processes.self();
      if (this.state.boot !== self.boot && self.boot !== '') this.append({ op: { op: 'boot', ctl: 1, id: self.boot } });
    }
    if (!registers && durability === 'always') return;
    if (this.state.writers.has(this.writer) || this.#flight.some(({ header }) => header.op === 'writer')) return;
    this.append({ op: { op: 'writer', who: ports.processes.self(), dur: durability } });
  }

  /** Adds a record to the write in the making. */
  append(draft: Draft, submission?: Submission): void {
    const n = ++this.#records;
    const t = this.options.ports.clock.now();
    const { op } = draft;
    const header = { ...op, w: this.writer, n, t } as Header;
    if (this.#flight.length === 0 && this.syncer.synced > this.#saidSynced) {
      this.#saidSynced = header.s = this.syncer.synced;
    }
    const text = asciiJson(header);
    const start = this.#batch.add(text, draft.json);
    const length = this.#batch.length - 1 - start;
    this.#flight.push({ submission, header, json: draft.json, start, length, headerLength: text.length, effect: undefined });
  }

  /** Writes one record by itself and reads the log up to it: for seals and notes. False: it came behind a seal. */
  async appendNow(op: Operation): Promise<boolean> {
    this.#batch.clear();
    this.#flight = [];
    this.#firstInFlight = this.#records + 1;
    this.append({ op });
    this.#write();
    await this.catchUp();
    const effective = this.#flight[0]?.effect !== undefined;
    this.#flight = [];
    if (this.#writeError === undefined) return effective;
    this.#records = this.#firstInFlight - 1;
    throw this.#writeError;
  }

  #write(): void {
    const { fs } = this.options.ports;
    const { buffer, length } = this.#batch;
    this.#writeError = undefined;
    const settles = this.#flight.some(({ submission }) => submission?.purpose !== 'add');
    for (let attempt = 0; ; attempt++) {
      try {
        const written = fs.write(this.fd, buffer, 0, length);
        this.#space.wrote(written);
        // A short write is a full disk; what is whole in the log has happened, the rest is drafted again.
        if (written < length) this.#writeError = Object.assign(new Error('short write'), { code: 'ENOSPC' });
        return;
      } catch (error) {
        this.#writeError = error;
        if (!isFull(error) || !settles || attempt > 0 || !this.#space.freeReserve()) return;
        this.#writeError = undefined;
      }
    }
  }

  /** When the file has grown by just what was written, nobody else's records lie in between. */
  #appliedWithoutReading(): boolean {
    if (this.#writeError !== undefined) return false;
    const { size, links } = this.options.ports.fs.stat(this.fd);
    if (links === 0 || size !== this.applied + this.#batch.length) return false;
    const base = this.applied;
    const { buffer } = this.#batch;
    for (const record of this.#flight) {
      const { header, json, start, length, headerLength } = record;
      const checksum = lineChecksum(buffer, start);
      const payload = (): Json => parsePayload(json ?? '');
      record.effect = this.whole
        ? this.state.apply(header, base + start, length, headerLength, checksum, payload)
        : this.state.applyControl(header, base + start, checksum, payload);
    }
    this.applied = this.#reach = size;
    return true;
  }

  /** Answers what has come of the records in flight; those that are not in the log go back in line. */
  #answer(): void {
    const flight = this.#flight;
    this.#flight = [];
    const landed = flight.filter(({ effect }) => effect !== undefined);
    this.#records = this.#firstInFlight + landed.length - 1;
    const missing = flight.filter(({ effect }) => effect === undefined).flatMap(({ submission }) => submission ?? []);
    if (missing.length > 0) this.#again(missing, landed.length > 0);
    const { durability } = this.options;
    const waiting: InFlight[] = [];
    for (const record of landed) {
      if (durability === 'always' && record.submission?.synced) waiting.push(record);
      else record.submission?.done(record.effect!, record.header.t);
    }
    if (waiting.length > 0) this.#answerWhenSynced(waiting);
    if (durability === 'interval' && landed.length > 0) this.#syncSoon();
  }

  #answerWhenSynced(records: readonly InFlight[]): void {
    this.syncer.wait(this.applied, (error) => {
      for (const { submission, effect, header } of records) {
        if (error === undefined) submission!.done(effect!, header.t);
        else submission!.failed(storageError(error, 'flushing the journal to the device', this.options.queue, this.path));
      }
      if (error !== undefined) this.submit(this.#wakeUp());
    });
  }

  /** After a seal, or a write cut short: the submissions are drafted anew, in their order. */
  #again(submissions: Submission[], progress: boolean): void {
    const error = this.#writeError;
    if (this.state.seal || this.suspicious || (isFull(error) && progress)) {
      this.#pending.unshift(...submissions);
      return;
    }
    const { queue } = this.options;
    const retry = isFull(error) && this.#space.freeReserve();
    for (const submission of submissions) {
      if (retry && submission.purpose !== 'add') this.#pending.push(submission);
      else {
        const cause = error ?? new Error('the record is not in the file after it was written');
        submission.failed(storageError(cause, 'writing to the journal', queue, this.path));
      }
    }
  }

  #syncSoon(): void {
    this.#cancelInterval ??= this.options.ports.clock.timer(this.options.syncInterval, () => {
      this.#cancelInterval = undefined;
      this.syncer.wait(this.applied, (error) => {
        if (error === undefined) return;
        this.options.report(storageError(error, 'flushing the journal to the device', this.options.queue, this.path));
        this.submit(this.#wakeUp());
      });
    });
  }

  /** A submission that only makes the pump look at the state of things. */
  #wakeUp(): Submission {
    return { purpose: 'other', synced: false, current: false, draft: () => undefined, done() {}, failed() {} };
  }

  /** A flush has failed: say in the log up to where the device is known to be sound, and let others go on. */
  async #giveUp(): Promise<void> {
    const dead = new QueueError('STORAGE_FAILED', 'a flush to the device failed; reopen the queue to go on', {
      queue: this.options.queue,
      path: this.path,
    });
    try {
      if (!this.state.seal) await this.appendNow({ op: 'seal', ctl: 1, why: 'sync', s: this.syncer.synced });
    } catch (error) {
      this.options.report(this.#typed(error, 'sealing the journal after a failed flush'));
    }
    this.options.report(dead);
    this.#failAll(dead, true);
  }

  #failAll(error: QueueError, forEver = false): void {
    if (forEver || error.code === 'QUEUE_DESTROYED') this.dead = error;
    const failed = [...this.#flight.flatMap(({ submission }) => submission ?? []), ...this.#pending];
    this.#flight = [];
    this.#pending = [];
    if (failed.length === 0) this.options.report(error);
    for (const submission of failed) submission.failed(error);
  }

  // --- Reading ---------------------------------------------------------------------------------------------------

  get path(): string {
    return `${this.options.folder}/${segmentName(this.state.segment)}`;
  }

  /** Applies at most one chunk of what has been written since; true when there is no more. */
  step(): boolean {
    const { fs } = this.options.ports;
    const { size, links } = fs.stat(this.fd);
    this.#reach = Math.max(this.#reach, size);
    if (size > this.applied) {
      const next = this.whole
        ? this.#scanner.chunk(this.fd, this.applied, size, this)
        : this.#scanner.sift(this.fd, this.applied, size, this.#needles(), this);
      const tornTail = next === this.applied;
      this.applied = next;
      if (!tornTail && next < size) return false;
    } else if (size < this.applied) this.suspicious = true;
    if (links === 0 && !this.state.seal) this.suspicious = true;
    return true;
  }

  async catchUp(): Promise<void> {
    while (!this.step()) await this.options.ports.clock.yield();
  }

  record(buffer: Buffer, start: number, end: number, headerLength: number, offset: number): void {
    const header = JSON.parse(headerText(buffer, start, headerLength)) as Header;
    const sealed = this.state.seal !== undefined;
    const checksum = lineChecksum(buffer, start);
    const payload = (): Json => parsePayload(payloadText(buffer, start, end, headerLength));
    const effect = this.whole
      ? this.state.apply(header, offset, end - start, headerLength, checksum, payload)
      : this.state.applyControl(header, offset, checksum, payload);
    // A note without the seal that it names: was the seal damaged?
    if (header.op === 'next' && !sealed) this.suspicious = true;
    if (header.w !== this.writer || sealed) return;
    const own = this.#flight[header.n - this.#firstInFlight];
    if (own) own.effect = effect;
  }

  #needles(): Buffer[] {
    return this.#flight.length > 0 ? [this.#control, this.#own] : [this.#control];
  }

  bad(_buffer: Buffer, start: number, end: number, kind: 'torn' | 'rot', offset: number): void {
    if (kind === 'torn') return;
    this.noteDamage(this.state.segment, offset, offset + end - start);
    this.suspicious = true;
  }

  noteDamage(segment: number, from: number, to: number): void {
    const { damage } = this.state;
    if (damage.some((known) => known.segment === segment && known.from <= from && known.to >= to)) return;
    damage.push({ segment, from, to });
    const path = `${this.options.folder}/${segmentName(segment)}`;
    const { queue } = this.options;
    const text = `bytes ${from} to ${to} of ${segmentName(segment)} are damaged and were passed over; see queue verify`;
    this.options.report(new QueueError('JOURNAL_CORRUPT', text, { queue, path }));
  }

  /** Reads where the messages of an older segment lie. */
  async readTable(table: SegmentTable): Promise<void> {
    const { ports, folder, queue } = this.options;
    const path = `${folder}/${segmentName(table.segment)}`;
    let damage: [number, number][];
    try {
      damage = await readTable({ ports, scanner: this.#scanner, path, state: this.state, table });
    } catch (error) {
      throw storageError(error, 'reading an older segment', queue, path);
    }
    for (const [from, to] of damage) this.noteDamage(table.segment, from, to);
  }

  // --- Loading ---------------------------------------------------------------------------------------------------

  async #load(): Promise<void> {
    const { fs } = this.options.ports;
    for (let attempt = 0; ; attempt++) {
      const newest = this.#newestSegment();
      const path = `${this.options.folder}/${segmentName(newest)}`;
      let fd: number;
      try {
        fd = fs.open(path, 'append');
      } catch (error) {
        // Deleted since it was listed: there is a newer one.
        if ((error as NodeJS.ErrnoException).code === 'ENOENT' && attempt < 100) continue;
        throw error;
      }
      try {
        if (await this.enterLightly(fd, newest)) return;
        await this.#rotation.rebuildHead(fd, newest);
        return;
      } catch (error) {
        if (this.fd !== fd) fs.close(fd);
        throw error;
      }
    }
  }

  #newestSegment(): number {
    const { fs } = this.options.ports;
    // A listing of a folder that is being changed may miss names: ask again before believing that there is nothing.
    for (let attempt = 0; attempt < 5; attempt++) {
      const newest = listSegments(fs, this.options.folder).at(-1);
      if (newest !== undefined) return newest;
    }
    const { queue, folder } = this.options;
    throw new QueueError('JOURNAL_CORRUPT', `the queue's folder holds no segment (expected ${segmentName(1)} or a later one)`, {
      queue,
      path: folder,
    });
  }

  /** Goes on in the open file with no more than its control records. False: its head cannot be read so. */
  async enterLightly(fd: number, segment: number): Promise<boolean> {
    const { ports, keepOutcomes } = this.options;
    const state = new QueueState(segment, keepOutcomes);
    const path = `${this.options.folder}/${segmentName(segment)}`;
    let begun = false;
    let headEnd = 0;
    const { size } = ports.fs.stat(fd);
    const visitor: Pick<FileVisitor, 'record'> = {
      record: (buffer, start, end, headerLength, offset) => {
        // What follows the head is applied later, in its turn.
        if (headEnd > 0) return;
        const header = JSON.parse(headerText(buffer, start, headerLength)) as HeadStart | HeadRecord;
        if (header.op === 'ready') headEnd = offset + end - start + 1;
        if (header.op !== 'head' || header.segment !== segment) return;
        begun = true;
        checkVersion(header, path);
        state.applyControl(header, offset, '', () => parsePayload(payloadText(buffer, start, end, headerLength)));
      },
    };
    for (let at = 0; at < size && headEnd === 0; ) {
      const next = this.#scanner.sift(fd, at, size, [this.#control], visitor);
      if (next === at) break;
      at = next;
      await ports.clock.yield();
    }
    if (headEnd === 0 || !begun) return false;
    this.state = state;
    this.whole = false;
    this.enter(fd, headEnd);
    return true;
  }

  /** Builds the whole state: from the head of the present segment, or its predecessor, and all that follows. */
  async makeWhole(): Promise<void> {
    const { fs } = this.options.ports;
    const { segment } = this.state;
    const loaded = loadHead(fs, this.fd, segment, this.options.keepOutcomes, this.path);
    if (loaded) await this.adopt(this.fd, loaded.state, loaded.end);
    else await this.#rotation.rebuildHead(fs.open(this.path, 'append'), segment);
    await this.catchUp();
  }

  /** Goes on from a loaded state, in the open file `fd`. */
  async adopt(fd: number, state: QueueState, headEnd: number): Promise<void> {
    this.state = state;
    this.whole = true;
    for (const table of [...state.tables.values()]) {
      if (!table.read && (table.special > 0 || state.needsTables)) await this.readTable(table);
    }
    recount(state);
    this.enter(fd, headEnd);
  }

  /** From now on `fd` is the segment that is written to; its head reaches to `headEnd` and is on the device. */
  enter(fd: number, headEnd: number): void {
    const { fs } = this.options.ports;
    this.headEnd = headEnd;
    this.applied = headEnd;
    this.suspicious = false;
    // The same file, with a whole state instead of a light one: this writer's numbers and flushes go on.
    if (this.fd === fd) return;
    if (this.fd >= 0) {
      const old = this.fd;
      // Flushes of the old segment are under way; its waiters are answered by them.
      void this.syncer.idle().then(() => fs.close(old));
    }
    this.fd = fd;
    this.#records = 0;
    this.#saidSynced = 0;
    this.#reach = headEnd;
    this.syncer = new Syncer(fs, fd, headEnd, () => this.#reach);
  }

  #typed(error: unknown, doing: string): QueueError {
    return storageError(error, doing, this.options.queue, this.options.folder);
  }
}
