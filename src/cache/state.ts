/**
 * The state of a queue, as its log tells it. Pure: consults no clock, no file, no process table, so every process
 * that has applied the same bytes holds the same state. Records are applied in the order of the log; a record whose
 * comparison with the state fails has no effect.
 */
import type { Durability } from '../backend.ts';
import { QueueError, quote } from '../errors.ts';
import type { Happening, Json, Life, Message, Outcome, TryError } from '../message.ts';
import { Messages, payloadBytes, type Extent, type Lease } from './messages.ts';
import type {
  HeadPayload,
  HeadStart,
  OutcomeEntry,
  Operation,
  Place,
  ProgressRecord,
  SealReason,
  StampRecord,
  Where,
  Written,
} from './operations.ts';
import { UUID_LENGTH, type AddReader } from './add-reader.ts';
import { displacement, Doubted, isDisplacement, misnamedBy } from './displaced.ts';
import type { Identity } from './ports.ts';
import { offsetOf, position, segmentOf } from './position.ts';
import { rangesBySegment } from './ranges.ts';
import { PREFIX } from './record.ts';
import type { SegmentTable } from './table.ts';
import { eachMessage } from './where.ts';

export type Header = Operation & Written;

/** What a record has changed; its writer's answer. */
export type Effect =
  | { kind: 'none' }
  | { kind: 'added'; at: number }
  /** `message`: as it stood at that place in the log; for the writer of the record only. */
  | { kind: 'duplicate'; at: number; message?: Message | undefined }
  | { kind: 'full'; limit: 'maxMessages' | 'maxBytes' }
  | { kind: 'changed'; at: number[] }
  | { kind: 'purged'; count: number };

export interface Writer {
  who: Identity;
  durability: Durability;
}

export interface Seal {
  offset: number;
  checksum: string;
  why: SealReason;
  /** Its writer, where that may be at work on the successor. */
  by?: string;
}

export interface Damage {
  segment: number;
  from: number;
  to: number;
}

const NONE: Effect = { kind: 'none' };
/** Where it does not matter which message it is. */
const ADDED: Effect = { kind: 'added', at: 0 };

/** What changes the queue itself, and so nothing where there is none: the record of its creation may be lost, and they not. */
const OF_A_QUEUE = new Set<Operation['op']>(['pause', 'resume', 'attr', 'processed']);

export class QueueState extends Messages {
  /** '' while no queue of this name exists. */
  id = '';
  attributes: Record<string, Json> = {};
  created = 0;
  modified = 0;
  paused = false;
  /** Messages ever added, and ever completed or taken. */
  added = 0;
  processed = 0;
  #inserted: StampRecord | null = null;
  /** When the last message was added, and its uuid, where that is later than `#inserted`: few are ever asked for. */
  #insertedAt: number | undefined;
  readonly #insertedUuid = Buffer.alloc(UUID_LENGTH);
  last: StampRecord | null = null;
  boot = '';
  /** Of the effects of this segment's records so far. */
  digest = 0;
  seal: Seal | undefined;
  /** The name of the successor's temporary file, once the log has chosen it. */
  successor: string | undefined;
  /** Whether a repair has made that: what this state is by then does not lead to it. */
  isRepaired = false;
  readonly writers = new Map<string, Writer>();
  readonly damage: Damage[] = [];
  override doubted: Messages['doubted'] = new Doubted(this);
  /** Offset below which this segment is known to have been on the device, as its records say. */
  #synced = 0;
  /**
   * Up to here this segment's damage is in its head, of which all that matters is known from the predecessor: behind it the rules
   * are as strict as for who has read the head. -1: there is no such head.
   */
  restored = -1;
  /** The last message that a claim in this segment has named to no effect. */
  #denied = 0;
  /** Whether more is known to be lost of older segments than the present head tells: others may count what is lost there. */
  untold = false;
  /** Of the damage: what holds zeros, as nobody writes them. */
  #zeros: Damage[] = [];
  /** Where the records before such ranges end, and where these do: in between may be what is left of a record. */
  #cutByZeros: [since: number, to: number][] = [];
  /** Of the last record that was applied. */
  #end = 0;
  readonly outcomes: OutcomeEntry[] = [];
  /** Each is told of the outcomes of the messages whose uuids it holds. No part of what the log says. */
  watchers: ReadonlySet<Map<string, OutcomeEntry | undefined>> = new Set();
  readonly #keepOutcomes: number;

