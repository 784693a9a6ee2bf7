/**
 * Ends and renewals of claims, gathered: all that one tick settles of one claim goes into one record.
 */
import type { ClaimRef, Settlement } from '../backend.ts';
import type { QueueError } from '../errors.ts';
import type { Clock } from './ports.ts';
import type { Submission } from './journal.ts';
import type { Draft } from './log.ts';
import { offsetOf, position, segmentOf } from './position.ts';
import type { Effect } from './state.ts';
import { toWhere } from './where.ts';

/** A claim's token as callers hold it: whose claim (writer and number), on which message, the end of whose uuid. */
const TOKEN = /^([0-9a-f]{16}\.[0-9a-z]{1,13})@(\d{1,7})\.(\d{1,10})\/([0-9a-f]{12})$/;

export function makeToken(claim: string, at: number, uuid: string): string {
  return `${claim}@${segmentOf(at)}.${offsetOf(at)}/${uuid.slice(-12)}`;
}

/** Undefined when it is not a token for that message. */
export function parseToken({ token, uuid }: ClaimRef): { claim: string; at: number } | undefined {
  const match = TOKEN.exec(token);
  if (!match || !uuid.endsWith(match[4]!)) return undefined;
  return { claim: match[1]!, at: position(Number(match[2]), Number(match[3])) };
}

/** With the longest aliases a record of so many stays below 8 MiB. */
const MOST_MEMBERS = 1000;

interface Member {
  at: number;
  ref: ClaimRef;
  resolve: (applied: boolean) => void;
  reject: (error: QueueError) => void;
}

interface Surroundings {
  clock: Clock;
  /** Called when the group can take no more. */
  onDraft: () => void;
  /** Resolves when what has been read of the log is on the device, as far as this handle's durability asks for that. */
  flush: () => Promise<void>;
}

/** One record for all members: they settle the same claim in the same way. */
export class SettleGroup implements Submission {
  readonly purpose = 'settle';
  readonly synced = false;
  readonly current = false;
  readonly #claim: string;
  readonly #settlement: Settlement;
  readonly #surroundings: Surroundings;
  readonly #members: Member[] = [];

  constructor(claim: string, settlement: Settlement, surroundings: Surroundings) {
    this.#claim = claim;
    this.#settlement = settlement;
    this.#surroundings = surroundings;
  }

  /** False: it holds as many as one record should. */
  add(member: Member): boolean {
    return this.#members.length < MOST_MEMBERS && this.#members.push(member) > 0;
  }

  draft(): Draft {
    this.#surroundings.onDraft();
    const k = this.#claim;
    const c = toWhere(this.#members.map(({ at }) => at));
    const settlement = this.#settlement;
    switch (settlement.type) {
      case 'complete': {
        const u = this.#members.map(({ ref }) => ref.uuid);
        const a = this.#members.some(({ ref }) => ref.alias !== '')
          ? this.#members.map(({ ref }) => ref.alias)
          : [];
        return { op: { op: 'done', k, c, u, a } };
      }
      case 'fail': {
        const json = JSON.stringify(settlement.error);
        return {
          op: { op: 'fail', k, c, ...(settlement.due === undefined ? {} : { d: settlement.due }) },
          json,
        };
      }
      case 'release':
        return { op: { op: 'release', k, c } };
      case 'renew':
        return {
          op: { op: 'renew', k, m: this.#surroundings.clock.monotonic(), ms: settlement.lease, c },
          ...(settlement.progress && { json: JSON.stringify(settlement.progress) }),
        };
    }
  }

  done(effect: Effect): void {
    const applied = effect.kind === 'changed' ? new Set(effect.at) : undefined;
    const late: Member[] = [];
    for (const member of this.#members) {
      // Each message is settled once: of two members that mean the same one, the first has done it.
      if (applied?.delete(member.at)) member.resolve(true);
      else late.push(member);
    }
    if (late.length > 0) void this.#refuse(late);
  }

  /**
   * A power cut could take the record that ended the claim and leave a completion that came after it, which would count
   * then; but who hears that it does not undoes the work.
   */
  async #refuse(late: readonly Member[]): Promise<void> {
    try {
      if (this.#settlement.type === 'complete') await this.#surroundings.flush();
      for (const { resolve } of late) resolve(false);
    } catch (error) {
      for (const { reject } of late) reject(error as QueueError);
    }
  }

  failed(error: QueueError): void {
    this.#surroundings.onDraft();
    for (const { reject } of this.#members) reject(error);
  }
}
