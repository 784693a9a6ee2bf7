/** What the helpers for tests take and give, in types. Nothing here runs: `npm run check` compiles it. */
import { expectTypeOf } from 'vitest';
import { z } from 'zod';
import { QueueManager, Worker } from '../../src/index.ts';
import type { Message } from '../../src/index.ts';
import { drain, inline, waitForState } from '../../src/testing/index.ts';

interface Mail {
  to: string;
}

class Mails extends Worker<Mail> {
  override process(_message: Message<Mail>): void {}
}

const schema = z.object({ at: z.string().transform((text) => new Date(text)) });

class Checked extends Worker<z.output<typeof schema>> {
  override readonly schema = schema;
  override process(_message: Message<{ at: Date }>): void {}
}

class Configured extends Mails {
  constructor(readonly_: string) {
    super();
    void readonly_;
  }
}

export async function helpers(): Promise<void> {
  const tried = await inline(Mails, { data: { to: 'ada' }, retries: 1 });
  expectTypeOf(tried.message).toEqualTypeOf<Message<Mail>>();
  expectTypeOf(tried.outcome).toEqualTypeOf<'completed' | 'retried' | 'failed'>();
  if (tried.outcome === 'completed') expectTypeOf(tried.error).toEqualTypeOf<undefined>();
  // @ts-expect-error -- another payload
  await inline(Mails, { data: { from: 'ada' } });
  // @ts-expect-error -- a message, not its data
  await inline(Mails, { to: 'ada' });
  await inline(new Configured('x'), { data: { to: 'ada' } });
  // @ts-expect-error -- a class that cannot be made without more
  await inline(Configured, { data: { to: 'ada' } });

  // What a schema takes is what is added.
  await inline(Checked, { data: { at: '2026-01-01' } });
  // @ts-expect-error -- what it makes of it
  await inline(new Checked(), { data: { at: new Date() } });

  const { messages, logs } = await drain(new Mails(), [{ data: { to: 'ada' } }], { deferred: 'leave' });
  expectTypeOf(messages[0]!.message).toEqualTypeOf<Message<Mail>>();
  expectTypeOf(messages[0]!.outcome).toEqualTypeOf<'completed' | 'failed' | 'left'>();
  expectTypeOf(logs[0]!.text).toEqualTypeOf<string>();

  const manager = await QueueManager.open<{ mails: Mail }>({ queueType: 'memory' });
  const found = await waitForState(manager, 'mails', 'uuid', 'claimed');
  expectTypeOf(found).toEqualTypeOf<Message<Mail> | undefined>();
  // @ts-expect-error -- no such queue
  await waitForState(manager, 'mail', 'uuid', 'claimed');
  // @ts-expect-error -- no such state
  await waitForState(manager, 'mails', 'uuid', 'done');
}
