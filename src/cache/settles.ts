/**
 * Ends and renewals of claims, gathered: all that one tick settles of one claim goes into one record.
 */
import type { ClaimRef, Settlement } from '../backend.ts';
import type { QueueError } from '../errors.ts';
import type { Clock } from './ports.ts';
import type { Submission } from './submission.ts';
import type { Draft } from './log.ts';
import type { Effect } from './state.ts';
import { toWhere } from './where.ts';

/** With the longest aliases a record of so many stays below 8 MiB. */
const MOST_MEMBERS = 1000;

interface Member {
  at: number;
  ref: ClaimRef;
  resolve: (applied: boolean) => void;
  reject: (error: QueueError) => void;
}

export interface Surroundings {
  clock: Clock;
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
  /** Whether more may join. */
  #open = true;
  readonly #members: Member[] = [];

  constructor(claim: string, settlement: Settlement, surroundings: Surroundings) {
    this.#claim = claim;
    this.#settlement = settlement;
    this.#surroundings = surroundings;
  }

  /** Whether this settlement of this claim may join. Each failure has its own error, each progress its own words. */
  takes(claim: string, settlement: Settlement): boolean {
    if (!this.#open || claim !== this.#claim || this.#members.length >= MOST_MEMBERS) return false;
    const { type } = settlement;
    if (type !== this.#settlement.type) return false;
    if (type === 'renew') return isSameRenewal(settlement, this.#settlement);
    return type !== 'fail';
  }

  /** Resolves with whether it had its effect. */
  add(at: number, ref: ClaimRef): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#members.push({ at, ref, resolve, reject });
    });
  }

  draft(): Draft {
    this.#open = false;
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
    const changed = effect.kind === 'changed' ? effect.at : [];
    const late: Member[] = [];
    let next = 0;
    for (const member of this.#members) {
      // What has changed is in the order of the members. Of two that mean the same message, the first has settled it.
      if (changed[next] === member.at) {
        next++;
        member.resolve(true);
      } else late.push(member);
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
    this.#open = false;
    for (const { reject } of this.#members) reject(error);
  }
}

function isSameRenewal(one: Settlement & { type: 'renew' }, other: Settlement): boolean {
  return other.type === 'renew' && other.lease === one.lease && !other.progress && !one.progress;
}
