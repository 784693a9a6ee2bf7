/** What becomes of one call: arguments, prepare, execute, finish, and the answer. */
import { describe, expect, test as plain } from 'vitest';
import { z } from 'zod';
import { CallMethod, type CallMethodClass } from '../../src/call/method.ts';
import { CallServer } from '../../src/call/server.ts';
import { QueueError } from '../../src/errors.ts';
import type { Json } from '../../src/message.ts';
import { houseTest as test, method, type Answer, type House } from './client.ts';

async function answerOf(house: House, called: CallMethodClass, args: unknown = {}): Promise<Answer> {
  const client = await house.client(await house.server({}, { called }));
  return client.call('called', args);
}

describe('arguments', () => {
  class Ordered extends CallMethod<{ size: string; many: number }> {
    override readonly defaultArgs = { size: 'small', many: 1 };
    override execute(): void {
      this.succeed('', this.args);
    }
  }

  test('are those that there are, completed by their defaults', async ({ house }) => {
    const { result } = await answerOf(house, Ordered, { many: 3, sauce: 'hot', toString: 1 });
    expect(result).toEqual({ size: 'small', many: 3 });
  });

  test('of a method without defaults are as they were sent', async ({ house }) => {
    const echo = method((self) => self.succeed('', self.args));
    expect(await answerOf(house, echo, { a: { b: [1] } })).toMatchObject({ result: { a: { b: [1] } } });
  });

  test('are what a schema makes of them, or refused', async ({ house }) => {
    class Checked extends CallMethod<{ at: Date; many: number }> {
      override readonly defaultArgs = { many: 1, at: undefined as unknown as Date };
      override readonly schema = z.object({ at: z.coerce.date(), many: z.number().max(5) });
      override execute(): void {
        this.succeed('', { at: this.args.at instanceof Date, many: this.args.many });
      }
    }
    const server = await house.server({}, { called: Checked });
    const client = await house.client(server);
    const at = '2026-01-01T00:00:00Z';
    expect(await client.call('called', { at })).toMatchObject({ result: { at: true, many: 1 } });
    expect(await client.call('called', { at, many: 7 })).toMatchObject({
      code: 5,
      message: expect.stringContaining('args.many: ') as string,
      result: { error: 'INVALID_ARGUMENT' },
    });
  });

  test('share nothing between calls, defaults neither', async ({ house }) => {
    const shared: Json[] = [];
    class Keeps extends CallMethod<{ list: Json[] }> {
      override readonly defaultArgs = { list: shared };
      seen = 0;
      override execute(): void {
        this.args.list.push(++this.seen);
        this.succeed('', this.args.list);
      }
    }
    const client = await house.client(await house.server({}, { called: Keeps }));
    for (let n = 0; n < 3; n++) expect(await client.call('called')).toMatchObject({ result: [1] });
    expect(shared).toEqual([]);
  });
});

