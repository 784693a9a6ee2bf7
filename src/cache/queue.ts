/** A queue in a folder, as the manager uses it: each operation becomes a record and is answered by what it did. */
import type {
  Added,
  ClaimRef,
  Ending,
  Inspection,
  Loss,
  MessageFilter,
  MessagePatch,
  NewMessage,
  Queue,
  QueueChange,
  QueueStatus,
  Settlement,
} from '../backend.ts';
import { QueueError } from '../errors.ts';
import type { Claim, Message } from '../message.ts';
import { AddGroup, groupAdds, type AddContext } from './adds.ts';
import { readCaughtUp } from './caught-up.ts';
import { Claiming } from './claiming.ts';
import { toMessage, type StoredMessage } from './contents.ts';
import { Endings } from './endings.ts';
import { storageError } from './files.ts';
import { HandOver } from './hand-over.ts';
import { History } from './history.ts';
import type { Journal } from './journal.ts';
import type { Submission } from './submission.ts';
import type { Draft } from './log.ts';
import { Liveness } from './liveness.ts';
import type { Operation } from './operations.ts';
import { Search } from './search.ts';
import { SettleGroup, type Surroundings } from './settles.ts';
import { summarize } from './status.ts';
import type { Effect, QueueState } from './state.ts';
import { parseToken } from './token.ts';
import { toPlace, toWhere } from './where.ts';
import { Waiting } from './waiting.ts';

/** Claims are judged at most this often by one process. */
const JUDGE_MS = 250;
/** Of the claim by which a message is taken: a moment, unless the device is slow. */
const TAKE_LEASE_MS = 60_000;
/** How often an update is tried again because somebody else changed the message in between. */
const UPDATE_TRIES = 50;

export class CacheQueue implements Queue {
  readonly #name: string;
  readonly #journal: Journal;
  readonly #liveness: Liveness;
  readonly #search: Search;
  readonly #waiting: Waiting;
  readonly #endings: Endings;
  readonly #adds: AddContext;
  readonly #claiming: Claiming;
  readonly #surroundings: Surroundings;
  /** The settles that were asked for last. */
  #gathering: SettleGroup | undefined;
  #judgedAt = -Infinity;

  readonly #onClose: () => void;

