/** What could neither be written whole nor read back, or is not to be written after all: it leaves nothing behind for later. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { Queue } from '../../src/backend.ts';
import { asciiJson, Batch } from '../../src/cache/record.ts';
import { writeReserve } from '../../src/cache/space.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { messageOf, openOn } from '../support/on-machine.ts';
import { Seeded } from '../support/seeded.ts';
import { errno } from '../support/sim-fs.ts';
import { SimMachine } from '../support/sim-machine.ts';
import { recordsIn } from '../support/specimen.ts';

const Q = 'jobs';
const FOLDER = `/srv/${Q}`;
const SEGMENT = `${FOLDER}/00000001.journal`;
const refused = { code: 'STORAGE_FAILED' };

let machine: SimMachine;
let queue: Queue;

beforeEach(async () => {
  machine = new SimMachine(new Seeded(1));
  const backend = await openOn(machine);
  await backend.create(Q, {});
  queue = await backend.open(Q);
});

describe('after a write that has failed, and could not be read back', () => {
  /** One add waits for a flush, which fails; meanwhile another cannot be written, nor the file be looked at, so many times. */
  async function failed(looks: number): Promise<void> {
    await queue.add([messageOf('first')]);
    let left = 0;
    machine.fs.onOperation = (operation, path) => {
      if (path !== SEGMENT) return;
      if (operation === 'sync' || (operation === 'write' && left === looks)) throw errno('EIO', path);
      if (operation === 'stat' && left-- > 0) throw errno('EIO', path);
    };
    const unflushed = expect(queue.add([messageOf('unflushed')])).rejects.toMatchObject(refused);
    await new Promise((resolve) => setImmediate(resolve));
    left = looks;
    await expect(queue.add([messageOf('unwritten')])).rejects.toMatchObject(refused);
    await unflushed;
    machine.fs.onOperation = undefined;
    await queue.close();
  }

  test('the seal of a failed flush has the number of what is not there', async () => {
    await failed(1);
    expect(await verifyQueue(FOLDER, machine.process())).toMatchObject({ damage: [] });
  });

  test('that seal is written also where it can still not be looked for', async () => {
    // The second look is the flush's own.
    await failed(3);
    const seal = recordsIn(machine.fs.contents(SEGMENT)).find(({ header }) => header.op === 'seal');
    expect(seal?.header).toMatchObject({ why: 'sync' });
  });
});

/** The disk has room for so many bytes more. */
function leave(bytes: number): void {
  machine.fs.capacity = 1e9;
  machine.fs.capacity = 1e9 - machine.fs.space('/srv').free + bytes;
}

test('the reserve is freed again, though what it was freed for has not been written', async () => {
  const { fs } = machine;
  await queue.add([messageOf('purged')]);
  const purge = new Batch();
  purge.add(asciiJson({ op: 'purge', w: '00000000000000b2', n: 1, t: machine.clock.now() }));
  leave(10);
  fs.onOperation = (operation, path) => {
    if (operation !== 'remove' || !path.endsWith('/reserve')) return;
    fs.onOperation = undefined;
    const fd = fs.open(SEGMENT, 'append');
    fs.write(fd, purge.buffer, 0, purge.length);
    fs.close(fd);
  };
  expect(await queue.claim(1, 1000)).toEqual([]);
  expect(fs.onOperation).toBeUndefined();

  fs.capacity = Infinity;
  const other = await (await openOn(machine)).open(Q);
  await other.add([messageOf('next')]);
  const fd = fs.open(SEGMENT, 'read');
  await writeReserve(fs, FOLDER, fs.stat(fd));
  fs.close(fd);
  leave(10);
  expect(await queue.claim(1, 1000)).toMatchObject([{ data: 'next' }]);
});
