/** What is handed out, to whom, and what becomes of it: nobody gets what another holds, nor anything out of turn. */
import type { Claim, Message } from '../../src/message.ts';
import type { Call } from './calls.ts';
import { isBefore, NEVER, type Entry, type Held } from './entries.ts';
import type { Process } from './process.ts';
import { Violation } from './violation.ts';
import type { Witness } from './witness.ts';

export type Settling = 'complete' | 'fail' | 'release' | 'renew';

export class Claims {
  readonly #witness: Witness;
  #lastPause: Call | undefined;

  constructor(witness: Witness) {
    this.#witness = witness;
  }

  claiming(process: Process): Call {
    return this.#witness.begin(process, 'claim');
  }

  /** @param began the machine's time at the call. */
  claimed(call: Call, claims: readonly Claim[], began: number, lease: number): Held[] {
    this.#witness.end(call);
    const { process, since } = call;
    const alone =
      this.#witness.unanswered.count('claim') === 0 &&
      !this.#witness.unanswered.claimsLost &&
      this.#witness.maybeTaken === 0;
    if (claims.length > 0 && this.#witness.pausedAt < since)
      throw new Violation('unripe', 'messages of a paused queue were handed out');
    const now = this.#witness.options.machineTime();
    const held = claims.map((claim) => {
      const entry = this.#witness.met(claim, since);
      // A process that was stopped may be told of a claim that is over.
      if (now < began + lease) this.#free(entry, now);
      if (entry.held) throw new Violation('unripe', `message ${entry.id} may not run, and was handed out`);
      const one: Held = {
        entry,
        claim,
        process,
        calledAt: since,
        grantedAt: this.#witness.tick(),
        until: began + lease,
        ending: false,
        contested: entry.contested || entry.dooms > 0,
        ended: false,
      };
      entry.claims.push(one);
      return one;
    });
    for (const [i, { entry }] of held.entries())
      if (i > 0) this.#witness.inOrder(held[i - 1]!.entry, entry, 'was handed out');
    const last = held.at(-1)?.entry;
    for (const { entry } of held) entry.untouched = false;
    if (alone && last) this.#passedOver(last, since);
    return held;
  }

  /** Nobody holds the message now. */
  #free(entry: Entry, now: number): void {
    for (const other of entry.claims) {
      const lives = other.process.alive && !other.ending && !other.contested && now < other.until;
      if (lives && !this.#witness.excuses.suspends('lease'))
        throw new Violation('twice', `message ${entry.id} was handed out while another's claim on it lived`);
    }
  }

  /** Whether something that must have come first was left in line. */
  #passedOver(last: Entry, since: number): void {
    for (const entry of this.#witness.entries.values()) {
      if (
        entry.untouched &&
        entry.plain &&
        entry.ackedAt < since &&
        entry.dooms === 0 &&
        isBefore(entry, last) &&
        !this.#witness.excuses.suspends('order')
      )
        throw new Violation(
          'order',
          `message ${last.id} was handed out before ${entry.id}, which was added before it`,
        );
    }
  }

  settling(held: Held, how: Settling): number {
    this.#witness.calls++;
    if (how !== 'renew') held.ending = true;
    if (how === 'complete') held.entry.dooms++;
    return this.#witness.tick();
  }

  settled(held: Held, how: Settling, applied: boolean, since: number): void {
    const { entry } = held;
    if (applied) {
      // Answers may come in another order than claims.
      const later = entry.claims.find((other) => other.grantedAt < since && other.calledAt > held.grantedAt);
      if (later && !this.#witness.excuses.suspends('lease'))
        throw new Violation('settle', `a stale settle of message ${entry.id} had an effect`);
      if (held.ended) throw new Violation('settle', `a claim on message ${entry.id} was ended twice`);
      if (how !== 'renew') held.ended = true;
      if (how === 'complete') this.#witness.over(entry, false);
      return;
    }
    this.#witness.tick();
    // It has changed nothing: the message is there, if it was.
    if (how === 'complete') {
      entry.dooms--;
      entry.tooLate++;
    }
    // Whoever else ended the claim would have had no right to.
    if (
      this.#witness.options.machineTime() < held.until &&
      !held.contested &&
      !held.ended &&
      !this.#witness.excuses.suspends('lease')
    )
      throw new Violation('settle', `a claim on message ${entry.id} had ended before its time`);
  }

  renewed(held: Held, began: number, lease: number): void {
    held.until = began + lease;
  }

  taking(process: Process): Call {
    return this.#witness.begin(process, 'take');
  }

  took(call: Call, message: Message | undefined): void {
    const { since } = call;
    this.#witness.end(call);
    if (!message) return;
    if (this.#witness.pausedAt < since)
      throw new Violation('unripe', 'a message of a paused queue was handed out');
    const entry = this.#witness.met(message, since);
    this.#free(entry, this.#witness.options.machineTime());
    for (const one of entry.claims) one.contested = true;
    entry.untouched = false;
    this.#witness.over(entry, true);
  }

  /** A pause or a resume. */
  pausing(process: Process): Call {
    this.#witness.pausedAt = NEVER;
    return (this.#lastPause = this.#witness.begin(process, 'pause'));
  }

  /** @param paused whether it was a pause. */
  pausingDone(call: Call, paused: boolean): void {
    // Of calls that overlap, the log knows which came last.
    const alone = call === this.#lastPause && this.#witness.unanswered.isAlone(call, 'pause', 'sweep');
    this.#witness.end(call);
    if (paused && alone) this.#witness.pausedAt = this.#witness.tick();
  }

  /** Everything may run from now on. */
  freeing(found: readonly Message[]): void {
    this.#witness.pausedAt = NEVER;
    for (const message of found) {
      const entry = this.#witness.known(message);
      this.#witness.contest(entry);
      entry.held = false;
    }
  }
}
