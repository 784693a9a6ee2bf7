/** What a chronicle makes of the records of one message, against what the state of the whole queue did with them. */
import { describe, expect, test } from 'vitest';
import type { QueueOptions } from '../../src/backend.ts';
import { Chronicler, standingOf } from '../../src/cache/chronicler.ts';
import { position } from '../../src/cache/position.ts';
import type { Effect } from '../../src/cache/state.ts';
import { eachMessage } from '../../src/cache/where.ts';
import { History } from '../support/history.ts';
import { FOLDER, JournalWriter } from '../support/journal-writer.ts';
import { Seeded } from '../support/seeded.ts';
import { SimMachine } from '../support/sim-machine.ts';

const SEEDS = 40;

/** What each message has been through, by position, as the state told when the record was applied. */
class Truth {
  readonly events = new Map<number, string[]>();
  readonly log: JournalWriter;
  readonly #history: History;
  readonly #aliases = new Map<number, string>();
  readonly #claimedAs = new Map<number, string>();

  constructor(log: JournalWriter, seed: number) {
    this.log = log;
    const write = this.log.write.bind(this.log);
    this.log.write = (op, payload) => {
      const { state } = this.log;
      const live = op.op === 'purge' ? [...this.events.keys()].filter((at) => state.lifeOf(at)) : [];
      // What an engine writes, and the histories do not.
      if (op.op === 'remove') op.a = this.#aliases.get(position(...op.p)) ?? '';
      if (op.op === 'done') {
        op.a = [];
        eachMessage(op.c, (at) => op.a.push(this.#claimedAs.get(at) ?? ''));
      }
      const { effect, at } = write(op, payload);
      if (op.op === 'claim' && effect.kind === 'changed')
        for (const each of effect.at) this.#claimedAs.set(each, this.#aliases.get(each) ?? '');
      if (op.op === 'add' && effect.kind === 'added') this.#aliases.set(effect.at, op.a ?? '');
      if (op.op === 'update' && effect.kind === 'changed') this.#aliases.set(effect.at[0]!, op.a ?? '');
      this.#note(op.op, effect, live);
      return { effect, at };
    };
    this.#history = new History(this.log, new Seeded(seed));
  }

  async run(): Promise<void> {
    const { random } = this.#history;
    for (let i = 0; i < 150; i++) {
      this.#history.step();
      if (random.chance(0.04)) await this.log.rotate({ carry: random.chance(0.5) });
    }
  }

  #note(op: string, effect: Effect, live: readonly number[]): void {
    const name = NAMES[op];
    if (effect.kind === 'added') this.events.set(effect.at, ['added']);
    else if (effect.kind === 'changed' && name) for (const at of effect.at) this.events.get(at)!.push(name);
    else if (effect.kind === 'purged')
      for (const at of live) if (!this.log.state.lifeOf(at)) this.events.get(at)!.push('purged');
  }
}

const NAMES: Readonly<Record<string, string>> = {
  claim: 'claimed',
  done: 'completed',
  fail: 'failed',
  release: 'released',
  lapse: 'lapsed',
  cancel: 'cancelled',
  retry: 'retried',
  update: 'updated',
  set: 'updated',
  remove: 'removed',
};

/** What a chronicle may err in of a message that has ended, because no record of it tells. */
describe.each<[string, QueueOptions, doubtful: RegExp]>([
  // A claim in contention, of which its holder said nothing more before somebody else ended the message.
  ['a plain queue', {}, / claimed/g],
  // That, and an alias that was refused.
  ['a queue with unique aliases', { uniqueAlias: true }, / (claimed|updated)/g],
])('%s', (_, options, doubtful) => {
  test('has chronicles that say what its state did', async () => {
    const counts = { live: 0, ended: 0, doubtful: 0 };
    for (let seed = 0; seed < SEEDS; seed++) {
      const machine = new SimMachine(new Seeded(seed));
      const truth = new Truth(await JournalWriter.create(machine.process(), machine.fs, options), seed);
      await truth.run();
      const { state, ports, size } = truth.log;
      const { id, segment } = state;
      const uniqueAlias = options.uniqueAlias === true;
      const chronicler = new Chronicler({ ports, folder: FOLDER, id, segment, end: size, uniqueAlias });
      for (const at of truth.events.keys()) chronicler.follow(at, { u: 'u' });
      expect(await chronicler.read()).toBe(true);
      for (const [at, events] of truth.events) {
        const chronicle = chronicler.chronicles.get(at)!;
        chronicle.compare(standingOf(state, at));
        const told = chronicle.history.map(({ event }) => event).join(' ');
        const expected = events.join(' ');
        const live = state.lifeOf(at) !== undefined;
        expect(chronicle.complete).toBe(true);
        expect(chronicle.outcome, expected).toBe(live ? undefined : events.at(-1));
        counts[live ? 'live' : 'ended']++;
        if (told === expected) continue;
        expect(live, `seed ${seed}: of the live ${expected} it tells ${told}`).toBe(false);
        expect(told.replaceAll(doubtful, '')).toBe(expected.replaceAll(doubtful, ''));
        counts.doubtful++;
      }
    }
    expect(counts.live).toBeGreaterThan(200);
    expect(counts.ended).toBeGreaterThan(500);
    expect(counts.doubtful).toBeLessThan(counts.ended / 25);
  });
});
