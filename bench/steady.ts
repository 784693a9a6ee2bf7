/**
 * A long run at half of the rate that the machine can bear: whether anything grows that should not. One producer, one worker,
 * and a process that does nothing, to see what the machine does to anybody.
 */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { QUEUE } from './adding.ts';
import type { Child, Children } from './children.ts';
import { flow } from './flow.ts';
import type { Sample } from './lasting.ts';

export interface SteadyOptions {
  children: Children;
  minutes: number;
  /** For which the most that can be done is looked for. */
  seconds: number;
  folder: () => string;
  say: (text: string) => void;
}

export interface Steady {
  /** Messages a second that one producer and one worker can bear, and that were asked for. */
  peak: number;
  rate: number;
  /** Milliseconds of a period. */
  period: number;
  producer: Sample[];
  worker: Sample[];
  idle: Sample[];
  /** Bytes of the queue's folder at the end of each period, and its files. */
  disk: { bytes: number; files: number; newest: string }[];
}

/** So many rows, whatever the length. */
const PERIODS = 30;
const CLAIMED = 128;
const IN_FLIGHT = 64;
const MB = 2 ** 20;

export async function runSteadily({
  children,
  minutes,
  seconds,
  folder,
  say,
}: SteadyOptions): Promise<Steady> {
  const durability = 'os';
  say('the most that one producer and one worker can do');
  const most = { durability, seconds, pairs: 1, inFlight: IN_FLIGHT } as const;
  const { rate: peak } = await flow(children, { ...most, folder: folder() });
  const rate = Math.floor(peak / 2);
  const period = (minutes * 60_000) / PERIODS;
  const root = folder();
  const common = { folder: root, durability, period, periods: PERIODS } as const;
  const worker = children.start('lasting', 'workSteadily', { ...common, concurrency: CLAIMED });
  const producer = children.start('lasting', 'addSteadily', { ...common, rate });
  const idle = children.start('lasting', 'restSteadily', { period, periods: PERIODS });
  const all: Child<Sample[]>[] = [producer, worker, idle];
  await Promise.all(all.map(({ ready }) => ready));
  for (const child of all) child.tell('go');
  const disk: Steady['disk'] = [];
  const look = setInterval(() => {
    disk.push(diskOf(join(root, QUEUE)));
    say(`period ${disk.length} of ${PERIODS}`);
  }, period);
  try {
    const [added, worked, rested] = await Promise.all(all.map(({ result }) => result));
    if (disk.length < PERIODS) disk.push(diskOf(join(root, QUEUE)));
    return { peak, rate, period, producer: added!, worker: worked!, idle: rested!, disk };
  } finally {
    clearInterval(look);
  }
}

/** The table, a row for each period. */
export function steadyInWords({ peak, rate, period, producer, worker, idle, disk }: Steady): string[][] {
  const rows = producer.map((one, i) => [
    ((i + 1) * (period / 60_000)).toFixed(1),
    (one.count / (period / 1000)).toFixed(0),
    ((worker[i]?.count ?? 0) / (period / 1000)).toFixed(0),
    (one.p50 ?? NaN).toFixed(3),
    (one.p999 ?? NaN).toFixed(2),
    one.blocked.toFixed(1),
    (worker[i]?.blocked ?? NaN).toFixed(1),
    (idle[i]?.blocked ?? NaN).toFixed(1),
    (one.rss / MB).toFixed(1),
    ((worker[i]?.rss ?? NaN) / MB).toFixed(1),
    String(one.descriptors),
    String(worker[i]?.descriptors ?? ''),
    ((disk[i]?.bytes ?? NaN) / MB).toFixed(1),
    disk[i]?.newest ?? '',
  ]);
  return [
    [
      `one producer and one worker could do ${peak.toFixed(0)} a second; asked for: ${rate}. Durability os; one in 1,000 deferred by up to a minute.`,
    ],
    [
      'minute',
      'added /s',
      'done /s',
      'add p50 ms',
      'p99.9 ms',
      'blocked ms: producer',
      'worker',
      'idle process',
      'memory MB: producer',
      'worker',
      'files open: producer',
      'worker',
      'disk MB',
      'newest file',
    ],
    ...rows,
  ];
}

function diskOf(folder: string): Steady['disk'][number] {
  let bytes = 0;
  const names = readdirSync(folder).sort();
  for (const name of names) {
    try {
      bytes += statSync(join(folder, name)).size;
    } catch {
      // Deleted since it was listed.
    }
  }
  return { bytes, files: names.length, newest: names.findLast((name) => name.endsWith('.journal')) ?? '' };
}
