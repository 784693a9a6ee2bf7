import { crc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { withoutFlaw } from '../../src/cache/flaw.ts';
import type { Operation, Written } from '../../src/cache/operations.ts';
import { asciiJson, Batch, checkLine, encodeHeader, payloadText, PREFIX } from '../../src/cache/record.ts';
import { line, scan, written, type Rec } from '../support/scan.ts';
import { Seeded } from '../support/seeded.ts';

const plain = (n: number): Rec => ({
  header: { op: 'add', u: `u${n}`, n },
  payload: JSON.stringify({ n, pad: 'x'.repeat(n) }),
});

const UUID = '01a00000-0000-7000-8000-000000000001';
const WRITTEN = { w: '00000000000000a1', n: 7, t: 1_790_000_000_000 };

const NEWLINE = 10;
const newlinesOf = (bytes: Buffer): number[] => [...bytes.keys()].filter((at) => bytes[at] === NEWLINE);

describe('a record', () => {
  test('is one line of valid JSON: prefix, header, payload', () => {
    const record: Rec = {
      header: { op: 'add', u: 'é\u2028"\\' },
      payload: '{"text":"日本語 \\u0000 \\n 🙂"}',
    };
    const text = line(record);
    expect(text).not.toContain('\n');
    const [prefix, header, payload] = JSON.parse(text) as [string, unknown, unknown];
    expect(prefix).toMatch(/^[0-9a-f]{8}:[0-9a-f]{8}:[0-9a-f]{6}$/);
    expect(header).toEqual(record.header);
    expect(payload).toEqual(JSON.parse(record.payload!));
    expect(Number.parseInt(prefix.split(':')[1]!, 16)).toBe(Buffer.byteLength(text));
  });

  test('without a payload has two parts', () => {
    const text = line({ header: { op: 'pause' } });
    expect(JSON.parse(text)).toHaveLength(2);
    const bytes = Buffer.from(text);
    expect(payloadText(bytes, 0, bytes.length, checkLine(bytes, 0, bytes.length))).toBe('');
  });

  test.each([
    { op: 'add', u: UUID, a: 'é"\\\n', r: 3, d: 1_790_000_000_000, x: 1, by: '\u{1f600}', ...WRITTEN },
    { op: 'add', u: UUID, ...WRITTEN, s: 0 },
    {
      op: 'add',
      u: UUID,
      a: undefined,
      r: undefined,
      d: undefined,
      x: undefined,
      by: undefined,
      ...WRITTEN,
      s: undefined,
    },
    {
      op: 'claim',
      k: '1z',
      m: 12_345.678_9,
      ms: 30_000,
      max: 2,
      c: [[1, 29, [300, 5]], [2], [3, 7]],
      ...WRITTEN,
    },
    { op: 'claim', k: '0', m: -0, ms: 1e21, max: 0, c: [], ...WRITTEN, s: 5 },
    {
      op: 'done',
      k: 'a',
      c: [[1, 29, 300]],
      u: [UUID, ''],
      a: ['', 'plain_1', 'a"b', 'ä\u2028'],
      ...WRITTEN,
    },
    { op: 'done', k: 'a', c: [], u: [], a: [], ...WRITTEN, s: 7 },
  ] satisfies (Operation & Written)[])(
    'has the same header whether put together by hand or not: %j',
    (header) => {
      const text = encodeHeader(header);
      expect(text).toBe(asciiJson(header));
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(header)));
    },
  );

  test('has a header of ASCII only, so that bytes can be taken for characters', () => {
    const bytes = Buffer.from(line({ header: { a: 'ä\u{1f600}\u007f\ud800' } }));
    expect(bytes.every((byte) => byte >= 0x20 && byte < 0x7f)).toBe(true);
    expect((JSON.parse(bytes.toString()) as unknown[])[1]).toEqual({ a: 'ä\u{1f600}\u007f\ud800' });
  });

  test('of another length than its prefix says is none, even where its checksum is right', () => {
    const bytes = Buffer.from(line(plain(5)));
    for (const digit of [11, 17, 18]) {
      const odd = Buffer.from(bytes);
      odd[digit]! ^= 1;
      odd.write(crc32(odd.subarray(10)).toString(16).padStart(8, '0'), 2);
      expect(checkLine(odd, 0, odd.length)).toBe(-1);
    }
  });

  test('is checked as a whole: cut short or followed by another byte it is none', () => {
    const bytes = Buffer.from(line(plain(5)));
    expect(checkLine(bytes, 0, bytes.length)).toBeGreaterThan(0);
    for (let end = 0; end < bytes.length; end++) expect(checkLine(bytes, 0, end)).toBe(-1);
    expect(checkLine(Buffer.concat([bytes, Buffer.from(']')]), 0, bytes.length + 1)).toBe(-1);
  });
});

