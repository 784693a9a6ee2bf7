import { describe, expect } from 'vitest';
import { add, all, dataOf, Q } from './subject.ts';
import type { ContractTest } from './subject.ts';

export function adding(test: ContractTest): void {
  describe('adding', () => {
    test('answers the message as it stands in the queue', async ({ manager }) => {
      const before = Date.now();
      const added = await manager.addMessage(Q, {
        data: { to: 'a@b' },
        alias: 'mail-1',
        retries: 3,
        username: 'ann',
      });
      expect(added).toEqual({
        uuid: added.uuid,
        alias: 'mail-1',
        data: { to: 'a@b' },
        retries: 3,
        executionMode: 'immediate',
        disabled: false,
        username: 'ann',
        insertedAt: added.insertedAt,
        state: 'ready',
        attempts: 0,
        crashes: 0,
        errors: [],
        duplicate: false,
      });
      expect(added.uuid).toMatch(/^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
      expect(added.insertedAt).toBeInstanceOf(Date);
      expect(added.insertedAt.getTime()).toBeGreaterThanOrEqual(before);
      expect(added.insertedAt.getTime()).toBeLessThanOrEqual(Date.now());
      const { duplicate: _, ...message } = added;
      expect(await manager.findMessage(Q, { uuid: added.uuid })).toEqual(message);
    });

    test('what is not said has a default', async ({ manager }) => {
      expect(await manager.addMessage(Q, { data: null })).toMatchObject({
        alias: '',
        retries: 0,
        disabled: false,
        username: '',
        executionMode: 'immediate',
      });
    });

    test('keeps the order of one call after the other', async ({ manager }) => {
      for (const data of ['a', 'b', 'c']) await manager.addMessage(Q, { data });
      expect(await dataOf(manager)).toEqual(['a', 'b', 'c']);
    });

    test('keeps the order of calls that do not wait for each other', async ({ manager }) => {
      const numbers = Array.from({ length: 50 }, (_, i) => i);
      await Promise.all(numbers.map((data) => manager.addMessage(Q, { data })));
      expect(await dataOf(manager)).toEqual(numbers);
    });

    test('keeps the order of calls made before the queue was open', async ({ manager, store }) => {
      expect(await manager.queueExists(Q)).toBe(true);
      const fresh = await store.open();
      await Promise.all([1, 2, 3].map((data) => fresh.addMessage(Q, { data })));
      expect(await dataOf(manager)).toEqual([1, 2, 3]);
    });

    test('keeps the order within addMessages, and between its calls', async ({ manager }) => {
      const first = manager.addMessages(Q, [{ data: 1 }, { data: 2 }]);
      const single = manager.addMessage(Q, { data: 3 });
      const second = manager.addMessages(Q, [{ data: 4 }, { data: 5 }]);
      expect((await first).map(({ data }) => data)).toEqual([1, 2]);
      await Promise.all([single, second]);
      expect(await dataOf(manager)).toEqual([1, 2, 3, 4, 5]);
    });

    test('answers a long addMessages in its order, however many writes it takes', async ({ manager }) => {
      const inputs = Array.from({ length: 8 }, (_, i) => ({ data: `${i}${'x'.repeat(100_000)}` }));
      const added = await manager.addMessages(Q, inputs);
      expect(added.map(({ data }) => data)).toEqual(inputs.map(({ data }) => data));
      expect((await all(manager.findMessages(Q))).map(({ uuid }) => uuid)).toEqual(
        added.map(({ uuid }) => uuid),
      );
    });

    test('of no messages adds none', async ({ manager }) => {
      expect(await manager.addMessages(Q, [])).toEqual([]);
      expect(await dataOf(manager)).toEqual([]);
    });

    test('gives each of 10,000 messages added at once its own uuid and its place', async ({ manager }) => {
      const numbers = Array.from({ length: 10_000 }, (_, i) => i);
      const added = await Promise.all(numbers.map((data) => manager.addMessage(Q, { data })));
      expect(new Set(added.map(({ uuid }) => uuid)).size).toBe(10_000);
      expect(added.map(({ data }) => data)).toEqual(numbers);
      expect(await dataOf(manager)).toEqual(numbers);
    });

    test('takes the data as it was at the call, whatever is done to it later', async ({ manager }) => {
      const data = { list: [1] };
      const adding = manager.addMessage(Q, { data });
      data.list.push(2);
      const added = await adding;
      (added.data as { list: number[] }).list.push(3);
      expect(await dataOf(manager)).toEqual([{ list: [1] }]);
    });

    test('aliases need not be unique unless the queue says so', async ({ manager }) => {
      const [first, second] = await manager.addMessages(Q, [
        { data: 1, alias: 'same' },
        { data: 2, alias: 'same' },
      ]);
      expect(first!.duplicate || second!.duplicate).toBe(false);
      expect(await all(manager.findMessages(Q, { alias: 'same' }))).toHaveLength(2);
    });

    test('a message added disabled or deferred counts as such', async ({ manager }) => {
      const due = new Date(Date.now() + 3_600_000);
      expect(await manager.addMessage(Q, { data: 1, dateTimeDeferredExecution: due })).toMatchObject({
        state: 'deferred',
        executionMode: 'deferred',
        dateTimeDeferredExecution: due,
      });
      expect(await manager.addMessage(Q, { data: 2, disabled: true })).toMatchObject({
        state: 'ready',
        disabled: true,
      });
      expect((await manager.queueStatus(Q)).counts).toMatchObject({ ready: 0, deferred: 1, disabled: 1 });
    });

    test('a date in the past means at once', async ({ manager }) => {
      await manager.addMessage(Q, { data: 1, dateTimeDeferredExecution: new Date(0) });
      await add(manager, 2);
      const claims = await manager.claimMessages(Q, { limit: 2 });
      expect(claims.map(({ data }) => data)).toEqual([1, 2]);
    });
  });
}
