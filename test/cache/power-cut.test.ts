/**
 * Power cuts under a running queue, on a simulated disk: several processes work, the power goes at some file operation,
 * the machine starts again and what is found is compared with what the processes had been told. A seed that fails is
 * run again by its number.
 */
import { describe, expect, test } from 'vitest';
import type { Backend, Durability, Queue } from '../../src/backend.ts';
import { openCache } from '../../src/cache/backend.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import { QueueError } from '../../src/errors.ts';
import type { Claim, Message } from '../../src/message.ts';
import { Ledger } from '../support/ledger.ts';
import { Seeded } from '../support/seeded.ts';
import { errno, type Loss } from '../support/sim-fs.ts';
import { SimMachine } from '../support/sim-machine.ts';

const ROOT = '/srv/queues';
const Q = 'jobs';
const CUTS = 2;

interface Run {
  /** Whether flushes of the journal fail now and then, before the power goes. */
  faulty: boolean;
  machine: SimMachine;
  random: Seeded;
  ledger: Ledger;
  durability: Durability;
  segmentBytes: number;
}

function open({ machine, durability, segmentBytes }: Run): Promise<Backend> {
  return openCache({
    cacheRoot: ROOT,
    durability,
    syncInterval: 5,
    fileMode: 0o600,
    keepOutcomes: 5,
    crashLimit: 1000,
    segmentBytes,
    ports: machine.process(),
  });
}

function newMessage(data: unknown) {
  return { json: JSON.stringify(data), alias: '', retries: 3, disabled: false, username: '' };
}

async function all(messages: AsyncIterable<Message>): Promise<Message[]> {
  const found: Message[] = [];
  for await (const message of messages) found.push(message);
  return found;
}

/** One process: what it is told goes into the ledger. Ends with the power. */
async function work(run: Run, client: number): Promise<void> {
  const { ledger, machine, random } = run;
  const backend = await open(run);
  const queue = await backend.open(Q);
  const known: Message[] = [];
  for (let i = 0; i < 25; i++) {
    await machine.clock.sleep(random.next() * 2);
    const dice = random.below(10);
    if (dice < 5) known.push(...(await add(run, queue, client, 1 + random.below(4))));
    else if (dice < 7) await claimAndSettle(run, queue);
    else if (dice === 7) await take(run, queue);
    else if (known.length > 0) await change(run, queue, known.splice(random.below(known.length), 1)[0]!);
  }
  if (random.chance(0.3)) await backend.close();
  // The others work on; ledger and power are theirs.
  expect(ledger.entries.size).toBeGreaterThan(0);
}

async function add({ ledger }: Run, queue: Queue, client: number, count: number): Promise<Message[]> {
  const entries = Array.from({ length: count }, () => ledger.adding(client));
  const added = await queue.add(entries.map(({ id }) => newMessage(ledger.data(id, 0))));
  for (const entry of entries) ledger.added(entry);
  return added;
}

async function claimAndSettle({ ledger, random }: Run, queue: Queue): Promise<void> {
  const claims: Claim[] = await queue.claim(1 + random.below(3), 1000);
  for (const claim of claims) {
    const entry = ledger.checked(claim);
    const dice = random.below(6);
    if (dice === 0) await queue.settle(claim, { type: 'release' });
    else if (dice === 1) {
      const error = { at: new Date(0).toISOString(), attempt: 1, name: 'Error', message: 'no' };
      await queue.settle(claim, { type: 'fail', error });
    } else if (dice > 2) {
      entry.ending = true;
      await queue.settle(claim, { type: 'complete' });
    }
  }
}

async function take({ ledger }: Run, queue: Queue): Promise<void> {
  ledger.taking++;
  const taken = await queue.take();
  ledger.taking--;
  if (taken) Object.assign(ledger.checked(taken), { ending: true, ended: true });
}

async function change({ ledger, random }: Run, queue: Queue, message: Message): Promise<void> {
  const entry = ledger.checked(message);
  if (random.chance(0.5)) {
    entry.ending = true;
    // Told that it is not there, one may be told so because of an end that is not on the device yet.
    entry.ended = (await queue.change({ type: 'remove', uuid: message.uuid })) === 1;
    return;
  }
  const version = ++entry.asked;
  const patch = { json: JSON.stringify(ledger.data(entry.id, version)) };
  if (await queue.update(message.uuid, patch)) entry.version = Math.max(entry.version, version);
}

