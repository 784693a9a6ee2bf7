/**
 * The best that a queue's files still tell of it. Where readers can go on by themselves, this is the state that they go
 * on with; where they cannot, what the last sound head and all sound records behind it tell, holes or not. Prefers a
 * message that is delivered again over one that is lost. Reads only.
 */
import { Contents } from '../contents.ts';
import {
  FileScanner,
  isGone,
  listSegments,
  parseIndexName,
  parseSegmentName,
  segmentName,
  temporaryName,
} from '../files.ts';
import { loadHead, type LoadedHead } from '../head.ts';
import type { Change } from '../legible.ts';
import { isRestoredBy, readDamagedHead } from '../loading.ts';
import type { HeadPayload, HeadStart, Place } from '../operations.ts';
import type { Ports } from '../ports.ts';
import {
  Displaced,
  findNews,
  freeBeside,
  hasSealMoved,
  movedFrom,
  runsBelow,
  type Moved,
  type News,
} from '../moved.ts';
import { offsetOf, position, segmentOf } from '../position.ts';
import { readTable } from '../read-table.ts';
import { born, type Json } from '../../message.ts';
import { replay } from '../replay.ts';
import { QueueState, type Damage, type Header } from '../state.ts';
import { isInRuns, SegmentTable } from '../table.ts';
import { surveySegment, wasUnsynced, type BadRange, type Survey } from '../survey.ts';
import { findTold, Hearsay } from './hearsay.ts';
import {
  changedBy,
  findByUuid,
  findDone,
  followOrphans,
  type LostChange,
  type Orphan,
} from './lost-changes.ts';
import { findContents, findUnreadable, outdatedError, type Copy } from './lost-contents.ts';
import { checkNames, checkOwner } from './origins.ts';
import {
  advance,
  complete,
  countFresh,
  hasLeft,
  readPartialHead,
  readStart,
  type PartialHead,
  type Start,
} from './partial-head.ts';
import { brokenAdds, missedIn, missingAddsIn, unnamedIn } from './untold.ts';

/** Messages that the queue is known to have had, and that cannot be had back. */
export interface Lost {
  file: string;
  /** How many; 1 where the message itself is known. */
  count: number;
  /** Its position, where it is known: file and offset of the record that added it. */
  position?: [segment: number, offset: number];
  uuid?: string;
  why: string;
}

export interface Salvage {
  state: QueueState;
  /** The highest number that a file of the queue has, or has had. */
  newest: number;
  /** Of the segments that can be read. */
  surveys: ReadonlyMap<number, Survey>;
  lost: Lost[];
  /** Records of which nothing is legible, at most: each may have added a message. */
  unnamed: number;
  /** Messages that are kept although they may have ended: nothing sound tells. */
  doubtful: number;
  /** Segments in the midst of which bytes are missing: what stands behind them is not where others say. */
  moved: ReadonlySet<number>;
  /** Messages of which only an earlier content is left; they stand as failed. */
  outdated: [segment: number, offset: number][];
  /** Segments that are not there, or cut off, and of which no head tells all that was in them: how much it was, nobody knows. */
  untold: readonly number[];
  /** Below this one, a head tells of all. */
  told: number;
  /** Whether the queue's options and attributes are. */
  optionsKnown: boolean;
}

/** The segments that messages stand in. */
export function placesOf({ state }: Pick<Salvage, 'state'>): Set<number> {
  const places = new Set([...state.touched.values()].map(({ place }) => segmentOf(place)));
  for (const table of state.tables.values()) if (table.fresh > 0) places.add(table.segment);
  return places;
}

export interface Source {
  ports: Ports;
  folder: string;
  keepOutcomes: number;
}

/** Errors: JOURNAL_NEWER, JOURNAL_CORRUPT for a file that is not what its name says, those of node:fs. */
export async function salvage(source: Source): Promise<Salvage> {
  const one = await new Salvor(source, false).run();
  // Nothing says that there is a queue: what does may be lost. Adds are made to queues that exist.
  const holed = [...one.surveys].some(([segment, survey]) => isHoled(survey) || one.moved.has(segment));
  if (one.state.id !== '' || !holed || one.state.seal?.why === 'destroy') return one;
  const other = await new Salvor(source, true).run();
  return other.state.added > 0 ? other : one;
}

/** Whether records of it are known to be missing. */
function isHoled({ bad, gaps }: Survey): boolean {
  return bad.length > 0 || gaps.length > 0;
}

