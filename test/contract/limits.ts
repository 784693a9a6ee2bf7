import { describe, expect } from 'vitest';
import { add, all, claimOne, dataOf, Q, refusal } from './subject.ts';
import type { ContractTest } from './subject.ts';

const U = 'unique';

export function limits(test: ContractTest): void {
  describe('unique aliases', () => {
    test('adding a message that is there answers with it and adds nothing', async ({ manager }) => {
      await manager.createQueue(U, { uniqueAlias: true });
      const first = await manager.addMessage(U, { data: { n: 1 }, alias: 'a', retries: 2 });
      expect(first.duplicate).toBe(false);
      const second = await manager.addMessage(U, { data: { n: 2 }, alias: 'a', username: 'bob' });
      expect(second).toEqual({ ...first, duplicate: true });
      expect((await manager.queueStatus(U)).messagesToProcess).toBe(1);
    });

    test('of many added at once one is added, and all are told of it', async ({ manager, store }) => {
      await manager.createQueue(U, { uniqueAlias: true });
      const other = await store.open();
      const adds = Array.from({ length: 50 }, (_, i) =>
        (i % 2 ? manager : other).addMessage(U, { data: i, alias: 'a' }),
      );
      const added = await Promise.all(adds);
      expect(added.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
      expect(new Set(added.map(({ uuid, data }) => JSON.stringify([uuid, data]))).size).toBe(1);
    });

    test('a duplicate within one addMessages is told as one', async ({ manager }) => {
      await manager.createQueue(U, { uniqueAlias: true });
      const added = await manager.addMessages(U, [
        { data: 1, alias: 'a' },
        { data: 2, alias: 'b' },
        { data: 3, alias: 'a' },
      ]);
      expect(added.map(({ data, duplicate }) => [data, duplicate])).toEqual([
        [1, false],
        [2, false],
        [1, true],
      ]);
    });

    test('messages without an alias are never duplicates', async ({ manager }) => {
      await manager.createQueue(U, { uniqueAlias: true });
      const added = await manager.addMessages(U, [{ data: 1 }, { data: 1, alias: '' }, { data: 1 }]);
      expect(added.every(({ duplicate }) => !duplicate)).toBe(true);
    });

    test('an alias is taken as long as its message is in the queue, whatever its state', async ({
      manager,
    }) => {
      await manager.createQueue(U, { uniqueAlias: true });
      const isTaken = async () => (await manager.addMessage(U, { data: 2, alias: 'a' })).duplicate;
      const { uuid } = await manager.addMessage(U, { data: 1, alias: 'a' });
      const [claim] = await manager.claimMessages(U);
      expect(await isTaken()).toBe(true);
      await manager.releaseMessage(U, claim!);
      await manager.updateMessage(U, uuid, { disabled: true });
      expect(await isTaken()).toBe(true);
      await manager.updateMessage(U, uuid, { disabled: false, dateTimeDeferredExecution: new Date(8.64e15) });
      expect(await isTaken()).toBe(true);
      await manager.updateMessage(U, uuid, { dateTimeDeferredExecution: null });
      const [again] = await manager.claimMessages(U);
      await manager.failMessage(U, again!, new Error('no'));
      expect(await isTaken()).toBe(true);
    });

    test('an alias is free again when its message has ended, however it ended', async ({ manager }) => {
      await manager.createQueue(U, { uniqueAlias: true });
      const ends = [
        async () => {
          const [claim] = await manager.claimMessages(U);
          await manager.completeMessage(U, claim!);
        },
        () => manager.getMessage(U),
        async () => manager.removeMessage(U, (await manager.findMessage(U, { alias: 'a' }))!.uuid),
        () => manager.purgeQueue(U),
      ];
      for (const end of ends) {
        expect((await manager.addMessage(U, { data: 1, alias: 'a' })).duplicate).toBe(false);
        await end();
      }
      expect((await manager.addMessage(U, { data: 1, alias: 'a' })).duplicate).toBe(false);
    });

    test('an update moves the alias, and frees the old one', async ({ manager }) => {
      await manager.createQueue(U, { uniqueAlias: true });
      const { uuid } = await manager.addMessage(U, { data: 1, alias: 'a' });
      await manager.updateMessage(U, uuid, { alias: 'b' });
      expect((await manager.addMessage(U, { data: 2, alias: 'a' })).duplicate).toBe(false);
      expect(await manager.addMessage(U, { data: 3, alias: 'b' })).toMatchObject({ uuid, duplicate: true });
    });

    test('an update to an alias that another message has is refused', async ({ manager }) => {
      await manager.createQueue(U, { uniqueAlias: true });
      const [, second] = await manager.addMessages(U, [
        { data: 1, alias: 'a' },
        { data: 2, alias: 'b' },
      ]);
      await refusal(manager.updateMessage(U, second!.uuid, { alias: 'a', data: 3 }), 'INVALID_MESSAGE');
      expect(await manager.findMessage(U, { alias: 'b' })).toMatchObject({ data: 2 });
      expect(await manager.updateMessage(U, second!.uuid, { alias: 'b', data: 4 })).toMatchObject({
        data: 4,
      });
    });

    test('aliases are compared as they are', async ({ manager }) => {
      await manager.createQueue(U, { uniqueAlias: true });
      const aliases = [
        'a',
        'A',
        ' a',
        '__proto__',
        'constructor',
        'ä',
        'a\u0308',
        '\ud800',
        '\u0000',
        'x'.repeat(1024),
      ];
      const added = await manager.addMessages(
        U,
        aliases.map((alias, data) => ({ data, alias })),
      );
      expect(added.every(({ duplicate }) => !duplicate)).toBe(true);
      for (const alias of aliases)
        expect((await manager.addMessage(U, { data: 0, alias })).duplicate).toBe(true);
      expect((await all(manager.findMessages(U))).map(({ alias }) => alias)).toEqual(aliases);
    });
  });

  describe('limits', () => {
    test('a queue takes maxMessages waiting messages and no more', async ({ manager }) => {
      await manager.createQueue('small', { maxMessages: 3 });
      await manager.addMessage('small', { data: 1, disabled: true });
      await manager.addMessage('small', { data: 2, dateTimeDeferredExecution: new Date(8.64e15) });
      await manager.addMessage('small', { data: 3 });
      const error = await refusal(manager.addMessage('small', { data: 4 }), 'QUEUE_FULL');
      expect(error.queue).toBe('small');
      expect(error.message).toContain('3');
      expect((await all(manager.findMessages('small'))).map(({ data }) => data)).toEqual([1, 2, 3]);
    });

    test('a claimed message counts until it is done, a failed one does not', async ({ manager }) => {
      await manager.createQueue('small', { maxMessages: 1 });
      await manager.addMessage('small', { data: 1 });
      const [claim] = await manager.claimMessages('small');
      await refusal(manager.addMessage('small', { data: 2 }), 'QUEUE_FULL');
      await manager.failMessage('small', claim!, new Error('no'));
      await manager.addMessage('small', { data: 3 });
      const [next] = await manager.claimMessages('small');
      await manager.completeMessage('small', next!);
      expect(await manager.addMessage('small', { data: 4 })).toMatchObject({ data: 4 });
    });

    test('of messages added at once those within the limit are added', async ({ manager }) => {
      await manager.createQueue('small', { maxMessages: 5 });
      const results = await Promise.allSettled(
        Array.from({ length: 8 }, (_, data) => manager.addMessage('small', { data })),
      );
      expect(results.map(({ status }) => status)).toEqual([
        ...Array.from({ length: 5 }, () => 'fulfilled'),
        ...Array.from({ length: 3 }, () => 'rejected'),
      ]);
      expect((await manager.queueStatus('small')).counts.ready).toBe(5);
    });

    test('addMessages adds what comes before the limit, and says that it is full', async ({ manager }) => {
      await manager.createQueue('small', { maxMessages: 2 });
      await refusal(manager.addMessages('small', [{ data: 1 }, { data: 2 }, { data: 3 }]), 'QUEUE_FULL');
      expect((await all(manager.findMessages('small'))).map(({ data }) => data)).toEqual([1, 2]);
    });

    test('a duplicate is told as such even when the queue is full', async ({ manager }) => {
      await manager.createQueue('small', { maxMessages: 1, uniqueAlias: true });
      const { uuid } = await manager.addMessage('small', { data: 1, alias: 'a' });
      expect(await manager.addMessage('small', { data: 2, alias: 'a' })).toMatchObject({
        uuid,
        duplicate: true,
      });
    });

    test('a queue takes payloads of maxBytes of JSON in all', async ({ manager }) => {
      await manager.createQueue('small', { maxBytes: 20 });
      await manager.addMessage('small', { data: '12345678' });
      await manager.addMessage('small', { data: 'ääää' });
      await refusal(manager.addMessage('small', { data: 1 }), 'QUEUE_FULL');
      await manager.getMessage('small');
      await refusal(manager.addMessage('small', { data: '123456789' }), 'QUEUE_FULL');
      await manager.addMessage('small', { data: '12345678' });
      expect((await manager.queueStatus('small')).counts.ready).toBe(2);
    });

    test('of the bytes, failed messages count none, retried ones again', async ({ manager }) => {
      await manager.createQueue('small', { maxBytes: 10 });
      await manager.addMessage('small', { data: '12345678' });
      const [claim] = await manager.claimMessages('small');
      await manager.failMessage('small', claim!, new Error('no'));
      await manager.addMessage('small', { data: '87654321' });
      await manager.retryMessages('small', 'all');
      await manager.getMessage('small');
      await refusal(manager.addMessage('small', { data: 1 }), 'QUEUE_FULL');
      await manager.getMessage('small');
      expect(await manager.addMessage('small', { data: 1 })).toMatchObject({ data: 1 });
    });

    test('a limit is a positive whole number', async ({ store }) => {
      const manager = await store.open();
      for (const options of [
        { maxMessages: 0 },
        { maxMessages: 1.5 },
        { maxBytes: -1 },
        { maxBytes: Number.NaN },
      ]) {
        await refusal(manager.createQueue('q', options), 'INVALID_ARGUMENT');
      }
      const misspelt = { uniqeAlias: true } as object;
      const error = await refusal(manager.createQueue('q', misspelt), 'INVALID_ARGUMENT');
      expect(error.message).toContain('did you mean uniqueAlias?');
      expect(await manager.listQueues()).toEqual([]);
    });

    test('a payload may be as large as maxMessageBytes, and no larger', async ({ store }) => {
      const manager = await store.open({ maxMessageBytes: 100 });
      await manager.createQueue(Q);
      await add(manager, 'x'.repeat(98));
      const error = await refusal(manager.addMessage(Q, { data: 'x'.repeat(99) }), 'MESSAGE_TOO_LARGE');
      expect(error.message).toMatch(/100 bytes.*101 bytes/);
      await refusal(manager.addMessage(Q, { data: 'ä'.repeat(50) }), 'MESSAGE_TOO_LARGE');
      const { uuid } = await claimOne(manager);
      await refusal(manager.updateMessage(Q, uuid, { data: 'x'.repeat(99) }), 'MESSAGE_TOO_LARGE');
      expect(await dataOf(manager)).toEqual(['x'.repeat(98)]);
    });

    test('a value that repeats its parts without end is refused before it is walked', async ({ manager }) => {
      let data: unknown = [];
      for (let i = 0; i < 60; i++) data = [data, data];
      await refusal(manager.addMessage(Q, { data: data as [] }), 'MESSAGE_TOO_LARGE');
    });
  });
}