describe('prepare, execute, finish', () => {
  /** Notes what is called. */
  function noting(
    notes: unknown[],
    parts: Partial<Record<'prepare' | 'execute' | 'finish', (self: CallMethod) => unknown>>,
  ): CallMethodClass {
    return class extends CallMethod {
      override async prepare(): Promise<boolean | void> {
        notes.push('prepare');
        return (await parts.prepare?.(this)) as boolean | void;
      }
      override async execute(): Promise<void> {
        notes.push('execute');
        await parts.execute?.(this);
      }
      override async finish(): Promise<void> {
        notes.push(`finish ${this.hasError} ${this.isSuccess}`);
        await parts.finish?.(this);
      }
    };
  }
  const raise = (): never => {
    throw new Error('no paper');
  };

  test.for<[string, Parameters<typeof noting>[1], string[], Partial<Answer>]>([
    ['all of them', {}, ['prepare', 'execute', 'finish false true'], { code: 0, message: '', result: null }],
    [
      'prepare says no',
      { prepare: () => false },
      ['prepare', 'finish true false'],
      { code: 6, message: '"called" was refused', result: { error: 'REFUSED' } },
    ],
    [
      'prepare fails',
      { prepare: (self) => self.fail(170, 'closed', 'why') },
      ['prepare', 'finish true false'],
      { code: 170, message: 'closed', result: 'why' },
    ],
    [
      'prepare throws',
      { prepare: raise },
      ['prepare', 'finish true false'],
      { code: 1, message: 'no paper', result: { error: 'METHOD_FAILED' } },
    ],
    [
      'execute fails',
      { execute: (self) => self.fail(100) },
      ['prepare', 'execute', 'finish true false'],
      { code: 100, message: '', result: null },
    ],
    [
      'execute throws',
      { execute: raise },
      ['prepare', 'execute', 'finish true false'],
      { code: 1, message: 'no paper' },
    ],
    [
      'execute throws behind its word',
      {
        execute: (self) => {
          self.succeed('done');
          raise();
        },
      },
      ['prepare', 'execute', 'finish true false'],
      { code: 1 },
    ],
    [
      'finish throws',
      { finish: raise },
      ['prepare', 'execute', 'finish false true'],
      { code: 1, message: 'no paper' },
    ],
    [
      'the last word',
      {
        execute: (self) => {
          self.fail(100);
          self.succeed('after all', 1);
        },
      },
      ['prepare', 'execute', 'finish false true'],
      { code: 0, message: 'after all', result: 1 },
    ],
    [
      'code 0 is no error',
      { execute: (self) => self.fail(0) },
      ['prepare', 'execute', 'finish true false'],
      { code: 5 },
    ],
  ])('%s', async ([, parts, expected, answer], { house }) => {
    const notes: unknown[] = [];
    expect(await answerOf(house, noting(notes, parts))).toMatchObject(answer);
    expect(notes).toEqual(expected);
  });

  test('finish is called where the arguments do not fit, and where the schema breaks', async ({ house }) => {
    const notes: string[] = [];
    for (const check of [z.object({ a: z.string() }), z.object({ a: z.any().transform(raise) })]) {
      class Called extends CallMethod<object> {
        override readonly schema = check;
        override execute(): void {
          notes.push('execute');
        }
        override finish(): void {
          notes.push(`finish ${this.hasError}`);
        }
      }
      const { code } = await answerOf(house, Called, { a: 1 });
      expect(code).not.toBe(0);
    }
    expect(notes).toEqual(['finish true', 'finish true']);
  });

  test('a method knows its name, its server, and its log', async ({ house }) => {
    const server = await house.server(
      {},
      {
        known: method((self) => {
          self.log.info('here', { a: 1 });
          self.succeed(self.callName, self.server === server);
        }),
      },
    );
    const client = await house.client(server);
    expect(await client.call('known')).toEqual({ code: 0, message: 'known', result: true });
    expect(house.lines).toEqual([{ level: 'INFO', text: 'here', fields: { method: 'known', a: 1 } }]);
  });
});

