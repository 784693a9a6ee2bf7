import { describe, expect } from 'vitest';
import type { QueueManager } from '../../src/index.ts';
import { add, claimOne, dataOf, drain, leaseOver, Q } from './subject.ts';
import type { ContractTest } from './subject.ts';

export function claiming(test: ContractTest): void {
  describe('claiming and settling', () => {
    test('claims come in the order of insertion', async ({ manager }) => {
      await add(manager, 1, 2, 3, 4, 5);
      expect((await manager.claimMessages(Q, { limit: 2 })).map(({ data }) => data)).toEqual([1, 2]);
      expect((await manager.claimMessages(Q, { limit: 9 })).map(({ data }) => data)).toEqual([3, 4, 5]);
      expect(await manager.claimMessages(Q)).toEqual([]);
    });

    test('a claim is of one message unless it asks for more', async ({ manager }) => {
      await add(manager, 1, 2);
      expect(await manager.claimMessages(Q)).toHaveLength(1);
    });

    test('an empty queue yields no claims', async ({ manager }) => {
      expect(await manager.claimMessages(Q, { limit: 10 })).toEqual([]);
    });

    test('a claim is the message, claimed, one try begun, with a token of its own', async ({ manager }) => {
      const { duplicate: _, ...added } = await manager.addMessage(Q, {
        data: { n: 1 },
        alias: 'a',
        retries: 2,
      });
      const claim = await claimOne(manager);
      const { token, holder } = claim;
      expect(claim).toEqual({ ...added, state: 'claimed', attempts: 1, token, holder });
      expect(holder).toMatchObject({ since: expect.any(Date) });
      expect(claim.token).toMatch(/./);
      await add(manager, 2, 3);
      const tokens = (await manager.claimMessages(Q, { limit: 2 })).map(({ token }) => token);
      expect(new Set([...tokens, claim.token]).size).toBe(3);
    });

    test('a claimed message is still in the queue, and counted as claimed', async ({ manager }) => {
      await add(manager, 1);
      const { uuid } = await claimOne(manager);
      expect(await manager.findMessage(Q, { uuid })).toMatchObject({ state: 'claimed', attempts: 1 });
      expect(await manager.queueStatus(Q)).toMatchObject({
        messagesToProcess: 1,
        counts: { ready: 0, claimed: 1 },
      });
    });

    test('no two claims of one moment hold the same message', async ({ manager }) => {
      await add(manager, ...Array.from({ length: 40 }, (_, i) => i));
      const claims = await Promise.all(
        Array.from({ length: 20 }, () => manager.claimMessages(Q, { limit: 3 })),
      );
      const held = claims.flat().map(({ data }) => data as number);
      expect(held.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => i));
    });

    test('10,000 messages are each handed out once, in order', async ({ manager }) => {
      const numbers = Array.from({ length: 10_000 }, (_, i) => i);
      await add(manager, ...numbers);
      expect(await drain(manager)).toEqual(numbers);
      expect((await manager.queueStatus(Q)).processed).toBe(10_000);
    });

    test('a completed message is gone and counted', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      expect(await manager.completeMessage(Q, claim)).toBe(true);
      expect(await manager.findMessage(Q, { uuid: claim.uuid })).toBeUndefined();
      expect(await manager.queueStatus(Q)).toMatchObject({
        processed: 1,
        messagesToProcess: 0,
        counts: { claimed: 0 },
      });
    });

    test('a claim is settled once: whatever comes second answers false and changes nothing', async ({
      manager,
    }) => {
      await manager.addMessage(Q, { data: 1, retries: 5 });
      const claim = await claimOne(manager);
      expect(await manager.completeMessage(Q, claim)).toBe(true);
      expect(await manager.completeMessage(Q, claim)).toBe(false);
      expect(await manager.failMessage(Q, claim, new Error('late'))).toBe(false);
      expect(await manager.releaseMessage(Q, claim)).toBe(false);
      expect(await manager.renewMessage(Q, claim)).toBe(false);
      expect((await manager.queueStatus(Q)).processed).toBe(1);
      expect(await dataOf(manager)).toEqual([]);
    });

    test('of settles made at once, one is heard', async ({ manager }) => {
      await manager.addMessage(Q, { data: 1, retries: 5 });
      const claim = await claimOne(manager);
      const settled = await Promise.all([
        manager.completeMessage(Q, claim),
        manager.releaseMessage(Q, claim),
        manager.failMessage(Q, claim, new Error('no')),
        manager.completeMessage(Q, claim),
      ]);
      expect(settled).toEqual([true, false, false, false]);
    });

    test('of two ends of one message among those of others, one is heard', async ({ manager }) => {
      await add(manager, 1, 2, 3);
      const [one, two, three] = await manager.claimMessages(Q, { limit: 3 });
      const ends = [two!, one!, two!, one!, three!].map((claim) => manager.completeMessage(Q, claim));
      expect(await Promise.all(ends)).toEqual([true, true, false, false, true]);
      expect((await manager.queueStatus(Q)).processed).toBe(3);
    });

    test('uuid and token are proof enough', async ({ manager }) => {
      await add(manager, 1);
      const { uuid, token } = await claimOne(manager);
      expect(await manager.completeMessage(Q, { uuid, token })).toBe(true);
    });

    test('a token proves nothing about another message', async ({ manager }) => {
      await add(manager, 1, 2);
      const [first, second] = await manager.claimMessages(Q, { limit: 2 });
      expect(await manager.completeMessage(Q, { ...first!, token: second!.token })).toBe(false);
      expect(await manager.completeMessage(Q, { ...first!, token: 'made up' })).toBe(false);
      expect(await manager.completeMessage(Q, { uuid: 'made up', token: first!.token })).toBe(false);
      expect((await manager.queueStatus(Q)).counts.claimed).toBe(2);
    });

    test('a released message is back at its place, its try given back', async ({ manager }) => {
      await add(manager, 1, 2, 3);
      const [first, second] = await manager.claimMessages(Q, { limit: 2 });
      expect(await manager.releaseMessage(Q, second!)).toBe(true);
      expect(await manager.releaseMessage(Q, first!)).toBe(true);
      expect(await manager.findMessage(Q, { uuid: first!.uuid })).toMatchObject({
        state: 'ready',
        attempts: 0,
        crashes: 0,
      });
      expect(await drain(manager)).toEqual([1, 2, 3]);
    });

    test('a new claim on a released message has a new token', async ({ manager }) => {
      await add(manager, 1);
      const before = await claimOne(manager);
      await manager.releaseMessage(Q, before);
      const after = await claimOne(manager);
      expect(after.uuid).toBe(before.uuid);
      expect(after.token).not.toBe(before.token);
      expect(await manager.completeMessage(Q, before)).toBe(false);
      expect(await manager.completeMessage(Q, after)).toBe(true);
    });

    test('getMessage takes the first message away as it hands it over', async ({ manager }) => {
      const { duplicate: _, ...added } = await manager.addMessage(Q, { data: { n: 1 } });
      await add(manager, 2);
      expect(await manager.getMessage(Q)).toEqual(added);
      expect(await dataOf(manager)).toEqual([2]);
      expect(await manager.queueStatus(Q)).toMatchObject({
        processed: 1,
        lastMessageProcessed: { uuid: added.uuid },
      });
      expect(await manager.getMessage(Q)).toMatchObject({ data: 2 });
      expect(await manager.getMessage(Q)).toBeUndefined();
    });

    test('getMessage passes over what is claimed, deferred, disabled or failed', async ({ manager }) => {
      await add(manager, 'claimed', 'failed');
      await manager.addMessage(Q, {
        data: 'deferred',
        dateTimeDeferredExecution: new Date(Date.now() + 3_600_000),
      });
      await manager.addMessage(Q, { data: 'disabled', disabled: true });
      const [, second] = await manager.claimMessages(Q, { limit: 2 });
      await manager.failMessage(Q, second!, new Error('no'));
      expect(await manager.getMessage(Q)).toBeUndefined();
      await add(manager, 'ready');
      expect(await manager.getMessage(Q)).toMatchObject({ data: 'ready' });
    });

    test('messages taken at once are each taken by one', async ({ manager }) => {
      await add(manager, ...Array.from({ length: 30 }, (_, i) => i));
      const taken = await Promise.all(Array.from({ length: 40 }, () => manager.getMessage(Q)));
      const data = taken.flatMap((message) => (message ? [message.data as number] : []));
      expect(data.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 30 }, (_, i) => i));
    });
  });

  describe('leases', () => {
    test('a message whose lease is over is back at its place, with the crash counted', async ({
      manager,
      store,
    }) => {
      const other = await store.open();
      await add(manager, 1, 2);
      const [lost, held] = await manager.claimMessages(Q, { limit: 2 });
      await manager.renewMessage(Q, lost!, 50);
      await leaseOver(other);
      await manager.releaseMessage(Q, held!);
      const again = await claimOne(manager);
      expect(again).toMatchObject({ uuid: lost!.uuid, data: 1, crashes: 1, attempts: 1 });
      expect(again.errors).toHaveLength(1);
      expect(again.errors[0]).toMatchObject({ attempt: 1 });
      expect(again.errors[0]!.message).not.toBe('');
    });

    test('who comes back after others were given the message can settle nothing', async ({ manager }) => {
      await manager.addMessage(Q, { data: 1, retries: 5 });
      const asleep = await claimOne(manager, 50);
      await leaseOver(manager);
      const other = await claimOne(manager);
      expect(await manager.completeMessage(Q, asleep)).toBe(false);
      expect(await manager.failMessage(Q, asleep, new Error('late'))).toBe(false);
      expect(await manager.releaseMessage(Q, asleep)).toBe(false);
      expect(await manager.renewMessage(Q, asleep)).toBe(false);
      expect(await manager.completeMessage(Q, other)).toBe(true);
    });

    test('a renewed claim goes on', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager, 150);
      expect(await manager.renewMessage(Q, claim, 60_000)).toBe(true);
      expect(await manager.waitForMessage(Q, { timeout: 300 })).toBe(false);
      expect(await manager.completeMessage(Q, claim)).toBe(true);
    });

    test('a renewal may also shorten the lease', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager, 60_000);
      await manager.renewMessage(Q, claim, 50);
      await leaseOver(manager);
      expect(await claimOne(manager)).toMatchObject({ uuid: claim.uuid, crashes: 1 });
    });

    test('of renewals made at once, each has its own length', async ({ manager }) => {
      await add(manager, 1, 2);
      const [long, short] = await manager.claimMessages(Q, { limit: 2, lease: 60_000 });
      await Promise.all([manager.renewMessage(Q, long!, 60_000), manager.renewMessage(Q, short!, 50)]);
      expect(await manager.completeMessage(Q, long!)).toBe(true);
      await leaseOver(manager);
      expect(await claimOne(manager)).toMatchObject({ uuid: short!.uuid, crashes: 1 });
    });

    test('a message that has crashed a worker takes no others with it', async ({ manager, store }) => {
      const other = await store.open();
      const claim = async (by: QueueManager) =>
        (await by.claimMessages(Q, { limit: 10 })).map(({ data }) => data);
      await add(manager, 1, 2, 3, 4);
      const [first, killer, ...behind] = await manager.claimMessages(Q, { limit: 4 });
      await manager.renewMessage(Q, killer!, 50);
      await leaseOver(other);
      for (const held of [first!, ...behind]) await manager.releaseMessage(Q, held);

      // It stands behind 1, so 1 comes without it; and it waits until 1 is done.
      const alone = await manager.claimMessages(Q, { limit: 10 });
      expect(alone.map(({ data }) => data)).toEqual([1]);
      expect(await claim(manager)).toEqual([]);
      expect(await manager.getMessage(Q)).toBeUndefined();
      expect(await manager.waitForMessage(Q, { timeout: 0 })).toBe(false);
      await manager.completeMessage(Q, alone[0]!);
      expect(await claim(manager)).toEqual([2]);
      // Who holds it holds nothing else; others are free to go on.
      expect(await claim(manager)).toEqual([]);
      expect(await manager.waitForMessage(Q, { timeout: 0 })).toBe(false);
      expect(await claim(other)).toEqual([3, 4]);
    });

    test('who waits because of a message that crashes is woken when it may go on', async ({
      manager,
      store,
    }) => {
      const other = await store.open();
      await add(manager, 1, 2);
      const [killer, second] = await manager.claimMessages(Q, { limit: 2 });
      await manager.renewMessage(Q, killer!, 50);
      await leaseOver(other);
      const waiting = manager.waitForMessage(Q, { timeout: 20_000 });
      await manager.completeMessage(Q, second!);
      expect(await waiting).toBe(true);
      expect(await claimOne(manager)).toMatchObject({ data: 1 });
    });

    test('a message that has crashed its worker crashLimit times is failed, with the evidence', async ({
      store,
    }) => {
      const manager = await store.open({ crashLimit: 2 });
      await manager.createQueue(Q);
      const { uuid } = await manager.addMessage(Q, { data: 1, retries: 100 });
      await claimOne(manager, 50);
      await leaseOver(manager);
      await claimOne(manager, 50);
      await add(manager, 2);
      await leaseOver(manager);
      expect(await claimOne(manager)).toMatchObject({ data: 2 });
      const failed = await manager.findMessage(Q, { uuid });
      expect(failed).toMatchObject({ state: 'failed', crashes: 2, attempts: 0 });
      expect(failed!.errors).toHaveLength(2);
    });

    test('a message removed while it is claimed does not come back when the lease is over', async ({
      manager,
    }) => {
      await add(manager, 1);
      const claim = await claimOne(manager, 50);
      expect(await manager.removeMessage(Q, claim.uuid)).toBe(true);
      expect(await manager.waitForMessage(Q, { timeout: 150 })).toBe(false);
      expect(await manager.completeMessage(Q, claim)).toBe(false);
      expect((await manager.queueStatus(Q)).processed).toBe(0);
    });
  });
}
