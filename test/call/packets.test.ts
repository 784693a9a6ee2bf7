/** What is a packet, however its bytes are split on their way, and what is none. */
import { serialize, unserialize } from 'php-serialize';
import { describe, expect, test, vi } from 'vitest';
import type { Json } from '../../src/message.ts';
import { Packets, type Incoming } from '../../src/call/packets.ts';
import { PHP_FORMAT } from '../../src/call/php.ts';

const MOST = 10_000;

/** What comes of bytes that come in these parts. */
function read(parts: Uint8Array[], ended = true, most = MOST): Incoming[] {
  const packets = new Packets(most);
  const found: Incoming[] = [];
  const take = (): void => {
    for (let next = packets.next(); next; next = packets.next()) found.push(next);
  };
  for (const part of parts) {
    packets.push(Buffer.from(part));
    take();
  }
  if (ended) packets.end();
  take();
  return found;
}

function of(text: string | Uint8Array, ended = true): Incoming[] {
  return read([Buffer.from(text)], ended);
}

/** The requests, or why there is none. */
function told(incoming: Incoming[]): unknown[] {
  return incoming.map(({ refused, request, isLast }) =>
    refused ? refused.message : { name: request.name, args: request.args, isLast },
  );
}

/** Of the one request that there is. */
function argsOf(bytes: string): Record<string, Json> {
  const [found] = of(bytes);
  if (!found?.request) throw new Error(String(told([found!])[0]));
  return found.request.args;
}

const STREAMS: [string, Buffer][] = [
  ['lines', Buffer.from('{"name":"a","args":{"x":"é }{"}}\r\n\n  {"name":"b"}\n')],
  ['no newline at the end', Buffer.from('{"name":"a"}{"nom":"b","args":{"x":[1,{"y":"\\"}"}]}}')],
  ['legacy keys', Buffer.from("{nom: 'x', args: {a: \"it's\", 'b': [1, 2,], c: '}'}}")],
  ['a bad line between good ones', Buffer.from('{"name":"a"}\n{"name": }}} x\n{"name":\n{"name":"b"}\n')],
  ['bad bytes between good lines', Buffer.from('{"name":"a"}\n{"x":"\xff"}\n{"name":"b"}\n', 'latin1')],
  ['what is no packet', Buffer.from('POST / HTTP/1.1\r\n\r\n{"name":"a"}\n')],
  [
    'the format of PHP',
    Buffer.from(serialize({ nom: 'x', args: { é: '€uro";}', n: null, l: [1, -2.5, true], e: {} } })),
  ],
  ['an object of PHP', Buffer.from('a:1:{s:4:"name";O:8:"stdClass":0:{}}')],
  ['a text of PHP that is shorter than it says', Buffer.from('a:1:{s:4:"name";s:5:"test";}')],
];

describe('however it is split', () => {
  test.for(STREAMS)('%s: at every byte, byte by byte, whole: the same', ([, bytes]) => {
    const whole = JSON.stringify(read([bytes]));
    expect(JSON.parse(whole)).not.toEqual([]);
    expect(JSON.stringify(read(Array.from(bytes, (byte) => Buffer.from([byte]))))).toBe(whole);
    for (let at = 1; at < bytes.length; at++)
      expect(JSON.stringify(read([bytes.subarray(0, at), bytes.subarray(at)]))).toBe(whole);
  });

  test('a packet is read as soon as its last byte is there, with no end and no newline', () => {
    for (const text of ['{"name":"a"}', '{"name":"\\"{\\\\"}', "{nom:'a\\'{'}", serialize({ name: 'a' })]) {
      expect(of(text, false)).toHaveLength(1);
      expect(of(text.slice(0, -1), false)).toHaveLength(0);
    }
  });

  test('a large one that comes byte by byte is read in passing', () => {
    for (const text of [
      JSON.stringify({ name: 'a', args: { x: 'y'.repeat(2 ** 18) } }),
      serialize({ name: 'a', args: { x: 'y'.repeat(2 ** 18) } }),
      serialize({ name: 'a', args: Array.from({ length: 20_000 }, (_, n) => n) }),
    ]) {
      const bytes = Buffer.from(text);
      const before = process.cpuUsage();
      const found = read(
        Array.from(bytes, (_, at) => bytes.subarray(at, at + 1)),
        true,
        2 ** 22,
      );
      expect(found).toHaveLength(1);
      // Reading it anew with each byte would take minutes.
      expect(process.cpuUsage(before).user / 1000).toBeLessThan(10_000);
    }
  });
});

