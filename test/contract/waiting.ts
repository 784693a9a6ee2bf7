import { describe, expect } from 'vitest';
import { add, claimOne, Q, refusal } from './subject.ts';
import type { ContractTest } from './subject.ts';

/** Long enough that a test which has to wait for it has failed. */
const LONG = 30_000;

export function waiting(test: ContractTest): void {
  describe('waiting for a message', () => {
    test('answers true at once when something may be claimed', async ({ manager }) => {
      await add(manager, 1);
      expect(await manager.waitForMessage(Q)).toBe(true);
      expect(await manager.waitForMessage(Q, { timeout: 0 })).toBe(true);
    });

    test('answers false when its time is up', async ({ manager }) => {
      const before = performance.now();
      expect(await manager.waitForMessage(Q, { timeout: 50 })).toBe(false);
      expect(performance.now() - before).toBeGreaterThan(45);
    });

    test('answers true when a message is added', async ({ manager }) => {
      const waiting = manager.waitForMessage(Q, { timeout: LONG });
      await add(manager, 1);
      expect(await waiting).toBe(true);
    });

    test('all who wait are told', async ({ manager }) => {
      const waiting = [1, 2, 3].map(() => manager.waitForMessage(Q, { timeout: LONG }));
      await add(manager, 1);
      expect(await Promise.all(waiting)).toEqual([true, true, true]);
    });

    test('answers true when a message is released', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      const waiting = manager.waitForMessage(Q, { timeout: LONG });
      await manager.releaseMessage(Q, claim);
      expect(await waiting).toBe(true);
    });

    test('answers true when a message is enabled, retried or brought forward', async ({ manager }) => {
      const disabled = await manager.addMessage(Q, { data: 1, disabled: true });
      const first = manager.waitForMessage(Q, { timeout: LONG });
      await manager.updateMessage(Q, disabled.uuid, { disabled: false });
      expect(await first).toBe(true);

      await manager.failMessage(Q, await claimOne(manager), new Error('no'));
      const second = manager.waitForMessage(Q, { timeout: LONG });
      await manager.retryMessages(Q, 'all');
      expect(await second).toBe(true);

      await manager.completeMessage(Q, await claimOne(manager));
      const deferred = await manager.addMessage(Q, { data: 2, dateTimeDeferredExecution: new Date(8.64e15) });
      const third = manager.waitForMessage(Q, { timeout: LONG });
      await manager.updateMessage(Q, deferred.uuid, { dateTimeDeferredExecution: null });
      expect(await third).toBe(true);
    });

    test('a paused queue has nothing to wait for until it is resumed', async ({ manager }) => {
      await manager.pauseQueue(Q);
      await add(manager, 1);
      expect(await manager.waitForMessage(Q, { timeout: 50 })).toBe(false);
      const waiting = manager.waitForMessage(Q, { timeout: LONG });
      await manager.resumeQueue(Q);
      expect(await waiting).toBe(true);
    });

    test('answers false when its signal fires', async ({ manager }) => {
      const controller = new AbortController();
      const waiting = manager.waitForMessage(Q, { signal: controller.signal, timeout: LONG });
      setImmediate(() => controller.abort());
      expect(await waiting).toBe(false);
    });

    test('answers false when its signal has fired before, also where a message waits', async ({
      manager,
    }) => {
      expect(await manager.waitForMessage(Q, { signal: AbortSignal.abort(), timeout: LONG })).toBe(false);
      await add(manager, 1);
      expect(await manager.waitForMessage(Q, { signal: AbortSignal.abort(), timeout: LONG })).toBe(false);
    });

    test('leaves nothing on a signal that outlives it', async ({ manager }) => {
      await add(manager, 1);
      const { signal } = new AbortController();
      let listening = 0;
      const add0 = signal.addEventListener.bind(signal);
      const remove0 = signal.removeEventListener.bind(signal);
      signal.addEventListener = (...args: Parameters<typeof add0>) => (listening++, add0(...args));
      signal.removeEventListener = (...args: Parameters<typeof remove0>) => (listening--, remove0(...args));
      for (let i = 0; i < 20; i++) await manager.waitForMessage(Q, { signal });
      expect(listening).toBe(0);
    });

    test('is refused when the queue is destroyed', async ({ manager }) => {
      const waiting = manager.waitForMessage(Q, { timeout: LONG });
      const refused = refusal(waiting, 'QUEUE_DESTROYED');
      await manager.queueStatus(Q);
      await manager.destroyQueue(Q);
      await refused;
    });

    test('is refused when the manager is closed', async ({ manager }) => {
      const waiting = manager.waitForMessage(Q, { timeout: LONG });
      const refused = refusal(waiting, 'CLOSED');
      await manager.queueStatus(Q);
      await manager.close();
      await refused;
    });

    test('a consumer that waits and claims sees every message', async ({ manager }) => {
      const seen: unknown[] = [];
      const consuming = (async () => {
        while (seen.length < 30) {
          await manager.waitForMessage(Q, { timeout: LONG });
          for (const claim of await manager.claimMessages(Q, { limit: 4 })) {
            seen.push(claim.data);
            await manager.completeMessage(Q, claim);
          }
        }
      })();
      for (let i = 0; i < 30; i++) await add(manager, i);
      await consuming;
      expect(seen).toEqual(Array.from({ length: 30 }, (_, i) => i));
    });
  });
}
