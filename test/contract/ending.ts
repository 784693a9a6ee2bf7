import { describe, expect } from 'vitest';
import type { Ending } from '../../src/index.ts';
import { add, all, claimOne, Q, refusal } from './subject.ts';
import type { ContractTest } from './subject.ts';

const NOBODY = '00000000-0000-7000-8000-000000000000';

export function ending(test: ContractTest): void {
  describe('waiting for endings', () => {
    test('what has ended already is told at once, and how', async ({ manager }) => {
      const [done, removed, failed] = await manager.addMessages(Q, [
        { data: 1, alias: 'one' },
        { data: 2, alias: 'two' },
        { data: 3, alias: 'three' },
      ]);
      await manager.completeMessage(Q, await claimOne(manager));
      await manager.removeMessage(Q, removed!.uuid);
      await manager.failMessage(Q, await claimOne(manager), new Error('no'), { final: true });
      const uuids = [done!, removed!, failed!].map(({ uuid }) => uuid);
      const endings = await all(manager.waitForEndings(Q, [...uuids, NOBODY]));
      expect(endings).toHaveLength(4);
      for (const expected of [
        { uuid: uuids[0], alias: 'one', outcome: 'completed' as const, at: expect.any(Date) },
        { uuid: uuids[1], alias: 'two', outcome: 'removed' as const, at: expect.any(Date) },
        { uuid: uuids[2], alias: 'three', outcome: 'failed' as const, at: expect.any(Date) },
        { uuid: NOBODY, alias: '', outcome: 'unknown' as const },
      ]) {
        expect(endings).toContainEqual(expected);
      }
    });

    test('what ends later is told when it ends, whoever ends it', async ({ manager, store }) => {
      const other = await store.open();
      await add(manager, 1, 2, 3);
      const claims = await manager.claimMessages(Q, { limit: 3 });
      const uuids = claims.map(({ uuid }) => uuid);
      const told = manager.waitForEndings(Q, uuids)[Symbol.asyncIterator]();
      const first = told.next();
      await other.completeMessage(Q, claims[1]!);
      expect(await first).toMatchObject({ value: { uuid: claims[1]!.uuid, outcome: 'completed' } });
      const second = told.next();
      await other.cancelMessage(Q, claims[2]!.uuid);
      expect(await second).toMatchObject({ value: { uuid: claims[2]!.uuid, outcome: 'failed' } });
      const third = told.next();
      await manager.completeMessage(Q, claims[0]!);
      expect(await third).toMatchObject({ value: { uuid: claims[0]!.uuid, outcome: 'completed' } });
      expect(await told.next()).toMatchObject({ done: true });
    });

    test('a failed try that is not the last is no ending', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 1, retries: 1 });
      const told = all(manager.waitForEndings(Q, [uuid]));
      await manager.failMessage(Q, await claimOne(manager), new Error('first'));
      await manager.waitForMessage(Q);
      await manager.completeMessage(Q, await claimOne(manager));
      expect(await told).toMatchObject([{ uuid, outcome: 'completed' }]);
    });

    test('a purge is told to who waits', async ({ manager, store }) => {
      const other = await store.open();
      const { uuid } = await manager.addMessage(Q, { data: 1 });
      const told = manager.waitForEndings(Q, [uuid])[Symbol.asyncIterator]().next();
      // The waiting has begun when the other end of the same manager has been asked something since.
      await manager.queueStatus(Q);
      await other.purgeQueue(Q);
      expect(await told).toMatchObject({ value: { uuid, outcome: 'purged' } });
    });

    test('each is told once, however often it is named', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 1 });
      await manager.completeMessage(Q, await claimOne(manager));
      expect(await all(manager.waitForEndings(Q, [uuid, uuid]))).toHaveLength(1);
      expect(await all(manager.waitForEndings(Q, []))).toEqual([]);
    });

    test('2,000 that end while it is waited for are all told', async ({ manager, store }) => {
      const other = await store.open();
      const added = await manager.addMessages(
        Q,
        Array.from({ length: 2000 }, (_, data) => ({ data })),
      );
      const endings: Ending[] = [];
      let moved = (): void => {};
      const telling = (async () => {
        const uuids = added.map(({ uuid }) => uuid);
        for await (const ending of manager.waitForEndings(Q, uuids)) {
          endings.push(ending);
          moved();
        }
      })();
      // Now it waits: what ends before may have been forgotten.
      await manager.queueStatus(Q);
      for (let ended = 0; ended < 2000;) {
        const claims = await other.claimMessages(Q, { limit: 700 });
        await Promise.all(claims.map((claim) => other.completeMessage(Q, claim)));
        ended += claims.length;
        // No more at once than a queue remembers: a waiter that is overtaken by far may be told `unknown`.
        while (endings.length < ended) await new Promise<void>((resolve) => (moved = resolve));
      }
      await telling;
      expect(new Set(endings.map(({ uuid }) => uuid)).size).toBe(2000);
      expect(endings.every(({ outcome }) => outcome === 'completed')).toBe(true);
    });

    test('it ends early when its signal fires, or its reader leaves', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 1 });
      const stop = new AbortController();
      const told = all(manager.waitForEndings(Q, [uuid], { signal: stop.signal }));
      await manager.queueStatus(Q);
      stop.abort();
      expect(await told).toEqual([]);
      expect(await all(manager.waitForEndings(Q, [uuid], { signal: AbortSignal.abort() }))).toEqual([]);
    });

    test('it ends when its signal fires while an ending is being told', async ({ manager }) => {
      const [failed, ready] = await manager.addMessages(Q, [{ data: 1 }, { data: 2 }]);
      await manager.cancelMessage(Q, failed!.uuid);
      const stop = new AbortController();
      const told: string[] = [];
      for await (const { uuid } of manager.waitForEndings(Q, [failed!.uuid, ready!.uuid], {
        signal: stop.signal,
      })) {
        told.push(uuid);
        stop.abort();
      }
      expect(told).toEqual([failed!.uuid]);
    });

    test('it rejects when the queue is destroyed or the manager is closed', async ({ manager, store }) => {
      const other = await store.open();
      const { uuid } = await manager.addMessage(Q, { data: 1 });
      const told = all(manager.waitForEndings(Q, [uuid]));
      const closing = await store.open();
      const cut = all(closing.waitForEndings(Q, [uuid]));
      cut.catch(() => undefined);
      await closing.queueStatus(Q);
      await closing.close();
      await refusal(cut, 'CLOSED');
      told.catch(() => undefined);
      await other.destroyQueue(Q);
      await refusal(told, 'QUEUE_DESTROYED');
    });
  });
}
