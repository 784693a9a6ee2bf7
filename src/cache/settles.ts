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

/** One record for all members: they settle the same claim in the same way. */
export class SettleGroup implements Submission {
  readonly purpose = 'settle';
  readonly synced = false;
  readonly current = false;
  readonly #claim: string;
  readonly #settlement: Settlement;
  readonly #clock: Clock;
  readonly #onDraft: () => void;
  readonly #members: Member[] = [];

  /** @param onDraft called when the group can take no more. */
  constructor(claim: string, settlement: Settlement, clock: Clock, onDraft: () => void) {
    this.#claim = claim;
    this.#settlement = settlement;
    this.#clock = clock;
    this.#onDraft = onDraft;
  }

  /** False: it holds as many as one record should. */
  add(member: Member): boolean {
    return this.#members.length < MOST_MEMBERS && this.#members.push(member) > 0;
  }

  draft(): Draft {
    this.#onDraft();
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
          op: { op: 'renew', k, m: this.#clock.monotonic(), ms: settlement.lease, c },
          ...(settlement.progress && { json: JSON.stringify(settlement.progress) }),
        };
    }
  }

  done(effect: Effect): void {
    const applied = effect.kind === 'changed' ? new Set(effect.at) : undefined;
    // Each message is settled once: of two members that mean the same one, the first has done it.
    for (const { at, resolve } of this.#members) resolve(applied?.delete(at) ?? false);
  }

  failed(error: QueueError): void {
    this.#onDraft();
    for (const { reject } of this.#members) reject(error);
  }
}
