/** Payload schemas: what a manager that was opened with some adds, refuses and stores. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type } from 'arktype';
import * as v from 'valibot';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { Json, Message, OpenOptions } from '../src/index.ts';
import { openMemory, QueueManager } from '../src/index.ts';
import { checkSchema, fitOf, type StandardSchema } from '../src/standard-schema.ts';

type Result = { value: unknown } | { issues: readonly { message: string; path?: readonly PropertyKey[] }[] };

/** A schema written by hand. */
function schema(validate: (value: unknown) => unknown): StandardSchema {
  return { '~standard': { version: 1, vendor: 'test', validate: validate as (value: unknown) => Result } };
}

/** A schema that answers when the test says so. */
function gated(): { schema: StandardSchema; answer: (data: Json, fits: boolean) => void } {
  const waiting = new Map<string, (result: Result) => void>();
  return {
    schema: schema((value) => new Promise<Result>((resolve) => waiting.set(JSON.stringify(value), resolve))),
    answer(data, fits) {
      const resolve = waiting.get(JSON.stringify(data));
      if (!resolve) throw new Error('not asked');
      resolve(fits ? { value: data } : { issues: [{ message: 'late no' }] });
    },
  };
}

const MAILS = [
  ['zod', z.object({ to: z.string(), cc: z.array(z.string()).optional() })],
  ['valibot', v.object({ to: v.string(), cc: v.optional(v.array(v.string())) })],
  ['arktype', type({ to: 'string', 'cc?': 'string[]' })],
  [
    'zod with an asynchronous refinement',
    z.object({ to: z.string(), cc: z.array(z.string()).optional() }).refine(async () => true),
  ],
] as const;

describe('fitOf', () => {
  test.each(MAILS)('knows what fits a schema of %s, and says where data does not', async (_, mail) => {
    expect(await fitOf(mail, { to: 'a' })).toEqual({ value: { to: 'a' } });
    const fit = await fitOf(mail, { to: 5, cc: ['b', null] });
    expect(fit).toEqual({
      issues: [
        expect.stringMatching(/^data\.to: .*string/),
        expect.stringMatching(/^data\.cc\[1\]: .*string/),
      ],
    });
  });

  test('answers at once where the schema does', () => {
    for (const [, mail] of MAILS.slice(0, 3))
      expect(fitOf(mail, { to: 'a' })).toEqual({ value: { to: 'a' } });
    expect(fitOf(MAILS[3][1], { to: 'a' })).toBeInstanceOf(Promise);
  });

  test('hands on what the schema makes of the data', () => {
    const since = z.object({ since: z.string().transform((text) => new Date(text)) });
    expect(fitOf(since, { since: '2026-12-24' })).toEqual({ value: { since: new Date('2026-12-24') } });
  });

  test('throws what the schema throws, and rejects with what it rejects with', async () => {
    const fault = new Error('no');
    const throwing = schema(() => {
      throw fault;
    });
    expect(() => fitOf(throwing, 1)).toThrow(fault);
    await expect(
      fitOf(
        schema(() => Promise.reject(fault)),
        1,
      ),
    ).rejects.toBe(fault);
  });

  test.each([undefined, null, true, 'yes', 3])('refuses a schema that answers %s', async (answer) => {
    const refusal = expect.objectContaining({ code: 'INVALID_ARGUMENT' }) as unknown;
    expect(() =>
      fitOf(
        schema(() => answer),
        1,
      ),
    ).toThrow(refusal);
    await expect(
      fitOf(
        schema(() => Promise.resolve(answer)),
        1,
      ),
    ).rejects.toEqual(refusal);
  });

  test('tells at most twenty reasons, the last of which counts the others', () => {
    const issues = Array.from({ length: 50_000 }, (_, i) => ({ message: `no ${i}`, path: [i] }));
    const fit = fitOf(
      schema(() => ({ issues })),
      1,
    ) as { issues: string[] };
    expect(fit.issues).toHaveLength(20);
    expect([fit.issues[0], fit.issues[18], fit.issues[19]]).toEqual([
      'data[0]: no 0',
      'data[18]: no 18',
      'and 49981 more',
    ]);
    const twenty = fitOf(
      schema(() => ({ issues: issues.slice(0, 20) })),
      1,
    );
    expect(twenty).toMatchObject({ issues: { 19: 'data[19]: no 19' } });
  });

  const trap = new Proxy({}, { get: () => { throw new Error('looked at'); } }); // prettier-ignore
  test.each<[string, unknown, string]>([
    ['no issues at all', [], 'data: does not fit'],
    ['something else than issues', true, 'data: does not fit'],
    ['null', [null], 'data: does not fit'],
    ['a message that is none', [{ message: 5 }], 'data: does not fit'],
    ['a blank message', [{ message: ' \n' }], 'data: does not fit'],
    ['control characters', [{ message: '\u001b[2Jgone\u202e' }], 'data: \\u001b[2Jgone\\u202e'],
    ['several lines', [{ message: 'a\nb\r\u2028c' }], 'data: a\\u000ab\\u000d\\u2028c'],
    ['a huge message', [{ message: 'x'.repeat(1e7) }], `data: ${'x'.repeat(200)}…`],
    ['a deep path', [{ message: 'no', path: Array(1e6).fill('a') }], `data${'.a'.repeat(8)}…: no`],
    ['segments', [{ message: 'no', path: [{ key: 'a' }, { key: 0 }] }], 'data.a[0]: no'],
    ['a hostile key', [{ message: 'no', path: ['\u001b[31m'] }], 'data."\\u001b[31m": no'],
    ['a huge key', [{ message: 'no', path: ['k'.repeat(1e6)] }], `data."${'k'.repeat(39)}…: no`],
    ['a symbol', [{ message: 'no', path: [Symbol('s')] }], 'data["Symbol(s)"]: no'],
    ['keys that are none', [{ message: 'no', path: [{}, [], null] }], 'data[…][…][…]: no'],
    ['a path that is none', [{ message: 'no', path: { length: 'x' } }], 'data: no'],
    ['an endless path', [{ message: 'no', path: { length: Infinity } }], `data${'[…]'.repeat(8)}…: no`],
    ['issues that do not like to be looked at', [trap], 'data: does not fit'],
    ['a list that does not', trap, 'data: does not fit'],
    ['a path that does not', [{ message: 'no', path: [trap, 'b'] }], 'data[…].b: no'],
  ])('takes no harm from %s', (_, issues, line) => {
    const fit = fitOf(
      schema(() => ({ issues })),
      1,
    );
    expect(fit).toEqual({ issues: [line] });
  });
});