describe('a write', () => {
  test('begins and ends with a newline, and so can follow anything', () => {
    const bytes = written([plain(1), plain(2)]);
    expect(bytes[0]).toBe(NEWLINE);
    expect(bytes.at(-1)).toBe(NEWLINE);
    expect(newlinesOf(bytes)).toHaveLength(3);
  });

  test('tells where in it each record begins', () => {
    const batch = new Batch();
    const starts = [1, 2, 3].map((n) => batch.add(`{"n":${n}}`, '0'));
    for (const start of starts)
      expect(checkLine(batch.buffer, start, batch.buffer.indexOf(NEWLINE, start))).toBe(7);
  });

  test('may be used for the next one, after a record of many megabytes too', () => {
    const batch = new Batch();
    batch.add('{"n":1}', JSON.stringify('é'.repeat(4 * 1024 * 1024)));
    expect(scan(Buffer.from(batch.buffer.subarray(0, batch.length))).lines).toHaveLength(1);
    batch.clear();
    expect(batch.buffer.length).toBeLessThan(1024 * 1024);
    batch.add('{"n":2}', '[]');
    expect(scan(Buffer.from(batch.buffer.subarray(0, batch.length))).lines).toEqual([
      line({ header: { n: 2 }, payload: '[]' }),
    ]);
  });

  test('keeps payloads of every length that the buffer has to grow for', () => {
    for (const length of [65_500, 65_535, 65_536, 65_537, 131_072, 1_000_000]) {
      for (const letter of ['a', 'é', '日']) {
        const batch = new Batch();
        batch.add('{}');
        const payload = JSON.stringify(letter.repeat(length));
        batch.add('{"n":1}', payload);
        batch.add('{}');
        const found = scan(batch.buffer.subarray(0, batch.length));
        expect(found.lines.map((text) => text.slice(PREFIX))).toEqual(['{}]', `{"n":1},${payload}]`, '{}]']);
      }
    }
  });
});

/** Two writes before and one behind, as neighbours have them. */
const before = written([plain(2)]);
const behind = written([plain(4)]);

function neighbours(middle: Buffer): { bytes: Buffer; from: number; lines: string[] } {
  const bytes = Buffer.concat([before, middle, behind]);
  return {
    bytes,
    from: before.length,
    lines: bytes
      .toString('utf8')
      .split('\n')
      .filter((text) => text !== ''),
  };
}

/** Every value of every byte of the middle write but the right one. */
function* flips(middle: Buffer): Generator<{ at: number; value: number; flipped: Buffer; lines: string[] }> {
  const { bytes, from, lines } = neighbours(middle);
  for (let at = from; at < from + middle.length; at++) {
    const right = bytes[at]!;
    for (let value = 0; value < 256; value++) {
      if (value === right) continue;
      bytes[at] = value;
      yield { at: at - from, value, flipped: bytes, lines };
    }
    bytes[at] = right;
  }
}

