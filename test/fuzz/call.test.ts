/** Arbitrary bytes as packets: each is answered, or refused, in its format; never is anything thrown, and never a prototype changed. */
import * as fc from 'fast-check';
import { serialize, unserialize } from 'php-serialize';
import { expect, test } from 'vitest';
import { JSON_FORMAT } from '../../src/call/json.ts';
import { Packets, type Incoming } from '../../src/call/packets.ts';
import { PHP_FORMAT } from '../../src/call/php.ts';
import type { Json } from '../../src/message.ts';
import { Client, method } from '../call/client.ts';
import { CallServer } from '../../src/call/server.ts';
import { LIMIT, runs } from './runs.ts';
import { CONTROLS } from '../support/controls.ts';

const MOST = 4096;

const key = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 8 }),
  fc.constantFrom('name', 'nom', 'args', 'token', '__proto__', 'constructor', 'toString', '0', '1'),
);
// What PHP's integers and JSON's numbers have in common.
const value = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.string({ unit: 'binary' }),
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => (n === 0 ? 0 : n)),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(key, tie('value'), { maxKeys: 4, noNullPrototype: true }),
  ),
})).value;
const packet = fc.record({
  name: fc.string({ unit: 'grapheme', minLength: 1 }),
  args: fc.dictionary(key, value, { noNullPrototype: true }),
});

/** Texts near to packets: what is sound, with bytes changed, left out and put in. */
const near = fc
  .tuple(
    fc.oneof(
      packet.map((given) => JSON.stringify(given)),
      packet.map((given) => phpOf(given as unknown as Json)),
      fc.constantFrom(
        "{nom:'a',args:{b:[1,{c:'}'}]}}",
        'a:2:{s:4:"name";s:1:"a";s:4:"args";a:2:{i:0;O:8:"stdClass":0:{}i:1;R:2;}}',
        '{"name":"a"}\n{"name":"b"\n{"name":"c"}\n',
      ),
    ),
    fc.array(
      fc.tuple(
        fc.nat(),
        fc.nat(3),
        fc.oneof(
          fc.uint8Array({ maxLength: 4 }),
          fc
            .constantFrom('{', '}', '"', "'", '\\', '\n', ':', ';', 'a:9:{', 's:3:"', 'N;', '[')
            .map((text) => Buffer.from(text)),
        ),
      ),
      { maxLength: 4 },
    ),
  )
  .map(([text, changes]) => {
    let bytes = Buffer.from(text);
    for (const [at, removed, put] of changes) {
      const from = at % (bytes.length + 1);
      bytes = Buffer.concat([bytes.subarray(0, from), put, bytes.subarray(from + removed)]);
    }
    return bytes;
  });
const bytes = fc.oneof(
  { weight: 3, arbitrary: near },
  fc.uint8Array({ maxLength: 200 }).map((some) => Buffer.from(some)),
);

/** The parts that the bytes come in. */
const cuts = fc.array(fc.nat(), { maxLength: 6 });

function partsOf(all: Buffer, at: number[]): Buffer[] {
  const points = [0, ...at.map((n) => n % (all.length + 1)).sort((a, b) => a - b), all.length];
  return points.slice(1).map((end, index) => Buffer.from(all.subarray(points[index], end)));
}

function read(parts: Buffer[]): Incoming[] {
  const packets = new Packets(MOST);
  const found: Incoming[] = [];
  const take = (): void => {
    for (let next = packets.next(); next; next = packets.next()) found.push(next);
  };
  for (const part of parts) {
    packets.push(part);
    take();
  }
  packets.end();
  take();
  return found;
}

test('whatever the bytes, and however they are split', { timeout: LIMIT }, () => {
  fc.assert(
    fc.property(bytes, cuts, (all, at) => {
      const whole = read([all]);
      expect(read(partsOf(all, at))).toEqual(whole);
      for (const { refused, request } of whole) {
        if (refused) expect(refused.message).not.toMatch(CONTROLS);
        if (request) expect(Object.getPrototypeOf(request.args)).toBe(Object.prototype);
      }
      expect(({} as Record<string, unknown>)['x']).toBeUndefined();
    }),
    runs(4000),
  );
});

test('what is sound is read as it was meant, in both formats', { timeout: LIMIT }, () => {
  fc.assert(
    fc.property(packet, (given) => {
      const json = Buffer.from(JSON.stringify(given));
      expect(read([json])[0]?.request?.args).toEqual(JSON.parse(JSON.stringify(given.args)));
      const php = Buffer.from(phpOf(given as unknown as Json));
      const found = read([php]);
      const [{ request } = { request: undefined }] = found;
      if (php.length <= MOST && json.length <= MOST && given.name.length <= 256)
        expect(phpOf(request!.args as Json)).toBe(
          phpOf(Object.keys(given.args).length === 0 ? {} : given.args),
        );
    }),
    runs(1000),
  );
});

test('an answer in the format of PHP is read as it was meant, by another reader', { timeout: LIMIT }, () => {
  // Which changes prototypes, and reads what is a list by its keys as one.
  const plain = value.filter((given) => !JSON.stringify(given).includes('__proto__'));
  fc.assert(
    fc.property(plain, fc.string({ unit: 'binary' }), (result, message) => {
      const written = Buffer.from(PHP_FORMAT.write({ code: 1, message, result }));
      const again = unserialize(written) as { message: string };
      expect(again.message).toBe(Buffer.from(message).toString());
      const packets = new Packets(2 ** 20);
      packets.push(written);
      // It is no request, but it is whole: not a byte of it is missing.
      expect(packets.next()?.refused?.message).toContain('received none');
    }),
    runs(1000),
  );
});

test('a server answers, or closes, and goes on', { timeout: LIMIT }, async () => {
  const server = new CallServer({ port: 0, limits: { packetBytes: MOST, packetTime: 2000, idleTime: 2000 } });
  server.addMethod(
    'a',
    method((self) => self.succeed('', self.args)),
  );
  const { port } = await server.listen();
  try {
    await fc.assert(
      fc.asyncProperty(bytes, cuts, async (all, at) => {
        const client = await Client.connect(port);
        for (const part of partsOf(all, at)) await client.send(part);
        client.half();
        const heard = await client.closed();
        const formats = read([all]).map(({ format }) => format);
        // An answer to PHP is the last, and may hold newlines.
        const php = formats.at(-1) === PHP_FORMAT ? heard.slice(heard.search(/a:3:\{s:4:"code"/)) : '';
        const lines = heard
          .slice(0, heard.length - php.length)
          .split('\n')
          .slice(0, -1);
        expect(lines).toHaveLength(formats.filter((format) => format === JSON_FORMAT).length);
        for (const line of lines) expect(JSON.parse(line)).toHaveProperty('code');
        if (php !== '') expect(unserialize(php)).toHaveProperty('code');
      }),
      runs(300),
    );
    const client = await Client.connect(port);
    expect(await client.call('verify')).toMatchObject({ code: 0 });
    client.socket.destroy();
  } finally {
    await server.close({ signal: AbortSignal.timeout(1000) });
  }
});

/** By another writer; but what it gets wrong: a number such as 1e21 as an integer, and objects with a `constructor` of their own. */
function phpOf(given: Json): string {
  if (typeof given === 'number') return Number.isSafeInteger(given) ? `i:${given};` : `d:${given};`;
  if (typeof given !== 'object' || given === null) return serialize(given);
  const entries = Array.isArray(given) ? [...given.entries()] : Object.entries(given);
  return `a:${entries.length}:{${entries.map(([name, each]) => serialize(name) + phpOf(each)).join('')}}`;
}