describe('checkSchema', () => {
  test.each(MAILS)('takes one of %s', (_, mail) => {
    expect(checkSchema(mail)).toBe(mail);
  });

  const face = (standard: unknown): unknown => ({ '~standard': standard });
  test.each<[unknown, string]>([
    [undefined, 'received undefined'],
    [null, 'received null'],
    ['\u001b[2J', 'received "\\u001b[2J"'],
    [{ type: 'object' }, "an object without a property '~standard'"],
    [() => true, "a function without a property '~standard'"],
    [face(1), "without a property '~standard'"],
    [face({ version: 2, vendor: 'x', validate: () => ({ value: 1 }) }), 'version 2'],
    [face({ version: 1, vendor: 'x' }), 'without a function validate'],
    [Object.defineProperty({}, '~standard', { get: () => JSON.parse('{') }), 'cannot be looked at'],
  ])('refuses %j', (value, why) => {
    expect(() => checkSchema(value, 'mine')).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(why) }) as Error,
    );
  });
});

let manager: QueueManager | undefined;
let folder: string | undefined;
afterEach(async () => {
  await manager?.close();
  if (folder !== undefined) await rm(folder, { recursive: true });
  [manager, folder] = [undefined, undefined];
});

/** A manager in memory with one queue, `mails`; its types know nothing of the schemas. */
async function open(
  schemas: Record<string, StandardSchema | undefined>,
  options: OpenOptions = {},
): Promise<QueueManager> {
  const given = { queueType: 'memory', durability: 'os', ...options, schemas } as OpenOptions;
  manager = await QueueManager.open(given);
  await manager.createQueue('mails');
  return manager;
}

async function queued(queues: QueueManager): Promise<Json[]> {
  const found: Message[] = [];
  for await (const message of queues.findMessages('mails')) found.push(message);
  return found.map(({ data }) => data);
}