/** The record that a byte of the write belongs to; -1 for a newline. */
function owners(middle: Buffer): number[] {
  let record = 0;
  return [...middle].map((byte, at) => (byte === NEWLINE ? (at > 0 ? (record++, -1) : -1) : record));
}

describe('a changed byte', () => {
  const middle = written([
    plain(3),
    { header: { op: 'pause' } },
    { header: { op: 'attr' }, payload: '[["a"],"]",{}]' },
  ]);
  const owner = owners(middle);

  test('never makes a record that nobody has written, and costs no other record than its own', () => {
    for (const { at, value, flipped, lines } of flips(middle)) {
      const found = scan(flipped);
      const hurt = owner[at]! < 0 ? [] : [1 + owner[at]!];
      const expected = lines.filter((_, i) => !hurt.includes(i));
      if (found.lines.join('\n') !== expected.join('\n'))
        expect({ at, value, lines: found.lines }).toEqual({ at, value, lines: expected });
    }
  });

  test('is found wherever it costs a record', () => {
    const silent: { at: number; value: number }[] = [];
    for (const { at, value, flipped } of flips(middle)) {
      if (owner[at]! >= 0 && !scan(flipped).bad.some(({ kind }) => kind === 'rot'))
        silent.push({ at, value });
    }
    expect(silent).toEqual([]);
  });

  test('in a newline between records is found, but for one that is not needed', () => {
    for (const at of newlinesOf(middle)) {
      const { bytes, from, lines } = neighbours(middle);
      bytes[from + at] = 0x00;
      const found = scan(bytes);
      expect(found.lines).toEqual(lines);
      expect(found.bad).toEqual([{ from: from + at, to: from + at + 1, kind: 'rot' }]);
    }
  });
});

describe('a line of which one bit has changed', () => {
  const sound = Buffer.from(line(plain(30)));
  const flipped = (...bits: readonly number[]): Buffer => {
    const other = Buffer.from(sound);
    for (const bit of bits) other[bit >> 3]! ^= 1 << (bit & 7);
    return other;
  };

  test('is known by its checksum, whichever it is', () => {
    for (let bit = 0; bit < sound.length * 8; bit++)
      expect(withoutFlaw(flipped(bit))?.equals(sound), `bit ${bit}`).toBe(true);
  });

  test('is not taken for one of which two have, nor for one that is cut off', () => {
    // In the first two bytes any other is an error.
    for (let bit = 16; bit < sound.length * 8; bit++) {
      const other = 16 + ((bit * 7 + 13) % (sound.length * 8 - 16));
      if (other !== bit) expect(withoutFlaw(flipped(bit, other)), `bits ${bit}, ${other}`).toBeUndefined();
    }
    for (let to = 0; to < sound.length; to++) expect(withoutFlaw(sound.subarray(0, to))).toBeUndefined();
  });
});

describe('a payload that holds the bytes of a record', () => {
  const hostile = line({ header: { op: 'purge' } });
  // As an array it needs no escaping: its text is the line, byte by byte.
  const payloads = [
    hostile,
    `[${hostile}]`,
    `[${hostile},${hostile}]`,
    `{"a":${hostile}}`,
    JSON.stringify(hostile),
    `[1,${hostile}, ${hostile}]`,
    line({ header: { op: 'purge' }, payload: hostile }),
  ];

  test.each(payloads)('is never taken for one: %s', (payload) => {
    const middle = written([{ header: { op: 'add' }, payload }]);
    const { bytes, lines } = neighbours(middle);
    expect(scan(bytes).lines).toEqual(lines);
    for (const { at, value, flipped } of flips(middle)) {
      const found = scan(flipped);
      if (found.lines.some((text) => !lines.includes(text)))
        expect({ at, value, lines: found.lines }).toEqual({});
    }
  });

  test.each(payloads)('is never taken for one when its write was cut off: %s', (payload) => {
    const middle = written([{ header: { op: 'add' }, payload }]);
    const { lines } = neighbours(middle);
    for (let length = 0; length < middle.length; length++) {
      const { bytes } = neighbours(middle.subarray(0, length));
      expect(scan(bytes).lines.filter((text) => !lines.includes(text))).toEqual([]);
    }
  });
});

