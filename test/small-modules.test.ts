import { mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { backoffDelay } from '../src/backoff.ts';
import { QueueError, quote } from '../src/errors.ts';
import { Emitter } from '../src/events.ts';
import { makeFolder } from '../src/make-folder.ts';
import { encodePayload } from '../src/payload.ts';
import { toTryError } from '../src/try-error.ts';
import { uuidv7 } from '../src/uuid.ts';
import { sinkOf, type Log, type LogFields } from '../src/worker/log.ts';

describe('backoffDelay', () => {
  const limits = { backoff: 1000, backoffMax: 60_000 };

  test('doubles with each try, somewhere in the upper half', () => {
    expect([1, 2, 3, 4].map((attempt) => backoffDelay(attempt, limits, 0))).toEqual([500, 1000, 2000, 4000]);
    expect([1, 2, 3, 4].map((attempt) => backoffDelay(attempt, limits, 0.999999))).toEqual([
      1000, 2000, 4000, 8000,
    ]);
  });

  test('exceeds backoffMax at no try', () => {
    for (const attempt of [7, 50, 1000, 1e9, Number.MAX_SAFE_INTEGER]) {
      expect(backoffDelay(attempt, limits, 0.999999)).toBe(60_000);
    }
  });

  test('of nothing is nothing', () => {
    for (const attempt of [1, 1e9]) expect(backoffDelay(attempt, { backoff: 0, backoffMax: 0 }, 0.5)).toBe(0);
  });
});

describe('uuidv7', () => {
  test('has the form, the version, the variant and the time', () => {
    const before = Date.now();
    const uuid = uuidv7();
    expect(uuid).toMatch(/^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
    const time = Number.parseInt(uuid.replaceAll('-', '').slice(0, 12), 16);
    expect(time).toBeGreaterThanOrEqual(before);
    // The counter may have borrowed from the next millisecond.
    expect(time).toBeLessThanOrEqual(Date.now() + 1000);
  });

  test('those of one process differ and are in order, many in a millisecond', () => {
    const uuids = Array.from({ length: 50_000 }, uuidv7);
    expect(new Set(uuids).size).toBe(50_000);
    expect(uuids.toSorted()).toEqual(uuids);
  });

  test('have 62 random bits each, of which nothing comes again', () => {
    // Several times as many as are drawn from the system at once.
    const random = Array.from({ length: 5000 }, () => uuidv7().slice(19).replaceAll('-', ''));
    expect(new Set(random.map((digits) => digits.slice(0, 8))).size).toBeGreaterThan(4980);
    expect(new Set(random.map((digits) => digits.slice(8))).size).toBe(5000);
    for (let at = 0; at < 16; at++) {
      const seen = new Set(random.map((digits) => digits[at]!));
      expect([...seen].sort().join('')).toBe(at === 0 ? '89ab' : '0123456789abcdef');
    }
  });

  test('stay in order when the clock is set back', () => {
    vi.useFakeTimers();
    try {
      vi.setSystemTime(Date.now() + 60_000);
      const late = uuidv7();
      vi.setSystemTime(Date.now() - 3_600_000);
      expect(uuidv7() > late).toBe(true);
    } finally {
      vi.useRealTimers();
    }
  });

  test('have their form even where it is 1970', async () => {
    vi.useFakeTimers({ now: 0 });
    try {
      vi.resetModules();
      const { uuidv7: first } = await import('../src/uuid.ts');
      expect(first()).toMatch(/^00000000-0000-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('quote', () => {
  test('shows what JSON does not know', () => {
    expect([Number.NaN, 7n, undefined, Symbol('s'), -0].map((value) => quote(value))).toEqual([
      'NaN',
      '7',
      'undefined',
      'Symbol(s)',
      '0',
    ]);
  });

  test('survives what cannot be shown', () => {
    const revoked = Proxy.revocable({}, {});
    revoked.revoke();
    const cycle: Record<string, unknown> = {};
    cycle['self'] = cycle;
    for (const value of [revoked.proxy, cycle, { toJSON: () => expect.fail('thrown') }]) {
      expect(quote(value)).toBe('a value that cannot be shown');
    }
  });
});

describe('toTryError', () => {
  test('bounds every part', () => {
    const error = Object.assign(new Error('m'.repeat(1e6)), {
      name: 'n'.repeat(1e6),
      code: 'c'.repeat(1e6),
      stack: 's'.repeat(1e6),
      cause: new Error('k'.repeat(1e6)),
    });
    const kept = toTryError(error, 3, 0);
    expect(kept).toMatchObject({ at: '1970-01-01T00:00:00.000Z', attempt: 3 });
    expect(JSON.stringify(kept).length).toBeLessThan(8000);
  });

  test('tells a few causes and stops at a cycle', () => {
    const first = new Error('first');
    first.cause = new Error('second', { cause: first });
    const { stack } = toTryError(first, 1, 0);
    expect(stack!.match(/Caused by Error: (first|second)/g)).toHaveLength(4);
  });

  test('keeps the stack of the first cause', () => {
    const cause = Object.assign(new Error('exited with 3'), { stack: 'its last words\non stderr' });
    const { stack } = toTryError(new Error('too long', { cause }), 1, 0);
    expect(stack).toMatch(/\nCaused by Error: exited with 3\nits last words\non stderr$/);
    expect(toTryError(new Error('m', { cause: new TypeError('deep') }), 1, 0).stack).toMatch(
      /\nCaused by TypeError: deep\n {4}at /,
    );
  });
});

describe('Emitter', () => {
  test('does not even make an event that nobody hears', () => {
    const emitter = new Emitter<{ done: number }>();
    const make = vi.fn(() => 1);
    emitter.tell('done', make);
    const off = emitter.on('done', () => undefined);
    emitter.tell('done', make);
    off();
    emitter.tell('done', make);
    expect(make).toHaveBeenCalledTimes(1);
  });

  test('a listener that throws is an uncaught error of the program, and the others still hear', () => {
    const emitter = new Emitter<{ done: number }>();
    const nextTick = vi.spyOn(process, 'nextTick').mockImplementation(() => undefined);
    try {
      const heard: number[] = [];
      emitter.on('done', () => {
        throw new Error('mine');
      });
      emitter.on('done', (event) => heard.push(event));
      emitter.tell('done', () => 7);
      expect(heard).toEqual([7]);
      expect(nextTick).toHaveBeenCalledTimes(1);
      expect(nextTick.mock.calls[0]![0]).toThrow('mine');
    } finally {
      nextTick.mockRestore();
    }
  });
});

describe('encodePayload', () => {
  test('accepts nothing that JSON.stringify would change without a word', () => {
    // Whatever is accepted comes back from JSON as it was; whatever is not is refused.
    const values: unknown[] = [
      [1, 'a', null, true, { b: [] }],
      { a: { b: { c: [0.1, 1e21] } } },
      'x',
      [[], {}],
    ];
    for (const value of values) expect(JSON.parse(encodePayload(value, 'data', 1000))).toEqual(value);
    for (const value of [
      [Number.NaN],
      { a: () => 1 },
      [undefined],
      { a: 1n },
      { a: Symbol('s') },
      [new Map()],
    ]) {
      expect(() => encodePayload(value, 'data', 1000)).toThrow(QueueError);
    }
  });

  test('counts bytes, not characters', () => {
    expect(encodePayload('ää', 'data', 6)).toBe('"ää"');
    expect(() => encodePayload('ää', 'data', 5)).toThrow(
      'expected at most 5 bytes of JSON, received 6 bytes',
    );
  });

  test('what others have put on Object.prototype is none of the data', () => {
    const prototype = Object.prototype as unknown as Record<string, unknown>;
    prototype['intruder'] = () => 1;
    try {
      expect(encodePayload({ a: 1 }, 'data', 100)).toBe('{"a":1}');
    } finally {
      delete prototype['intruder'];
    }
  });
});

describe('makeFolder', () => {
  test('makes those above it too, for their owner only, and takes what is there', () => {
    const root = mkdtempSync(join(tmpdir(), 'coda-folders-'));
    try {
      makeFolder(join(root, 'a/b'));
      for (const name of ['a', 'a/b']) expect(statSync(join(root, name)).mode & 0o777).toBe(0o700);
      symlinkSync(join(root, 'a'), join(root, 'link'));
      for (const name of ['a/b', 'link', 'link/c']) makeFolder(join(root, name));
      expect(statSync(join(root, 'a/c')).isDirectory()).toBe(true);
      writeFileSync(join(root, 'file'), '');
      for (const name of ['file', 'file/d']) expect(() => makeFolder(join(root, name))).toThrow('ENOTDIR');
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  test.runIf(process.platform === 'linux')('says what the system says where none can be made', () => {
    expect(() => makeFolder('/proc/nothing/x')).toThrow(/ENOENT.*\/proc\/nothing'/);
  });
});

test('sinkOf tells each line to the method of its level', () => {
  const told: unknown[] = [];
  const tell = (level: string) => (text: string, fields?: LogFields) => void told.push([level, text, fields]);
  const log: Log = {
    trace: tell('trace'),
    debug: tell('debug'),
    info: tell('info'),
    warn: tell('warn'),
    error: tell('error'),
    fatal: tell('fatal'),
  };
  const sink = sinkOf(log);
  for (const level of ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'] as const)
    sink(level, level, { n: 1 });
  expect(told).toEqual(
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal'].map((level) => [
      level,
      level.toUpperCase(),
      { n: 1 },
    ]),
  );
});
