/**
 * From one segment to the next. The log chooses the successor: after a seal, the first valid note (`next`) names the
 * temporary file that becomes the next segment. Whoever meets a sealed segment carries the change through; death at
 * any point leaves something that the next one finishes. What the folder shows is a hint, except that a segment once
 * gone stays gone.
 */
import { QueueError } from '../errors.ts';
import { errorCode, isFull, newestSegment, removeSpent, segmentName, temporaryName } from './files.ts';
import { writeIndex } from './index-file.ts';
import { loadHead, type LoadedHead } from './head.ts';
import { adopt, enterLightly, isMadeOf, makeWhole, rebuildHead } from './loading.ts';
import { jitterOf, type Log } from './log.ts';
import type { HeadStart, SealReason } from './operations.ts';
import type { Space } from './space.ts';
import { napAfter, patienceOf } from './patience.ts';
import { Spent, WORTH_BYTES } from './spent.ts';
import type { QueueState } from './state.ts';
import { Successor, type Temporary } from './successor.ts';
import { sweep } from './sweep.ts';

/** Of the size at which a segment is sealed: up to so much more, differently for each writer. */
const JITTER = 1 / 32;
/** And so much more for a handle that does not hold the state. */
const LIGHT_WAIT = 1 / 8;
/** The device is slow when a flush has taken so long, and so much waits for the next one. */
const SLOW_MS = 15;
const SLOW_BYTES = 1.25 * 1024 * 1024;
/** So much longer, in ms, is another left to it who is about to seal: nobody has to wait for that, and how long the head is it has to find out. */
const LEISURE_MS = 500;
/** For these two a segment grows by so much more at most. */
const LONGEST_WAIT = 1 / 2;

export class Rotation {
  readonly #log: Log;
  readonly #space: Space;
  readonly #spent: Spent;
  /** Writers that seal at the very same size would all make a head. */
  readonly #jitter: number;
  readonly #successor: Successor;
  /** The finished head that a note of this handle names. It is the log's from then on: not to be written to, nor removed. */
  #noted: Temporary | undefined;
  /** Offset from which on a seal is tried again, and one that can wait. */
  #nextTry = 0;
  #nextEarly = 0;
  /** Since when this handle would seal the present segment. */
  #dueSince: number | undefined;
  /** What the present segment's head says of its predecessor's seal. */
  #prev: HeadStart['prev'] = null;

  constructor(log: Log) {
    this.#log = log;
    this.#space = log.space;
    this.#spent = new Spent(log);
    this.#successor = new Successor(log);
    this.#jitter = jitterOf(log.writer) * JITTER;
  }

  close(): void {
    this.#successor.abandon();
  }

  // --- When to seal ---------------------------------------------------------------------------------------------------

