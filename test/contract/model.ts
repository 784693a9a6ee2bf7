/**
 * Random sequences of operations against two implementations at once: the in-memory backend, which is the
 * specification, and the one under test. After each operation their answers must be the same, but for what is drawn or
 * told by a clock (uuids, tokens, times). Each side has two managers on one store, and either may be closed and opened
 * anew at any time. No operation depends on the passing of time: due times lie in 1970 or in 2100.
 *
 * A sequence is determined by its seed, and an error names seed and step: a failing seed is a test for ever.
 */
import { describe, expect, test } from 'vitest';
import type { Claim, Json, Message, QueueManager } from '../../src/index.ts';
import { QueueError } from '../../src/index.ts';
import { memoryStore } from './stores.ts';
import { all, Q } from './subject.ts';
import type { MakeStore, TestStore } from './subject.ts';

const STEPS = 150;
const PAST = new Date('1970-01-02');
const FUTURE = new Date('2100-01-01');
const DUE = [PAST.getTime(), FUTURE.getTime()];
const ALIASES = ['', '', 'a', 'b', 'c'];

/** @param seeds each is one sequence. */
export function model(name: string, makeStore: MakeStore, seeds: readonly number[]): void {
  describe(`${name} does as the model does`, () => {
    for (const seed of seeds) {
      test(`seed ${seed}`, async () => {
        const sides = await Promise.all([Side.open(await memoryStore()), Side.open(await makeStore())]);
        try {
          await compare(sides, randomFrom(seed));
        } finally {
          await Promise.all(sides.map((side) => side.close()));
        }
      });
    }
  });
}

async function compare(sides: readonly [Side, Side], random: Random): Promise<void> {
  const trace: string[] = [];
  await step(sides, trace, createQueue(random));
  for (let i = 0; i < STEPS; i++) {
    await step(sides, trace, chosen(random, sides[0]));
    if (i % 10 === 9) await step(sides, trace, status);
  }
  await step(sides, trace, findAll({}));
}

/** What is done to each side; what it answers is compared. */
interface Operation {
  name: string;
  run(side: Side): Promise<unknown>;
}

async function step(sides: readonly Side[], trace: string[], operation: Operation): Promise<void> {
  trace.push(operation.name);
  const [expected, received] = await Promise.all(
    sides.map(async (side) => {
      try {
        return side.told(await operation.run(side));
      } catch (error) {
        if (error instanceof QueueError) return { refused: error.code };
        throw error;
      }
    }),
  );
  expect(received, `step ${trace.length}, after:\n${trace.slice(-25).join('\n')}\n`).toEqual(expected);
}

/** One implementation: its managers, and what was seen of its messages, in the same order on both sides. */
class Side {
  readonly #store: TestStore;
  readonly managers: QueueManager[] = [];
  readonly uuids: string[] = [];
  readonly claims: Claim[] = [];

  private constructor(store: TestStore) {
    this.#store = store;
  }

  static async open(store: TestStore): Promise<Side> {
    const side = new Side(store);
    for (const index of [0, 1]) await side.reopen(index);
    return side;
  }

  async reopen(index: number): Promise<void> {
    await this.managers[index]?.close();
    this.managers[index] = await this.#store.open({ backoff: 0 });
  }

  async close(): Promise<void> {
    await Promise.all(this.managers.map((manager) => manager.close()));
    await this.#store.dispose();
  }

  note(messages: readonly Message[]): void {
    for (const { uuid } of messages) if (!this.uuids.includes(uuid)) this.uuids.push(uuid);
  }

  /** An answer without what differs from side to side. */
  told(answer: unknown): unknown {
    if (answer instanceof Date) return answer.getTime();
    if (Array.isArray(answer)) return answer.map((item) => this.told(item));
    if (typeof answer !== 'object' || answer === null) return answer;
    const told = Object.entries(answer).flatMap(([key, value]): [string, unknown][] => {
      if (OWN.has(key)) return [];
      // What a retry without backoff is put off to.
      if (key === 'dateTimeDeferredExecution' && !DUE.includes((value as Date).getTime()))
        return [[key, 'now']];
      if (key === 'uuid') return [[key, this.uuids.indexOf(value as string)]];
      return [[key, this.told(value)]];
    });
    return Object.fromEntries(told);
  }
}

