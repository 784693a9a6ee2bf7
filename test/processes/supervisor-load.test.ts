/** Workers under a supervisor that are restarted, scaled and killed while they work: no message is lost, or done too often. */
import { join } from 'node:path';
import { expect } from 'vitest';
import { QueueManager } from '../../src/queue-manager.ts';
import { courtTest as test, kill } from './masters.ts';
import { until } from './stage.ts';

const WORKER = `
  import { appendFileSync } from 'node:fs';
  import { setTimeout as sleep } from 'node:timers/promises';
  import { Worker } from 'coda-queue';
  export default class extends Worker {
    async process({ data }, { attempt }) {
      await sleep(5);
      appendFileSync('done', JSON.stringify([data, process.pid, attempt]) + '\\n');
    }
  }`;

test('rolling restarts, scaling and kills under load lose no message', async ({ court }) => {
  court.file('workers/count.mjs', WORKER);
  const manager = await QueueManager.open({ cacheRoot: join(court.folder, 'queues') });
  await manager.createQueue('count');
  const master = court.supervise([
    { name: 'count', worker: 'count', instances: 3, concurrency: 4, restartDelay: 10, restartLimit: 0 },
  ]);
  await master.up('count#1', 'count#2', 'count#3');
  const done = (): [number, number, number][] =>
    court
      .read('done')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as [number, number, number]);
  let added = 0;
  const over = new AbortController();
  const producing = (async () => {
    while (!over.signal.aborted) {
      // Always some, and never more than can be done.
      await until(() => over.signal.aborted || added - done().length < 100);
      const next = Array.from({ length: 5 }, (_, index) => ({ data: added + index }));
      await manager.addMessages('count', next);
      added += next.length;
    }
  })();
  await until(() => done().length > 20);
  await master.call('restart', 'count');
  await master.call('scale', 'count', 5);
  // Asked to end, nobody repeats anything.
  const calm = done();
  expect(calm.filter(([, , attempt]) => attempt > 1)).toEqual([]);
  expect(new Set(calm.map(([data]) => data)).size).toBe(calm.length);
  kill(await master.pidOf('count#2'));
  await Promise.all([master.call('restart', 'count'), master.event('waiting', 'count#2')]);
  await master.call('scale', 'count', 1);
  await master.call('scale', 'count', 4);
  over.abort();
  await producing;
  await until(() => new Set(done().map(([data]) => data)).size === added);
  expect(new Set(done().map(([, pid]) => pid)).size).toBeGreaterThan(8);
  const status = await manager.queueStatus('count');
  expect(status.counts.failed).toBe(0);
  await until(async () => (await manager.queueStatus('count')).messagesToProcess === 0);
  await manager.close();
  await master.stop();
});
