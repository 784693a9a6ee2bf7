/**
 * What a job map must not let through. Nothing here runs: `npm run check` compiles it, and an expected error that does
 * not occur is one.
 */
import { expectTypeOf } from 'vitest';
import { QueueManager } from '../../src/index.ts';
import type { Claim, Message } from '../../src/index.ts';

interface Mail {
  to: string;
  cc?: string[];
}
interface Jobs {
  mails: Mail;
  hooks: { id: number } | null;
}

export async function withAMap(): Promise<void> {
  await using queues = await QueueManager.open<Jobs>({ queueType: 'memory', durability: 'os' });

  await queues.createQueue('mails', { uniqueAlias: true });
  // @ts-expect-error -- no such queue
  await queues.createQueue('mail');
  // @ts-expect-error -- no such option
  await queues.createQueue('mails', { uniqueAliases: true });

  const added = await queues.addMessage('mails', { data: { to: 'a@b', cc: [] }, alias: 'a', retries: 1 });
  expectTypeOf(added).toEqualTypeOf<Message<Mail> & { duplicate: boolean }>();
  await queues.addMessage('hooks', { data: null });
  // @ts-expect-error -- no such queue
  await queues.addMessage('males', { data: { to: 'a@b' } });
  // @ts-expect-error -- the other queue's data
  await queues.addMessage('hooks', { data: { to: 'a@b' } });
  // @ts-expect-error -- a property is missing
  await queues.addMessage('mails', { data: {} });
  // @ts-expect-error -- a property too many
  await queues.addMessage('mails', { data: { to: 'a@b', bcc: [] } });
  // @ts-expect-error -- data is missing
  await queues.addMessage('mails', { alias: 'a' });
  // @ts-expect-error -- misspelt
  await queues.addMessage('mails', { data: { to: 'a@b' }, retires: 3 });
  // @ts-expect-error -- dates are Dates
  await queues.addMessage('mails', { data: { to: 'a@b' }, dateTimeDeferredExecution: '2026-12-24' });
  // @ts-expect-error -- one of them is wrong
  await queues.addMessages('hooks', [{ data: { id: 1 } }, { data: { id: '2' } }]);

  expectTypeOf(await queues.getMessage('mails')).toEqualTypeOf<Message<Mail> | undefined>();
  const claims = await queues.claimMessages('hooks', { limit: 5, lease: 1000 });
  expectTypeOf(claims).toEqualTypeOf<Claim<{ id: number } | null>[]>();
  expectTypeOf(await queues.findMessage('mails', { alias: 'a' })).toEqualTypeOf<Message<Mail> | undefined>();
  for await (const message of queues.findMessages('mails', { state: 'failed' })) {
    expectTypeOf(message).toEqualTypeOf<Message<Mail>>();
  }
  // @ts-expect-error -- no such state
  queues.findMessages('mails', { state: 'done' });
  // @ts-expect-error -- one of uuid and alias
  await queues.findMessage('mails', {});

  expectTypeOf(await queues.updateMessage('mails', 'uuid', { data: { to: 'c@d' } })).toEqualTypeOf<
    Message<Mail>
  >();
  // @ts-expect-error -- the data of another queue
  await queues.updateMessage('mails', 'uuid', { data: { id: 1 } });

  for (const claim of await queues.claimMessages('mails')) {
    expectTypeOf(claim.data.to).toEqualTypeOf<string>();
    await queues.completeMessage('mails', claim);
    await queues.completeMessage('mails', { uuid: claim.uuid, token: claim.token });
    await queues.failMessage('mails', claim, new Error('no'), { retryAt: new Date() });
    // @ts-expect-error -- how many tries there were decides what becomes of it
    await queues.failMessage('mails', { uuid: claim.uuid, token: claim.token }, new Error('no'));
    // @ts-expect-error -- a message without a claim
    await queues.completeMessage('mails', added);
  }

  // @ts-expect-error -- no such queue
  await queues.queueStatus('none');
  // @ts-expect-error -- 'all' or uuids
  await queues.retryMessages('mails', 'some');
  // @ts-expect-error -- attributes are JSON
  await queues.setCustomAttributes('mails', { since: new Date() });

  queues.on('added', (event) => {
    expectTypeOf(event.queue).toEqualTypeOf<'mails' | 'hooks'>();
    if (event.queue === 'mails') expectTypeOf(event.message).toEqualTypeOf<Message<Mail>>();
    else expectTypeOf(event.message).toEqualTypeOf<Message<{ id: number } | null>>();
  });
  const off = queues.on('failed', ({ final, error, retryAt }) => {
    expectTypeOf(final).toEqualTypeOf<boolean>();
    expectTypeOf(error.message).toEqualTypeOf<string>();
    expectTypeOf(retryAt).toEqualTypeOf<Date | undefined>();
  });
  expectTypeOf(off).toEqualTypeOf<() => void>();
  // @ts-expect-error -- no such event
  queues.on('finished', () => undefined);
}

export async function withoutAMap(): Promise<void> {
  const queues = await QueueManager.open();
  await queues.createQueue('anything');
  await queues.addMessage('anything', { data: { a: [1, 'b', null, { c: true }] } });
  expectTypeOf(await queues.getMessage('whatever')).toEqualTypeOf<Message | undefined>();
  // @ts-expect-error -- not JSON
  await queues.addMessage('anything', { data: new Map() });
  // @ts-expect-error -- not JSON
  await queues.addMessage('anything', { data: () => 1 });
  // @ts-expect-error -- not JSON
  await queues.addMessage('anything', { data: { big: 1n } });
  // @ts-expect-error -- no such durability
  await QueueManager.open({ durability: 'never' });
  // @ts-expect-error -- no such option
  await QueueManager.open({ cacheroot: './queues' });
}
