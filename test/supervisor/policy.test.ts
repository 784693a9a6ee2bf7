import { describe, expect, test } from 'vitest';
import { parseFailureActions } from '../../src/failure-actions.ts';
import { NO_FAILURES, afterFailure, type Failures, type Verdict } from '../../src/supervisor/policy.ts';
import type { Recovery } from '../../src/supervisor/shape.ts';

/** No jitter: the most that is waited. */
const ALL = 1 - Number.EPSILON;

function recovery(onFailure: string, rest: Partial<Recovery> = {}): Recovery {
  const actions = parseFailureActions(onFailure);
  if (!actions) throw new Error(onFailure);
  return { onFailure: actions, delay: 1000, delayMax: 60_000, resetPeriod: 600_000, limit: 10, ...rest };
}

/** A child that fails again and again, each time after it has run for so many ms. */
function life(policy: Recovery, runs: readonly number[], chance = ALL): Verdict[] {
  const verdicts: Verdict[] = [];
  let failures: Failures = NO_FAILURES;
  let now = 1_000_000;
  for (const run of runs) {
    now += run;
    const verdict = afterFailure(policy, failures, now, chance);
    verdicts.push(verdict);
    failures = verdict.failures;
    if (verdict.next === 'restart') now += verdict.delay;
  }
  return verdicts;
}

function nexts(verdicts: readonly Verdict[]): (number | string)[] {
  return verdicts.map((verdict) => (verdict.next === 'restart' ? verdict.delay : verdict.next));
}

function times<Value>(length: number, value: Value): Value[] {
  return Array.from({ length }, () => value);
}

test('a crash loop is answered with delays that double up to the cap, and then given up', () => {
  const verdicts = life(recovery('restart'), times(10, 5));
  expect(nexts(verdicts)).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000, 'fail']);
  expect(verdicts.at(-1)).toMatchObject({ why: 'it has failed 10 times within 600 s of running' });
});

test('the limit counts what the child has run, so that a long delay does not keep it from being reached', () => {
  const slow = recovery('restart', { delay: 3_600_000, delayMax: 3_600_000, limit: 3 });
  expect(nexts(life(slow, [5, 5, 5]))).toEqual([3_600_000, 3_600_000, 'fail']);
});

test('a child that runs well between its failures is never given up', () => {
  const verdicts = life(recovery('restart'), times(1000, 90_000));
  expect(verdicts.filter(({ next }) => next !== 'restart')).toEqual([]);
});

test('after a reset period of running the next failure is the first again, and not before', () => {
  const policy = recovery('restart, none', { resetPeriod: 10_000 });
  expect(nexts(life(policy, [5, 10_000, 10_000]))).toEqual([1000, 1000, 1000]);
  expect(nexts(life(policy, [5, 9999]))).toEqual([1000, 'fail']);
});

test('the first, the second and each further failure have an action of their own', () => {
  const verdicts = life(recovery('restart, restart, run /bin/page me'), [5, 5, 5]);
  expect(nexts(verdicts)).toEqual([1000, 2000, 'run']);
  expect(verdicts[2]).toMatchObject({ command: ['/bin/page', 'me'] });
  expect(nexts(life(recovery('none'), [5]))).toEqual(['fail']);
});

test('children that fail together come back spread over the upper half of the delay', () => {
  const delays = [0, 0.25, 0.5, 0.75, ALL].map((chance) => nexts(life(recovery('restart'), [5], chance))[0]);
  expect(delays).toEqual([500, 625, 750, 875, 1000]);
});

describe('the edges:', () => {
  test('a limit of 0 is none, and what is remembered stays small', () => {
    const verdicts = life(recovery('restart', { limit: 0 }), times(5000, 5));
    expect(verdicts.every(({ next }) => next === 'restart')).toBe(true);
    expect(verdicts.at(-1)?.failures.recent.length).toBeLessThanOrEqual(1);
    expect(verdicts.at(-1)).toMatchObject({ delay: 60_000 });
  });

  test('a limit of 1 allows no restart', () => {
    expect(nexts(life(recovery('restart', { limit: 1 }), [5]))).toEqual(['fail']);
  });

  test('delays of 0 are restarts at once, and bounded all the same', () => {
    const verdicts = life(recovery('restart', { delay: 0, delayMax: 0 }), times(10, 0));
    expect(nexts(verdicts)).toEqual([...times(9, 0), 'fail']);
  });

  test('nothing that was handed in is changed', () => {
    const first = afterFailure(recovery('restart'), NO_FAILURES, 5, 0);
    expect(NO_FAILURES).toEqual({ count: 0, recent: [], waited: 0 });
    expect(Object.isFrozen(first.failures)).toBe(true);
  });
});