describe('what goes wrong', () => {
  test('in a method is answered without its stack, and logged with it', async ({ house }) => {
    const called = method(() => {
      throw new TypeError('bad \u001b[31m thing');
    });
    const answer = await answerOf(house, called);
    expect(answer).toEqual({ code: 1, message: 'bad \\u001b[31m thing', result: { error: 'METHOD_FAILED' } });
    const [line] = house.lines;
    expect(line).toMatchObject({ level: 'ERROR', fields: { method: 'called', error: 'TypeError' } });
    expect(String(line?.fields['stack'])).toContain('methods.test.ts');
  });

  test.for<[string, () => unknown, string]>([
    ['a text', () => 'plainly', 'plainly'],
    ['nothing', () => undefined, 'undefined'],
    [
      'what cannot be read',
      () =>
        new Proxy(
          {},
          {
            get() {
              throw new Error('x');
            },
          },
        ),
      '',
    ],
  ])('whatever is thrown: %s', async ([, thrown, message], { house }) => {
    const called = method(() => {
      throw thrown();
    });
    expect(await answerOf(house, called)).toMatchObject({
      code: 1,
      message: expect.stringContaining(message) as string,
    });
  });

  test('with a QueueError has its code, as a number and as a word', async ({ house }) => {
    const called = method(() => {
      throw new QueueError('QUEUE_FULL', 'expected less');
    });
    expect(await answerOf(house, called)).toEqual({
      code: 22,
      message: 'expected less',
      result: { error: 'QUEUE_FULL' },
    });
  });

  test.for<[string, unknown]>([
    ['a function', () => 1],
    ['a bigint', 1n],
    ['NaN', Number.NaN],
    ['a map', new Map()],
  ])('a result that is no JSON: %s', async ([, result], { house }) => {
    const answer = await answerOf(
      house,
      method((self) => self.succeed('', result)),
    );
    expect(answer).toMatchObject({ code: 1, result: { error: 'METHOD_FAILED' } });
    expect(house.lines[0]?.level).toBe('ERROR');
  });

  test('a constructor that throws spoils its call only', async ({ house }) => {
    class Broken extends CallMethod {
      constructor() {
        super();
        throw new Error('no license');
      }
      override execute(): void {}
    }
    const client = await house.client(await house.server({}, { broken: Broken }));
    expect(await client.call('broken')).toMatchObject({ code: 1, message: 'no license' });
    expect(await client.call('verify')).toMatchObject({ code: 0 });
  });

  test('an answer goes out as JSON leaves it', async ({ house }) => {
    const called = method((self) => self.succeed(undefined, { at: new Date(0), none: undefined }));
    expect(await answerOf(house, called)).toEqual({
      code: 0,
      message: '',
      result: { at: '1970-01-01T00:00:00.000Z' },
    });
    const odd = method((self) => self.succeed({ a: 1 } as unknown as string, undefined));
    expect(await answerOf(house, odd)).toEqual({ code: 0, message: '{"a":1}', result: null });
  });
});

describe('names', () => {
  test('that there are not are told, with the near one', async ({ house }) => {
    const client = await house.client(await house.server());
    expect(await client.call('tset')).toMatchObject({
      code: 4,
      message: 'there is no method "tset"; did you mean test?',
    });
    for (const name of ['__proto__', 'constructor', '../x', '\u001b[31m'])
      expect(await client.call(name)).toMatchObject({ code: 4, result: { error: 'UNKNOWN_METHOD' } });
  });

  test('of the special methods are test, verify and notFound; each can be replaced', async ({ house }) => {
    const server = await house.server();
    const client = await house.client(server);
    expect(await client.call('test', { a: 1 })).toMatchObject({ code: 0, result: { args: { a: 1 } } });
    expect(await client.call('verify')).toMatchObject({ code: 0 });
    for (const name of ['test', 'verify', 'notFound'])
      server.addMethod(
        name,
        method((self) => self.succeed(`mine: ${self.callName}`)),
      );
    for (const name of ['test', 'verify', 'other'])
      expect(await client.call(name)).toMatchObject({ message: `mine: ${name}` });
  });
});

describe('misuse', () => {
  plain.for<[string, () => unknown, string]>([
    ['a scheme', () => new CallServer({ scheme: 'http' as 'tcp' }), 'scheme: expected tcp or udp'],
    ['a port', () => new CallServer({ port: 65_536 }), 'port: expected a whole number'],
    ['a limit', () => new CallServer({ limits: { calls: 0 } }), 'limits.calls: expected'],
    [
      'the name of a limit',
      () => new CallServer({ limits: { call: 1 } as object }),
      'limits: expected some of',
    ],
    [
      'the name of a method',
      () =>
        new CallServer().addMethod(
          'a b',
          method(() => undefined),
        ),
      'name: expected',
    ],
    [
      'an instance',
      () => new CallServer().addMethod('a', {} as CallMethodClass),
      'a class that extends CallMethod',
    ],
    [
      'another class',
      () => new CallServer().addMethod('a', Map as unknown as CallMethodClass),
      'a class that extends',
    ],
    ['a method outside a call', () => new (method(() => undefined))().callName, 'known during the call'],
  ])('of %s is told', ([, act, why]) => {
    expect(act).toThrow(
      expect.objectContaining({ name: 'QueueError', message: expect.stringContaining(why) as string }),
    );
  });
});