  constructor(segment: number, keepOutcomes: number) {
    super(segment);
    this.#keepOutcomes = keepOutcomes;
  }

  /** Of the last message that was added. */
  get inserted(): StampRecord | null {
    if (this.#insertedAt !== undefined) {
      this.#inserted = { u: this.#insertedUuid.toString('latin1'), a: '', t: this.#insertedAt };
      this.#insertedAt = undefined;
    }
    return this.#inserted;
  }
  set inserted(stamp: StampRecord | null) {
    this.#inserted = stamp;
    this.#insertedAt = undefined;
  }

  /** The seal has been passed: from here on records of `segment` are applied. */
  override enterSegment(segment: number): void {
    super.enterSegment(segment);
    this.digest = 0;
    this.seal = undefined;
    this.successor = undefined;
    this.isRepaired = false;
    this.restored = -1;
    this.#synced = 0;
    this.#zeros = [];
    this.#cutByZeros = [];
    this.#end = 0;
    this.#denied = 0;
    this.untold = false;
  }

  /**
   * Bytes [from, to) of the current segment are rot. `zeros`: there are zeros among them; should a restart of the machine
   * follow that finds nothing said of a flush of them, they were lost before they were on the device, and are no damage.
   * Undefined: no damage in any case. Behind a seal nothing but notes stands, and those are made again.
   */
  noteRot(from: number, to: number, zeros: boolean): Damage | undefined {
    if (zeros && this.seal) return undefined;
    const damage = { segment: this.segment, from, to };
    this.damage.push(damage);
    if (zeros) this.#zeros.push(damage);
    if (zeros && from < to) this.#cutByZeros.push([this.#end, to]);
    return damage;
  }

  /** That records of a segment do not stand where they were written is known from one of them. */
  knowsOf(damage: Damage): boolean {
    const { segment, from, to } = damage;
    const isSame = (known: Damage): boolean =>
      known.segment === segment &&
      ((known.from <= from && known.to >= to) || (isDisplacement(known) && isDisplacement(damage)));
    // What was met last is asked for most.
    return this.damage.findLast((known) => isSame(known)) !== undefined;
  }

  /** Those of which nothing is known. By halves: there may be very many on either side. */
  unknownOf(damage: readonly Damage[]): Damage[] {
    if (damage.length === 0) return [];
    const known = rangesBySegment(this.damage);
    return damage.filter((each) => {
      const there = known.get(each.segment);
      if (!there || there.ranges.anyCovers(each.from, each.to)) return !there;
      return !isDisplacement(each) || !there.all.some((one) => isDisplacement(one));
    });
  }

  /** Whether records are known to be lost, of this segment or another; with a head that was made again whole none are. */
  get isDamaged(): boolean {
    return this.damage.some(({ segment, to }) => segment !== this.segment || to > this.restored);
  }

  /** Whether it must be read before records are applied. Where damage is told, what waits there is less than the head may say. */
  needsTable({ segment, special }: SegmentTable): boolean {
    if (special > 0 || this.needsTables) return true;
    return this.needsWhole && this.damage.some((each) => each.segment === segment);
  }

  /** Whether an add stands there in the current segment, that of a refused one too, or anything that may be left of one. */
  mayHoldAdd(offset: number): boolean {
    if (this.hasAddAt(offset)) return true;
    if (this.knowsOf({ segment: this.segment, from: offset, to: offset })) return true;
    return this.#isCutByZeros(offset);
  }

