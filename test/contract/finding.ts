import { describe, expect } from 'vitest';
import type { Json, MessageFilter } from '../../src/index.ts';
import { add, all, claimOne, dataOf, firstOf, Q, refusal } from './subject.ts';
import type { ContractTest } from './subject.ts';

export function finding(test: ContractTest): void {
  describe('finding', () => {
    test('without a filter all messages are found, in order, whatever their state', async ({ manager }) => {
      await add(manager, 'claimed', 'failed');
      await manager.addMessage(Q, { data: 'deferred', dateTimeDeferredExecution: new Date(8.64e15) });
      await manager.addMessage(Q, { data: 'disabled', disabled: true });
      await add(manager, 'ready');
      const [, failing] = await manager.claimMessages(Q, { limit: 2 });
      await manager.failMessage(Q, failing!, new Error('no'));
      const found = await all(manager.findMessages(Q));
      expect(found.map(({ data, state }) => [data, state])).toEqual([
        ['claimed', 'claimed'],
        ['failed', 'failed'],
        ['deferred', 'deferred'],
        ['disabled', 'ready'],
        ['ready', 'ready'],
      ]);
    });

    test('each filter finds what it says, and together they find what all of them say', async ({
      manager,
    }) => {
      const [first] = await manager.addMessages(Q, [
        { data: 1, alias: 'a', username: 'ann' },
        { data: 2, alias: 'a', username: 'bob' },
        { data: 3, alias: 'b', username: 'ann', disabled: true },
        { data: 4, dateTimeDeferredExecution: new Date(8.64e15) },
        { data: 5 },
      ]);
      await claimOne(manager);
      const found = async (filter: MessageFilter) =>
        (await all(manager.findMessages(Q, filter))).map(({ data }) => data);
      expect(await found({})).toEqual([1, 2, 3, 4, 5]);
      expect(await found({ uuid: first!.uuid })).toEqual([1]);
      expect(await found({ uuid: 'none' })).toEqual([]);
      expect(await found({ alias: 'a' })).toEqual([1, 2]);
      expect(await found({ alias: '' })).toEqual([4, 5]);
      expect(await found({ state: 'claimed' })).toEqual([1]);
      expect(await found({ state: 'ready' })).toEqual([2, 3, 5]);
      expect(await found({ state: 'deferred' })).toEqual([4]);
      expect(await found({ state: 'failed' })).toEqual([]);
      expect(await found({ disabled: true })).toEqual([3]);
      expect(await found({ disabled: false })).toEqual([1, 2, 4, 5]);
      expect(await found({ username: 'ann' })).toEqual([1, 3]);
      expect(await found({ username: 'ann', alias: 'a' })).toEqual([1]);
      expect(await found({ uuid: first!.uuid, alias: 'b' })).toEqual([]);
      expect(await found({ state: 'ready', disabled: false })).toEqual([2, 5]);
    });

    test('one is found by its uuid or its alias', async ({ manager }) => {
      const added = await manager.addMessage(Q, { data: { n: 1 }, alias: 'a', retries: 1, username: 'ann' });
      const { duplicate: _, ...message } = added;
      expect(await manager.findMessage(Q, { uuid: added.uuid })).toEqual(message);
      expect(await manager.findMessage(Q, { alias: 'a' })).toEqual(message);
      expect(await manager.findMessage(Q, { uuid: 'none' })).toBeUndefined();
      expect(await manager.findMessage(Q, { alias: 'none' })).toBeUndefined();
    });

    test('of several with one alias the first is found', async ({ manager }) => {
      await manager.addMessages(Q, [
        { data: 1, alias: 'a' },
        { data: 2, alias: 'a' },
      ]);
      expect(await manager.findMessage(Q, { alias: 'a' })).toMatchObject({ data: 1 });
      await manager.getMessage(Q);
      expect(await manager.findMessage(Q, { alias: 'a' })).toMatchObject({ data: 2 });
    });

    test('what has ended is found no more', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 1, alias: 'a' });
      await manager.completeMessage(Q, await claimOne(manager));
      expect(await manager.findMessage(Q, { uuid })).toBeUndefined();
      expect(await manager.findMessage(Q, { alias: 'a' })).toBeUndefined();
    });

    test('the search may be broken off', async ({ manager }) => {
      await add(manager, 1, 2, 3);
      const seen: unknown[] = [];
      for await (const { data } of manager.findMessages(Q)) {
        seen.push(data);
        if (seen.length === 2) break;
      }
      expect(seen).toEqual([1, 2]);
      expect(await dataOf(manager)).toEqual([1, 2, 3]);
    });

    test('messages may be removed and added while they are searched', async ({ manager }) => {
      await add(manager, 1, 2, 3);
      const seen: unknown[] = [];
      for await (const { uuid, data } of manager.findMessages(Q)) {
        seen.push(data);
        await manager.removeMessage(Q, uuid);
        if (seen.length <= 3) await add(manager, 'new');
      }
      expect(seen.slice(0, 3)).toEqual([1, 2, 3]);
      expect((await dataOf(manager)).every((data) => data === 'new')).toBe(true);
    });

    test('what is found is the caller’s own copy', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: { list: [1] } });
      const found = await manager.findMessage(Q, { uuid });
      (found!.data as { list: number[] }).list.push(2);
      found!.insertedAt.setTime(0);
      const again = await manager.findMessage(Q, { uuid });
      expect(again!.data).toEqual({ list: [1] });
      expect(again!.insertedAt.getTime()).toBeGreaterThan(0);
    });

    test('a filter that is none is refused', async ({ manager }) => {
      const search = (filter: unknown) => firstOf(manager.findMessages(Q, filter as MessageFilter));
      for (const filter of [null, 'a', 7, [], { uuid: 7 }, { state: 'done' }, { disabled: 'yes' }]) {
        await refusal(search(filter), 'INVALID_ARGUMENT');
      }
      expect((await refusal(search({ usrename: 'ann' }), 'INVALID_ARGUMENT')).message).toContain('username');
    });

    test('one message is asked for by exactly one of uuid and alias', async ({ manager }) => {
      const find = (target: unknown) => manager.findMessage(Q, target as { uuid: string });
      for (const target of [
        {},
        { uuid: 'u', alias: 'a' },
        { alias: '' },
        { state: 'ready' },
        { uuid: 'u', state: 'ready' },
      ]) {
        await refusal(find(target), 'INVALID_ARGUMENT');
      }
    });

    test('a message that is claimed or failed while others are looked at is seen once', async ({
      manager,
    }) => {
      const numbers = Array.from({ length: 200 }, (_, i) => i);
      // One by one, so that a backend that keeps its messages in several places has them in several.
      for (const number of numbers) await add(manager, number);
      const seen: Json[] = [];
      for await (const { data } of manager.findMessages(Q)) {
        seen.push(data);
        if (seen.length !== 1) continue;
        const claims = await manager.claimMessages(Q, { limit: 200 });
        await Promise.all(
          claims.map((claim, i) =>
            i % 2 ? manager.failMessage(Q, claim, new Error('no')) : manager.renewMessage(Q, claim),
          ),
        );
      }
      expect(seen).toEqual(numbers);
    });
  });
}
