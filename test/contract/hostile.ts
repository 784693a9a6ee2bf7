import { describe, expect } from 'vitest';
import type { Json, MessageInput } from '../../src/index.ts';
import { add, claimOne, dataOf, firstOf, Q, refusal } from './subject.ts';
import type { ContractTest } from './subject.ts';

function nested(depth: number): Json {
  let data: Json = [];
  for (let i = 1; i < depth; i++) data = i % 2 ? { in: data } : [data];
  return data;
}

/** JSON that has gone wrong somewhere before: in shells, loggers, parsers, terminals. */
const ODD: Json[] = [
  null,
  false,
  0,
  '',
  [],
  {},
  1e308,
  5e-324,
  Number.MAX_SAFE_INTEGER,
  'line\nbreak\r\ttab\u0000nul\u001b[31mred',
  '\u2028\u2029\ufeff\u202e',
  '\ud800 alone, and \udc00',
  '𝕊 😀 ß',
  '"],["deadbeef:10:5",{"op":"purge"}]\n["',
  { '': { '': '' }, 'a"b': 1, '\n': 2, toJSON: 'data', length: -1, constructor: null },
  { 10: 'b', 9: 'a' },
  [[[]], [{}], [null, [false]]],
  JSON.parse('{"__proto__":{"polluted":true},"a":{"__proto__":null}}') as Json,
];