describe('a write that was cut off', () => {
  const records = [plain(1), { header: { op: 'pause' } }, plain(40)];
  const middle = written(records);

  test('at any byte costs its own unfinished record, and is no damage', () => {
    for (let length = 0; length <= middle.length; length++) {
      const { bytes } = neighbours(middle.subarray(0, length));
      const found = scan(bytes);
      const whole = records.filter((record, i) => {
        const upTo = written(records.slice(0, i + 1)).length - 1;
        return record && length >= upTo;
      });
      expect(found.lines).toEqual([line(plain(2)), ...whole.map(line), line(plain(4))]);
      expect(found.bad.filter(({ kind }) => kind === 'rot')).toEqual([]);
      expect(found.end).toBe(bytes.length);
    }
  });

  test('at the end of the file is left alone until another write ends its line', () => {
    for (let length = 0; length < middle.length; length++) {
      const bytes = Buffer.concat([before, middle.subarray(0, length)]);
      const found = scan(bytes);
      expect(found.bad).toEqual([]);
      expect(found.end).toBeGreaterThanOrEqual(before.length);
      expect(bytes.indexOf(NEWLINE, found.end)).toBe(-1);
    }
  });

  test('with zeros behind it, where others went on until the power went, is told from what they wrote', () => {
    const last = middle.lastIndexOf('["');
    const cut = middle.subarray(0, last + 40);
    const { bytes } = neighbours(Buffer.concat([cut, Buffer.alloc(9), written([plain(5)]).subarray(70)]));
    const found = scan(bytes);
    expect(found.lines).toEqual([plain(2), ...records.slice(0, 2), plain(4)].map(line));
    expect(found.bad.map(({ kind, from }) => [kind, from])).toEqual([
      ['torn', before.length + last],
      ['rot', before.length + cut.length],
    ]);
  });

  test('and then has rotted is found', () => {
    const cut = middle.subarray(0, middle.length - 20);
    const { bytes } = neighbours(cut);
    const at = before.length + cut.lastIndexOf(0x5b);
    bytes[at] = 0x7b;
    expect(scan(bytes).bad.map(({ kind }) => kind)).toEqual(['rot']);
  });
});

describe('zeros where records were', () => {
  test.each([1, 3, 28, 29, 512, 4096, 100_000])(
    '%i of them cost what stood there, and are found',
    (count) => {
      const zeros = Buffer.alloc(count);
      const found = scan(Buffer.concat([before, zeros, behind]));
      expect(found.lines).toEqual([line(plain(2)), line(plain(4))]);
      expect(found.bad).toEqual([{ from: before.length, to: before.length + count, kind: 'rot' }]);
    },
  );

  test('that begin and end inside records cost only these', () => {
    const middle = written([plain(10), plain(11), plain(12), plain(13)]);
    const lines = [10, 11, 12, 13].map((n) => line(plain(n)));
    const at = (n: number): number => before.length + middle.indexOf(`"u${n}"`);
    const { bytes } = neighbours(middle);
    bytes.fill(0, at(11), at(12));
    const found = scan(bytes);
    expect(found.lines).toEqual([line(plain(2)), lines[0], lines[3], line(plain(4))]);
    expect(found.bad.every(({ kind }) => kind === 'rot')).toBe(true);
  });
});

test('whatever bytes stand between two writes, both are read', () => {
  const random = new Seeded(7);
  for (let i = 0; i < 2000; i++) {
    const noise = Buffer.from(
      Array.from({ length: random.below(60) }, () => random.pick([10, 0, 0x5b, 0x22, random.below(256)])),
    );
    const found = scan(Buffer.concat([before, noise, behind]));
    expect(found.lines).toEqual([line(plain(2)), line(plain(4))]);
  }
});
