/** Which messages are lost, by name or by number, and how many may be: what heads count against what is found. */
import { parseSegmentName, segmentName } from '../files.ts';
import { offsetOf, position, segmentOf } from '../position.ts';
import { Ranges, rangesBySegment } from '../ranges.ts';
import type { Damage, QueueState } from '../state.ts';
import { lostGaps, openGaps, wasUnsynced, type BadRange, type Survey } from '../survey.ts';
import { isInRuns, type SegmentTable } from '../table.ts';
import type { Evidence } from './evidence.ts';
import type { Hearsay } from './hearsay.ts';
import { countFresh, hasLeft, type PartialHead } from './partial-head.ts';
import { missedIn, missingAddsIn, unnamedIn } from './untold.ts';

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

export class Losses {
  readonly lost: Lost[] = [];
  /** Segments that are not there, or cut off, and of which no head tells any more what was in them. */
  readonly forgotten: number[] = [];
  readonly #evidence: Evidence;
  /** Of older segments: offsets of what is not fresh, how many fresh messages there were, and how many are not there. */
  readonly #runs = new Map<number, readonly number[]>();
  readonly #waiting = new Map<number, number>();
  readonly #unfound = new Map<number, number>();
  /** By the heads that these numbers are from: offsets of what was not among the fresh ones. */
  readonly #others = new Map<number, readonly number[]>();
  /** Likewise: what was damaged already. */
  #damaged = rangesBySegment<Damage>([]);
  /** Whether such a head may have told of more. */
  #lacksDamage = false;
  /** That the head tells of with which all began. */
  #damage = rangesBySegment<Damage>([]);
  /** The segment of that head. Undefined: there is none that is sound. */
  #basis: number | undefined;
  /** Of the segments from there on: where their own records begin. */
  readonly #begins = new Map<number, number>();
  #unnamed = 0;
  /** Touched messages of which a damaged head may have told: what has happened to them is not known, nor that they are. */
  #untouched = 0;
  /** Segments of which an earlier repair has told all that is missing. */
  readonly #toldBefore = new Set<number>();
  /** Whether it may have told of messages that wait in a segment of which it does not tell any more. */
  #lacksTables = false;

  constructor(evidence: Evidence) {
    this.#evidence = evidence;
  }

  /** Records of which nothing is legible, at most: each may have added a message. */
  get unnamed(): number {
    return this.#unnamed + this.#untouched;
  }

  /** All begins with the head of this segment, that tells of this damage. */
  begin(segment: number, damage: readonly Damage[]): void {
    this.#basis = segment;
    this.#damage = rangesBySegment(damage);
    this.#damaged = this.#damage;
  }

  /** That head says what waits in a segment; of which `trusted` is what still holds. Undefined: the segment is not there. */
  expectAll(table: SegmentTable, trusted: SegmentTable | undefined): void {
    const { segment, fresh } = table;
    this.#waiting.set(segment, fresh);
    this.#others.set(segment, table.runs());
    this.#runs.set(segment, (trusted ?? table).runs());
    if (!trusted) this.#unfound.set(segment, fresh);
  }

  /** One more waits in a segment. */
  expectOne(segment: number): void {
    this.#waiting.set(segment, (this.#waiting.get(segment) ?? 0) + 1);
  }

  /** What is found in a segment of what is expected there. */
  find({ segment, fresh }: SegmentTable): void {
    this.#unfound.set(segment, (this.#waiting.get(segment) ?? 0) - fresh);
    this.#accountRepeated(segment);
  }

  /** A damaged head tells of messages (`news`) of which nobody knew, and no more of some segments. */
  leave(head: PartialHead, news: ReadonlySet<number>): void {
    for (const at of news) this.account(at);
    for (const segment of this.#unfound.keys()) if (hasLeft(head, segment)) this.#unfound.delete(segment);
  }

  /** What a repair has taken out of a segment it has told; where all else is as it left it, nothing more is missing. */
  passRepair(): void {
    const { surveys, moved } = this.#evidence;
    for (const [segment, survey] of surveys) {
      const isAsLeft = survey.mended && survey.bad.length === 0 && openGaps(survey).length === 0;
      if (!isAsLeft || moved.segments.has(segment)) continue;
      this.#unfound.delete(segment);
      this.#toldBefore.add(segment);
    }
  }

  /** What is found in `state` of what a damaged head counts. `isWhole`: nothing is missing of what it told. */
  enter(head: PartialHead, state: QueueState, isWhole: boolean): void {
    this.#damaged = rangesBySegment(
      head.others.flatMap(({ header }) => (header.op === 'damage' ? [header] : [])),
    );
    this.#lacksDamage = head.lacks.damage;
    for (const [segment, { fresh, runs }] of head.tables) {
      this.#unfound.set(segment, fresh - countFresh(state.tables.get(segment), runs));
      this.#others.set(segment, runs);
      this.#accountRepeated(segment);
    }
    // A head tells of all that is there, so that what is lost with an earlier one does not matter.
    if (isWhole) return;
    this.#untouched = head.lost;
    this.#lacksTables = head.lacks.tables;
  }

