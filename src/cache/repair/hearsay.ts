/**
 * What sound records tell of messages whose own record is lost, or does not stand where they say. The one place where it is decided
 * whether such a message has ended: all of them are heard in the order of the log, and each segment's up to its seal.
 */
import { born, transition, type Json, type Life, type TryError } from '../../message.ts';
import { scanFile, type FileVisitor } from '../files.ts';
import { decode } from '../header.ts';
import type { Extent, Lease } from '../messages.ts';
import type { HeadRecord, Mended, ProgressRecord, Where } from '../operations.ts';
import { offsetOf, position, segmentOf } from '../position.ts';
import type { Header, QueueState } from '../state.ts';
import { openGaps } from '../survey.ts';
import { eachMessage } from '../where.ts';
import type { Evidence } from './evidence.ts';
import { Ghost, type Copy } from './ghost.ts';

/** A sound record: where it stands, and its payload. */
export interface Heard extends Extent {
  segment: number;
  payload: Json;
}

/** What the head says that all begins with. */
interface Basis {
  /** Whether the line that stood there was damaged before. */
  isOldAt(at: number): boolean;
  /** Whether what stood there had been touched, or had ended. */
  saidNotFresh(at: number): boolean;
}

export class Hearsay {
  /** Positions of damaged adds, by their uuids, where these are legible. */
  readonly suspects = new Map<string, number>();
  /** Positions of messages that are there again. */
  readonly restored = new Set<number>();
  /** Of those: of which nothing legible tells whether, or until when, they were put off or disabled when they were added. */
  readonly unborn = new Set<number>();
  /**
   * Updates that nobody could apply who went on, as what they were written over had moved, and the messages had not; by their positions.
   */
  readonly overlooked = new Map<number, Copy<'update'>>();
  readonly #evidence: Evidence;
  readonly #basis: Basis;
  readonly #ghosts = new Map<number, Ghost>();
  readonly #byUuid = new Map<string, Ghost>();
  /** Positions of messages that the state knows, or has known, by another record than their adds. */
  readonly #known = new Set<number>();
  /** Suspects that another record holds: a write that was cut off was made again, or a head has carried it. */
  readonly #held = new Set<string>();
  /** Suspects that nobody had claimed when all were ended. */
  readonly #gone = new Set<string>();
  /** Segments in which no claim can be missing, and others. */
  readonly #whole = new Map<number, boolean>();
  /** Of suspects: adds that came behind a seal, and were written again. */
  readonly #voids = new Map<string, Copy<'add'>>();

  constructor(evidence: Evidence, basis: Basis) {
    this.#evidence = evidence;
    this.#basis = basis;
    for (const [segment, survey] of evidence.surveys) {
      for (const { from, uuid, isAdd, note } of survey.bad)
        if (isAdd && !note && uuid !== undefined) this.suspects.set(uuid, position(segment, from));
    }
  }

