/**
 * What a process was told of a queue stays so, whoever made the queue and whether that one came to its last flush.
 * Found by the model (model/birth.pml): its variants `open-without-root-sync` and `there-unsynced`.
 */
import { describe, expect, test } from 'vitest';
import type { Backend, NewMessage } from '../../src/backend.ts';
import { openCache } from '../../src/cache/backend.ts';
import { Seeded } from '../support/seeded.ts';
import { errno } from '../support/sim-fs.ts';
import { SimMachine } from '../support/sim-machine.ts';

const ROOT = '/srv/queues';
const Q = 'jobs';

function message(data: unknown): NewMessage {
  return { json: JSON.stringify(data), alias: '', retries: 0, disabled: false, username: '' };
}

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

async function found(machine: SimMachine): Promise<unknown[]> {
  const queue = await (await open(machine)).open(Q);
  const data: unknown[] = [];
  for await (const one of queue.find({})) data.push(one.data);
  return data;
}

describe('a queue whose maker did not come to flushing the root', () => {
  async function halfMade(): Promise<SimMachine> {
    const machine = new SimMachine(new Seeded(1));
    const maker = await open(machine);
    machine.fs.onOperation = (operation, path) => {
      if (operation === 'syncFolder' && path === ROOT) throw errno('EIO', path);
    };
    await expect(maker.create(Q, {})).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
    machine.fs.onOperation = undefined;
    return machine;
  }

  test('is there after a power cut when another process has been told that its message was added', async () => {
    const machine = await halfMade();
    const queue = await (await open(machine)).open(Q);
    await queue.add([message('acknowledged')]);
    expect(await found(machine.powerCut('drop'))).toEqual(['acknowledged']);
  });

  test('is there after a power cut when another process has been told that it was there', async () => {
    const machine = await halfMade();
    expect(await (await open(machine)).create(Q, {})).toBe(false);
    expect(await found(machine.powerCut('drop'))).toEqual([]);
  });

  test('takes no message while the flush of the root fails', async () => {
    const machine = await halfMade();
    const queue = await (await open(machine)).open(Q);
    machine.fs.onOperation = (operation, path) => {
      if (operation === 'syncFolder' && path === ROOT) throw errno('EIO', path);
    };
    await expect(queue.add([message('refused')])).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
  });

  test('costs its root one flush, not one for each message', async () => {
    const machine = await halfMade();
    const queue = await (await open(machine)).open(Q);
    let flushes = 0;
    machine.fs.onOperation = (operation, path) => {
      if (operation === 'syncFolder' && path === ROOT) flushes++;
    };
    for (const data of [1, 2, 3]) await queue.add([message(data)]);
    expect(flushes).toBe(1);
  });

  test('has its own folder flushed once by each who opens it, as whoever named the segment may not have come to that', async () => {
    // Seed 1610 of an earlier simulation: the flush of a note fails, the next one succeeds, and only the name is left.
    const machine = await halfMade();
    const queue = await (await open(machine)).open(Q);
    const flushed: string[] = [];
    machine.fs.onOperation = (operation, path) => {
      if (operation === 'syncFolder' && path === `${ROOT}/${Q}`) flushed.push(operation);
    };
    await queue.add([message(1)]);
    expect(flushed).toHaveLength(1);
    await queue.add([message(2)]);
    expect(flushed).toHaveLength(1);
  });

  test('serves an account that may not read the root', async () => {
    const machine = await halfMade();
    const queue = await (await open(machine)).open(Q);
    machine.fs.onOperation = (operation, path) => {
      if (operation === 'syncFolder' && path === ROOT) throw errno('EACCES', path);
    };
    await queue.add([message('acknowledged')]);
  });
});

describe('a queue that is created anew by two processes at once', () => {
  /** The machine on which it was created and destroyed, and the file that is written to. */
  async function destroyed(): Promise<{ machine: SimMachine; path: string }> {
    const machine = new SimMachine(new Seeded(1));
    const backend = await open(machine);
    await backend.create(Q, {});
    await backend.destroy(Q);
    const names = machine.fs.list(`${ROOT}/${Q}`).filter((name) => name.endsWith('.journal'));
    return { machine, path: `${ROOT}/${Q}/${names.toSorted().at(-1)}` };
  }

  test('is there after a power cut when one was told that it was there, at whatever moment the other wrote', async () => {
    const other = await destroyed();
    const before = other.machine.fs.contents(other.path).length;
    await (await open(other.machine)).create(Q, {});
    const record = other.machine.fs.contents(other.path).subarray(before);
    let wasThere = 0;
    for (let n = 0, over = false; !over; n++) {
      const { machine, path } = await destroyed();
      const { fs } = machine;
      const backend = await open(machine);
      let left = n;
      fs.onOperation = () => {
        if (left-- > 0) return;
        fs.onOperation = undefined;
        // Its writer dies before it flushes that.
        const fd = fs.open(path, 'append');
        fs.write(fd, record, 0, record.length);
        fs.close(fd);
      };
      if (!(await backend.create(Q, {}))) wasThere++;
      over = left >= 0;
      const after = await open(machine.powerCut('drop'));
      expect(await after.exists(Q), `written before operation ${n}`).toBe(true);
    }
    expect(wasThere).toBeGreaterThan(1);
  });

  test('is said to be there by nobody while the flush of its creation fails', async () => {
    const { machine } = await destroyed();
    const [first, second] = [await open(machine), await open(machine)];
    machine.fs.onOperation = (operation, path) => {
      if (operation === 'sync' && path.endsWith('.journal')) throw errno('EIO', path);
    };
    const answers = await Promise.allSettled([first.create(Q, {}), second.create(Q, {})]);
    for (const answer of answers)
      expect(answer).toMatchObject({ status: 'rejected', reason: { code: 'STORAGE_FAILED' } });
  });
});
