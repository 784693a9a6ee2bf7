/**
 * What follows when a child has failed: pure, with time and chance as arguments.
 *
 * A failure is an end that nobody wished for. Two things are counted. Failures in a row choose the action (first, second,
 * each further one) and the delay, which doubles up to `delayMax`; the row ends when the child has run for
 * `resetPeriod` without failing. Failures within `resetPeriod`, in a row or not, bound the intensity: at `limit` it stays down.
 *
 * Both count the time that a child was left to run, not the time that it was made to wait: a delay that is longer than
 * `resetPeriod` would else make every failure the first, and a long delay keep the limit from ever being reached.
 */
import { backoffDelay } from '../backoff.ts';
import type { Recovery } from './shape.ts';

/** How a child has failed lately. Frozen. */
export interface Failures {
  /** In a row. */
  readonly count: number;
  /** When the last ones were, oldest first; ms by the clock that `afterFailure` is told, less all delays before. */
  readonly recent: readonly number[];
  /** Sum of the delays so far; ms. */
  readonly waited: number;
}

export const NO_FAILURES: Failures = Object.freeze({ count: 0, recent: Object.freeze([]), waited: 0 });

/** What is done, and how the child then stands. */
export type Verdict =
  /** It is started anew after `delay` ms. */
  | { readonly next: 'restart'; readonly failures: Failures; readonly delay: number }
  /** It stays down, as failed; `command` is run at once, for somebody to be told. */
  | { readonly next: 'run'; readonly failures: Failures; readonly command: readonly string[] }
  /** It stays down, as failed. `why` is a clause: `it has failed 10 times within 600 s`. */
  | { readonly next: 'fail'; readonly failures: Failures; readonly why: string };

/**
 * What follows from a failure.
 * @param now milliseconds, by a clock that only goes forward.
 * @param chance a number in [0, 1): children that fail together do not all come back together.
 */
export function afterFailure(recovery: Recovery, before: Failures, now: number, chance: number): Verdict {
  const { onFailure, delay, delayMax, resetPeriod, limit } = recovery;
  const at = now - before.waited;
  const last = before.recent.at(-1) ?? -Infinity;
  const count = at - last >= resetPeriod ? 1 : before.count + 1;
  const recent = [...before.recent.filter((time) => at - time < resetPeriod), at].slice(-Math.max(limit, 1));
  const failed = (waited: number): Failures =>
    Object.freeze({ count, recent: Object.freeze(recent), waited: before.waited + waited });

  if (limit > 0 && recent.length >= limit) {
    const times = limit === 1 ? 'once' : `${limit} times`;
    const why = `it has failed ${times} within ${resetPeriod / 1000} s of running`;
    return { next: 'fail', failures: failed(0), why };
  }
  const action = onFailure[Math.min(count, onFailure.length) - 1] ?? onFailure[2];
  if (action.kind === 'restart') {
    const wait = backoffDelay(count, { backoff: delay, backoffMax: delayMax }, chance);
    return { next: 'restart', failures: failed(wait), delay: wait };
  }
  if (action.kind === 'run') return { next: 'run', failures: failed(0), command: action.command };
  return { next: 'fail', failures: failed(0), why: 'no restart is configured for this failure' };
}
