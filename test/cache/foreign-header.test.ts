/**
 * Records with a right checksum and a wrong header, as a program writes them that does not know the format: they count as
 * rot, wherever they stand, and stop nobody.
 */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decode, isOwn } from '../../src/cache/header.ts';
import { nodePorts } from '../../src/cache/node-ports.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { Batch, lineChecksum, payloadText, scanLines } from '../../src/cache/record.ts';
import { repairQueue } from '../../src/cache/repair.ts';
import { QueueState } from '../../src/cache/state.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import type { Json } from '../../src/index.ts';
import { all, damaged, examine, expectTypedError, truthOf, type Truth } from '../support/examine.ts';
import {
  everyHeadRecord,
  everyOperation,
  HEAD_RECORDS,
  openManager,
  Q,
  rotate,
  Specimen,
} from '../support/specimen.ts';

const NOBODY = '01a00000-0000-7000-8000-00000000dead';
const NEVER: unknown = undefined;
/** In place of what should be there. */
const WRONG = [
  NEVER,
  null,
  'x',
  '',
  -1,
  1.5,
  1e300,
  true,
  {},
  [],
  [null],
  [[null]],
  [[1, null]],
  [[1, 'x']],
  [1, [2]],
];

interface Sample {
  header: Record<string, unknown>;
  payload: string | undefined;
}

/** One record of each operation. */
function samplesOf(specimen: Specimen): Map<string, Sample> {
  const samples = new Map<string, Sample>();
  for (const file of specimen.segments()) {
    const bytes = readFileSync(specimen.path(file));
    scanLines(bytes, 0, bytes.length, {
      record(buffer, start, end, headerLength) {
        const decoded = decode(buffer, start, end, headerLength);
        const header = decoded!.header as unknown as Record<string, unknown>;
        const payload = payloadText(buffer, start, end, headerLength);
        samples.set(header['op'] as string, { header, payload: payload === '' ? undefined : payload });
      },
      bad() {},
    });
  }
  return samples;
}

/** The record with one thing in it put wrong, in every way. */
function* spoilt({ header, payload }: Sample): Generator<Sample> {
  for (const key of Object.keys(header)) {
    if (key === 'op') continue;
    for (const value of WRONG) yield { header: { ...header, [key]: value }, payload };
  }
  for (const other of [undefined, 'null', '[]', '{}', '5', '"x"', '{"at":1}', '[null]', '{', 'nonsense'])
    yield { header, payload: other };
}

/** What one write of it puts into a file; the header as it is, JSON or not. */
function lineOf(header: string, payload?: string): Buffer {
  const batch = new Batch();
  batch.add(header, payload);
  return Buffer.from(batch.buffer.subarray(0, batch.length));
}

let sound: Specimen;
let truth: Truth;
let headed: Specimen;
let samples: Map<string, Sample>;
let headSamples: Map<string, Sample>;

beforeAll(async () => {
  sound = new Specimen();
  await everyOperation(sound.root);
  truth = await truthOf(sound);
  samples = samplesOf(sound);
  headed = new Specimen();
  await everyHeadRecord(headed);
  headSamples = samplesOf(headed);
});

afterAll(() => {
  sound.dispose();
  headed.dispose();
});

/** The state that the records of the specimen's newest segment lead to. */
function stateOf(specimen: Specimen): QueueState {
  const state = new QueueState(1, 50);
  const bytes = readFileSync(specimen.path(specimen.segments().at(-1)!));
  scanLines(bytes, 0, bytes.length, {
    record(buffer, start, end, headerLength) {
      const { header, payload } = decode(buffer, start, end, headerLength)!;
      if (isOwn(header))
        state.apply(header, start, end - start, headerLength, lineChecksum(buffer, start), () => payload);
    },
    bad() {},
  });
  return state;
}

describe('what is let through of a spoilt record', () => {
  const OPERATIONS =
    'add update set claim renew done fail release lapse cancel remove retry purge pause resume attr processed writer boot create seal';
  test.each(OPERATIONS.split(' '))('%s is something that the state can bear', (op) => {
    const sample = samples.get(op)!;
    let rejected = 0;
    for (const { header, payload } of spoilt(sample)) {
      const bytes = lineOf(JSON.stringify(header), payload);
      const end = bytes.length - 1;
      const headerLength = JSON.stringify(header).length;
      const decoded = decode(bytes, 1, end, headerLength);
      if (!decoded || !isOwn(decoded.header)) {
        rejected++;
        continue;
      }
      const state = stateOf(sound);
      const own = decoded.header;
      expect(() => {
        state.apply(own, 1e6, end - 1, headerLength, lineChecksum(bytes, 1), () => decoded.payload);
        state.recount();
      }, JSON.stringify(header)).not.toThrow();
      for (const [, { life }] of state.touched)
        for (const { at } of life.errors) expect(typeof at).toBe('string');
    }
    expect(rejected).toBeGreaterThan(10);
  });
});