describe('a manager with schemas', () => {
  test.each(MAILS)('adds what fits one of %s, and nothing else', async (_, mail) => {
    const queues = await open({ mails: mail });
    await queues.addMessage('mails', { data: { to: 'a' } });
    await expect(queues.addMessage('mails', { data: { to: 5 } })).rejects.toMatchObject({
      code: 'INVALID_MESSAGE',
      queue: 'mails',
      message: expect.stringMatching(/^data does not fit the schema of queue mails: data\.to: .*string/),
    });
    expect(await queued(queues)).toEqual([{ to: 'a' }]);
  });

  test.each(MAILS)('adds none of several when one does not fit one of %s', async (_, mail) => {
    const queues = await open({ mails: mail });
    const good = { data: { to: 'a' } };
    await expect(queues.addMessages('mails', [good, good, { data: {} }, { data: 1 }])).rejects.toMatchObject({
      code: 'INVALID_MESSAGE',
      message: expect.stringMatching(/^message 2 of 0 to 3: its data does not fit .*: data\.to: /),
    });
    expect(await queued(queues)).toEqual([]);
    await queues.addMessages('mails', [good, { data: { to: 'b' } }]);
    expect(await queued(queues)).toEqual([{ to: 'a' }, { to: 'b' }]);
  });

  test.each(MAILS)('updates to what fits one of %s, and to nothing else', async (_, mail) => {
    const queues = await open({ mails: mail });
    const { uuid } = await queues.addMessage('mails', { data: { to: 'a' } });
    await expect(queues.updateMessage('mails', uuid, { data: { to: null } })).rejects.toMatchObject({
      code: 'INVALID_MESSAGE',
    });
    expect(await queued(queues)).toEqual([{ to: 'a' }]);
    await queues.updateMessage('mails', uuid, { alias: 'A' });
    await queues.updateMessage('mails', uuid, { data: { to: 'b' } });
    expect(await queued(queues)).toEqual([{ to: 'b' }]);
  });

  test('lets other queues be', async () => {
    const queues = await open({ mails: undefined, hooks: z.number() });
    await queues.addMessage('mails', { data: 'anything' });
    await queues.createQueue('toString');
    await queues.addMessage('toString', { data: 'anything' });
    expect(await queued(queues)).toEqual(['anything']);
  });

  test('stores what was given, not what the schema makes of it', async () => {
    const queues = await open({
      mails: z.object({ at: z.string().transform((text) => new Date(text)), n: z.number().default(3) }),
    });
    const data = { at: '2026-12-24T18:00:00Z', extra: true };
    expect((await queues.addMessage('mails', { data })).data).toEqual(data);
    expect(await queued(queues)).toEqual([data]);
  });

  test('checks the data as JSON leaves it, for that is what a worker will see', async () => {
    const text = await open({ mails: z.object({ at: z.iso.datetime() }) });
    const data = { at: new Date() as unknown as Json };
    await text.addMessage('mails', { data });
    await text.close();
    const date = await open({ mails: z.object({ at: z.date() }) });
    await expect(date.addMessage('mails', { data })).rejects.toMatchObject({ code: 'INVALID_MESSAGE' });
  });

  test('lets no schema change the data of its caller', async () => {
    const queues = await open({
      mails: schema((value) => {
        (value as { to: string }).to = 'changed';
        return { value };
      }),
    });
    const data = { to: 'a' };
    await queues.addMessage('mails', { data });
    expect(data).toEqual({ to: 'a' });
    expect(await queued(queues)).toEqual([{ to: 'a' }]);
  });

  test.each([
    ['throws', () => { throw new TypeError('broken \u001b[2J'); }], // prettier-ignore
    ['rejects', () => Promise.reject(new TypeError('broken \u001b[2J'))],
  ])('adds nothing when the schema %s, and says so', async (_, validate) => {
    const queues = await open({ mails: schema(validate) });
    await expect(queues.addMessage('mails', { data: 1 })).rejects.toMatchObject({
      code: 'INVALID_MESSAGE',
      queue: 'mails',
      message: 'data cannot be checked, the schema of queue mails threw "broken \\u001b[2J"',
      cause: expect.any(TypeError),
    });
    expect(queues.getLastError()).toMatchObject({ code: 'INVALID_MESSAGE' });
    expect(await queued(queues)).toEqual([]);
  });

  test.each<[unknown, string, string]>([
    [null, 'CONFIG_INVALID', 'option schemas: expected an object'],
    [[], 'CONFIG_INVALID', 'option schemas: expected an object'],
    ['mails', 'CONFIG_INVALID', 'option schemas: expected an object'],
    [{ mails: {} }, 'CONFIG_INVALID', 'option schemas: mails: expected a Standard Schema'],
    [{ '../mails': z.string() }, 'INVALID_QUEUE_NAME', '"../mails"'],
  ])('is not opened with %j', async (schemas, code, message) => {
    await expect(
      QueueManager.open({ queueType: 'memory', schemas: schemas as OpenOptions['schemas'] }),
    ).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });

  test('keeps to the schemas it was opened with', async () => {
    const schemas = { mails: z.number() };
    const queues = await open(schemas);
    Object.assign(schemas, { mails: z.string() });
    await queues.addMessage('mails', { data: 1 });
    await expect(queues.addMessage('mails', { data: 'a' })).rejects.toMatchObject({
      code: 'INVALID_MESSAGE',
    });
  });
});

