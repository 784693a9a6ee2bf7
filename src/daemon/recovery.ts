/**
 * What is done when a daemon has failed: one policy for whatever looks after daemons. A failure is an end that nobody asked
 * for, with another exit code than 0; a stop that was requested is none.
 */
import type { FailureAction, FailureActions } from '../failure-actions.ts';

/** As [daemon] of the configuration says. */
export interface RecoveryPolicy {
  readonly onFailure: FailureActions;
  /** Milliseconds from a failure to what is done about it. */
  readonly recoveryDelay: number;
  /** Milliseconds without a failure after which the next one counts as the first again; 0: it never does. */
  readonly resetPeriod: number;
}

/** How often a daemon has failed lately. */
export interface Failures {
  readonly count: number;
  /** Milliseconds, by the clock that `afterFailure` is told. */
  readonly lastAt: number;
}

export const NO_FAILURES: Failures = Object.freeze({ count: 0, lastAt: -Infinity });

export interface Recovery {
  /** This one included. */
  failures: Failures;
  action: FailureAction;
  /** Milliseconds until it is taken. */
  delay: number;
}

/** What follows from a failure. @param now milliseconds, by a clock that only goes forward. */
export function afterFailure(policy: RecoveryPolicy, before: Failures, now: number): Recovery {
  const { onFailure, recoveryDelay, resetPeriod } = policy;
  const isOver = resetPeriod > 0 && now - before.lastAt >= resetPeriod;
  const count = (isOver ? 0 : before.count) + 1;
  const action = onFailure[Math.min(count, onFailure.length) - 1] ?? onFailure[2];
  return { failures: { count, lastAt: now }, action, delay: recoveryDelay };
}

export interface Restarts {
  /** How many failures are answered by a restart before another action comes; Infinity: all are. */
  count: number;
  /** The other action. */
  afterwards: FailureAction;
  /** Whether something else again follows on that, which nobody knows who gives up then. */
  goesOn: boolean;
}

/** The policy as systems see it that know no more than "start it again so many times, then give up". */
export function restartsOf({ onFailure }: Pick<RecoveryPolicy, 'onFailure'>): Restarts {
  const count = onFailure.findIndex(({ kind }) => kind !== 'restart');
  const afterwards = onFailure[count];
  if (!afterwards) return { count: Infinity, afterwards: onFailure[2], goesOn: false };
  const goesOn = onFailure.slice(count + 1).some((later) => later !== afterwards);
  return { count, afterwards, goesOn };
}