/** Drawn or told by a clock, or a matter of the backend. */
const OWN = new Set([
  'token',
  'insertedAt',
  'at',
  'since',
  'pid',
  'stack',
  'timestamp',
  'lastQueueModifyTime',
  'createdAt',
  'durability',
  'lossWindow',
]);

function chosen(random: Random, { uuids, claims }: Side): Operation {
  const by = random.below(2);
  const message = random.below(Math.max(uuids.length, 1));
  const claim = random.of([claims.length - 1, random.below(Math.max(claims.length, 1))]);
  const kind = random.weighted({
    add: 12,
    addSome: 5,
    claim: 10,
    take: 3,
    complete: 6,
    completeSome: 3,
    fail: 6,
    release: 3,
    renew: 2,
    progress: 2,
    losses: 2,
    cancel: 2,
    ending: 3,
    update: 8,
    remove: 2,
    retry: 3,
    purge: 0.3,
    pause: 0.7,
    resume: 1.5,
    attributes: 1,
    processed: 0.5,
    find: 4,
    destroy: 0.4,
    create: 0.8,
    reopen: 2,
  });
  const named = (
    detail: unknown,
    run: (manager: QueueManager, side: Side) => Promise<unknown>,
  ): Operation => ({
    name: `${kind} by ${by}: ${JSON.stringify(detail)}`,
    run: (side) => run(side.managers[by]!, side),
  });
  const settling = (run: (manager: QueueManager, claim: Claim) => Promise<unknown>): Operation =>
    named({ claim }, async (manager, side) =>
      side.claims[claim] ? run(manager, side.claims[claim]) : 'no claim',
    );
  switch (kind) {
    case 'add':
    case 'addSome': {
      const inputs = Array.from({ length: kind === 'add' ? 1 : 2 + random.below(4) }, () => input(random));
      return named(inputs, async (manager, side) => {
        const added =
          kind === 'add' ? [await manager.addMessage(Q, inputs[0]!)] : await manager.addMessages(Q, inputs);
        side.note(added);
        return added;
      });
    }
    case 'claim': {
      const limit = 1 + random.below(4);
      return named({ limit }, async (manager, side) => {
        const claimed = await manager.claimMessages(Q, { limit, lease: 3_600_000 });
        side.note(claimed);
        side.claims.push(...claimed);
        return claimed;
      });
    }
    case 'take':
      return named({}, (manager) => manager.getMessage(Q));
    case 'complete':
      return settling((manager, claim) => manager.completeMessage(Q, claim));
    case 'completeSome': {
      // Some of them perhaps twice.
      const some = Array.from({ length: 3 }, () => random.below(Math.max(claims.length, 1)));
      return named({ some }, async (manager, side) => {
        const live = some.flatMap((index) => side.claims[index] ?? []);
        const answers = await Promise.all(live.map((each) => manager.completeMessage(Q, each)));
        // Which of them was the last is not said.
        await manager.updateLastMessageProcessed(Q, { uuid: 'told' });
        return answers;
      });
    }
    case 'fail': {
      const options = random.of([{}, { final: true }, { retryAt: PAST }, { retryAt: FUTURE }]);
      return settling((manager, claim) => manager.failMessage(Q, claim, new Error('no'), options));
    }
    case 'release':
      return settling((manager, claim) => manager.releaseMessage(Q, claim));
    case 'renew':
      return settling((manager, claim) => manager.renewMessage(Q, claim, 7_200_000));
    case 'progress': {
      const progress = {
        percent: random.below(120) - 10,
        text: random.of(['', 'half way']),
        lease: 7_200_000,
      };
      return settling((manager, claim) => manager.reportProgress(Q, claim, progress));
    }
    case 'losses':
      return named({}, async (manager, side) => {
        const losses = await manager.lostClaims(Q, side.claims);
        return side.claims.map(({ token }) => losses.get(token) ?? 'held');
      });
    case 'cancel':
      return named({ message }, (manager, side) => manager.cancelMessage(Q, side.uuids[message] ?? 'none'));
    case 'ending':
      return named({ message }, async (manager, side) => {
        const uuid = side.uuids[message] ?? 'none';
        const there = await manager.findMessage(Q, { uuid });
        if (there && there.state !== 'failed') return 'to come';
        const [ending] = await all(manager.waitForEndings(Q, [uuid]));
        // A purge does not say whom it ends: only who is waiting at that moment knows.
        return ending?.outcome === 'purged' || ending?.outcome === 'unknown' ? 'gone' : ending;
      });
    case 'update': {
      const changes = patch(random);
      return named({ message, changes }, (manager, side) =>
        manager.updateMessage(Q, side.uuids[message] ?? 'none', changes),
      );
    }
    case 'remove':
      return named({ message }, (manager, side) => manager.removeMessage(Q, side.uuids[message] ?? 'none'));
    case 'retry': {
      const everything = random.below(3) === 0;
      return named({ message, everything }, (manager, side) =>
        manager.retryMessages(Q, everything ? 'all' : side.uuids.slice(message, message + 5)),
      );
    }
    case 'purge':
      return named({}, (manager) => manager.purgeQueue(Q));
    case 'pause':
      return named({}, (manager) => manager.pauseQueue(Q));
    case 'resume':
      return named({}, (manager) => manager.resumeQueue(Q));
    case 'attributes': {
      const attributes = { [random.of(['a', 'b', '__proto__'])]: random.of([null, 1, { deep: [1] }]) };
      return named(attributes, async (manager) => {
        await manager.setCustomAttributes(Q, attributes);
        return manager.customAttributes(Q);
      });
    }
    case 'processed':
      return named({ message }, (manager, side) =>
        manager.updateLastMessageProcessed(Q, { uuid: side.uuids[message] ?? 'none', alias: 'told' }),
      );
    case 'find':
      return findAll(
        random.of([
          {},
          { state: 'ready' as const },
          { state: 'deferred' as const },
          { state: 'claimed' as const },
          { state: 'failed' as const },
          { disabled: true },
          { alias: 'a' },
          { username: 'ann', disabled: false },
        ]),
        by,
      );
    case 'destroy':
      return named({}, (manager) => manager.destroyQueue(Q));
    case 'create':
      return createQueue(random, by);
    case 'reopen':
      return named({}, (_, side) => side.reopen(by));
  }
}