export function hostile(test: ContractTest): void {
  describe('payloads', () => {
    test('every kind of JSON comes out as it went in', async ({ manager }) => {
      await add(manager, ...ODD);
      const expected = ODD.map((data) => JSON.stringify(data));
      expect((await dataOf(manager)).map((data) => JSON.stringify(data))).toEqual(expected);
      const claims = await manager.claimMessages(Q, { limit: ODD.length });
      expect(claims.map(({ data }) => JSON.stringify(data))).toEqual(expected);
    });

    test('__proto__ is a key like any other, and touches no prototype', async ({ manager }) => {
      await manager.addMessage(Q, { data: JSON.parse('{"__proto__":{"polluted":true}}') as Json });
      const data = (await manager.getMessage(Q))!.data as object;
      expect(Object.keys(data)).toEqual(['__proto__']);
      expect(Object.getPrototypeOf(data)).toBe(Object.prototype);
      expect('polluted' in data).toBe(false);
      expect('polluted' in {}).toBe(false);
    });

    test('what JSON.stringify makes of a value is what is stored', async ({ manager }) => {
      class Order {
        id = 7;
        #secret = 'hidden';
        reveal(): string {
          return this.#secret;
        }
      }
      const bare = Object.assign(Object.create(null) as object, { a: 1 });
      const values = [
        { at: new Date(0), url: new URL('http://a.b/'), bytes: Buffer.from('a') },
        { gone: undefined, kept: 1 },
        new Order(),
        bare,
        { [Symbol('key')]: 1, b: 2 },
        -0,
        { toJSON: () => [1] },
      ];
      for (const data of values) {
        await manager.addMessage(Q, { data: data as unknown as Json });
        expect((await manager.getMessage(Q))!.data).toEqual(JSON.parse(JSON.stringify(data)));
      }
    });

    test('64 levels of nesting are taken, 65 are not', async ({ manager }) => {
      await add(manager, nested(64));
      expect(JSON.stringify((await manager.getMessage(Q))!.data)).toBe(JSON.stringify(nested(64)));
      for (const depth of [65, 1000, 100_000]) {
        expect(
          (await refusal(manager.addMessage(Q, { data: nested(depth) }), 'INVALID_MESSAGE')).message,
        ).toContain('64');
      }
    });

    test('what JSON cannot hold is refused, with the path to it', async ({ manager }) => {
      const self: Record<string, unknown> = {};
      self['self'] = self;
      const cycle: Record<string, unknown> = { list: [] };
      (cycle['list'] as unknown[]).push({ back: cycle });
      const cases: [data: unknown, received: string, at: string][] = [
        [undefined, 'undefined', 'data'],
        [() => 1, 'function', 'data'],
        [Symbol('s'), 'symbol', 'data'],
        [1n, 'bigint', 'data'],
        [Number.NaN, 'NaN', 'data'],
        [{ a: [1, { b: Number.POSITIVE_INFINITY }] }, 'Infinity', 'data.a[1].b'],
        [{ 'odd key': { n: 1n } }, 'bigint', 'data."odd key".n'],
        [[1, undefined], 'undefined', 'data[1]'],
        // oxlint-disable-next-line no-sparse-arrays -- the hole is what is refused
        [[, 1], 'undefined', 'data[0]'],
        [{ f() {} }, 'function', 'data.f'],
        [{ when: new Date(Number.NaN), list: [1n] }, 'bigint', 'data.list[0]'],
        [{ m: new Map() }, 'Map', 'data.m'],
        [new Set(), 'Set', 'data'],
        [/x/, 'RegExp', 'data'],
        [new Error('x'), 'Error', 'data'],
        [new Uint8Array(2), 'Uint8Array', 'data'],
        [Promise.resolve(), 'Promise', 'data'],
        [Object('text'), 'String', 'data'],
        [self, 'a cycle', 'data.self'],
        [cycle, 'a cycle', 'data.list[0].back.list'],
        [{ toJSON: () => Number.NaN }, 'NaN', 'data'],
        [{ toJSON: () => undefined }, 'undefined', 'data'],
      ];
      for (const [data, received, at] of cases) {
        const { message, queue } = await refusal(
          manager.addMessage(Q, { data: data as Json }),
          'INVALID_MESSAGE',
        );
        expect(message).toContain(received);
        expect(message.endsWith(` at ${at}`), message).toBe(true);
        expect(queue).toBe(Q);
      }
      expect(await dataOf(manager)).toEqual([]);
    });

    test('data that throws when it is read is refused, with what it threw', async ({ manager }) => {
      const thrown = new Error('mine');
      const getter = {
        get a(): never {
          throw thrown;
        },
      };
      const toJSON = {
        toJSON() {
          throw thrown;
        },
      };
      for (const data of [getter, toJSON, { deep: [getter] }]) {
        const { cause } = await refusal(
          manager.addMessage(Q, { data: data as unknown as Json }),
          'INVALID_MESSAGE',
        );
        expect(cause).toBe(thrown);
      }
    });
  });

  describe('arguments', () => {
    test('queue names are 1 to 64 letters, digits, dots, hyphens and underscores, without a leading dot', async ({
      store,
    }) => {
      const manager = await store.open();
      for (const name of ['a', 'A-b_c.9', '-', '_', 'x'.repeat(64), '0.', 'a..b']) {
        expect(await manager.createQueue(name)).toBe(true);
      }
      const bad = [
        '',
        '.',
        '..',
        '.hidden',
        'a/b',
        '../a',
        'a\\b',
        'a\0',
        'a b',
        'a\n',
        'ä',
        'x'.repeat(65),
        'a:b',
        '%41',
      ];
      for (const name of [...bad, 7, null, undefined, {}, ['a']] as string[]) {
        for (const ask of [
          () => manager.createQueue(name),
          () => manager.destroyQueue(name),
          () => manager.queueExists(name),
          () => manager.addMessage(name, { data: 1 }),
          () => manager.claimMessages(name),
          () => manager.queueStatus(name),
          () => firstOf(manager.findMessages(name)),
        ]) {
          await refusal(ask(), 'INVALID_QUEUE_NAME');
        }
      }
      expect(await manager.listQueues()).toHaveLength(7);
    });

    test('a refusal says what was expected and what was received, safe for a terminal', async ({
      manager,
    }) => {
      const { message } = await refusal(manager.createQueue('\u001b[31m/../'), 'INVALID_QUEUE_NAME');
      expect(message).toContain('expected');
      expect(message).toContain('\\u001b[31m/../');
      expect(message).not.toContain('\u001b');
    });

    test('a message must be one, with no property that is unknown', async ({ manager }) => {
      const refused = (input: unknown) =>
        refusal(manager.addMessage(Q, input as MessageInput), 'INVALID_MESSAGE');
      for (const input of [undefined, null, 'text', 7, [], [{ data: 1 }], {}, { alias: 'a' }])
        await refused(input);
      expect((await refused({ data: 1, retires: 3 })).message).toContain('did you mean retries?');
      expect((await refused({ data: 1, uuid: 'mine' })).message).toContain('"uuid"');
      expect(await dataOf(manager)).toEqual([]);
    });

    test('each property of a message has its type and range', async ({ manager }) => {
      const cases = [
        { alias: 7 },
        { alias: null },
        { alias: 'x'.repeat(1025) },
        { alias: 'ä'.repeat(513) },
        { retries: -1 },
        { retries: 1.5 },
        { retries: '3' },
        { retries: Number.NaN },
        { retries: 2 ** 53 },
        { dateTimeDeferredExecution: 'tomorrow' },
        { dateTimeDeferredExecution: 1_700_000_000_000 },
        { dateTimeDeferredExecution: new Date('never') },
        { dateTimeDeferredExecution: null },
        { disabled: 'false' },
        { disabled: 0 },
        { username: {} },
        { username: 'x'.repeat(1025) },
      ];
      for (const properties of cases) {
        const input = { data: 1, ...properties } as unknown as MessageInput;
        const { message } = await refusal(manager.addMessage(Q, input), 'INVALID_MESSAGE');
        expect(message).toContain(Object.keys(properties)[0]);
        expect(message).toMatch(/expected .*received /);
      }
      expect(await dataOf(manager)).toEqual([]);
    });

    test('the largest alias, username and retries are taken', async ({ manager }) => {
      const largest = {
        alias: 'ä'.repeat(512),
        username: 'x'.repeat(1024),
        retries: Number.MAX_SAFE_INTEGER,
      };
      await manager.addMessage(Q, { data: 1, ...largest });
      expect(await claimOne(manager)).toMatchObject(largest);
    });

    test('properties that are undefined count as absent', async ({ manager }) => {
      await manager.addMessage(Q, {
        data: 1,
        alias: undefined,
        retries: undefined,
        dateTimeDeferredExecution: undefined,
        disabled: undefined,
        username: undefined,
      });
      expect(await manager.claimMessages(Q, { limit: undefined, lease: undefined })).toHaveLength(1);
    });

    test('one bad message refuses all of addMessages, and is named', async ({ manager }) => {
      const inputs = [{ data: 1 }, { data: 2 }, { data: 3n as unknown as Json }, { data: 4 }];
      const { message } = await refusal(manager.addMessages(Q, inputs), 'INVALID_MESSAGE');
      expect(message).toContain('message 2 of 0 to 3');
      // oxlint-disable-next-line no-sparse-arrays -- the hole is what is refused
      const holed = [{ data: 1 }, , { data: 2 }] as MessageInput[];
      expect(await refusal(manager.addMessages(Q, holed), 'INVALID_MESSAGE')).toMatchObject({
        message: expect.stringContaining('message 1 of 0 to 2'),
      });
      await refusal(manager.addMessages(Q, { length: 1 } as unknown as MessageInput[]), 'INVALID_ARGUMENT');
      expect(await dataOf(manager)).toEqual([]);
    });

    test('arguments that are none are refused with INVALID_ARGUMENT, and change nothing', async ({
      manager,
    }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      const bad = (value: unknown) => value as never;
      for (const ask of [
        ...[0, -1, 1.5, '1', null, Number.NaN, Infinity].flatMap((value) => [
          () => manager.claimMessages(Q, { limit: bad(value) }),
          () => manager.claimMessages(Q, { lease: bad(value) }),
        ]),
        () => manager.claimMessages(Q, bad({ limt: 1 })),
        () => manager.claimMessages(Q, bad(5)),
        ...[undefined, null, 'token', {}, { uuid: 'u' }, { uuid: 1, token: 't' }].flatMap((value) => [
          () => manager.completeMessage(Q, bad(value)),
          () => manager.releaseMessage(Q, bad(value)),
          () => manager.renewMessage(Q, bad(value)),
          () => manager.failMessage(Q, bad(value), new Error('no')),
        ]),
        () => manager.renewMessage(Q, claim, 0),
        () => manager.failMessage(Q, claim, new Error('no'), bad({ retryAt: 'soon' })),
        () => manager.failMessage(Q, claim, new Error('no'), { retryAt: new Date(Number.NaN) }),
        () => manager.failMessage(Q, claim, new Error('no'), bad({ final: 1 })),
        () => manager.failMessage(Q, claim, new Error('no'), bad({ finall: true })),
        () => manager.failMessage(Q, bad({ uuid: 'u', token: 't' }), new Error('no')),
        () => manager.removeMessage(Q, bad(7)),
        () => manager.updateMessage(Q, bad(undefined), {}),
        () => manager.retryMessages(Q, bad('some')),
        () => manager.retryMessages(Q, bad([7])),
        () => manager.retryMessages(Q, bad(undefined)),
        () => manager.setCustomAttributes(Q, bad([])),
        () => manager.setCustomAttributes(Q, bad({ a: 1n })),
        () => manager.setCustomAttributes(Q, { a: 'x'.repeat(65 * 1024) }),
        () => manager.updateLastMessageProcessed(Q, bad({})),
        () => manager.waitForMessage(Q, { timeout: -1 }),
        () => manager.waitForMessage(Q, { timeout: 2 ** 31 }),
        () => manager.waitForMessage(Q, bad({ signal: {} })),
      ]) {
        await refusal(ask(), 'INVALID_ARGUMENT');
      }
      expect(await manager.completeMessage(Q, claim)).toBe(true);
    });
  });
}
