/** The storage refuses something once, or for a while: whoever asked is told, and the handle goes on as if it had not been asked. */
import { beforeEach, expect, test } from 'vitest';
import type { Backend, Queue } from '../../src/backend.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { messageOf, openOn } from '../support/on-machine.ts';
import { Seeded } from '../support/seeded.ts';
import { errno } from '../support/sim-fs.ts';
import { SimMachine } from '../support/sim-machine.ts';

const Q = 'jobs';
let machine: SimMachine;
let queue: Queue;

function open(segmentBytes = 1e6, ports: Ports = machine.process()): Promise<Backend> {
  return openOn(machine, { segmentBytes, ports });
}

beforeEach(async () => {
  machine = new SimMachine(new Seeded(1));
  const backend = await open();
  await backend.create(Q, {});
  queue = await backend.open(Q);
  await queue.add([messageOf('first')]);
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

// Seed 1489: what was refused was neither tried again nor answered.
test('a settle that is refused is answered, though nobody can tell how much room there is', async () => {
  const [claim] = await queue.claim(1, 60_000);
  machine.fs.remove(`/srv/${Q}/reserve`);
  let looks = 0;
  machine.fs.onOperation = (operation, path) => {
    if (operation === 'write') throw errno('EDQUOT', path);
    // To try again at once it is asked once, and once more to try it all again.
    if (operation === 'space' && ++looks > 1) throw errno('EIO', path);
  };
  const settling = queue.settle(claim!, { type: 'complete' });
  await expect(settling).rejects.toMatchObject({ code: 'STORAGE_FULL' });
});

test.each([1, 3])(
  'a write that cannot be read back either (%d times) leaves no trace of records that are missing',
  async (reads) => {
    // So that there is something to be read.
    const other = await (await open()).open(Q);
    await other.add([messageOf('of another')]);
    let left = 1 + reads;
    machine.fs.onOperation = (operation, path) => {
      if (!path.endsWith('.journal') || left === 0) return;
      if (operation !== (left > reads ? 'write' : 'read')) return;
      left--;
      throw errno('EIO', path);
    };
    for (let i = 0; i < reads; i++)
      await expect(queue.add([messageOf('refused')])).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
    expect(await queue.add([messageOf('second')])).toHaveLength(1);
    await queue.close();
    const { sound, messages } = await verifyQueue(`/srv/${Q}`, machine.process());
    expect({ sound, messages }).toEqual({ sound: true, messages: 3 });
  },
);

test('a write that is in the log, and could not be read back, is there once, and its numbers are not given again', async () => {
  const other = await (await open()).open(Q);
  await other.add([messageOf('of another')]);
  let left = 1;
  machine.fs.onOperation = (operation, path) => {
    if (!path.endsWith('.journal') || operation !== 'read' || left-- <= 0) return;
    throw errno('EIO', path);
  };
  await expect(queue.add([messageOf('perhaps')])).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  await queue.add([messageOf('second')]);
  await queue.close();
  const { sound, messages } = await verifyQueue(`/srv/${Q}`, machine.process());
  expect({ sound, messages }).toEqual({ sound: true, messages: 4 });
});

/** Adds until there is another segment. */
async function fill(filling: Queue): Promise<void> {
  const last = (): string | undefined =>
    machine.fs
      .list(`/srv/${Q}`)
      .filter((name) => name.endsWith('.journal'))
      .sort()
      .at(-1);
  const before = last();
  while (last() === before) await filling.add([messageOf('x'.repeat(400))]);
}

test('who cannot read an older segment holds no half of the queue: what it reads next is all there is', async () => {
  const small = await (await open(3000)).open(Q);
  await small.add([{ ...messageOf('disabled'), disabled: true }]);
  await fill(small);
  await small.add([messageOf('last')]);
  const { counts } = await small.status();
  const late = await (await open()).open(Q);
  machine.fs.onOperation = (operation, path) => {
    // In the older segment, or in what tells of it.
    if (operation === 'read' && path.includes('00000001.')) throw errno('EIO', path);
  };
  await expect(late.claim(1, 60_000)).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  machine.fs.onOperation = undefined;
  expect((await late.status()).counts).toEqual(counts);
  expect(await late.claim(100, 60_000)).toHaveLength(counts.ready);
});

test('who could not note its head, and was overtaken, names it in no other segment', async () => {
  const ports = machine.process();
  const write = ports.fs.write.bind(ports.fs);
  let isRefused = true;
  ports.fs.write = (fd, bytes, offset, length, at) => {
    const isNote = Buffer.from(bytes)
      .toString('latin1', offset, offset + length)
      .includes('{"op":"next"');
    if (isRefused && isNote) throw errno('EIO');
    return write(fd, bytes, offset, length, at);
  };
  const small = await (await open(3000, ports)).open(Q);
  await expect(fill(small)).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  isRefused = false;
  const other = await (await open(3000)).open(Q);
  await other.add([messageOf('behind')]);
  for (let i = 0; i < 3; i++) await fill(small);
  const { counts } = await other.status();
  expect((await small.status()).counts).toEqual(counts);
});
