/**
 * What the clients of a queue have asked for and been told, and whether it can all be true. It knows nothing of how the queue
 * is stored. Messages are told apart by a number in their data; times are counted over all calls and answers.
 *
 * A message *may have ended* from the moment somebody calls what may end it, until that is answered with "nothing changed".
 * What is said of a call that was never answered, or refused by the storage, is nothing: it may have happened or not.
 */
import type { Durability } from '../../src/backend.ts';
import type { Message } from '../../src/message.ts';
import { Attributes } from './attributes.ts';
import { Calls, type Call } from './calls.ts';
import { dataOf, forgetUnripe, isBefore, NEVER, newEntry, type Data, type Entry } from './entries.ts';
import { Excuses } from './excuses.ts';
import type { Process } from './process.ts';
import { Violation } from './violation.ts';

export interface WitnessOptions {
  /** What an answer says of a power cut. */
  durability: Durability;
  limit: number | undefined;
  uniqueAlias: boolean;
  machineTime: () => number;
}

export class Witness {
  readonly entries = new Map<number, Entry>();
  readonly attributes = new Attributes();
  readonly options: WitnessOptions;
  readonly unanswered = new Calls();
  /** When somebody was told that the queue is paused, and nobody has called what may end that. */
  pausedAt = NEVER;
  readonly excuses = new Excuses();
  /** What rot has cost, by the last look at everything. */
  lostToRot: readonly number[] = [];
  /** Somebody was told that the queue is there, and nobody has called what ends it. */
  #thereAt = NEVER;
  #time = 0;
  /** Calls and answers. */
  calls = 0;

  constructor(options: WitnessOptions) {
    this.options = options;
  }

  /** The time now; each is later than the one before. */
  tick(): number {
    return ++this.#time;
  }

  begin(process: Process, kind: Call['kind'], entry?: Entry, version = 0): Call {
    this.calls++;
    return this.unanswered.begin({ process, kind, since: this.tick(), entry, version });
  }

  end(call: Call): void {
    this.unanswered.end(call, this.tick());
  }

  /** The call was refused by the storage, or its process has died: it may have had its effect. */
  lost(call: Call): void {
    if (!this.unanswered.lose(call, this.tick())) return;
    if (call.kind === 'sweep') this.#forget();
    if (call.entry) call.entry.changing = false;
  }

  died(process: Process): void {
    for (const call of this.unanswered.of(process)) this.lost(call);
  }

  /** How many messages may have been taken by calls without an answer. */
  get maybeTaken(): number {
    return this.unanswered.maybeTaken;
  }

  // --- The queue ---------------------------------------------------------------------------------------------------

  creating(process: Process): Call {
    return this.begin(process, 'birth');
  }

