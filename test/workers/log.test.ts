import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import * as library from '../../src/index.ts';
import { QueueManager } from '../../src/index.ts';
import { loadWorker } from '../../src/worker/loader.ts';
import { runLoop } from '../../src/worker/loop.ts';

test('each message is logged at INFO with its uuid, alias and data, cut after 1000 characters, and completed', async () => {
  await using manager = await QueueManager.open({ queueType: 'memory' });
  await manager.createQueue('any');
  const short = await manager.addMessage('any', { data: { plate: 'A-1' }, alias: 'first' });
  const long = await manager.addMessage('any', { data: 'x'.repeat(5000) });
  const { worker } = await loadWorker('log', { workersDir: '/nowhere', library });
  const lines: unknown[] = [];
  const never = new AbortController().signal;
  const report = await runLoop({
    queues: manager,
    queue: 'any',
    worker,
    config: await loadConfig({ cwd: '/', env: {} }),
    concurrency: 1,
    lease: 30_000,
    stopDeadline: 0,
    drain: true,
    stop: never,
    force: never,
    sink: (level, text, { uuid, alias }) => lines.push([level, text, uuid, alias]),
    onEvent: () => undefined,
  });
  expect(report.completed).toBe(2);
  expect(lines).toEqual([
    ['INFO', `${short.uuid}: {"plate":"A-1"}`, short.uuid, 'first'],
    ['INFO', `${long.uuid}: "${'x'.repeat(999)}…`, long.uuid, undefined],
  ]);
});
