import { describe, expect } from 'vitest';
import { add, claimOne, dataOf, drain, Q, refusal } from './subject.ts';
import type { ContractTest } from './subject.ts';

export function updating(test: ContractTest): void {
  describe('updating', () => {
    test('changes what it names and leaves the rest, the place included', async ({ manager }) => {
      const [first] = await manager.addMessages(Q, [
        { data: 1, alias: 'a', retries: 1, username: 'ann' },
        { data: 2 },
      ]);
      const { duplicate: _, ...before } = first!;
      const updated = await manager.updateMessage(Q, before.uuid, { data: { new: true }, retries: 4 });
      expect(updated).toEqual({ ...before, data: { new: true }, retries: 4 });
      expect(await manager.findMessage(Q, { uuid: before.uuid })).toEqual(updated);
      expect(await manager.updateMessage(Q, before.uuid, { alias: 'b', username: '' })).toEqual({
        ...updated,
        alias: 'b',
        username: '',
      });
      expect(await drain(manager)).toEqual([{ new: true }, 2]);
    });

    test('of nothing changes nothing', async ({ manager }) => {
      const { duplicate: _, ...message } = await manager.addMessage(Q, { data: 1 });
      expect(await manager.updateMessage(Q, message.uuid, {})).toEqual(message);
    });

    test('data may become null', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 1 });
      expect(await manager.updateMessage(Q, uuid, { data: null })).toMatchObject({ data: null });
      expect(await dataOf(manager)).toEqual([null]);
    });

    test('an alias can be given and taken', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 1 });
      await manager.updateMessage(Q, uuid, { alias: 'a' });
      expect(await manager.findMessage(Q, { alias: 'a' })).toMatchObject({ uuid });
      await manager.updateMessage(Q, uuid, { alias: '' });
      expect(await manager.findMessage(Q, { alias: 'a' })).toBeUndefined();
    });

    test('a claimed message is worked on as it was claimed, and changed at its next try', async ({
      manager,
    }) => {
      await manager.addMessage(Q, { data: 'old', retries: 0 });
      const claim = await claimOne(manager);
      expect(await manager.updateMessage(Q, claim.uuid, { data: 'new', retries: 3 })).toMatchObject({
        state: 'claimed',
      });
      expect(claim).toMatchObject({ data: 'old', retries: 0 });
      await manager.releaseMessage(Q, claim);
      expect(await claimOne(manager)).toMatchObject({ data: 'new', retries: 3, attempts: 1 });
    });

    test('a claim stays good when its message is updated', async ({ manager }) => {
      await add(manager, 1);
      const claim = await claimOne(manager);
      await manager.updateMessage(Q, claim.uuid, { data: 2 });
      expect(await manager.completeMessage(Q, claim)).toBe(true);
    });

    test('updates of one message follow each other', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 0 });
      const updates = [1, 2, 3, 4, 5].map((data) => manager.updateMessage(Q, uuid, { data }));
      // Each answer is the message as it stands after that update; of updates made together, perhaps after all of them.
      for (const [i, { data }] of (await Promise.all(updates)).entries()) expect(data).toBeGreaterThan(i);
      expect(await dataOf(manager)).toEqual([5]);
    });

    test('a failed message can be mended before it is retried', async ({ manager }) => {
      await add(manager, 'broken');
      const claim = await claimOne(manager);
      await manager.failMessage(Q, claim, new Error('no'));
      expect(await manager.updateMessage(Q, claim.uuid, { data: 'mended' })).toMatchObject({
        state: 'failed',
      });
      await manager.retryMessages(Q, [claim.uuid]);
      expect(await drain(manager)).toEqual(['mended']);
    });

    test('what is not there cannot be updated', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 1 });
      await manager.getMessage(Q);
      await refusal(manager.updateMessage(Q, uuid, { data: 2 }), 'MESSAGE_NOT_FOUND');
      await refusal(manager.updateMessage(Q, 'none', { data: 2 }), 'MESSAGE_NOT_FOUND');
      expect(await dataOf(manager)).toEqual([]);
    });

    test('what would not be added is not changed to', async ({ manager }) => {
      const { uuid } = await manager.addMessage(Q, { data: 1 });
      const update = (changes: object) => manager.updateMessage(Q, uuid, changes);
      for (const changes of [
        { data: Number.NaN },
        { alias: 7 },
        { alias: 'x'.repeat(1025) },
        { retries: -1 },
        { disabled: 'no' },
        { username: null },
        { dateTimeDeferredExecution: 'tomorrow' },
        { dateTimeDeferredExecution: new Date(Number.NaN) },
        { state: 'ready' },
      ]) {
        await refusal(update(changes), 'INVALID_MESSAGE');
      }
      expect((await refusal(update({ retires: 1 }), 'INVALID_MESSAGE')).message).toContain(
        'did you mean retries?',
      );
      expect(await dataOf(manager)).toEqual([1]);
    });
  });
}
