/** A queue that was created anew, and the record of that has rotted: nobody takes it for absent, nor lets a head say so. */
import { appendFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { segmentName } from '../../src/cache/files.ts';
import { writeHead } from '../../src/cache/head.ts';
import { nodePorts } from '../../src/cache/node-ports.ts';
import { Batch, encodeHeader, lineChecksum } from '../../src/cache/record.ts';
import { QueueState, type Seal } from '../../src/cache/state.ts';
import type { QueueManager } from '../../src/index.ts';
import { all } from '../support/examine.ts';
import { expectWhole, filesOf, first, messagesOf, repair } from '../support/repairing.ts';
import { openManager, Q, rotate, Specimen } from '../support/specimen.ts';

let specimen: Specimen;

beforeEach(async () => {
  specimen = new Specimen();
  // Under this, who only adds leaves no word of itself that a repair would have to wait for.
  const manager = await openManager(specimen.root, { durability: 'always' });
  await manager.createQueue(Q);
  await manager.destroyQueue(Q);
  await manager.createQueue(Q);
  for (let n = 0; n < 5; n++) await manager.addMessage(Q, { data: n });
  await rotate(manager, specimen);
  for (let n = 5; n < 8; n++) await manager.addMessage(Q, { data: n });
  await manager.close();
  const [before] = specimen.segments() as [string, string];
  specimen.flip(before, first(specimen, before, 'create').start + 60);
});

afterEach(() => specimen.dispose());

const USES: [string, (manager: QueueManager) => Promise<unknown>][] = [
  ['its status', (manager) => manager.queueStatus(Q)],
  ['a search', (manager) => all(manager)],
  ['a claim', (manager) => manager.claimMessages(Q, { limit: 9 })],
  ['its end', (manager) => manager.destroyQueue(Q)],
];

async function expectRefused(use: (manager: QueueManager) => Promise<unknown>): Promise<void> {
  const before = filesOf(specimen);
  const manager = await openManager(specimen.root);
  // The second time, too: a handle that has been refused once may not go on with what it has read.
  for (let i = 0; i < 2; i++)
    await expect(use(manager)).rejects.toMatchObject({
      code: 'JOURNAL_CORRUPT',
      message: expect.stringMatching(/where the queue may have been created/) as string,
    });
  await manager.close();
  expect(filesOf(specimen)).toEqual(before);
}

describe.each(['head', 'segment'])('where a record %s of the next head has rotted as well', (op) => {
  beforeEach(() => {
    const file = specimen.segments().at(-1)!;
    specimen.flip(file, first(specimen, file, op).start + 50);
  });

  test.each(USES)('%s is refused, and nothing written', (_, use) => expectRefused(use));

  test('a repair keeps all messages, though others have looked at it', async () => {
    const manager = await openManager(specimen.root);
    for (const [, use] of USES) await expect(use(manager)).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT' });
    await manager.close();
    await expectAllKept();
  });
});

/** By a repair. */
async function expectAllKept(): Promise<void> {
  const report = await repair(specimen);
  expect(report).toMatchObject({ outcome: 'repaired', exists: true, sound: true, lost: [] });
  const found = [...(await messagesOf(specimen)).values()].map(({ data }) => data);
  expect(found).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  await expectWhole(specimen);
}

test.each(['head', 'segment'])(
  'a repair does not believe one who could not read the %s, and says that there is none',
  async (op) => {
    const file = specimen.segments().at(-1)!;
    const { header } = first(specimen, file, 'head');
    const segment = header['segment'] as number;
    const { size } = statSync(specimen.path(file));
    const records = new Batch();
    const own = { w: '00000000000000a1', t: 1 };
    const at = size + records.add(encodeHeader({ op: 'seal', ctl: 1, why: 'damage', ...own, n: 1 }));
    const seal: Seal = { offset: at, checksum: lineChecksum(records.buffer, at - size), why: 'damage' };
    const crc = seal.checksum;
    records.add(encodeHeader({ op: 'next', ctl: 1, r: '0123456789abcdef', at, crc, ...own, n: 2 }));
    appendFileSync(specimen.path(file), records.buffer.subarray(0, records.length));
    const head = new Batch();
    const state = new QueueState(segment, 0);
    const source = { state, seal, load: undefined, gone: new Set<string>(), outcomes: false, now: 1 };
    await writeHead(head, segment + 1, source, nodePorts.clock);
    writeFileSync(specimen.path(segmentName(segment + 1)), head.buffer.subarray(0, head.length));
    // As it was when such heads were still made.
    specimen.flip(file, first(specimen, file, op).start + 50);
    await expectAllKept();
  },
);

test('who only adds does not notice, but neither seals nor makes a head', async () => {
  const files = specimen.segments();
  const file = files.at(-1)!;
  specimen.flip(file, first(specimen, file, 'segment').start + 50);
  const manager = await openManager(specimen.root, { segmentBytes: 100_000, durability: 'always' });
  const added: string[] = [];
  const refused = async (): Promise<void> => {
    while (added.length < 1000) added.push((await manager.addMessage(Q, { data: 'x'.repeat(10_000) })).uuid);
  };
  await expect(refused()).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT' });
  await manager.close();
  expect(specimen.segments()).toEqual(files);
  expect(specimen.records(file).some(({ header }) => header.op === 'seal')).toBe(false);
  expect(added.length).toBeGreaterThan(1);
  await repair(specimen);
  expect([...(await messagesOf(specimen)).keys()].slice(8)).toEqual(added);
});

test('where the segment is sealed and has no successor yet, none is made', async () => {
  const [before, next] = specimen.segments() as [string, string];
  rmSync(specimen.path(next));
  truncateSync(specimen.path(before), first(specimen, before, 'next').start);
  await expectRefused((manager) => manager.queueStatus(Q));
});

test('where only the head has rotted that says there is none, a queue can be created', async () => {
  const manager = await openManager(specimen.root, { durability: 'always' });
  await manager.destroyQueue(Q);
  await manager.close();
  const file = specimen.segments().at(-1)!;
  specimen.flip(file, first(specimen, file, 'head').start + 50);
  const other = await openManager(specimen.root);
  expect(await other.createQueue(Q)).toBe(true);
  await other.addMessage(Q, { data: 'new' });
  expect((await all(other)).map(({ data }) => data)).toEqual(['new']);
  await other.close();
});
