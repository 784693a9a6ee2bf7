/** When the device refuses a flush: nothing is promised on its account, and the queue goes on in another segment. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { Backend, Queue } from '../../src/backend.ts';
import type { CacheOptions } from '../../src/cache/backend.ts';
import type { Message } from '../../src/message.ts';
import { messageOf, openOn } from '../support/on-machine.ts';
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

function open(options: Partial<CacheOptions> = {}): Promise<Backend> {
  return openOn(machine, { ...options });
}

async function openQueue(options?: Partial<CacheOptions>): Promise<Queue> {
  return (await open(options)).open(Q);
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

async function found(queue: Queue): Promise<Message[]> {
  const messages: Message[] = [];
  for await (const one of queue.find({})) messages.push(one);
  return messages;
}

async function dataOf(queue: Queue): Promise<unknown[]> {
  return (await found(queue)).map(({ data }) => data);
}

function segments(): string[] {
  return machine.fs
    .list(FOLDER)
    .filter((name) => name.endsWith('.journal'))
    .sort();
}

/** What closes the first segment, and what is said of it behind that. */
function said(): string[] {
  const [file] = segments();
  return recordsIn(machine.fs.contents(`${FOLDER}/${file}`)).flatMap(({ header }) => {
    const { op, why } = header as { op: string; why?: string };
    return ['seal', 'unsound', 'next'].includes(op) ? `${op} ${why ?? ''}`.trim() : [];
  });
}

describe('a flush that fails', () => {
  test('refuses all who waited for it, and whatever comes later from their handle', async () => {
    const queue = await openQueue();
    failOnce();
    const waiting = ['a', 'b', 'c'].map((data) => queue.add([messageOf(data)]));
    for (const one of await Promise.allSettled(waiting))
      expect(one).toMatchObject({ status: 'rejected', reason: refused });
    await expect(queue.add([messageOf('later')])).rejects.toMatchObject(refused);
    await expect(queue.status()).rejects.toMatchObject(refused);
    await expect(queue.claim(1, 1000)).rejects.toMatchObject(refused);
    await queue.close();
  });

  test('says in the log up to where the device is sound', async () => {
    const queue = await openQueue();
    await queue.add([messageOf('sound')]);
    const [file] = segments();
    const sound = machine.fs.contents(`${FOLDER}/${file}`).length;
    failOnce();
    await expect(queue.add([messageOf('lost')])).rejects.toMatchObject(refused);
    await queue.close();
    const seal = recordsIn(machine.fs.contents(`${FOLDER}/${file}`)).find(
      ({ header }) => header.op === 'seal',
    );
    expect(seal?.header).toMatchObject({ why: 'sync', s: sound });
  });

  test('says it before anybody hears of the failure: who tries again at once must not rest on what may be gone', async () => {
    const queue = await openQueue();
    failOnce();
    const heard = queue.add([messageOf('lost')]).catch(() => said());
    expect(await heard).toEqual(['seal sync']);
    await queue.close();
  });

  test('says it before its handle is closed, too', async () => {
    const queue = await openQueue();
    failOnce();
    const adding = expect(queue.add([messageOf('lost')])).rejects.toMatchObject(refused);
    await queue.close();
    expect(said()).toEqual(['seal sync']);
    await adding;
  });

  test('says it where nobody waits for it but who closes the handle', async () => {
    const queue = await openQueue({ durability: 'interval', syncInterval: 10_000 });
    await queue.add([messageOf('perhaps')]);
    failOnce();
    await queue.close();
    expect(said()).toEqual(['seal sync']);
  });

  test('has others go on, behind a seal', async () => {
    const queue = await openQueue();
    await queue.add([messageOf(1)]);
    failOnce();
    await expect(queue.add([messageOf(2)])).rejects.toMatchObject(refused);
    const other = await openQueue();
    await other.add([messageOf(3)]);
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
      await queue.add([messageOf(1)]);
      failOnce();
      await expect(queue.add([messageOf(2)])).rejects.toMatchObject(refused);
      const other = await openQueue();
      await other.add([messageOf(3)]);
      const found = await dataOf(await restarted());
      expect(found.filter((data) => data !== 2)).toEqual([1, 3]);
    });

    test('cost no message its content by an update that was refused', async () => {
      const queue = await openQueue();
      const [added] = await queue.add([messageOf('before')]);
      failOnce();
      await expect(queue.update(added!.uuid, { json: '"after"' })).rejects.toMatchObject(refused);
      // Who goes on has read the update, and its head is on the device.
      const other = await openQueue();
      await other.add([messageOf('next')]);
      const [data, next] = await dataOf(await restarted());
      expect(['before', 'after']).toContain(data);
      expect(next).toBe('next');
    });
  });
});

describe('a flush that has failed when another has just sealed the segment', () => {
  test('is told behind the seal, and by then no head counts that rests on what is not on the device', async () => {
    const ports = machine.process();
    const queue = await openQueue({ ports });
    await queue.add([messageOf('sound')]);
    let goOn: () => void = () => {};
    const isSealed = new Promise<void>((resolve) => (goOn = resolve));
    const { fs } = ports;
    const sync = fs.sync.bind(fs);
    let hasFailed: () => void = () => {};
    const failure = new Promise<void>((resolve) => (hasFailed = resolve));
    fs.sync = (fd) =>
      sync(fd).catch(async (error: unknown) => {
        hasFailed();
        await isSealed;
        throw error;
      });
    failOnce();
    const adding = expect(queue.add([messageOf('read')])).rejects.toMatchObject(refused);
    await failure;
    // Who opens a file after an error is not told of it.
    const other = await openQueue({ segmentBytes: 100 });
    machine.fs.onOperation = (operation, path) => {
      // The head is written, and not noted yet.
      if (operation === 'sync' && !path.endsWith('.journal')) goOn();
    };
    const [read] = (await found(other)).filter(({ data }) => data === 'read');
    await other.add([messageOf('x'.repeat(5000))]);
    await adding;
    expect(said().slice(0, 3)).toEqual(['seal size', 'seal sync', 'unsound']);
    await other.update(read!.uuid, { disabled: true });
    machine.fs.onOperation = undefined;
    machine = machine.powerCut('drop');
    expect(await dataOf(await openQueue())).toContain('read');
  });
});

test('a failed flush of a sealed segment, on the way to the next one, is no success for who waits', async () => {
  const queue = await openQueue();
  const small = await openOn(machine, { segmentBytes: 100 });
  const sealing = await small.open(Q);
  await sealing.add([messageOf('x'.repeat(5000))]);
  const told: string[] = [];
  failOnce();
  const adds = [queue, sealing].map((one, i) =>
    one.add([messageOf(`${i}`)]).then(
      () => told.push(`${i}`),
      () => undefined,
    ),
  );
  await Promise.all(adds);
  machine.fs.onOperation = undefined;
  machine = machine.powerCut('drop');
  expect(await dataOf(await openQueue())).toEqual(expect.arrayContaining(told));
});
