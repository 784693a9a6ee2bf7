import { describe, expect } from 'vitest';
import { add, all, claimOne, expectSound, Q } from './subject.ts';
import type { ContractTest } from './subject.ts';

export function cancelling(test: ContractTest): void {
  describe('cancelling', () => {
    test('a cancelled message stands as failed, with the reason', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 1, retries: 5 });
      expect(await manager.cancelMessage(Q, uuid, 'the order was withdrawn')).toBe(true);
      expect(await manager.findMessage(Q, { uuid })).toMatchObject({
        state: 'failed',
        errors: [{ name: 'Cancelled', code: 'CANCELLED', message: 'the order was withdrawn' }],
      });
      expect(await manager.claimMessages(Q)).toEqual([]);
      await expectSound(manager);
    });

    test('a claim on it has ended: what its holder still says changes nothing', async ({
      manager,
      store,
    }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      const other = await store.open();
      expect(await other.cancelMessage(Q, claim.uuid)).toBe(true);
      expect(await manager.completeMessage(Q, claim)).toBe(false);
      expect(await manager.failMessage(Q, claim, new Error('late'))).toBe(false);
      expect(await manager.renewMessage(Q, claim)).toBe(false);
      const found = await manager.findMessage(Q, { uuid: claim.uuid });
      expect(found).toMatchObject({
        state: 'failed',
        attempts: 1,
        errors: [{ attempt: 1, name: 'Cancelled' }],
      });
      expect(found).not.toHaveProperty('holder');
      await expectSound(manager);
    });

    test('deferred and disabled messages can be cancelled', async ({ manager }) => {
      const deferred = await manager.addMessage(Q, {
        data: 1,
        dateTimeDeferredExecution: new Date('2100-01-01'),
      });
      const disabled = await manager.addMessage(Q, { data: 2, disabled: true });
      for (const { uuid } of [deferred, disabled]) expect(await manager.cancelMessage(Q, uuid)).toBe(true);
      expect((await manager.queueStatus(Q)).counts).toMatchObject({ deferred: 0, disabled: 0, failed: 2 });
      await expectSound(manager);
    });

    test('a message that has failed, or is not there, cannot be cancelled', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      await manager.failMessage(Q, claim, new Error('no'));
      expect(await manager.cancelMessage(Q, claim.uuid)).toBe(false);
      expect((await manager.findMessage(Q, { uuid: claim.uuid }))?.errors).toHaveLength(1);
      expect(await manager.cancelMessage(Q, '00000000-0000-7000-8000-000000000000')).toBe(false);
    });

    test('a retry brings a cancelled message back in line at its place', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 1 });
      await add(manager, 2);
      await manager.cancelMessage(Q, uuid);
      expect(await manager.retryMessages(Q, [uuid])).toBe(1);
      expect(await claimOne(manager)).toMatchObject({ uuid, attempts: 1 });
    });

    test('its listeners are told, once', async ({ manager }) => {
      const told: unknown[] = [];
      manager.on('cancelled', (event) => told.push(event));
      const { uuid } = await manager.addMessage(Q, { data: 1 });
      await manager.cancelMessage(Q, uuid);
      await manager.cancelMessage(Q, uuid);
      expect(told).toEqual([{ queue: Q, uuid }]);
    });
  });

  describe('lost claims', () => {
    test('a claim that is held is not lost', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      expect((await manager.lostClaims(Q, [claim])).size).toBe(0);
      await manager.renewMessage(Q, claim);
      expect((await manager.lostClaims(Q, [claim])).size).toBe(0);
    });

    test('of each lost claim it is said whether somebody wanted that', async ({ manager, store }) => {
      const other = await store.open();
      await add(manager, 1, 2, 3, 4);
      const [cancelled, removed, released, held] = await manager.claimMessages(Q, { limit: 4 });
      await other.cancelMessage(Q, cancelled!.uuid);
      await other.removeMessage(Q, removed!.uuid);
      await other.releaseMessage(Q, released!);
      expect(await manager.lostClaims(Q, [cancelled!, removed!, released!, held!])).toEqual(
        new Map([
          [cancelled!.token, 'cancelled'],
          [removed!.token, 'cancelled'],
          [released!.token, 'lapsed'],
        ]),
      );
    });

    test('a claim of before a retry, or of another holder, is lost', async ({ manager }) => {
      await add(manager, 1);
      const first = await claimOne(manager);
      await manager.releaseMessage(Q, first);
      const second = await claimOne(manager);
      expect(await manager.lostClaims(Q, [first, second])).toEqual(new Map([[first.token, 'lapsed']]));
      await manager.completeMessage(Q, second);
      expect(await manager.lostClaims(Q, [second])).toEqual(new Map([[second.token, 'lapsed']]));
    });

    test('what is no claim at all is lost', async ({ manager }) => {
      expect(await manager.lostClaims(Q, [{ uuid: 'x', token: 'y' }])).toEqual(new Map([['y', 'lapsed']]));
    });
  });

  describe('progress', () => {
    test('is seen with the message by everybody, with who works on it and since when', async ({
      manager,
      store,
    }) => {
      const other = await store.open();
      const before = Date.now() - 1;
      await add(manager, 1);
      const claim = await claimOne(manager);
      expect(await manager.reportProgress(Q, claim, { percent: 40, text: 'page 4 of 10' })).toBe(true);
      const [found] = await all(other.findMessages(Q, { state: 'claimed' }));
      expect(found?.holder?.progress).toMatchObject({
        percent: 40,
        text: 'page 4 of 10',
        at: expect.any(Date),
      });
      expect(found!.holder!.since.getTime()).toBeGreaterThan(before);
      expect(found!.holder!.since.getTime()).toBeLessThanOrEqual(found!.holder!.progress!.at.getTime());
    });

    test('of several messages claimed together each has its own', async ({ manager }) => {
      await add(manager, 1, 2, 3);
      const claims = await manager.claimMessages(Q, { limit: 3 });
      await Promise.all([
        manager.renewMessage(Q, claims[0]!),
        manager.reportProgress(Q, claims[1]!, { percent: 10, text: 'one' }),
        manager.reportProgress(Q, claims[2]!, { percent: 20, text: 'two' }),
      ]);
      const found = await all(manager.findMessages(Q));
      expect(found.map(({ holder }) => holder?.progress?.text)).toEqual([undefined, 'one', 'two']);
    });

    test('the last word counts, a renewal keeps it, and it ends with the claim', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      // What is told of the claim must be told apart from what comes later.
      while (Date.now() <= claim.holder!.since.getTime()) await new Promise(setImmediate);
      await manager.reportProgress(Q, claim, { percent: 1 });
      await manager.reportProgress(Q, claim, { percent: 2, text: 'b' });
      await manager.renewMessage(Q, claim);
      const { uuid } = claim;
      const held = await manager.findMessage(Q, { uuid });
      expect(held?.holder?.progress).toMatchObject({ percent: 2, text: 'b' });
      expect(held?.holder?.since).toEqual(claim.holder?.since);
      await manager.releaseMessage(Q, claim);
      expect(await manager.findMessage(Q, { uuid })).not.toHaveProperty('holder');
      expect((await claimOne(manager)).holder).not.toHaveProperty('progress');
    });

    test('is a renewal: the lease begins anew', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager, 300);
      await manager.reportProgress(Q, claim, { percent: 1, lease: 3_600_000 });
      expect(await manager.waitForMessage(Q, { timeout: 900 })).toBe(false);
      expect(await manager.completeMessage(Q, claim)).toBe(true);
    });

    test('of a claim that has ended is refused, and changes nothing', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      await manager.releaseMessage(Q, claim);
      expect(await manager.reportProgress(Q, claim, { percent: 1 })).toBe(false);
    });

    test('percentages are cut to 0 … 100', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      const { uuid } = claim;
      for (const [percent, shown] of [
        [-5, 0],
        [250, 100],
        [33.3, 33.3],
      ] as const) {
        await manager.reportProgress(Q, claim, { percent });
        expect((await manager.findMessage(Q, { uuid }))?.holder?.progress?.percent).toBe(shown);
      }
    });
  });
}
