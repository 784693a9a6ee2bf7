/**
 * A process that uses queues on the disk whose power is cut, for as long as it lives: one of the roles below. It writes
 * down what it does (`notes.ts`), and ends with its parent.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend, NewMessage, Queue } from '../../src/backend.ts';
import { openCache, type CacheOptions } from '../../src/cache/backend.ts';
import { parseSegmentName } from '../../src/cache/files.ts';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { dataOf, now, takeNotes, type Taker } from './notes.ts';

/** The queue that all but `bearer` use. */
export const Q = 'jobs';

export interface ActorOptions {
  /** Unique within a run; begins the ids of its messages. */
  name: string;
  role: keyof typeof ROLES;
  notes: string;
  engine: Omit<CacheOptions, 'ports'>;
}

/** Producers pause while more messages than this wait; workers while fewer do. */
const MOST_WAITING = 300;
const FEWEST_WAITING = 100;
/** Each takes a megabyte of the disk, its reserve. */
const MOST_BORN = 60;
/** Short, so that what a cut leaves claimed comes back soon. */
const LEASE_MS = 400;
const STALL_MS = 20;

interface Stage {
  name: string;
  note: Taker;
  backend: Backend;
}

const ROLES = { producer: produce, worker: work, taker: take, bearer: bear };

const chance = (probability: number): boolean => Math.random() < probability;
const upTo = (most: number): number => 1 + Math.floor(Math.random() * most);

/** Never ends by itself; rejects with the first error. */
export async function act({ name, role, notes, engine }: ActorOptions): Promise<never> {
  const note = takeNotes(notes);
  watchStalls(note);
  try {
    const backend = await openCache({ ...engine, ports: notingFlushes(note) });
    return await ROLES[role]({ name, note, backend });
  } catch (error) {
    note('error', String((error as Error).stack ?? error));
    throw error;
  }
}

/** Now and then, all the same: what has only just been added is worked on, too. */
async function untilEnough(queue: Queue): Promise<void> {
  while (!chance(0.05) && (await queue.status()).messagesToProcess < FEWEST_WAITING) await sleep(10);
}

async function openQueue(backend: Backend): Promise<Queue> {
  await backend.create(Q, {});
  return backend.open(Q);
}

function messageOf(id: string, version: number): NewMessage {
  return { json: JSON.stringify(dataOf(id, version)), alias: id, retries: 0, disabled: false, username: '' };
}

/** Adds, now and then updates or removes what it has added. */
async function produce({ name, note, backend }: Stage): Promise<never> {
  const queue = await openQueue(backend);
  for (let n = 0; ;) {
    while ((await queue.status()).messagesToProcess > MOST_WAITING) await sleep(5);
    const ids = Array.from({ length: upTo(6) }, () => `${name}.${n++}`);
    for (const id of ids) note('try', id);
    const added = await queue.add(ids.map((id) => messageOf(id, 0)));
    for (const { alias } of added) note('added', alias, now());
    const { alias: id, uuid } = added[0]!;
    if (chance(0.2)) {
      note('changing', id, 1);
      const { json } = messageOf(id, 1);
      if (await queue.update(uuid, { json })) note('changed', id, 1, now());
    }
    if (chance(0.2)) {
      note('ending', id);
      if ((await queue.change({ type: 'remove', uuid })) > 0) note('ended', id, now());
    }
    if (chance(0.3)) await sleep(Math.random() * 10);
  }
}

/** Claims, holds for a moment, settles. */
async function work({ note, backend }: Stage): Promise<never> {
  const queue = await openQueue(backend);
  for (;;) {
    await untilEnough(queue);
    const claims = await queue.claim(upTo(5), LEASE_MS);
    if (claims.length === 0) await queue.wait(200, undefined);
    await sleep(Math.random() * 15);
    await Promise.all(
      claims.map((claim) => {
        if (chance(0.1)) return queue.settle(claim, { type: 'release' });
        if (chance(0.1)) {
          const error = { at: new Date().toISOString(), attempt: 1, name: 'Error', message: 'once more' };
          return queue.settle(claim, { type: 'fail', error, due: Date.now() + 30 });
        }
        note('ending', (claim.data as { id: string }).id);
        return queue.settle(claim, { type: 'complete' });
      }),
    );
  }
}

async function take({ note, backend }: Stage): Promise<never> {
  const queue = await openQueue(backend);
  for (;;) {
    await untilEnough(queue);
    note('taking');
    const message = await queue.take();
    if (message) {
      const { id } = message.data as { id: string };
      note('ending', id);
      note('ended', id, now());
    }
    note('taken');
    await sleep(message ? Math.random() * 30 : 50);
  }
}

/** Makes queues, a new one at once when it is asked to, and ends them again; a name is used anew now and then. */
async function bear({ note, backend }: Stage): Promise<never> {
  let asked = false;
  let wake = (): void => {};
  process.on('message', () => {
    asked = true;
    wake();
  });
  const pause = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, asked ? 0 : Math.random() * 1000);
    });
  for (let made = 0, n = 0; ; n++) {
    const fresh = made < MOST_BORN && (made === 0 || asked || chance(0.3));
    asked = false;
    const queue = `born-${fresh ? made++ : upTo(made) - 1}`;
    note('bearing', queue);
    await backend.create(queue, {});
    note('born', queue, now());
    await pause();
    if (chance(0.3)) {
      const open = await backend.open(queue);
      await open.add([messageOf(`${queue}.${n}`, 0)]);
      await open.close();
    }
    if (chance(0.5)) continue;
    note('killing', queue);
    await backend.destroy(queue);
    note('dead', queue, now());
    await pause();
  }
}

/** The real ports; notes each flush of the segment that was last written to: it covers all that was acknowledged before. */
function notingFlushes(note: Taker): Ports {
  const { fs } = nodePorts;
  const segments = new Map<number, number>();
  let newest = 0;
  return {
    ...nodePorts,
    fs: {
      ...fs,
      open(path, how, mode) {
        const fd = fs.open(path, how, mode);
        segments.delete(fd);
        const [folder, name] = path.split('/').slice(-2);
        const segment = folder === Q ? parseSegmentName(name!) : undefined;
        if (segment !== undefined) segments.set(fd, segment);
        return fd;
      },
      write(fd, ...rest) {
        newest = Math.max(newest, segments.get(fd) ?? 0);
        return fs.write(fd, ...rest);
      },
      async sync(fd) {
        const counts = newest > 0 && segments.get(fd) === newest;
        const began = now();
        if (counts) note('flushing', began);
        await fs.sync(fd);
        if (counts) note('flushed', began);
      },
    },
  };
}

/** A timer that is late holds up the flush, too. */
function watchStalls(note: Taker): void {
  let last = now();
  setInterval(() => {
    const at = now();
    if (at - last > 2 * STALL_MS) note('stalled', at - last, at);
    last = at;
  }, STALL_MS);
}
