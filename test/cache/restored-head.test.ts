/** Of a rotten head that can be made again from its predecessor nothing is missing: the rules behind it stay what they were. */
import { appendFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readDamagedHead } from '../../src/cache/loading.ts';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { FileSystem } from '../../src/cache/ports.ts';
import { Batch, encodeHeader } from '../../src/cache/record.ts';
import { repairQueue } from '../../src/cache/repair.ts';
import type { QueueManager } from '../../src/index.ts';
import { all } from '../support/examine.ts';
import { openManager, Q, rotate, Specimen, type RecordAt } from '../support/specimen.ts';

let specimen: Specimen;

beforeEach(() => {
  specimen = new Specimen();
});

afterEach(() => specimen.dispose());

async function dataIn(manager: QueueManager): Promise<unknown[]> {
  return (await all(manager)).map(({ data }) => data);
}

/** A message that stands in the newest head, and where. */
async function carriedMessage(
  manager: QueueManager,
): Promise<{ uuid: string; file: string; carried: RecordAt }> {
  await manager.createQueue(Q);
  const { uuid } = await manager.addMessage(Q, { data: 'old', alias: 'a' });
  for (;;) {
    await rotate(manager, specimen);
    const file = specimen.segments().at(-1)!;
    const carried = specimen.records(file).find(({ header }) => header.op === 'carry');
    if (carried) return { uuid, file, carried };
  }
}

// Seed 500017. Behind a damaged head all that had been refused counted, so that clients who knew of five messages were told that
// there was no room for a seventh.
describe.each(['head', 'segment'])('where the record %s of a head has rotted', (op) => {
  let file: string;

  beforeEach(async () => {
    // Under this, who only adds leaves no word of itself that a repair would have to wait for.
    const manager = await openManager(specimen.root, { durability: 'always' });
    await manager.createQueue(Q, { uniqueAlias: true, maxMessages: 3 });
    await manager.addMessage(Q, { data: 1, alias: 'a' });
    await rotate(manager, specimen);
    expect(await manager.addMessage(Q, { data: 'refused', alias: 'a' })).toMatchObject({ duplicate: true });
    await manager.addMessages(Q, [{ data: 2 }, { data: 3 }]);
    await expect(manager.addMessage(Q, { data: 'too many' })).rejects.toMatchObject({ code: 'QUEUE_FULL' });
    await manager.close();
    file = specimen.segments().at(-1)!;
    specimen.flip(file, specimen.records(file).find(({ header }) => header.op === op)!.end - 2);
  });

  test('what was refused before stays so', async () => {
    const manager = await openManager(specimen.root);
    expect(await dataIn(manager)).toEqual([1, 2, 3]);
    expect(await manager.addMessage(Q, { data: 'refused', alias: 'a' })).toMatchObject({ duplicate: true });
    // Damage makes the first who writes begin a new segment.
    expect(specimen.segments().at(-1)).not.toBe(file);
    expect(await dataIn(manager)).toEqual([1, 2, 3]);
    await manager.close();
  });

  test('a repair brings nothing back', async () => {
    expect(await repairQueue(specimen.folder, { keepOutcomes: 50 })).toMatchObject({
      sound: true,
      messages: 3,
    });
    const manager = await openManager(specimen.root);
    expect(await dataIn(manager)).toEqual([1, 2, 3]);
    await manager.close();
  });
});

test('of two processes that have updated a message, neither is forgotten when the head that had carried it rots', async () => {
  const first = await openManager(specimen.root);
  const { uuid, file, carried } = await carriedMessage(first);
  // The other does not see what the first writes before it writes itself.
  let end = Infinity;
  const fs: FileSystem = {
    ...nodePorts.fs,
    stat(fd) {
      const stat = nodePorts.fs.stat(fd);
      return { ...stat, size: Math.min(stat.size, end) };
    },
    write(fd, bytes, offset, length, at) {
      end = Infinity;
      return nodePorts.fs.write(fd, bytes, offset, length, at);
    },
  };
  const second = await openManager(specimen.root, { ports: { ...nodePorts, fs } });
  await second.queueStatus(Q);
  end = statSync(specimen.path(file)).size;
  await first.updateMessage(Q, uuid, { alias: 'b' });
  await second.updateMessage(Q, uuid, { data: 'new' });
  await first.close();
  await second.close();
  const updates = specimen.records(file).filter(({ header }) => header.op === 'update');
  // The second has written twice: what came too late, and that again.
  expect(updates).toHaveLength(3);
  expect(updates[1]!.header['at']).toEqual(updates[0]!.header['at']);
  specimen.flip(file, carried.end - 2);
  const manager = await openManager(specimen.root);
  expect(await manager.findMessage(Q, { uuid })).toMatchObject({ alias: 'b', data: 'new' });
  await manager.close();
});

