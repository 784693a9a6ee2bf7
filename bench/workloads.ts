/**
 * What is measured: Coda's jobs, and beside each the limit that it is compared with. A figure is a rate, of which more
 * is better, or a time or size, of which less is.
 */
import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Child, Children } from './children.ts';
import { flow } from './flow.ts';
import { median, quantile } from './timing.ts';

/** What an answer outlives: `always` a power cut, `os` the death of any process; `-` where nothing is promised. */
type Promised = 'always' | 'os' | '-';

export interface Figure {
  name: string;
  what: string;
  promised: Promised;
  unit: '/s' | 'ms' | 'MB';
  /** The figure that this one is compared with; absent for a limit. */
  limit?: string;
}

export interface Workload {
  /** What `--only` selects, and the begin of its figures' names. */
  name: string;
  figures: Figure[];
  /** A value for each of the figures. */
  run(stage: Stage): Promise<number[]>;
}

export interface Stage {
  children: Children;
  /** Of one timed run. */
  seconds: number;
  /** Messages in the backlog. */
  backlog: number;
  /** A new, empty folder. */
  folder: () => string;
  /** The cacheRoot of the backlog: to be read, not to be worked on. */
  backlogRoot: string;
}

/** With as many claimed at a time more gains nothing (measured: 64 to 512 are alike). */
const BEST = 128;
/** Unanswered adds of all producers together, as in the limit they are compared with. */
const GROUP = 64;
/** Latency: so many messages at this distance, and how many before them are not counted. */
const PINGS = 100;
const FIRST_PINGS = 20;
const PING_MS = 10;
const MB = 2 ** 20;
/** Programs started for one value. */
const STARTS = 3;

const rate = (name: string, what: string, promised: Promised, limit?: string): Figure => ({
  name,
  what,
  promised,
  unit: '/s',
  ...(limit === undefined ? {} : { limit }),
});

export const LIMITS: readonly Workload[] = [
  {
    name: 'append',
    figures: [rate('append', 'append one record a write', 'os')],
    async run({ children, folder, seconds }) {
      return [await children.run('limits', 'append', { folder: folder(), seconds })];
    },
  },
  {
    name: 'append-1000',
    figures: [rate('append-1000', 'JSON.stringify and append, 1000 records a write', 'os')],
    async run({ children, folder, seconds }) {
      return [await children.run('limits', 'appendMany', { folder: folder(), seconds })];
    },
  },
  ...[1, 64, 512].map((inFlight): Workload => {
    const name = inFlight === 1 ? 'sync' : `group-${inFlight}`;
    const what =
      inFlight === 1
        ? 'append and fdatasync, one at a time'
        : `group commit by fdatasync, ${inFlight} waiting`;
    return {
      name,
      figures: [rate(name, what, 'always')],
      async run({ children, folder, seconds }) {
        return [await children.run('limits', 'groupCommit', { folder: folder(), seconds, inFlight })];
      },
    };
  }),
  {
    name: 'deliver-1',
    figures: [rate('deliver-1', 'append, read and JSON.parse one record, append', 'os')],
    async run({ children, folder, seconds }) {
      return [await children.run('limits', 'deliverOne', { folder: folder(), seconds })];
    },
  },
  {
    name: 'deliver-many',
    figures: [rate('deliver-many', 'read 256 KiB at a time, JSON.parse each record', '-')],
    async run({ children, folder, seconds }) {
      return [await children.run('limits', 'deliverMany', { folder: folder(), seconds })];
    },
  },
  {
    name: 'wake',
    figures: [
      { name: 'wake-p50', what: 'append wakes a watching process, p50', promised: 'os', unit: 'ms' },
      { name: 'wake-p99', what: '… p99', promised: 'os', unit: 'ms' },
    ],
    async run({ children, folder }) {
      const params = { folder: folder(), count: FIRST_PINGS + PINGS, pause: PING_MS };
      const listening = children.start('limits', 'listenToFile', params);
      await listening.ready;
      const telling = children.start('limits', 'appendTimes', params);
      return latency(listening, telling);
    },
  },
  {
    name: 'read-backlog',
    figures: [{ name: 'read-backlog', what: 'read all files of the backlog', promised: '-', unit: 'ms' }],
    async run({ children, backlogRoot }) {
      return [await children.run('limits', 'readFolder', { folder: queueFolder(backlogRoot) })];
    },
  },
  {
    name: 'node-memory',
    figures: [{ name: 'node-memory', what: 'memory of a bare Node process', promised: '-', unit: 'MB' }],
    async run({ children }) {
      return [await children.run('limits', 'bareMemory', { unit: MB })];
    },
  },
  {
    name: 'node',
    figures: [{ name: 'node', what: 'node -e 0, from start to exit', promised: '-', unit: 'ms' }],
    async run({ children }) {
      return [await medianOf(STARTS, () => children.timeNode())];
    },
  },
];

