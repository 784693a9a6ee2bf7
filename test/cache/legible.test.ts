/** What a damaged line still says: what stands in its header, whatever its payload looks like. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { planRepair } from '../../src/cache/repair.ts';
import { legible } from '../../src/cache/legible.ts';
import type { Operation } from '../../src/cache/operations.ts';
import { asciiJson, Batch, encodeHeader } from '../../src/cache/record.ts';
import { verifyQueue } from '../../src/cache/verify.ts';
import type { Json } from '../../src/index.ts';
import { specimenTest } from '../support/on-specimen.ts';
import { OPTIONS } from '../support/repairing.ts';
import { openManager, Q } from '../support/specimen.ts';

const OWN = '01a0c450-6c02-7000-8000-2e65bbd84e32';
const OTHER = '01b00000-0001-7000-8000-aabbccddeeff';
const WRITTEN = { w: '5471f0a8db0546f7', n: 2, t: 1_790_000_000_000 };
/** What programs may well put into messages. */
const PAYLOADS: Json[] = [
  { op: 'remove', u: OTHER, p: [1, 100], w: 'another' },
  { text: 'a } brace and a " quote', before: '}', op: 'update', u: OTHER },
  [{ op: 'purge' }, { op: 'done', u: [OTHER], c: [[1, 100]] }, { p: [1, 2], u: OTHER }],
  ['0123456789abcdef', { op: 'add', u: OTHER }],
];

function lineOf(header: Operation, payload?: Json): Buffer {
  const batch = new Batch();
  const text = payload === undefined ? undefined : asciiJson(payload);
  const start = batch.add(encodeHeader({ ...header, ...WRITTEN }), text);
  return Buffer.from(batch.buffer.subarray(start, batch.length - 1));
}

/** The line with each bit in turn, each byte gone, and what is left of it on either side of a newline that was put in. */
function* wounded(line: Buffer): Generator<Buffer> {
  for (let at = 0; at < line.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const other = Buffer.from(line);
      other[at]! ^= 1 << bit;
      yield other;
    }
    yield Buffer.concat([line.subarray(0, at), line.subarray(at + 1)]);
    yield line.subarray(0, at);
    yield line.subarray(at);
    for (const length of [8, 40, 200])
      yield Buffer.from(line).fill(0, at, Math.min(at + length, line.length));
  }
}

describe.each(PAYLOADS.map((payload) => ({ payload })))('with $payload', ({ payload }) => {
  test('an add is never taken for what its payload looks like', () => {
    const line = lineOf({ op: 'add', u: OWN, a: '{"u":"}', by: 'me' }, payload);
    const wrong = [...wounded(line)].filter((each) => {
      const { op, uuid, change, writer } = legible(each);
      const isOther = uuid === OTHER || writer === 'another' || change !== undefined;
      return isOther || (op !== undefined && op !== 'add');
    });
    expect(wrong.map(String)).toEqual([]);
  });

  test('nor is an update, which is told by its uuid or its place', () => {
    const line = lineOf({ op: 'update', p: [3, 700], at: [3, 900], i: 5, u: OWN }, payload);
    const wrong = [...wounded(line)].filter((each) => {
      const { op, uuid, change } = legible(each);
      const isOther = [uuid, ...(change?.uuids ?? [])].includes(OTHER);
      const isElsewhere = change?.places.some(([segment, offset]) => segment === 1 && offset !== 700);
      return isOther || isElsewhere || (op !== undefined && op !== 'update');
    });
    expect(wrong.map(String)).toEqual([]);
  });
});

test('a damaged bit leaves an add legible, unless it is in the very uuid', () => {
  const payload = PAYLOADS[0];
  const line = lineOf({ op: 'add', u: OWN }, payload);
  const from = line.indexOf('"u":"');
  const to = from + `"u":"${OWN}"`.length;
  for (let at = 0; at < line.length; at++) {
    if (at >= from && at < to) continue;
    for (let bit = 0; bit < 8; bit++) {
      const other = Buffer.from(line);
      other[at]! ^= 1 << bit;
      expect(legible(other), `bit ${bit} of byte ${at}`).toMatchObject({ isAdd: true, uuid: OWN });
    }
  }
});

test('who completed messages is legible up to the last of very many', () => {
  const uuids = Array.from({ length: 500 }, (_, i) => OTHER.slice(0, -4) + `${i + 1000}`);
  const line = lineOf({ op: 'done', k: 'w.1', c: [[1, ...uuids.keys()]], u: uuids, a: uuids.map(() => '') });
  line[2]! ^= 1;
  expect(legible(line).change?.uuids).toEqual(uuids);
});

specimenTest(
  'a message lost to one bit is told by its uuid, though it holds an operation',
  async ({ specimen }) => {
    const manager = await openManager(specimen.root);
    await manager.createQueue(Q);
    const [first] = await manager.addMessages(Q, [{ data: 'before' }]);
    const data = { op: 'remove', u: first!.uuid };
    const [lost] = await manager.addMessages(Q, [{ data }, { data: 'behind' }]);
    await manager.close();
    const file = specimen.segments()[0]!;
    const add = specimen.records(file).find(({ header }) => header['u'] === lost!.uuid)!;
    const line = readFileSync(specimen.path(file)).subarray(add.start, add.end);
    for (const at of ['{"op', 'op":"add', '"add'].map((text) => line.indexOf(text))) {
      specimen.flip(file, add.start + at, 0x40);
      const { damage } = await verifyQueue(specimen.folder);
      expect(damage).toMatchObject([{ kind: 'rot', uuid: lost!.uuid }]);
      const report = await planRepair(specimen.folder, OPTIONS);
      expect(report).toMatchObject({ messages: 2, lost: [{ uuid: lost!.uuid }], unnamed: 0, doubtful: 0 });
      specimen.flip(file, add.start + at, 0x40);
    }
  },
);