/** Lets processes work until the power is cut; the machine that is started again. */
async function workUntilCut(run: Run, loss: Loss): Promise<SimMachine> {
  const { faulty, machine, random } = run;
  const errors: unknown[] = [];
  let on = true;
  let operations = 20 + random.below(800);
  const next = new Promise<SimMachine>((resolve) => {
    const cut = (): void => {
      on = false;
      resolve(machine.powerCut(loss));
    };
    machine.fs.onOperation = (operation, path) => {
      if (on && operations-- === 0) cut();
      if (faulty && operation === 'sync' && random.chance(0.03)) throw errno('EIO', path);
    };
    const clients = Array.from({ length: 1 + random.below(3) }, (_, client) =>
      work(run, client).catch((error: unknown) => {
        const expected = faulty && error instanceof QueueError && error.code === 'STORAGE_FAILED';
        // What fails when the power has gone is nobody's fault.
        if (on && !expected) errors.push(error);
        // Who is refused starts again, as a worker does.
        return on && expected ? work(run, client + 10).catch(() => undefined) : undefined;
      }),
    );
    void Promise.all(clients).then(() => on && cut());
  });
  const after = await next;
  expect(errors).toEqual([]);
  return after;
}

/** Opens what a power cut has left, and compares. */
async function restart(run: Run, loss: Loss): Promise<void> {
  const may = run.durability === 'always' ? 'nothing' : loss === 'pages' ? 'anything' : 'a suffix';
  const backend = await open(run);
  const queue = await backend.open(Q);
  // A record that lacks nothing but its newline counts as soon as something is written behind it.
  await queue.change({ type: 'attributes', patch: { restarted: true } });
  const found = await all(queue.find({}));
  expect(run.ledger.settle(found, may)).toEqual([]);
  // It works on.
  await add(run, queue, 99, 2);
  const report = await verifyQueue(`${ROOT}/${Q}`, run.machine.process());
  const { length } = await all(queue.find({}));
  await backend.close();
  // Where a flush failed, bytes are missing in the middle, of messages that were refused; that they do is worth saying.
  if (run.faulty) return;
  expect(report.messages).toBe(length);
  // An index is never synced: nothing is lost with it.
  expect(report.damage.filter(({ kind }) => kind !== 'torn' && kind !== 'index')).toEqual([]);
}

async function drain(run: Run): Promise<void> {
  const backend = await open(run);
  const queue = await backend.open(Q);
  const expected = (await all(queue.find({}))).map(({ uuid }) => uuid);
  await queue.change({ type: 'retry', uuids: 'all' });
  const drained: string[] = [];
  while (drained.length < expected.length) {
    const claims = await queue.claim(50, 60_000);
    // Claims of processes that the power cut has ended are over when their lease is.
    if (claims.length === 0) expect(await queue.wait(120_000, undefined)).toBe(true);
    for (const claim of claims) expect(await queue.settle(claim, { type: 'complete' })).toBe(true);
    drained.push(...claims.map(({ uuid }) => uuid));
  }
  expect(drained.toSorted()).toEqual(expected.toSorted());
  const { failed, ...counts } = (await queue.status()).counts;
  expect(counts).toEqual({ ready: 0, deferred: 0, claimed: 0, disabled: 0 });
  // A message that was refused because a flush failed may be known without its content: it is set aside.
  if (!run.faulty) expect(failed).toBe(0);
  await backend.close();
  expect(run.machine.fs.openFiles).toEqual([]);
}

interface Trial {
  durability: Durability;
  loss: Loss;
  faulty?: boolean;
}

async function trial(seed: number, { durability, loss, faulty = false }: Trial): Promise<void> {
  const random = new Seeded(seed);
  const machine = new SimMachine(random);
  const segmentBytes = random.pick([500, 2000, 10_000, 1_000_000]);
  const run: Run = { faulty, machine, random, ledger: new Ledger(), durability, segmentBytes };
  machine.fs.makeFolder(ROOT);
  await machine.fs.syncFolder('/srv');
  const backend = await open(run);
  await backend.create(Q, {});
  await backend.close();
  for (let i = 0; i < CUTS; i++) {
    run.machine = await workUntilCut(run, loss);
    await restart(run, loss);
  }
  await drain(run);
}

/** Says which seed it was. */
async function trials(first: number, count: number, how: Trial): Promise<void> {
  for (let seed = first; seed < first + count; seed++) {
    await trial(seed, how).catch((error: unknown) => {
      const code = error instanceof QueueError ? `${error.code} ` : '';
      throw new Error(`seed ${seed}: ${code}${String(error)}`, { cause: error });
    });
  }
}

const LOST: [Loss, string][] = [
  ['drop', 'nothing that was not synced has reached the disk'],
  ['cut', 'the tail is cut off at any byte'],
  ['zero', 'the tail is zeros'],
  ['pages', 'some pages were written and others not'],
];

