import { describe, expect } from 'vitest';
import { add, claimOne, dataOf, leaseOver, Q, refusal } from './subject.ts';
import type { ContractTest } from './subject.ts';

export function sharing(test: ContractTest): void {
  describe('two managers on one store', () => {
    test('what one adds the other claims', async ({ manager, store }) => {
      const other = await store.open();
      await add(manager, 1);
      expect(await claimOne(other)).toMatchObject({ data: 1 });
      expect(await manager.claimMessages(Q)).toEqual([]);
      expect((await manager.queueStatus(Q)).counts.claimed).toBe(1);
    });

    test('what each adds is seen by both in the same order', async ({ manager, store }) => {
      const other = await store.open();
      await Promise.all(
        Array.from({ length: 100 }, (_, data) => (data % 3 ? manager : other).addMessage(Q, { data })),
      );
      const order = await dataOf(manager);
      expect(order).toHaveLength(100);
      expect(await dataOf(other)).toEqual(order);
      for (const own of [0, 1, 2]) {
        const ones = order.filter((data) => (data as number) % 3 === own);
        expect(ones).toEqual(ones.toSorted((a, b) => (a as number) - (b as number)));
      }
    });

    test('no message is given to both', async ({ manager, store }) => {
      const other = await store.open();
      await add(manager, ...Array.from({ length: 100 }, (_, i) => i));
      const claims = await Promise.all(
        Array.from({ length: 30 }, (_, i) => (i % 2 ? manager : other).claimMessages(Q, { limit: 4 })),
      );
      const held = claims.flat().map(({ data }) => data as number);
      expect(held.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    });

    test('a claim may be settled by another manager than the one that made it', async ({
      manager,
      store,
    }) => {
      const other = await store.open();
      await add(manager, 1);
      const claim = await claimOne(manager);
      expect(await other.completeMessage(Q, claim)).toBe(true);
      expect(await manager.completeMessage(Q, claim)).toBe(false);
    });

    test('who waits is woken by what the other adds', async ({ manager, store }) => {
      const other = await store.open();
      const waiting = other.waitForMessage(Q, { timeout: 30_000 });
      await other.queueStatus(Q);
      await add(manager, 1);
      expect(await waiting).toBe(true);
    });

    test('a lease that is over is noticed by the other', async ({ manager, store }) => {
      const other = await store.open();
      await add(manager, 1);
      const claim = await claimOne(manager, 50);
      await leaseOver(other);
      expect(await claimOne(other)).toMatchObject({ uuid: claim.uuid, crashes: 1 });
      expect(await manager.completeMessage(Q, claim)).toBe(false);
    });

    test('pause, attributes and updates hold for both', async ({ manager, store }) => {
      const other = await store.open();
      const { uuid } = await manager.addMessage(Q, { data: 1 });
      await manager.pauseQueue(Q);
      expect(await other.claimMessages(Q)).toEqual([]);
      await other.setCustomAttributes(Q, { a: 1 });
      expect(await manager.customAttributes(Q)).toEqual({ a: 1 });
      await other.updateMessage(Q, uuid, { data: 2 });
      await other.resumeQueue(Q);
      expect(await claimOne(manager)).toMatchObject({ data: 2 });
    });

    test('a queue that the other destroyed is refused with QUEUE_DESTROYED once, then not found', async ({
      manager,
      store,
    }) => {
      const other = await store.open();
      await add(manager, 1);
      await other.destroyQueue(Q);
      await refusal(manager.addMessage(Q, { data: 2 }), 'QUEUE_DESTROYED');
      await refusal(manager.addMessage(Q, { data: 3 }), 'QUEUE_NOT_FOUND');
    });

    test('nothing meant for a destroyed queue lands in the one created after it', async ({
      manager,
      store,
    }) => {
      const other = await store.open();
      await add(manager, 'old');
      const claim = await claimOne(manager);
      await other.destroyQueue(Q);
      await other.createQueue(Q);
      await add(other, 'new');
      await refusal(manager.addMessage(Q, { data: 'lost' }), 'QUEUE_DESTROYED');
      expect(await manager.completeMessage(Q, claim)).toBe(false);
      await add(manager, 'found');
      expect(await dataOf(other)).toEqual(['new', 'found']);
    });

    test('one that reads learns of it too', async ({ manager, store }) => {
      const other = await store.open();
      for (const ask of [
        () => manager.queueStatus(Q),
        () => manager.claimMessages(Q),
        () => manager.findMessage(Q, { uuid: 'none' }),
        () => manager.getMessage(Q),
      ]) {
        await add(manager, 1);
        await other.destroyQueue(Q);
        await other.createQueue(Q);
        await refusal(ask(), 'QUEUE_DESTROYED');
        await ask();
      }
    });

    test('who waits is told that the other has destroyed the queue', async ({ manager, store }) => {
      const other = await store.open();
      const refused = refusal(manager.waitForMessage(Q, { timeout: 30_000 }), 'QUEUE_DESTROYED');
      await manager.queueStatus(Q);
      await other.destroyQueue(Q);
      await refused;
    });

    test('closing one leaves the other, and the queue, as they are', async ({ manager, store }) => {
      const other = await store.open();
      await add(manager, 1, 2);
      await claimOne(manager);
      await manager.close();
      expect((await other.queueStatus(Q)).counts).toMatchObject({ ready: 1, claimed: 1 });
      expect(await claimOne(other)).toMatchObject({ data: 2 });
    });
  });
}
