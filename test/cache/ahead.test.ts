/** What is done before anybody has to wait for it: flushes, and the event loop's turn. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nodePorts } from '../../src/cache/node-ports.ts';
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
