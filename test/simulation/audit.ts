/** Whether what is said of the whole queue fits what is known of its messages, and itself. */
import type { QueueStatus } from '../../src/backend.ts';
import type { RepairReport } from '../../src/cache/repair/report.ts';
import type { VerifyReport } from '../../src/cache/verify.ts';
import type { Message } from '../../src/message.ts';
import { NEVER } from './entries.ts';
import { Violation } from './violation.ts';
import type { Witness } from './witness.ts';

/** Messages that a client claims at once. */
export const MOST_CLAIMED = 3;

export class Audit {
  readonly #witness: Witness;

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
        'counts',
        `counts that do not add up: ${JSON.stringify(counts)}, ${messagesToProcess} to process`,
      );
    let least = -witness.maybeTaken;
    let most = 0;
    for (const entry of witness.entries.values()) {
      if (entry.seenAt < since && entry.dooms === 0) least++;
      if (!entry.refused && !(entry.endedAt < since)) most++;
    }
    if ((total < least || total > most) && !witness.excuses.suspends('counts'))
      throw new Violation(
        total < least ? 'lost' : 'undone',
        `${total} messages are counted, and there are ${least} to ${most}`,
      );
  }

  /** Nobody else than who was told of it holds a message. @param changesRefused whether a claim could perhaps not be ended. */
  held({ counts: { claimed } }: QueueStatus, changesRefused: boolean): void {
    const { unanswered, maybeTaken, entries } = this.#witness;
    if (changesRefused || unanswered.claimsLost) return;
    // The call that has handed nothing over is one of them.
    let most = maybeTaken + MOST_CLAIMED * (unanswered.count('claim') - 1);
    for (const { claims } of entries.values()) if (claims.some(({ ended }) => !ended)) most++;
    if (claimed > most)
      throw new Violation('counts', `${claimed} messages are claimed, and ${most} were handed out`);
  }

  /** What a look at every byte has found. @param found how many messages a find has found, when nothing else goes on. */
  verified({ sound, damage, messages }: VerifyReport, found?: number): void {
    const { excuses, lostToRot, maybeTaken } = this.#witness;
    // Of two neighbours in rot one cannot always be told from a torn write.
    if (sound && excuses.rot === 1 && lostToRot.length > maybeTaken && found !== undefined)
      throw new Violation('damage', `lost to rot, and reported nowhere: ${lostToRot.join(', ')}`);
    const told = damage.filter(({ kind }) => kind !== 'torn' && kind !== 'index');
    if (!sound && !excuses.suspends('sound'))
      throw new Violation('damage', `damage that nobody has done: ${JSON.stringify(told)}`);
    if (found !== undefined && messages !== found && !excuses.suspends('sound'))
      throw new Violation('counts', `${messages} messages are verified, and ${found} found`);
  }

  /** What a repair would call lost: what a power cut has taken, but nothing that was to outlast it. */
  planned({ lost }: RepairReport): void {
    const { excuses, entries, maybeTaken } = this.#witness;
    if (maybeTaken > 0) return;
    const uuids = new Set(lost.map(({ uuid }) => uuid));
    for (const { id, uuid, ackedAt, dooms } of entries.values())
      if (
        uuid !== undefined &&
        uuids.has(uuid) &&
        ackedAt !== NEVER &&
        dooms === 0 &&
        !excuses.suspends('sound')
      )
        throw new Violation('damage', `message ${id} was acknowledged, and a repair would call it lost`);
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
      throw new Violation('counts', `counted ${JSON.stringify(counts)}, found ${JSON.stringify(expected)}`);
  }

  /** Everything that was found has been worked off, in order. */
  drained(found: readonly Message[], drained: readonly Message[], { counts }: QueueStatus): void {
    if (Object.values(counts).some((count) => count !== 0) && !this.#excused)
      throw new Violation('counts', `a queue that was drained counts ${JSON.stringify(counts)}`);
    const order = drained.map(({ uuid }) => uuid);
    const first = found.filter(({ state }) => state !== 'claimed').map(({ uuid }) => uuid);
    const drainedFirst = order.filter((uuid) => first.includes(uuid));
    if (drainedFirst.join() !== first.join() && !this.#excused)
      throw new Violation('order', 'messages were not drained in the order in which they stand');
    if (new Set(order).size !== order.length && !this.#witness.excuses.suspends('added once'))
      throw new Violation('twice', `${order.length} messages were drained, some of them twice`);
    if (order.length !== found.length && !this.#excused)
      throw new Violation('lost', `${found.length} messages were found, ${order.length} drained`);
  }

  get #excused(): boolean {
    return this.#witness.excuses.suspends('counted is found');
  }
}
