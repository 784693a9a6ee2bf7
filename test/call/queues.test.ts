/** The methods that ship: adding and finding messages over a socket. */
import { describe, expect } from 'vitest';
import { houseTest as test } from './client.ts';

describe('queue.add', () => {
  test('adds a message with all that it can have', async ({ house }) => {
    const queues = await house.queues();
    const client = await house.client(await house.server({ queues }));
    const due = '2100-01-01T00:00:00+01:00';
    const args = {
      queue: 'mails',
      data: { to: 'ada', __proto: 1 },
      alias: 'a',
      retries: 3,
      dateTimeDeferredExecution: due,
      disabled: true,
      username: 'php',
    };
    const { code, message, result } = await client.call('queue.add', args);
    expect([code, message]).toEqual([0, 'added']);
    const found = await queues.findMessage('mails', { alias: 'a' });
    expect(found).toMatchObject({
      data: args.data,
      retries: 3,
      disabled: true,
      username: 'php',
      dateTimeDeferredExecution: new Date(due),
    });
    expect(result).toMatchObject({ uuid: found?.uuid, state: 'deferred', duplicate: false });
    expect(result).not.toHaveProperty('data');
  });

  test('says when it was there already', async ({ house }) => {
    const queues = await house.queues();
    await queues.createQueue('once', { uniqueAlias: true });
    const client = await house.client(await house.server({ queues }));
    const args = { queue: 'once', data: null, alias: 'a' };
    await client.call('queue.add', args);
    expect(await client.call('queue.add', args)).toMatchObject({
      code: 0,
      message: 'was there already',
      result: { duplicate: true },
    });
  });

  test.for<[string, object, number, string]>([
    ['no queue', { data: 1 }, 5, 'expected the name of a queue'],
    ['no such queue', { queue: 'mail', data: 1 }, 20, 'did you mean'],
    ['a path', { queue: '../x', data: 1 }, 23, 'expected a queue name'],
    ['no text', { queue: { a: 1 }, data: 1 }, 5, 'expected a string'],
    ['a name that objects inherit', { queue: '__proto__', data: 1 }, 20, 'no queue'],
    ['no data', { queue: 'mails' }, 24, 'undefined'],
    ['a slip of the pen', { queue: 'mails', data: 1, alais: 'x' }, 5, 'did you mean alias?'],
    [
      'a local time',
      { queue: 'mails', data: 1, dateTimeDeferredExecution: '2026-01-01 10:00' },
      24,
      'a time such as',
    ],
    ['retries', { queue: 'mails', data: 1, retries: -1 }, 24, 'retries: expected'],
  ])('refuses %s', async ([, args, code, why], { house }) => {
    const queues = await house.queues();
    const client = await house.client(await house.server({ queues }));
    const answer = await client.call('queue.add', args);
    expect(answer).toMatchObject({ code, message: expect.stringContaining(why) as string });
    expect((await queues.queueStatus('mails')).messagesToProcess).toBe(0);
    // What a caller asks wrongly is no trouble of the server's.
    expect(house.lines.filter(({ level }) => level === 'ERROR')).toEqual([]);
  });

  test('keeps the order of a connection', async ({ house }) => {
    const queues = await house.queues();
    const client = await house.client(await house.server({ queues }));
    const many = Array.from({ length: 200 }, (_, n) => n);
    await client.send(
      many
        .map((n) => `${JSON.stringify({ name: 'queue.add', args: { queue: 'mails', data: n } })}\n`)
        .join(''),
    );
    await client.answers(200);
    const added: unknown[] = [];
    for await (const { data } of queues.findMessages('mails')) added.push(data);
    expect(added).toEqual(many);
  });
});

describe('queue.status and queue.find', () => {
  test('answer as the manager does, in JSON', async ({ house }) => {
    const queues = await house.queues();
    await queues.addMessages('mails', [
      { data: 1, alias: 'a' },
      { data: 2, alias: 'b' },
      { data: 3, alias: 'a' },
    ]);
    const client = await house.client(await house.server({ queues }));
    const status = JSON.parse(JSON.stringify(await queues.queueStatus('mails'))) as unknown;
    expect(await client.call('queue.status', { queue: 'mails' })).toEqual({
      code: 0,
      message: '',
      result: status,
    });
    const find = async (filter: object): Promise<unknown> => {
      const { result } = await client.call('queue.find', { queue: 'mails', ...filter });
      const { messages, more } = result as { messages: { data: unknown }[]; more: boolean };
      return { data: messages.map(({ data }) => data), more };
    };
    expect(await find({})).toEqual({ data: [1, 2, 3], more: false });
    expect(await find({ alias: 'a' })).toEqual({ data: [1, 3], more: false });
    expect(await find({ limit: 2 })).toEqual({ data: [1, 2], more: true });
    expect(await find({ limit: 3 })).toEqual({ data: [1, 2, 3], more: false });
    expect(await find({ state: 'failed' })).toEqual({ data: [], more: false });
    expect(await client.call('queue.find', { queue: 'mails', state: 'x' })).toMatchObject({ code: 5 });
    expect(await client.call('queue.find', { queue: 'mails', limit: 1001 })).toMatchObject({ code: 5 });
    expect(await client.call('queue.status', { queue: 'nails' })).toMatchObject({ code: 20 });
  });

  test('end an answer that grows long, and tell no stacks', async ({ house }) => {
    const queues = await house.queues();
    const data = 'x'.repeat(400_000);
    await queues.addMessages('mails', [{ data }, { data }, { data }, { data }, { data }]);
    const [claim] = await queues.claimMessages('mails');
    await queues.failMessage('mails', claim!, new Error('no ink'), { final: true });
    const client = await house.client(await house.server({ queues }));
    const { result } = await client.call('queue.find', { queue: 'mails' });
    const { messages, more } = result as { messages: { errors: object[] }[]; more: boolean };
    expect([messages.length, more]).toEqual([3, true]);
    expect(messages[0]?.errors).toMatchObject([{ message: 'no ink' }]);
    expect(messages[0]?.errors[0]).not.toHaveProperty('stack');
  });

  test('are there only where there are queues', async ({ house }) => {
    const server = await house.server();
    expect(server.methods).toEqual(['notFound', 'test', 'verify']);
    const client = await house.client(server);
    expect(await client.call('queue.add', { queue: 'mails', data: 1 })).toMatchObject({ code: 4 });
  });
});