describe('a queue whose creation was acknowledged is there after a power cut at any later moment', () => {
  /** Runs `act` until the power is cut at the n-th operation of the disk; what is found after it. */
  async function cutAt(
    n: number,
    act: (run: Run, done: (what: string) => void) => Promise<void>,
  ): Promise<{ told: string[]; run: Run; over: boolean }> {
    const machine = new SimMachine(new Seeded(n));
    const run: Run = {
      faulty: false,
      machine,
      random: machine.random,
      ledger: new Ledger(),
      durability: 'always',
      segmentBytes: 1e6,
    };
    const told: string[] = [];
    let left = n;
    const cut = new Promise<'cut'>((resolve) => {
      machine.fs.onOperation = () => {
        if (left-- !== 0) return;
        run.machine = machine.powerCut('drop');
        resolve('cut');
      };
    });
    const acting = act(run, (what) => told.push(what)).then(() => 'done' as const);
    acting.catch(() => undefined);
    const over = (await Promise.race([cut, acting])) === 'done';
    if (over) run.machine = machine.powerCut('drop');
    return { told, run, over };
  }

  async function found(run: Run): Promise<string[]> {
    const backend = await open(run);
    const names = await backend.list();
    const messages = names.includes(Q) ? await all((await backend.open(Q)).find({})) : [];
    await backend.close();
    return [...names, ...messages.map(({ data }) => data as string)];
  }

  test('in a root that was made for it', async () => {
    for (let n = 0, over = false; !over; n++) {
      const end = await cutAt(n, async (run, done) => {
        const backend = await open(run);
        await backend.create(Q, {});
        done(Q);
        const queue = await backend.open(Q);
        await queue.add([newMessage('first')]);
        done('first');
        await backend.close();
      });
      ({ over } = end);
      expect(await found(end.run), `cut at ${n}`).toEqual(expect.arrayContaining(end.told));
    }
  });

  test('for another process, too, that found it there and has added to it', async () => {
    for (let n = 0, over = false; !over; n++) {
      const end = await cutAt(n, async (run, done) => {
        const [one, two] = [await open(run), await open(run)];
        const creating = (async () => {
          await one.create(Q, {});
          done(Q);
        })();
        // The other one does not wait for the first to be told.
        const adding = (async () => {
          while (!(await two.exists(Q))) await run.machine.clock.sleep(0.05);
          await two.create(Q, {});
          const queue = await two.open(Q);
          await queue.add([newMessage('second')]);
          done('second');
        })();
        await Promise.all([creating, adding]);
        await Promise.all([one.close(), two.close()]);
      });
      ({ over } = end);
      expect(await found(end.run), `cut at ${n}`).toEqual(expect.arrayContaining(end.told));
    }
  });
});

test('the log names a successor when all that its head knows is on the device', async () => {
  const machine = new SimMachine(new Seeded(1));
  const { fs } = machine;
  const run: Run = {
    faulty: false,
    machine,
    random: machine.random,
    ledger: new Ledger(),
    durability: 'os',
    segmentBytes: 500,
  };
  let path = '';
  fs.onOperation = (operation, at) => void (operation === 'write' && (path = at));
  const write = fs.write.bind(fs);
  const unsynced: number[] = [];
  fs.write = (fd, bytes, offset, length, position) => {
    const written = write(fd, bytes, offset, length, position);
    const note = Buffer.from(bytes.subarray(offset, offset + length)).includes('{"op":"next"');
    // The note itself is not.
    if (note) unsynced.push(fs.unsynced(path) - length);
    return written;
  };
  const backend = await open(run);
  await backend.create(Q, {});
  const queue = await backend.open(Q);
  for (let i = 0; i < 40; i++) await queue.add([newMessage('x'.repeat(200))]);
  await backend.close();
  expect(unsynced.length).toBeGreaterThan(1);
  expect(unsynced).toEqual(unsynced.map(() => 0));
});

describe.each(LOST)('%s: when %s', (loss) => {
  test('everything that was acknowledged under `always` is there', () =>
    trials(1000, 15, { durability: 'always', loss }));

  test('and flushes had failed, everything that was acknowledged under `always` is there', () =>
    trials(2060, 15, { durability: 'always', loss, faulty: true }));

  test('under `interval`, the queue goes on without the last messages', () =>
    trials(3000, 10, { durability: 'interval', loss }));

  test('under `os`, the queue goes on without the last messages', () =>
    trials(4000, 10, { durability: 'os', loss }));
});

describe('found before', () => {
  test('seed 2191: the flush of a sealed segment fails, and another handle makes its head from what is in memory', () =>
    trials(2191, 1, { durability: 'always', loss: 'drop', faulty: true }));
});
