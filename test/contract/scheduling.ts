import { describe, expect } from 'vitest';
import { add, all, claimOne, drain, expectSound, leaseOver, Q } from './subject.ts';
import type { ContractTest } from './subject.ts';

const FAR = new Date(Date.now() + 30 * 86_400_000);

export function scheduling(test: ContractTest): void {
  describe('deferred and disabled messages', () => {
    test('a deferred message is not given out before its time', async ({ manager }) => {
      await manager.addMessage(Q, { data: 1, dateTimeDeferredExecution: FAR });
      expect(await manager.claimMessages(Q)).toEqual([]);
      expect(await manager.getMessage(Q)).toBeUndefined();
      expect(await manager.waitForMessage(Q, { timeout: 0 })).toBe(false);
      expect(await manager.queueStatus(Q)).toMatchObject({
        messagesToProcess: 1,
        counts: { deferred: 1, ready: 0 },
      });
    });

    test('a deferred message blocks nobody behind it', async ({ manager }) => {
      await manager.addMessage(Q, { data: 1, dateTimeDeferredExecution: FAR });
      await add(manager, 2);
      expect(await drain(manager)).toEqual([2]);
    });

    test('when its time has come it is ready, at its place', async ({ manager }) => {
      const due = new Date(Date.now() + 200);
      const { uuid } = await manager.addMessage(Q, { data: 1, dateTimeDeferredExecution: due });
      expect(await manager.waitForMessage(Q, { timeout: 20_000 })).toBe(true);
      expect(Date.now()).toBeGreaterThanOrEqual(due.getTime());
      await add(manager, 2);
      expect(await manager.findMessage(Q, { uuid })).toMatchObject({
        state: 'ready',
        dateTimeDeferredExecution: due,
      });
      expect((await manager.queueStatus(Q)).counts).toMatchObject({ ready: 2, deferred: 0 });
      await expectSound(manager);
      const claim = await claimOne(manager);
      expect(claim).toMatchObject({ data: 1, executionMode: 'immediate' });
      expect(claim).not.toHaveProperty('dateTimeDeferredExecution');
      expect(await drain(manager)).toEqual([2]);
    });

    test('who waits for a far time is woken for a nearer one', async ({ manager }) => {
      await manager.addMessage(Q, { data: 'far', dateTimeDeferredExecution: FAR });
      const waiting = manager.waitForMessage(Q, { timeout: 20_000 });
      await manager.addMessage(Q, { data: 'near', dateTimeDeferredExecution: new Date(Date.now() + 100) });
      expect(await waiting).toBe(true);
      expect(await drain(manager)).toEqual(['near']);
    });

    test('a deferred message can be brought forward', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 1, dateTimeDeferredExecution: FAR });
      await add(manager, 2);
      expect(await manager.updateMessage(Q, uuid, { dateTimeDeferredExecution: null })).toMatchObject({
        state: 'ready',
      });
      expect(await drain(manager)).toEqual([1, 2]);
    });

    test('a ready message can be put off, and a deferred one further', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 1 });
      for (const due of [FAR, new Date(FAR.getTime() + 1)]) {
        expect(await manager.updateMessage(Q, uuid, { dateTimeDeferredExecution: due })).toMatchObject({
          state: 'deferred',
          executionMode: 'deferred',
          dateTimeDeferredExecution: due,
        });
      }
      expect(await manager.claimMessages(Q)).toEqual([]);
    });

    test('only a waiting message can be put off: a claimed or failed one is left as it is', async ({
      manager,
    }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      for (const due of [FAR, null]) {
        expect(await manager.updateMessage(Q, claim.uuid, { dateTimeDeferredExecution: due })).toMatchObject({
          state: 'claimed',
          executionMode: 'immediate',
        });
      }
      expect(await manager.failMessage(Q, claim, new Error('no'))).toBe(true);
      for (const due of [FAR, null]) {
        expect(await manager.updateMessage(Q, claim.uuid, { dateTimeDeferredExecution: due })).toMatchObject({
          state: 'failed',
        });
      }
      expect(await manager.claimMessages(Q)).toEqual([]);
    });

    test('the farthest of dates is far enough', async ({ manager }) => {
      const due = new Date(8.64e15);
      const { uuid } = await manager.addMessage(Q, { data: 1, dateTimeDeferredExecution: due });
      expect(await manager.waitForMessage(Q, { timeout: 50 })).toBe(false);
      expect((await manager.findMessage(Q, { uuid }))!.dateTimeDeferredExecution).toEqual(due);
    });

    test('a disabled message stays, is passed over, and is counted apart', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 1, disabled: true });
      await add(manager, 2);
      expect(await drain(manager)).toEqual([2]);
      expect(await manager.waitForMessage(Q, { timeout: 0 })).toBe(false);
      expect(await manager.findMessage(Q, { uuid })).toMatchObject({ disabled: true, state: 'ready' });
      expect(await manager.queueStatus(Q)).toMatchObject({
        messagesToProcess: 0,
        counts: { disabled: 1, ready: 0 },
      });
    });

    test('enabling puts a message back at its place', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 1, disabled: true });
      await add(manager, 2);
      expect(await manager.updateMessage(Q, uuid, { disabled: false })).toMatchObject({
        disabled: false,
        state: 'ready',
      });
      expect(await drain(manager)).toEqual([1, 2]);
    });

    test('disabling takes a ready message out of the line', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 1 });
      await manager.updateMessage(Q, uuid, { disabled: true });
      expect(await manager.claimMessages(Q)).toEqual([]);
      expect(await manager.getMessage(Q)).toBeUndefined();
    });

    test('enabling a deferred message leaves it deferred', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, {
        data: 1,
        dateTimeDeferredExecution: FAR,
        disabled: true,
      });
      expect((await manager.queueStatus(Q)).counts).toMatchObject({ disabled: 1, deferred: 0 });
      expect(await manager.updateMessage(Q, uuid, { disabled: false })).toMatchObject({
        state: 'deferred',
        dateTimeDeferredExecution: FAR,
      });
      expect(await manager.claimMessages(Q)).toEqual([]);
      expect((await manager.queueStatus(Q)).counts).toMatchObject({ disabled: 0, deferred: 1 });
    });

    test('a disabled message whose time comes waits until it is enabled', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, {
        data: 1,
        dateTimeDeferredExecution: new Date(1),
        disabled: true,
      });
      expect(await manager.waitForMessage(Q, { timeout: 50 })).toBe(false);
      await manager.updateMessage(Q, uuid, { disabled: false });
      expect(await manager.waitForMessage(Q, { timeout: 20_000 })).toBe(true);
      expect(await claimOne(manager)).toMatchObject({ uuid });
    });

    test('a message disabled while it is claimed goes on, and is passed over when it comes back', async ({
      manager,
    }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      expect(await manager.updateMessage(Q, claim.uuid, { disabled: true })).toMatchObject({
        state: 'claimed',
        disabled: true,
      });
      expect((await manager.queueStatus(Q)).counts).toMatchObject({ claimed: 1, disabled: 0 });
      expect(await manager.releaseMessage(Q, claim)).toBe(true);
      expect(await manager.claimMessages(Q)).toEqual([]);
      expect((await manager.queueStatus(Q)).counts).toMatchObject({ claimed: 0, disabled: 1 });
      await manager.updateMessage(Q, claim.uuid, { disabled: false });
      expect(await claimOne(manager)).toMatchObject({ uuid: claim.uuid });
    });

    test('a message disabled while it is claimed can still be completed', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      await manager.updateMessage(Q, claim.uuid, { disabled: true });
      expect(await manager.completeMessage(Q, claim)).toBe(true);
    });

    test('a disabled message whose lease is over is not given out', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager, 60_000);
      await manager.updateMessage(Q, claim.uuid, { disabled: true });
      await manager.renewMessage(Q, claim, 50);
      expect(await manager.waitForMessage(Q, { timeout: 300 })).toBe(false);
      await manager.updateMessage(Q, claim.uuid, { disabled: false });
      await leaseOver(manager);
      expect(await claimOne(manager)).toMatchObject({ crashes: 1 });
    });

    test('a failed message stays failed when it is disabled and enabled', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      await manager.failMessage(Q, claim, new Error('no'));
      await manager.updateMessage(Q, claim.uuid, { disabled: true });
      expect((await manager.queueStatus(Q)).counts).toMatchObject({ failed: 1, disabled: 0 });
      await manager.retryMessages(Q, 'all');
      expect((await manager.queueStatus(Q)).counts).toMatchObject({ failed: 0, disabled: 1 });
      expect(await manager.claimMessages(Q)).toEqual([]);
      await manager.updateMessage(Q, claim.uuid, { disabled: false });
      expect(await drain(manager)).toEqual([1]);
    });

    test('deferred messages are found by their state', async ({ manager }) => {
      await add(manager, 1);
      await manager.addMessage(Q, { data: 2, dateTimeDeferredExecution: FAR });
      const deferred = await all(manager.findMessages(Q, { state: 'deferred' }));
      expect(deferred.map(({ data }) => data)).toEqual([2]);
    });
  });
}
