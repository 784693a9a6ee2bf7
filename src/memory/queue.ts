/**
 * One queue in memory, and the executable specification of all others: what an operation means is written here as
 * plainly as it can be, every change of a message goes through `transition`, and each operation is one synchronous
 * step. It looks through all messages where a real backend would keep an index.
 */
import type {
  Added,
  ClaimRef,
  Ending,
  HistoryEvent,
  Inspection,
  Loss,
  Mark,
  MessageFilter,
  MessagePatch,
  NewMessage,
  QueueChange,
  QueueOptions,
  QueueStatus,
  Settlement,
} from '../backend.ts';
import { QueueError, quote } from '../errors.ts';
import { born, transition } from '../message.ts';
import type { Claim, Happening, Json, Message, Outcome } from '../message.ts';
import { randomHex } from '../random.ts';
import { uuidv7 } from '../uuid.ts';
import { dueOf, isSuspect, matches, stateOf, toMessage } from './entry.ts';
import type { Entry } from './entry.ts';

/** Who claims: a handle on the queue, as good as a process. */
export type Holder = object;

/** What a claim's lease adds to its message's phase. */
interface Lease {
  readonly token: string;
  readonly holder: Holder;
  renewal: number;
  length: number;
  /** On the queue's clock. */
  end: number;
}

export interface QueueSettings {
  /** Claims that may lapse before their message counts as failed. */
  readonly crashLimit: number;
  /** Ended messages that are remembered. */
  readonly keepOutcomes: number;
  /** Epoch milliseconds; leases and due times are measured by it. */
  readonly now: () => number;
}

export class MemoryQueue {
  readonly name: string;
  readonly #options: QueueOptions;
  readonly #settings: QueueSettings;
  readonly #createdAt: number;
  /** In order of insertion, which is the order of position. */
  readonly #entries = new Map<string, Entry>();
  readonly #leases = new Map<string, Lease>();
  /** The last ended ones, oldest first. */
  readonly #ended = new Map<string, { ending: Ending; history: HistoryEvent[] }>();
  readonly #attributes = new Map<string, string>();
  readonly #watchers = new Set<() => void>();
  #destroyed = false;
  #paused = false;
  #processed = 0;
  #modifiedAt: number;
  #lastInserted: Mark | null = null;
  #lastProcessed: Mark | null = null;

  constructor(name: string, options: QueueOptions, settings: QueueSettings) {
    this.name = name;
    this.#options = options;
    this.#settings = settings;
    this.#createdAt = settings.now();
    this.#modifiedAt = this.#createdAt;
  }

  get destroyed(): boolean {
    return this.#destroyed;
  }

  destroy(): void {
    this.#destroyed = true;
    this.#changed();
  }

  /** Calls `look` after every change, until the returned function is called. */
  watch(look: () => void): () => void {
    this.#watchers.add(look);
    return () => this.#watchers.delete(look);
  }