  /** Hears what stands in the open file below `to`: what it leads to is known already. */
  async read(fd: number, segment: number, to: number): Promise<void> {
    let isSealed = false;
    const visitor: FileVisitor = {
      record: (buffer, start, end, headerLength, offset) => {
        const decoded = decode(buffer, start, end, headerLength);
        if (!decoded || this.#evidence.isRepeated(position(segment, offset))) return;
        const { header, payload } = decoded;
        this.hear(header, { segment, offset, length: end - start, headerLength, payload }, isSealed);
        isSealed ||= header.op === 'seal';
      },
      bad() {},
    };
    await scanFile(this.#evidence.ports, fd, visitor, 0, to);
  }

  /** What has been read so far led to `state`; but what was lost before its head was made, nobody has missed. */
  enter(state: QueueState): void {
    for (const [at, ghost] of this.#ghosts) {
      if (this.#evidence.moved.has(at)) continue;
      const { update } = ghost;
      if (state.lifeOf(at)) this.#forget(at);
      else if (update && this.#basis.isOldAt(at)) this.#rise(state, ghost, update);
    }
  }

  /** To be told of each record before it is applied. `state`: that it is applied to. Returns what is left for that to do. */
  hear<H extends Header | HeadRecord | Mended>(h: H, heard: Heard, isVoid: boolean, state?: QueueState): H {
    if (h.op === 'claim' && !isVoid) return { ...h, max: this.#claim(h, state) };
    this.#heed(h, heard, isVoid, state);
    return h;
  }

  #heed(h: Header | HeadRecord | Mended, heard: Heard, isVoid: boolean, state: QueueState | undefined): void {
    const { segment, offset, length, headerLength, payload } = heard;
    const copy = { place: position(segment, offset), length, headerLength };
    if (h.op === 'add' || h.op === 'carry') {
      if (!this.suspects.has(h.u)) return;
      if (!isVoid) this.#held.add(h.u);
      else if (h.op === 'add') this.#voids.set(h.u, { header: h, ...copy });
      return;
    }
    if (isVoid) return;
    switch (h.op) {
      case 'update':
        this.#overlook({ header: h, ...copy }, state);
        return this.#update({ header: h, ...copy }, state);
      case 'set':
        this.#reschedule(h);
        return this.#of(position(...h.p), undefined, state)?.reschedule(h);
      case 'remove':
      case 'cancel': {
        const error = payload as unknown as TryError;
        this.#of(position(...h.p), h.u, state)?.happen(
          h.op === 'remove' ? { type: 'remove' } : { type: 'cancel', error },
        );
        return;
      }
      case 'renew': {
        const progress = payload as ProgressRecord | null;
        return this.#each(h.c, state, (ghost) => {
          const lease = leaseOf(h, h.k.slice(0, h.k.indexOf('.')), ghost.lease);
          if (progress) lease.progress = { ...progress, t: h.t };
          ghost.settle({ type: 'renew', token: h.k }, lease);
        });
      }
      case 'done':
        return this.#each(h.c, state, (ghost) => ghost.settle({ type: 'complete', token: h.k }), h.u);
      case 'release':
        return this.#each(h.c, state, (ghost) => ghost.settle({ type: 'release', token: h.k }));
      case 'fail': {
        const error = payload as unknown as TryError;
        return this.#each(h.c, state, (ghost) => ghost.settle({ type: 'fail', token: h.k, error, due: h.d }));
      }
      case 'lapse': {
        const error = payload as unknown as TryError;
        const final = h.f === 1;
        return this.#each(h.c, state, (ghost) =>
          ghost.settle({ type: 'lapse', token: h.k, renewal: h.r, error, final }),
        );
      }
      case 'retry': {
        if (h.c) return this.#each(h.c, state, (ghost) => ghost.happen({ type: 'retry' }));
        for (const ghost of this.#ghosts.values()) ghost.happen({ type: 'retry' });
        return;
      }
      case 'seal':
        if (h.why === 'destroy') this.#endAll(copy.place);
        return;
      case 'purge':
        return this.#purge(copy.place, state);
      default:
      // Says nothing of a message; or its operation is not known, and nothing of it either.
    }
  }

  /** By its uuid. */
  of(uuid: string): Ghost | undefined {
    return this.#byUuid.get(uuid);
  }

  /** Those that have moved, where their uuids are known. */
  get displaced(): Ghost[] {
    return [...this.#byUuid.values()].filter(({ at }) => this.#evidence.moved.has(at));
  }

  /** Positions of messages that are known to have been there, and not to have ended. */
  get missing(): number[] {
    return this.#lost.filter(({ isRecent, hasEnded }) => isRecent && !hasEnded).map(({ at }) => at);
  }

  /** Positions of messages that are known to have ended. */
  get ended(): number[] {
    const { uuids } = this.#evidence.moved;
    const displaced = this.displaced.filter(({ uuid, isRecent }) => isRecent && !uuids.has(uuid!));
    const ghosts = [...this.#lost, ...displaced].filter(({ hasEnded }) => hasEnded);
    return [...ghosts.map(({ at }) => at), ...[...this.#gone].map((uuid) => this.suspects.get(uuid)!)];
  }

  /** Whether it is known what has become of a suspect. */
  knows(uuid: string): boolean {
    const at = this.suspects.get(uuid)!;
    const ghost = this.#byUuid.get(uuid);
    const hasEnded = ghost?.hasEnded || this.#ghosts.get(at)?.hasEnded || this.#gone.has(uuid);
    return hasEnded || ghost?.update !== undefined || this.#held.has(uuid) || this.#known.has(at);
  }

  /** A suspect is there again if the add that came behind a seal is. */
  revive(uuid: string, state: QueueState): void {
    const copy = this.#voids.get(uuid);
    if (!copy) return;
    const at = this.suspects.get(uuid)!;
    const ghost = this.#byUuid.get(uuid) ?? this.#ghosts.get(at);
    const birth = born(copy.header.d, copy.header.x === 1);
    this.#restore(state, at, ghost ? ghost.lifeFrom(birth) : birth, copy, ghost);
  }

  /** The add behind a seal that was written again at that position. */
  voidAt(at: number): Copy<'add'> | undefined {
    const bad = this.#evidence.badAt(segmentOf(at), offsetOf(at));
    const uuid = bad?.uuid;
    return uuid !== undefined && this.suspects.get(uuid) === at ? this.#voids.get(uuid) : undefined;
  }

  get #lost(): Ghost[] {
    return [...this.#ghosts.values()].filter(({ at }) => !this.#evidence.moved.has(at));
  }

  #overlook(copy: Copy<'update'>, state: QueueState | undefined): void {
    const { header, place } = copy;
    const { moved } = this.#evidence;
    const at = position(...header.p);
    // What is heard beside a state is applied to it.
    const isOverlooked = !state && !moved.has(at) && moved.has(place) && moved.has(position(...header.at));
    if (isOverlooked) this.overlooked.set(at, copy);
    else this.overlooked.delete(at);
  }

  /** What an overlooked update has said of that counts no more. */
  #reschedule(h: Header & { op: 'set' }): void {
    const at = position(...h.p);
    const copy = this.overlooked.get(at);
    if (copy) this.overlooked.set(at, { ...copy, header: { ...copy.header, ...h, op: 'update' } });
  }

  #update(copy: Copy<'update'>, state: QueueState | undefined): void {
    const { header } = copy;
    const at = position(...header.p);
    const ghost = this.#of(at, header.u, state);
    if (!ghost || ghost.hasEnded) return;
    ghost.update = copy;
    // Whoever wrote it had read the message; it is applied to what it was written over.
    if (state && !this.#evidence.moved.has(at)) {
      const place = position(...header.at);
      this.#rise(state, ghost, { ...copy, place, length: 0, headerLength: 0 });
    } else ghost.reschedule(header);
  }

  /** What is lost has been granted like what is there. Returns how many of that have: of those that it names, the first that may run. */
  #claim(h: Header & { op: 'claim' }, state: QueueState | undefined): number {
    if (state?.paused) return 0;
    const token = `${h.w}.${h.k}`;
    let granted = 0;
    let there = 0;
    eachMessage(h.c, (at, due) => {
      const event = { type: 'claim', token, due } as const;
      const ghost = this.#of(at, undefined, state);
      if (granted === h.max) return;
      const life = state && !this.#evidence.moved.isNameless(at, state) ? state.lifeOf(at) : undefined;
      const isThere = life !== undefined && transition(life, event) !== undefined;
      if (isThere) there++;
      if (ghost?.happen(event, leaseOf(h, h.w, undefined)) || isThere) granted++;
    });
    return there;
  }

  /** It names nobody: of what does not stand where it did, it ends nothing; and behind a hole, of what may have been claimed in that. */
  #purge(place: number, state: QueueState | undefined): void {
    const { moved } = this.#evidence;
    const isWhole = (at: number): boolean => this.#tellsClaims(segmentOf(at), segmentOf(place));
    for (const ghost of this.#ghosts.values())
      if (!moved.has(ghost.at) && (state?.isHoled === false || isWhole(ghost.at)))
        ghost.happen({ type: 'purge' });
    for (const [uuid, at] of this.suspects)
      if (at < place && !this.#ghosts.has(at) && isWhole(at)) this.#gone.add(uuid);
  }

  /** Whether no claim can be missing in these segments. */
  #tellsClaims(from: number, to: number): boolean {
    for (let segment = from; segment <= to; segment++) {
      const known = this.#whole.get(segment) ?? this.#isWhole(segment);
      this.#whole.set(segment, known);
      if (!known) return false;
    }
    return true;
  }

  #isWhole(segment: number): boolean {
    const { surveys, moved } = this.#evidence;
    const survey = surveys.get(segment);
    if (!survey || moved.segments.has(segment) || openGaps(survey).length > 0) return false;
    return survey.bad.every(({ isAdd, single }) => isAdd && single);
  }