  /**
   * Whether this handle should seal the segment now, and why. Not while the device is slow: behind the seal everybody waits for it,
   * before it nobody does.
   */
  due(): SealReason | undefined {
    const { headEnd, applied, options, state, syncer, whole } = this.#log;
    if (!this.#successor.mayBeMade || state.seal || applied < this.#nextTry) return undefined;
    const own = applied - headEnd;
    if (state.damage.some(({ segment }) => segment === state.segment)) return 'damage';
    // What others take for full, or for a duplicate, must not be told to be in the queue: by the next head all count alike.
    if (state.untold && state.needsWhole) return 'damage';
    if (applied < this.#nextEarly) return undefined;
    const limit = Math.max(options.segmentBytes, 4 * headEnd);
    // Who does not hold the state would have to read the segment for it: rather one of those who do.
    const patience = (whole ? 0 : LIGHT_WAIT) + this.#jitter;
    const ripeness = limit * (1 + patience);
    if (own >= ripeness) {
      const isSlow = syncer.takes >= SLOW_MS && applied - syncer.synced >= SLOW_BYTES;
      const mayGrow = own < ripeness + limit * LONGEST_WAIT;
      return mayGrow && (isSlow || this.#isAnothers(LEISURE_MS)) ? undefined : 'size';
    }
    return whole && own >= WORTH_BYTES && this.#space.inNeed() && !this.#isAnothers() ? 'space' : undefined;
  }

  /** Whether others count other messages than this handle, and it could not begin the segment by which all would count alike. */
  get countsAlone(): boolean {
    const { state } = this.#log;
    return state.untold && state.needsWhole;
  }

  /** Whether another is about to seal the segment: each who would takes the room for a head. */
  #isAnothers(leisure = 0): boolean {
    if (this.#successor.isPrepared) return false;
    const now = this.#log.options.ports.clock.monotonic();
    this.#dueSince ??= now;
    const { makers, ms } = patienceOf(this.#log);
    return makers > 0 && now - this.#dueSince < ms + leisure;
  }

  /** As of `Spent`. */
  reclaims(worth = WORTH_BYTES): boolean {
    const { state, applied } = this.#log;
    const next = Math.max(this.#nextTry, this.#nextEarly);
    if (!this.#successor.mayBeMade || state.seal || applied < next) return false;
    return this.#spent.reclaims(worth);
  }

  // --- From the seal to the next segment ------------------------------------------------------------------------------

  /**
   * Seals the segment, once the successor's file exists with room for its head; then moves on. Where that is not to
   * be had, an ordinary seal is put off; one that ends the queue fails.
   * @param onSealed called when this seal, not another's, is the one that counts.
   */
  async seal(why: SealReason, onSealed?: () => void): Promise<void> {
    const log = this.#log;
    // One that can wait puts off none for damage.
    if (why === 'damage') this.#nextTry = log.applied + WORTH_BYTES;
    else this.#nextEarly = log.applied + WORTH_BYTES;
    // A head is made of the whole state.
    if (!log.whole) await makeWhole(log);
    await this.checkCreation();
    if (!log.inPlace()) {
      log.suspicious = true;
      return;
    }
    // Where space is short, all that a seal takes until something goes with it is to be there: else it is lost to the consumers.
    const isEarly = why === 'space' || why === 'idle' || (why === 'size' && this.#space.inNeed());
    const most = isEarly ? await this.#spent.longestHead(this.#space.room) : Infinity;
    try {
      await this.#successor.prepare(why !== 'size', most);
    } catch (error) {
      // For a disk with more room, or for who may make it.
      const canWait = isFull(error) || !this.#successor.mayBeMade;
      if (canWait && why !== 'destroy') return;
      throw error;
    }
    await this.#markRestart();
    if (await log.appendNow({ op: 'seal', ctl: 1, why })) onSealed?.();
    // Another was first: the successor, and the room for it, is for that one to make.
    else this.#successor.abandon();
    await this.follow();
  }

  /** Moves on from a sealed segment: finds or makes its successor. */
  async follow(): Promise<void> {
    const log = this.#log;
    const { fs, clock } = log.options.ports;
    // Read anew, the seal may turn out to have rotted.
    for (let waited = 0; log.state.seal && log.state.successor === undefined;) {
      if (this.#isOvertaken()) return this.reload();
      const isMaking = this.#successor.isPrepared || this.#noted !== undefined;
      const nap = isMaking ? undefined : napAfter(waited, log);
      if (nap !== undefined) {
        await new Promise<void>((resolve) => void clock.timer(nap, resolve));
        waited += nap;
        await log.catchUp();
        continue;
      }
      if (log.whole) await this.#makeSuccessor();
      else await makeWhole(log);
    }
    const { state } = log;
    const { seal, successor } = state;
    if (seal === undefined || successor === undefined) return;
    const { folder } = log.options;
    const table = state.tables.get(state.segment);
    const next = state.segment + 1;
    const noted = this.#noted;
    const made = noted?.random === successor;
    this.#noted = undefined;
    this.#successor.abandon();
    // A head must never know more than the disk.
    await log.synced();
    // Not before: a power cut could take the note that came first and leave the one that names this file.
    if (noted && !made) removeSpent(fs, noted.path);
    if (!log.inPlace() && !this.#newerExists()) throw this.#displaced();
    const named = `${folder}/${segmentName(next)}`;
    try {
      // Where it is there already another has done it, perhaps by a note that has rotted since and named another file:
      // what was written to that must not be replaced.
      if (fs.kind(named) === undefined) fs.rename(`${folder}/${temporaryName(next, successor)}`, named);
    } catch (error) {
      // Already done by another.
      if (errorCode(error) !== 'ENOENT') throw error;
    }
    await fs.syncFolder(folder);
    const { id } = state;
    await this.#enter(next);
    if (made) {
      const like = fs.stat(log.fd);
      if (table && table.fresh > 0 && log.state.id === id)
        writeIndex(fs, folder, table, seal, like, (at) => log.state.aliasOf(at));
      await sweep(log);
      await this.#space.restoreReserve(like);
    }
    this.#checkQueue(id);
  }

  /** `id`: of the queue that this handle has worked on so far. Errors: QUEUE_DESTROYED. */
  #checkQueue(id: string): void {
    const { state, options } = this.#log;
    if (id === '' || state.id === id) return;
    const { queue } = options;
    throw new QueueError('QUEUE_DESTROYED', `queue ${queue} was destroyed while it was in use`, { queue });
  }

  /** Makes the head and notes it. Where only the note has failed, it is written again: it may be in the log after all. */
  async #makeSuccessor(): Promise<void> {
    const log = this.#log;
    if (!this.#noted) {
      await this.checkCreation();
      await this.#markRestart();
      const { why } = log.state.seal!;
      const made = await this.#successor.write();
      await log.catchUp();
      // A flush has failed for another meanwhile: then the head must hold what may never reach the device.
      if (log.state.seal!.why !== why) return removeSpent(log.options.ports.fs, made.path);
      this.#noted = made;
    }
    const { offset, checksum } = log.state.seal!;
    await log.appendNow({ op: 'next', ctl: 1, r: this.#noted.random, at: offset, crc: checksum });
  }

  /** This handle has slept through rotations: the newest head is the truth. */
  async reload(): Promise<void> {
    this.#successor.abandon();
    this.#noted = undefined;
    const { path, state, options } = this.#log;
    const { fs } = options.ports;
    const newest = newestSegment(fs, options.folder);
    if (newest <= state.segment) {
      const text = `the successor of ${segmentName(state.segment)} is missing`;
      throw new QueueError('JOURNAL_CORRUPT', text, { queue: options.queue, path });
    }
    // Whoever gave it its name may not have come to this.
    await fs.syncFolder(options.folder);
    const { id } = state;
    await this.#enter(newest);
    this.#checkQueue(id);
  }

  async #enter(segment: number): Promise<void> {
    const log = this.#log;
    const { ports, folder, keepOutcomes } = log.options;
    const path = `${folder}/${segmentName(segment)}`;
    let fd: number;
    try {
      fd = ports.fs.open(path, 'append');
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return this.reload();
      throw error;
    }
    this.#nextTry = 0;
    this.#nextEarly = 0;
    this.#dueSince = undefined;
    try {
      const light = log.whole ? undefined : await enterLightly(log, fd, segment);
      const loaded = light ? undefined : await loadHead(ports, fd, segment, keepOutcomes, path);
      if (loaded) await this.#goOnFrom(loaded, fd, segment);
      else if (!light) await rebuildHead(log, fd, segment);
      const start = light ?? loaded?.start;
      if (start) this.#prev = start.prev;
    } catch (error) {
      if (log.fd !== fd) ports.fs.close(fd);
      throw error;
    }
  }

  /** In the open file, with the state that this handle has where the head says the same, else with that of the head. */
  async #goOnFrom(loaded: LoadedHead, fd: number, segment: number): Promise<void> {
    const log = this.#log;
    const { state } = log;
    if (this.#agrees(loaded)) {
      state.enterSegment(segment);
      for (const { at, place, length, headerLength } of loaded.carried)
        state.carry(at, place, length, headerLength);
      log.enter(fd, loaded.end);
      return;
    }
    const { start, state: told } = loaded;
    // Who has not read on to the seal has nothing to compare.
    if (state.seal && start.prev?.segment === state.segment && start.id === state.id) {
      if (!isMadeOf(start, state)) this.#disagree(segment, told);
      // What the maker of the head has not met is to be kept as well; where there is no queue, there is nothing to keep.
      const unmet = state.id === '' ? [] : told.unknownOf(state.damage);
      for (const each of unmet) told.damage.push(each);
      told.untold = unmet.length > 0;
    }
    await adopt(log, fd, told, loaded.end);
  }

  /**
   * Whether this handle, having applied everything up to the seal, holds the state that the head holds. When only one of the two has met
   * damage in the segment that is left, contents may stand in another place for each: those that its head had carried, and that rotted.
   * Where it is in an older one, each may count other messages.
   */
  #agrees({ start, state: made }: LoadedHead): boolean {
    const { state } = this.#log;
    const allTold = (one: QueueState, other: QueueState): boolean => other.unknownOf(one.damage).length === 0;
    return start.id === state.id && isMadeOf(start, state) && allTold(state, made) && allTold(made, state);
  }

  /** Both segments are kept, for whoever wants to know why. */
  #disagree(segment: number, state: QueueState): void {
    const { queue, folder, report } = this.#log.options;
    for (const kept of [segment - 1, segment]) state.damage.push({ segment: kept, from: 0, to: 0 });
    const text = `the head of ${segmentName(segment)} differs from what this process had read; it goes on from the head`;
    report(new QueueError('JOURNAL_CORRUPT', text, { queue, path: `${folder}/${segmentName(segment)}` }));
  }

  // --- What may have been missed --------------------------------------------------------------------------------------

  /**
   * A damaged line, or a segment without a name: if there is a newer segment, this one was sealed. Then resolves, in
   * the newest segment, with the offset of that seal as far as it is known; 0 stands before everything.
   */
  async checkForSuccessor(): Promise<number | undefined> {
    const log = this.#log;
    log.suspicious = false;
    if (log.state.seal) return undefined;
    if (this.#isOvertaken()) {
      const { segment } = log.state;
      await this.reload();
      return this.#prev?.segment === segment ? this.#prev.at : 0;
    }
    if (log.options.ports.fs.stat(log.fd).size < log.applied) throw this.#fromOutside('truncated');
    return undefined;
  }

  /** Whether there is a newer segment. Errors: STORAGE_FAILED, when there is none, and this one is not in its place. */
  #isOvertaken(): boolean {
    // Looked at first: others remove what is spent, but not before there is a newer one.
    const inPlace = this.#log.inPlace();
    if (this.#newerExists()) return true;
    if (!inPlace) throw this.#displaced();
    return false;
  }

  #newerExists(): boolean {
    const { options, state } = this.#log;
    return newestSegment(options.ports.fs, options.folder) > state.segment;
  }

  /** The folder was moved or deleted, and perhaps another one put in its place: nothing of this queue must get into that. */
  #displaced(): QueueError {
    return this.#fromOutside('moved or removed');
  }

  #fromOutside(what: string): QueueError {
    const { path, options, state } = this.#log;
    const text = `${segmentName(state.segment)} was ${what} from outside`;
    return new QueueError('STORAGE_FAILED', text, { queue: options.queue, path });
  }

  /** Whether the log says that there is no queue, but is damaged: the record of its creation may be what is lost. */
  get doubtsCreation(): boolean {
    const { state } = this.#log;
    return state.id === '' && state.isDamaged && state.seal?.why !== 'destroy';
  }

  /** Lets nobody take for absent what may not be, and no head say so: all who come later would believe it. Errors: JOURNAL_CORRUPT. */
  async checkCreation(): Promise<void> {
    if (!this.doubtsCreation) return;
    await this.#markRestart();
    if (!this.doubtsCreation) return;
    const { options } = this.#log;
    const text = 'the journal is damaged where the queue may have been created; see queue verify';
    throw new QueueError('JOURNAL_CORRUPT', text, { queue: options.queue, path: options.folder });
  }

  /** Damage is told from what a power cut took by the mark of the restart; behind a seal, too. */
  async #markRestart(): Promise<void> {
    const log = this.#log;
    const { boot } = log.options.ports.processes.self();
    if (log.state.boot !== boot && boot !== '') await log.appendNow({ op: 'boot', ctl: 1, id: boot });
  }
}
