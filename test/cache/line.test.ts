import { describe, expect, test } from 'vitest';
import { Messages } from '../../src/cache/messages.ts';
import { SegmentTable } from '../../src/cache/table.ts';
import { mayRunAt } from '../../src/cache/line.ts';
import type { Happening } from '../../src/message.ts';
import { Seeded } from '../support/seeded.ts';

const NONE: ReadonlySet<number> = new Set();
const error = { at: '2030-01-01T00:00:00.000Z', attempt: 1, name: 'Error', message: 'no' };

/** A queue without a log: `add` gives positions in order. */
class Lives extends Messages {
  #offset = 100;

  add(due?: number, disabled = false): number {
    this.#offset += 100;
    return this.insert({ offset: this.#offset, length: 90, headerLength: 40 }, due, disabled);
  }

  happened(at: number, event: Happening): void {
    expect(this.happen(at, event, { writer: 'w', began: 0, length: 1000, since: 0 })).toBe(true);
  }

  next(limit: number, now: number, excluded: ReadonlySet<number> = NONE): number[] {
    const picked = this.line.pick(limit, now, excluded);
    if (picked instanceof SegmentTable) throw new Error(`segment ${picked.segment} is to be read first`);
    return picked;
  }
}

describe('the line', () => {
  test('is in order of position', () => {
    const lives = new Lives(1);
    const all = [1, 2, 3].map(() => lives.add());
    expect(lives.next(2, 0)).toEqual(all.slice(0, 2));
    expect(lives.next(9, 0)).toEqual(all);
  });

  test('stays as it is when it is asked', () => {
    const lives = new Lives(1);
    const all = [lives.add(5), lives.add(), lives.add(7)];
    lives.happened(all[1]!, { type: 'claim', token: 't' });
    lives.happened(all[1]!, { type: 'release', token: 't' });
    for (let i = 0; i < 3; i++) expect(lives.next(9, 10)).toEqual(all);
    expect(lives.line.countDue(10)).toBe(2);
    expect(lives.next(9, 10)).toEqual(all);
  });

  test.each(['release', 'lapse', 'fail', 'enable'] as const)(
    'gives a message back its place after %s',
    (how) => {
      const lives = new Lives(1);
      const all = [1, 2, 3, 4].map(() => lives.add());
      const at = all[1]!;
      if (how !== 'enable') lives.happened(at, { type: 'claim', token: 't' });
      else lives.happened(at, { type: 'update', disabled: true });
      expect(lives.next(9, 0)).toEqual(all.filter((other) => other !== at));
      if (how === 'release') lives.happened(at, { type: 'release', token: 't' });
      if (how === 'lapse') lives.happened(at, { type: 'lapse', token: 't', renewal: 0, error, final: false });
      if (how === 'fail') lives.happened(at, { type: 'fail', token: 't', error, due: 50 });
      if (how === 'enable') lives.happened(at, { type: 'update', disabled: false });
      expect(lives.next(9, 50)).toEqual(all);
    },
  );

  test('passes over what is excluded, and takes the next instead', () => {
    const lives = new Lives(1);
    const all = [1, 2, 3, 4].map(() => lives.add());
    lives.happened(all[1]!, { type: 'claim', token: 't' });
    lives.happened(all[1]!, { type: 'release', token: 't' });
    expect(lives.next(2, 0, new Set([all[0]!, all[1]!]))).toEqual(all.slice(2));
    expect(lives.next(2, 0)).toEqual(all.slice(0, 2));
  });

  test('passes over what is disabled, claimed, failed or ended', () => {
    const lives = new Lives(1);
    const all = [1, 2, 3, 4, 5].map(() => lives.add());
    const late = lives.add(100, true);
    lives.happened(all[0]!, { type: 'update', disabled: true });
    lives.happened(all[1]!, { type: 'claim', token: 't' });
    lives.happened(all[2]!, { type: 'claim', token: 't' });
    lives.happened(all[2]!, { type: 'fail', token: 't', error });
    lives.happened(all[3]!, { type: 'remove' });
    expect(lives.next(9, 1000)).toEqual([all[4]]);
    lives.happened(late, { type: 'update', disabled: false });
    expect(lives.next(9, 1000)).toEqual([all[4], late]);
  });

  test('has a message once, however often it came back', () => {
    const lives = new Lives(1);
    const at = lives.add();
    for (let i = 0; i < 5; i++) {
      lives.happened(at, { type: 'claim', token: `t${i}` });
      lives.happened(at, { type: 'release', token: `t${i}` });
    }
    lives.happened(at, { type: 'update', due: 5 });
    lives.happened(at, { type: 'update', due: 3 });
    lives.happened(at, { type: 'update', due: null });
    expect(lives.next(9, 10)).toEqual([at]);
    expect(lives.line.countDue(10)).toBe(0);
  });

  test('lets a deferred message in at its time, at its place, and not before', () => {
    const lives = new Lives(1);
    const deferred = lives.add(1000);
    const plain = lives.add();
    expect(lives.next(9, 999)).toEqual([plain]);
    expect(lives.line.nextDue()).toBe(1000);
    expect(lives.next(9, 1000)).toEqual([deferred, plain]);
    expect(lives.line.countDue(1000)).toBe(1);
  });

  test('goes by the last time that was set', () => {
    const lives = new Lives(1);
    const at = lives.add(1000);
    lives.happened(at, { type: 'update', due: 3000 });
    expect(lives.next(9, 1000)).toEqual([]);
    expect(lives.line.nextDue()).toBe(3000);
    lives.happened(at, { type: 'update', due: 2000 });
    expect(lives.line.nextDue()).toBe(2000);
    expect(lives.next(9, 2000)).toEqual([at]);
    lives.happened(at, { type: 'remove' });
    expect(lives.line.nextDue()).toBe(Infinity);
    expect(lives.next(9, 9000)).toEqual([]);
  });

  test('of a clock that was set back has the message wait again', () => {
    const lives = new Lives(1);
    const at = lives.add(1000);
    expect(lives.next(9, 5000)).toEqual([at]);
    expect(lives.line.hasRunnable(5000)).toBe(true);
    expect(lives.next(9, 500)).toEqual([]);
    expect(lives.line.hasRunnable(500)).toBe(false);
    expect(lives.line.nextDue()).toBe(1000);
    expect(lives.next(9, 1000)).toEqual([at]);
  });

  test('asks for a table to be read only when it may hold the next', () => {
    const lives = new Lives(9);
    const unread = SegmentTable.unread(5, 1, 0, []);
    lives.restoreTable(unread);
    lives.restore(
      4 * 2 ** 32 + 10,
      { phase: { state: 'ready' }, disabled: false, attempts: 0, crashes: 0, errors: [] },
      0,
      0,
      0,
    );
    const own = lives.add();
    expect(lives.next(1, 0)).toEqual([4 * 2 ** 32 + 10]);
    expect(lives.line.pick(2, 0, NONE)).toBe(unread);
    // What was picked before is still there.
    unread.recall(700, 90, 40, undefined, false);
    unread.finishReading();
    expect(lives.next(9, 0)).toEqual([4 * 2 ** 32 + 10, 5 * 2 ** 32 + 700, own]);
  });

  test('asks for a table also when what came back stands behind it', () => {
    const lives = new Lives(9);
    const unread = SegmentTable.unread(5, 1, 0, []);
    lives.restoreTable(unread);
    const own = lives.add();
    lives.happened(own, { type: 'claim', token: 't' });
    lives.happened(own, { type: 'release', token: 't' });
    expect(lives.line.pick(1, 0, NONE)).toBe(unread);
    unread.recall(700, 90, 40, undefined, false);
    unread.finishReading();
    expect(lives.next(9, 0)).toEqual([5 * 2 ** 32 + 700, own]);
  });

  test('never asks for a table in which nothing plain is waiting', () => {
    const lives = new Lives(9);
    lives.restoreTable(SegmentTable.unread(5, 2, 2, []));
    const own = lives.add();
    expect(lives.next(9, 0)).toEqual([own]);
  });
});

test('whatever happens to messages, the line is those that may run, in order', () => {
  for (let seed = 0; seed < 80; seed++) {
    const random = new Seeded(seed);
    const lives = new Lives(1);
    const all: number[] = [];
    let now = 1000;
    for (let i = 0; i < 150; i++) {
      // Now and then the clock is set back.
      now += random.chance(0.05) ? -random.below(300) : random.below(20);
      if (all.length === 0 || random.chance(0.4)) {
        all.push(
          lives.add(random.chance(0.3) ? now + random.below(200) - 50 : undefined, random.chance(0.1)),
        );
        continue;
      }
      const at = random.pick(all);
      const life = lives.lifeOf(at);
      const token = life?.phase.state === 'claimed' ? life.phase.token : 't';
      const due = random.chance(0.5) ? now + random.below(100) : undefined;
      const held = life?.phase.state === 'deferred' ? life.phase.due : undefined;
      const events: Happening[] = [
        { type: 'claim', token: `t${i}`, due: held },
        { type: 'claim', token: `t${i}`, due: held },
        { type: 'fail', token, error, due },
        { type: 'release', token },
        { type: 'lapse', token, renewal: 0, error, final: random.chance(0.3) },
        { type: 'retry' },
        { type: 'update', due: due ?? null },
        { type: 'update', disabled: random.chance(0.5) },
        { type: 'remove' },
      ];
      lives.happen(at, random.pick(events), { writer: 'w', began: 0, length: 1000, since: 0 });
      const expected = all.filter((other) => {
        const its = lives.lifeOf(other);
        return its !== undefined && mayRunAt(its, now);
      });
      const limit = 1 + random.below(5);
      const excluded = new Set(expected.filter(() => random.chance(0.1)));
      expect(lives.line.pick(limit, now, excluded)).toEqual(
        expected.filter((other) => !excluded.has(other)).slice(0, limit),
      );
      expect(lives.line.hasRunnable(now)).toBe(expected.length > 0);
      const deferred = expected.filter((other) => lives.lifeOf(other)!.phase.state === 'deferred');
      expect(lives.line.countDue(now)).toBe(deferred.length);
      const later = all
        .map((other) => lives.lifeOf(other))
        .filter((its) => its && !its.disabled && its.phase.state === 'deferred');
      const times = later.map((its) => (its!.phase as { due: number }).due).filter((time) => time > now);
      if (deferred.length === 0) expect(lives.line.nextDue()).toBe(Math.min(Infinity, ...times));
    }
  }
});
