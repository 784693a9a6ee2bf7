import { describe, expect } from 'vitest';
import { add, claimOne, dataOf, drain, leaseOver, Q } from './subject.ts';
import type { ContractTest } from './subject.ts';

export function failing(test: ContractTest): void {
  describe('failing and retrying', () => {
    test('without retries one failed try is the end: the message stays as failed', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      expect(await manager.failMessage(Q, claim, new Error('no such address'))).toBe(true);
      expect(await manager.claimMessages(Q)).toEqual([]);
      expect(await manager.findMessage(Q, { uuid: claim.uuid })).toMatchObject({
        state: 'failed',
        attempts: 1,
        crashes: 0,
        errors: [{ attempt: 1, name: 'Error', message: 'no such address' }],
      });
      expect(await manager.queueStatus(Q)).toMatchObject({
        messagesToProcess: 0,
        counts: { failed: 1 },
        processed: 0,
      });
    });

    test('retries is the number of further tries, and is not counted down', async ({ manager }) => {
      await manager.addMessage(Q, { data: 1, retries: 2 });
      for (const attempt of [1, 2, 3]) {
        await manager.waitForMessage(Q, { timeout: 10_000 });
        const claim = await claimOne(manager);
        expect(claim).toMatchObject({ attempts: attempt, retries: 2 });
        expect(claim.errors).toHaveLength(attempt - 1);
        await manager.failMessage(Q, claim, new Error(`try ${attempt}`));
      }
      expect(await manager.claimMessages(Q)).toEqual([]);
      expect((await manager.queueStatus(Q)).counts.failed).toBe(1);
    });

    test('a message to be tried again is deferred by the backoff, and keeps its place', async ({ store }) => {
      const manager = await store.open({ backoff: 3_600_000, backoffMax: 7_200_000 });
      await manager.createQueue(Q);
      await manager.addMessage(Q, { data: 1, retries: 2 });
      await add(manager, 2);
      const claim = await claimOne(manager);
      const before = Date.now();
      await manager.failMessage(Q, claim, new Error('no'));
      const failed = await manager.findMessage(Q, { uuid: claim.uuid });
      expect(failed).toMatchObject({ state: 'deferred', executionMode: 'deferred', attempts: 1 });
      const wait = failed!.dateTimeDeferredExecution!.getTime() - before;
      expect(wait).toBeGreaterThanOrEqual(1_800_000);
      expect(wait).toBeLessThanOrEqual(3_600_000 + 60_000);
      expect(await drain(manager)).toEqual([2]);
      await manager.updateMessage(Q, claim.uuid, { dateTimeDeferredExecution: null });
      await add(manager, 3);
      expect(await drain(manager)).toEqual([1, 3]);
    });

    test('retryAt chooses the time of the next try', async ({ manager }) => {
      await manager.addMessage(Q, { data: 1, retries: 1 });
      const claim = await claimOne(manager);
      const retryAt = new Date(Date.now() + 3_600_000);
      await manager.failMessage(Q, claim, new Error('no'), { retryAt });
      expect(await manager.findMessage(Q, { uuid: claim.uuid })).toMatchObject({
        state: 'deferred',
        dateTimeDeferredExecution: retryAt,
      });
    });

    test('retryAt gives no try beyond the last', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      await manager.failMessage(Q, claim, new Error('no'), { retryAt: new Date(0) });
      expect(await manager.findMessage(Q, { uuid: claim.uuid })).toMatchObject({ state: 'failed' });
    });

    test('a final failure leaves no further try', async ({ manager }) => {
      await manager.addMessage(Q, { data: 1, retries: 10 });
      const claim = await claimOne(manager);
      await manager.failMessage(Q, claim, new Error('no'), { final: true });
      expect(await manager.findMessage(Q, { uuid: claim.uuid })).toMatchObject({
        state: 'failed',
        attempts: 1,
      });
    });

    test('the last five errors stay with the message, oldest first', async ({ manager }) => {
      await manager.addMessage(Q, { data: 1, retries: 10 });
      let uuid = '';
      for (let attempt = 1; attempt <= 7; attempt++) {
        await manager.waitForMessage(Q, { timeout: 10_000 });
        const claim = await claimOne(manager);
        ({ uuid } = claim);
        await manager.failMessage(Q, claim, new Error(`try ${attempt}`));
      }
      const message = await manager.findMessage(Q, { uuid });
      expect(message!.errors.map((error) => error.message)).toEqual([
        'try 3',
        'try 4',
        'try 5',
        'try 6',
        'try 7',
      ]);
    });

    test('an error is kept with its name, code, stack, cause and time', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      const error = Object.assign(new TypeError('bad', { cause: new RangeError('worse') }), {
        code: 'E_BAD',
      });
      const before = Date.now();
      await manager.failMessage(Q, claim, error);
      const [kept] = (await manager.findMessage(Q, { uuid: claim.uuid }))!.errors;
      expect(kept).toMatchObject({ attempt: 1, name: 'TypeError', message: 'bad', code: 'E_BAD' });
      expect(kept!.stack).toContain('failing.ts');
      expect(kept!.stack).toContain('RangeError: worse');
      expect(Date.parse(kept!.at)).toBeGreaterThanOrEqual(before);
      expect(Date.parse(kept!.at)).toBeLessThanOrEqual(Date.now());
    });

    test('whatever was thrown can be kept', async ({ manager }) => {
      const hostile = {
        get name(): string {
          throw new Error('name');
        },
        get message(): string {
          throw new Error('message');
        },
        get stack(): string {
          throw new Error('stack');
        },
        toJSON() {
          throw new Error('toJSON');
        },
      };
      const circular = new Error('round');
      circular.cause = circular;
      const revoked = Proxy.revocable({}, {});
      revoked.revoke();
      const thrown = [
        'text',
        '',
        7,
        7n,
        Number.NaN,
        null,
        undefined,
        Symbol('s'),
        () => 1,
        { a: 1 },
        [1],
        hostile,
      ];
      const all = [...thrown, circular, revoked.proxy, Object.create(null), new Error('x'.repeat(1_000_000))];
      for (const error of all) {
        await add(manager, 'data');
        const claim = await claimOne(manager);
        expect(await manager.failMessage(Q, claim, error)).toBe(true);
        const [kept] = (await manager.findMessage(Q, { uuid: claim.uuid }))!.errors;
        expect(kept).toMatchObject({ name: expect.any(String), message: expect.any(String) });
        expect(JSON.stringify(kept).length).toBeLessThan(20_000);
      }
    });

    test('retrying puts failed messages back at their places, with everything counted anew', async ({
      manager,
    }) => {
      await add(manager, 1, 2, 3, 4);
      const claims = await manager.claimMessages(Q, { limit: 3 });
      for (const claim of claims) await manager.failMessage(Q, claim, new Error('no'));
      expect(await manager.retryMessages(Q, [claims[2]!.uuid, claims[0]!.uuid])).toBe(2);
      expect(await manager.findMessage(Q, { uuid: claims[0]!.uuid })).toMatchObject({
        state: 'ready',
        attempts: 0,
        crashes: 0,
        errors: [{ message: 'no' }],
      });
      expect(await drain(manager)).toEqual([1, 3, 4]);
      expect(await manager.retryMessages(Q, 'all')).toBe(1);
      expect(await drain(manager)).toEqual([2]);
    });

    test('retrying leaves alone what has not failed or is not there', async ({ manager }) => {
      await add(manager, 'claimed', 'failed', 'ready');
      const [claimed, failing] = await manager.claimMessages(Q, { limit: 2 });
      await manager.failMessage(Q, failing!, new Error('no'));
      const uuids = [claimed!.uuid, failing!.uuid, failing!.uuid, 'no such uuid'];
      expect(await manager.retryMessages(Q, uuids)).toBe(1);
      expect(await manager.retryMessages(Q, [])).toBe(0);
      expect(await manager.retryMessages(Q, 'all')).toBe(0);
      expect(await manager.completeMessage(Q, claimed!)).toBe(true);
    });

    test('a retried message has all its tries again', async ({ manager }) => {
      await manager.addMessage(Q, { data: 1, retries: 1 });
      for (const round of [1, 2]) {
        for (const attempt of [1, 2]) {
          await manager.waitForMessage(Q, { timeout: 10_000 });
          const claim = await claimOne(manager);
          expect(claim.attempts).toBe(attempt);
          await manager.failMessage(Q, claim, new Error(`round ${round}`));
        }
        expect((await manager.queueStatus(Q)).counts.failed).toBe(1);
        await manager.retryMessages(Q, 'all');
      }
    });

    test('a message that died of crashes can be retried, its crashes counted anew', async ({ store }) => {
      const manager = await store.open({ crashLimit: 1 });
      await manager.createQueue(Q);
      await add(manager, 1);
      const { uuid } = await claimOne(manager, 50);
      // It never becomes claimable, so nothing but looking tells when it has been given up.
      while ((await manager.queueStatus(Q)).counts.failed === 0) {
        expect(await manager.waitForMessage(Q, { timeout: 20 })).toBe(false);
      }
      expect(await manager.findMessage(Q, { uuid })).toMatchObject({ state: 'failed', crashes: 1 });
      expect(await manager.retryMessages(Q, 'all')).toBe(1);
      expect(await claimOne(manager)).toMatchObject({ uuid, crashes: 0, attempts: 1 });
    });

    test('a failed try and a crash are counted apart', async ({ manager }) => {
      await manager.addMessage(Q, { data: 1, retries: 1 });
      await manager.failMessage(Q, await claimOne(manager), new Error('no'));
      await manager.waitForMessage(Q, { timeout: 10_000 });
      await claimOne(manager, 50);
      await leaseOver(manager);
      const third = await claimOne(manager);
      expect(third).toMatchObject({ attempts: 2, crashes: 1 });
      expect(third.errors).toHaveLength(2);
    });

    test('removing takes a message away, whatever its state', async ({ manager }) => {
      await add(manager, 'failed', 'claimed', 'ready');
      const deferred = await manager.addMessage(Q, {
        data: 'deferred',
        dateTimeDeferredExecution: new Date(8.64e15),
      });
      const disabled = await manager.addMessage(Q, { data: 'disabled', disabled: true });
      const [failing, claimed] = await manager.claimMessages(Q, { limit: 2 });
      await manager.failMessage(Q, failing!, new Error('no'));
      for (const { uuid } of [failing!, claimed!, deferred, disabled]) {
        expect(await manager.removeMessage(Q, uuid)).toBe(true);
        expect(await manager.removeMessage(Q, uuid)).toBe(false);
      }
      expect(await manager.completeMessage(Q, claimed!)).toBe(false);
      expect(await dataOf(manager)).toEqual(['ready']);
      expect((await manager.queueStatus(Q)).processed).toBe(0);
    });
  });
}
