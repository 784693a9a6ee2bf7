/** What is done before anybody has to wait for it: flushes, and the event loop's turn. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { QueueManager } from '../../src/queue-manager.ts';
import { openManager, Q, rotate, Specimen } from '../support/specimen.ts';

let specimen: Specimen;

beforeEach(() => {
  specimen = new Specimen();
});

afterEach(() => specimen.dispose());

test('little of a segment is left to be flushed when it is sealed, though nobody has asked for a flush', async () => {
  const files = new Map<number, string>();
  let written = 0;
  let flushed = 0;
  let leftAtSeal: number | undefined;
  const fs = {
    ...nodePorts.fs,
    open(path: string, ...rest: [how: 'read' | 'append' | 'create', mode?: number]) {
      const fd = nodePorts.fs.open(path, ...rest);
      files.set(fd, path);
      return fd;
    },
    write(...args: Parameters<typeof nodePorts.fs.write>) {
      if (files.get(args[0])?.endsWith('00000001.journal')) {
        if (Buffer.from(args[1]).includes('"op":"seal"')) leftAtSeal = written - flushed;
        written += args[3];
      }
      return nodePorts.fs.write(...args);
    },
    // A device that takes no time.
    async sync(fd: number) {
      if (files.get(fd)?.endsWith('00000001.journal')) flushed = written;
    },
  };
  const segmentBytes = 400_000;
  const ports = { ...nodePorts, fs };
  const manager = await openManager(specimen.root, { durability: 'os', segmentBytes, ports });
  await manager.createQueue(Q);
  await rotate(manager, specimen);
  await manager.close();
  expect(written).toBeGreaterThan(segmentBytes);
  // The part that makes it worth a flush, and a record of 50 kB.
  expect(leftAtSeal).toBeLessThan(segmentBytes / 8 + 60_000);
});

test('nobody waits for a device that is slow when a segment is full: it is sealed a little later', async () => {
  let isSlow = true;
  let release = (): void => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  let asked = (): void => {};
  const fs = {
    ...nodePorts.fs,
    async sync(fd: number) {
      asked();
      if (isSlow) await released;
      await nodePorts.fs.sync(fd);
    },
  };
  let later = 0;
  const clock = { ...nodePorts.clock, monotonic: () => nodePorts.clock.monotonic() + later };
  const segmentBytes = 2_000_000;
  const manager = await openManager(specimen.root, {
    durability: 'os',
    segmentBytes,
    ports: { ...nodePorts, fs, clock },
  });
  isSlow = false;
  await manager.createQueue(Q);
  isSlow = true;
  const flushing = new Promise<void>((resolve) => (asked = resolve));
  const add = async (bytes: number): Promise<void> => {
    for (let added = 0; added < bytes; added += 50_000)
      await manager.addMessage(Q, { data: 'x'.repeat(50_000) });
  };
  await add(segmentBytes / 2);
  await flushing;
  later = 20;
  await add(segmentBytes * 0.8);
  const [full, ...others] = specimen.segments();
  expect(others).toEqual([]);
  isSlow = false;
  release();
  while (specimen.segments().at(-1) === full) await manager.addMessage(Q, { data: 'one more' });
  await manager.close();
  expect(statSync(join(specimen.folder, full!)).size).toBeLessThan(segmentBytes * 1.5);
});

test('who adds and claims one after the other leaves timers their turn', async () => {
  // It turns in any case when a segment is sealed.
  const manager = await openManager(specimen.root, { durability: 'os', segmentBytes: 1e9 });
  await manager.createQueue(Q);
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const began = performance.now();
  while (performance.now() - began < 200) {
    await manager.addMessage(Q, { data: 'soon gone' });
    const [claim] = await manager.claimMessages(Q);
    await manager.completeMessage(Q, claim!);
  }
  clearInterval(timer);
  expect(turns).toBeGreaterThan(2);
  await manager.close();
});

test('who seals or opens a queue of many failed messages lets others run while the head is made and read', async () => {
  let looks = 0;
  /** The next head's file, once it has its room. */
  let temporary: number | undefined;
  let turns = 0;
  let mostTurns = 0;
  /** Bytes read without a pause: now, and at most. */
  let read = 0;
  let mostRead = 0;
  const fs = {
    ...nodePorts.fs,
    write(...args: Parameters<typeof nodePorts.fs.write>) {
      const [fd, bytes, , , at] = args;
      const isRoom = bytes.every((byte) => byte === 0);
      // The log is written to at its end, a file of one's own at a position.
      if (at !== undefined) temporary = isRoom ? fd : undefined;
      if (isRoom) turns = 0;
      return nodePorts.fs.write(...args);
    },
    read(...args: Parameters<typeof nodePorts.fs.read>) {
      const got = nodePorts.fs.read(...args);
      read += got;
      mostRead = Math.max(mostRead, read);
      return got;
    },
  };
  const clock = {
    ...nodePorts.clock,
    // Every second look finds that others have waited long enough.
    busy: () => (looks++ % 2) * 1000,
    yield() {
      if (temporary !== undefined) mostTurns = Math.max(mostTurns, ++turns);
      read = 0;
      return nodePorts.clock.yield();
    },
  };
  const ports = { ...nodePorts, fs, clock };
  const open = (): Promise<QueueManager> =>
    openManager(specimen.root, { durability: 'os', segmentBytes: 200_000, ports });
  const messages = 2000;
  const first = await open();
  await first.createQueue(Q);
  await first.addMessages(
    Q,
    Array.from({ length: messages }, () => ({ data: 'in vain', retries: 0 })),
  );
  const claims = await first.claimMessages(Q, { limit: messages });
  await Promise.all(claims.map((claim) => first.failMessage(Q, claim, new Error('the other side is gone'))));
  await rotate(first, specimen);
  expect(mostTurns).toBeGreaterThan(10);
  await first.close();

  const second = await open();
  mostRead = 0;
  expect((await second.queueStatus(Q)).counts.failed).toBe(messages);
  expect(mostRead).toBeLessThan(200_000);
  await second.close();
});