  /** The segment's own records, which begin at `from`, have been followed. */
  follow(segment: number, from: number): void {
    const { surveys, moved } = this.#evidence;
    const survey = surveys.get(segment)!;
    this.#begins.set(segment, from);
    this.#unnamed += Math.max(unnamedIn(survey, from), missedIn(survey, moved.segments.get(segment)));
  }

  /** One of those that were not found is accounted for. */
  account(at: number): void {
    const segment = segmentOf(at);
    const offset = offsetOf(at);
    const count = this.#unfound.get(segment);
    // What was damaged already, or not fresh any more, was not expected.
    if (count === undefined || this.#damaged.get(segment)?.ranges.has(offset)) return;
    if (isInRuns(this.#others.get(segment) ?? [], offset)) return;
    this.#unfound.set(segment, count - 1);
    // It may have been damaged already after all: then another one is missing.
    if (count > 0 && this.#lacksDamage && this.#evidence.isLost(segment, offset)) this.#unnamed++;
  }

  /** Where a line stands twice, whoever made the head took it for two messages. */
  #accountRepeated(segment: number): void {
    const { surveys, moved } = this.#evidence;
    for (const { from, isAdd } of surveys.get(segment)?.repeated ?? []) {
      const at = position(segment, from);
      if (isAdd && !moved.has(at)) this.account(at);
    }
  }

  /** What a message holds, at `place`, is lost. */
  lose(at: number, place: number): void {
    const segment = segmentOf(place);
    if (this.#toldBefore.has(segment)) return;
    const offset = offsetOf(place);
    const bad = this.#evidence.badAt(segment, offset);
    this.lost.push({
      file: segmentName(segment),
      count: 1,
      position: [segmentOf(at), offsetOf(at)],
      // That of a longer range is the one of its first message.
      ...(bad?.from !== offset || bad.uuid === undefined ? {} : { uuid: bad.uuid }),
      why: this.#evidence.surveys.has(segment)
        ? `what it holds, at offset ${offset}, is damaged`
        : 'what it holds stood in a file that is not there',
    });
  }

  /** Whether what stood there is not known from the head that all began with. */
  isOpen(segment: number, survey: Survey, range: BadRange): boolean {
    if (range.note || wasUnsynced(survey, range)) return false;
    const begin = this.#begins.get(segment);
    // A damaged head ends at the first sound record of a writer; what stands between that and its own last line may be a writer's as well.
    if (begin !== undefined) return range.from >= Math.min(begin, survey.headEnd);
    return range.from >= survey.headEnd && this.isOld(segment, range);
  }

  /** Of a segment before that head: the holes that were known when it was made. */
  knownHolesIn(segment: number): readonly Damage[] {
    return this.#begins.has(segment) ? [] : (this.#damage.get(segment)?.all ?? []);
  }

  /** Whether anything was damaged before that head was made. */
  get hasOld(): boolean {
    return this.#damage.size > 0;
  }

  /** Whether this was. */
  isOld(segment: number, { from, to }: BadRange): boolean {
    return this.#damage.get(segment)?.ranges.anyCovers(from, to) ?? false;
  }

  /**
   * Of older segments in which records are missing, and nothing tells whether others have moved with that, as no head tells where
   * their adds are, nor where their seals were: the messages there may be others. Returns the positions of those.
   */
  findUnplaced(state: QueueState): number[] {
    const { surveys, moved } = this.#evidence;
    const unplaced: number[] = [];
    for (const [segment, survey] of surveys) {
      const isTold = this.#begins.has(segment) || this.#waiting.has(segment) || moved.segments.has(segment);
      if (isTold || this.#evidence.isPlaced(segment)) continue;
      const gaps = lostGaps(survey).filter(({ offset }) => !this.#wasDamaged(segment, offset));
      const from = gaps.reduce((first, gap) => Math.min(first, gap.from), Infinity);
      const there = [...state.touched].filter(
        ([, { place }]) => segmentOf(place) === segment && offsetOf(place) >= from,
      );
      if (there.length === 0) continue;
      unplaced.push(...there.map(([at]) => at));
      this.#unnamed += gaps.reduce((sum, { count }) => sum + count, 0);
    }
    return unplaced;
  }

  /** Whether a damaged line stands there, and did then. */
  isOldAt(at: number): boolean {
    const bad = this.hasOld ? this.#evidence.badAt(segmentOf(at), offsetOf(at)) : undefined;
    return bad !== undefined && this.isOld(segmentOf(at), bad);
  }

  #wasDamaged(segment: number, offset: number): boolean {
    return this.#damage.get(segment)?.ranges.has(offset) ?? false;
  }

  /** By the head that all began with. What was damaged already when that was made, it knows nothing of. */
  saidNotFresh(at: number): boolean {
    const segment = segmentOf(at);
    const offset = offsetOf(at);
    if (this.#wasDamaged(segment, offset)) return false;
    const runs = this.#runs.get(segment);
    if (runs) return isInRuns(runs, offset);
    // Of a segment in which nothing waits it tells nothing; unless something was missing there, or has moved since.
    const { moved } = this.#evidence;
    const isWhole = !moved.segments.has(segment) && !this.#damage.has(segment);
    return isWhole && this.#basis !== undefined && segment < this.#basis;
  }

  /** Once all else is settled: messages that are not there, by name, or because other records speak of them, or at least how many. */
  tell(state: QueueState, hearsay: Hearsay): void {
    this.#tellUnheard(state, hearsay);
    this.#countForgotten();
    if (this.#lacksTables) this.#countUntabled();
  }

  #tellUnheard(state: QueueState, hearsay: Hearsay): void {
    const { surveys } = this.#evidence;
    const known = new Set(this.lost.flatMap(({ position: place }) => (place ? [position(...place)] : [])));
    const missing = new Set(
      hearsay.missing.filter((at) => {
        return !state.lifeOf(at) && !known.has(at) && !this.#toldBefore.has(segmentOf(at));
      }),
    );
    const named = this.untold(state, hearsay);
    for (const at of named.keys()) if (!known.has(at)) missing.add(at);
    for (const at of [...missing].sort((a, b) => a - b)) {
      const segment = segmentOf(at);
      const offset = offsetOf(at);
      const bad = this.#evidence.badAt(segment, offset);
      const uuid = named.get(at) ?? (bad?.from === offset ? bad.uuid : undefined);
      this.account(at);
      this.lost.push({
        file: segmentName(segment),
        count: 1,
        position: [segment, offset],
        ...(uuid === undefined ? {} : { uuid }),
        why: surveys.has(segment)
          ? 'the record that added it is damaged'
          : 'the record that added it stood in a file that is not there',
      });
    }
    for (const at of [...hearsay.ended, ...hearsay.restored]) this.account(at);
    for (const [segment, count] of this.#unfound) {
      const file = segmentName(segment);
      const why = surveys.has(segment) ? 'their records are damaged' : `${file} is not there`;
      if (count > 0) this.lost.push({ file, count, why });
    }
    this.#countMoved([...missing].map(segmentOf));
  }

  /** Damaged adds with a legible uuid of which nothing sound tells, by their positions. */
  untold(state: QueueState, hearsay: Hearsay): Map<number, string> {
    const suspects = [...hearsay.suspects].filter(([uuid, at]) => {
      const isTold = hearsay.knows(uuid) || this.saidNotFresh(at);
      return !isTold && !state.lifeOf(at);
    });
    return new Map(suspects.map(([uuid, at]) => [at, uuid]));
  }

  /** What was damaged before the head was made that all began with: nobody who made a head since then knew of it. */
  #countForgotten(): void {
    const { surveys, starts } = this.#evidence;
    for (const [segment, { all }] of this.#damage) {
      if (this.#begins.has(segment)) continue;
      // Of what is missing from a file, no bytes are.
      const isShort = all.some(({ to }) => to === 0);
      const survey = surveys.get(segment);
      const start = starts.get(segment);
      const next = starts.get(segment + 1);
      // The head that a repair has made does not tell what the segment before it led to.
      const isCounted = start !== undefined && next?.header.prev?.segment === segment;
      if (!survey || (!survey.sealed && !isCounted)) this.forgotten.push(segment);
      if (!survey) continue;
      const bad = survey.bad.filter((range) => this.isOld(segment, range));
      const known = new Ranges(bad.map(({ from, to }) => [from, to]));
      const gaps = survey.gaps.filter(({ from, offset }) => known.anyWithin(from, offset));
      const unnamed = unnamedIn({ ...survey, bad, gaps }, survey.headEnd);
      const isWhole = survey.sealed && !isShort;
      this.#unnamed += isWhole ? unnamed : Math.max(unnamed, missingAddsIn(survey, start, next));
    }
  }

  /** Where no head tells how many messages wait in a segment: of one that is gone that it is, else how many adds are. */
  #countUntabled(): void {
    const { surveys, starts, segments } = this.#evidence;
    for (const { file } of this.lost) {
      const segment = parseSegmentName(file)!;
      if (!surveys.has(segment)) this.forgotten.push(segment);
    }
    for (const segment of segments.slice(0, -1)) {
      const survey = surveys.get(segment);
      if (!survey || survey.sealed || !this.#begins.has(segment)) continue;
      const most = missingAddsIn(survey, starts.get(segment), starts.get(segment + 1));
      const told = this.lost.filter(
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
    const { surveys, starts, moved } = this.#evidence;
    for (const [segment, waiting] of this.#waiting) {
      const survey = surveys.get(segment);
      const move = moved.segments.get(segment);
      if (!survey || !move) continue;
      const rest = waiting - named.filter((each) => each === segment).length;
      const start = starts.get(segment);
      const next = starts.get(segment + 1);
      const wasDamaged = (offset: number): boolean => this.#wasDamaged(segment, offset);
      const most = missingAddsIn(survey, start, next, move, wasDamaged);
      const told = Math.max(0, this.#unfound.get(segment) ?? 0);
      this.#unnamed += Math.max(0, Math.min(rest, most) - told);
    }
  }
}