describe('JSON', () => {
  test('that is malformed spoils its line, and nothing behind it', () => {
    const bad = 'malformed packet: it is no JSON';
    const good = { name: 'a', args: {}, isLast: false };
    for (const line of ['{"name": }}} {"name":"b"}', '{"name":', '{{{{', '{"name":"b\\"}'])
      expect(told(of(`${line}\n{"name":"a"}\n`))).toEqual([bad, good]);
    expect(told(of(Buffer.from('{"x":"\xff"} {\n{"name":"a"}\n', 'latin1')))).toEqual([
      'malformed packet: expected UTF-8',
      good,
    ]);
  });

  test('may have keys without quotes, and texts in single ones', () => {
    expect(told(of("{nom:'a',args:{b:'it\\'s',c:.5,d:[1,],}}"))).toEqual([
      { name: 'a', args: { b: "it's", c: 0.5, d: [1] }, isLast: true },
    ]);
  });

  test('that is not quoted prints nothing, whatever is in it', () => {
    const warned = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    expect(argsOf("{nom:'a',args:{b:'\u2028\u2029'}}")).toEqual({ b: '\u2028\u2029' });
    expect(warned).not.toHaveBeenCalled();
    warned.mockRestore();
  });

  test('that is not quoted has a bound of its own', () => {
    const text = `{nom:'a',args:{b:'${'x'.repeat(9000)}'}}`;
    expect(told(read([Buffer.from(text)], true, 2 ** 20))[0]).toContain('8192 bytes');
  });

  test.for<[text: string, why: string]>([
    ['{"name":"a"', 'it is no JSON'],
    ['{name: Infinity}', 'not finite'],
    ['{"name":1}', 'name: expected the name of a method'],
    ['{"args":{}}', 'received none'],
    ['{"name":"a","args":[1]}', 'args: expected an object'],
    ['{"name":"a","args":"x"}', 'args: expected an object'],
    ['{"name":"a","token":1}', 'token: expected a text, received something else'],
    [`{"name":"${'x'.repeat(257)}"}`, 'name: expected'],
    [`{"name":"a","args":${'['.repeat(70)}`, 'nested deeper than 66'],
    [`{"name":"${'x'.repeat(MOST)}"}`, 'expected at most 10000 bytes'],
    ['[1]\n', 'expected a packet'],
    ['x', 'expected a packet'],
  ])('%s is none: %s', ([text, why]) => {
    expect(told(of(text))[0]).toContain(why);
  });

  test('with a key __proto__ changes no prototype', () => {
    for (const text of ['{"name":"a","args":{"__proto__":{"x":1}}}', '{name:"a",args:{__proto__:{x:1}}}']) {
      const args = argsOf(text);
      expect(Object.getPrototypeOf(args)).toBe(Object.prototype);
      expect(Object.keys(args)).toEqual(['__proto__']);
    }
  });

  test('in a name, or a class, that objects inherit is none', () => {
    expect(told(of('{"__proto__":{"name":"a"}}'))[0]).toContain('received none');
  });
});

