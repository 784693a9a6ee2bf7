/**
 * A completion that came too late stays without effect, whatever a power cut takes: who is told so undoes the work. Found by
 * the simulation (seed 106834, there under `interval`).
 */
import { expect, test } from 'vitest';
import type { Backend } from '../../src/backend.ts';
import { openCache } from '../../src/cache/backend.ts';
import { Seeded } from '../support/seeded.ts';
import { errno } from '../support/sim-fs.ts';
import { SimMachine } from '../support/sim-machine.ts';

const ROOT = '/srv/queues';
const Q = 'jobs';

function open(machine: SimMachine): Promise<Backend> {
  return openCache({
    cacheRoot: ROOT,
    durability: 'always',
    syncInterval: 50,
    fileMode: 0o600,
    keepOutcomes: 10,
    crashLimit: 3,
    ports: machine.process(),
  });
}

/** A claim that has been released, and so much written since that a power cut may take the one page and not the other. */
async function released(seed: number) {
  const machine = new SimMachine(new Seeded(seed));
  const backend = await open(machine);
  await backend.create(Q, {});
  const queue = await backend.open(Q);
  const message = { json: '"wanted"', alias: '', retries: 3, disabled: false, username: '' };
  await queue.add([message, { ...message, json: '"other"' }]);
  const [claim] = await queue.claim(1, 1_000_000);
  const [other] = await queue.claim(1, 1_000_000);
  // Flushes the claims along with it.
  await queue.add([{ ...message, json: '"last"' }]);
  await queue.settle(claim!, { type: 'release' });
  const write = async (): Promise<void> => {
    for (let i = 0; i < 60; i++) await queue.settle(other!, { type: 'renew', lease: 1_000_000 });
  };
  await write();
  return { machine, queue, claim: claim!, write };
}

test('its message is there after a power cut, when it was told to be too late', async () => {
  let losses = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const { machine, queue, claim, write } = await released(seed);
    expect(await queue.settle(claim, { type: 'complete' })).toBe(false);
    await write();
    const after = await (await open(machine.powerCut('pages'))).open(Q);
    const found: unknown[] = [];
    for await (const { data } of after.find({})) found.push(data);
    if (!found.includes('wanted')) losses++;
  }
  expect(losses).toBe(0);
});

test('is refused, not told to be too late, when that cannot be flushed', async () => {
  const { machine, queue, claim } = await released(1);
  machine.fs.onOperation = (operation, path) => {
    if (operation === 'sync') throw errno('EIO', path);
  };
  await expect(queue.settle(claim, { type: 'complete' })).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
});

test('costs a flush only when it is too late', async () => {
  const { machine, queue, claim } = await released(1);
  let flushes = 0;
  machine.fs.onOperation = (operation) => {
    if (operation === 'sync') flushes++;
  };
  const [again] = await queue.claim(1, 1_000_000);
  expect(await queue.settle(again!, { type: 'complete' })).toBe(true);
  expect(flushes).toBe(0);
  expect(await queue.settle(claim, { type: 'complete' })).toBe(false);
  expect(flushes).toBeGreaterThan(0);
});
