/** Producers and workers at once, in as many processes: each message must be handled exactly once. */
import type { Durability } from '../src/backend.ts';
import type { Child, Children } from './children.ts';

/** Claimed at a time by each worker. */
const CLAIMED = 128;
/** Far longer than any pause of a worker that is alive. */
const STALLED_MS = 10_000;

export interface Flow {
  /** The cacheRoot. */
  folder: string;
  durability: Durability;
  /** For how long messages are added. */
  seconds: number;
  /** Producers, and as many workers. */
  pairs: number;
  /** Unanswered adds of all producers together. */
  inFlight: number;
}

export interface Flowed {
  /** Messages a second from the first add to the last completion. */
  rate: number;
  /** Microseconds of processor time for each message, of producers and workers together, when all have been at it for half of the time. */
  cpu: number;
}

export async function flow(children: Children, options: Flow): Promise<Flowed> {
  const { seconds, pairs, inFlight, ...common } = options;
  const done = Array.from({ length: pairs }, () => 0);
  let look = (): void => undefined;
  const workers = done.map((_, i) =>
    children.start('draining', 'consume', { ...common, seconds, concurrency: CLAIMED }, (completed) => {
      done[i] = completed;
      look();
    }),
  );
  const producers = done.map((_, first) =>
    children.start('adding', 'produce', {
      ...common,
      seconds,
      inFlight: Math.ceil(inFlight / pairs),
      first,
      step: pairs,
    }),
  );
  const all: Child<unknown>[] = [...workers, ...producers];
  await Promise.all(all.map(({ ready }) => ready));
  for (const child of all) child.tell('go');
  const produced = await Promise.all(producers.map(({ result }) => result));
  const added = produced.reduce((sum, { count }) => sum + count, 0);
  const drained = new Promise<void>((resolve, reject) => {
    let stalled: NodeJS.Timeout | undefined;
    look = () => {
      clearTimeout(stalled);
      const completed = done.reduce((sum, count) => sum + count, 0);
      const why = `${completed} of ${added} messages were completed, then none for ${STALLED_MS} ms`;
      if (completed >= added) resolve();
      else stalled = setTimeout(() => reject(new Error(why)), STALLED_MS).unref();
    };
    look();
  });
  // A worker that ends before it is told to has failed.
  await Promise.race([drained, ...workers.map(({ result }) => result)]);
  for (const worker of workers) worker.tell('stop');
  const consumed = await Promise.all(workers.map(({ result }) => result));
  const began = Math.min(...produced.map((one) => one.began));
  const ended = Math.max(...consumed.map((one) => one.last));
  checkOnce(
    produced.map(({ count }) => count),
    consumed,
  );
  const cpu = [...produced, ...consumed].reduce((sum, one) => sum + one.cpu, 0);
  const warm = produced.reduce((sum, one) => sum + one.warm, 0);
  return { rate: added / ((ended - began) / 1e6), cpu: cpu / warm };
}

/** Producer p of n has sent the numbers p, p + n, p + 2n, … */
function checkOnce(counts: number[], consumed: { seen: Uint8Array; twice: number }[]): void {
  let twice = consumed.reduce((sum, one) => sum + one.twice, 0);
  let lost = 0;
  for (const [first, count] of counts.entries()) {
    for (let k = 0; k < count; k++) {
      const i = first + k * counts.length;
      const times = consumed.filter(({ seen }) => ((seen[i >> 3] ?? 0) >> (i & 7)) & 1).length;
      if (times === 0) lost++;
      twice += Math.max(0, times - 1);
    }
  }
  if (lost + twice > 0)
    throw new Error(`expected each message to be handled once; ${lost} were not, ${twice} again`);
}
