/** Who may use the reserve when the disk is full: what ends messages, never what adds them. The disk is told to be full. */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { messages, Q, stageTest } from './stage.ts';

const test = stageTest();

/** Real ports on a disk whose next write does not fit. */
function fullOnce(): { ports: Ports; next: () => void } {
  let full = false;
  const ports: Ports = {
    ...nodePorts,
    fs: {
      ...nodePorts.fs,
      write(...args) {
        if (!full) return nodePorts.fs.write(...args);
        full = false;
        throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      },
    },
  };
  return { ports, next: () => (full = true) };
}

test('an add that does not fit is refused, and leaves the reserve to consumers', async ({ stage, queue }) => {
  await queue.add(messages('first'));
  const { ports, next } = fullOnce();
  const producer = await (await stage.open({ ports })).open(Q);
  await producer.status();
  next();
  await expect(producer.add(messages('refused'))).rejects.toMatchObject({ code: 'STORAGE_FULL' });
  expect(existsSync(join(stage.queueFolder, 'reserve'))).toBe(true);
  expect(await queue.status()).toMatchObject({ counts: { ready: 1 } });
});

test('a claim that does not fit takes the reserve', async ({ stage, queue }) => {
  await queue.add(messages('first'));
  const { ports, next } = fullOnce();
  const consumer = await (await stage.open({ ports })).open(Q);
  await consumer.status();
  next();
  expect(await consumer.claim(1, 60_000)).toMatchObject([{ data: 'first' }]);
  expect(existsSync(join(stage.queueFolder, 'reserve'))).toBe(false);
});

test('a claim that does not fit, while another consumer has just freed the reserve, goes in all the same', async ({
  stage,
  queue,
}) => {
  await queue.add(messages('first'));
  const { ports, next } = fullOnce();
  const consumer = await (await stage.open({ ports })).open(Q);
  await consumer.status();
  next();
  rmSync(join(stage.queueFolder, 'reserve'));
  expect(await consumer.claim(1, 60_000)).toMatchObject([{ data: 'first' }]);
});
