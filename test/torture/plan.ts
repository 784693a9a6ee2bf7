/**
 * What happens in a round, as far as it can be planned: which processes there are one after the other, what each does, and
 * how it ends. All of it follows from a seed. When things happen is up to the machine, so no two runs are the same.
 */
import type { Durability } from '../../src/backend.ts';
import { Seeded } from '../support/seeded.ts';
import { canStopAt, kindOf, mostTimes, POINT_NAMES, type PointName } from './points.ts';

/** Everything is asked of it but what ends all messages at once. */
export const JOBS = 'jobs';
/** Aliases are unique. It is paused now and then; nothing is taken from it without a claim. */
export const ALIASES = 'aliases';
/** Purged, destroyed and made again. */
export const FLEETING = 'fleeting';

export type Role = 'producer' | 'worker' | 'taker' | 'changer' | 'watcher';

/** The same for all processes of a round. */
export interface Ground {
  /** Bytes of its own records at which a segment is sealed. */
  segmentBytes: number;
  keepOutcomes: number;
  /** Deaths of its worker after which a message goes to *failed*. */
  crashLimit: number;
}

/** What one process is and does. */
export interface Life {
  /** Counts the processes of a round. */
  number: number;
  seed: number;
  role: Role;
  durability: Durability;
  /** How many things it does at once on one handle. */
  lanes: number;
  /** Milliseconds. */
  lease: number;
  /** It cannot read about other processes, as under `hidepid`. */
  blind: boolean;
  /** Bytes at which it seals a segment, before others would: so that it comes to where it is to be struck. */
  segmentBytes?: number;
  /** It makes a queue of its own first. */
  births: boolean;
  /** Where it kills or stops itself. */
  point?: { name: PointName; time: number; how: 'kill' | 'stop' };
  /** Milliseconds that it is left standing, when it stops. */
  standing: number;
  /** Stopped from outside so long after it has opened its queues. */
  stopAt?: number;
  /** How it ends, should it come so far: so long after it was started, or after it has opened its queues. */
  end: { how: 'kill' | 'ask'; from: 'start' | 'opening'; after: number };
}

const ROLES: readonly (readonly [Role, number])[] = [
  ['producer', 12],
  ['worker', 12],
  ['taker', 2],
  ['changer', 4],
  ['watcher', 3],
];

const DURABILITIES: readonly (readonly [Durability, number])[] = [
  ['always', 2],
  ['interval', 1],
  ['os', 3],
];

/** Who dies over a birth has done nothing else. */
const POINT_WEIGHTS = POINT_NAMES.map((name) => [name, kindOf(name) === 'birth' ? 1 : 4] as const);

/** A lease that does not lapse while its holder lives, unless that is stopped for very long. */
const LONG_LEASE_MS = 60_000;

export class Plan {
  readonly ground: Ground;
  readonly #seed: number;
  #lives = 0;

  /** @param round counts from 1. */
  constructor(seed: number, round: number) {
    this.#seed = Math.imul(seed, 1_000_003) + round * 7919;
    const dice = new Seeded(this.#seed);
    this.ground = {
      segmentBytes: dice.pick([24, 48, 64, 96, 160]) * 1024,
      keepOutcomes: dice.pick([0, 20, 200]),
      crashLimit: dice.pick([3, 100_000]),
    };
  }

  next(): Life {
    const number = ++this.#lives;
    const dice = new Seeded(this.#seed + Math.imul(number, 104_729));
    const name = weighted(dice, POINT_WEIGHTS);
    const life: Life = {
      number,
      seed: dice.below(2 ** 31),
      role: weighted(dice, ROLES),
      durability: weighted(dice, DURABILITIES),
      lanes: 1 + dice.below(3),
      lease: dice.chance(0.35) ? 150 + dice.below(300) : LONG_LEASE_MS,
      blind: dice.chance(0.15),
      births: dice.chance(0.05),
      standing: dice.chance(0.3) ? 600 + dice.below(900) : 5 + dice.below(100),
      end: {
        how: dice.chance(0.8) ? 'kill' : 'ask',
        from: dice.chance(0.1) ? 'start' : 'opening',
        after: 20 + dice.below(600),
      },
    };
    if (dice.chance(0.55)) {
      const how = canStopAt(name) && dice.chance(0.4) ? 'stop' : 'kill';
      // Long enough to come there.
      life.end.after += dice.below(1000);
      life.point = { name, time: 1 + dice.below(mostTimes(name)), how };
      life.births ||= kindOf(name) === 'birth';
      if (kindOf(name) === 'rotation') life.segmentBytes = (4 + dice.below(12)) * 1024;
    }
    // Long enough to be late.
    if (life.lease < LONG_LEASE_MS) life.end.after += 2 * life.lease;
    if (dice.chance(0.12)) life.stopAt = dice.below(200);
    return life;
  }
}

/** One of the names, each as likely as its weight says. */
export function weighted<Name>(dice: Seeded, weights: readonly (readonly [Name, number])[]): Name {
  let left = dice.next() * weights.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [name, weight] of weights) if ((left -= weight) < 0) return name;
  return weights[0]![0];
}
