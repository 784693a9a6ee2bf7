/**
 * The best that a queue's files still tell of it. Where readers can go on by themselves, this is the state that they go
 * on with; where they cannot, what the last sound head and all sound records behind it tell, holes or not. Prefers a
 * message that is delivered again over one that is lost. Reads only.
 */
import type { Json } from '../../message.ts';
import { temporaryName } from '../files.ts';
import { loadHead, type LoadedHead } from '../head.ts';
import { isOfRepair, isRestoredBy, readDamagedHead } from '../loading.ts';
import type { Extent } from '../messages.ts';
import { runsBelow } from '../moved.ts';
import type { HeadPayload } from '../operations.ts';
import type { Ports } from '../ports.ts';
import { position, segmentOf } from '../position.ts';
import { readTable } from '../read-table.ts';
import { replay } from '../replay.ts';
import { QueueState, type Header } from '../state.ts';
import { lostGaps, wasUnsynced, type Survey } from '../survey.ts';
import { SegmentTable } from '../table.ts';
import { Evidence } from './evidence.ts';
import { Hearsay } from './hearsay.ts';
import { liveIn } from './lost-changes.ts';
import { Losses, type Lost } from './losses.ts';
import { checkOwner } from './origins.ts';
import {
  advance,
  complete,
  endsInHead,
  freshOf,
  readPartialHead,
  takeTables,
  type PartialHead,
} from './partial-head.ts';
import { expectMoved, settle, type Case } from './settle.ts';

export interface Salvage {
  state: QueueState;
  /** The highest number that a file of the queue has, or has had. */
  newest: number;
  /** Of the segments that can be read. */
  surveys: ReadonlyMap<number, Survey>;
  lost: Lost[];
  /** Records of which nothing is legible, at most: see `RepairReport`. */
  unnamed: number;
  /** Messages that are kept although they may have ended, or been put off or disabled: nothing tells. */
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
  const evidence = await Evidence.gather(source.ports, source.folder);
  const one = await new Salvor(evidence, source.keepOutcomes, false).run();
  // Nothing says that there is a queue: what does may be lost. Adds are made to queues that exist.
  const holed = evidence.segments.some((segment) => evidence.isHoled(segment));
  if (one.state.id !== '' || !holed || one.state.seal?.why === 'destroy') return one;
  const again = await Evidence.gather(source.ports, source.folder);
  const other = await new Salvor(again, source.keepOutcomes, true).run();
  return other.state.added > 0 ? other : one;
}

class Salvor {
  readonly #evidence: Evidence;
  readonly #losses: Losses;
  readonly #hearsay: Hearsay;
  readonly #keepOutcomes: number;
  /** Whether to take it that a queue exists where nothing says so. */
  readonly #bold: boolean;
  /** Positions of messages that are kept although they may have ended. */
  readonly #doubtful = new Set<number>();
  #cutInHead = false;
  /** Below this segment, a head tells of all. */
  #told = 0;
  #optionsKnown = true;
  #state: QueueState;

  constructor(evidence: Evidence, keepOutcomes: number, bold: boolean) {
    this.#evidence = evidence;
    this.#losses = new Losses(evidence);
    this.#hearsay = new Hearsay(evidence, this.#losses);
    this.#keepOutcomes = keepOutcomes;
    this.#bold = bold;
    this.#state = new QueueState(0, keepOutcomes);
  }