  #isCutByZeros(offset: number): boolean {
    return this.#cutByZeros.some(([since, to]) => since <= offset && offset < to);
  }

  #noteDisplaced(offset: number): void {
    const [from, to] = displacement(offset);
    // It may be what was lost with the power, like zeros.
    if (!this.knowsOf({ segment: this.segment, from, to })) this.noteRot(from, to, true);
  }

  /** Zeros stand for what has not come to be on the device, as a restart of the machine shows, or a flush that has failed. */
  #forgiveZeros(): void {
    const lost = new Set(this.#zeros.filter(({ from }) => from >= this.#synced));
    this.#zeros = [];
    const [first] = lost;
    if (!first) return;
    // What was met since the last time stands at the end.
    const later = this.damage.splice(this.damage.lastIndexOf(first));
    for (const damage of later) if (!lost.has(damage)) this.damage.push(damage);
  }

  /**
   * What a mere producer needs of a record: whether its own add counts, and which file comes next. A state that is
   * fed by this knows no messages.
   */
  applyControl(h: Header | HeadStart, offset: number, checksum: string, payload: () => Json): Effect {
    if (h.op === 'head') {
      this.id = h.id;
      this.boot = h.boot;
      this.options = (payload() as unknown as HeadPayload).options;
      return NONE;
    }
    if (this.seal) {
      this.#afterSeal(h);
      return NONE;
    }
    switch (h.op) {
      case 'add':
        return this.id === '' ? NONE : { kind: 'added', at: position(this.segment, offset) };
      case 'boot':
      case 'writer':
      case 'seal':
      case 'create':
        return this.#apply(h, offset, 0, 0, checksum, payload);
      default:
        return NONE;
    }
  }

  /**
   * Applies the record at `offset` of the current segment.
   * @param payload gives the record's payload; called only by the few that need it.
   */
  apply(
    h: Header,
    offset: number,
    length: number,
    headerLength: number,
    checksum: string,
    payload: () => Json,
  ): Effect {
    if (this.seal) {
      this.#afterSeal(h);
      return NONE;
    }
    this.#noteSynced(offset, h.op === 'boot' ? undefined : h.s);
    this.#end = offset + length;
    const effect = this.#apply(h, offset, length, headerLength, checksum, payload);
    // What has been flushed since the restart shows nothing of before.
    if (h.op === 'boot') this.#noteSynced(offset, h.s);
    this.#note(effect, offset, h.t);
    const misnamed = misnamedBy(h, effect.kind === 'changed' ? effect.at.length : 0, this);
    if (misnamed !== undefined) this.#noteDisplaced(misnamed);
    return effect;
  }

  /** The same for an add that was read as a plain one; nobody waits for its effect. */
  applyAdd(add: AddReader, extent: Extent): void {
    if (this.seal) return;
    this.#noteSynced(extent.offset, add.synced);
    this.#end = extent.offset + extent.length;
    const refusal = this.#refusal(undefined, extent);
    if (refusal) this.refuse(extent, undefined, false);
    else {
      this.added++;
      add.copyUuid(this.#insertedUuid);
      this.#insertedAt = add.time;
      this.insert(extent, undefined, false);
    }
    this.#note(refusal ?? ADDED, extent.offset, add.time);
  }

  /** Before the record is applied: what it says goes for itself, too. */
  #noteSynced(offset: number, synced = 0): void {
    if (synced > this.#synced) this.#synced = synced;
    // More than stands before it has been flushed: some of that is gone.
    if (synced > offset) this.#noteDisplaced(offset);
  }

  /** What every record changes that has an effect. */
  #note(effect: Effect, offset: number, time: number): void {
    if (effect === NONE) return;
    if (effect.kind !== 'duplicate' && effect.kind !== 'full') this.modified = Math.max(this.modified, time);
    this.digest = (Math.imul(this.digest ^ offset, 0x9e3779b1) + weight(effect)) | 0;
  }

  #afterSeal(h: Header): void {
    // What a power cut has taken before the seal is no damage either.
    if (h.op === 'boot') this.boot = h.id;
    if (h.op === 'boot' || h.op === 'unsound') this.#forgiveZeros();
    if (h.op === 'unsound' && this.seal!.why !== 'destroy') this.seal = { ...this.seal!, why: 'sync' };
    if (h.op !== 'next' || this.successor !== undefined) return;
    if (h.at !== this.seal!.offset || h.crc !== this.seal!.checksum) return;
    this.successor = h.r;
    this.isRepaired = h.repair === 1;
  }

  #apply(
    h: Header,
    offset: number,
    length: number,
    headerLength: number,
    checksum: string,
    payload: () => Json,
  ): Effect {
    if (this.id === '' && OF_A_QUEUE.has(h.op)) return NONE;
    switch (h.op) {
      case 'add':
        return this.#add(h, { offset, length, headerLength });
      case 'claim': {
        const token = `${h.w}.${h.k}`;
        const lease: Lease = { writer: h.w, began: h.m, length: h.ms, since: h.t };
        const max = this.paused ? 0 : h.max;
        const granted: number[] = [];
        eachMessage(h.c, (at, due) => {
          if (granted.length < max && this.happen(at, { type: 'claim', token, due }, lease)) granted.push(at);
          else if (at > this.#denied && this.lifeOf(at)) this.#denied = at;
        });
        return changed(granted);
      }
      case 'done': {
        const ended: number[] = [];
        let index = 0;
        eachMessage(h.c, (at) => {
          const i = index++;
          if (!this.happen(at, { type: 'complete', token: h.k })) return;
          ended.push(at);
          this.#ended(h.u[i], h.a[i], 'completed', h.t);
        });
        return changed(ended);
      }
      case 'renew':
        return this.#renew(h, payload() as ProgressRecord | null);
      case 'release':
        return this.#each(h.c, { type: 'release', token: h.k });
      case 'fail':
        return this.#each(h.c, {
          type: 'fail',
          token: h.k,
          error: payload() as unknown as TryError,
          due: h.d,
        });
      case 'lapse': {
        const evidence = payload() as unknown as TryError;
        return this.#each(h.c, (life) => ({
          type: 'lapse',
          token: h.k,
          renewal: h.r,
          final: h.f === 1,
          error: { ...evidence, attempt: life.attempts },
        }));
      }
      case 'update':
        return this.#update(h, { offset, length, headerLength });
      case 'set':
        return this.#each([h.p], rescheduling(h));
      case 'cancel': {
        const error = payload() as unknown as TryError;
        return this.#each([h.p], ({ attempts }) => ({
          type: 'cancel',
          error: { ...error, attempt: attempts },
        }));
      }
      case 'remove': {
        const effect = this.#each([h.p], { type: 'remove' });
        if (effect !== NONE) this.#remember(h.u, h.a ?? '', 'removed', h.t);
        return effect;
      }
      case 'retry':
        return this.#each(h.c ?? this.#failed(), { type: 'retry' });
      case 'purge': {
        const count = this.purge(this.spares());
        return count === 0 ? NONE : { kind: 'purged', count };
      }
      case 'pause':
      case 'resume':
        if (this.paused === (h.op === 'pause')) return NONE;
        this.paused = h.op === 'pause';
        return changed([offset]);
      case 'attr':
        this.#patchAttributes(payload() as Record<string, Json>);
        return changed([offset]);
      case 'processed':
        this.last = { u: h.u, a: h.a, t: h.t };
        return changed([offset]);
      case 'writer':
        this.writers.set(h.w, { who: h.who, durability: h.dur });
        return NONE;
      case 'boot':
        this.boot = h.id;
        this.#forgiveZeros();
        return NONE;
      case 'create':
        return this.#create(h, payload() as unknown as HeadPayload);
      case 'seal':
        this.seal = { offset, checksum, why: h.why, by: h.w };
        // Every head tells where it was, whoever makes it: the seal itself may rot.
        this.tables.get(this.segment)?.close(offset);
        if (h.why === 'sync') this.#forgiveZeros();
        return NONE;
      case 'next':
      case 'unsound':
        return NONE;
      default:
        throw new QueueError(
          'JOURNAL_NEWER',
          `this version of Coda does not know the operation ${quote((h as { op: unknown }).op)}`,
        );
    }
  }

  #add(h: Header & { op: 'add' }, extent: Extent): Effect {
    const refusal = this.#refusal(h.a, extent);
    if (refusal) {
      this.refuse(extent, h.d, h.x === 1);
      return refusal;
    }
    this.added++;
    this.inserted = { u: h.u, a: h.a ?? '', t: h.t };
    return { kind: 'added', at: this.insert(extent, h.d, h.x === 1, h.a) };
  }

  #refusal(alias: string | undefined, { length, headerLength }: Extent): Effect | undefined {
    if (this.id === '') return NONE;
    // A record that freed the alias or the room may have been in the hole: rather a message too many than one lost.
    if (this.isHoled) return undefined;
    const { uniqueAlias, maxMessages, maxBytes } = this.options;
    const holder = uniqueAlias && alias !== undefined ? this.holderOf(alias) : undefined;
    if (holder !== undefined) return { kind: 'duplicate', at: holder };
    // Who is doubted is counted only where that decides.
    if (
      maxMessages !== undefined &&
      this.waiting >= maxMessages &&
      this.waiting - this.doubted.size >= maxMessages
    )
      return { kind: 'full', limit: 'maxMessages' };
    const isTooMuch = maxBytes !== undefined && this.bytes + payloadBytes(length, headerLength) > maxBytes;
    return isTooMuch && this.doubted.size === 0 ? { kind: 'full', limit: 'maxBytes' } : undefined;
  }

  #renew(h: Header & { op: 'renew' }, progress: ProgressRecord | null): Effect {
    const writer = h.k.slice(0, h.k.indexOf('.'));
    const renewed: number[] = [];
    eachMessage(h.c, (at) => {
      const held = this.touched.get(at)?.lease;
      const lease: Lease = { writer, began: h.m, length: h.ms, since: held?.since ?? h.t };
      const said = progress ? { ...progress, t: h.t } : held?.progress;
      if (said) lease.progress = said;
      if (this.happen(at, { type: 'renew', token: h.k }, lease)) renewed.push(at);
    });
    return changed(renewed);
  }

  #update(h: Header & { op: 'update' }, extent: Extent): Effect {
    const at = position(...h.p);
    if (!this.lifeOf(at)) return NONE;
    const place = this.touched.get(at)?.place ?? at;
    const over = position(...h.at);
    // Places only grow: where what it was written over is not known, it has moved.
    if (segmentOf(over) === this.segment && over > place && !this.#isCutByZeros(offsetOf(over)))
      this.#noteDisplaced(offsetOf(over));
    if (place !== over && !this.#mayHaveStood(h.at, place)) return NONE;
    // In a hole that lets in adds that were refused, an alias is no reason to refuse what may have been accepted.
    const compares = this.options.uniqueAlias && h.a !== undefined && !this.isHoled;
    const holder = compares ? this.holderOf(h.a!) : undefined;
    if (holder !== undefined && holder !== at) return { kind: 'duplicate', at: holder };
    this.replace(at, rescheduling(h), extent, h.a);
    return changed([at]);
  }

  /**
   * Whether records of this segment are lost. From there to the next head, the replay errs on the side of a message
   * too many.
   */
  get isHoled(): boolean {
    if (this.damage.length === 0) return false;
    return this.damage.some(({ segment, to }) => segment === this.segment && to > this.restored);
  }

  /**
   * A purge takes what nobody has claimed. That is not known of messages before a hole, nor of those that a claim has named to
   * no effect, because of what is lost there, perhaps. Returns from where on it takes them; undefined: all.
   */
  spares(): number | undefined {
    const holes = this.damage.filter(({ segment, from, to }) => {
      // A claim takes more than its prefix; of what has gone without a trace, nobody knows how much it took.
      const mayHideClaim = to === from || to - from > PREFIX;
      return segment === this.segment && to > this.restored && mayHideClaim;
    });
    if (holes.length === 0) return undefined;
    const ends = holes.map(({ segment, to }) => position(segment, to));
    return Math.max(this.#denied + 1, ...ends);
  }

  /** Whether a content that is known at `place` may have stood where an update says: what is there is lost. */
  #mayHaveStood([at, offset]: Place, place: number): boolean {
    // What a head says comes before all updates of its segment.
    const inHead = at === this.segment && offset < this.restored;
    if (inHead && place >= position(this.segment, this.restored)) return false;
    return this.damage.some(({ segment, from, to }) => segment === at && from <= offset && offset < to);
  }

  #create(h: Header & { op: 'create' }, payload: HeadPayload): Effect {
    if (this.id !== '') return NONE;
    this.id = h.id;
    this.options = payload.options;
    this.attributes = payload.attributes as Record<string, Json>;
    this.created = h.t;
    return changed([0]);
  }

  #each(where: Where[], event: Happening | ((life: Life) => Happening), lease?: Lease): Effect {
    const changedOnes: number[] = [];
    eachMessage(where, (at) => {
      const life = typeof event === 'function' ? this.lifeOf(at) : undefined;
      const happening = typeof event === 'function' ? life && event(life) : event;
      if (happening && this.happen(at, happening, lease)) changedOnes.push(at);
    });
    return changed(changedOnes);
  }

  #failed(): Where[] {
    const where: Where[] = [];
    for (const [at, { life }] of this.touched)
      if (life.phase.state === 'failed') where.push([segmentOf(at), offsetOf(at)]);
    return where;
  }

  #patchAttributes(patch: Record<string, Json>): void {
    const next = new Map(Object.entries(this.attributes));
    for (const [key, value] of Object.entries(patch)) {
      if (value === null) next.delete(key);
      else next.set(key, value);
    }
    // fromEntries defines own properties: a key named __proto__ stays a key.
    this.attributes = Object.fromEntries(next);
  }

  #ended(uuid: string | undefined, alias: string | undefined, outcome: Outcome, time: number): void {
    this.processed++;
    this.last = { u: uuid ?? '', a: alias ?? '', t: time };
    this.#remember(uuid ?? '', alias ?? '', outcome, time);
  }

  #remember(u: string, a: string, o: Outcome, t: number): void {
    const entry = { u, a, o, t };
    this.outcomes.push(entry);
    for (const watcher of this.watchers) if (watcher.has(u)) watcher.set(u, entry);
    // Cut in bulk: shifting a thousand entries for each new one would cost more than the message.
    if (this.outcomes.length > this.#keepOutcomes * 2 + 16)
      this.outcomes.splice(0, this.outcomes.length - this.#keepOutcomes);
  }
}

/** Tells effects apart in the digest. */
function weight(effect: Effect): number {
  if (effect.kind === 'changed') return effect.at.length + 8;
  return effect.kind === 'purged' ? effect.count + 9 : effect.kind.length;
}

/** What an update says of schedule and flag. */
function rescheduling({ d, x }: { d?: number | null; x?: 0 | 1 }): Happening {
  return { type: 'update', due: d, disabled: x === undefined ? undefined : x === 1 };
}

function changed(at: number[]): Effect {
  return at.length === 0 ? NONE : { kind: 'changed', at };
}
