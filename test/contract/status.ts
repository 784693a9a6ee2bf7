import { describe, expect } from 'vitest';
import { add, claimOne, expectSound, leaseOver, Q } from './subject.ts';
import type { ContractTest } from './subject.ts';

export function status(test: ContractTest): void {
  describe('status', () => {
    test('of a new queue is that of an empty one', async ({ manager }) => {
      const status = await manager.queueStatus(Q);
      expect(status).toMatchObject({
        queue: Q,
        lastMessageInserted: null,
        lastMessageProcessed: null,
        messagesToProcess: 0,
        customAttributes: {},
        counts: { ready: 0, deferred: 0, claimed: 0, disabled: 0, failed: 0 },
        processed: 0,
        paused: false,
        options: {},
        damaged: 0,
      });
      expect(status.createdAt).toBeInstanceOf(Date);
      expect(status.lastQueueModifyTime).toBeInstanceOf(Date);
      expect(['always', 'interval', 'os']).toContain(status.durability);
      expect(status.lossWindow).not.toBe('');
    });

    test('counts each message once, and adds up at every step of a life', async ({ manager }) => {
      await manager.addMessages(Q, [
        { data: 1, retries: 1 },
        { data: 2, dateTimeDeferredExecution: new Date(8.64e15) },
        { data: 3, disabled: true },
        { data: 4 },
        { data: 5 },
      ]);
      await expectSound(manager);
      const first = await claimOne(manager);
      await expectSound(manager);
      await manager.failMessage(Q, first, new Error('no'), { retryAt: new Date(8.64e15) });
      await expectSound(manager);
      await manager.updateMessage(Q, first.uuid, { dateTimeDeferredExecution: null });
      await manager.failMessage(Q, await claimOne(manager), new Error('no'));
      await expectSound(manager);
      await manager.updateMessage(Q, first.uuid, { disabled: true });
      await expectSound(manager);
      await claimOne(manager, 50);
      await manager.getMessage(Q);
      await leaseOver(manager);
      await expectSound(manager);
      await manager.retryMessages(Q, 'all');
      await expectSound(manager);
      await manager.purgeQueue(Q);
      await expectSound(manager);
    });

    test('tells the last message inserted, and the last processed', async ({ manager }) => {
      const before = Date.now();
      const [first, second] = await manager.addMessages(Q, [{ data: 1, alias: 'a' }, { data: 2 }]);
      expect((await manager.queueStatus(Q)).lastMessageInserted).toMatchObject({
        uuid: second!.uuid,
        alias: '',
      });
      await manager.completeMessage(Q, await claimOne(manager));
      const { lastMessageProcessed } = await manager.queueStatus(Q);
      expect(lastMessageProcessed).toMatchObject({ uuid: first!.uuid, alias: 'a' });
      expect(lastMessageProcessed!.timestamp.getTime()).toBeGreaterThanOrEqual(before);
      await manager.getMessage(Q);
      expect((await manager.queueStatus(Q)).lastMessageProcessed).toMatchObject({
        uuid: second!.uuid,
        alias: '',
      });
    });

    test('what failed, was removed or purged was not processed', async ({ manager }) => {
      await add(manager, 1, 2, 3);
      const claim = await claimOne(manager);
      await manager.failMessage(Q, claim, new Error('no'));
      await manager.removeMessage(Q, claim.uuid);
      await manager.purgeQueue(Q);
      expect(await manager.queueStatus(Q)).toMatchObject({ processed: 0, lastMessageProcessed: null });
    });

    test('the last message processed can be told by programs that process elsewhere', async ({ manager }) => {
      await manager.updateLastMessageProcessed(Q, { uuid: 'from-elsewhere', alias: 'x' });
      const status = await manager.queueStatus(Q);
      expect(status.lastMessageProcessed).toMatchObject({ uuid: 'from-elsewhere', alias: 'x' });
      expect(status.processed).toBe(0);
      await manager.updateLastMessageProcessed(Q, { uuid: 'another' });
      expect((await manager.queueStatus(Q)).lastMessageProcessed).toMatchObject({
        uuid: 'another',
        alias: '',
      });
    });

    test('the time of the last change moves with each change, and with nothing else', async ({ manager }) => {
      await add(manager, 1);
      const modified = async () => (await manager.queueStatus(Q)).lastQueueModifyTime.getTime();
      const before = await modified();
      await new Promise((resolve) => setTimeout(resolve, 5));
      await manager.findMessage(Q, { uuid: 'none' });
      await manager.queueStatus(Q);
      await manager.removeMessage(Q, 'none');
      expect(await modified()).toBe(before);
      await add(manager, 2);
      expect(await modified()).toBeGreaterThan(before);
    });

    test('is the caller’s own copy', async ({ manager }) => {
      await add(manager, 1);
      const status = await manager.queueStatus(Q);
      status.counts.ready = 99;
      status.lastMessageInserted!.uuid = 'changed';
      const again = await manager.queueStatus(Q);
      expect(again.counts.ready).toBe(1);
      expect(again.lastMessageInserted!.uuid).not.toBe('changed');
    });
  });
}
