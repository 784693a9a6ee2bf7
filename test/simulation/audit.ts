/** Whether what is said of the whole queue fits what is known of its messages, and itself. */
import type { QueueStatus } from '../../src/backend.ts';
import type { VerifyReport } from '../../src/cache/verify.ts';
import type { Message } from '../../src/message.ts';
import { Violation } from './violation.ts';
import type { Witness } from './witness.ts';

/** Messages that a client claims at once. */
export const MOST_CLAIMED = 3;

export class Audit {
  readonly #witness: Witness;
  /** A head has been damaged, from which nothing may be lost. */
  headDamaged = false;

  constructor(witness: Witness) {
    this.#witness = witness;
  }

  /** What a status said that was asked for at `since`. */
  counted({ counts, messagesToProcess }: QueueStatus, since: number): void {
    const witness = this.#witness;
    witness.tick();
    const { ready, deferred, claimed, disabled, failed } = counts;
    const total = ready + deferred + claimed + disabled + failed;
    if (messagesToProcess !== ready + deferred + claimed || Math.min(...Object.values(counts)) < 0)
      throw new Violation(
        `counts that do not add up: ${JSON.stringify(counts)}, ${messagesToProcess} to process`,
      );
    if (witness.rotten || witness.holed) return;
    let least = -witness.maybeTaken;
    let most = 0;
    for (const entry of witness.entries.values()) {
      if (entry.seenAt < since && entry.dooms === 0) least++;
      if (!entry.refused && !(entry.endedAt < since)) most++;
    }
    if (total < least || total > most)
      throw new Violation(`${total} messages are counted, and there are ${least} to ${most}`);
  }

  /** Nobody else than who was told of it holds a message. @param changesRefused whether a claim could perhaps not be ended. */
  held({ counts: { claimed } }: QueueStatus, changesRefused: boolean): void {
    const { rotten, holed, flushFailed, unanswered, maybeTaken, entries } = this.#witness;
    if (changesRefused || rotten || holed || flushFailed || unanswered.claimsLost) return;
    // The call that has handed nothing over is one of them.
    let most = maybeTaken + MOST_CLAIMED * (unanswered.count('claim') - 1);
    for (const { claims } of entries.values()) if (claims.some(({ ended }) => !ended)) most++;
    if (claimed > most) throw new Violation(`${claimed} messages are claimed, and ${most} were handed out`);
  }

  /** What a look at every byte has found. @param found how many messages a find has found, when nothing else goes on. */
  verified({ sound, damage, messages }: VerifyReport, found?: number): void {
    const { rot, rotten, lostToRot, maybeTaken, flushFailed } = this.#witness;
    // Of two neighbours in rot one cannot always be told from a torn write.
    if (sound && rot === 1 && lostToRot.length > maybeTaken && found !== undefined)
      throw new Violation(`lost to rot, and reported nowhere: ${lostToRot.join(', ')}`);
    if (rotten || this.headDamaged || flushFailed) return;
    const told = damage.filter(({ kind }) => kind !== 'torn' && kind !== 'index');
    if (!sound) throw new Violation(`damage that nobody has done: ${JSON.stringify(told)}`);
    if (found !== undefined && messages !== found)
      throw new Violation(`${messages} messages are verified, and ${found} found`);
  }

  /** At the end, when nobody else is there. */
  ended(found: readonly Message[], { counts }: QueueStatus): void {
    // Between the two calls some may have fallen due.
    const { ready, deferred, ...others } = counts;
    const counted = { waiting: ready + deferred, ...others };
    const expected: typeof counted = { waiting: 0, claimed: 0, disabled: 0, failed: 0 };
    for (const { state, disabled } of found) {
      const isWaiting = state === 'ready' || state === 'deferred';
      expected[isWaiting ? (disabled ? 'disabled' : 'waiting') : state]++;
    }
    if (JSON.stringify(counted) !== JSON.stringify(expected) && !this.#excused)
      throw new Violation(`counted ${JSON.stringify(counts)}, found ${JSON.stringify(expected)}`);
  }

  /** Everything that was found has been worked off, in order. */
  drained(found: readonly Message[], drained: readonly Message[], { counts }: QueueStatus): void {
    if (Object.values(counts).some((count) => count !== 0) && !this.#excused)
      throw new Violation(`a queue that was drained counts ${JSON.stringify(counts)}`);
    const order = drained.map(({ uuid }) => uuid);
    const first = found.filter(({ state }) => state !== 'claimed').map(({ uuid }) => uuid);
    const drainedFirst = order.filter((uuid) => first.includes(uuid));
    if (drainedFirst.join() !== first.join() && !this.#excused)
      throw new Violation('messages were not drained in the order in which they stand');
    if (new Set(order).size !== order.length || (order.length !== found.length && !this.#excused))
      throw new Violation(`${found.length} messages were found, ${order.length} drained`);
  }

  /** A message whose content cannot be read is found by nobody, and set aside when it is claimed. */
  get #excused(): boolean {
    return this.#witness.rotten || this.#witness.flushFailed;
  }
}
