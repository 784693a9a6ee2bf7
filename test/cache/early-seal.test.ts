/** Seals that come early, for the space that goes with them: where a head is large, they may take more than they give back. */
import { beforeEach, expect, test } from 'vitest';
import type { Backend, NewMessage, Queue } from '../../src/backend.ts';
import { openOn } from '../support/on-machine.ts';
import { Seeded } from '../support/seeded.ts';
import { errno } from '../support/sim-fs.ts';
import { SimMachine } from '../support/sim-machine.ts';

const Q = 'jobs';
const FOLDER = `/srv/${Q}`;
const SEGMENT_BYTES = 100_000;
/** Of a failed message, in a head. */
const ERROR = { at: '2026-01-01T00:00:00.000Z', attempt: 1, name: 'Error', message: 'x'.repeat(5000) };
/** Messages that are claimed and completed with 1 MiB, about, by ones. */
const RESERVED = 2500;

let machine: SimMachine;
let queue: Queue;

function open(): Promise<Backend> {
  return openOn(machine, { durability: 'os', segmentBytes: SEGMENT_BYTES });
}

beforeEach(async () => {
  machine = new SimMachine(new Seeded(1));
  const backend = await open();
  await backend.create(Q, {});
  queue = await backend.open(Q);
});

function messages(count: number, bytes: number): NewMessage[] {
  const message = { json: `"${'x'.repeat(bytes)}"`, alias: '', retries: 0, disabled: false, username: '' };
  return Array.from({ length: count }, () => message);
}

function segments(): number[] {
  const names = machine.fs.list(FOLDER).filter((name) => name.endsWith('.journal'));
  return names.map((name) => Number.parseInt(name)).sort((a, b) => a - b);
}

/** So many messages have failed; too much for their contents to move into a head. */
async function failed(count: number): Promise<void> {
  await queue.add(messages(count, 1500));
  for (const claim of await queue.claim(count, 60_000))
    await queue.settle(claim, { type: 'fail', error: ERROR });
}

/** Adds until the segment is full; how many were added, all of them in it. */
async function fillSegment(bytes: number): Promise<number> {
  const newest = segments().at(-1);
  let count = 0;
  for (; segments().at(-1) === newest; count += 5) {
    await queue.add(messages(5, bytes));
    await queue.status();
  }
  return count;
}

/** How many are completed until one is refused, or there is none. */
async function consume(from: Queue, most = Infinity): Promise<number> {
  for (let done = 0; ; done++) {
    if (done === most) return done;
    try {
      const [claim] = await from.claim(1, 60_000);
      if (!claim) return done;
      await from.settle(claim, { type: 'complete' });
    } catch (error) {
      expect(error).toMatchObject({ code: 'STORAGE_FULL' });
      return done;
    }
  }
}

/** Nothing is free any more but the reserve. */
function fillDisk(): void {
  machine.fs.capacity = 1e9;
  machine.fs.capacity = 1e9 - machine.fs.space('/srv').free;
}

/** With segments that only hold what has ended, which the present head names or does not; then messages that wait. */
async function withSpent(isNamed: boolean): Promise<void> {
  await failed(130);
  const ended = (await fillSegment(20_000)) + (await fillSegment(20_000));
  if (!isNamed) await consume(queue, ended);
  await fillSegment(20_000);
  await queue.add(messages(4000, 100));
  if (isNamed) await consume(queue, ended);
}

test('is not made when a second one would be needed, and there is no room for both heads', async () => {
  await withSpent(true);
  fillDisk();
  const before = segments();
  expect(await consume(queue)).toBeGreaterThan(RESERVED);
  expect(segments()).toEqual(before);
});

test('is not made for its size either', async () => {
  await failed(110);
  await fillSegment(20_000);
  await queue.add([...messages(4000, 100), ...messages(40, 20_000)]);
  await consume(queue, 150);
  fillDisk();
  const before = segments();
  expect(await consume(queue)).toBeGreaterThan(RESERVED);
  expect(segments()).toEqual(before);
});

test.each(['the one that is at work', 'one that has just opened the queue'])(
  'is made by %s when a file goes with it at once',
  async (which) => {
    await withSpent(false);
    const consumer = which.includes('opened') ? await (await open()).open(Q) : queue;
    await consumer.status();
    fillDisk();
    const [, spent] = segments();
    await consume(consumer, 10);
    expect(segments()).not.toContain(spent);
  },
);

test('is made while there is room for two heads, so that what consumers write goes again and again', async () => {
  await failed(75);
  await consume(queue, await fillSegment(20_000));
  // When the third begins, nothing is spent but what will be written to it.
  for (let i = 0; i < 2; i++) await fillSegment(250);
  fillDisk();
  expect(await consume(queue)).toBeGreaterThan(2 * RESERVED);
  expect(await queue.status()).toMatchObject({ counts: { ready: 0, failed: 75 } });
});

test('is not made again and again for a file that cannot be deleted', async () => {
  await queue.add(messages(10, 20_000));
  await consume(queue);
  const [stuck] = segments();
  machine.fs.onOperation = (operation, path) => {
    if (operation === 'remove' && path.endsWith(`${stuck}.journal`)) throw errno('EPERM', path);
  };
  expect(await queue.wait(60_000, undefined)).toBe(false);
  expect(segments()[0]).toBe(stuck);
  expect(segments().at(-1)).toBeLessThan(stuck! + 6);
});

test('that was put off puts off none that damage asks for', async () => {
  await withSpent(true);
  fillDisk();
  await consume(queue, 300);
  const before = segments().at(-1)!;
  const { fs } = machine;
  const fd = fs.open(`${FOLDER}/${String(before).padStart(8, '0')}.journal`, 'append');
  const rot = Buffer.from('\nno record, whatever it is\n');
  fs.write(fd, rot, 0, rot.length);
  fs.close(fd);
  await consume(queue, 1);
  await consume(queue, 1);
  expect(segments().at(-1)).toBe(before + 1);
});