  /** @param anew whether there was none. */
  created(call: Call, anew: boolean): void {
    const alone = this.unanswered.isAlone(call, 'sweep');
    this.end(call);
    if (anew && this.#thereAt < call.since && !this.excuses.suspends('queue is there'))
      throw new Violation('queue', 'a queue that was there was created anew');
    if (alone && this.options.durability === 'always') this.#thereAt = Math.min(this.#thereAt, this.tick());
  }

  /** A call that was begun at `since` was told that there is no queue. */
  notFound(since: number): void {
    if (this.#thereAt < since && !this.excuses.suspends('queue is there'))
      throw new Violation('queue', 'a queue that was there is not found');
  }

  // --- Adding ----------------------------------------------------------------------------------------------------

  adding(handle: object, how: { alias: string; plain: boolean; held: boolean }): Entry {
    this.calls++;
    const dooms = this.unanswered.count('sweep');
    const entry = newEntry({ ...how, id: this.entries.size + 1, calledAt: this.tick(), handle, dooms });
    this.entries.set(entry.id, entry);
    return entry;
  }

  added(entry: Entry, answer: Message & { duplicate: boolean }): void {
    if (answer.duplicate) {
      if (!this.options.uniqueAlias)
        throw new Violation('alias', `add of ${entry.id} was answered with a duplicate`);
      const there = this.known(answer);
      entry.refused = there !== entry;
      if (there === entry && !this.excuses.suspends('added once'))
        throw new Violation('alias', `message ${entry.id} is said to be its own duplicate`);
      this.#seen(there);
      there.ackedAt = Math.min(there.ackedAt, this.tick());
      return;
    }
    if (this.known(answer) !== entry)
      throw new Violation('data', `add of ${entry.id} was answered with another message`);
    entry.uuid = answer.uuid;
    entry.ackedAt = this.tick();
    this.#seen(entry);
    // One that has ended before its answer came has freed its alias.
    if (!this.options.uniqueAlias || entry.alias === '' || entry.dooms > 0) return;
    for (const other of this.entries.values()) {
      if (other === entry || other.alias !== entry.alias || other.dooms > 0) continue;
      const isThere = other.seenAt < entry.calledAt || other.ackedAt !== NEVER;
      if (isThere && this.maybeTaken === 0 && !this.excuses.suspends('one alias'))
        throw new Violation('alias', `messages ${other.id} and ${entry.id} have one alias`);
    }
  }

  /** The add was refused: it must not be there, and never have been. */
  refusedAdd(entry: Entry): void {
    this.tick();
    entry.refused = true;
    if (entry.seenAt !== NEVER)
      throw new Violation('undone', `message ${entry.id} was seen, and its add refused`);
  }

  refusedAsFull(entry: Entry): void {
    this.refusedAdd(entry);
    const { limit = Infinity } = this.options;
    const others = [...this.entries.values()].filter((other) => other !== entry);
    const count = (may: (other: Entry) => boolean): number => others.filter(may).length;
    let possible = count(({ refused, endedAt }) => !refused && endedAt >= entry.calledAt);
    if (possible < limit && this.excuses.suspends('add not refused'))
      possible += count(({ refused }) => refused);
    if (possible < limit && this.excuses.suspends('ended'))
      possible += count(({ refused, endedAt }) => !refused && endedAt < entry.calledAt);
    if (possible < limit)
      throw new Violation(
        'counts',
        `an add was refused as full, with ${possible} messages and a limit of ${limit}`,
      );
  }

  /** What was answered of these messages, so long ago that under `interval` it is on the device. */
  ripened(entries: readonly Entry[], what: 'added' | 'ended' | { version: number }): void {
    if (this.excuses.suspends('interval')) return;
    for (const { ripe } of entries) {
      if (typeof what === 'object') ripe.version = Math.max(ripe.version, what.version);
      else ripe[what] = true;
    }
  }

  // --- Seeing ----------------------------------------------------------------------------------------------------

  #seen(entry: Entry): void {
    entry.seenAt = Math.min(entry.seenAt, this.tick());
  }

  /** The entry of a message that was handed over, its data checked. */
  known(message: Message): Entry {
    const { id, version } = message.data as unknown as Data;
    const entry = this.entries.get(id);
    const shown = JSON.stringify(message.data).slice(0, 200);
    if (!entry) throw new Violation('data', `a message that nobody has added: ${shown}`);
    if (shown !== JSON.stringify(dataOf(id, version)).slice(0, 200))
      throw new Violation('data', `data that nobody has written: ${shown}`);
    if (version > entry.asked)
      throw new Violation('data', `message ${id} has version ${version}, asked for by nobody`);
    if (entry.uuid !== undefined && entry.uuid !== message.uuid && !this.excuses.suspends('added once'))
      throw new Violation('twice', `message ${id} has another uuid than its add was told`);
    entry.uuid ??= message.uuid;
    return entry;
  }

  /** A message that a call, begun at `since`, was answered with. */
  met(message: Message, since: number): Entry {
    const entry = this.known(message);
    const { version } = message.data as unknown as Data;
    if (entry.refused && !this.excuses.suspends('add not refused'))
      throw new Violation('undone', `message ${entry.id} is there, and its add was refused`);
    if (entry.endedAt < since && !this.excuses.suspends('ended'))
      throw new Violation('undone', `message ${entry.id} is back after its end was acknowledged`);
    if (entry.versionAt < since && version < entry.version && !this.excuses.suspends('version'))
      throw new Violation(
        'lost',
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
      if (present.has(entry) && !this.excuses.suspends('added once'))
        throw new Violation('twice', `message ${entry.id} was found twice`);
      present.add(entry);
      if (before) this.inOrder(before, entry, 'was found');
      before = entry;
    }
    const missing: number[] = [];
    for (const entry of this.entries.values())
      if (this.#mustBeThere(entry, since) && !present.has(entry)) missing.push(entry.id);
    this.lostToRot = this.excuses.has('rot') ? missing : [];
    if (missing.length > this.maybeTaken && !this.excuses.suspends('not lost'))
      throw new Violation('lost', `acknowledged and lost: ${missing.join(', ')}`);
  }

  /** But for those that calls of `take` without an answer have taken. */
  #mustBeThere({ seenAt, dooms }: Entry, since: number): boolean {
    return seenAt < since && dooms === 0;
  }

  /** Looked for by its uuid, in a call that was begun at `since`. */
  looked(entry: Entry, found: Message | undefined, since: number): void {
    if (!found) return this.missed(entry, since);
    if (this.met(found, since) !== entry)
      throw new Violation('data', `another message than ${entry.id} was found`);
  }

  /** A call that was begun at `since` was told that it is not there. */
  missed(entry: Entry, since: number): void {
    this.tick();
    if (this.#mustBeThere(entry, since) && this.maybeTaken === 0 && !this.excuses.suspends('not lost'))
      throw new Violation('lost', `acknowledged and lost: ${entry.id}`);
  }

  /** `first` was handed over before `second`. */
  inOrder(first: Entry, second: Entry, what: string): void {
    if (isBefore(second, first))
      throw new Violation(
        'order',
        `message ${first.id} ${what} before ${second.id}, which was added before it`,
      );
  }

  // --- Changing --------------------------------------------------------------------------------------------------

  /** A message about which clients know something. */
  some(pick: (limit: number) => number): Entry | undefined {
    const known = [...this.entries.values()].filter(
      ({ uuid, endedAt }) => uuid !== undefined && endedAt === NEVER,
    );
    return known[pick(Math.max(known.length, 1))];
  }

  removing(entry: Entry): number {
    this.calls++;
    this.#doomed(entry);
    return this.tick();
  }

  removed(entry: Entry, count: number, since: number): void {
    if (count > 0) return this.over(entry, true);
    entry.dooms--;
    this.missed(entry, since);
  }

  #doomed(entry: Entry): void {
    entry.dooms++;
    this.contest(entry);
  }

  contest(entry: Entry): void {
    entry.untouched = false;
    entry.contested = true;
    for (const held of entry.claims) held.contested = true;
  }

  cancelling(entry: Entry): void {
    this.calls++;
    // Failed, and then retried, it may run.
    entry.held = false;
    this.contest(entry);
    this.tick();
  }

  over(entry: Entry, durably: boolean): void {
    entry.dooms++;
    entry.durably ||= durably;
    entry.endedAt = Math.min(entry.endedAt, this.tick());
  }

  /** A call that gives it new contents. */
  updating(process: Process, entry: Entry): Call {
    entry.changing = true;
    entry.untouched = false;
    return this.begin(process, 'update', entry, ++entry.asked);
  }

  updated(call: Call, found: Message | undefined): void {
    const entry = call.entry!;
    this.end(call);
    entry.changing = false;
    if (!found) return this.missed(entry, call.since);
    this.met(found, call.since);
    entry.version = call.version;
    entry.versionAt = this.tick();
  }

  /** Something that ends every message, or every one that is not claimed. @param queue whether it ends the queue, too. */
  sweeping(process: Process, queue: boolean): Call {
    for (const entry of this.entries.values()) this.#doomed(entry);
    this.#forget();
    if (queue) this.#thereAt = NEVER;
    return this.begin(process, 'sweep');
  }

  /** @param all whether every message that had been acknowledged before the call has ended, and with them the queue. */
  swept(call: Call, all: boolean): void {
    this.end(call);
    this.#forget();
    if (!all) return;
    for (const entry of this.entries.values()) {
      for (const held of entry.claims) held.contested = true;
      if (entry.ackedAt < call.since) this.over(entry, true);
    }
  }

  /** The queue may be another by now. */
  #forget(): void {
    this.pausedAt = NEVER;
    this.attributes.forget();
  }

