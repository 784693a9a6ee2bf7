/** What a run is about: who takes part, what they do, what may go wrong. */
import type { Durability, QueueOptions } from '../../src/backend.ts';
import type { Stream } from './choices.ts';
import type { Step } from './env.ts';
import type { Fault } from './faults.ts';
import type { Loss } from './loss.ts';
import type { Container } from './process.ts';

export interface Plan {
  processes: number;
  janitor: boolean;
  lanes: number;
  steps: number;
  durability: Durability;
  segmentBytes: number;
  options: QueueOptions;
  weights: readonly (readonly [Step, number])[];
  kinds: readonly (readonly [Fault, number])[];
  rate: number;
  switching: number;
  loss: Loss;
  lease: number;
  containers: readonly Container[];
  hidden: boolean;
  flushMs: number;
  longErrors: boolean;
  /** Whether one process makes the queue, and the others wait for it. */
  oneMaker: boolean;
}

const CONTAINERS: readonly Container[] = [
  { pidNamespace: 'pid:[1]', timeNamespace: 'time:[1]', offset: 0 },
  { pidNamespace: 'pid:[2]', timeNamespace: 'time:[1]', offset: 0 },
  { pidNamespace: 'pid:[3]', timeNamespace: 'time:[3]', offset: 1_000_000 },
];

/** What clients do often, and what only in some runs. */
const USUAL: readonly (readonly [Step, number])[] = [
  ['add', 14],
  ['addMany', 6],
  ['claim', 14],
  ['take', 2],
  ['find', 2],
  ['look', 2],
  ['status', 2],
];
const RARE: readonly (readonly [Step, number])[] = [
  ['update', 6],
  ['remove', 4],
  ['cancel', 2],
  ['retry', 2],
  ['pause', 2],
  ['purge', 1],
  ['destroy', 3],
  ['attribute', 3],
  ['reopen', 4],
  ['verify', 1],
];
/** Steps with which queues are born, and found there. */
const BORN = new Set<Step>(['destroy', 'reopen']);
const FAULTS: readonly (readonly [Fault, number, number])[] = [
  ['kill', 3, 0.5],
  ['stop', 3, 0.4],
  ['power', 1, 0.5],
  ['error', 3, 0.15],
  ['flush', 6, 0.15],
  ['full', 2, 0.15],
  ['quota', 2, 0.1],
  ['clock', 4, 0.3],
  ['rot', 6, 0.1],
  ['head', 3, 0.25],
  ['seal', 1, 0.15],
  ['note', 1, 0.35],
  ['birth', 1, 0.3],
  ['dusk', 1, 0.2],
  ['index', 1, 0.25],
  ['unread', 1, 0.1],
  ['unnoted', 1, 0.1],
  ['blind', 1, 0.15],
];

/** A run has only some of what is possible: what always happens hides what seldom does. */
export function planned(choices: Stream): Plan {
  const processes = 1 + choices.below(4);
  const lanes = 1 + choices.below(2);
  const steps = 6 + choices.below(30);
  const durability = choices.weighted([
    ['always', 7],
    ['interval', 2],
    ['os', 1],
  ] as const);
  const segmentBytes = choices.pick([1e6, 3000, 5000, 10_000, 1000, 300]);
  const options: QueueOptions = {};
  if (choices.chance(0.4)) options.uniqueAlias = true;
  if (choices.chance(0.1)) options.maxMessages = 5 + choices.below(10);
  const rare = RARE.filter(() => choices.chance(0.4));
  const kinds = FAULTS.filter(([, , likely]) => choices.chance(likely)).map(
    ([kind, weight]) => [kind, weight] as const,
  );
  // What can go wrong with a birth needs one, and nothing is born twice that has not been destroyed.
  const births = kinds.some(([kind]) => kind === 'birth') && choices.chance(0.6);
  const weights = [...USUAL, ...RARE.filter((step) => rare.includes(step) || (births && BORN.has(step[0])))];
  const loss: Loss = {
    sectors: choices.pick(['all', 'tail', 'any', 'writes', 'writes']),
    names: choices.pick(['all', 'ordered', 'any']),
  };
  return {
    processes,
    janitor: choices.chance(0.3),
    lanes,
    steps,
    durability,
    segmentBytes,
    options,
    weights,
    kinds,
    loss,
    rate: choices.pick([0.002, 0.005, 0.01]),
    switching: choices.pick([0, 0.01, 0.05, 0.2]),
    lease: choices.chance(0.2) ? 600 + choices.below(1000) : 20 + choices.below(60),
    containers: choices.chance(0.3) ? CONTAINERS : CONTAINERS.slice(0, 1),
    hidden: choices.chance(0.3),
    flushMs: choices.pick([3, 3, 30]),
    oneMaker: choices.chance(0.3),
    longErrors: choices.chance(0.1),
  };
}
