/**
 * The state that a log leads to, however it is reached: by following the log from its first record, or from any head.
 */
import { describe, expect, test } from 'vitest';
import { verifyQueue } from '../../src/cache/verify.ts';
import type { QueueOptions } from '../../src/backend.ts';
import type { Journal } from '../../src/cache/journal.ts';
import type { Draft } from '../../src/cache/log.ts';
import type { QueueError } from '../../src/errors.ts';
import { History, livePositions, observe, observeJournal } from '../support/history.ts';
import { FOLDER, JournalWriter } from '../support/journal-writer.ts';
import { Seeded } from '../support/seeded.ts';
import { SimMachine } from '../support/sim-machine.ts';

const SEEDS = 60;
const KINDS: [string, QueueOptions][] = [
  ['a plain queue', {}],
  ['a queue with unique aliases', { uniqueAlias: true }],
  ['a queue of few messages', { maxMessages: 12 }],
  ['a queue of few bytes', { maxBytes: 900, uniqueAlias: true }],
];

async function begin(seed: number, options: QueueOptions): Promise<History> {
  const machine = new SimMachine(new Seeded(seed));
  const log = await JournalWriter.create(machine.process(), machine.fs, options);
  return new History(log, new Seeded(seed));
}

describe.each(KINDS)('%s', (_, options) => {
  test('is the same from any head as from the first record', async () => {
    for (let seed = 0; seed < SEEDS; seed++) {
      const history = await begin(seed, options);
      const { log, random } = history;
      for (let i = 0; i < 120; i++) {
        history.step();
        if (random.chance(0.06)) await log.rotate({ carry: random.chance(0.5) });
        if (!random.chance(0.05)) continue;
        const reports: QueueError[] = [];
        const journal = await log.open((error) => reports.push(error));
        expect(await observeJournal(journal, log.time), `seed ${seed}, step ${i}`).toEqual(
          observe(log.state, log.time),
        );
        expect(reports).toEqual([]);
        await journal.close();
      }
    }
  });

  test('is the same for a handle that follows, over any number of seals', async () => {
    for (let seed = 0; seed < SEEDS / 2; seed++) {
      const history = await begin(seed, options);
      const { log, random } = history;
      for (let i = 0; i < 10; i++) history.step();
      const reports: QueueError[] = [];
      const journal = await log.open((error) => reports.push(error));
      for (let i = 0; i < 100; i++) {
        history.step();
        if (random.chance(0.08)) await log.rotate({ carry: random.chance(0.5) });
        if (!random.chance(0.2)) continue;
        expect(await observeJournal(journal, log.time), `seed ${seed}, step ${i}`).toEqual(
          observe(log.state, log.time),
        );
      }
      expect(reports).toEqual([]);
      await journal.close();
    }
  });

  test('is found sound, every head of it', async () => {
    for (let seed = 0; seed < SEEDS / 4; seed++) {
      const history = await begin(seed, options);
      for (let i = 0; i < 100; i++) {
        history.step();
        if (history.random.chance(0.08)) await history.log.rotate({ carry: history.random.chance(0.5) });
      }
      const { log } = history;
      const report = await verifyQueue(FOLDER, log.ports);
      expect(report.damage, `seed ${seed}`).toEqual([]);
      expect(report.messages).toBe(livePositions(log.state).length);
    }
  });

  test('counts each message once, whatever has happened to it', async () => {
    for (let seed = 0; seed < SEEDS; seed++) {
      const history = await begin(seed, options);
      for (let i = 0; i < 100; i++) {
        history.step();
        const { state } = history.log;
        const { ready, deferred, claimed, disabled, failed } = state.counts;
        expect(ready + deferred + claimed + disabled + failed).toBe(livePositions(state).length);
        const { counts, bytes } = state;
        const before = { ...counts };
        state.recount();
        expect([{ ...state.counts }, state.bytes], `seed ${seed}, step ${i}`).toEqual([before, bytes]);
      }
    }
  });
});

describe('behind a seal', () => {
  test('nothing has any effect but the first valid note of the successor', async () => {
    const { log } = await begin(1, {});
    log.write({ op: 'add', u: 'u1' }, '1');
    log.seal();
    const seal = log.state.seal!;
    const before = observe(log.state, log.time);
    expect(log.write({ op: 'add', u: 'u2' }, '2').effect).toEqual({ kind: 'none' });
    log.write({ op: 'seal', ctl: 1, why: 'destroy' });
    log.write({ op: 'purge' });
    expect(observe(log.state, log.time)).toEqual(before);
    log.write({ op: 'next', ctl: 1, r: 'other-seal', at: seal.offset + 1, crc: seal.checksum });
    log.write({ op: 'next', ctl: 1, r: 'other-crc', at: seal.offset, crc: '00000000' });
    expect(log.state.successor).toBeUndefined();
    log.write({ op: 'next', ctl: 1, r: 'first', at: seal.offset, crc: seal.checksum });
    log.write({ op: 'next', ctl: 1, r: 'second', at: seal.offset, crc: seal.checksum });
    expect(log.state.successor).toBe('first');
  });

  test('an add is none for whoever has gone on from there, and the heads that they make say so', async () => {
    const { log } = await begin(1, {});
    const { at } = log.write({ op: 'add', u: 'u1' }, '1');
    const journal = await log.open();
    log.seal();
    const { offset } = log.state.seal!;
    log.write({ op: 'add', u: 'void' }, '2');
    await log.rotate();
    await journal.refresh();
    expect(journal.state.segment).toBe(2);
    expect(livePositions(journal.state)).toEqual([at]);
    // Should the seal rot, nothing else tells of it.
    expect(journal.state.tables.get(1)!.runs()).toEqual([offset, 2 ** 32 - 1]);
    await journal.close();
  });

  test('a note before any seal means nothing', async () => {
    const { log } = await begin(1, {});
    log.write({ op: 'next', ctl: 1, r: 'early', at: log.size + 1, crc: '00000000' });
    log.seal();
    expect(log.state.successor).toBeUndefined();
  });
});

