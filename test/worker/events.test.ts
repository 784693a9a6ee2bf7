import { expect, test } from 'vitest';
import type { WorkerEvent } from '../../src/worker/events.ts';
import { FinalError } from '../../src/worker/worker.ts';
import { PATIENCE, QUEUE, aborted, add, lapseAll, manager, start } from './running.ts';

const ENDS = new Set<WorkerEvent['type']>(['completed', 'failed', 'released', 'lost']);

test('whatever becomes of messages, each that is started is settled once and ends once', async () => {
  await add(80, { retries: 1 });
  let lapsed = false;
  const loop = start(
    async ({ uuid, data, crashes }, { attempt, signal, renew }) => {
      await new Promise(setImmediate);
      if (data === 60 && crashes === 0 && !lapsed) {
        lapsed = true;
        await lapseAll();
      }
      switch ((data as number) % 8) {
        case 0:
          throw new Error('no');
        case 1:
          throw new FinalError('never');
        case 2:
          if (attempt === 1) throw new Error('once');
          return;
        case 3:
          await manager.removeMessage(QUEUE, uuid);
          return;
        case 4:
          await manager.cancelMessage(QUEUE, uuid);
          await renew();
          throw signal.reason;
        case 5:
          if (data === 77) throw await aborted(signal);
          return;
      }
    },
    { concurrency: 5, stopDeadline: 1 },
  );
  await expect.poll(async () => (await manager.queueStatus(QUEUE)).messagesToProcess, PATIENCE).toBe(1);
  loop.stop();
  const report = await loop.report;

  const tries = new Map<string, WorkerEvent['type'][]>();
  const counts = { completed: 0, retried: 0, failed: 0, released: 0, lost: 0, cancelled: 0 };
  for (const event of loop.events) {
    if (event.type === 'trouble' || event.type === 'hook') throw new Error(`unexpected: ${event.type}`);
    const { token } = event.message;
    tries.set(token, [...(tries.get(token) ?? []), event.type]);
    if (event.type === 'failed' && !event.final) counts.retried++;
    else if (event.type === 'lost' && event.why === 'cancelled') counts.cancelled++;
    else if (event.type !== 'started' && event.type !== 'ended') counts[event.type]++;
  }
  for (const types of tries.values()) {
    expect(types[0]).toBe('started');
    expect(types.filter((type) => type === 'ended')).toHaveLength(1);
    expect(types.filter((type) => ENDS.has(type))).toHaveLength(1);
    expect(types).toHaveLength(3);
  }
  expect(report).toEqual({ ended: 'stopped', ...counts });
  expect(Math.min(...Object.values(counts))).toBeGreaterThan(0);
});