const NONSENSE = [
  '{}',
  '[]',
  '[1]',
  'null',
  '5',
  '"x"',
  '{"op":5}',
  '{"op":"add"}',
  '{"op":null,"n":1}',
  '{ "op"',
  'nonsense',
];

/** Everything that can stand in a file without being a record, in one write each. */
function nonsense(): Buffer {
  const spoiltAdds = [...spoilt(samples.get('add')!)].filter(
    ({ header }) => header['u'] === 'x' || header['n'] === null,
  );
  const spoiltSettles = ['done', 'claim', 'seal', 'next', 'create', 'boot', 'fail', 'update', 'attr'].map(
    (op) => ({ op, ctl: 1 }),
  );
  const inHeads = HEAD_RECORDS.map((op) => headSamples.get(op)!);
  return Buffer.concat([
    ...NONSENSE.map((header) => lineOf(header)),
    ...NONSENSE.map((header) => lineOf(header, '{"data":1}')),
    ...spoiltAdds.map(({ header }) => lineOf(JSON.stringify({ ...header, w: 5 }), '1')),
    ...spoiltSettles.map((header) => lineOf(JSON.stringify(header))),
    ...inHeads.map(({ header, payload }) => lineOf(JSON.stringify(header), payload)),
  ]);
}

async function expectDamaged(specimen: Specimen): Promise<void> {
  const manager = await openManager(specimen.root);
  expect((await manager.queueStatus(Q)).damaged).toBeGreaterThan(30);
  await manager.close();
}

test('in the segment in use they are passed over and reported, by every kind of handle', () =>
  damaged(sound, async (copy) => {
    const path = copy.path(copy.segments().at(-1)!);
    const producer = await openManager(copy.root);
    await producer.createQueue(Q);
    appendFileSync(path, nonsense());
    // It knows only what concerns adds.
    const { uuid } = await producer.addMessage(Q, { data: 'behind' });
    expect(await producer.findMessage(Q, { uuid })).toMatchObject({ data: 'behind' });
    await producer.removeMessage(Q, uuid);
    await producer.close();
    await expectDamaged(copy);
    await examine(copy, truth, { unread: true });
  }));

test('in an older segment they cost nothing, whether or not there is an index', () =>
  damaged(sound, async (copy) => {
    appendFileSync(copy.path(copy.segments().at(-1)!), nonsense());
    const manager = await openManager(copy.root, { segmentBytes: 1000 });
    await rotate(manager, copy);
    await rotate(manager, copy);
    await manager.close();
    await expectDamaged(copy);
    await examine(copy, truth, { unread: true });
  }));

test('they are listed by verify, and ended by repair', () =>
  damaged(sound, async (copy) => {
    const file = copy.segments().at(-1)!;
    appendFileSync(copy.path(file), nonsense());
    const { damage, sound: isSound } = await verifyQueue(copy.folder);
    expect(isSound).toBe(false);
    expect(damage.length).toBeGreaterThan(30);
    for (const each of damage) expect(each).toMatchObject({ file, kind: 'rot' });
    expect(damage.filter(({ detail }) => detail.includes('not written by Coda')).length).toBeGreaterThan(20);
    const ports: Ports = { ...nodePorts, processes: { ...nodePorts.processes, isKnownDead: () => true } };
    expect(await repairQueue(copy.folder, { keepOutcomes: 50, ports })).toMatchObject({
      outcome: 'repaired',
      sound: true,
    });
    const manager = await openManager(copy.root);
    expect(new Map((await all(manager)).map((message) => [message.uuid, message]))).toEqual(truth.messages);
    await manager.close();
  }));

