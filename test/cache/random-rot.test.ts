/**
 * Flipped bits, zeroed blocks and cut files, at random, over real queue folders: never a wrong payload, never a crash, never
 * a loss that is not reported; and a repair leaves a sound queue with every message whose record was sound.
 *
 *     ROT_TRIALS=1000 ROT_SEED=1 npx vitest run test/cache/random-rot.test.ts
 */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Ports } from '../../src/cache/ports.ts';
import type { Claim, QueueManager } from '../../src/index.ts';
import { truthOf } from '../support/examine.ts';
import { fixedPorts, LATER, refusal, THEN } from '../support/fixed.ts';
import { filesOf } from '../support/repairing.ts';
import {
  anatomyOf,
  expectSafe,
  flip,
  lastContents,
  wound,
  type Anatomy,
  type Wound,
} from '../support/rotting.ts';
import { Seeded } from '../support/seeded.ts';
import { everyHeadRecord, everyOperation, openManager, Q, rotate, Specimen } from '../support/specimen.ts';

const TRIALS = Number(process.env['ROT_TRIALS'] ?? 240);
const FIRST = Number(process.env['ROT_SEED'] ?? 1);
/** So many trials to a test: each has its own time limit. */
const PART = 20;

/** A purge beside a claim: it stays. */
async function purgeBeside(manager: QueueManager): Promise<void> {
  await manager.addMessages(Q, [{ data: 'held' }, { data: 'purged' }, { data: 'purged as well' }]);
  await manager.claimMessages(Q, { limit: 1, lease: 600_000 });
  await manager.purgeQueue(Q);
}

/** A completion that comes after somebody has taken the claim away. */
async function completeTooLate(manager: QueueManager, claim: Claim): Promise<void> {
  await manager.cancelMessage(Q, claim.uuid);
  await manager.retryMessages(Q, [claim.uuid]);
  expect(await manager.completeMessage(Q, claim)).toBe(false);
}

/** Messages of all sizes, in several segments, some of them changed, claimed, failed or put off. */
async function manySegments(specimen: Specimen, ports: Ports): Promise<void> {
  const manager = await openManager(specimen.root, { segmentBytes: 6000, durability: 'always', ports });
  await manager.createQueue(Q, { uniqueAlias: true });
  await purgeBeside(manager);
  // It hears of a seal only once it has added something behind it.
  const other = await openManager(specimen.root, { segmentBytes: 60_000, durability: 'always', ports });
  for (let i = 0; i < 40; i++) {
    const text = 'y'.repeat(i % 10 === 0 ? 3000 : i * 5);
    const later = i % 7 === 0 ? { dateTimeDeferredExecution: new Date(LATER) } : {};
    const { uuid } = await manager.addMessage(Q, {
      data: { i, text },
      alias: i % 3 ? '' : `alias ${i}`,
      ...later,
    });
    if (i % 5 === 2) await manager.updateMessage(Q, uuid, { data: { i, text: 'another' } });
    if (i % 3 === 1) await other.addMessage(Q, { data: { other: i } });
    if (i % 4 !== 3) continue;
    const claims = await manager.claimMessages(Q, { limit: 3 });
    if (claims[0]) await manager.completeMessage(Q, claims[0]);
    if (claims[1]) await manager.failMessage(Q, claims[1], refusal('no'), { final: true });
    if (claims[2] && i % 8 === 7) await completeTooLate(manager, claims[2]);
  }
  await other.close();
  await rotate(manager, specimen);
  for (let i = 0; i < 5; i++) await manager.addMessage(Q, { data: { last: i } });
  await manager.close();
}

const sound: { specimen: Specimen; anatomy: Anatomy }[] = [];

/** Milliseconds, on a machine with much else to do. */
const BUILDING = 240_000;

const MAKERS = [
  (specimen: Specimen, ports: Ports) => everyOperation(specimen.root, ports),
  everyHeadRecord,
  manySegments,
];

/** The same bytes each time, so that a seed alone says what is damaged. */
async function build(make: (typeof MAKERS)[number]): Promise<Specimen> {
  const specimen = new Specimen();
  // The manager notes by it when a try failed.
  vi.useFakeTimers({ toFake: ['Date'], now: THEN });
  try {
    await make(specimen, fixedPorts());
  } finally {
    vi.useRealTimers();
  }
  return specimen;
}

beforeAll(async () => {
  for (const make of MAKERS) {
    const specimen = await build(make);
    sound.push({ specimen, anatomy: anatomyOf(specimen, await truthOf(specimen)) });
  }
}, BUILDING);

afterAll(() => {
  for (const { specimen } of sound) specimen.dispose();
});

const parts = Array.from({ length: Math.ceil(TRIALS / PART) }, (_, part) => FIRST + part * PART);

async function trials(first: number, last: number, kinds?: readonly Wound['kind'][]): Promise<void> {
  for (let seed = first; seed < last; seed++) {
    const { specimen, anatomy } = sound[seed % sound.length]!;
    const copy = specimen.copy();
    const wounds = wound(copy, new Seeded(seed), kinds);
    try {
      await expectSafe(copy, anatomy, wounds);
    } catch (error) {
      const what = wounds.map(({ kind, file, from, to }) => `${kind} ${file} ${from}-${to}`).join(', ');
      throw new Error(`ROT_SEED=${seed} ROT_TRIALS=1: ${what}`, { cause: error });
    } finally {
      copy.dispose();
    }
  }
}

test('what is damaged is the same each time, byte for byte', { timeout: BUILDING }, async () => {
  for (const [i, make] of MAKERS.entries()) {
    const again = await build(make);
    expect(filesOf(again)).toEqual(filesOf(sound[i]!.specimen));
    again.dispose();
  }
});

test(
  'a message whose last content rots is kept with what it held before',
  { timeout: BUILDING },
  async () => {
    let tried = 0;
    for (const { specimen, anatomy } of sound)
      for (const each of lastContents(anatomy)) {
        const copy = specimen.copy();
        flip(copy, each);
        await expectSafe(copy, anatomy, [each]);
        copy.dispose();
        tried++;
      }
    expect(tried).toBeGreaterThan(10);
  },
);

test.each(parts)('whatever rots, from seed %d on', { timeout: BUILDING }, async (first) => {
  await trials(first, Math.min(first + PART, FIRST + TRIALS));
  expect(sound).toHaveLength(3);
});

test.each(parts)(
  'where bytes are missing in the midst, or were put in, nothing is taken for what it is not, from seed %d on',
  { timeout: BUILDING },
  async (first) => {
    await trials(first, first + PART / 8, ['gap', 'line', 'put']);
    expect(sound).toHaveLength(3);
  },
);

test.each(parts)(
  'whatever file is gone, or something else in its place, from seed %d on',
  { timeout: BUILDING },
  async (first) => {
    await trials(first, first + PART / 8, ['gone', 'gone', 'flip', 'cut']);
    expect(sound).toHaveLength(3);
  },
);

test.each(parts)(
  'a line that stands there twice is one, from seed %d on',
  { timeout: BUILDING },
  async (first) => {
    await trials(first, first + PART / 8, ['double', 'double', 'flip']);
    expect(sound).toHaveLength(3);
  },
);

test.each(parts)('zeros at the end are no damage, from seed %d on', { timeout: BUILDING }, async (first) => {
  await trials(first, first + PART / 8, ['pad', 'pad', 'double', 'flip']);
  expect(sound).toHaveLength(3);
});