  /** With their queue. */
  #endAll(before: number): void {
    for (const ghost of this.#ghosts.values()) ghost.happen({ type: 'remove' });
    for (const [uuid, at] of this.suspects) if (at < before) this.#gone.add(uuid);
  }

  #each(where: Where[], state: QueueState | undefined, act: (ghost: Ghost) => void, uuids?: string[]): void {
    let i = 0;
    eachMessage(where, (at) => {
      const ghost = this.#of(at, uuids?.[i++], state);
      if (ghost) act(ghost);
    });
  }

  /** As it was added, as far as that is legible, and as records have left it since. */
  #rise(state: QueueState, ghost: Ghost, copy: Copy): void {
    const { at } = ghost;
    const bad = this.#evidence.badAt(segmentOf(at), offsetOf(at));
    const birth = bad?.from === offsetOf(at) ? bad.birth : undefined;
    if ((!birth || bad?.isDateOpen) && ghost.isAsBorn) this.unborn.add(at);
    this.#restore(state, at, ghost.lifeFrom(birth), copy, ghost);
  }

  #restore(state: QueueState, at: number, life: Life | undefined, copy: Copy, ghost?: Ghost): void {
    if (!life) return;
    const { header, place, length, headerLength } = copy;
    const alias = state.options.uniqueAlias ? header.a : undefined;
    state.restore(at, life, place, length, headerLength, ghost?.lease, alias);
    this.restored.add(at);
    this.#forget(at);
  }

  #forget(at: number): void {
    this.#ghosts.delete(at);
    this.#known.add(at);
  }

  #isLost(at: number): boolean {
    return this.#evidence.isLost(segmentOf(at), offsetOf(at));
  }

  /** Undefined: what is said of it is not of a message that is lost, or has moved. */
  #of(at: number, uuid: string | undefined, state: QueueState | undefined): Ghost | undefined {
    const { moved } = this.#evidence;
    if (!moved.has(at)) {
      if (this.#known.has(at)) return undefined;
      if (state?.lifeOf(at)) {
        // What becomes of it is for the state to tell, from now on.
        if (state.touched.has(at) && this.#isLost(at)) this.#forget(at);
        return undefined;
      }
      const isLost = state ? this.#isLost(at) : this.#basis.isOldAt(at);
      if (!isLost && (uuid === undefined || !this.suspects.has(uuid))) return undefined;
      // Whoever speaks of it still has come too late.
      if (state && !this.#ghosts.has(at) && this.#basis.saidNotFresh(at)) return undefined;
    }
    let ghost = this.#ghosts.get(at);
    // Where lines have moved, another may stand there by now.
    if (!ghost || (uuid !== undefined && ghost.uuid !== undefined && ghost.uuid !== uuid)) {
      ghost = new Ghost(at);
      ghost.update = uuid === undefined ? undefined : this.#byUuid.get(uuid)?.update;
      this.#ghosts.set(at, ghost);
    }
    if (uuid !== undefined) {
      ghost.uuid = uuid;
      this.#byUuid.set(uuid, ghost);
    }
    ghost.isRecent ||= state !== undefined;
    return ghost;
  }
}

function leaseOf(
  { m, ms, t }: Header & { op: 'claim' | 'renew' },
  writer: string,
  held: Lease | undefined,
): Lease {
  const lease: Lease = { writer, began: m, length: ms, since: held?.since ?? t };
  if (held?.progress) lease.progress = held.progress;
  return lease;
}
