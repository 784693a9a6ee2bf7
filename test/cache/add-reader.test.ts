/** What is read of an add from its bytes is what JSON.parse would have read, and leads to the same state; else nothing is read. */
import { describe, expect, test } from 'vitest';
import type { QueueOptions } from '../../src/backend.ts';
import { decodeOwn } from '../../src/cache/header.ts';
import type { Operation, Written } from '../../src/cache/operations.ts';
import { AddReader, UUID_LENGTH } from '../../src/cache/add-reader.ts';
import { asciiJson, Batch, checkLine, encodeHeader } from '../../src/cache/record.ts';
import { QueueState, type Header } from '../../src/cache/state.ts';
import { Seeded } from '../support/seeded.ts';

const UUID = '01a00000-0000-7000-8000-000000000001';
const WRITER = '00000000000000a1';
const TIME = 1_790_000_000_000;

type Add = Operation & { op: 'add' } & Written;
const PLAIN: Add = { op: 'add', u: UUID, w: WRITER, n: 7, t: TIME };

interface Line {
  buffer: Buffer;
  start: number;
  end: number;
  headerLength: number;
}

/** A sound line, not at the beginning of its buffer, with `header` byte by byte. */
function lineOf(header: string, payload: string | undefined = '{"i":1}'): Line {
  const batch = new Batch();
  batch.add('{"op":"pause"}');
  const start = batch.add(header, payload);
  const end = batch.length - 1;
  const buffer = Buffer.from(batch.buffer.subarray(0, batch.length));
  return { buffer, start, end, headerLength: checkLine(buffer, start, end) };
}

function isRead(add: AddReader, { buffer, start, end, headerLength }: Line): boolean {
  return add.read(buffer, start, end, headerLength);
}

/** What JSON.parse makes of the line. */
function parsed({ buffer, start, end, headerLength }: Line): Header | undefined {
  return decodeOwn(buffer, start, end, headerLength)?.header;
}

function uuidOf(add: AddReader): string {
  const bytes = Buffer.alloc(UUID_LENGTH);
  add.copyUuid(bytes);
  return bytes.toString('latin1');
}

/** Checks one header, and tells whether it was read. */
function expectAgreement(header: string, payload?: string): boolean {
  const line = lineOf(header, payload);
  const add = new AddReader();
  if (!isRead(add, line)) return false;
  const { u, w, s = 0, ...rest } = parsed(line) as Header & { op: 'add' };
  expect({ header, u: uuidOf(add), s: add.synced, t: add.time }).toEqual({ header, u, s, t: rest.t });
  expect(add.isBy(Buffer.from(w, 'latin1'))).toBe(true);
  // Nothing else may be said, or it would go unheard.
  expect({ header, keys: Object.keys(rest).sort() }).toEqual({ header, keys: ['n', 'op', 't'] });
  return true;
}

describe('a plain add', () => {
  test('is read, whatever its numbers', () => {
    for (const n of [0, 1, 10, 999_999]) {
      for (const t of [0, 5, TIME]) {
        expect(expectAgreement(encodeHeader({ ...PLAIN, n, t }))).toBe(true);
        for (const s of [0, 1, 8_388_608])
          expect(expectAgreement(encodeHeader({ ...PLAIN, n, t, s }))).toBe(true);
      }
    }
  });

  test('is known to be by its writer, and by no other', () => {
    const add = new AddReader();
    expect(isRead(add, lineOf(encodeHeader(PLAIN)))).toBe(true);
    expect(add.isBy(Buffer.from(WRITER))).toBe(true);
    expect(add.isBy(Buffer.from('00000000000000a2'))).toBe(false);
    expect(add.isBy(Buffer.from('10000000000000a1'))).toBe(false);
  });

  test('is read anew for each line of the same buffer', () => {
    const batch = new Batch();
    const add = new AddReader();
    const headers = [{ ...PLAIN, s: 5 }, PLAIN, { ...PLAIN, u: UUID.replaceAll('0', 'f'), t: 3 }].map(
      (header) => encodeHeader(header),
    );
    const starts = headers.map((header) => batch.add(header, '1'));
    const seen = starts.map((start, i) => {
      const end = batch.buffer.indexOf(10, start);
      expect(add.read(batch.buffer, start, end, headers[i]!.length)).toBe(true);
      return [uuidOf(add), add.time, add.synced];
    });
    expect(seen).toEqual([
      [UUID, TIME, 5],
      [UUID, TIME, 0],
      [UUID.replaceAll('0', 'f'), 3, 0],
    ]);
  });
});

describe('left to JSON.parse', () => {
  test.each<[string, Partial<Add>]>([
    ['an alias', { a: 'x' }],
    ['retries', { r: 3 }],
    ['a due time', { d: TIME }],
    ['disabled', { x: 1 }],
    ['a user', { by: 'x' }],
    ['an odd uuid', { u: 'u1' }],
    ['a longer uuid', { u: `${UUID}0` }],
    ['an odd writer', { w: 'a1' }],
  ])('%s', (_, more) => {
    expect(expectAgreement(encodeHeader({ ...PLAIN, ...more }))).toBe(false);
  });

  test.each([
    ['a number that is no whole one', '"n":7', '"n":7.5'],
    ['a negative number', '"n":7', '"n":-7'],
    ['a number with an exponent', '"n":7', '"n":7e1'],
    ['a number that is none in JSON', '"n":7', '"n":07'],
    ['no number', '"n":7', '"n":'],
    ['a number beyond what is exact', `"t":${TIME}`, '"t":9007199254740993'],
    ['white space', '"n":7', '"n": 7'],
    ['more behind', `"t":${TIME}`, `"t":${TIME},"d":5`],
    ['a field less', '"n":7,', ''],
    ['an escape in the uuid', UUID, `\\u0041${UUID.slice(6)}`],
    ['a quote in the uuid, and more fields', UUID, `a","d":5,"y":"${'b'.repeat(UUID_LENGTH - 14)}`],
    ['a control character in the uuid', UUID, `\u0001${UUID.slice(1)}`],
    ['a byte beyond ASCII in the uuid', UUID, `\u00e4${UUID.slice(1)}`],
  ])('%s', (_, from, to) => {
    const header = encodeHeader(PLAIN);
    expect(header).toContain(from);
    expect(expectAgreement(header.replace(from, to))).toBe(false);
  });

  test('an add without a payload, which is none', () => {
    const line = lineOf(encodeHeader(PLAIN), '');
    expect(isRead(new AddReader(), line)).toBe(false);
    const batch = new Batch();
    const start = batch.add(encodeHeader(PLAIN));
    expect(new AddReader().read(batch.buffer, start, batch.length - 1, encodeHeader(PLAIN).length)).toBe(
      false,
    );
  });
});