export const WORKLOADS: readonly Workload[] = [
  {
    name: 'add-os',
    figures: [rate('add-os', 'addMessage, one after the other', 'os', 'append')],
    run: adding('os', 1),
  },
  {
    name: 'add-always',
    figures: [rate('add-always', 'addMessage, one after the other', 'always', 'sync')],
    run: adding('always', 1),
  },
  {
    name: 'add-64',
    figures: [rate('add-64', 'addMessage, 64 in flight', 'always', 'group-64')],
    run: adding('always', 64),
  },
  {
    name: 'add-512',
    figures: [rate('add-512', 'addMessage, 512 in flight', 'always', 'group-512')],
    run: adding('always', 512),
  },
  {
    name: 'add-bulk',
    figures: [rate('add-bulk', 'addMessages, 1000 a call', 'os', 'append-1000')],
    async run({ children, folder, seconds }) {
      return [await children.run('adding', 'addMany', { folder: folder(), durability: 'os', seconds })];
    },
  },
  {
    name: 'drain-1',
    figures: [rate('drain-1', 'claim, complete, one after the other', 'always', 'deliver-1')],
    run: draining('drain', 1),
  },
  {
    name: 'drain-best',
    figures: [rate('drain-best', `claim, complete, ${BEST} at a time`, 'always', 'deliver-many')],
    run: draining('drain', BEST),
  },
  {
    name: 'worker-1',
    figures: [rate('worker-1', 'worker, concurrency 1', 'always', 'deliver-1')],
    run: draining('drainByWorker', 1),
  },
  {
    name: 'worker-best',
    figures: [rate('worker-best', `worker, concurrency ${BEST}`, 'always', 'deliver-many')],
    run: draining('drainByWorker', BEST),
  },
  {
    name: 'flow',
    figures: [rate('flow', '2 producers and 2 workers at once', 'always', 'group-64')],
    async run({ children, folder, seconds }) {
      const { rate } = await flow(children, {
        folder: folder(),
        durability: 'always',
        seconds: seconds * 2,
        pairs: 2,
        inFlight: GROUP,
      });
      return [rate];
    },
  },
  {
    name: 'latency',
    figures: [
      {
        name: 'latency-p50',
        what: 'addMessage to handler in an idle worker, p50',
        promised: 'always',
        unit: 'ms',
        limit: 'wake-p50',
      },
      { name: 'latency-p99', what: '… p99', promised: 'always', unit: 'ms', limit: 'wake-p99' },
    ],
    async run({ children, folder }) {
      const params = {
        folder: folder(),
        durability: 'always' as const,
        count: FIRST_PINGS + PINGS,
        pause: PING_MS,
      };
      const listening = children.start('draining', 'listen', params);
      await listening.ready;
      return latency(listening, children.start('adding', 'produceSlowly', params));
    },
  },
  {
    name: 'open',
    figures: [
      {
        name: 'open-first',
        what: 'cold open to first message, backlog waiting',
        promised: '-',
        unit: 'ms',
        limit: 'read-backlog',
      },
      {
        name: 'open-memory',
        what: 'memory of that process',
        promised: '-',
        unit: 'MB',
        limit: 'node-memory',
      },
    ],
    async run(stage) {
      const { first, rss } = await stage.children.run('draining', 'openCold', {
        folder: copyOfBacklog(stage),
      });
      return [first, rss / MB];
    },
  },
  {
    name: 'start',
    figures: [
      {
        name: 'start',
        what: 'program that enqueues one message, start to exit',
        promised: 'always',
        unit: 'ms',
        limit: 'node',
      },
      {
        name: 'start-backlog',
        what: '… with the backlog waiting',
        promised: 'always',
        unit: 'ms',
        limit: 'node',
      },
    ],
    async run(stage) {
      const { children } = stage;
      const empty = stage.folder();
      await children.run('adding', 'load', { folder: empty, count: 0 });
      const full = copyOfBacklog(stage);
      return [
        await medianOf(STARTS, () => children.timeEnqueueOne(empty)),
        await medianOf(STARTS, () => children.timeEnqueueOne(full)),
      ];
    },
  },
];

function adding(durability: 'always' | 'os', inFlight: number): Workload['run'] {
  return async ({ children, folder, seconds }) => [
    await children.run('adding', 'add', { folder: folder(), durability, seconds, inFlight }),
  ];
}

function draining(role: 'drain' | 'drainByWorker', concurrency: number): Workload['run'] {
  return async (stage) => {
    const { children, seconds, backlog } = stage;
    const params = { folder: copyOfBacklog(stage), seconds, count: backlog, concurrency };
    return [await children.run('draining', role, params)];
  };
}

async function latency(listening: Child<number[]>, telling: Child<void>): Promise<number[]> {
  await telling.ready;
  listening.tell('go');
  telling.tell('go');
  const [delays] = await Promise.all([listening.result, telling.result]);
  const counted = delays.slice(FIRST_PINGS);
  return [quantile(counted, 0.5), quantile(counted, 0.99)];
}

/** A cacheRoot of its own for a process that will change the backlog. */
function copyOfBacklog({ backlogRoot, folder }: Stage): string {
  const root = folder();
  const copy = queueFolder(root);
  mkdirSync(copy);
  cpSync(queueFolder(backlogRoot), copy, { recursive: true });
  return root;
}

function queueFolder(root: string): string {
  return join(root, 'mail');
}

async function medianOf(times: number, measure: () => Promise<number>): Promise<number> {
  const values: number[] = [];
  for (let i = 0; i < times; i++) values.push(await measure());
  return median(values);
}
