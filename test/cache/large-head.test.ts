/** A head tells of everything that has failed, with its errors: it may be far larger than what is left of a full disk. */
import { beforeEach, expect, test } from 'vitest';
import type { Backend, NewMessage, Queue } from '../../src/backend.ts';
import { openOn } from '../support/on-machine.ts';
import { Seeded } from '../support/seeded.ts';
import { errno } from '../support/sim-fs.ts';
import { SimMachine } from '../support/sim-machine.ts';

const Q = 'jobs';
const FAILED = 200;
const WAITING = 500;
const ERROR = { at: '2026-01-01T00:00:00.000Z', attempt: 1, name: 'Error', message: 'x'.repeat(5000) };

let machine: SimMachine;
let queue: Queue;

function open(): Promise<Backend> {
  return openOn(machine, { durability: 'os', segmentBytes: 300_000 });
}

function messages(count: number): NewMessage[] {
  const message = { json: '1', alias: '', retries: 0, disabled: false, username: '' };
  return Array.from({ length: count }, () => message);
}

/** The disk has room for so many bytes more. */
function leave(bytes: number): void {
  machine.fs.capacity = 1e9;
  machine.fs.capacity = 1e9 - machine.fs.space('/srv').free + bytes;
}

beforeEach(async () => {
  machine = new SimMachine(new Seeded(1));
  const backend = await open();
  await backend.create(Q, {});
  queue = await backend.open(Q);
  await queue.add(messages(FAILED));
  for (const claim of await queue.claim(FAILED, 60_000))
    await queue.settle(claim, { type: 'fail', error: ERROR });
  await queue.add(messages(WAITING));
});

test.each([100_000, 300_000, 600_000, 900_000])(
  'on a disk with room for %d bytes, consumers go on',
  async (bytes) => {
    leave(bytes);
    for (let i = 0; i < WAITING; i++) {
      const [claim] = await queue.claim(1, 60_000);
      expect(await queue.settle(claim!, { type: 'complete' })).toBe(true);
    }
    const other = await (await open()).open(Q);
    expect((await other.status()).counts).toMatchObject({ ready: 0, failed: FAILED });
  },
);

test('producers leave room for the next two', async () => {
  leave(2_500_000);
  const early = await (await open()).open(Q);
  await expect(early.add(messages(1))).rejects.toMatchObject({ code: 'STORAGE_FULL' });
  leave(5_000_000);
  const late = await (await open()).open(Q);
  expect(await late.add(messages(1))).toHaveLength(1);
});

test.each(['ENOSPC', 'EDQUOT'])(
  'who is told %s for it, though the disk seems to have room, tries once more',
  async (code) => {
    let refused = 0;
    machine.fs.onOperation = (operation, path) => {
      if (operation !== 'write' || !path.includes('/tmp-')) return;
      refused++;
      // Or it would go on for ever.
      throw errno(refused < 100 ? code : 'EIO', path);
    };
    await expect((await open()).destroy(Q)).rejects.toMatchObject({ code: 'STORAGE_FULL' });
    expect(refused).toBe(2);
  },
);