test('whatever byte is changed, taken out or put in, nothing else is read than JSON.parse reads', () => {
  let read = 0;
  for (const whole of [encodeHeader(PLAIN), encodeHeader({ ...PLAIN, s: 31 })]) {
    for (let at = 0; at < whole.length; at++) {
      const [before, behind] = [whole.slice(0, at), whole.slice(at + 1)];
      const odd = ['', ...Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte))];
      for (const byte of odd) {
        if (byte === '\n') continue;
        if (expectAgreement(before + byte + behind)) read++;
        if (byte !== '' && expectAgreement(before + byte + whole.slice(at))) read++;
      }
    }
  }
  // Digits and letters that were exchanged for others.
  expect(read).toBeGreaterThan(1000);
});

test('random headers of all shapes are read as JSON.parse reads them', () => {
  const random = new Seeded(3);
  const maybe = <T>(value: T): T | undefined => (random.chance(0.15) ? value : undefined);
  let read = 0;
  for (let i = 0; i < 3000; i++) {
    const uuid = `${random.hex(4)}-${random.hex(2)}-7${random.hex(1)}a-${random.hex(2)}-${random.hex(6)}`;
    const add: Add = {
      op: 'add',
      u: random.chance(0.9) ? uuid : random.hex(random.below(30)),
      a: maybe(random.pick(['', 'order-7', 'ä"\\'])),
      r: maybe(random.below(9)),
      d: maybe(random.below(2 ** 41)),
      x: maybe(1 as const),
      by: maybe('someone'),
      w: random.hex(8),
      n: random.below(10 ** random.below(7)),
      t: random.below(2 ** 41),
      s: maybe(random.below(2 ** 30)),
    };
    if (expectAgreement(encodeHeader(add))) read++;
  }
  expect(read).toBeGreaterThan(500);
});

const KINDS: [string, QueueOptions][] = [
  ['any number of messages', {}],
  ['unique aliases', { uniqueAlias: true }],
  ['few messages', { maxMessages: 3 }],
  ['few bytes', { maxBytes: 60 }],
];

/** Everything that an add may change. */
function standing(state: QueueState): unknown {
  const { digest, added, inserted, modified, counts, bytes } = state;
  const table = [...state.tables.values()].flatMap((one) =>
    Array.from({ length: one.count }, (_, i) => [
      one.offsetAt(i),
      one.lengthAt(i),
      one.headerLengthAt(i),
      one.isFreshAt(i),
    ]),
  );
  return { digest, added, inserted, modified, counts: { ...counts }, bytes, table };
}

describe.each(KINDS)('the state of a queue of %s', (_, options) => {
  test.each([
    ['of its own', 'q', false],
    ['with a hole in its log', 'q', true],
    ['that does not exist', '', false],
  ])('%s is the same after adds that were read from their bytes', (_name, id, holed) => {
    const [quick, slow] = [new QueueState(1, 10), new QueueState(1, 10)];
    const add = new AddReader();
    for (const state of [quick, slow]) {
      state.id = id;
      state.options = options;
      if (holed) state.noteRot(1, 2, false);
    }
    const apply = (state: QueueState, header: string, offset: number): void => {
      const line = lineOf(header);
      const [length, { headerLength }] = [line.end - line.start, line];
      if (state === quick && isRead(add, line)) state.applyAdd(add, { offset, length, headerLength });
      else state.apply(parsed(line)!, offset, length, headerLength, '', () => null);
    };
    for (let i = 0; i < 6; i++) {
      // One among them has to be parsed.
      const more = i === 3 ? { a: 'x' } : {};
      const header = encodeHeader({ ...PLAIN, ...more, u: UUID.replace('1', String(i)), t: TIME - i, s: i });
      for (const state of [quick, slow]) apply(state, header, 100 + i * 300);
      // Not after each: looking at them must not be what brings them in order.
      if (i > 2) expect(standing(quick)).toEqual(standing(slow));
    }
    for (const state of [quick, slow]) {
      // Whether these were on the device before the restart, adds have said.
      state.noteRot(3, 4, true);
      state.noteRot(3000, 3001, true);
      apply(state, asciiJson({ op: 'boot', ctl: 1, id: 'b', w: WRITER, n: 9, t: TIME }), 4000);
    }
    expect(quick.damage.length).toBe(holed ? 2 : 1);
    expect(quick.damage).toEqual(slow.damage);
    quick.seal = slow.seal = { offset: 5000, checksum: '', why: 'size' };
    apply(quick, encodeHeader(PLAIN), 6000);
    expect(standing(quick)).toEqual(standing(slow));
  });
});