  /** Adds those that fit; throws when any did not. */
  add(messages: readonly NewMessage[]): Added[] {
    const added = messages.map((message) => this.#addOne(message));
    return added.map((one) => {
      if (one instanceof QueueError) throw one;
      return one;
    });
  }

  #addOne(message: NewMessage): Added | QueueError {
    const there = this.#options.uniqueAlias === true ? this.#holderOf(message.alias) : undefined;
    if (there) return { ...this.#show(there), duplicate: true };
    const full = this.#beyondLimits(message);
    if (full) return full;
    const now = this.#settings.now();
    const entry: Entry = {
      uuid: uuidv7(),
      insertedAt: now,
      json: message.json,
      alias: message.alias,
      retries: message.retries,
      username: message.username,
      life: born(message.due, message.disabled),
      history: [],
      holder: undefined,
    };
    this.#note(entry, 'added', message.due === undefined ? {} : { due: new Date(message.due) });
    this.#entries.set(entry.uuid, entry);
    this.#lastInserted = this.#mark(entry.uuid, entry.alias);
    this.#changed();
    const added = { ...this.#show(entry), duplicate: false };
    return message.data === undefined ? added : { ...added, data: message.data };
  }

  claim(limit: number, length: number, holder: Holder): Claim[] {
    this.endLapsed();
    const end = this.#settings.now() + length;
    return this.#next(limit, holder).map((entry) => {
      const token = randomHex(16);
      this.#apply(entry, { type: 'claim', token, due: dueOf(entry) });
      this.#leases.set(entry.uuid, { token, holder, renewal: 0, length, end });
      return { ...this.#show(entry), token };
    });
  }

  take(holder: Holder): Message | undefined {
    this.endLapsed();
    const [entry] = this.#next(1, holder);
    if (!entry) return undefined;
    const token = randomHex(16);
    this.#apply(entry, { type: 'claim', token, due: dueOf(entry) });
    const message = this.#show(entry);
    this.#apply(entry, { type: 'complete', token });
    const { holder: _, ...taken } = message;
    return { ...taken, state: 'ready', attempts: message.attempts - 1 };
  }

  /**
   * Who may claim next. A message that has crashed a worker is suspect: it is held by a holder of nothing else, so
   * that it takes no others with it, and nobody passes it by.
   */
  #next(limit: number, holder: Holder): Entry[] {
    if (this.#paused) return [];
    const held = [...this.#leases].filter(([, lease]) => lease.holder === holder).map(([uuid]) => uuid);
    if (held.some((uuid) => isSuspect(this.#entries.get(uuid)))) return [];
    const next: Entry[] = [];
    for (const entry of this.#entries.values()) {
      if (!this.#mayRun(entry)) continue;
      if (isSuspect(entry)) return held.length + next.length === 0 ? [entry] : next;
      next.push(entry);
      if (next.length === limit) break;
    }
    return next;
  }

  settle({ uuid, token, alias }: ClaimRef, settlement: Settlement): boolean {
    const entry = this.#entries.get(uuid);
    const lease = this.#leases.get(uuid);
    if (!entry || !this.#apply(entry, { ...settlement, token }, alias)) return false;
    if (settlement.type === 'renew' && lease) {
      const { progress } = settlement;
      if (progress && entry.holder)
        entry.holder.progress = { ...progress, at: new Date(this.#settings.now()) };
      lease.renewal++;
      lease.length = settlement.lease;
      lease.end = this.#settings.now() + settlement.lease;
    }
    return true;
  }

  /** Ends the claims whose lease is over. Nobody does this but who is about to claim, to take, or to wait. */
  endLapsed(): void {
    const now = this.#settings.now();
    for (const [uuid, lease] of this.#leases) {
      const entry = this.#entries.get(uuid);
      if (!entry || lease.end > now) continue;
      const final = entry.life.crashes + 1 >= this.#settings.crashLimit;
      const message = `the lease of ${lease.length} ms was over before the claim was settled`;
      this.#apply(entry, {
        type: 'lapse',
        token: lease.token,
        renewal: lease.renewal,
        final,
        error: {
          at: new Date(now).toISOString(),
          attempt: entry.life.attempts,
          name: 'ClaimLapsed',
          message,
          code: 'LEASE_OVER',
        },
      });
    }
  }

  /** This holder may claim something now. */
  claimable(holder: Holder): boolean {
    return this.#next(1, holder).length > 0;
  }

  /** When something may next become claimable without anybody's doing; Infinity: never. */
  nextTurn(): number {
    if (this.#paused) return Number.POSITIVE_INFINITY;
    let first = Number.POSITIVE_INFINITY;
    for (const entry of this.#entries.values()) {
      if (!entry.life.disabled) first = Math.min(first, dueOf(entry) ?? first);
    }
    for (const lease of this.#leases.values()) first = Math.min(first, lease.end);
    return first;
  }

  *find(filter: MessageFilter): Iterable<Message> {
    // A copy of the list: who adds a message for each one found must come to an end.
    const uuids = [...this.#entries.keys()];
    for (const uuid of uuids) {
      const entry = this.#entries.get(uuid);
      const message = entry && this.#show(entry);
      if (message && matches(message, filter)) yield message;
    }
  }

  update(uuid: string, patch: MessagePatch): Message | undefined {
    const entry = this.#entries.get(uuid);
    if (!entry) return undefined;
    const rival =
      this.#options.uniqueAlias === true && patch.alias !== undefined
        ? this.#holderOf(patch.alias)
        : undefined;
    if (rival && rival !== entry) {
      throw new QueueError(
        'INVALID_MESSAGE',
        `alias: expected one that no other message has, received ${quote(patch.alias)}`,
        {
          queue: this.name,
        },
      );
    }
    entry.json = patch.json ?? entry.json;
    entry.alias = patch.alias ?? entry.alias;
    entry.retries = patch.retries ?? entry.retries;
    entry.username = patch.username ?? entry.username;
    this.#apply(entry, { type: 'update', disabled: patch.disabled, due: patch.due });
    return this.#show(entry);
  }

  change(change: QueueChange): number {
    switch (change.type) {
      case 'remove':
        return this.#applyToAll([change.uuid], { type: 'remove' });
      case 'cancel': {
        const attempt = this.#entries.get(change.uuid)?.life.attempts ?? 0;
        return this.#applyToAll([change.uuid], { type: 'cancel', error: { ...change.error, attempt } });
      }
      case 'died':
        // All are of this process, and it lives.
        return 0;
      case 'retry':
        return this.#applyToAll(change.uuids === 'all' ? this.#entries.keys() : change.uuids, {
          type: 'retry',
        });
      case 'purge':
        return this.#applyToAll(this.#entries.keys(), { type: 'purge' });
      case 'pause':
      case 'resume':
        if (this.#paused === (change.type === 'pause')) return 0;
        this.#paused = change.type === 'pause';
        break;
      case 'attributes':
        for (const [key, value] of Object.entries(change.patch)) {
          if (value === null) this.#attributes.delete(key);
          else this.#attributes.set(key, JSON.stringify(value));
        }
        break;
      case 'processed':
        this.#lastProcessed = this.#mark(change.uuid, change.alias);
        break;
    }
    this.#changed();
    return 0;
  }

  losses(claims: readonly ClaimRef[]): Map<string, Loss> {
    const losses = new Map<string, Loss>();
    for (const { uuid, token } of claims) {
      if (this.#leases.get(uuid)?.token === token) continue;
      const life = this.#entries.get(uuid)?.life;
      const cancelled = life
        ? life.phase.state === 'failed' && life.errors.at(-1)?.code === 'CANCELLED'
        : this.#ended.get(uuid)?.ending.outcome === 'removed';
      losses.set(token, cancelled ? 'cancelled' : 'lapsed');
    }
    return losses;
  }

  /** Undefined while there is more to come. */
  endingOf(uuid: string): Ending | undefined {
    const entry = this.#entries.get(uuid);
    if (!entry) return this.#ended.get(uuid)?.ending ?? { uuid, alias: '', outcome: 'unknown' };
    if (entry.life.phase.state !== 'failed') return undefined;
    const at = entry.history.findLast(({ error }) => error !== undefined)?.at;
    return { uuid, alias: entry.alias, outcome: 'failed', ...(at === undefined ? {} : { at }) };
  }

  inspect({ uuid, alias }: { uuid?: string; alias?: string }): Inspection | undefined {
    const wanted = (one: { uuid: string; alias: string }): boolean =>
      uuid === undefined ? one.alias === alias : one.uuid === uuid;
    const entry = this.#first(wanted);
    if (entry) {
      const ending = this.endingOf(entry.uuid);
      const history = structuredClone(entry.history);
      return {
        message: this.#show(entry),
        ...(ending === undefined ? {} : { ending }),
        history,
        complete: true,
      };
    }
    const ended = [...this.#ended.values()].findLast(({ ending }) => wanted(ending));
    return ended && { ...structuredClone(ended), complete: true };
  }

  status(): QueueStatus {
    const counts = { ready: 0, deferred: 0, claimed: 0, disabled: 0, failed: 0 };
    for (const entry of this.#entries.values()) {
      const state = stateOf(entry, this.#settings.now());
      counts[entry.life.disabled && state !== 'claimed' && state !== 'failed' ? 'disabled' : state]++;
    }
    const attributes = [...this.#attributes].map(([key, json]): [string, Json] => [
      key,
      JSON.parse(json) as Json,
    ]);
    return {
      queue: this.name,
      lastMessageInserted: structuredClone(this.#lastInserted),
      lastMessageProcessed: structuredClone(this.#lastProcessed),
      lastQueueModifyTime: new Date(this.#modifiedAt),
      messagesToProcess: counts.ready + counts.deferred + counts.claimed,
      // Not by assignment, which would take the key __proto__ for something else.
      customAttributes: Object.fromEntries(attributes),
      counts,
      processed: this.#processed,
      paused: this.#paused,
      createdAt: new Date(this.#createdAt),
      durability: 'os',
      lossWindow: 'everything: the queue is in the memory of one process',
      options: { ...this.#options },
      damaged: 0,
    };
  }

  /**
   * The one place where a message's life changes. False: the event did not apply.
   * @param alias as it was claimed, where it has been changed since.
   */
  #apply(entry: Entry, happening: Happening, alias = entry.alias): boolean {
    const after = transition(entry.life, happening);
    if (after === undefined) return false;
    const event = NAMES[happening.type];
    if (event) this.#note(entry, event, detailsOf(happening));
    if (typeof after !== 'string') entry.life = after;
    if (typeof after === 'string' || after.phase.state !== 'claimed') {
      this.#leases.delete(entry.uuid);
      entry.holder = undefined;
    } else if (happening.type === 'claim') entry.holder = { since: new Date(this.#settings.now()) };
    if (typeof after === 'string') this.#end(entry, alias, after);
    this.#changed();
    return true;
  }

  #end({ uuid, history }: Entry, alias: string, outcome: Outcome): void {
    this.#entries.delete(uuid);
    this.#ended.set(uuid, { ending: { uuid, alias, outcome, at: new Date(this.#settings.now()) }, history });
    for (const oldest of this.#ended.keys()) {
      if (this.#ended.size <= this.#settings.keepOutcomes) break;
      this.#ended.delete(oldest);
    }
    if (outcome !== 'completed') return;
    this.#processed++;
    this.#lastProcessed = this.#mark(uuid, alias);
  }

  #applyToAll(uuids: Iterable<string>, event: Happening): number {
    let changed = 0;
    for (const uuid of uuids) {
      const entry = this.#entries.get(uuid);
      if (entry && this.#apply(entry, event)) changed++;
    }
    return changed;
  }

  #note(entry: Entry, event: HistoryEvent['event'], details: Partial<HistoryEvent> = {}): void {
    entry.history.push({ at: new Date(this.#settings.now()), event, ...details });
  }

  #changed(): void {
    this.#modifiedAt = this.#settings.now();
    for (const look of this.#watchers) look();
  }

  /** A message has its alias until it ends; a failed one has not ended. */
  #holderOf(alias: string): Entry | undefined {
    return alias === '' ? undefined : this.#first((entry) => entry.alias === alias);
  }

  #beyondLimits(message: NewMessage): QueueError | undefined {
    const { maxMessages = Number.POSITIVE_INFINITY, maxBytes = Number.POSITIVE_INFINITY } = this.#options;
    if (maxMessages === Number.POSITIVE_INFINITY && maxBytes === Number.POSITIVE_INFINITY) return undefined;
    let waiting = 1;
    let bytes = Buffer.byteLength(message.json);
    for (const entry of this.#entries.values()) {
      if (entry.life.phase.state === 'failed') continue;
      waiting++;
      bytes += Buffer.byteLength(entry.json);
    }
    if (waiting > maxMessages) return this.#full(`${maxMessages} waiting messages`, `${waiting}`);
    if (bytes > maxBytes) return this.#full(`${maxBytes} bytes of waiting payloads`, `${bytes}`);
    return undefined;
  }

  #full(expected: string, received: string): QueueError {
    const message = `queue ${quote(this.name)} is full: expected at most ${expected}, received ${received}`;
    return new QueueError('QUEUE_FULL', message, { queue: this.name });
  }

  #first(wanted: (entry: Entry) => boolean): Entry | undefined {
    for (const entry of this.#entries.values()) if (wanted(entry)) return entry;
    return undefined;
  }

  #mayRun(entry: Entry): boolean {
    return !entry.life.disabled && stateOf(entry, this.#settings.now()) === 'ready';
  }

  #mark(uuid: string, alias: string): Mark {
    return { uuid, alias, timestamp: new Date(this.#settings.now()) };
  }

  #show(entry: Entry): Message {
    return toMessage(entry, this.#settings.now());
  }
}

/** A renewal is no event of its own: there may be thousands. */
const NAMES: Readonly<Record<Happening['type'], HistoryEvent['event'] | undefined>> = {
  claim: 'claimed',
  renew: undefined,
  complete: 'completed',
  fail: 'failed',
  release: 'released',
  lapse: 'lapsed',
  cancel: 'cancelled',
  retry: 'retried',
  update: 'updated',
  remove: 'removed',
  purge: 'purged',
};

function detailsOf(happening: Happening): Partial<HistoryEvent> {
  const details: Partial<HistoryEvent> = {};
  if ('error' in happening) details.error = happening.error;
  const due = happening.type === 'fail' || happening.type === 'update' ? happening.due : undefined;
  if (typeof due === 'number') details.due = new Date(due);
  return details;
}