  async run(): Promise<Salvage> {
    const { folder, listed, indexed, segments, surveys, starts, moved } = this.#evidence;
    await this.#follow();
    checkOwner(folder, starts, placesOf({ state: this.#state }), this.#state.id);
    const { unnamed: ended, outdated } = await settle(this.#case);
    for (const at of this.#losses.findUnplaced(this.#state)) this.#doubtful.add(at);
    for (const at of this.#hearsay.unborn) this.#doubtful.add(at);
    this.#losses.tell(this.#state, this.#hearsay);
    this.#state.recount();
    const newest = Math.max(0, ...listed, ...indexed, this.#chosen());
    const cut = this.#cut();
    const resumed = segments.filter((segment) => this.#evidence.isResumed(segment));
    // What there was by then may have ended behind the cut.
    for (const at of liveIn(this.#state)) if (segmentOf(at) < Math.max(0, ...resumed)) this.#doubtful.add(at);
    const last = Math.max(0, ...segments);
    // Whatever is left may have ended in a last file that is gone, or behind its cut.
    const isOpen = newest > last || cut.includes(last);
    const messages = Object.values(this.#state.counts).reduce((sum, count) => sum + count, 0);
    const doubtful = [...this.#doubtful].filter((at) => this.#state.lifeOf(at)).length + ended;
    const { lost, unnamed, forgotten } = this.#losses;
    return {
      state: this.#state,
      newest,
      surveys,
      lost,
      unnamed,
      doubtful: isOpen ? messages : Math.min(messages, doubtful),
      moved: new Set(moved.segments.keys()),
      outdated,
      untold: [...cut, ...resumed, ...forgotten],
      told: this.#told,
      optionsKnown: this.#optionsKnown,
    };
  }

  get #case(): Case {
    return {
      evidence: this.#evidence,
      losses: this.#losses,
      hearsay: this.#hearsay,
      state: this.#state,
      doubtful: this.#doubtful,
    };
  }

  /** The successor that the log has chosen, where it is gone: that number has been used. */
  #chosen(): number {
    const { ports, folder } = this.#evidence;
    const { segment, successor } = this.#state;
    if (successor === undefined) return 0;
    const made = `${folder}/${temporaryName(segment + 1, successor)}`;
    return ports.fs.kind(made) === 'file' ? 0 : segment + 1;
  }

  /** Segments whose ends are gone, and of which no head tells all. */
  #cut(): number[] {
    const { listed, indexed, segments } = this.#evidence;
    const last = Math.max(0, ...segments);
    // An index, or a successor whatever it is, shows that it had been sealed.
    const isOver = indexed.some((each) => each >= last) || listed.includes(last + 1);
    return segments.filter((segment) => {
      if (segment === last && !isOver) return this.#cutInHead;
      return segment >= this.#told && this.#evidence.isCut(segment);
    });
  }

  /** From the last sound head to the end of the log. */
  async #follow(): Promise<void> {
    const { segments } = this.#evidence;
    let basis = segments.length;
    let head: LoadedHead | undefined;
    while (!head && basis > 0) {
      const segment = segments[--basis]!;
      const found = await this.#evidence.reading(segment, (fd) => this.#head(segment, fd));
      // Who could not read that there is a queue may have said that there is none.
      head = this.#bold && basis > 0 && found?.start.id === '' ? undefined : found;
    }
    this.#told = head ? segments[basis]! : 0;
    for (const [i, segment] of segments.entries()) {
      if (i < basis) continue;
      const end = this.#evidence.sealOf(segment, segments[i + 1]);
      await this.#evidence.reading(segment, async (fd) => {
        const from = head && i === basis ? await this.#begin(head) : await this.#cross(segment, fd);
        await this.#hearsay.read(fd, segment, from);
        this.#hearsay.enter(this.#state);
        if (this.#state.id === '' && this.#evidence.isHoled(segment)) this.#suppose(segment);
        await this.#replay(segment, fd, from, end);
        this.#losses.follow(segment, from);
        // What stands behind it has never been a message, though the seal itself may be lost.
        const sealed = this.#state.seal?.offset ?? end;
        if (sealed < Infinity) this.#state.tables.get(segment)?.close(sealed);
      });
    }
    // Of a segment in which nothing is fresh there is no table.
    for (const segment of segments) this.#forgetRepeated(segment);
  }

  async #replay(segment: number, fd: number, from: number, to: number): Promise<void> {
    const { ports, segments, surveys, moved } = this.#evidence;
    const state = this.#state;
    const holes = holesIn(surveys.get(segment)!).sort((a, b) => b.since - a.since);
    state.doubted = this.#doubtedIn(state);
    const hear = (header: Header, payload: Json, extent: Extent): Header | undefined => {
      while ((holes.at(-1)?.since ?? Infinity) <= extent.offset) {
        const { from, to } = holes.pop()!;
        state.noteRot(from, to, false);
      }
      const left = this.#hearsay.hear(
        header,
        { ...extent, segment, payload },
        state.seal !== undefined,
        state,
      );
      return left.op === 'purge' && !state.seal ? this.#purge(left) : moved.heed(left, state);
    };
    const unended = segment === segments.at(-1);
    // Adds among them may have been taken for messages of their own since.
    const repeated = surveys.get(segment)!.repeated.filter(({ isAdd }) => !isAdd);
    const without = new Set(repeated.map((each) => each.from));
    await replay(ports, fd, state, { from, to, strangers: true, unended, without, hear });
    this.#forgetRepeated(segment);
  }

  /**
   * Who wrote what is replayed did not know of them, perhaps, so that they refuse nothing: what has moved, or is there again by what
   * others tell.
   */
  #doubtedIn(state: QueueState): QueueState['doubted'] {
    const { moved } = this.#evidence;
    const { restored } = this.#hearsay;
    const isMoved = (at: number): boolean => moved.isNameless(at, state);
    // Where this segment has moved, more are to come.
    const known = moved.segments.has(state.segment) ? Infinity : liveIn(state).filter(isMoved).length;
    return {
      has: (at) => restored.has(at) || isMoved(at),
      get size() {
        return known + restored.size;
      },
    };
  }

  /** It spares those that are claimed: behind a hole, or of what has moved, nobody can say who is. */
  #purge(header: Header): Header | undefined {
    const { moved } = this.#evidence;
    const state = this.#state;
    const from = state.spares();
    if (from === undefined && moved.segments.size === 0) return header;
    for (const at of liveIn(state)) {
      if (at < (from ?? 0)) {
        if (!state.claimed.has(at)) this.#doubtful.add(at);
      } else if (!moved.isNameless(at, state)) state.happen(at, { type: 'purge' });
    }
    return undefined;
  }

  #head(segment: number, fd: number): Promise<LoadedHead | undefined> {
    const { ports } = this.#evidence;
    return loadHead(ports, fd, segment, this.#keepOutcomes, this.#evidence.path(segment));
  }

  /** Nothing sound up to a damaged segment says that there is a queue: what says so may be lost. A later head may know. */
  #suppose(segment: number): void {
    const later = [...this.#evidence.starts].find(([each, { header }]) => each > segment && header.id !== '');
    if (later) {
      const [, { header, payload }] = later;
      const { options, attributes } = payload as HeadPayload & { attributes: Record<string, Json> };
      Object.assign(this.#state, { id: header.id, created: header.created, options, attributes });
    } else if (this.#bold) {
      this.#state.id = this.#evidence.ports.random.hex(16);
      this.#optionsKnown = false;
    }
  }

  /** Takes the state of a whole head. Returns where the segment's own records begin. */
  async #begin({ state, end }: LoadedHead): Promise<number> {
    this.#state = state;
    this.#losses.begin(state.segment, state.damage);
    for (const table of state.tables.values()) {
      if (table.read) continue;
      const { segment } = table;
      const trusted = this.#evidence.surveys.has(segment) ? await this.#trusted(table) : undefined;
      this.#losses.expectAll(table, trusted);
      if (trusted) state.tables.set(segment, trusted);
      else state.tables.delete(segment);
    }
    // Before the tables are read: what stands in the place of a touched message is not taken for a fresh one.
    for (const [at, { place }] of state.touched) {
      if (!this.#isForgotten(at, place)) continue;
      state.happen(at, { type: 'remove' });
      expectMoved(this.#case, segmentOf(at));
    }
    await this.#readTables();
    state.recount();
    await this.#hearOlder();
    return end;
  }

  /** What stands in the segments before the head that all begins with: it matters where that was not told of all. */
  async #hearOlder(): Promise<void> {
    const { segments, moved } = this.#evidence;
    const matters = this.#losses.hasOld || this.#hearsay.suspects.size > 0 || moved.segments.size > 0;
    for (const [i, segment] of segments.entries()) {
      if (segment >= this.#state.segment || !matters) continue;
      const to = this.#evidence.sealOf(segment, segments[i + 1]);
      await this.#evidence.reading(segment, (fd) => this.#hearsay.read(fd, segment, to));
    }
  }

  /** The unread table of a segment, with as much of what a head says of it as still holds. */
  async #trusted(table: SegmentTable): Promise<SegmentTable> {
    const { segment, fresh, special } = table;
    const { segments: moves } = this.#evidence.moved;
    const runs = table.runs();
    if (!moves.has(segment)) await this.#evidence.noteMoved(segment, { runs });
    const move = moves.get(segment);
    return move ? SegmentTable.unread(segment, fresh, special, runsBelow(runs, move.from)) : table;
  }

  /** Readers take a line that stands there twice for two messages; unless the second holds something else by now, it goes. */
  #forgetRepeated(segment: number): void {
    const state = this.#state;
    for (const { from, isAdd } of this.#evidence.surveys.get(segment)!.repeated) {
      const at = position(segment, from);
      const { place = at } = state.touched.get(at) ?? {};
      if (isAdd && place === at && state.lifeOf(at)) state.happen(at, { type: 'remove' });
    }
  }

  /** What a head tells of a place in which another message stands by now is told of that one. */
  #isForgotten(at: number, place: number): boolean {
    const { moved } = this.#evidence;
    return moved.has(at) && segmentOf(place) === segmentOf(at) && moved.has(place);
  }

  async #readTables(): Promise<void> {
    const { ports, scanner, folder } = this.#evidence;
    const state = this.#state;
    for (const table of state.tables.values()) {
      if (table.read) continue;
      await readTable({ ports, scanner, folder, state, table, writes: false });
      this.#forgetRepeated(table.segment);
      this.#losses.find(table);
    }
  }

  /** Goes on in a segment whose head is damaged. Returns where its own records begin. */
  async #cross(segment: number, fd: number): Promise<number> {
    const { ports, scanner } = this.#evidence;
    const state = this.#state;
    const damaged = readDamagedHead(ports.fs, fd);
    const { start, end } = damaged;
    const { seal } = state;
    const isNext = seal !== undefined && state.segment === segment - 1;
    const isRepaired = state.isRepaired || (start !== undefined && isOfRepair(start));
    const follows = isNext && !isRepaired;
    const isKnown = follows && isRestoredBy(state, damaged);
    const head = readPartialHead(ports.fs, scanner, fd, end, this.#evidence.path(segment));
    const forgotten = this.#forgetMoved(head);
    const news = new Set(namedIn(head).filter((at) => !state.lifeOf(at)));
    if (follows) {
      if (seal.why === 'destroy') this.#state = new QueueState(segment, this.#keepOutcomes);
      else {
        state.enterSegment(segment);
        complete(state, head);
      }
    } else {
      state.enterSegment(segment);
      for (const at of advance(state, head)) this.#doubtful.add(at);
      const { surveys, moved } = this.#evidence;
      const inPart = takeTables(state, head, (each) => surveys.has(each) && !moved.segments.has(each));
      await this.#readTables();
      for (const at of freshOf(state)) if (inPart.has(segmentOf(at))) this.#doubtful.add(at);
    }
    if (!head.lacks.tables && !head.lacks.touched) this.#told = segment;
    this.#cutInHead = endsInHead(this.#evidence.surveys.get(segment)!, head);
    this.#losses.leave(head, news);
    for (const each of forgotten) expectMoved(this.#case, each);
    await this.#readTables();
    if (isRepaired) this.#losses.passRepair();
    this.#losses.enter(head, this.#state, isKnown);
    // As for all who read it: what follows is a hole, if not all that it said is known.
    this.#state.noteRot(0, end, false);
    if (isKnown) this.#state.restored = end;
    return end;
  }

  /** Takes from a damaged head what it says of places in which others stand by now. Returns the segments of those messages. */
  #forgetMoved(head: PartialHead): number[] {
    const { moved } = this.#evidence;
    const isForgotten = ({ header }: PartialHead['touched'][number]): boolean =>
      this.#isForgotten(position(...header.p), position(...header.at));
    const forgotten = head.touched.filter((each) => isForgotten(each));
    head.touched = head.touched.filter((each) => !isForgotten(each));
    for (const [segment, { from }] of moved.segments) {
      const table = head.tables.get(segment);
      if (table) Object.assign(table, { runs: runsBelow(table.runs, from), whole: true });
    }
    // What stands by now where these stood gets a position of its own: see `Displaced.messages`.
    for (const at of namedIn(head))
      if (moved.has(at) && !this.#state.touched.has(at)) this.#state.happen(at, { type: 'remove' });
    return forgotten.map(({ header }) => header.p[0]);
  }
}

/** What no reader takes for a hole: records that are missing without a trace, lines that were cut short, and newlines. */
function holesIn(survey: Survey): { since: number; from: number; to: number }[] {
  // It may have stood anywhere in the gap.
  const gaps = lostGaps(survey).map(({ from, offset }) => ({ since: from, from: offset, to: offset }));
  const cut = survey.bad
    .filter((range) => (range.what === 'cut' || range.isEmpty) && !wasUnsynced(survey, range))
    .map(({ from, to }) => ({ since: from, from, to }));
  // What a repair has taken out was missing for all who wrote behind it.
  const mended = (survey.mended ?? []).map(([from, to]) => ({ since: from, from, to }));
  return [...gaps, ...cut, ...mended];
}

/** Positions of the messages of which a head tells by themselves. */
function namedIn({ touched, carried }: PartialHead): number[] {
  return [...touched.map(({ header }) => position(...header.p)), ...carried.keys()];
}