class Salvor {
  readonly #ports: Ports;
  readonly #folder: string;
  readonly #keepOutcomes: number;
  readonly #scanner: FileScanner;
  /** Whether to take it that a queue exists where nothing says so. */
  readonly #bold: boolean;
  readonly #surveys = new Map<number, Survey>();
  /** The first records of their heads, where they are sound. */
  readonly #starts = new Map<number, Start>();
  readonly #lost: Lost[] = [];
  readonly #hearsay = new Hearsay((segment, offset) => {
    const survey = this.#surveys.get(segment);
    if (!survey || this.#badAt(segment, offset)) return true;
    // It has been cut off.
    return !survey.sealed && !this.#moved.segments.has(segment) && offset >= survey.end;
  });
  /** Of older segments: offsets of what is not fresh, how many fresh messages there were, and how many are not there. */
  readonly #runs = new Map<number, readonly number[]>();
  readonly #waiting = new Map<number, number>();
  readonly #unfound = new Map<number, number>();
  /** By the heads that these numbers are from: offsets of what was not among the fresh ones. */
  readonly #others = new Map<number, readonly number[]>();
  /** Likewise: what was damaged already. */
  #damaged: readonly Damage[] = [];
  /** What does not stand where it was written. */
  readonly #moved = new Displaced();
  /** That the head tells of with which all began. */
  #damage: readonly Damage[] = [];
  /** Of the segments from there on: where their own records begin. */
  readonly #begins = new Map<number, number>();
  readonly #forgotten: number[] = [];
  #doubtful = 0;
  #unnamed = 0;
  /** Touched messages of which a damaged head may have told: what has happened to them is not known, nor that they are. */
  #untouched = 0;
  /** Whether it may have told of messages that wait in a segment of which it does not tell any more. */
  #lacksTables = false;
  #cutInHead = false;
  #told = 0;
  #optionsKnown = true;
  #state: QueueState;

  constructor({ ports, folder, keepOutcomes }: Source, bold: boolean) {
    this.#ports = ports;
    this.#folder = folder;
    this.#keepOutcomes = keepOutcomes;
    this.#scanner = new FileScanner(ports.fs);
    this.#bold = bold;
    this.#state = new QueueState(0, keepOutcomes);
  }

  async run(): Promise<Salvage> {
    const { fs } = this.#ports;
    const named = fs.list(this.#folder).flatMap((name) => parseIndexName(name) ?? []);
    const listed = listSegments(fs, this.#folder);
    const segments = listed.filter((segment) => fs.kind(this.#path(segment)) === 'file');
    for (const segment of segments) {
      await this.#reading(segment, async (fd) => {
        const survey = await surveySegment(this.#ports, fd);
        this.#surveys.set(segment, survey);
        const start = readStart(fs, this.#scanner, fd, this.#path(segment));
        if (start) this.#starts.set(segment, start);
      });
    }
    checkNames(this.#folder, this.#starts);
    for (const segment of segments) await this.#noteMoved(segment, { seal: this.#prevOf(segment)?.at });
    await this.#follow(segments);
    checkOwner(this.#folder, this.#starts, placesOf({ state: this.#state }), this.#state.id);
    const { found, unread } = await this.#settleMoved(segments);
    await this.#restoreForgotten(segments);
    const outdated = await this.#settleContents(segments, unread);
    this.#dropTwins(found, unread);
    outdated.push(...(await this.#settleChanges(segments, outdated)));
    await this.#tellUnheard(segments);
    this.#countForgotten();
    if (this.#lacksTables) this.#countUntabled(segments);
    this.#state.recount();
    const newest = Math.max(0, ...listed, ...named, this.#chosen());
    const last = Math.max(0, ...segments);
    // An index, or a successor whatever it is, shows that it had been sealed.
    const isOver = named.some((each) => each >= last) || listed.includes(last + 1);
    const cut = segments.filter((segment) => {
      if (segment === last && !isOver) return this.#cutInHead;
      return segment >= this.#told && this.#isCut(segment);
    });
    // Whatever is left may have ended in a last file that is gone, or behind its cut.
    const isOpen = newest > last || cut.includes(last);
    const messages = Object.values(this.#state.counts).reduce((sum, count) => sum + count, 0);
    return {
      state: this.#state,
      newest,
      surveys: this.#surveys,
      lost: this.#lost,
      unnamed: this.#unnamed + this.#untouched,
      doubtful: isOpen ? messages : this.#doubtful,
      moved: new Set(this.#moved.segments.keys()),
      outdated,
      untold: [...cut, ...this.#forgotten],
      told: this.#told,
      optionsKnown: this.#optionsKnown,
    };
  }

  #path(segment: number): string {
    return `${this.#folder}/${segmentName(segment)}`;
  }

  /** The successor that the log has chosen, where it is gone: that number has been used. */
  #chosen(): number {
    const { segment, successor } = this.#state;
    if (successor === undefined) return 0;
    const made = `${this.#folder}/${temporaryName(segment + 1, successor)}`;
    return this.#ports.fs.kind(made) === 'file' ? 0 : segment + 1;
  }

  /** Whether a sealed segment has lost its end. */
  #isCut(segment: number): boolean {
    const { sealed, bad, end, bytes } = this.#surveys.get(segment)!;
    // A damaged line may be the seal.
    return !sealed && (bad.length === 0 || end < bytes || this.#sealOf(segment, segment + 1) >= bytes);
  }

  /** Undefined: it is gone. */
  async #reading<T>(segment: number, use: (fd: number) => T | Promise<T>): Promise<T | undefined> {
    const { fs } = this.#ports;
    let fd: number;
    try {
      fd = fs.open(this.#path(segment), 'read');
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
    try {
      return await use(fd);
    } finally {
      fs.close(fd);
    }
  }

  /** From the last sound head to the end of the log. */
  async #follow(segments: readonly number[]): Promise<void> {
    const heads = new Map<number, LoadedHead | undefined>();
    let basis = segments.length;
    let head: LoadedHead | undefined;
    while (!head && basis > 0) {
      const segment = segments[--basis]!;
      head = await this.#reading(segment, (fd) => this.#head(segment, fd));
      heads.set(segment, head);
    }
    this.#told = head ? segments[basis]! : 0;
    for (const [i, segment] of segments.entries()) {
      if (i < basis) continue;
      const end = this.#sealOf(segment, segments[i + 1]);
      await this.#reading(segment, async (fd) => {
        const from = head && i === basis ? await this.#begin(head) : await this.#cross(segment, fd);
        const holed = isHoled(this.#surveys.get(segment)!) || this.#moved.segments.has(segment);
        if (this.#state.id === '' && holed) this.#suppose(segment);
        const hear = (header: Header, state: QueueState): Header | undefined => {
          const heeded = this.#moved.heed(header, state);
          if (heeded) this.#hearsay.hear(heeded, state);
          return heeded;
        };
        const unended = i === segments.length - 1;
        const survey = this.#surveys.get(segment)!;
        // Adds among them may have been taken for messages of their own since.
        const without = new Set(survey.repeated.filter(({ isAdd }) => !isAdd).map((each) => each.from));
        await replay(this.#ports, fd, this.#state, {
          from,
          to: end,
          strangers: true,
          unended,
          without,
          hear,
        });
        this.#forgetRepeated(segment);
        // The newline that a write begins with may be left.
        const isBare = survey.end - from <= 1 && survey.adds === 0 && survey.bad.length === 0;
        this.#cutInHead = isBare && !heads.get(segment);
        this.#begins.set(segment, from);
        const move = this.#moved.segments.get(segment);
        this.#unnamed += Math.max(unnamedIn(survey, from), missedIn(survey, move));
        // What stands behind it has never been a message, though the seal itself may be lost.
        const sealed = this.#state.seal?.offset ?? end;
        if (sealed < Infinity) this.#state.tables.get(segment)?.close(sealed);
      });
    }
  }

  #head(segment: number, fd: number): LoadedHead | undefined {
    return loadHead(this.#ports.fs, fd, segment, this.#keepOutcomes, this.#path(segment));
  }

  /** Where the successor's head says that the segment ended, should its seal be lost. */
  #sealOf(segment: number, next: number | undefined): number {
    if (next === undefined || this.#surveys.get(segment)?.sealed) return Infinity;
    const prev = this.#starts.get(next)?.header.prev;
    return prev?.segment === segment ? prev.at : Infinity;
  }

  /** Nothing sound up to a damaged segment says that there is a queue: what says so may be lost. A later head may know. */
  #suppose(segment: number): void {
    const later = [...this.#starts].find(([each, { header }]) => each > segment && header.id !== '');
    if (later) {
      const [, { header, payload }] = later;
      const { options, attributes } = payload as HeadPayload & { attributes: Record<string, Json> };
      Object.assign(this.#state, { id: header.id, created: header.created, options, attributes });
    } else if (this.#bold) {
      this.#state.id = this.#ports.random.hex(16);
      this.#optionsKnown = false;
    }
  }

  /** Takes the state of a whole head. Returns where the segment's own records begin. */
  async #begin({ state, end }: LoadedHead): Promise<number> {
    this.#state = state;
    this.#damage = [...state.damage];
    this.#damaged = this.#damage;
    for (const table of state.tables.values()) {
      if (table.read) continue;
      const { segment } = table;
      this.#waiting.set(segment, table.fresh);
      this.#others.set(segment, table.runs());
      if (!this.#surveys.has(segment)) {
        this.#runs.set(segment, table.runs());
        state.tables.delete(segment);
        this.#unfound.set(segment, table.fresh);
        continue;
      }
      const trusted = await this.#trusted(table);
      this.#runs.set(segment, trusted.runs());
      state.tables.set(segment, trusted);
    }
    // Before the tables are read: what stands in the place of a touched message is not taken for a fresh one.
    for (const [at, { place }] of state.touched) {
      if (!this.#isForgotten(at, place)) continue;
      state.happen(at, { type: 'remove' });
      this.#expect(state, segmentOf(at));
    }
    await this.#readTables(state);
    state.recount();
    return end;
  }

  /** Whether a segment has moved, as far as can be told by what is known of it. */
  async #noteMoved(
    segment: number,
    told: { runs?: readonly number[]; seal?: number | undefined },
  ): Promise<void> {
    await this.#reading(segment, async (fd) => {
      const move = await movedFrom(this.#ports, fd, segment, this.#surveys.get(segment)!, told);
      if (move) await this.#moved.note(this.#ports, fd, segment, move);
    });
  }

  /** The unread table of a segment, with as much of what a head says of it as still holds. */
  async #trusted(table: SegmentTable): Promise<SegmentTable> {
    const { segment, fresh, special } = table;
    const runs = table.runs();
    if (!this.#moved.segments.has(segment)) await this.#noteMoved(segment, { runs });
    const move = this.#moved.segments.get(segment);
    return move ? SegmentTable.unread(segment, fresh, special, runsBelow(runs, move.from)) : table;
  }

  /** Readers take a line that stands there twice for two messages; unless the second holds something else by now, it goes. */
  #forgetRepeated(segment: number): void {
    const state = this.#state;
    for (const { from, isAdd } of this.#surveys.get(segment)!.repeated) {
      const at = position(segment, from);
      const { place = at } = state.touched.get(at) ?? {};
      if (isAdd && place === at && state.lifeOf(at)) state.happen(at, { type: 'remove' });
    }
  }

  /** What a head tells of a place in which another message stands by now is told of that one. */
  #isForgotten(at: number, place: number): boolean {
    return this.#moved.has(at) && segmentOf(place) === segmentOf(at) && this.#moved.has(place);
  }

  /** A message more waits in a segment that has moved: which one, its own records tell. */
  #expect(state: QueueState, segment: number): void {
    this.#waiting.set(segment, (this.#waiting.get(segment) ?? 0) + 1);
    if (state.tables.has(segment)) return;
    const { from } = this.#moved.segments.get(segment)!;
    state.restoreTable(SegmentTable.unread(segment, 0, 0, from > 0 ? [0, from - 1] : []));
  }

  async #readTables(state: QueueState): Promise<void> {
    for (const table of state.tables.values()) {
      if (table.read) continue;
      const scanner = this.#scanner;
      await readTable({ ports: this.#ports, scanner, folder: this.#folder, state, table, writes: false });
      this.#forgetRepeated(table.segment);
      this.#unfound.set(table.segment, (this.#waiting.get(table.segment) ?? 0) - table.fresh);
    }
  }

  /** Of the messages that have moved, those that a record names as ended have; the others may have. */
  async #settleMoved(segments: readonly number[]): Promise<Pick<Moved, 'found' | 'unread'>> {
    if (this.#moved.segments.size === 0 || this.#state.id === '')
      return { found: new Map(), unread: new Set() };
    const state = this.#state;
    const { found, twins, others, unread } = this.#moved.messages(this.#ports, this.#folder, state);
    const news: News = { ended: new Set(), updates: new Map() };
    const wanted = (uuid: string, at: number): boolean => found.has(uuid) || this.#moved.has(at);
    for (const segment of segments)
      await this.#reading(segment, (fd) => findNews(this.#ports, fd, segment, wanted, news));
    for (const at of twins) state.happen(at, { type: 'remove' });
    for (const [uuid, at] of found) {
      const update = news.updates.get(uuid);
      // Told of by where it stood, with an update that has moved as well, it would be there twice.
      const stood = update && position(...update.header.p);
      if (stood !== undefined && unread.has(stood)) state.happen(stood, { type: 'remove' });
      if (news.ended.has(uuid)) {
        state.happen(at, { type: 'remove' });
        continue;
      }
      this.#doubtful++;
      if (!update) continue;
      const { header, place, length, headerLength } = update;
      const disabled = header.x === undefined ? undefined : header.x === 1;
      state.happen(at, { type: 'update', due: header.d, disabled });
      state.carry(at, place, length, headerLength);
    }
    const { uuids } = this.#moved;
    for (const [uuid, { header, place, length, headerLength }] of news.updates) {
      const stood = position(...header.p);
      if (uuids.has(uuid) || others.has(uuid) || news.ended.has(uuid) || unread.has(stood)) continue;
      // What added it is missing.
      this.#account(stood);
      const life = born(header.d ?? undefined, header.x === 1);
      const alias = state.options.uniqueAlias ? header.a : undefined;
      state.restore(freeBeside(state, stood), life, place, length, headerLength, undefined, alias);
      this.#doubtful++;
    }
    return { found, unread };
  }

  /** Those that were not known to be the same until their contents had been found. */
  #dropTwins(found: ReadonlyMap<string, number>, unread: ReadonlySet<number>): void {
    if (found.size === 0 || unread.size === 0) return;
    const state = this.#state;
    const contents = new Contents(this.#ports.fs, this.#folder);
    for (const at of unread) {
      const uuid = state.touched.has(at) ? contents.read(state, at)?.content.u : undefined;
      const copy = uuid === undefined ? undefined : found.get(uuid);
      if (copy !== undefined && state.happen(copy, { type: 'remove' })) this.#doubtful--;
    }
    contents.close();
  }

  /** Goes on in a segment whose head is damaged. Returns where its own records begin. */
  async #cross(segment: number, fd: number): Promise<number> {
    const { fs } = this.#ports;
    const state = this.#state;
    const damaged = readDamagedHead(fs, fd);
    const { end } = damaged;
    const { seal } = state;
    const isKnown = state.segment === segment - 1 && isRestoredBy(state, damaged);
    const head = readPartialHead(fs, this.#scanner, fd, end, this.#path(segment));
    const forgotten = this.#forgetMoved(head);
    const told = [...head.touched.map(({ header }) => position(...header.p)), ...head.carried.keys()];
    const news = new Set(told.filter((at) => !state.lifeOf(at)));
    if (seal && state.segment === segment - 1) {
      if (seal.why === 'destroy') this.#state = new QueueState(segment, this.#keepOutcomes);
      else {
        state.enterSegment(segment);
        complete(state, head);
      }
    } else {
      state.enterSegment(segment);
      this.#doubtful += advance(state, head);
    }
    if (!head.lacks.tables && !head.lacks.touched) this.#told = segment;
    for (const at of news) this.#account(at);
    for (const each of this.#unfound.keys()) if (hasLeft(head, each)) this.#unfound.delete(each);
    for (const each of forgotten) this.#expect(this.#state, each);
    await this.#readTables(this.#state);
    for (const [each, { fresh, runs }] of head.tables) {
      this.#unfound.set(each, fresh - countFresh(this.#state.tables.get(each), runs));
      this.#others.set(each, runs);
    }
    this.#damaged = head.others.flatMap(({ header }) => (header.op === 'damage' ? [header] : []));
    // As for all who read it: what follows is a hole, if not all that it said is known.
    this.#state.noteRot(0, end, false);
    if (isKnown) this.#state.restored = end;
    // A head tells of all that is there, so that what is lost with an earlier one does not matter.
    else {
      this.#untouched = head.lost;
      this.#lacksTables = head.lacks.tables;
    }
    return end;
  }

  /** Takes from a damaged head what it says of places in which others stand by now. Returns the segments of those messages. */
  #forgetMoved(head: PartialHead): number[] {
    const isForgotten = ({ header }: PartialHead['touched'][number]): boolean =>
      this.#isForgotten(position(...header.p), position(...header.at));
    const forgotten = head.touched.filter((each) => isForgotten(each));
    head.touched = head.touched.filter((each) => !isForgotten(each));
    for (const [segment, { from }] of this.#moved.segments) {
      const table = head.tables.get(segment);
      if (table) Object.assign(table, { runs: runsBelow(table.runs, from), whole: true });
    }
    // What stands by now where these stood gets a position of its own: see `Displaced.messages`.
    const known = [...head.touched.map(({ header }) => position(...header.p)), ...head.carried.keys()];
    for (const at of known)
      if (this.#moved.has(at) && !this.#state.touched.has(at)) this.#state.happen(at, { type: 'remove' });
    return forgotten.map(({ header }) => header.p[0]);
  }

  /** Messages whose content cannot be read: another copy of it, an earlier one, or none. */
  async #settleContents(
    segments: readonly number[],
    unread: ReadonlySet<number>,
  ): Promise<[number, number][]> {
    const state = this.#state;
    const unreadable = await findUnreadable(this.#ports, this.#folder, state);
    // What can be read there may be another's.
    for (const at of unread) if (state.touched.has(at)) unreadable.add(at);
    if (unreadable.size === 0) return [];
    const copies = new Map<number, Copy[]>();
    for (const segment of segments) {
      await this.#reading(segment, (fd) => findContents(this.#ports, fd, segment, unreadable, copies));
    }
    const outdated: [number, number][] = [];
    for (const at of unreadable) {
      const { place = at, length } = state.touched.get(at) ?? {};
      const found = (copies.get(at) ?? []).filter(
        (copy) => copy.place !== place && (copy.op !== 'add' || !this.#moved.has(copy.place)),
      );
      // What an add holds, a head that carried it holds as well.
      const same = place === at ? found.find(({ op }) => op === 'carry') : undefined;
      const copy = same ?? found.at(-1);
      if (!copy) {
        if (this.#moved.has(at) && state.tables.has(segmentOf(at))) {
          // What added it waits by its uuid, if it is there.
          state.happen(at, { type: 'remove' });
          this.#expect(state, segmentOf(at));
        } else this.#loseAt(at, place);
        continue;
      }
      state.carry(at, copy.place, copy.length, copy.headerLength);
      if (same || this.#hasMoved(place, copy, length)) continue;
      state.happen(at, { type: 'cancel', error: outdatedError(place, this.#ports.clock.now()) });
      outdated.push([segmentOf(at), offsetOf(at)]);
    }
    return outdated;
  }

  /** What the successor's head says of the segment's end. */
  #prevOf(segment: number): HeadStart['prev'] | undefined {
    const prev = this.#starts.get(segment + 1)?.header.prev;
    // After a failed flush the device may hold less than what the head was made of.
    return prev?.segment === segment && !prev.failed ? prev : undefined;
  }

  /**
   * What damaged records have done of which no head knows. Messages that they, or sound ones beside them to no effect, say to have
   * ended may have; those that they updated later than any other record stand as failed. Resolves with these, but for `known` ones.
   */
  async #settleChanges(
    segments: readonly number[],
    known: readonly [number, number][],
  ): Promise<[number, number][]> {
    const state = this.#state;
    const ended = new Set<string>();
    const changes: LostChange[] = [];
    for (const [segment, survey] of this.#surveys) {
      const open = survey.bad.filter((range) => this.#isOpen(segment, survey, range));
      for (const { from, change } of open)
        if (change)
          changes.push({ ...change, places: this.#stillRight(change), at: position(segment, from) });
      if (open.length > 0) await this.#reading(segment, (fd) => findDone(this.#ports, fd, ended));
    }
    const wanted = new Set([...ended, ...changes.flatMap(({ uuids }) => uuids)]);
    const found = await findByUuid(this.#ports, this.#folder, state, wanted);
    const doubtful = new Set([...ended].flatMap((uuid) => found.get(uuid) ?? []));
    const updated = new Map<number, number>();
    for (const change of changes) {
      for (const at of changedBy(change, found, state))
        if (change.what !== 'update') doubtful.add(at);
        else updated.set(at, Math.max(change.at, updated.get(at) ?? 0));
    }
    this.#doubtful += doubtful.size;
    for (const [segment, offset] of known) updated.delete(position(segment, offset));
    const copies = new Map<number, Copy[]>();
    for (const segment of updated.size > 0 ? segments : [])
      await this.#reading(segment, (fd) =>
        findContents(this.#ports, fd, segment, new Set(updated.keys()), copies),
      );
    const outdated: [number, number][] = [];
    for (const [at, place] of updated) {
      if (copies.get(at)?.some((copy) => copy.op === 'update' && copy.place > place)) continue;
      state.happen(at, { type: 'cancel', error: outdatedError(place, this.#ports.clock.now()) });
      outdated.push([segmentOf(at), offsetOf(at)]);
    }
    return outdated;
  }

  /** Without those in which other messages may stand by now. */
  #stillRight({ places }: Change): Place[] {
    return places.filter((place) => !this.#moved.has(position(...place)));
  }

  /** Whether what stood there is not known from the head that all began with. */
  #isOpen(segment: number, survey: Survey, range: BadRange): boolean {
    if (range.note || wasUnsynced(survey, range)) return false;
    const begin = this.#begins.get(segment);
    if (begin !== undefined) return range.from >= begin;
    return range.from >= survey.headEnd && this.#isOld(segment, range);
  }

  /** Whether it was damaged before that head was made. */
  #isOld(segment: number, { from, to }: BadRange): boolean {
    return this.#damage.some((each) => each.segment === segment && each.from <= from && to <= each.to);
  }

  /** How far what stands at the end of a sealed segment has moved, as far as its successor tells. */
  #shiftOf(segment: number): number {
    const survey = this.#surveys.get(segment);
    const prev = this.#prevOf(segment);
    return survey && prev && hasSealMoved(survey, prev.at) ? survey.sealedAt! - prev.at : 0;
  }

  /**
   * Whether the copy is the very record that stood at `place`: it has moved as far as the end of its segment has, and no record is
   * missing behind it that may have been a later one.
   */
  #hasMoved(place: number, copy: Copy, length: number | undefined): boolean {
    const segment = segmentOf(place);
    const offset = offsetOf(copy.place);
    if (segmentOf(copy.place) !== segment || copy.length !== length) return false;
    // A head carries a content once.
    if (copy.op === 'carry') return true;
    const shift = this.#shiftOf(segment);
    const isThere = shift !== 0 && offset - offsetOf(place) === shift;
    return isThere && this.#surveys.get(segment)!.gaps.every((gap) => gap.offset <= offset);
  }

  #loseAt(at: number, place: number): void {
    const segment = segmentOf(place);
    const offset = offsetOf(place);
    const bad = this.#badAt(segment, offset);
    this.#lost.push({
      file: segmentName(segment),
      count: 1,
      position: [segmentOf(at), offsetOf(at)],
      // That of a longer range is the one of its first message.
      ...(bad?.from !== offset || bad.uuid === undefined ? {} : { uuid: bad.uuid }),
      why: this.#surveys.has(segment)
        ? `what it holds, at offset ${offset}, is damaged`
        : 'what it holds stood in a file that is not there',
    });
    this.#state.happen(at, { type: 'remove' });
  }

  #badAt(segment: number, offset: number): BadRange | undefined {
    return this.#surveys.get(segment)?.bad.find(({ from, to }) => from <= offset && offset < to);
  }

  /** By the head that all began with. What was damaged already when that was made, it knows nothing of. */
  #saidNotFresh(segment: number, offset: number): boolean {
    return !this.#wasDamaged(segment, offset) && isInRuns(this.#runs.get(segment) ?? [], offset);
  }

  #wasDamaged(segment: number, offset: number): boolean {
    return isWithin(this.#damage, segment, offset);
  }

  /** One of those that were not found is accounted for. */
  #account(at: number): void {
    const segment = segmentOf(at);
    const offset = offsetOf(at);
    const count = this.#unfound.get(segment);
    // What was damaged already, or not fresh any more, was not expected.
    if (count === undefined || isWithin(this.#damaged, segment, offset)) return;
    if (!isInRuns(this.#others.get(segment) ?? [], offset)) this.#unfound.set(segment, count - 1);
  }

  /** Messages whose add is lost: by name, or because other records speak of them, or at least how many. */
  async #tellUnheard(segments: readonly number[]): Promise<void> {
    const known = new Set(this.#lost.flatMap(({ position: place }) => (place ? [position(...place)] : [])));
    const missing = new Set(this.#hearsay.missing.filter((at) => !this.#state.lifeOf(at) && !known.has(at)));
    const suspects = new Map<string, number>();
    for (const [segment, survey] of this.#surveys) {
      const bad = survey.bad.filter(({ isAdd, note }) => isAdd && !note);
      for (const { from, uuid } of [...bad, ...brokenAdds(survey)]) {
        const at = position(segment, from);
        const isTold = this.#hearsay.hasEnded(at) || this.#saidNotFresh(segment, from);
        if (uuid !== undefined && !isTold && !this.#state.lifeOf(at)) suspects.set(uuid, at);
      }
    }
    const told = new Set<string>();
    for (const segment of suspects.size > 0 ? segments : [])
      await this.#reading(segment, (fd) => findTold(this.#ports, fd, new Set(suspects.keys()), told));
    const named = new Map<number, string>();
    for (const [uuid, at] of suspects) {
      if (told.has(uuid)) continue;
      missing.add(at);
      named.set(at, uuid);
    }
    for (const at of [...missing].sort((a, b) => a - b)) {
      const segment = segmentOf(at);
      const offset = offsetOf(at);
      const bad = this.#badAt(segment, offset);
      const uuid = named.get(at) ?? (bad?.from === offset ? bad.uuid : undefined);
      this.#account(at);
      this.#lost.push({
        file: segmentName(segment),
        count: 1,
        position: [segment, offset],
        ...(uuid === undefined ? {} : { uuid }),
        why: this.#surveys.has(segment)
          ? 'the record that added it is damaged'
          : 'the record that added it stood in a file that is not there',
      });
    }
    for (const at of [...this.#hearsay.ended, ...this.#hearsay.restored, ...this.#moved.unseen])
      this.#account(at);
    for (const [segment, count] of this.#unfound) {
      const file = segmentName(segment);
      const why = this.#surveys.has(segment) ? 'their records are damaged' : `${file} is not there`;
      if (count > 0) this.#lost.push({ file, count, why });
    }
    this.#countMoved([...missing].map(segmentOf));
  }

  /** Messages whose add was damaged before the head was made that all began with, but that a sound update tells of. */
  async #restoreForgotten(segments: readonly number[]): Promise<void> {
    const state = this.#state;
    const isLost = (at: number): boolean => {
      const bad = this.#badAt(segmentOf(at), offsetOf(at));
      // Where records have moved, uuids tell of it: see `#settleMoved`.
      if (this.#moved.has(at) || state.lifeOf(at)) return false;
      return bad !== undefined && this.#isOld(segmentOf(at), bad);
    };
    const orphans = new Map<number, Orphan>();
    for (const segment of this.#damage.length > 0 ? segments : [])
      await this.#reading(segment, (fd) => followOrphans(this.#ports, fd, segment, isLost, orphans));
    for (const [at, { header, place, length, headerLength }] of orphans) {
      const { d, x, a } = header;
      state.restore(at, born(d ?? undefined, x === 1), place, length, headerLength, undefined, a);
    }
  }

  /** What was damaged before the head was made that all began with: nobody who made a head since then knew of it. */
  #countForgotten(): void {
    for (const segment of new Set(this.#damage.map((each) => each.segment))) {
      if (this.#begins.has(segment)) continue;
      // Of what is missing from a file, no bytes are.
      const isShort = this.#damage.some((each) => each.segment === segment && each.to === 0);
      const survey = this.#surveys.get(segment);
      const start = this.#starts.get(segment);
      const next = this.#starts.get(segment + 1);
      if (!survey || (!survey.sealed && !(start && next))) this.#forgotten.push(segment);
      if (!survey) continue;
      const bad = survey.bad.filter((range) => this.#isOld(segment, range));
      const gaps = survey.gaps.filter((gap) => {
        return bad.some(({ from, to }) => from >= gap.from && to <= gap.offset);
      });
      const unnamed = unnamedIn({ ...survey, bad, gaps }, survey.headEnd);
      const isWhole = survey.sealed && !isShort;
      this.#unnamed += isWhole ? unnamed : Math.max(unnamed, missingAddsIn(survey, start, next));
    }
  }

  /** Where no head tells how many messages wait in a segment: of one that is gone that it is, else how many adds are. */
  #countUntabled(segments: readonly number[]): void {
    for (const { file } of this.#lost) {
      const segment = parseSegmentName(file)!;
      if (!this.#surveys.has(segment)) this.#forgotten.push(segment);
    }
    for (const segment of segments.slice(0, -1)) {
      const survey = this.#surveys.get(segment);
      if (!survey || survey.sealed || !this.#begins.has(segment)) continue;
      const most = missingAddsIn(survey, this.#starts.get(segment), this.#starts.get(segment + 1));
      const told = this.#lost.filter(
        (each) => (each.position?.[0] ?? parseSegmentName(each.file)) === segment,
      );
      this.#unnamed += Math.max(0, most - told.reduce((sum, { count }) => sum + count, 0));
    }
  }

  /**
   * Of older segments in which it cannot be told any more which of the messages there have ended: those that have, and are
   * kept, stand in the count for others that are lost.
   */
  #countMoved(named: readonly number[]): void {
    for (const [segment, waiting] of this.#waiting) {
      const survey = this.#surveys.get(segment);
      const move = this.#moved.segments.get(segment);
      if (!survey || !move) continue;
      const rest = waiting - named.filter((each) => each === segment).length;
      const most = missingAddsIn(
        survey,
        this.#starts.get(segment),
        this.#starts.get(segment + 1),
        move,
        (offset) => this.#wasDamaged(segment, offset),
      );
      const told = Math.max(0, this.#unfound.get(segment) ?? 0);
      this.#unnamed += Math.max(0, Math.min(rest, most) - told);
    }
  }
}

function isWithin(damage: readonly Damage[], segment: number, offset: number): boolean {
  return damage.some((each) => each.segment === segment && each.from <= offset && offset < each.to);
}
