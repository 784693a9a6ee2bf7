/**
 * The best that a queue's files still tell of it. Where readers can go on by themselves, this is the state that they go
 * on with; where they cannot, what the last sound head and all sound records behind it tell, holes or not. Prefers a
 * message that is delivered again over one that is lost. Reads only.
 */
import { FileScanner, isGone, listSegments, parseIndexName, segmentName, temporaryName } from '../files.ts';
import { loadHead, type LoadedHead } from '../head.ts';
import { isRestoredBy, readDamagedHead } from '../loading.ts';
import type { HeadPayload } from '../operations.ts';
import type { Ports } from '../ports.ts';
import { findNews, firstFlaw, movedFrom, movedMessages, runsBelow, type News } from '../moved.ts';
import { offsetOf, position, segmentOf } from '../position.ts';
import { readTable } from '../read-table.ts';
import type { Json } from '../../message.ts';
import { replay } from '../replay.ts';
import { QueueState, type Damage, type Header } from '../state.ts';
import { isInRuns, SegmentTable } from '../table.ts';
import { surveySegment, type BadRange, type Survey } from '../survey.ts';
import { findTold, Hearsay } from './hearsay.ts';
import { findContents, findUnreadable, outdatedError, type Copy } from './lost-contents.ts';
import { checkNames, checkOwner } from './origins.ts';
import { advance, complete, readPartialHead, readStart, type Start } from './partial-head.ts';
import { brokenAdds, missingAddsIn, numberedIn, unnumberedIn } from './untold.ts';

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
  /** Whether the newest segment has been cut off in its head, and so before its first message. */
  cutInHead: boolean;
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
  const holed = [...one.surveys.values()].some(({ bad }) => bad.length > 0);
  if (one.state.id !== '' || !holed || one.state.seal?.why === 'destroy') return one;
  const other = await new Salvor(source, true).run();
  return other.state.added > 0 ? other : one;
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
    return !survey.sealed && !this.#moved.has(segment) && offset >= survey.end;
  });
  /** Of older segments: offsets of what is not fresh, how many fresh messages there were, and how many are not there. */
  readonly #runs = new Map<number, readonly number[]>();
  readonly #waiting = new Map<number, number>();
  readonly #unfound = new Map<number, number>();
  /** Of segments in which records do not stand where they were written: behind which offset. */
  readonly #moved = new Map<number, number>();
  /** That the head tells of with which all began. */
  #damage: readonly Damage[] = [];
  #doubtful = 0;
  #unnamed = 0;
  #cutInHead = false;
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
        const moved = await movedFrom(this.#ports, fd, segment, survey);
        if (moved !== undefined) this.#moved.set(segment, moved);
        const start = readStart(fs, this.#scanner, fd, this.#path(segment));
        if (start) this.#starts.set(segment, start);
      });
    }
    checkNames(this.#folder, this.#starts);
    for (const [segment, survey] of this.#surveys) {
      if (!this.#moved.has(segment) && this.#shiftOf(segment) !== 0) {
        const from = firstFlaw(survey);
        this.#moved.set(segment, from === Infinity ? 0 : from);
      }
    }
    await this.#follow(segments);
    checkOwner(this.#folder, this.#starts, placesOf({ state: this.#state }), this.#state.id);
    await this.#settleMoved(segments);
    const outdated = await this.#settleContents(segments);
    await this.#tellUnheard(segments);
    this.#state.recount();
    return {
      state: this.#state,
      newest: Math.max(0, ...listed, ...named, this.#chosen()),
      surveys: this.#surveys,
      lost: this.#lost,
      unnamed: this.#unnamed,
      doubtful: this.#doubtful,
      moved: new Set(this.#moved.keys()),
      outdated,
      cutInHead: this.#cutInHead,
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
    for (const [i, segment] of segments.entries()) {
      if (i < basis) continue;
      const end = this.#sealOf(segment, segments[i + 1]);
      await this.#reading(segment, async (fd) => {
        const from = head && i === basis ? await this.#begin(head) : this.#cross(segment, fd);
        if (this.#state.id === '' && this.#surveys.get(segment)!.bad.length > 0) this.#suppose(segment);
        const hear = (header: Header, state: QueueState): void => this.#hearsay.hear(header, state);
        const unended = i === segments.length - 1;
        await replay(this.#ports, fd, this.#state, { from, to: end, strangers: true, unended, hear });
        const survey = this.#surveys.get(segment)!;
        // The newline that a write begins with may be left.
        const isBare = survey.end - from <= 1 && survey.adds === 0 && survey.bad.length === 0;
        this.#cutInHead = isBare && !heads.get(segment);
        this.#unnamed += numberedIn(survey) + unnumberedIn(survey, from);
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
    for (const table of state.tables.values()) {
      if (table.read) continue;
      const { segment } = table;
      this.#waiting.set(segment, table.fresh);
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
    this.#forgetMoved(state);
    for (const table of state.tables.values()) {
      if (table.read) continue;
      const scanner = this.#scanner;
      await readTable({ ports: this.#ports, scanner, folder: this.#folder, state, table, writes: false });
      this.#unfound.set(table.segment, this.#waiting.get(table.segment)! - table.fresh);
    }
    state.recount();
    return end;
  }

  /** The unread table of a segment, with as much of what a head says of it as still holds. */
  async #trusted(table: SegmentTable): Promise<SegmentTable> {
    const { segment, fresh, special } = table;
    const runs = table.runs();
    const survey = this.#surveys.get(segment)!;
    const from =
      this.#moved.get(segment) ??
      (await this.#reading(segment, (fd) => movedFrom(this.#ports, fd, segment, survey, runs)));
    if (from === undefined) return table;
    this.#moved.set(segment, from);
    return SegmentTable.unread(segment, fresh, special, runsBelow(runs, from));
  }

  /** What a head tells of a place in which another message stands by now is told of that one. */
  #forgetMoved(state: QueueState): void {
    for (const [at, { place }] of state.touched) {
      const from = this.#moved.get(segmentOf(at));
      if (place !== at || from === undefined || offsetOf(at) < from) continue;
      state.happen(at, { type: 'remove' });
      const waiting = this.#waiting.get(segmentOf(at));
      if (waiting !== undefined) this.#waiting.set(segmentOf(at), waiting + 1);
    }
  }

  /** Of the messages that have moved, those that a record names as ended have; the others may have. */
  async #settleMoved(segments: readonly number[]): Promise<void> {
    if (this.#moved.size === 0) return;
    const state = this.#state;
    const { found, known, unread } = movedMessages(this.#ports, this.#folder, state, this.#moved);
    const news: News = { ended: new Set(), updates: new Map() };
    for (const segment of segments)
      await this.#reading(segment, (fd) => findNews(this.#ports, fd, segment, found, news));
    for (const at of known) state.happen(at, { type: 'remove' });
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
  }

  /** Goes on in a segment whose head is damaged. Returns where its own records begin. */
  #cross(segment: number, fd: number): number {
    const { fs } = this.#ports;
    const state = this.#state;
    const damaged = readDamagedHead(fs, fd);
    const { end } = damaged;
    const { seal } = state;
    const isKnown = state.segment === segment - 1 && isRestoredBy(state, damaged);
    const head = readPartialHead(fs, this.#scanner, fd, end, this.#path(segment));
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
    this.#forgetMoved(this.#state);
    for (const [each, { fresh }] of head.tables)
      this.#unfound.set(each, fresh - (state.tables.get(each)?.fresh ?? 0));
    // As for all who read it: what follows is a hole, if not all that it said is known.
    this.#state.noteRot(0, end, false);
    if (isKnown) this.#state.restored = end;
    return end;
  }

  /** Messages whose content cannot be read: another copy of it, an earlier one, or none. */
  async #settleContents(segments: readonly number[]): Promise<[number, number][]> {
    const state = this.#state;
    const unreadable = await findUnreadable(this.#ports, this.#folder, state);
    if (unreadable.size === 0) return [];
    const copies = new Map<number, Copy[]>();
    for (const segment of segments) {
      await this.#reading(segment, (fd) => findContents(this.#ports, fd, segment, unreadable, copies));
    }
    const outdated: [number, number][] = [];
    for (const at of unreadable) {
      const { place = at, length } = state.touched.get(at) ?? {};
      const found = (copies.get(at) ?? []).filter((copy) => copy.place !== place);
      // What an add holds, a head that carried it holds as well.
      const same = place === at ? found.find(({ op }) => op === 'carry') : undefined;
      const copy = same ?? found.at(-1);
      if (!copy) {
        this.#loseAt(at, place);
        continue;
      }
      state.carry(at, copy.place, copy.length, copy.headerLength);
      if (same || this.#hasMoved(place, copy, length)) continue;
      state.happen(at, { type: 'cancel', error: outdatedError(place, this.#ports.clock.now()) });
      outdated.push([segmentOf(at), offsetOf(at)]);
    }
    return outdated;
  }

  /** How far what stands at the end of a sealed segment has moved, as far as its successor tells. */
  #shiftOf(segment: number): number {
    const survey = this.#surveys.get(segment);
    const prev = this.#starts.get(segment + 1)?.header.prev;
    // A repair may have given it a seal of its own.
    if (!survey || survey.mended || survey.sealedAt === undefined || prev?.segment !== segment) return 0;
    return survey.sealedAt - prev.at;
  }

  /**
   * Whether the copy is the very record that stood at `place`: it has moved as far as the end of its segment has, and no record is
   * missing behind it that may have been a later one.
   */
  #hasMoved(place: number, copy: Copy, length: number | undefined): boolean {
    const segment = segmentOf(place);
    const offset = offsetOf(copy.place);
    if (segmentOf(copy.place) !== segment || copy.length !== length) return false;
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
    return this.#damage.some((each) => {
      return each.segment === segment && each.from <= offset && offset < each.to;
    });
  }

  /** One of those that were not found is accounted for. */
  #account(at: number): void {
    const segment = segmentOf(at);
    const count = this.#unfound.get(segment);
    // What was damaged already was not expected.
    if (count !== undefined && !this.#wasDamaged(segment, offsetOf(at)))
      this.#unfound.set(segment, count - 1);
  }

  /** Messages whose add is lost: by name, or because other records speak of them, or at least how many. */
  async #tellUnheard(segments: readonly number[]): Promise<void> {
    const missing = new Set(this.#hearsay.missing.filter((at) => !this.#state.lifeOf(at)));
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
    for (const at of [...this.#hearsay.ended, ...this.#hearsay.restored]) this.#account(at);
    for (const [segment, count] of this.#unfound) {
      const file = segmentName(segment);
      const why = this.#surveys.has(segment) ? 'their records are damaged' : `${file} is not there`;
      if (count > 0) this.#lost.push({ file, count, why });
    }
    this.#countMoved([...missing].map(segmentOf));
  }

  /**
   * Of older segments in which it cannot be told any more which of the messages there have ended: those that have, and are
   * kept, stand in the count for others that are lost.
   */
  #countMoved(named: readonly number[]): void {
    for (const [segment, waiting] of this.#waiting) {
      const survey = this.#surveys.get(segment);
      if (!survey || !this.#moved.has(segment)) continue;
      const rest = waiting - named.filter((each) => each === segment).length;
      const most = missingAddsIn(survey, this.#starts.get(segment), this.#starts.get(segment + 1));
      const told = Math.max(0, this.#unfound.get(segment) ?? 0);
      this.#unnamed += Math.max(0, Math.min(rest, most) - told);
    }
  }
}
