/** What the checker of the torture makes of a history: each thing that may not be, and beside it what looks like it and may. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { check } from './checker.ts';
import type { Deed, Deeds, Given, Line, Mark, New, Seen } from './diary.ts';
import { CLOSER, type End } from './director.ts';
import { readHistory } from './history.ts';
import { ALIASES, FLEETING, JOBS } from './plan.ts';

/** The diaries of a round, written by hand. Times are milliseconds. */
class Diaries {
  readonly #lines = new Map<number, Line[]>();
  readonly #ends = new Map<number, End>();
  #calls = 0;

  /** Returns the call's number. Without an answer: the process ends over it. */
  call<D extends Deed>(
    number: number,
    [from, to]: [number, number],
    deed: D,
    asked: Deeds[D]['asked'],
    answer?: Deeds[D]['answer'],
    queue: string = JOBS,
  ): number {
    const call = ++this.#calls;
    this.#write(number, { t: from, call, deed, queue, asked });
    if (answer !== undefined) this.#write(number, { t: to, call, answer });
    else this.#ends.set(number, { number, to, how: 'killed' });
    return call;
  }

  mark(number: number, t: number, mark: Mark): void {
    this.#write(number, { t, ...mark });
  }

  error(number: number, [from, to]: [number, number], deed: Deed, code: string, queue: string = JOBS): void {
    const call = ++this.#calls;
    this.#write(number, { t: from, call, deed, queue, asked: {} });
    this.#write(number, { t: to, call, error: { code, message: 'no' } });
  }

  add(number: number, span: [number, number], message: New, queue: string = JOBS): void {
    this.call(
      number,
      span,
      'add',
      { messages: [message] },
      [{ id: message.id, uuid: `u-${message.id}`, duplicate: false }],
      queue,
    );
  }

  claim(number: number, span: [number, number], lease: number, given: Given[], queue: string = JOBS): number {
    return this.call(number, span, 'claim', { limit: 5, lease }, given, queue);
  }

  /** What is left, and how many have been processed. */
  last(left: Seen[], processed: number, queue: string = JOBS): void {
    this.call(
      CLOSER,
      [9000, 9001],
      'status',
      {},
      { counts: [left.length, 0, 0, 0, 0], processed, damaged: 0 },
      queue,
    );
    this.call(CLOSER, [9002, 9003], 'find', {}, left, queue);
  }