describe('a log with a hole', () => {
  /** Replays the present segment without one of its records; the states with and without. */
  async function withHole(seed: number, options: QueueOptions) {
    const history = await begin(seed, options);
    const { log, random } = history;
    for (let i = 0; i < 90; i++) history.step();
    const bytes = log.fs.contents(log.path);
    const starts = [...bytes.keys()].filter(
      (at) => bytes[at] === 0x5b && bytes[at - 1] === 10 && at > 600 && bytes.indexOf(10, at) > at + 31,
    );
    const at = random.pick(starts);
    const text = bytes.toString('latin1', at + 28, bytes.indexOf(10, at));
    log.fs.corrupt(log.path, at + 30, Uint8Array.of(bytes[at + 30]! ^ 1));
    const journal = await log.open();
    await observeJournal(journal, log.time);
    await journal.close();
    return { whole: log.state, holed: journal.state, lost: text };
  }

  test('never ends a message that has not ended', async () => {
    for (let seed = 0; seed < 300; seed++) {
      const { whole, holed, lost } = await withHole(seed, {});
      const gone = livePositions(whole).filter((at) => !holed.lifeOf(at));
      // The message whose own record is damaged cannot be there.
      if (!lost.startsWith('{"op":"add"')) expect(gone, `seed ${seed}: ${lost}`).toEqual([]);
      expect(gone.length, `seed ${seed}: ${lost}`).toBeLessThanOrEqual(1);
      expect(holed.damage).toHaveLength(1);
    }
  });

  test.each(KINDS.slice(1))('never refuses an add that was accepted: %s', async (_, options) => {
    const lostOnes: string[] = [];
    for (let seed = 0; seed < 300; seed++) {
      const { whole, holed, lost } = await withHole(seed, options);
      const gone = livePositions(whole).filter((at) => !holed.lifeOf(at));
      if (gone.length > (lost.startsWith('{"op":"add"') ? 1 : 0)) lostOnes.push(`seed ${seed}: ${lost}`);
    }
    expect(lostOnes).toEqual([]);
  });

  test('gives no claim to two', async () => {
    for (let seed = 0; seed < 200; seed++) {
      const { holed } = await withHole(seed, {});
      for (const at of holed.claimed)
        expect(holed.touched.get(at)).toMatchObject({
          life: { phase: { state: 'claimed' } },
          lease: { length: expect.any(Number) as number },
        });
      const claimed = livePositions(holed).filter((at) => holed.lifeOf(at)!.phase.state === 'claimed');
      expect(claimed).toEqual([...holed.claimed].sort((a, b) => a - b));
    }
  });
});

describe('an operation that this version does not know', () => {
  test('refuses the queue, for whoever opens it and whoever has it open', async () => {
    const { log } = await begin(1, {});
    const journal = await log.open();
    log.raw(Buffer.from('\n'));
    const { write } = log as unknown as { write: (op: unknown, payload?: string) => unknown };
    expect(() => write.call(log, { op: 'merge', p: [1, 2] })).toThrow(/does not know the operation "merge"/);
    await expect(journal.refresh()).rejects.toMatchObject({ code: 'JOURNAL_NEWER' });
    await expect(journal.refresh()).rejects.toMatchObject({ code: 'JOURNAL_NEWER' });
    await expect(log.open()).rejects.toMatchObject({ code: 'JOURNAL_NEWER' });
    // What cannot be read back must not be written.
    const { length } = log.fs.contents(log.path);
    await expect(addOne(journal)).rejects.toMatchObject({ code: 'JOURNAL_NEWER' });
    await expect(addOne(journal)).rejects.toMatchObject({ code: 'JOURNAL_NEWER' });
    expect(log.fs.contents(log.path)).toHaveLength(length);
    await journal.close();
    expect(log.fs.openFiles).toEqual([]);
  });
});

function addOne(journal: Journal): Promise<void> {
  return new Promise((resolve, failed) => {
    const draft = (): Draft => ({ op: { op: 'add', u: 'u9' }, json: '9' });
    journal.submit({ purpose: 'add', synced: true, current: false, draft, done: () => resolve(), failed });
  });
}