test('what a sound record of another hand holds beyond its operation means nothing', () =>
  damaged(sound, async (copy) => {
    const keys = new Set([...samples.values()].flatMap(({ header }) => Object.keys(header)));
    const named = 'update set claim renew done fail release lapse cancel remove retry'.split(' ');
    const extended = named.map((op) => {
      const { header, payload } = samples.get(op)!;
      const foreign = Object.fromEntries([...keys].map((key) => [key, 0]));
      return lineOf(JSON.stringify({ ...foreign, ...header, w: 'ffffffffffffffff' }), payload);
    });
    appendFileSync(copy.path(copy.segments().at(-1)!), Buffer.concat(extended));
    const manager = await openManager(copy.root);
    for (const uuid of truth.messages.keys()) await manager.inspectMessage(Q, { uuid });
    await expect(manager.inspectMessage(Q, { uuid: NOBODY })).resolves.toBeUndefined();
    await manager.close();
  }));

test('a message that is no JSON is set aside as failed, and the next one handed out', () =>
  damaged(sound, async (copy) => {
    const { header } = samples.get('add')!;
    const uuid = '01a00000-0000-7000-8000-00000000beef';
    const plain = { op: 'add', u: uuid, w: header['w'], n: 10_000, t: header['t'] };
    appendFileSync(copy.path(copy.segments().at(-1)!), lineOf(JSON.stringify(plain), 'no JSON'));
    const manager = await openManager(copy.root);
    for (let claims = await manager.claimMessages(Q, { limit: 5 }); claims.length > 0;) {
      for (const claim of claims) {
        expect(claim.uuid).not.toBe(uuid);
        await manager.completeMessage(Q, claim);
      }
      claims = await manager.claimMessages(Q, { limit: 5 });
    }
    expect((await manager.queueStatus(Q)).counts).toMatchObject({ ready: 0 });
    expect(manager.getLastError()).toMatchObject({ code: 'JOURNAL_CORRUPT' });
    await manager.close();
    const report = await verifyQueue(copy.folder);
    expect(report.damage).toContainEqual(expect.objectContaining({ kind: 'rot', uuid }));
  }));

test('an operation that nobody knows is refused as newer, and taken out by repair', () =>
  damaged(sound, async (copy) => {
    const { header } = samples.get('pause')!;
    appendFileSync(
      copy.path(copy.segments().at(-1)!),
      lineOf(JSON.stringify({ ...header, op: 'frobnicate', n: 9999 })),
    );
    const manager = await openManager(copy.root);
    await expect(all(manager)).rejects.toMatchObject({ code: 'JOURNAL_NEWER' });
    await manager.close();
    await expect(verifyQueue(copy.folder)).rejects.toMatchObject({ code: 'JOURNAL_NEWER' });
    const ports: Ports = { ...nodePorts, processes: { ...nodePorts.processes, isKnownDead: () => true } };
    expect(await repairQueue(copy.folder, { keepOutcomes: 50, ports })).toMatchObject({
      outcome: 'repaired',
      sound: true,
      lost: [],
    });
    const after = await openManager(copy.root);
    expect(new Map((await all(after)).map((message) => [message.uuid, message]))).toEqual(truth.messages);
    await after.close();
  }));

describe.each(HEAD_RECORDS)('a spoilt record %s in the newest head', (op) => {
  test('never makes more than a typed error', async () => {
    const file = headed.segments().at(-1)!;
    const { start, end } = headed.records(file).find(({ header }) => header.op === op)!;
    const bytes = readFileSync(headed.path(file));
    const text = bytes.toString('utf8', start, end);
    const [, header, payload] = JSON.parse(text) as [string, Record<string, unknown>, Json | undefined];
    const seen = new Set<string>();
    const sample = { header, payload: payload === undefined ? undefined : JSON.stringify(payload) };
    const variants = [...spoilt(sample)];
    // Several kinds of nonsense look alike to the reader: some are enough.
    const step = Math.ceil(variants.length / 40);
    for (const spoiled of variants.filter((_, i) => i % step === 0)) {
      const line = lineOf(JSON.stringify(spoiled.header).replaceAll(/[^ -~]/g, '?'), spoiled.payload);
      if (seen.has(line.toString('latin1'))) continue;
      seen.add(line.toString('latin1'));
      await damaged(headed, async (copy) => {
        writeFileSync(
          copy.path(file),
          Buffer.concat([bytes.subarray(0, start), line, bytes.subarray(end + 1)]),
        );
        await expectTyped(copy);
      });
    }
    expect(seen.size).toBeGreaterThan(5);
  });
});

async function expectTyped(specimen: Specimen): Promise<void> {
  const manager = await openManager(specimen.root);
  const listed = await all(manager).catch((error: unknown) => error);
  if (!Array.isArray(listed)) expectTypedError(listed);
  await manager.queueStatus(Q).catch(expectTypedError);
  await manager.close();
}
