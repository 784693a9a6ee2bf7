import { describe, expect } from 'vitest';
import type { ManagerEvents } from '../../src/index.ts';
import { add, claimOne, Q, refusal } from './subject.ts';
import type { ContractTest } from './subject.ts';

const NAMES: (keyof ManagerEvents)[] = [
  'created',
  'destroyed',
  'added',
  'claimed',
  'completed',
  'failed',
  'retried',
  'released',
  'taken',
  'updated',
  'removed',
  'purged',
  'paused',
  'resumed',
  'error',
];

export function events(test: ContractTest): void {
  describe('events', () => {
    test('tell what this manager has done, in order, with what it was done to', async ({ store }) => {
      const manager = await store.open();
      const told: [string, unknown][] = [];
      for (const name of NAMES) manager.on(name, (event) => told.push([name, event]));

      await manager.createQueue(Q);
      await manager.createQueue(Q);
      const added = await manager.addMessage(Q, { data: 1, retries: 1 });
      const { uuid } = added;
      const first = await claimOne(manager);
      await manager.releaseMessage(Q, first);
      await manager.releaseMessage(Q, first);
      const second = await claimOne(manager);
      await manager.failMessage(Q, second, new Error('once'), { retryAt: new Date(5) });
      const third = await claimOne(manager);
      await manager.failMessage(Q, third, new Error('twice'));
      await manager.retryMessages(Q, 'all');
      await manager.retryMessages(Q, 'all');
      const updated = await manager.updateMessage(Q, uuid, { data: 2 });
      const fourth = await claimOne(manager);
      await manager.completeMessage(Q, fourth);
      await manager.completeMessage(Q, fourth);
      await add(manager, 3, 4, 5);
      const taken = await manager.getMessage(Q);
      await manager.getMessage(Q);
      await manager.pauseQueue(Q);
      await manager.getMessage(Q);
      await manager.resumeQueue(Q);
      await manager.removeMessage(Q, 'none');
      await manager.purgeQueue(Q);
      await manager.destroyQueue(Q);
      const error = await refusal(manager.getMessage(Q), 'QUEUE_NOT_FOUND');

      const queue = Q;
      const any = expect.anything() as unknown;
      expect(told).toEqual([
        ['created', { queue }],
        ['added', { queue, message: added }],
        ['claimed', { queue, message: first }],
        ['released', { queue, uuid }],
        ['claimed', { queue, message: second }],
        [
          'failed',
          {
            queue,
            uuid,
            error: expect.objectContaining({ message: 'once' }),
            final: false,
            retryAt: new Date(5),
          },
        ],
        ['claimed', { queue, message: third }],
        ['failed', { queue, uuid, error: expect.objectContaining({ message: 'twice' }), final: true }],
        ['retried', { queue, count: 1 }],
        ['updated', { queue, message: updated }],
        ['claimed', { queue, message: fourth }],
        ['completed', { queue, uuid }],
        ['added', { queue, message: any }],
        ['added', { queue, message: any }],
        ['added', { queue, message: any }],
        ['taken', { queue, message: taken }],
        ['taken', { queue, message: any }],
        ['paused', { queue }],
        ['resumed', { queue }],
        ['purged', { queue, count: 1 }],
        ['destroyed', { queue }],
        ['error', { error }],
      ]);
    });

    test('a removal is told, a duplicate is not an addition', async ({ manager }) => {
      await manager.createQueue('unique', { uniqueAlias: true });
      const told: unknown[] = [];
      manager.on('added', ({ message }) => told.push(message.alias));
      manager.on('removed', ({ uuid }) => told.push(uuid));
      const { uuid } = await manager.addMessage('unique', { data: 1, alias: 'a' });
      await manager.addMessage('unique', { data: 1, alias: 'a' });
      await manager.removeMessage('unique', uuid);
      expect(told).toEqual(['a', uuid]);
    });

    test('are told before the call resolves', async ({ manager }) => {
      const order: string[] = [];
      manager.on('added', () => order.push('event'));
      await manager.addMessage(Q, { data: 1 }).then(() => order.push('answer'));
      expect(order).toEqual(['event', 'answer']);
    });

    test('reach every listener until it is taken off', async ({ manager }) => {
      const heard: string[] = [];
      const listener = (): void => void heard.push('twice');
      const offs = [
        manager.on('added', listener),
        manager.on('added', listener),
        manager.on('added', () => heard.push('other')),
      ];
      await add(manager, 1);
      expect(heard).toEqual(['twice', 'twice', 'other']);
      heard.length = 0;
      offs[0]!();
      offs[0]!();
      await add(manager, 2);
      expect(heard).toEqual(['twice', 'other']);
      for (const off of offs) off();
      await add(manager, 3);
      expect(heard).toEqual(['twice', 'other']);
    });

    test('are not told of what another manager does', async ({ manager, store }) => {
      const other = await store.open();
      const heard: unknown[] = [];
      manager.on('added', (event) => heard.push(event));
      await add(other, 1);
      await claimOne(manager);
      expect(heard).toEqual([]);
    });
  });
}
