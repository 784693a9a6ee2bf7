/**
 * One handle on a queue's log: append, read back, answer.
 *
 * All that is submitted in one tick goes out in one write; the log is then read up to the end of that write, and each
 * submission is answered by what its own record did. Everything that touches the file or the state happens inside
 * `#pump`, one thing at a time, so no step sees another half done.
 */
import { QueueError } from '../errors.ts';
import { isBreathless } from './breath.ts';
import { Behind, isFull, storageError } from './files.ts';
import { loadNewest, makeWhole } from './loading.ts';
import { Log, type Draft, type InFlight, type LogOptions } from './log.ts';
import { Rotation } from './rotation.ts';
import type { QueueState } from './state.ts';
import {
  looksFirst,
  mayUseReserve,
  needsWhole,
  unfinished,
  type Obstacle,
  type Submission,
} from './submission.ts';
import { SegmentTable } from './table.ts';

/** Offsets have 32 bits: adds are refused beyond this, should nobody be allowed to seal. */
const LARGEST_SEGMENT = 3 * 2 ** 30;
/** Spent space that is worth a seal by itself: this part of a segment. */
const IDLE_PART = 8;
/**
 * So much that is not on the device yet is flushed without anybody waiting for it: this part of a segment; by who has written this
 * part of that itself since it last did, so that many writers do not all flush, nor who opens a queue for a few messages.
 */
const AHEAD_PART = 8;
/** A write is at most about this long, unless one record is longer. */
const WRITE_BYTES = 1024 * 1024;

interface Landing {
  landed: InFlight<Submission>[];
  missing: InFlight<Submission>[];
}

export class Journal {
  readonly log: Log<Submission>;
  readonly #rotation: Rotation;
  /** Why this handle cannot be used any more. */
  dead: QueueError | undefined;

  #pending: Submission[] = [];
  #scheduled = false;
  #pumping = false;
  #cancelInterval: (() => void) | undefined;
  /** Adds wait for space that an early seal will free. */
  #reclaim = false;
  /** Space has run short: what others have freed meanwhile must be known before an add is refused. */
  #short = false;
  /** The reserve has just been freed for what is pending: what is refused then is not helped by room, as where a quota is used up. */
  #eased = false;
  /** Others have moved on and deleted what this handle was about to read. */
  #behind = false;
  /** A flush has failed, and that has been said. */
  #gaveUp = false;
  /** Bytes since the last flush ahead. */
  #written = 0;
  /** Answers to those whose flush has failed. */
  #doomed: (() => void)[] = [];
  #idle: (() => void)[] = [];

  private constructor(options: LogOptions) {
    this.log = new Log(options);
    this.#rotation = new Rotation(this.log);
  }

  /** Opens the newest segment and reads its control records; the rest when it is needed. Errors: QUEUE_DESTROYED, JOURNAL_NEWER, JOURNAL_CORRUPT, STORAGE_FAILED. */
  static async open(options: LogOptions): Promise<Journal> {
    const journal = new Journal(options);
    try {
      await loadNewest(journal.log);
      await journal.log.catchUp();
      if (journal.state.seal) await journal.refresh();
    } catch (error) {
      // It may have begun to make the next segment.
      journal.#rotation.close();
      await journal.log.close();
      throw journal.#typed(error, 'opening the journal');
    }
    return journal;
  }

  get state(): QueueState {
    return this.log.state;
  }
  get options(): LogOptions {
    return this.log.options;
  }