  /** @param complete whether who looks in the end has come to every queue. */
  judge(complete = true): string[] {
    if (complete) this.mark(CLOSER, 9999, { mark: 'ended' });
    const folder = mkdtempSync(join(tmpdir(), 'coda-torture-checker-'));
    try {
      for (const [number, lines] of this.#lines) {
        writeFileSync(
          join(folder, String(number)),
          lines.map((line) => `${JSON.stringify(line)}\n`).join(''),
        );
      }
      return check(readHistory(folder, this.#ends), CLOSER).map(({ kind, text }) => `${kind}: ${text}`);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  #write(number: number, line: Line): void {
    const known = this.#lines.get(number);
    if (known) known.push(line);
    else this.#lines.set(number, [line]);
  }
}

const M: New = { id: 'm', alias: '' };
const seen = (id = 'm'): Seen => ({ id, version: id, uuid: `u-${id}` });
const given = (id = 'm', offset = 1): Given => ({ ...seen(id), alias: '', at: [1, offset], crashes: 0 });

function judged(write: (diaries: Diaries) => void): string[] {
  const diaries = new Diaries();
  write(diaries);
  return diaries.judge();
}

describe('a message that was acknowledged', () => {
  test('is there in the end', () => {
    const found = judged((d) => {
      d.add(1, [0, 1], M);
      d.last([seen()], 0);
    });
    expect(found).toEqual([]);
  });

  test('and is not there in the end is lost', () => {
    const found = judged((d) => {
      d.add(1, [0, 1], M);
      d.last([], 0);
    });
    expect(found).toContain(
      'lost: message m of jobs was acknowledged; it is not there, and nobody has ended it',
    );
  });

  test('may be gone when its holder died over completing it, and the queue has counted it', () => {
    const dead = (processed: number): string[] =>
      judged((d) => {
        d.add(1, [0, 1], M);
        const claim = d.claim(2, [2, 3], 1000, [given()]);
        d.call(2, [4, 5], 'settle', { claim, id: 'm', how: 'complete' });
        d.last([], processed);
      });
    expect(dead(1)).toEqual([]);
    expect(dead(0).join()).toContain('1 messages of jobs are missing, but only 0 were ended by the dead: m');
  });

  test('must have been counted when it was completed', () => {
    const completed = (processed: number): string[] =>
      judged((d) => {
        d.add(1, [0, 1], M);
        const claim = d.claim(2, [2, 3], 1000, [given()]);
        d.call(2, [4, 5], 'settle', { claim, id: 'm', how: 'complete' }, true);
        d.last([], processed);
      });
    expect(completed(1)).toEqual([]);
    expect(completed(0)).toContain(
      'other: status, process 0: messages processed of jobs are 0, expected 1 to 1',
    );
  });

  test('may be gone when somebody died over taking one, but not two messages', () => {
    const taken = (count: number): string[] =>
      judged((d) => {
        for (let i = 0; i < count; i++) d.add(1, [i, i + 0.5], { id: `m${i}`, alias: '' });
        d.call(2, [10, 11], 'take', {});
        d.last([], 1);
      });
    expect(taken(1)).toEqual([]);
    expect(taken(2).join()).toMatch(/lost: message m1 of jobs/);
  });

  test('is lost with a queue that was made and is not there', () => {
    const found = judged((d) => {
      d.call(1, [0, 1], 'create', {}, true, 'born-1');
      d.add(1, [2, 3], M, 'born-1');
    });
    expect(found).toEqual([
      'lost: queue born-1 is not there in the end',
      expect.stringContaining('lost: message m of born-1'),
    ]);
  });

  test('is not called lost when who looked in the end has not come to it', () => {
    const diaries = new Diaries();
    diaries.add(1, [0, 1], M);
    diaries.mark(CLOSER, 9000, { mark: 'fault', text: 'it could not go on' });
    expect(diaries.judge(false)).toEqual(['other: process 0: it could not go on']);
  });

  test('may go with its queue, but does not come back', () => {
    const destroyed = (left: Seen[]): string[] =>
      judged((d) => {
        d.add(1, [0, 1], M, FLEETING);
        d.call(2, [2, 3], 'destroy', {}, true, FLEETING);
        d.last(left, 0, FLEETING);
      });
    expect(destroyed([])).toEqual([]);
    expect(destroyed([seen()])).toEqual(['other: process 0 found message m in fleeting, that had ended']);
  });
});

test('an add without an answer may have happened, or not', () => {
  for (const left of [[], [seen()]]) {
    const found = judged((d) => {
      d.call(1, [0, 1], 'add', { messages: [M] });
      d.last(left, 0);
    });
    expect(found).toEqual([]);
  }
});

describe('two claims on one message', () => {
  const twice = (lease: number, second: [number, number], settledAt: number): string[] =>
    judged((d) => {
      d.add(1, [0, 1], M);
      const claim = d.claim(2, [2, 3], lease, [given()]);
      d.claim(3, second, 1000, [{ ...given(), crashes: 1 }]);
      d.call(2, [settledAt, settledAt + 1], 'settle', { claim, id: 'm', how: 'release' }, false);
      d.last([seen()], 0);
    });

  test('at the same time are one too many', () => {
    expect(twice(1000, [10, 11], 20)).toContain(
      'twice: message m of jobs was held by processes 2 and 3 at the same time',
    );
  });

  test('are right when the first lease was over', () => {
    expect(twice(5, [10, 11], 20)).toEqual([]);
  });

  test('are right when the first holder gave no sign of life any more', () => {
    const found = judged((d) => {
      d.add(1, [0, 1], M);
      d.claim(2, [2, 3], 1000, [given()]);
      d.claim(3, [300, 301], 1000, [{ ...given(), crashes: 1 }]);
      d.last([seen()], 0);
    });
    expect(found).toEqual([]);
  });

  test('a renewal makes the first lease longer', () => {
    const found = judged((d) => {
      d.add(1, [0, 1], M);
      const claim = d.claim(2, [2, 3], 20, [given()]);
      d.call(2, [15, 16], 'settle', { claim, id: 'm', how: 'renew' }, true);
      d.claim(3, [30, 31], 1000, [{ ...given(), crashes: 1 }]);
      d.mark(2, 33, { mark: 'ended' });
      d.last([seen()], 0);
    });
    expect(found.join()).toContain('was held by processes 2 and 3 at the same time');
  });
});

describe('a settle', () => {
  test('that is refused while its holder lives and its lease runs is wrong', () => {
    const found = judged((d) => {
      d.add(1, [0, 1], M);
      const claim = d.claim(2, [2, 3], 1000, [given()]);
      d.call(2, [4, 5], 'settle', { claim, id: 'm', how: 'complete' }, false);
      d.last([seen()], 0);
    });
    expect(found).toEqual([
      'other: message m of jobs complete was answered false, but its claim had ended, though its holder lived and its lease ran',
    ]);
  });

  test('of a claim that another has followed must be refused', () => {
    const found = judged((d) => {
      d.add(1, [0, 1], M);
      const claim = d.claim(2, [2, 3], 5, [given()]);
      d.claim(3, [10, 11], 1000, [{ ...given(), crashes: 1 }]);
      d.call(2, [12, 13], 'settle', { claim, id: 'm', how: 'complete' }, true);
      d.last([], 1);
    });
    expect(found).toContain(
      'other: message m of jobs complete was answered true, but another had been given the message meanwhile',
    );
  });

  test('must be refused the second time', () => {
    const found = judged((d) => {
      d.add(1, [0, 1], M);
      const claim = d.claim(2, [2, 3], 1000, [given()]);
      d.call(2, [4, 5], 'settle', { claim, id: 'm', how: 'complete' }, true);
      d.call(2, [6, 7], 'settle', { claim, id: 'm', how: 'complete' }, true);
      d.last([], 1);
    });
    expect(found).toContain('twice: message m of jobs ended more than once: completed, completed');
  });
});

describe('what is given', () => {
  const complete = (d: Diaries): void => {
    d.add(1, [0, 1], M);
    const claim = d.claim(2, [2, 3], 1000, [given()]);
    d.call(2, [4, 5], 'settle', { claim, id: 'm', how: 'complete' }, true);
  };

  test('had not ended before', () => {
    const found = judged((d) => {
      complete(d);
      d.claim(3, [6, 7], 1000, [given()]);
      d.last([], 1);
    });
    expect(found.join()).toContain('twice: message m of jobs was given to process 3');
  });

  test('may end while it is asked for', () => {
    const found = judged((d) => {
      d.add(1, [0, 1], M);
      const claim = d.claim(2, [2, 3], 1000, [given()]);
      d.claim(3, [3.5, 8], 1000, []);
      d.call(2, [4, 5], 'settle', { claim, id: 'm', how: 'complete' }, true);
      d.last([], 1);
    });
    expect(found).toEqual([]);
  });

  test('was added by somebody, and holds what was added', () => {
    const found = judged((d) => {
      d.add(1, [0, 1], M);
      d.claim(2, [2, 3], 1000, [given(''), { ...given('m', 9), version: 'other' }]);
      d.last([seen()], 0);
    });
    expect(found).toEqual([
      expect.stringContaining('a message that nobody has added was given'),
      expect.stringContaining('with a payload that it never had: other'),
    ]);
  });

  test('is as new as the last update that was answered', () => {
    const found = judged((d) => {
      d.add(1, [0, 1], M);
      d.call(1, [2, 3], 'update', { id: 'm', version: 'v2' }, true);
      d.call(4, [10, 20], 'update', { id: 'm', version: 'v3' }, true);
      d.claim(2, [5, 6], 1000, [given()]);
      d.claim(3, [1500, 1501], 1000, [{ ...given(), version: 'v3', crashes: 1 }]);
      d.last([seen()], 0);
    });
    expect(found).toEqual([
      expect.stringContaining('given to process 2, call 4, with the stale payload m: v2 was newer'),
    ]);
  });

  test.each([
    ['it was disabled', { disabled: true }],
    ['it was not due', { due: 500 }],
  ])('may run: not when %s', (why, more) => {
    const found = judged((d) => {
      d.add(1, [0, 1], { ...M, ...more });
      d.claim(2, [2, 3], 1000, [given()]);
      d.last([seen()], 0);
    });
    expect(found).toEqual([expect.stringContaining(why)]);
  });

  test('has not failed for good, unless it was retried', () => {
    const failed = (retried: boolean): string[] =>
      judged((d) => {
        d.add(1, [0, 1], M);
        const claim = d.claim(2, [2, 3], 1000, [given()]);
        d.call(2, [4, 5], 'settle', { claim, id: 'm', how: 'final' }, true);
        if (retried) d.call(4, [6, 7], 'retry', {}, true);
        d.claim(3, [8, 9], 1000, [given()]);
        d.last([seen()], 0);
      });
    expect(failed(true)).toEqual([]);
    expect(failed(false)).toEqual([expect.stringContaining('it had failed for good')]);
  });

  test('comes in order, and nobody passes over what was ready', () => {
    const found = judged((d) => {
      d.add(1, [0, 1], M);
      d.add(1, [2, 3], { id: 'n', alias: '' });
      d.claim(2, [4, 5], 1000, [given('n', 9)]);
      d.claim(3, [6, 7], 1000, [given('m', 1)]);
      d.last([seen(), seen('n')], 0);
    });
    expect(found).toEqual(['other: message m of jobs was passed over when process 2 was given n']);
  });

  test('is nothing while the queue is paused', () => {
    const found = judged((d) => {
      d.add(1, [0, 1], M, ALIASES);
      d.call(1, [2, 3], 'pause', {}, true, ALIASES);
      d.claim(2, [4, 5], 1000, [given()], ALIASES);
      d.call(1, [6, 7], 'resume', {}, true, ALIASES);
      d.last([seen()], 0, ALIASES);
    });
    expect(found).toEqual(['other: aliases was paused, but process 2 was given m']);
  });
});

test('two unfinished messages never have one alias where aliases are unique', () => {
  const found = judged((d) => {
    d.add(1, [0, 1], { id: 'm', alias: 'a' }, ALIASES);
    d.add(1, [2, 3], { id: 'n', alias: 'a' }, ALIASES);
    d.last([seen(), seen('n')], 0, ALIASES);
  });
  expect(found).toEqual(['other: messages m and n of aliases have the alias a at the same time']);
});

describe('who looks', () => {
  test('finds what has been there all the time', () => {
    const found = judged((d) => {
      d.add(1, [0, 1], M);
      d.call(2, [2, 3], 'find', {}, []);
      d.last([seen()], 0);
    });
    expect(found).toEqual(['other: process 2 did not find in jobs: m']);
  });

  test('counts no more and no fewer than there may be', () => {
    const found = judged((d) => {
      d.add(1, [0, 1], M);
      d.call(2, [2, 3], 'status', {}, { counts: [2, 0, 0, 0, 0], processed: 0, damaged: 0 });
      d.last([seen()], 0);
    });
    expect(found).toEqual(['other: status, process 2: messages in all of jobs are 2, expected 1 to 1']);
  });

  test('finds no damage', () => {
    const found = judged((d) => {
      d.call(2, [0, 1], 'verify', {}, { sound: false, damage: ['rot'], messages: 0 });
      d.last([], 0);
    });
    expect(found).toEqual(['other: verify, process 2, finds jobs damaged: rot']);
  });
});

test('an error that nothing explains is told; that others destroy a queue explains what its users meet', () => {
  const found = judged((d) => {
    d.error(1, [0, 1], 'take', 'QUEUE_DESTROYED', FLEETING);
    d.error(2, [0, 1], 'status', 'STORAGE_FAILED');
    d.mark(3, 5, { mark: 'fault', text: 'something else' });
  });
  expect(found).toEqual([
    'other: process 3: something else',
    'other: process 2: status on jobs: STORAGE_FAILED: no',
  ]);
});
