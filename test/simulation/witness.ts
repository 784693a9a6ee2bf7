/**
 * What the clients of a queue have asked for and been told, and whether it can all be true. It knows nothing of how the queue
 * is stored. Messages are told apart by a number in their data; times are counted over all calls and answers.
 *
 * A message *may have ended* from the moment somebody calls what may end it. What is said of a call that was never answered,
 * or refused by the storage, is nothing: it may have happened or not.
 */
import type { QueueStatus } from '../../src/backend.ts';
import type { VerifyReport } from '../../src/cache/verify.ts';
import type { Claim, Message } from '../../src/message.ts';
import type { Process } from './machine.ts';

/** A promise that was not kept. */
export class Violation extends Error {}

export interface Entry {
  readonly id: number;
  readonly alias: string;
  /** Ready when added. */
  readonly plain: boolean;
  /** Never to be claimed as it was added. */
  held: boolean;
  readonly calledAt: number;
  /** By which handle; its calls are in order. */
  readonly handle: object;
  uuid: string | undefined;
  /** Somebody was told that it was added. */
  ackedAt: number;
  /** It has been seen in the queue, or its add was answered. */
  seenAt: number;
  /** Its add was refused. */
  refused: boolean;
  mayHaveEnded: boolean;
  /** Somebody was told that it has ended, `durably` if a power cut cannot undo it. */
  endedAt: number;
  durably: boolean;
  /** Versions of the data: the last answered, when that was, and the last asked for. */
  version: number;
  versionAt: number;
  asked: number;
  changing: boolean;
  /** Others may take it from whoever holds it. */
  contested: boolean;
  /** Nothing but its add has ever concerned it. */
  untouched: boolean;
  claims: Held[];
}

/** A claim, from its answer to its end. */
export interface Held {
  readonly entry: Entry;
  readonly claim: Claim;
  readonly process: Process;
  readonly calledAt: number;
  readonly grantedAt: number;
  /** The machine's time until which it lasts at least. */
  until: number;
  /** Its holder has begun to end it. */
  ending: boolean;
  /** Others have called what takes it away, whoever holds it. */
  contested: boolean;
  /** An end of it was answered with true. */
  ended: boolean;
}

interface Data {
  id: number;
  version: number;
  pad: string;
}

export type Settling = 'complete' | 'fail' | 'release' | 'renew';

const NEVER = Infinity;

/** A call that has not been answered. */
export interface Call {
  readonly process: Process;
  readonly kind: 'take' | 'sweep' | 'claim' | 'update' | 'pause';
  readonly since: number;
  /** Of an update. */
  readonly entry: Entry | undefined;
  readonly version: number;
}

export class Witness {
  readonly entries = new Map<number, Entry>();
  /** Whether answers survive a power cut. */
  readonly durable: boolean;
  readonly limit: number | undefined;
  readonly uniqueAlias: boolean;
  /** Rot has been let loose: acknowledged messages may be gone, if that is reported. */
  rotten = false;
  /** How many bytes have rotted, and what is gone since. */
  #rot = 0;
  #lostToRot: number[] = [];
  /** A head has been damaged, from which nothing may be lost. */
  #damaged = false;
  /** Reads, writes or flushes have failed: what was refused may be there in part. */
  faulty = false;
  readonly #open = new Set<Call>();
  /** Calls of `take` that will never be answered: each may have taken a message. */
  #lostTakes = 0;
  #claimsLost = false;
  /** A hole in the log makes replay err on the side of a message too many. */
  #holed = false;
  #pausedAt = NEVER;
  #lastPause: Call | undefined;
  #attributes = new Map<string, { asked: number; acked: number }>();
  #time = 0;
  /** Calls and answers. */
  calls = 0;
  readonly #machineTime: () => number;

  constructor(of: {
    durable: boolean;
    limit: number | undefined;
    uniqueAlias: boolean;
    machineTime: () => number;
  }) {
    this.durable = of.durable;
    this.limit = of.limit;
    this.uniqueAlias = of.uniqueAlias;
    this.#machineTime = of.machineTime;
  }