  /** Hands a record in; it is written at the end of this tick. */
  submit(submission: Submission): void {
    if (this.dead) {
      submission.failed(this.dead);
      return;
    }
    this.#pending.push(submission);
    this.#wake();
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

  /** Resolves when, under `always`, all that this handle has read is on the device, whoever wrote it. Errors: STORAGE_FAILED. */
  flush(): Promise<void> {
    if (this.options.durability !== 'always') return Promise.resolve();
    // The next turn says in the log that a flush has failed, and refuses what was asked.
    return this.log.synced().catch(() => this.refresh());
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

  /** Seals the segment when that lets much spent space go; for a handle that has nothing else to do. */
  tidy(): Promise<void> {
    return new Promise((resolve, failed) => {
      const draft = (): Obstacle | undefined => {
        if (this.#rotation.reclaims(this.options.segmentBytes / IDLE_PART))
          return () => this.#rotation.seal('idle');
        resolve();
        return undefined;
      };
      this.submit({ purpose: 'other', synced: false, current: true, draft, done: () => resolve(), failed });
    });
  }

  /** Resolves when the table has been read, or is not needed any more: between two writes, so that no record is applied meanwhile. */
  read(table: SegmentTable): Promise<void> {
    return new Promise((resolve, failed) => {
      const draft = (state: QueueState): SegmentTable | undefined => {
        if (!table.read && state.tables.get(table.segment) === table) return table;
        resolve();
        return undefined;
      };
      this.submit({ purpose: 'other', synced: false, current: true, draft, done: () => resolve(), failed });
    });
  }

  /** Finishes what was submitted, flushes as the durability says, and lets the files go. That a flush has failed stands in the log by then. */
  async close(): Promise<void> {
    this.dead ??= new QueueError('CLOSED', 'this manager has been closed', { queue: this.options.queue });
    await this.#rest();
    const { log } = this;
    if (this.#cancelInterval) {
      this.#cancelInterval();
      log.syncer.wait(log.applied, (error) => error && this.#flushFailed(error));
    }
    await log.syncer.idle();
    await this.#rest();
    this.#rotation.close();
    await log.close();
  }

  // --- The pump -------------------------------------------------------------------------------------------------

  /** Has the pump look at the state of things at the end of this tick, unless it is at work. */
  #wake(): void {
    if (this.#scheduled || this.#pumping) return;
    this.#scheduled = true;
    process.nextTick(this.#tick);
  }

  /** Resolves when there is nothing to do. */
  #rest(): Promise<void> {
    return new Promise((resolve) => {
      this.#idle.push(resolve);
      this.#wake();
    });
  }

  /** One function for all ticks. */
  readonly #tick = (): void => {
    this.#scheduled = false;
    if (!this.#pumping) this.#pump();
  };

  /** Turn after turn, until nothing is pending or something takes longer: then it goes on behind that. */
  #pump(): void {
    this.#pumping = true;
    const { clock } = this.options.ports;
    // That a flush has failed is said in the log before anybody who was refused can let go of the handle.
    while (this.#pending.length > 0 || this.#doomed.length > 0 || this.#mustGiveUp) {
      // Who adds or works without ever waiting for anything else would never let anybody else run.
      if (isBreathless(clock)) return void this.#overcome(() => clock.yield());
      try {
        const obstacle = this.#turn();
        if (obstacle) return void this.#overcome(obstacle);
      } catch (error) {
        this.#stumble(error);
      }
    }
    this.#pumping = false;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  async #overcome(obstacle: () => Promise<void>): Promise<void> {
    try {
      await obstacle();
    } catch (error) {
      this.#stumble(error);
    }
    this.#pump();
  }

  #stumble(error: unknown): void {
    if (!(error instanceof Behind)) return this.#failAll(this.#typed(error, 'working on the journal'));
    this.#behind = true;
    // What was written has not been met before the segment had to be left: it is written again.
    this.#pending.unshift(...unfinished(this.log.flight, []));
    this.log.flight = [];
  }

  get #mustGiveUp(): boolean {
    return this.log.syncer.failed && !this.#gaveUp;
  }

  /** Writes what is pending, or returns what must be done first (or next) and takes longer. */
  #turn(): (() => Promise<void>) | undefined {
    const { log } = this;
    const rotation = this.#rotation;
    if (this.#mustGiveUp) return () => this.#giveUp();
    // The flush that failed was of a segment that this handle has left meanwhile.
    this.#failDoomed();
    if (this.#pending.length === 0) return undefined;
    // Written, and not read back: a number given twice, or to nothing, would look like damage.
    if (log.flight.length > 0) return () => log.landForsaken();
    if (this.#behind) {
      this.#behind = false;
      return () => rotation.reload();
    }
    if (log.suspicious) return async () => void (await rotation.checkForSuccessor());
    if (!log.whole && this.#pending.some(needsWhole)) return () => makeWhole(log);
    if (log.state.seal) return () => rotation.follow();
    if (this.#short || this.#pending.some(looksFirst)) {
      if (!log.step()) return () => log.catchUp();
      if (log.state.seal || log.suspicious) return undefined;
    }
    if (log.whole && rotation.doubtsCreation) return () => rotation.checkCreation();
    if (rotation.due() === 'damage') return () => rotation.seal('damage');
    const obstacle = this.#draftAll();
    if (log.flight.length === 0) {
      if (this.#reclaim) return () => rotation.seal('space');
      if (!obstacle) this.#eased = false;
      return obstacle instanceof SegmentTable ? () => log.readTable(obstacle) : obstacle;
    }
    log.write(log.flight.some(mayUseReserve));
    if ((!log.applyBatch() && !log.step()) || log.suspicious) return () => this.#answerLater();
    this.#answer(log.land());
    const why = rotation.due();
    if (why) return () => rotation.seal(why);
    this.#flushAhead();
    return undefined;
  }

  /** Else all of a segment would have to be flushed when it is sealed, while everybody waits for its successor. */
  #flushAhead(): void {
    const { log, options } = this;
    this.#written += log.batched;
    const part = options.segmentBytes / AHEAD_PART;
    if (this.#written < part / AHEAD_PART || log.applied - log.syncer.synced < part) return;
    this.#written = 0;
    log.syncer.ahead((error) => error && this.#flushFailed(error));
  }

  #draftAll(): Obstacle | undefined {
    const { log } = this;
    log.begin();
    const picked = new Set<number>();
    let obstacle: Obstacle | undefined;
    let count = 0;
    this.#reclaim = false;
    for (const submission of this.#pending) {
      if (log.batched >= WRITE_BYTES) break;
      if (submission.purpose === 'add' && log.applied > LARGEST_SEGMENT) {
        count++;
        submission.failed(this.#tooLarge());
        continue;
      }
      if (submission.purpose === 'add' && this.#rotation.countsAlone) {
        count++;
        submission.failed(this.#countedAlone());
        continue;
      }
      const refusal =
        submission.purpose === 'add' ? log.space.refusal(log.batched + (submission.size ?? 0)) : undefined;
      if (refusal) {
        if (!log.whole || !this.#short) {
          this.#short = true;
          obstacle = () => (log.whole ? log.catchUp() : makeWhole(log));
          break;
        }
        this.#reclaim = this.#rotation.reclaims();
        if (this.#reclaim) break;
        count++;
        submission.failed(refusal);
        continue;
      }
      const draft = submission.draft(log.state, picked);
      if (draft instanceof SegmentTable || typeof draft === 'function') {
        obstacle = draft;
        break;
      }
      count++;
      if (!draft) continue;
      this.#introduce(submission.registers === true);
      if (Array.isArray(draft)) for (let i = 0; i < draft.length; i++) log.append(draft[i], submission, i);
      else log.append(draft as Draft, submission);
    }
    this.#pending = this.#pending.slice(count);
    if (!obstacle && !this.#reclaim) this.#short = false;
    return obstacle;
  }

  /** What others must know of this writer before its record, if they do not know it yet. */
  #introduce(registers: boolean): void {
    const { log } = this;
    const { ports, durability } = this.options;
    const self = ports.processes.self();
    if (log.flight.length === 0 && log.state.boot !== self.boot && self.boot !== '') {
      log.append({ op: { op: 'boot', ctl: 1, id: self.boot } });
    }
    if (!registers && durability === 'always') return;
    if (log.state.writers.has(log.writer) || log.flight.some(({ header }) => header.op === 'writer')) return;
    log.append({ op: { op: 'writer', who: self, dur: durability } });
  }

  /** Reads on before it answers; where a seal may have been lost to rot, looks whether there was one. */
  async #answerLater(): Promise<void> {
    const { log } = this;
    await log.catchUp();
    if (!log.suspicious) return this.#answer(log.land());
    const { flight } = log;
    // To be failed, should what follows throw.
    const sealedAt = await this.#rotation.checkForSuccessor();
    if (sealedAt === undefined) return this.#answer(log.land());
    log.flight = [];
    const landed = flight.filter(({ effect, offset }) => effect !== undefined && offset < sealedAt);
    this.#pending.unshift(
      ...unfinished(
        flight.filter((record) => !landed.includes(record)),
        landed,
      ),
    );
    this.#answer({ landed, missing: [] });
  }

  /** Answers what has come of the records that were in flight; those that are not in the log go back in line. */
  #answer({ landed, missing }: Landing): void {
    if (missing.length > 0) this.#again(unfinished(missing, landed), landed.length > 0);
    else this.#eased = false;
    const { durability } = this.options;
    const waiting: InFlight<Submission>[] = [];
    for (const record of landed) {
      if (durability === 'always' && record.tag?.synced) waiting.push(record);
      else record.tag?.done(record.effect!, record.header.t, record.index);
    }
    if (waiting.length > 0) this.#answerWhenSynced(waiting);
    if (durability === 'interval' && landed.length > 0) this.#syncSoon();
  }

  #answerWhenSynced(records: readonly InFlight<Submission>[]): void {
    const { log } = this;
    log.syncer.wait(log.applied, (error) => {
      if (error === undefined) {
        for (const { tag, effect, header, index } of records) tag!.done(effect!, header.t, index);
        return;
      }
      const fail = (): void => {
        for (const { tag } of records) tag!.failed(this.#typed(error, 'flushing the journal to the device'));
      };
      // Not before the log says so: who tries again at once must not work on pages that may be gone.
      this.#doomed.push(fail);
      this.#wake();
    });
  }

  /** After a seal, or a write cut short: the submissions are drafted anew, in their order. */
  #again(submissions: Submission[], progress: boolean): void {
    const { log } = this;
    const error = log.writeError;
    if (log.state.seal || log.suspicious || (isFull(error) && progress)) {
      this.#pending.unshift(...submissions);
      return;
    }
    const ends = submissions.some(({ purpose }) => purpose !== 'add');
    const retry = ends && isFull(error) && !this.#eased && log.space.freeReserve();
    this.#eased = retry;
    const cause = error ?? new Error('the record is not in the file after it was written');
    for (const submission of submissions) {
      if (retry && submission.purpose !== 'add') this.#pending.push(submission);
      else submission.failed(this.#typed(cause, 'writing to the journal'));
    }
  }

  #syncSoon(): void {
    const { log } = this;
    this.#cancelInterval ??= this.options.ports.clock.timer(this.options.syncInterval, () => {
      this.#cancelInterval = undefined;
      log.syncer.wait(log.applied, (error) => error && this.#flushFailed(error));
    });
  }

  #flushFailed(error: Error): void {
    this.options.report(this.#typed(error, 'flushing the journal to the device'));
    this.#wake();
  }

  /** A flush has failed: say in the log up to where the device is known to be sound, and let others go on. */
  async #giveUp(): Promise<void> {
    const dead = new QueueError('STORAGE_FAILED', 'a flush to the device failed; reopen the queue to go on', {
      queue: this.options.queue,
      path: this.log.path,
    });
    this.#gaveUp = true;
    // Else the seal's number would tell of what was never there. Where that cannot be read now, better so than no seal.
    if (this.log.flight.length > 0) await this.log.landForsaken().catch(() => undefined);
    try {
      const isSealed = this.state.seal || !(await this.log.appendNow({ op: 'seal', ctl: 1, why: 'sync' }));
      // Another may just have sealed it.
      if (isSealed) await this.log.appendNow({ op: 'unsound', ctl: 1 });
    } catch (error) {
      this.options.report(this.#typed(error, 'sealing the journal after a failed flush'));
    }
    this.options.report(dead);
    this.#failAll(dead, true);
    this.#failDoomed();
  }

  #failDoomed(): void {
    for (const fail of this.#doomed.splice(0)) fail();
  }

  #failAll(error: QueueError, forEver = false): void {
    if (forEver || error.code === 'QUEUE_DESTROYED' || error.code === 'JOURNAL_NEWER') this.dead = error;
    const failed = [...this.log.flight.flatMap(({ tag }) => tag ?? []), ...this.#pending];
    this.log.forsake();
    this.#pending = [];
    if (failed.length === 0) this.options.report(error);
    for (const submission of failed) submission.failed(error);
  }

  #tooLarge(): QueueError {
    const text = `the segment has grown beyond ${LARGEST_SEGMENT} bytes: no account that uses the queue may seal it`;
    return new QueueError('STORAGE_FAILED', text, { queue: this.options.queue, path: this.log.path });
  }

  #countedAlone(): QueueError {
    const text =
      'an older segment is damaged, and this process cannot begin the next one, by which all would know; see queue verify';
    return new QueueError('STORAGE_FAILED', text, { queue: this.options.queue, path: this.log.path });
  }

  #typed(error: unknown, doing: string): QueueError {
    return storageError(error, doing, this.options.queue, this.options.folder);
  }
}
