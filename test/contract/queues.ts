import { describe, expect } from 'vitest';
import { add, dataOf, firstOf, Q, refusal } from './subject.ts';
import type { ContractTest } from './subject.ts';

export function queues(test: ContractTest): void {
  describe('queues', () => {
    test('creating a queue answers true, creating it again false', async ({ store }) => {
      const manager = await store.open();
      expect(await manager.createQueue('mails')).toBe(true);
      expect(await manager.createQueue('mails')).toBe(false);
    });

    test('a queue keeps the options it was created with', async ({ store }) => {
      const manager = await store.open();
      await manager.createQueue('mails', { maxMessages: 5 });
      await manager.createQueue('mails', { maxMessages: 9, uniqueAlias: true });
      expect((await manager.queueStatus('mails')).options).toEqual({ maxMessages: 5 });
    });

    test('creating a queue that is there leaves its messages alone', async ({ manager }) => {
      await add(manager, 1);
      await manager.createQueue(Q);
      expect(await dataOf(manager)).toEqual([1]);
    });

    test('one of many that create a queue at once has created it', async ({ store }) => {
      const managers = await Promise.all([store.open(), store.open()]);
      const creations = managers.flatMap((manager) => [
        manager.createQueue('mails'),
        manager.createQueue('mails'),
      ]);
      expect((await Promise.all(creations)).filter(Boolean)).toHaveLength(1);
    });

    test('a queue exists from its creation to its destruction', async ({ store }) => {
      const manager = await store.open();
      expect(await manager.queueExists('mails')).toBe(false);
      await manager.createQueue('mails');
      expect(await manager.queueExists('mails')).toBe(true);
      await manager.destroyQueue('mails');
      expect(await manager.queueExists('mails')).toBe(false);
    });

    test('queues are listed by name in alphabetical order', async ({ store }) => {
      const manager = await store.open();
      expect(await manager.listQueues()).toEqual([]);
      for (const name of ['mails', 'Hooks', 'a.b-c_d', '0']) await manager.createQueue(name);
      expect(await manager.listQueues()).toEqual(['0', 'Hooks', 'a.b-c_d', 'mails']);
      await manager.destroyQueue('Hooks');
      expect(await manager.listQueues()).toEqual(['0', 'a.b-c_d', 'mails']);
    });

    test('destroying answers true, and false when there is nothing to destroy', async ({ manager }) => {
      expect(await manager.destroyQueue(Q)).toBe(true);
      expect(await manager.destroyQueue(Q)).toBe(false);
      expect(await manager.destroyQueue('never-created')).toBe(false);
    });

    test('a queue created again is empty, with new options and nothing of the old', async ({ manager }) => {
      await add(manager, 1, 2);
      await manager.setCustomAttributes(Q, { owner: 'me' });
      await manager.pauseQueue(Q);
      await manager.getMessage(Q);
      await manager.destroyQueue(Q);
      await manager.createQueue(Q, { uniqueAlias: true });
      expect(await manager.queueStatus(Q)).toMatchObject({
        lastMessageInserted: null,
        lastMessageProcessed: null,
        messagesToProcess: 0,
        customAttributes: {},
        processed: 0,
        paused: false,
        options: { uniqueAlias: true },
      });
      await add(manager, 3);
      expect(await dataOf(manager)).toEqual([3]);
    });

    test('a claim on a destroyed queue settles nothing on the one created after it', async ({ manager }) => {
      await add(manager, 1);
      const [claim] = await manager.claimMessages(Q);
      await manager.destroyQueue(Q);
      await manager.createQueue(Q);
      expect(await manager.completeMessage(Q, claim!)).toBe(false);
      expect(await manager.renewMessage(Q, claim!)).toBe(false);
    });

    test('queues do not touch each other', async ({ manager }) => {
      await manager.createQueue('other');
      await add(manager, 1);
      expect(await manager.getMessage('other')).toBeUndefined();
      await manager.destroyQueue('other');
      expect(await dataOf(manager)).toEqual([1]);
    });

    test('what is asked of a queue that does not exist is refused with QUEUE_NOT_FOUND', async ({
      store,
    }) => {
      const manager = await store.open();
      const claim = { uuid: 'u', token: 't', attempts: 1, retries: 0 };
      const asked: (() => Promise<unknown>)[] = [
        () => manager.addMessage('none', { data: 1 }),
        () => manager.addMessages('none', [{ data: 1 }]),
        () => manager.getMessage('none'),
        () => manager.claimMessages('none'),
        () => manager.completeMessage('none', claim),
        () => manager.failMessage('none', claim, new Error('no')),
        () => manager.releaseMessage('none', claim),
        () => manager.renewMessage('none', claim),
        () => manager.findMessage('none', { uuid: 'u' }),
        () => firstOf(manager.findMessages('none')),
        () => manager.updateMessage('none', 'u', { retries: 1 }),
        () => manager.removeMessage('none', 'u'),
        () => manager.retryMessages('none', 'all'),
        () => manager.purgeQueue('none'),
        () => manager.pauseQueue('none'),
        () => manager.resumeQueue('none'),
        () => manager.customAttributes('none'),
        () => manager.setCustomAttributes('none', {}),
        () => manager.queueStatus('none'),
        () => manager.updateLastMessageProcessed('none', { uuid: 'u' }),
        () => manager.waitForMessage('none', { timeout: 0 }),
      ];
      for (const ask of asked) expect((await refusal(ask(), 'QUEUE_NOT_FOUND')).queue).toBe('none');
      expect(await manager.listQueues()).toEqual([]);
    });

    test('a queue that was missing is found as soon as it is created', async ({ store }) => {
      const manager = await store.open();
      await refusal(manager.addMessage('late', { data: 1 }), 'QUEUE_NOT_FOUND');
      await manager.createQueue('late');
      expect(await manager.addMessage('late', { data: 1 })).toMatchObject({ data: 1 });
    });

    test('purging removes all but the claimed messages and answers their number', async ({ manager }) => {
      await add(manager, 'claimed', 'failed', 'ready');
      await manager.addMessage(Q, {
        data: 'deferred',
        dateTimeDeferredExecution: new Date(Date.now() + 3_600_000),
      });
      await manager.addMessage(Q, { data: 'disabled', disabled: true });
      const [, failing] = await manager.claimMessages(Q, { limit: 2 });
      await manager.failMessage(Q, failing!, new Error('no'));
      expect(await manager.purgeQueue(Q)).toBe(4);
      expect(await dataOf(manager)).toEqual(['claimed']);
      expect(await manager.purgeQueue(Q)).toBe(0);
    });

    test('a claim outlives a purge', async ({ manager }) => {
      await add(manager, 1);
      const [claim] = await manager.claimMessages(Q);
      await manager.purgeQueue(Q);
      expect(await manager.completeMessage(Q, claim!)).toBe(true);
    });

    test('a paused queue gives nothing out, and takes messages and settles', async ({ manager }) => {
      await add(manager, 1, 2);
      const [claim] = await manager.claimMessages(Q);
      await manager.pauseQueue(Q);
      expect(await manager.claimMessages(Q)).toEqual([]);
      expect(await manager.getMessage(Q)).toBeUndefined();
      expect((await manager.queueStatus(Q)).paused).toBe(true);
      await add(manager, 3);
      expect(await manager.completeMessage(Q, claim!)).toBe(true);
      await manager.resumeQueue(Q);
      expect(await manager.getMessage(Q)).toMatchObject({ data: 2 });
    });

    test('pausing twice and resuming twice is as good as once', async ({ manager }) => {
      await manager.pauseQueue(Q);
      await manager.pauseQueue(Q);
      await manager.resumeQueue(Q);
      expect((await manager.queueStatus(Q)).paused).toBe(false);
      await manager.resumeQueue(Q);
      expect((await manager.queueStatus(Q)).paused).toBe(false);
    });

    test('attributes are patched: new keys are added, a null removes its key, others stay', async ({
      manager,
    }) => {
      expect(await manager.customAttributes(Q)).toEqual({});
      await manager.setCustomAttributes(Q, { a: 1, b: { deep: [null] }, c: 'x' });
      await manager.setCustomAttributes(Q, { a: 2, c: null, d: false, never: null });
      expect(await manager.customAttributes(Q)).toEqual({ a: 2, b: { deep: [null] }, d: false });
      expect((await manager.queueStatus(Q)).customAttributes).toEqual({
        a: 2,
        b: { deep: [null] },
        d: false,
      });
    });

    test('an attribute may be called __proto__', async ({ manager }) => {
      await manager.setCustomAttributes(Q, JSON.parse('{"__proto__":{"evil":true},"constructor":1}'));
      const attributes = await manager.customAttributes(Q);
      expect(Object.keys(attributes).toSorted()).toEqual(['__proto__', 'constructor']);
      expect('evil' in attributes).toBe(false);
    });

    test('attributes are the caller’s own copy', async ({ manager }) => {
      const patch = { list: [1] };
      await manager.setCustomAttributes(Q, patch);
      patch.list.push(2);
      (await manager.customAttributes(Q))['list'] = 'changed';
      expect(await manager.customAttributes(Q)).toEqual({ list: [1] });
    });
  });
}