  constructor(name: string, journal: Journal, crashLimit: number, onClose: () => void) {
    this.#name = name;
    this.#onClose = onClose;
    this.#journal = journal;
    this.#liveness = new Liveness(journal.options.ports, crashLimit);
    this.#search = new Search(journal);
    this.#waiting = new Waiting(journal, {
      judge: (now) => this.#judge(now),
      blocked: () => this.#claiming.isBlocked(),
      granted: () => this.#claiming.granted,
      liveness: this.#liveness,
    });
    this.#endings = new Endings(journal, this.#search, this.#waiting);
    const settle = (draft: Draft): Promise<void> => this.#write('settle', draft, false, () => undefined);
    this.#adds = {
      queue: name,
      random: journal.options.ports.random,
      duplicate: (at, message) => this.#guarded('looking for a message', this.#duplicate(at, message)),
    };
    const handOver = new HandOver({ queue: name, journal, liveness: this.#liveness, settle });
    this.#claiming = new Claiming(journal, handOver);
    this.#surroundings = { clock: journal.options.ports.clock, flush: () => journal.flush() };
  }

  async close(): Promise<void> {
    this.#onClose();
    const closed = this.#journal.close();
    // Who waits finds the journal closed.
    this.#waiting.wake();
    await closed;
  }

  // --- Adding -------------------------------------------------------------------------------------------------------

  add(messages: readonly NewMessage[]): Promise<Added[]> {
    const groups = groupAdds(messages);
    if (groups.length === 1) return this.#addGroup(messages);
    return allInOrder(groups.map((group) => this.#addGroup(group)));
  }

  #addGroup(group: readonly NewMessage[]): Promise<Added[]> {
    return new Promise((resolve, reject) => {
      this.#journal.submit(new AddGroup(group, this.#adds, this.#journal.state, { resolve, reject }));
    });
  }

  /** The message that stood in the way of an add: when it has gone meanwhile, the way is free. */
  async #duplicate(at: number, message: NewMessage): Promise<Added> {
    await this.#journal.refresh();
    const there = await this.#messageAt(at);
    if (there) return { ...there, duplicate: true };
    const [added] = await this.add([message]);
    return added!;
  }

  // --- Claiming and settling ------------------------------------------------------------------------------------

  claim(limit: number, lease: number): Promise<Claim[]> {
    this.#judge(false);
    return this.#claiming.claim(limit, lease);
  }

  /**
   * A claim, and its end on the device before the message is handed over: so a take that the log refused, or whose
   * process died before it had the message, costs nothing.
   */
  async take(): Promise<Message | undefined> {
    for (;;) {
      const [claim] = await this.claim(1, TAKE_LEASE_MS);
      if (!claim) return undefined;
      const at = parseToken(claim)!;
      const op: Operation = {
        op: 'done',
        k: at.claim,
        c: toWhere([at.at]),
        u: [claim.uuid],
        a: [claim.alias],
      };
      const ended = await this.#write('settle', { op }, true, ({ kind }) => kind === 'changed');
      if (!ended) continue;
      const { token: _, holder: __, ...message } = claim;
      return { ...message, state: 'ready', attempts: claim.attempts - 1 };
    }
  }

  settle(ref: ClaimRef, settlement: Settlement): Promise<boolean> {
    const token = parseToken(ref);
    if (!token) return Promise.resolve(false);
    // Only the last group is added to: settles happen in the order of the calls.
    if (this.#gathering?.takes(token.claim, settlement)) return this.#gathering.add(token.at, ref);
    const group = new SettleGroup(token.claim, settlement, this.#surroundings);
    const answer = group.add(token.at, ref);
    this.#gathering = group;
    this.#journal.submit(group);
    if (settlement.type !== 'renew') this.#waiting.wake();
    return answer;
  }

  /** Puts messages whose claims are over back in line. */
  #judge(now: boolean): void {
    const { clock } = this.#journal.options.ports;
    if (!now && clock.monotonic() - this.#judgedAt < JUDGE_MS) return;
    this.#judgedAt = clock.monotonic();
    for (const { op, evidence } of this.#liveness.findings(this.#journal.state)) {
      this.#write('settle', { op, json: JSON.stringify(evidence) }, false, () => undefined).catch(
        (error: unknown) => this.#journal.options.report(asQueueError(error, this.#name)),
      );
    }
  }

  // --- Looking and changing -------------------------------------------------------------------------------------

  async *find(filter: MessageFilter): AsyncIterable<Message> {
    try {
      await this.#journal.refresh();
      yield* this.#search.messages(filter);
    } catch (error) {
      throw this.#typed(error, 'looking for messages');
    }
  }

  update(uuid: string, patch: MessagePatch): Promise<Message | undefined> {
    return this.#guarded('updating a message', this.#update(uuid, patch));
  }

  async #update(uuid: string, patch: MessagePatch): Promise<Message | undefined> {
    for (let attempt = 0; attempt < UPDATE_TRIES; attempt++) {
      await this.#journal.refresh();
      const stored = await this.#search.byUuid(uuid);
      if (!stored) return undefined;
      const op = this.#updateOf(stored, patch);
      const effect = await this.#write('other', op, true, (got) => got);
      if (effect.kind === 'duplicate') {
        throw new QueueError('INVALID_MESSAGE', 'expected an alias that no other message of this queue has', {
          queue: this.#name,
        });
      }
      if (effect.kind === 'changed') return this.#messageAt(stored.at);
    }
    throw new QueueError(
      'STORAGE_FAILED',
      `the message was changed by others ${UPDATE_TRIES} times in a row`,
      { queue: this.#name },
    );
  }

  /** Schedule and flag are set in place; anything else gives the message a new record. */
  #updateOf(stored: StoredMessage, patch: MessagePatch): Draft {
    const p = toPlace(stored.at);
    const schedule: { d?: number | null; x?: 0 | 1 } = {};
    if (patch.due !== undefined) schedule.d = patch.due;
    if (patch.disabled !== undefined) schedule.x = patch.disabled ? 1 : 0;
    const { json, alias, retries, username } = patch;
    if (json === undefined && alias === undefined && retries === undefined && username === undefined) {
      return { op: { op: 'set', p, ...schedule } };
    }
    const { u, a = '', r = 0, by = '' } = stored.content;
    const op: Operation = { op: 'update', p, at: toPlace(stored.place), i: stored.inserted, u, ...schedule };
    if ((alias ?? a) !== '') op.a = alias ?? a;
    if ((retries ?? r) > 0) op.r = retries ?? r;
    if ((username ?? by) !== '') op.by = username ?? by;
    return { op, json: json ?? stored.json };
  }

  change(change: QueueChange): Promise<number> {
    return this.#guarded('changing the queue', this.#change(change));
  }

  async #change(change: QueueChange): Promise<number> {
    const count = (effect: Effect): number =>
      effect.kind === 'changed' ? effect.at.length : effect.kind === 'purged' ? effect.count : 0;
    switch (change.type) {
      case 'remove': {
        await this.#journal.refresh();
        const stored = await this.#search.byUuid(change.uuid);
        if (!stored) return 0;
        const { u, a } = stored.content;
        const op: Operation = { op: 'remove', p: toPlace(stored.at), u, ...(a === undefined ? {} : { a }) };
        return this.#write('settle', { op }, true, count);
      }
      case 'cancel': {
        await this.#journal.refresh();
        const stored = await this.#search.byUuid(change.uuid);
        if (!stored) return 0;
        const op: Operation = { op: 'cancel', p: toPlace(stored.at), u: stored.content.u };
        return this.#write('settle', { op, json: JSON.stringify(change.error) }, true, count);
      }
      case 'died': {
        await this.#journal.refresh();
        const deaths = this.#liveness.deathsOf(change.pid, change.error, this.#journal.state);
        const lapsed = deaths.map(({ op, evidence }) =>
          this.#write('settle', { op, json: JSON.stringify(evidence) }, false, count),
        );
        return (await Promise.all(lapsed)).reduce((sum, some) => sum + some, 0);
      }
      case 'retry': {
        if (change.uuids === 'all') return this.#write('other', { op: { op: 'retry' } }, true, count);
        const failed = await this.#search.failed(new Set(change.uuids));
        if (failed.length === 0) return 0;
        return this.#write('other', { op: { op: 'retry', c: toWhere(failed) } }, true, count);
      }
      case 'purge':
        return this.#write('settle', { op: { op: 'purge' } }, true, count);
      case 'pause':
      case 'resume':
        return this.#write('other', { op: { op: change.type } }, true, count);
      case 'attributes':
        return this.#write('other', { op: { op: 'attr' }, json: JSON.stringify(change.patch) }, true, count);
      case 'processed':
        return this.#write(
          'other',
          { op: { op: 'processed', u: change.uuid, a: change.alias } },
          true,
          count,
        );
    }
  }

  async losses(claims: readonly ClaimRef[]): Promise<ReadonlyMap<string, Loss>> {
    await this.#journal.refresh();
    const { state } = this.#journal;
    const losses = new Map<string, Loss>();
    for (const claim of claims) {
      const loss = lossOf(state, claim);
      if (loss) losses.set(claim.token, loss);
    }
    return losses;
  }

  async *endings(uuids: readonly string[], signal: AbortSignal | undefined): AsyncIterable<Ending> {
    try {
      yield* this.#endings.of(uuids, signal);
    } catch (error) {
      throw this.#typed(error, 'looking for messages');
    }
  }

  inspect(target: { uuid: string } | { alias: string }): Promise<Inspection | undefined> {
    const history = new History(this.#journal, this.#search);
    return this.#guarded('looking for a message', history.inspect(target));
  }

  async status(): Promise<QueueStatus> {
    await this.#journal.refresh();
    return summarize(this.#name, this.#journal);
  }

  wait(timeout: number | undefined, signal: AbortSignal | undefined): Promise<boolean> {
    return this.#waiting.wait(timeout, signal);
  }

  // ------------------------------------------------------------------------------------------------------------------

  /** What the operating system refuses to those that read files by themselves has a type, too. */
  async #guarded<T>(doing: string, answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      throw this.#typed(error, doing);
    }
  }

  #typed(error: unknown, doing: string): QueueError {
    return storageError(error, doing, this.#name, this.#journal.options.folder);
  }

  async #messageAt(at: number): Promise<Message | undefined> {
    const { log } = this.#journal;
    const read = (): StoredMessage | undefined => log.contents.read(this.#journal.state, at);
    let stored = read();
    if (!stored) {
      // Ended, or carried to another segment meanwhile: looks again.
      const isThere = (): boolean => this.#journal.state.lifeOf(at) !== undefined;
      ({ found: stored } = await readCaughtUp(this.#journal, read, (found) => !found && isThere()));
      if (!isThere()) return undefined;
    }
    if (!stored) throw this.#unreadable(at);
    return toMessage(stored, this.#journal.state, log.options.ports.clock.now());
  }

  #write<T>(
    purpose: Submission['purpose'],
    draft: Draft,
    synced: boolean,
    answer: (effect: Effect) => T | Promise<T>,
  ): Promise<T> {
    return new Promise((resolve, failed) => {
      this.#journal.submit({
        purpose,
        synced,
        current: false,
        draft: () => draft,
        done: (effect) => {
          try {
            resolve(answer(effect));
          } catch (error) {
            failed(asQueueError(error, this.#name));
          }
        },
        failed,
      });
    });
  }

  #unreadable(at: number): QueueError {
    const [segment, offset] = toPlace(this.#journal.state.touched.get(at)?.place ?? at);
    this.#journal.log.noteDamage(segment, offset, offset + 1);
    const text = `the record of a message at offset ${offset} of segment ${segment} is damaged; see queue verify`;
    return new QueueError('JOURNAL_CORRUPT', text, { queue: this.#name });
  }
}

/** Undefined while the claim is held. */
function lossOf(state: QueueState, claim: ClaimRef): Loss | undefined {
  const token = parseToken(claim);
  const life = token && state.lifeOf(token.at);
  if (life?.phase.state === 'claimed' && life.phase.token === token!.claim) return undefined;
  const cancelled = life
    ? life.phase.state === 'failed' && life.errors.at(-1)?.code === 'CANCELLED'
    : state.outcomes.findLast(({ u }) => u === claim.uuid)?.o === 'removed';
  return cancelled ? 'cancelled' : 'lapsed';
}

/** Settles only when all have: no answer of the call comes after its error. */
async function allInOrder<T>(promises: readonly Promise<T[]>[]): Promise<T[]> {
  const answers: T[][] = [];
  for (const result of await Promise.allSettled(promises)) {
    if (result.status === 'rejected') throw result.reason;
    answers.push(result.value);
  }
  // Several times as fast as flat and flatMap.
  return ([] as T[]).concat(...answers);
}

function asQueueError(error: unknown, queue: string): QueueError {
  return error instanceof QueueError
    ? error
    : new QueueError('STORAGE_FAILED', String(error), { queue, cause: error });
}
