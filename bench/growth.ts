/**
 * How the cost of a message grows: with the backlog, with what was ended before, with what is deferred, with the number of
 * processes, with the payload. One table each, a row for each size.
 */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { QUEUE } from './adding.ts';
import type { Children } from './children.ts';
import { flow } from './flow.ts';
import type { Costs } from './growing.ts';
import { payload } from './payload.ts';
import { amount } from './report.ts';

interface GrowthStage {
  children: Children;
  seconds: number;
  /** The most messages that a table goes up to. */
  largest: number;
  /** A new, empty folder, which is removed behind the row. */
  folder: () => string;
}

export interface Growth {
  name: string;
  /** What the table tells. */
  what: string;
  /** What is counted in the first column. */
  of: string;
  columns: string[];
  sizes: (largest: number) => number[];
  row: (stage: GrowthStage, size: number) => Promise<number[]>;
}

const MB = 2 ** 20;
const SMALLEST = 1000;
/** Far enough in the future for none to become due while it is measured, ms. */
const LATER: [number, number] = [3_600_000, 7_200_000];
const PAYLOAD_BYTES = Buffer.byteLength(JSON.stringify(payload(123456)));

const COSTS = ['first ms', 'add µs', 'deliver µs', '128 together µs', 'status µs', 'memory MB'];

function inColumns({ first, add, deliver, deliverMany, status, rss }: Costs): number[] {
  return [first, add, deliver, deliverMany, status, rss / MB];
}

/** 1,000, 10,000, … up to the largest. */
function byTens(largest: number): number[] {
  const sizes: number[] = [];
  for (let size = SMALLEST; size <= largest; size *= 10) sizes.push(size);
  return sizes;
}

export const GROWTHS: readonly Growth[] = [
  {
    name: 'backlog',
    what: 'messages that wait; added, delivered and looked at in a new process',
    of: 'waiting',
    columns: [...COSTS, 'disk B/message', '× payload'],
    sizes: byTens,
    async row({ children, seconds, folder }, count) {
      const root = folder();
      await children.run('adding', 'load', { folder: root, count });
      const disk = bytesBelow(join(root, QUEUE)) / count;
      const costs = await children.run('growing', 'costs', { folder: root, seconds });
      return [...inColumns(costs), disk, disk / PAYLOAD_BYTES];
    },
  },
  {
    name: 'settled',
    what: 'messages that came and went before; 1,000 wait',
    of: 'ended',
    columns: [...COSTS, 'disk MB'],
    sizes: byTens,
    async row({ children, seconds, folder }, count) {
      const root = folder();
      await children.run('growing', 'settle', { folder: root, count });
      await children.run('adding', 'load', { folder: root, count: SMALLEST });
      const disk = bytesBelow(join(root, QUEUE));
      const costs = await children.run('growing', 'costs', { folder: root, seconds });
      return [...inColumns(costs), disk / MB];
    },
  },
  {
    name: 'deferred',
    what: 'messages deferred, due in no order; 1,000 others wait. The last column: deferred ones that have come due',
    of: 'deferred',
    columns: [...COSTS, 'due µs'],
    sizes: byTens,
    async row({ children, seconds, folder }, count) {
      const root = folder();
      await children.run('growing', 'defer', { folder: root, count, from: LATER[0], to: LATER[1] });
      await children.run('adding', 'load', { folder: root, count: SMALLEST });
      const costs = await children.run('growing', 'costs', { folder: root, seconds });
      const due = folder();
      // Added within less than the half of it, all are deferred when they are added.
      const span = 2000 + count / 20;
      const start = performance.now();
      await children.run('growing', 'defer', { folder: due, count, from: span / 2, to: span });
      await new Promise((resolve) => setTimeout(resolve, start + span * 1.5 - performance.now()));
      return [...inColumns(costs), await children.run('growing', 'drainDue', { folder: due, count })];
    },
  },
  {
    name: 'processes',
    what: 'producers, and as many workers, at once; 64 adds in flight among all. Processor time tells the cost where cores are few',
    of: 'pairs',
    columns: ['os /s', 'cpu µs/message', 'always /s', 'cpu µs/message'],
    sizes: () => [1, 2, 4, 8, 16],
    async row({ children, seconds, folder }, pairs) {
      // Each process has to be compiled anew, and has the less of the processor the more of them there are.
      const options = { seconds: seconds * 2 * (1 + pairs), pairs, inFlight: 64 };
      const os = await flow(children, { ...options, folder: folder(), durability: 'os' });
      const always = await flow(children, { ...options, folder: folder(), durability: 'always' });
      return [os.rate, os.cpu, always.rate, always.cpu];
    },
  },
  {
    name: 'sizes',
    what: 'payloads, one after the other, durability os; beside it one write of as many bytes',
    of: 'bytes',
    columns: ['write MB/s', 'add MB/s', 'of it %', 'deliver MB/s'],
    sizes: () => [10, 100, 1000, 10_000, 100_000, 1_000_000],
    async row({ children, seconds, folder }, bytes) {
      const { append, add, deliver } = await children.run('growing', 'throughput', {
        folder: folder(),
        seconds,
        bytes,
      });
      return [append / 1e6, add / 1e6, (add / append) * 100, deliver / 1e6];
    },
  },
];

export interface Grown {
  name: string;
  what: string;
  of: string;
  columns: string[];
  rows: { size: number; values: number[] }[];
}

/** One table, as lines of text. */
export function grownInWords({ name, what, of, columns, rows }: Grown): string[][] {
  return [
    [`${name}: ${what}`],
    [of, ...columns],
    ...rows.map(({ size, values }) => [String(size), ...values.map(amount)]),
  ];
}

function bytesBelow(folder: string): number {
  return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}
