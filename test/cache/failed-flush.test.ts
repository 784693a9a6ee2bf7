/** When the device refuses a flush: nothing is promised on its account, and the queue goes on in another segment. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { Backend, NewMessage, Queue } from '../../src/backend.ts';
import { openCache } from '../../src/cache/backend.ts';
import type { Message } from '../../src/message.ts';
import { Seeded } from '../support/seeded.ts';
import { errno, type Loss } from '../support/sim-fs.ts';
import { SimMachine } from '../support/sim-machine.ts';
import { recordsIn } from '../support/specimen.ts';

const Q = 'jobs';
const FOLDER = `/srv/${Q}`;
const refused = { name: 'QueueError', code: 'STORAGE_FAILED' };

let machine: SimMachine;

beforeEach(async () => {
  machine = new SimMachine(new Seeded(1));
  const backend = await open();
  await backend.create(Q, {});
  await backend.close();
});

function open(): Promise<Backend> {
  const ports = machine.process();
  return openCache({
    cacheRoot: '/srv',
    durability: 'always',
    syncInterval: 50,
    fileMode: 0o600,
    keepOutcomes: 10,
    crashLimit: 3,
    segmentBytes: 1e6,
    ports,
  });
}

async function openQueue(): Promise<Queue> {
  return (await open()).open(Q);
}

function message(data: unknown): NewMessage {
  return { json: JSON.stringify(data), alias: '', retries: 0, disabled: false, username: '' };
}

/** The next flush of a segment fails, and no other. */
function failOnce(): void {
  let failed = false;
  machine.fs.onOperation = (operation, path) => {
    if (failed || operation !== 'sync' || !path.endsWith('.journal')) return;
    failed = true;
    throw errno('EIO', path);
  };
}

async function dataOf(queue: Queue): Promise<unknown[]> {
  const found: Message[] = [];
  for await (const one of queue.find({})) found.push(one);
  return found.map(({ data }) => data);
}

function segments(): string[] {
  return machine.fs
    .list(FOLDER)
    .filter((name) => name.endsWith('.journal'))
    .sort();
}

describe('a flush that fails', () => {
  test('refuses all who waited for it, and whatever comes later from their handle', async () => {
    const queue = await openQueue();
    failOnce();
    const waiting = ['a', 'b', 'c'].map((data) => queue.add([message(data)]));
    for (const one of await Promise.allSettled(waiting))
      expect(one).toMatchObject({ status: 'rejected', reason: refused });
    await expect(queue.add([message('later')])).rejects.toMatchObject(refused);
    await expect(queue.status()).rejects.toMatchObject(refused);
    await expect(queue.claim(1, 1000)).rejects.toMatchObject(refused);
    await queue.close();
  });

  test('says in the log up to where the device is sound', async () => {
    const queue = await openQueue();
    await queue.add([message('sound')]);
    const [file] = segments();
    const sound = machine.fs.contents(`${FOLDER}/${file}`).length;
    failOnce();
    await expect(queue.add([message('lost')])).rejects.toMatchObject(refused);
    await queue.close();
    const seal = recordsIn(machine.fs.contents(`${FOLDER}/${file}`)).find(
      ({ header }) => header.op === 'seal',
    );
    expect(seal?.header).toMatchObject({ why: 'sync', s: sound });
  });

  test('has others go on, behind a seal', async () => {
    const queue = await openQueue();
    await queue.add([message(1)]);
    failOnce();
    await expect(queue.add([message(2)])).rejects.toMatchObject(refused);
    const other = await openQueue();
    await other.add([message(3)]);
    expect(segments()).toHaveLength(2);
    const found = await dataOf(other);
    // What was refused may be there or not; what was acknowledged is.
    expect(found.filter((data) => data !== 2)).toEqual([1, 3]);
    await other.close();
    await queue.close();
  });

  describe.each<Loss>(['drop', 'cut', 'zero', 'pages'])('and then a power cut (%s)', (loss) => {
    async function restarted(): Promise<Queue> {
      machine.fs.onOperation = undefined;
      machine = machine.powerCut(loss);
      return openQueue();
    }

    test('cost no message that was acknowledged before or after', async () => {
      const queue = await openQueue();
      await queue.add([message(1)]);
      failOnce();
      await expect(queue.add([message(2)])).rejects.toMatchObject(refused);
      const other = await openQueue();
      await other.add([message(3)]);
      const found = await dataOf(await restarted());
      expect(found.filter((data) => data !== 2)).toEqual([1, 3]);
    });

    test('cost no message its content by an update that was refused', async () => {
      const queue = await openQueue();
      const [added] = await queue.add([message('before')]);
      failOnce();
      await expect(queue.update(added!.uuid, { json: '"after"' })).rejects.toMatchObject(refused);
      // Who goes on has read the update, and its head is on the device.
      const other = await openQueue();
      await other.add([message('next')]);
      const [data, next] = await dataOf(await restarted());
      expect(['before', 'after']).toContain(data);
      expect(next).toBe('next');
    });
  });
});

test('a failed flush of a sealed segment, on the way to the next one, is no success for who waits', async () => {
  const queue = await openQueue();
  const small = await openCache({
    cacheRoot: '/srv',
    durability: 'always',
    syncInterval: 50,
    fileMode: 0o600,
    keepOutcomes: 10,
    crashLimit: 3,
    segmentBytes: 100,
    ports: machine.process(),
  });
  const sealing = await small.open(Q);
  await sealing.add([message('x'.repeat(5000))]);
  const told: string[] = [];
  failOnce();
  const adds = [queue, sealing].map((one, i) =>
    one.add([message(`${i}`)]).then(
      () => told.push(`${i}`),
      () => undefined,
    ),
  );
  await Promise.all(adds);
  machine.fs.onOperation = undefined;
  machine = machine.powerCut('drop');
  expect(await dataOf(await openQueue())).toEqual(expect.arrayContaining(told));
});