  /** What a status, asked for when `expected` was made, says of the attributes. */
  attributesSeen(
    seen: Readonly<globalThis.Record<string, unknown>>,
    expected: ReturnType<Attributes['expected']>,
  ): void {
    this.tick();
    if (this.unanswered.count('sweep') > 0) return;
    for (const [key, value] of expected()) {
      if (!(Number(seen[key] ?? 0) >= value) && !this.excuses.suspends('attributes'))
        throw new Violation(
          'lost',
          `attribute ${key} is ${String(seen[key])}, after ${value} was acknowledged`,
        );
    }
  }

  // --- Faults ----------------------------------------------------------------------------------------------------

  /**
   * Every process is dead, and what was not durable may be lost: under `always` nothing but settles, under `interval` what was not
   * ripe, and under `os` anything, which is then to be as if it had never been, without damage.
   * @param holes whether bytes may be missing in the middle of the log.
   * @returns whether something was there, and is still to be there, because it was ripe.
   */
  powerCut(holes: boolean): boolean {
    const durable = this.options.durability === 'always';
    if (holes) this.excuses.happened('hole');
    let ripe = false;
    for (const entry of this.entries.values()) {
      entry.claims = [];
      // Behind a hole, what was refused may count after all.
      if (holes) entry.refused = false;
      // Nor is the record of a lapse flushed: without it the settle that it made too late counts.
      if (holes) entry.dooms += entry.tooLate;
      if (!durable) ripe = forgetUnripe(entry) || ripe;
      else {
        entry.seenAt = entry.ackedAt;
        if (!entry.durably) entry.endedAt = NEVER;
      }
    }
    if (!durable) {
      this.pausedAt = NEVER;
      this.attributes.forgetUnripe();
    }
    // Claims of before are nobody's, but last until somebody has seen that.
    this.unanswered.claimsLost = true;
    return ripe;
  }
}
