/**
 * From a claim that the log has granted to the messages themselves: their contents are read, and checked. What cannot be
 * had keeps neither the other messages of the claim nor the queue: its claim is ended at once.
 */
import type { QueueError } from '../errors.ts';
import type { Claim } from '../message.ts';
import { readCaughtUp } from './caught-up.ts';
import { toMessage, type StoredMessage } from './contents.ts';
import { errorCode, storageError } from './files.ts';
import type { Journal } from './journal.ts';
import type { Liveness } from './liveness.ts';
import type { Draft } from './log.ts';
import type { Operation } from './operations.ts';
import type { QueueState } from './state.ts';
import { makeToken } from './token.ts';
import { toPlace, toWhere } from './where.ts';

interface HandOverOptions {
  queue: string;
  journal: Journal;
  liveness: Liveness;
  /** Resolves when the record has had its effect. */
  settle: (draft: Draft) => Promise<void>;
}

/** What came of reading the messages of a claim. */
interface Reading {
  found: Claim[];
  /** Damaged, or not where they should be. */
  missing: number[];
  /** Why the system did not let them be read, by position. */
  refused: Map<number, QueueError>;
}

export class HandOver {
  readonly #options: HandOverOptions;

  constructor(options: HandOverOptions) {
    this.#options = options;
  }

  /** The messages at `positions`, granted to `claim`; at once when all can be read. Errors: STORAGE_FAILED, when none can. */
  messages(claim: string, positions: readonly number[]): Claim[] | Promise<Claim[]> {
    return this.#readAtOnce(claim, positions) ?? this.#lookAgain(claim, positions);
  }

  /** As it nearly always is. Undefined: not all can be had. */
  #readAtOnce(claim: string, positions: readonly number[]): Claim[] | undefined {
    const { state, log } = this.#options.journal;
    const found: Claim[] = [];
    try {
      for (const stored of log.contents.readAll(state, positions)) {
        const message = stored && toClaim(claim, stored, state);
        if (!message) return undefined;
        found.push(message);
      }
    } catch {
      return undefined;
    }
    return found;
  }

  /** What was not there may have been carried to another segment meanwhile; what was refused may be read now. */
  async #lookAgain(claim: string, positions: readonly number[]): Promise<Claim[]> {
    const { queue, journal } = this.#options;
    const { found: reading, isLost } = await readCaughtUp(
      journal,
      () => this.#read(claim, positions),
      ({ missing }) => missing.length > 0,
    ).catch(async (error: unknown) => {
      const held = positions.filter((at) => this.#holds(claim, at));
      if (held.length > 0 && !journal.dead)
        await this.#settle({ op: { op: 'release', k: claim, c: toWhere(held) } });
      throw storageError(error, 'reading a message', queue, journal.options.folder);
    });
    const { found, missing, refused } = reading;
    if (isLost) for (const at of missing) void this.#setAside(claim, at);
    await Promise.all([...refused].map(([at, error]) => this.#giveBack(claim, at, error)));
    const [first] = refused.values();
    if (first && found.length === 0) throw first;
    return found;
  }

  /** One by one: which of them is it that cannot be had? */
  #read(claim: string, positions: readonly number[]): Reading {
    const { state, log } = this.#options.journal;
    const reading: Reading = { found: [], missing: [], refused: new Map() };
    for (const at of positions) {
      try {
        const stored = log.contents.read(state, at);
        const message = stored && toClaim(claim, stored, state);
        if (message) reading.found.push(message);
        else reading.missing.push(at);
      } catch (error) {
        const { queue, journal } = this.#options;
        reading.refused.set(at, storageError(error, 'reading a message', queue, journal.options.folder));
      }
    }
    return reading;
  }

  /** A message whose content is damaged: failed, with the reason, so that it comes up no more. */
  #setAside(claim: string, at: number): Promise<void> {
    const { log, state, options } = this.#options.journal;
    // Ended meanwhile: there is nothing to set aside.
    if (!this.#holds(claim, at)) return Promise.resolve();
    const [segment, offset] = toPlace(state.touched.get(at)?.place ?? at);
    log.noteDamage(segment, offset, offset + 1);
    const text = `the record of this message at offset ${offset} of segment ${segment} is damaged`;
    const error = {
      at: new Date(options.ports.clock.now()).toISOString(),
      attempt: 1,
      name: 'QueueError',
      code: 'JOURNAL_CORRUPT',
      message: text,
    };
    const op: Operation = { op: 'fail', k: claim, c: toWhere([at]) };
    return this.#settle({ op, json: JSON.stringify(error) });
  }

  /**
   * A message that the system does not let this process read. A device that fails counts as a crash, so that one bad sector
   * does not keep the queue for ever; anything else is no fault of the message.
   */
  #giveBack(claim: string, at: number, error: QueueError): Promise<void> {
    const { journal, liveness } = this.#options;
    if (!this.#holds(claim, at)) return Promise.resolve();
    if (errorCode(error.cause) === 'EIO')
      return this.#settle(liveness.unreadable(at, journal.state.lifeOf(at)!, error.message));
    return this.#settle({ op: { op: 'release', k: claim, c: toWhere([at]) } });
  }

  #holds(claim: string, at: number): boolean {
    const phase = this.#options.journal.state.lifeOf(at)?.phase;
    return phase?.state === 'claimed' && phase.token === claim;
  }

  /** Where not even that can be written, the lease ends the claim. */
  async #settle(draft: Draft): Promise<void> {
    const { queue, journal, settle } = this.#options;
    const { folder, report } = journal.options;
    await settle(draft).catch((error: unknown) =>
      report(storageError(error, 'ending a claim', queue, folder)),
    );
  }
}

function toClaim(claim: string, stored: StoredMessage, state: QueueState): Claim | undefined {
  const message = toMessage(stored, state, 0) as Claim | undefined;
  if (message) message.token = makeToken(claim, stored.at, message.uuid);
  return message;
}