describe('the format of PHP', () => {
  const VALUES: Json[] = [
    null,
    true,
    false,
    0,
    -1,
    2 ** 53 - 1,
    -0.1,
    1e25,
    1.7976931348623157e308,
    5e-324,
    '',
    'a"b";}',
    'é€😀\0\n',
    '\uFEFFx',
    [],
    [1, [2, [3]]],
    { a: 1, '5': 2, b: { c: null } },
  ];

  test('is read as another reads it, and written so that another can', () => {
    for (const value of VALUES) {
      expect(argsOf(serialize({ name: 'a', args: { value } }))).toEqual({ value });
      const written = PHP_FORMAT.write({ code: 0, message: 'é', result: value });
      expect(unserialize(written)).toEqual({ code: 0, message: 'é', result: value });
    }
  });

  test('has a key __proto__ like any other', () => {
    const args = argsOf('a:2:{s:4:"name";s:1:"a";s:4:"args";a:1:{s:9:"__proto__";a:1:{s:1:"x";i:1;}}}');
    expect(Object.getPrototypeOf(args)).toBe(Object.prototype);
    expect(Object.keys(args)).toEqual(['__proto__']);
  });

  test('is written with the number of bytes, not of characters', () => {
    expect(PHP_FORMAT.write({ code: 1, message: 'é€', result: '\ud800' })).toBe(
      'a:3:{s:4:"code";i:1;s:7:"message";s:5:"é€";s:6:"result";s:3:"\ud800";}',
    );
    expect(PHP_FORMAT.write({ code: 1, message: '', result: [1e21, 0.5] })).toContain('d:1e+21;i:1;d:0.5;');
  });

  const inside = (value: string): string => `a:2:{s:4:"name";s:1:"a";s:1:"x";${value}}`;
  test.for<[value: string, why: string]>([
    ['O:8:"stdClass":0:{}', 'objects are not read'],
    ['C:3:"Abc":0:{}', 'objects are not read'],
    ['E:7:"Foo:Bar";', 'objects are not read'],
    ['R:1;', 'references are not read'],
    ['r:1;', 'references are not read'],
    ['S:1:"a";', 'expected a value'],
    ['i:9007199254740992;', 'beyond 2^53'],
    ['i:99999999999999999999999999999999999999999999;', 'expected a number'],
    ['i:1e5;', 'expected an integer'],
    ['i:;', 'expected an integer'],
    ['d:INF;', 'not finite'],
    ['d:NAN;', 'not finite'],
    ['d:1e999;', 'not finite'],
    ['d:0x10;', 'expected a number'],
    ['b:2;', 'expected a boolean'],
    ['N:', 'expected a value'],
    ['s:-1:"";', 'expected a length'],
    ['s:1e3:"";', 'expected a length'],
    ['s:999999999:"', 'expected at most'],
    ['s:3:"ab";', 'not as long as it says'],
    ['s:1:"ax;', 'not as long as it says'],
    ['s:1:xa";', 'not as long as it says'],
    ['s:1:"\xff";', 'not UTF-8'],
    ['a:1:{a:0:{}N;}', 'expected a key'],
    ['a:1:{N;N;}', 'expected a key'],
    ['a:999999999:{', 'expected at most'],
    ['a:0:{N;}', 'expected }'],
    ['a:2:{i:0;N;}', 'expected a key'],
    ['a:0:x}', 'expected {'],
    ['a:1:{i:0;'.repeat(70), 'nested deeper than 66'],
    ['s:1:"', 'too early'],
  ])('does not take %s: %s', ([value, why]) => {
    const found = of(Buffer.from(inside(value), 'latin1'));
    expect(told(found)).toEqual([expect.stringContaining(why)]);
    expect(found[0]?.format).toBe(PHP_FORMAT);
  });
});

test('what is left of a packet holds on to no more memory than itself', () => {
  const slab = Buffer.alloc(2 ** 20);
  slab.write('{"name":');
  const packets = new Packets(MOST);
  packets.push(slab.subarray(0, 8));
  expect(packets.next()).toBeUndefined();
  // Were it a view, it would see this.
  slab.fill('x');
  packets.push(Buffer.from('"a"}'));
  expect(told([packets.next()!])).toEqual([{ name: 'a', args: {}, isLast: false }]);
});
