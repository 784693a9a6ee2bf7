/**
 * Flipped bits, zeroed blocks and cut files, at random, over real queue folders: never a wrong payload, never a crash, never
 * a loss that is not reported; and a repair leaves a sound queue with every message whose record was sound.
 *
 *     ROT_TRIALS=1000 ROT_SEED=1 npx vitest run test/cache/random-rot.test.ts
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { truthOf } from '../support/examine.ts';
import { anatomyOf, expectSafe, wound, type Anatomy, type Wound } from '../support/rotting.ts';
import { Seeded } from '../support/seeded.ts';
import { everyHeadRecord, everyOperation, openManager, Q, rotate, Specimen } from '../support/specimen.ts';

const TRIALS = Number(process.env['ROT_TRIALS'] ?? 240);
const FIRST = Number(process.env['ROT_SEED'] ?? 1);
/** So many trials to a test: each has its own time limit. */
const PART = 20;

/** Messages of all sizes, in several segments, some of them claimed, failed or put off. */
async function manySegments(specimen: Specimen): Promise<void> {
  const manager = await openManager(specimen.root, { segmentBytes: 6000, durability: 'always' });
  await manager.createQueue(Q, { uniqueAlias: true });
  for (let i = 0; i < 40; i++) {
    const text = 'y'.repeat(i % 10 === 0 ? 3000 : i * 5);
    const later = i % 7 === 0 ? { dateTimeDeferredExecution: new Date(Date.now() + 3_600_000) } : {};
    await manager.addMessage(Q, { data: { i, text }, alias: i % 3 ? '' : `alias ${i}`, ...later });
    if (i % 4 !== 3) continue;
    const claims = await manager.claimMessages(Q, { limit: 3 });
    if (claims[0]) await manager.completeMessage(Q, claims[0]);
    if (claims[1]) await manager.failMessage(Q, claims[1], new Error('no'), { final: true });
  }
  await rotate(manager, specimen);
  for (let i = 0; i < 5; i++) await manager.addMessage(Q, { data: { last: i } });
  await manager.close();
}

const sound: { specimen: Specimen; anatomy: Anatomy }[] = [];

beforeAll(async () => {
  const makers = [
    (specimen: Specimen) => everyOperation(specimen.root),
    (specimen: Specimen) => everyHeadRecord(specimen),
    manySegments,
  ];
  for (const make of makers) {
    const specimen = new Specimen();
    await make(specimen);
    sound.push({ specimen, anatomy: anatomyOf(specimen, await truthOf(specimen)) });
  }
});

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

test.each(parts)('whatever rots, from seed %d on', async (first) => {
  await trials(first, Math.min(first + PART, FIRST + TRIALS));
  expect(sound).toHaveLength(3);
});

test.each(parts)(
  'where bytes are missing in the midst, nothing is taken for what it is not, from seed %d on',
  async (first) => {
    await trials(first, first + PART / 8, ['gap']);
    expect(sound).toHaveLength(3);
  },
);