  /** The time now; each is later than the one before. */
  tick(): number {
    return ++this.#time;
  }

  data(id: number, version: number): Data {
    // Sizes that differ, and bytes that a shifted read would show.
    return { id, version, pad: String(id).repeat((id * 7 + version * 3) % 17) };
  }

  #begin(process: Process, kind: Call['kind'], entry?: Entry, version = 0): Call {
    this.calls++;
    const call = { process, kind, since: this.tick(), entry, version };
    this.#open.add(call);
    return call;
  }

  /** The call was refused by the storage, or its process has died: it may have had its effect. */
  lost(call: Call): void {
    if (!this.#open.delete(call)) return;
    if (call.kind === 'take') this.#lostTakes++;
    if (call.kind === 'sweep') this.#forget();
    if (call.kind === 'claim' || call.kind === 'take') this.#claimsLost = true;
    if (call.entry) call.entry.changing = false;
  }

  died(process: Process): void {
    for (const call of this.#open) if (call.process === process) this.lost(call);
  }

  #count(kind: Call['kind']): number {
    let count = 0;
    for (const call of this.#open) if (call.kind === kind) count++;
    return count;
  }

  /** How many messages may have been taken by calls without an answer. */
  get #maybeTaken(): number {
    return this.#count('take') + this.#lostTakes;
  }

  // --- Adding ----------------------------------------------------------------------------------------------------

  adding(handle: object, how: { alias: string; plain: boolean; held: boolean }): Entry {
    this.calls++;
    const entry: Entry = {
      ...how,
      id: this.entries.size + 1,
      calledAt: this.tick(),
      handle,
      uuid: undefined,
      ackedAt: NEVER,
      seenAt: NEVER,
      refused: false,
      mayHaveEnded: this.#count('sweep') > 0,
      endedAt: NEVER,
      durably: false,
      version: 0,
      versionAt: 0,
      asked: 0,
      changing: false,
      contested: false,
      untouched: true,
      claims: [],
    };
    this.entries.set(entry.id, entry);
    return entry;
  }

  added(entry: Entry, answer: Message & { duplicate: boolean }): void {
    if (answer.duplicate) {
      entry.refused = true;
      if (!this.uniqueAlias) throw new Violation(`add of ${entry.id} was answered with a duplicate`);
      const there = this.#known(answer);
      if (there === entry) throw new Violation(`message ${entry.id} is said to be its own duplicate`);
      this.#seen(there);
      there.ackedAt = Math.min(there.ackedAt, this.tick());
      return;
    }
    if (this.#known(answer) !== entry)
      throw new Violation(`add of ${entry.id} was answered with another message`);
    entry.uuid = answer.uuid;
    entry.ackedAt = this.tick();
    this.#seen(entry);
    // One that has ended before its answer came has freed its alias.
    if (!this.uniqueAlias || entry.alias === '' || entry.mayHaveEnded) return;
    for (const other of this.entries.values()) {
      if (other === entry || other.alias !== entry.alias || other.mayHaveEnded) continue;
      if (this.rotten || this.#holed || this.#maybeTaken > 0) continue;
      if (other.seenAt < entry.calledAt || other.ackedAt !== NEVER)
        throw new Violation(`messages ${other.id} and ${entry.id} have one alias`);
    }
  }

  /** The add was refused: it must not be there, and never have been. */
  refusedAdd(entry: Entry): void {
    this.tick();
    entry.refused = true;
    if (entry.seenAt !== NEVER) throw new Violation(`message ${entry.id} was seen, and its add refused`);
  }

  refusedAsFull(entry: Entry): void {
    this.refusedAdd(entry);
    let possible = 0;
    for (const other of this.entries.values())
      if (!other.refused && other.endedAt >= entry.calledAt) possible++;
    if (this.limit === undefined || possible < this.limit)
      throw new Violation(
        `an add was refused as full, with ${possible} messages and a limit of ${this.limit}`,
      );
  }

  // --- Seeing ----------------------------------------------------------------------------------------------------

  #seen(entry: Entry): void {
    entry.seenAt = Math.min(entry.seenAt, this.tick());
  }

  /** The entry of a message that was handed over, its data checked. */
  #known(message: Message): Entry {
    const { id, version } = message.data as unknown as Data;
    const entry = this.entries.get(id);
    const shown = JSON.stringify(message.data).slice(0, 200);
    if (!entry) throw new Violation(`a message that nobody has added: ${shown}`);
    if (shown !== JSON.stringify(this.data(id, version)).slice(0, 200))
      throw new Violation(`data that nobody has written: ${shown}`);
    if (version > entry.asked)
      throw new Violation(`message ${id} has version ${version}, asked for by nobody`);
    if (entry.uuid !== undefined && entry.uuid !== message.uuid)
      throw new Violation(`message ${id} has another uuid than its add was told`);
    entry.uuid ??= message.uuid;
    return entry;
  }

  /** A message that a call, begun at `since`, was answered with. */
  met(message: Message, since: number): Entry {
    const entry = this.#known(message);
    const { version } = message.data as unknown as Data;
    if (entry.refused && !this.rotten && !this.#holed)
      throw new Violation(`message ${entry.id} is there, and its add was refused`);
    if (entry.endedAt < since && !this.rotten)
      throw new Violation(`message ${entry.id} is back after its end was acknowledged`);
    if (entry.versionAt < since && version < entry.version && !this.rotten)
      throw new Violation(
        `message ${entry.id} has version ${version}, after ${entry.version} was acknowledged`,
      );
    this.#seen(entry);
    return entry;
  }

  /** All messages, as a call that was begun at `since` found them. */
  found(messages: readonly Message[], since: number): void {
    const present = new Set<Entry>();
    let before: Entry | undefined;
    for (const message of messages) {
      const entry = this.met(message, since);
      if (present.has(entry)) throw new Violation(`message ${entry.id} was found twice`);
      present.add(entry);
      if (before) this.#inOrder(before, entry, 'was found');
      before = entry;
    }
    const missing: number[] = [];
    for (const entry of this.entries.values()) {
      if (entry.seenAt < since && !entry.mayHaveEnded && !present.has(entry)) missing.push(entry.id);
    }
    this.#lostToRot = this.rotten ? missing : [];
    if (missing.length > this.#maybeTaken && !this.rotten)
      throw new Violation(`acknowledged and lost: ${missing.join(', ')}`);
  }

  /** Looked for by its uuid, in a call that was begun at `since`. */
  looked(entry: Entry, found: Message | undefined, since: number): void {
    if (found) {
      if (this.met(found, since) !== entry) throw new Violation(`another message than ${entry.id} was found`);
      return;
    }
    this.tick();
    if (entry.seenAt < since && !entry.mayHaveEnded && this.#maybeTaken === 0 && !this.rotten)
      throw new Violation(`acknowledged and lost: ${entry.id}`);
  }

  /** `first` was handed over before `second`. */
  #inOrder(first: Entry, second: Entry, what: string): void {
    if (isBefore(second, first))
      throw new Violation(`message ${first.id} ${what} before ${second.id}, which was added before it`);
  }

  // --- Claiming --------------------------------------------------------------------------------------------------

  claiming(process: Process): Call {
    return this.#begin(process, 'claim');
  }

  /** @param began the machine's time at the call. */
  claimed(call: Call, claims: readonly Claim[], began: number, lease: number): Held[] {
    this.#open.delete(call);
    const { process, since } = call;
    const alone = this.#count('claim') === 0 && !this.#claimsLost && this.#maybeTaken === 0;
    if (claims.length > 0 && this.#pausedAt < since)
      throw new Violation('messages of a paused queue were handed out');
    const now = this.#machineTime();
    const held = claims.map((claim) => {
      const entry = this.met(claim, since);
      // A process that was stopped may be told of a claim that is over.
      if (now < began + lease) this.#free(entry, now);
      if (entry.held) throw new Violation(`message ${entry.id} may not run, and was handed out`);
      const one: Held = {
        entry,
        claim,
        process,
        calledAt: since,
        grantedAt: this.tick(),
        until: began + lease,
        ending: false,
        contested: entry.contested || entry.mayHaveEnded,
        ended: false,
      };
      entry.claims.push(one);
      return one;
    });
    for (const [i, { entry }] of held.entries())
      if (i > 0) this.#inOrder(held[i - 1]!.entry, entry, 'was handed out');
    const last = held.at(-1)?.entry;
    for (const { entry } of held) entry.untouched = false;
    if (alone && last) this.#passedOver(last, since);
    return held;
  }

  /** Nobody holds the message now. */
  #free(entry: Entry, now: number): void {
    for (const other of entry.claims) {
      if (other.process.alive && !other.ending && !other.contested && now < other.until)
        throw new Violation(`message ${entry.id} was handed out while another's claim on it lived`);
    }
  }

  /** Whether something that must have come first was left in line. */
  #passedOver(last: Entry, since: number): void {
    for (const entry of this.entries.values()) {
      if (
        entry.untouched &&
        entry.plain &&
        entry.ackedAt < since &&
        !entry.mayHaveEnded &&
        !this.rotten &&
        isBefore(entry, last)
      )
        throw new Violation(
          `message ${last.id} was handed out before ${entry.id}, which was added before it`,
        );
    }
  }

  settling(held: Held, how: Settling): number {
    this.calls++;
    if (how !== 'renew') held.ending = true;
    if (how === 'complete') held.entry.mayHaveEnded = true;
    return this.tick();
  }

  settled(held: Held, how: Settling, applied: boolean, since: number): void {
    const { entry } = held;
    if (applied) {
      // Answers may come in another order than claims.
      const later = entry.claims.find((other) => other.grantedAt < since && other.calledAt > held.grantedAt);
      if (later) throw new Violation(`a stale settle of message ${entry.id} had an effect`);
      if (held.ended) throw new Violation(`a claim on message ${entry.id} was ended twice`);
      if (how !== 'renew') held.ended = true;
      if (how === 'complete') this.#ended(entry, false);
      return;
    }
    this.tick();
    // Whoever else ended it would have had no right to.
    if (this.#machineTime() < held.until && !held.contested && !held.ended && !this.rotten)
      throw new Violation(`a claim on message ${entry.id} had ended before its time`);
  }

  renewed(held: Held, began: number, lease: number): void {
    held.until = began + lease;
  }

  taking(process: Process): Call {
    return this.#begin(process, 'take');
  }

  took(call: Call, message: Message | undefined): void {
    const { since } = call;
    this.#open.delete(call);
    if (!message) return;
    if (this.#pausedAt < since) throw new Violation('a message of a paused queue was handed out');
    const entry = this.met(message, since);
    this.#free(entry, this.#machineTime());
    for (const one of entry.claims) one.contested = true;
    entry.mayHaveEnded = true;
    entry.untouched = false;
    this.#ended(entry, true);
  }

  // --- Changing --------------------------------------------------------------------------------------------------

  /** A message about which clients know something. */
  some(pick: (limit: number) => number): Entry | undefined {
    const known = [...this.entries.values()].filter(
      ({ uuid, endedAt }) => uuid !== undefined && endedAt === NEVER,
    );
    return known[pick(Math.max(known.length, 1))];
  }

  /** Something is called that may end it. */
  dooming(entry: Entry): void {
    this.calls++;
    this.#doomed(entry);
    this.tick();
  }

  #doomed(entry: Entry): void {
    entry.mayHaveEnded = true;
    this.#contested(entry);
  }

  #contested(entry: Entry): void {
    entry.untouched = false;
    entry.contested = true;
    for (const held of entry.claims) held.contested = true;
  }

  cancelling(entry: Entry): void {
    this.calls++;
    // Failed, and then retried, it may run.
    entry.held = false;
    this.#contested(entry);
    this.tick();
  }

  removed(entry: Entry): void {
    this.#ended(entry, true);
  }

  #ended(entry: Entry, durably: boolean): void {
    entry.mayHaveEnded = true;
    entry.durably ||= durably;
    entry.endedAt = Math.min(entry.endedAt, this.tick());
  }

  /** A call that gives it new contents. */
  updating(process: Process, entry: Entry): Call {
    entry.changing = true;
    entry.untouched = false;
    return this.#begin(process, 'update', entry, ++entry.asked);
  }

  updated(call: Call, found: Message | undefined): void {
    const entry = call.entry!;
    this.#open.delete(call);
    entry.changing = false;
    if (!found) return this.looked(entry, undefined, call.since);
    this.met(found, call.since);
    entry.version = call.version;
    entry.versionAt = this.tick();
  }

  /** Something that ends every message, or every one that is not claimed. */
  sweeping(process: Process): Call {
    for (const entry of this.entries.values()) this.#doomed(entry);
    this.#forget();
    return this.#begin(process, 'sweep');
  }

  /** @param all whether every message that had been acknowledged before the call has ended, and with them the queue. */
  swept(call: Call, all: boolean): void {
    this.#open.delete(call);
    this.#forget();
    this.tick();
    if (!all) return;
    for (const entry of this.entries.values()) {
      for (const held of entry.claims) held.contested = true;
      if (entry.ackedAt < call.since) this.#ended(entry, true);
    }
  }

  /** The queue may be another by now. */
  #forget(): void {
    this.#pausedAt = NEVER;
    this.#attributes = new Map();
  }

  /** A pause or a resume. */
  pausing(process: Process): Call {
    this.#pausedAt = NEVER;
    return (this.#lastPause = this.#begin(process, 'pause'));
  }

  /** @param paused whether it was a pause. */
  pausingDone(call: Call, paused: boolean): void {
    this.#open.delete(call);
    this.tick();
    const contested = call !== this.#lastPause || this.#count('pause') + this.#count('sweep') > 0;
    if (paused && !contested) this.#pausedAt = this.tick();
  }

  /** A number that grows, under a key of its own. */
  attributing(key: string): number {
    this.calls++;
    const known = this.#attributes.get(key) ?? { asked: 0, acked: 0 };
    this.#attributes.set(key, known);
    this.tick();
    return ++known.asked;
  }

  attributed(key: string, value: number): void {
    const known = this.#attributes.get(key);
    if (known) known.acked = Math.max(known.acked, value);
  }

  /** What must be seen by a call that begins now. */
  get attributes(): () => [string, number][] {
    const then = this.#attributes;
    const acked = [...then].map(([key, { acked }]): [string, number] => [key, acked]);
    return () => (then === this.#attributes && this.#count('sweep') === 0 && !this.rotten ? acked : []);
  }

  attributesSeen(
    seen: Readonly<globalThis.Record<string, unknown>>,
    expected: () => [string, number][],
  ): void {
    this.tick();
    for (const [key, value] of expected()) {
      if (!(Number(seen[key] ?? 0) >= value))
        throw new Violation(`attribute ${key} is ${String(seen[key])}, after ${value} was acknowledged`);
    }
  }

  // --- The whole queue -------------------------------------------------------------------------------------------

  /** What a status said that was asked for at `since`. */
  counted({ counts, messagesToProcess }: QueueStatus, since: number): void {
    this.tick();
    const { ready, deferred, claimed, disabled, failed } = counts;
    const total = ready + deferred + claimed + disabled + failed;
    if (messagesToProcess !== ready + deferred + claimed || Math.min(...Object.values(counts)) < 0)
      throw new Violation(
        `counts that do not add up: ${JSON.stringify(counts)}, ${messagesToProcess} to process`,
      );
    if (this.rotten || this.#holed) return;
    let least = -this.#maybeTaken;
    let most = 0;
    for (const entry of this.entries.values()) {
      if (entry.seenAt < since && !entry.mayHaveEnded) least++;
      if (!entry.refused && !(entry.endedAt < since)) most++;
    }
    if (total < least || total > most)
      throw new Violation(`${total} messages are counted, and there are ${least} to ${most}`);
  }

  /** What a look at every byte has found. @param found how many messages a find has found, when nothing else goes on. */
  verified({ sound, damage, messages }: VerifyReport, found?: number): void {
    // Of two neighbours in rot one cannot always be told from a torn write.
    if (sound && this.#rot === 1 && this.#lostToRot.length > this.#maybeTaken && found !== undefined)
      throw new Violation(`lost to rot, and reported nowhere: ${this.#lostToRot.join(', ')}`);
    if (this.rotten || this.faulty || this.#damaged) return;
    const told = damage.filter(({ kind }) => kind !== 'torn' && kind !== 'index');
    if (!sound) throw new Violation(`damage that nobody has done: ${JSON.stringify(told)}`);
    if (found !== undefined && messages !== found)
      throw new Violation(`${messages} messages are verified, and ${found} found`);
  }

  /** At the end, when nobody else is there. */
  ended(found: readonly Message[], { counts }: QueueStatus): void {
    const expected = { ready: 0, deferred: 0, claimed: 0, disabled: 0, failed: 0 };
    for (const { state, disabled } of found) {
      if (disabled && (state === 'ready' || state === 'deferred')) expected.disabled++;
      else expected[state]++;
    }
    if (JSON.stringify(counts) !== JSON.stringify(expected) && !this.rotten && !this.faulty)
      throw new Violation(`counted ${JSON.stringify(counts)}, found ${JSON.stringify(expected)}`);
  }

  /** Everything may run from now on. */
  freeing(found: readonly Message[]): void {
    this.#pausedAt = NEVER;
    for (const message of found) {
      const entry = this.#known(message);
      this.#contested(entry);
      entry.held = false;
    }
  }

  /** Everything that was found has been worked off, in order. */
  drained(found: readonly Message[], drained: readonly Message[], { counts }: QueueStatus): void {
    // A message whose content cannot be read is found by nobody, and set aside when it is claimed.
    const excused = this.rotten || this.faulty;
    if (Object.values(counts).some((count) => count !== 0) && !excused)
      throw new Violation(`a queue that was drained counts ${JSON.stringify(counts)}`);
    const order = drained.map(({ uuid }) => uuid);
    const first = found.filter(({ state }) => state !== 'claimed').map(({ uuid }) => uuid);
    const drainedFirst = order.filter((uuid) => first.includes(uuid));
    if (drainedFirst.join() !== first.join() && !excused)
      throw new Violation('messages were not drained in the order in which they stand');
    if (new Set(order).size !== order.length || (order.length !== found.length && !excused))
      throw new Violation(`${found.length} messages were found, ${order.length} drained`);
  }

  rotted(): void {
    this.rotten = true;
    this.#rot++;
  }

  damaged(): void {
    this.#damaged = true;
    this.#holed = true;
  }

  // --- Faults ----------------------------------------------------------------------------------------------------

  /**
   * Every process is dead, and what was not durable may be lost.
   * @param holes whether bytes may be missing in the middle of the log.
   */
  powerCut(holes: boolean): void {
    this.#holed ||= holes;
    for (const entry of this.entries.values()) {
      entry.claims = [];
      // Behind a hole, what was refused may count after all.
      if (holes) entry.refused = false;
      if (!this.durable) {
        // It is there or not, in some version; what is seen next is what counts.
        const unknown = { ackedAt: NEVER, seenAt: NEVER, endedAt: NEVER, durably: false, version: 0 };
        Object.assign(entry, unknown);
        continue;
      }
      entry.seenAt = entry.ackedAt;
      if (!entry.durably) entry.endedAt = NEVER;
    }
    if (!this.durable) this.#forget();
    // Claims of before are nobody's, but last until somebody has seen that.
    this.#claimsLost = true;
  }
}

/** Whether `first` stands before `second` in line, for all who know no more than clients do. */
function isBefore(first: Entry, second: Entry): boolean {
  if (first.ackedAt < second.calledAt) return true;
  return first.handle === second.handle && first.id < second.id && first.ackedAt !== NEVER;
}
