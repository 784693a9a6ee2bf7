/** A write that is refused: it is answered with an error, nothing of it counts, and the handle goes on when it is over. */
import { beforeEach, expect, test } from 'vitest';
import type { Backend, NewMessage, Queue } from '../../src/backend.ts';
import { openCache } from '../../src/cache/backend.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { Seeded } from '../support/seeded.ts';
import { errno } from '../support/sim-fs.ts';
import { SimMachine } from '../support/sim-machine.ts';

const Q = 'jobs';
let machine: SimMachine;
let queue: Queue;

function open(): Promise<Backend> {
  return openCache({
    cacheRoot: '/srv',
    durability: 'always',
    syncInterval: 50,
    fileMode: 0o600,
    keepOutcomes: 10,
    crashLimit: 3,
    segmentBytes: 1e6,
    ports: machine.process(),
  });
}

function message(data: string): NewMessage {
  return { json: JSON.stringify(data), alias: '', retries: 0, disabled: false, username: '' };
}

beforeEach(async () => {
  machine = new SimMachine(new Seeded(1));
  const backend = await open();
  await backend.create(Q, {});
  queue = await backend.open(Q);
  await queue.add([message('first')]);
});

test.each(['ENOSPC', 'EDQUOT'])(
  'a settle that is refused with %s, though the disk seems to have room, is not tried again for ever',
  async (code) => {
    const [claim] = await queue.claim(1, 60_000);
    let refused = 0;
    machine.fs.onOperation = (operation, path) => {
      if (operation !== 'write') return;
      refused++;
      // Or it would go on for ever.
      throw errno(refused < 100 ? code : 'EIO', path);
    };
    const settling = queue.settle(claim!, { type: 'complete' });
    await expect(settling).rejects.toMatchObject({ code: 'STORAGE_FULL' });
    expect(refused).toBeLessThan(5);
    machine.fs.onOperation = undefined;
    expect(await queue.settle(claim!, { type: 'complete' })).toBe(true);
  },
);

test.each([1, 3])(
  'one that cannot be read back either (%d times) leaves no trace of records that are missing',
  async (reads) => {
    // So that there is something to be read.
    const other = await (await open()).open(Q);
    await other.add([message('of another')]);
    let left = 1 + reads;
    machine.fs.onOperation = (operation, path) => {
      if (!path.endsWith('.journal') || left === 0) return;
      if (operation !== (left > reads ? 'write' : 'read')) return;
      left--;
      throw errno('EIO', path);
    };
    for (let i = 0; i < reads; i++)
      await expect(queue.add([message('refused')])).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
    expect(await queue.add([message('second')])).toHaveLength(1);
    await queue.close();
    const { sound, messages } = await verifyQueue(`/srv/${Q}`, machine.process());
    expect({ sound, messages }).toEqual({ sound: true, messages: 3 });
  },
);

test('one that is in the log, and could not be read back, is there once, and its numbers are not given again', async () => {
  const other = await (await open()).open(Q);
  await other.add([message('of another')]);
  let left = 1;
  machine.fs.onOperation = (operation, path) => {
    if (!path.endsWith('.journal') || operation !== 'read' || left-- <= 0) return;
    throw errno('EIO', path);
  };
  await expect(queue.add([message('perhaps')])).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  await queue.add([message('second')]);
  await queue.close();
  const { sound, messages } = await verifyQueue(`/srv/${Q}`, machine.process());
  expect({ sound, messages }).toEqual({ sound: true, messages: 4 });
});