describe('the order of calls', () => {
  test('made in one tick is kept, and they are written together, when the schema answers at once', async () => {
    const asked: number[] = [];
    const backend = openMemory();
    const queues = await open(
      { mails: z.number() },
      {
        backend: {
          ...backend,
          open: async (name) => {
            const queue = await backend.open(name);
            const add = queue.add.bind(queue);
            queue.add = (messages) => {
              asked.push(messages.length);
              return add(messages);
            };
            return queue;
          },
        },
      },
    );
    // So that the queue is open.
    await queues.queueStatus('mails');
    const calls = [1, 2, 3].map((data) => queues.addMessage('mails', { data }));
    calls.push(queues.addMessages('mails', [{ data: 4 }, { data: 5 }]).then(([first]) => first!));
    expect(asked).toEqual([1, 1, 1, 2]);
    await Promise.all(calls);
    expect(await queued(queues)).toEqual([1, 2, 3, 4, 5]);
  });

  test('is kept when a schema answers later, and out of order', async () => {
    const { schema, answer } = gated();
    const queues = await open({ mails: schema });
    // The first ones are called before the queue is open.
    const calls = [1, 2, 3, 4].map((data) => queues.addMessage('mails', { data }));
    for (const data of [4, 2, 3, 1]) answer(data, true);
    await Promise.all(calls);
    expect(await queued(queues)).toEqual([1, 2, 3, 4]);
    const more = [5, 6].map((data) => queues.addMessage('mails', { data }));
    answer(6, true);
    // All that could happen without the fifth has happened.
    await new Promise((resolve) => setImmediate(resolve));
    expect(await queued(queues)).toEqual([1, 2, 3, 4]);
    answer(5, true);
    await Promise.all(more);
    expect(await queued(queues)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('is kept between calls of which only some have to wait', async () => {
    const late = gated();
    const queues = await open({
      mails: schema((value) => (value === 'late' ? late.schema['~standard'].validate(value) : { value })),
    });
    const calls = ['a', 'late', 'b', 'c'].map((data) => queues.addMessage('mails', { data }));
    const update = calls[0]!.then(({ uuid }) => queues.updateMessage('mails', uuid, { data: 'A' }));
    await calls[0];
    expect(await queued(queues)).toEqual(['a']);
    late.answer('late', true);
    calls.push(queues.addMessage('mails', { data: 'd' }));
    await Promise.all([...calls, update]);
    expect(await queued(queues)).toEqual(['A', 'late', 'b', 'c', 'd']);
  });

  test('a misfit that is found late holds up nobody after it', async () => {
    const { schema, answer } = gated();
    const queues = await open({ mails: schema });
    const [one, two] = [1, 2].map((data) => queues.addMessage('mails', { data }));
    answer(2, true);
    answer(1, false);
    await expect(one).rejects.toMatchObject({
      code: 'INVALID_MESSAGE',
      message: expect.stringContaining('late no'),
    });
    await two;
    expect(await queued(queues)).toEqual([2]);
  });

  test('a misfit of a queue that does not exist is no unhandled rejection', async () => {
    const unhandled: unknown[] = [];
    const note = (error: unknown): void => void unhandled.push(error);
    process.on('unhandledRejection', note);
    try {
      const queues = await open({ none: schema(async () => ({ issues: [] })) });
      await expect(queues.addMessage('none', { data: 1 })).rejects.toMatchObject({ code: 'QUEUE_NOT_FOUND' });
      // Node tells of unhandled rejections before it comes to what is set here.
      await new Promise((resolve) => setImmediate(resolve));
      expect(unhandled).toEqual([]);
    } finally {
      process.off('unhandledRejection', note);
    }
  });

  test('a call that still waits for its schema when the manager is closed is refused', async () => {
    const { schema, answer } = gated();
    const queues = await open({ mails: schema });
    await queues.queueStatus('mails');
    const call = queues.addMessage('mails', { data: 1 });
    await queues.close();
    answer(1, true);
    await expect(call).rejects.toMatchObject({ code: 'CLOSED' });
  });
});

test('queues of files know schemas too', async () => {
  folder = await mkdtemp(join(tmpdir(), 'coda-schemas-'));
  const { schema, answer } = gated();
  const queues = await open({ mails: z.number(), late: schema }, { queueType: 'cache', cacheRoot: folder });
  await queues.createQueue('late');
  const calls = [1, 2, 3].map((data) => queues.addMessage('mails', { data }));
  await expect(queues.addMessages('mails', [{ data: 4 }, { data: 'five' }])).rejects.toMatchObject({
    code: 'INVALID_MESSAGE',
  });
  await Promise.all(calls);
  expect(await queued(queues)).toEqual([1, 2, 3]);
  const late = queues.addMessage('late', { data: 1 });
  await queues.queueStatus('late');
  const closed = queues.close();
  answer(1, true);
  await closed;
  // Whether it was in time or not, it is answered.
  expect(await late.catch((error: unknown) => error)).toSatisfy(
    (end: { code?: string; data?: unknown }) => end.code === 'CLOSED' || end.data === 1,
  );
});