// Seed 6009478: then nobody knew any more what had been refused.
test.each([
  ['a line that a death has cut short', '["abc\n', true],
  ['a line of which nobody knows what it was', `${'x'.repeat(200)}]\n`, false],
])('whether all that it said is known, with %s behind it', async (_what, line, isKnown) => {
  const manager = await openManager(specimen.root);
  await manager.createQueue(Q);
  await manager.close();
  const [file] = specimen.segments();
  const whole = readFileSync(specimen.path(file!));
  const end = specimen.records(file!).find(({ header }) => header.op === 'ready')!.end + 1;
  writeFileSync(
    specimen.path(file!),
    Buffer.concat([whole.subarray(0, end), Buffer.from(line), whole.subarray(end)]),
  );
  const fd = nodePorts.fs.open(specimen.path(file!), 'read');
  expect(readDamagedHead(nodePorts.fs, fd)).toMatchObject({ isEndLegible: isKnown });
  nodePorts.fs.close(fd);
});

// Seed 7047. Whoever had made the head again took the content to stand where it had been carried from, and the update for one in time.
test('an update that came too late for all who have read a head does so for who meets it rotten', async () => {
  const before = await openManager(specimen.root);
  const { uuid, file, carried } = await carriedMessage(before);
  const { p, i } = carried.header as unknown as { p: [number, number]; i: number };
  const late = new Batch();
  const writer = { w: 'ab'.repeat(8), n: 1, t: i };
  late.add(encodeHeader({ op: 'update', p, at: p, i, u: uuid, a: 'a', ...writer }), '"late"');
  appendFileSync(specimen.path(file), late.buffer.subarray(0, late.length));
  expect(await dataIn(before)).toEqual(['old']);
  specimen.flip(file, specimen.records(file)[0]!.end - 2);
  const manager = await openManager(specimen.root);
  expect(await dataIn(manager)).toEqual(['old']);
  await manager.close();
  await before.close();
});

// Seeds 1611 and 1746. To the one the content stood in the head, to the other still where it had been carried from, and in the next segment
// each took the other's updates for late ones.
describe('of a process that has read a head and one that has met it rotten', () => {
  let before: QueueManager;
  let uuid: string;

  beforeEach(async () => {
    before = await openManager(specimen.root);
    const found = await carriedMessage(before);
    ({ uuid } = found);
    expect(await dataIn(before)).toEqual(['old']);
    // Not what it had carried, which would be lost to who goes on with that.
    specimen.flip(found.file, specimen.records(found.file)[0]!.end - 2);
  });

  afterEach(() => before.close());

  async function expectAgreement(other: QueueManager): Promise<void> {
    for (const manager of [other, before]) expect(await dataIn(manager)).toEqual(['new']);
    await before.updateMessage(Q, uuid, { data: 'newer' });
    for (const manager of [other, before]) expect(await dataIn(manager)).toEqual(['newer']);
  }

  /** Who knows of damage keeps the segment. */
  async function expectDamaged(manager: QueueManager): Promise<void> {
    expect((await manager.queueStatus(Q)).damaged).toBeGreaterThan(0);
  }

  test('the second makes the next segment, and both see what is updated there', async () => {
    const other = await openManager(specimen.root);
    await other.updateMessage(Q, uuid, { data: 'new' });
    await expectAgreement(other);
    await expectDamaged(before);
    await other.close();
  });

  test('the first makes the next segment, and both see what is updated there', async () => {
    // It may not give a successor the mode of its predecessor, and so leaves sealing to others.
    const fs: FileSystem = {
      ...nodePorts.fs,
      setMode() {
        throw Object.assign(new Error('not permitted'), { code: 'EPERM' });
      },
    };
    const other = await openManager(specimen.root, { ports: { ...nodePorts, fs } });
    expect(await dataIn(other)).toEqual(['old']);
    await rotate(before, specimen);
    await other.updateMessage(Q, uuid, { data: 'new' });
    await expectAgreement(other);
    await expectDamaged(other);
    await other.close();
  });
});
