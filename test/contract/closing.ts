import { describe, expect } from 'vitest';
import { add, dataOf, firstOf, Q, refusal } from './subject.ts';
import type { ContractTest } from './subject.ts';

export function closing(test: ContractTest): void {
  describe('closing, and the last error', () => {
    test('a closed manager refuses everything with CLOSED', async ({ manager }) => {
      await add(manager, 1);
      await manager.close();
      const claim = { uuid: 'u', token: 't', attempts: 1, retries: 0 };
      for (const ask of [
        () => manager.createQueue(Q),
        () => manager.destroyQueue(Q),
        () => manager.queueExists(Q),
        () => manager.listQueues(),
        () => manager.addMessage(Q, { data: 1 }),
        () => manager.addMessages(Q, []),
        () => manager.getMessage(Q),
        () => manager.claimMessages(Q),
        () => manager.completeMessage(Q, claim),
        () => manager.failMessage(Q, claim, new Error('no')),
        () => manager.findMessage(Q, { uuid: 'u' }),
        () => firstOf(manager.findMessages(Q)),
        () => manager.updateMessage(Q, 'u', {}),
        () => manager.removeMessage(Q, 'u'),
        () => manager.purgeQueue(Q),
        () => manager.queueStatus(Q),
        () => manager.waitForMessage(Q, { timeout: 0 }),
      ]) {
        await refusal(ask(), 'CLOSED');
      }
    });

    test('closing twice is as good as once', async ({ manager }) => {
      await Promise.all([manager.close(), manager.close()]);
      await manager.close();
    });

    test('a manager that never opened a queue closes', async ({ store }) => {
      await (await store.open()).close();
    });

    test('a manager closes when its block ends', async ({ store, manager }) => {
      const other = await store.open();
      {
        await using scoped = other;
        await add(scoped, 1);
      }
      await refusal(other.listQueues(), 'CLOSED');
      expect(await dataOf(manager)).toEqual([1]);
    });

    test('what was asked before closing is answered', async ({ store, manager }) => {
      const other = await store.open();
      const adding = [other.addMessage(Q, { data: 1 }), other.addMessage(Q, { data: 2 })];
      await other.close();
      const answers = await Promise.allSettled(adding);
      const added = answers.filter(({ status }) => status === 'fulfilled').length;
      // One that was refused may be there or not; one that was answered is.
      expect((await dataOf(manager)).length).toBeGreaterThanOrEqual(added);
    });

    test('what has been added is there for the next manager', async ({ store, manager }) => {
      await add(manager, 1, 2);
      await manager.close();
      expect(await dataOf(await store.open())).toEqual([1, 2]);
    });

    test('there is no last error until there is one', async ({ manager }) => {
      await add(manager, 1);
      expect(manager.getLastError()).toBeUndefined();
    });

    test('the last error is the one that a call rejected with last', async ({ manager }) => {
      const first = await refusal(manager.addMessage('none', { data: 1 }), 'QUEUE_NOT_FOUND');
      expect(manager.getLastError()).toBe(first);
      const second = await refusal(manager.createQueue('..'), 'INVALID_QUEUE_NAME');
      expect(manager.getLastError()).toBe(second);
      await add(manager, 1);
      expect(manager.getLastError()).toBe(second);
      await manager.close();
      const third = await refusal(manager.listQueues(), 'CLOSED');
      expect(manager.getLastError()).toBe(third);
    });
  });
}
