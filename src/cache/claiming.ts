/** Claims of one handle: which messages they name, and what comes of it. */
import type { QueueError } from '../errors.ts';
import type { Claim } from '../message.ts';
import type { HandOver } from './hand-over.ts';
import type { Journal } from './journal.ts';
import type { Obstacle, Submission } from './submission.ts';
import type { Draft } from './log.ts';
import type { Effect, QueueState } from './state.ts';
import { SegmentTable } from './table.ts';
import { toWhere } from './where.ts';

interface Answer {
  resolve: (granted: Claim[]) => void;
  failed: (error: unknown) => void;
}

const NOTHING: ReadonlySet<number> = new Set();

export class Claiming {
  readonly journal: Journal;
  readonly handOver: HandOver;
  /** Others have lately taken what a claim of ours named: name more. */
  contended = false;
  /** How many claims have got something. */
  granted = 0;
  #claims = 0;

  constructor(journal: Journal, handOver: HandOver) {
    this.journal = journal;
    this.handOver = handOver;
  }

  /** Up to `limit` of the messages that may run now, in order of position, for `lease` milliseconds. */
  claim(limit: number, lease: number): Promise<Claim[]> {
    return new Promise((resolve, failed) => {
      this.journal.submit(new ClaimSubmission(this, limit, lease, { resolve, failed }));
    });
  }

  /** Names the next claim of this handle. */
  nextNumber(): string {
    return (++this.#claims).toString(36);
  }

  /** In order of position; a message that has crashed a worker comes alone, and only to a worker without other claims. */
  candidates(limit: number, picked: ReadonlySet<number>): number[] | SegmentTable {
    const { state } = this.journal;
    if (state.paused || state.id === '' || this.isBlocked()) return [];
    // Claims of the same write are as good as held.
    for (const at of picked) if (state.crashed.has(at)) return [];
    const candidates = state.line.pick(limit, this.#now, picked);
    if (candidates instanceof SegmentTable || state.crashed.size === 0) return candidates;
    if (candidates.length > 0 && state.crashed.has(candidates[0]!)) {
      return picked.size > 0 ? [] : candidates.slice(0, 1);
    }
    const suspect = candidates.findIndex((at) => state.crashed.has(at));
    return suspect < 0 ? candidates : candidates.slice(0, suspect);
  }

  /** Whether this process holds a suspect, or the next in line is one and this process holds something else. */
  isBlocked(): boolean {
    const { state, log } = this.journal;
    if (state.crashed.size === 0) return false;
    let holds = false;
    for (const at of state.claimed) {
      if (state.touched.get(at)?.lease?.writer !== log.writer) continue;
      if (state.crashed.has(at)) return true;
      holds = true;
    }
    if (!holds) return false;
    const next = state.line.pick(1, this.#now, NOTHING);
    return Array.isArray(next) && next.length > 0 && state.crashed.has(next[0]!);
  }

  get #now(): number {
    return this.journal.options.ports.clock.now();
  }
}

class ClaimSubmission implements Submission {
  readonly purpose = 'settle';
  readonly synced = false;
  readonly current = true;
  readonly registers = true;
  readonly #claiming: Claiming;
  readonly #limit: number;
  readonly #lease: number;
  readonly #answer: Answer;
  #number: string;
  #named = 0;

  constructor(claiming: Claiming, limit: number, lease: number, answer: Answer) {
    this.#claiming = claiming;
    this.#limit = limit;
    this.#lease = lease;
    this.#answer = answer;
    this.#number = claiming.nextNumber();
  }

  draft(state: QueueState, picked: Set<number>): Draft | Obstacle | undefined {
    const claiming = this.#claiming;
    const limit = this.#limit;
    const candidates = claiming.candidates(claiming.contended ? limit * 2 : limit, picked);
    if (candidates instanceof SegmentTable) return candidates;
    if (candidates.length === 0) {
      claiming.contended = false;
      this.#answer.resolve([]);
      return undefined;
    }
    this.#named = candidates.length;
    // What is named beyond the limit is for the case that others are quicker: it may be named again.
    for (let i = 0; i < limit && i < candidates.length; i++) picked.add(candidates[i]!);
    const c = toWhere(candidates, (at) => dueOf(state, at));
    const { clock } = claiming.journal.options.ports;
    return { op: { op: 'claim', k: this.#number, m: clock.monotonic(), ms: this.#lease, max: limit, c } };
  }

  done(effect: Effect): void {
    const claiming = this.#claiming;
    const at = effect.kind === 'changed' ? effect.at : [];
    const contended = at.length < Math.min(this.#limit, this.#named);
    claiming.contended = contended;
    if (at.length > 0) claiming.granted++;
    const granted = claiming.handOver.messages(`${claiming.journal.log.writer}.${this.#number}`, at);
    const more = contended || at.length > 0;
    if (Array.isArray(granted)) this.#tell(granted, more);
    else granted.then((later) => this.#tell(later, more), this.#answer.failed);
  }

  failed(error: QueueError): void {
    this.#answer.failed(error);
  }

  /** @param more there may be others behind those that were named. */
  #tell(granted: Claim[], more: boolean): void {
    if (granted.length > 0 || !more) return this.#answer.resolve(granted);
    // Everything that was named went to others, or was damaged and has been set aside.
    this.#number = this.#claiming.nextNumber();
    this.#claiming.journal.submit(this);
  }
}

function dueOf(state: QueueState, at: number): number | undefined {
  const phase = state.lifeOf(at)?.phase;
  return phase?.state === 'deferred' ? phase.due : undefined;
}