function createQueue(random: Random, by = 0): Operation {
  const options = random.of([
    {},
    { uniqueAlias: true },
    { maxMessages: 12 },
    { maxBytes: 300, uniqueAlias: true },
  ]);
  return {
    name: `create by ${by}: ${JSON.stringify(options)}`,
    run: (side) => side.managers[by]!.createQueue(Q, options),
  };
}

const status: Operation = { name: 'status', run: (side) => side.managers[0]!.queueStatus(Q) };

function findAll(filter: Parameters<QueueManager['findMessages']>[1], by = 0): Operation {
  return {
    name: `find by ${by}: ${JSON.stringify(filter)}`,
    run: (side) => all(side.managers[by]!.findMessages(Q, filter)),
  };
}

function input(random: Random) {
  return {
    data: data(random),
    alias: random.of(ALIASES),
    retries: random.below(3),
    username: random.of(['', 'ann', 'bob']),
    disabled: random.below(7) === 0,
    dateTimeDeferredExecution: random.of([undefined, undefined, undefined, PAST, FUTURE]),
  };
}

function patch(random: Random) {
  return {
    data: random.below(2) ? data(random) : undefined,
    alias: random.below(3) ? undefined : random.of(ALIASES),
    retries: random.below(3) ? undefined : random.below(3),
    disabled: random.of([undefined, true, false]),
    dateTimeDeferredExecution: random.of([undefined, undefined, null, PAST, FUTURE]),
  };
}

function data(random: Random): Json {
  return random.of<Json>([
    null,
    random.below(1000),
    'x'.repeat(random.below(60)),
    { n: random.below(9), list: [] },
  ]);
}

interface Random {
  below(bound: number): number;
  of<T>(items: readonly T[]): T;
  weighted<Name extends string>(weights: Readonly<Record<Name, number>>): Name;
}

/** Mulberry32, by Tommy Ettinger (2017), in the public domain. */
function randomFrom(seed: number): Random {
  let state = seed;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (bound: number): number => Math.floor(next() * bound);
  return {
    below,
    of: (items) => items[below(items.length)]!,
    weighted(weights) {
      const entries = Object.entries(weights) as [keyof typeof weights, number][];
      let at = next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
      return (entries.find(([, weight]) => (at -= weight) < 0) ?? entries[0]!)[0];
    },
  };
}
