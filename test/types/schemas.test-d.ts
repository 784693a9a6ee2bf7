/**
 * What schemas say in types. Nothing here runs: `npm run check` compiles it, and an expected error that does not occur
 * is one.
 */
import { type } from 'arktype';
import * as v from 'valibot';
import { expectTypeOf } from 'vitest';
import { z } from 'zod';
import { QueueManager, Worker } from '../../src/index.ts';
import type { Claim, Message, OpenOptions } from '../../src/index.ts';
import type { InferInput, InferOutput, StandardSchema } from '../../src/standard-schema.ts';
import { checkSchema, fitOf } from '../../src/standard-schema.ts';

const zodMail = z.object({ to: z.string(), cc: z.array(z.string()).optional() });
const valibotMail = v.object({ to: v.string(), cc: v.optional(v.array(v.string())) });
const arktypeMail = type({ to: 'string', 'cc?': 'string[]' });
/** Takes text, makes dates. */
const dated = z.object({ at: z.string().transform((text) => new Date(text)), n: z.number().default(1) });

interface Mail {
  to: string;
  cc?: string[] | undefined;
}
interface Dated {
  at: Date;
  n: number;
}

export async function jobsFromSchemas(): Promise<void> {
  await using queues = await QueueManager.open({
    queueType: 'memory',
    schemas: { zod: zodMail, valibot: valibotMail, arktype: arktypeMail, dated },
  });
  expectTypeOf(queues).toEqualTypeOf<
    QueueManager<{
      zod: { to: string; cc?: string[] | undefined };
      valibot: { to: string; cc?: string[] | undefined };
      arktype: { to: string; cc?: string[] };
      dated: { at: string; n?: number | undefined };
    }>
  >();
  await queues.addMessage('zod', { data: { to: 'a' } });
  await queues.addMessages('arktype', [{ data: { to: 'a', cc: ['b'] } }]);
  // @ts-expect-error -- no such queue
  await queues.addMessage('mail', { data: { to: 'a' } });
  // @ts-expect-error -- not what the schema takes
  await queues.addMessage('zod', { data: { to: 5 } });
  // @ts-expect-error -- not what the schema takes
  await queues.addMessage('valibot', { data: { to: 5 } });
  // @ts-expect-error -- not what the schema takes
  await queues.addMessages('arktype', [{ data: { to: 'a' } }, { data: { to: 5 } }]);
  // @ts-expect-error -- not what the schema takes
  await queues.updateMessage('zod', 'uuid', { data: {} });

  // In goes what the schema takes, and that is what is stored and comes out.
  await queues.addMessage('dated', { data: { at: '2026-12-24' } });
  // @ts-expect-error -- what the schema makes
  await queues.addMessage('dated', { data: { at: new Date(), n: 1 } });
  expectTypeOf(await queues.claimMessages('dated')).toEqualTypeOf<
    Claim<{ at: string; n?: number | undefined }>[]
  >();
}

export async function schemasForAMap(): Promise<void> {
  interface Jobs {
    mails: Mail;
    hooks: number;
  }
  const queues = await QueueManager.open<Jobs>({ schemas: { mails: zodMail } });
  expectTypeOf(queues).toEqualTypeOf<QueueManager<Jobs>>();
  await QueueManager.open<Jobs>({ schemas: { mails: undefined } });
  // @ts-expect-error -- the schema of another queue
  await QueueManager.open<Jobs>({ schemas: { hooks: zodMail } });
  // @ts-expect-error -- no such queue
  await QueueManager.open<Jobs>({ schemas: { mail: zodMail } });
  // @ts-expect-error -- not a schema
  await QueueManager.open({ schemas: { mails: { to: 'string' } } });
  // @ts-expect-error -- misspelt
  await QueueManager.open({ schema: { mails: zodMail } });
}

export async function withoutSchemas(options: OpenOptions): Promise<void> {
  expectTypeOf(await QueueManager.open()).toEqualTypeOf<QueueManager>();
  expectTypeOf(await QueueManager.open({ queueType: 'memory' })).toEqualTypeOf<QueueManager>();
  expectTypeOf(await QueueManager.open(options)).toEqualTypeOf<QueueManager>();
}

export class ZodWorker extends Worker<Mail> {
  override readonly schema = zodMail;
  override process(message: Message<Mail>): void {
    expectTypeOf(message.data.to).toEqualTypeOf<string>();
  }
}
export class ValibotWorker extends Worker<Mail> {
  override readonly schema = valibotMail;
  override process(): void {}
}
export class ArktypeWorker extends Worker<Mail> {
  override readonly schema = arktypeMail;
  override process(): void {}
}
/** The handler is given what the schema makes of the data. */
export class DatedWorker extends Worker<Dated> {
  override readonly schema = dated;
  override process(message: Message<Dated>): void {
    expectTypeOf(message.data.at).toEqualTypeOf<Date>();
  }
}
export class InferredWorker extends Worker<z.infer<typeof dated>> {
  override readonly schema = dated;
  override process(message: Message<z.infer<typeof dated>>): void {
    expectTypeOf(message.data).toEqualTypeOf<Dated>();
  }
}
export class OtherWorker extends Worker<Mail> {
  // @ts-expect-error -- the output of another type
  override readonly schema = z.object({ to: z.number() });
  override process(): void {}
}
export class UndatedWorker extends Worker<{ at: string; n: number }> {
  // @ts-expect-error -- what the schema takes is not what it makes
  override readonly schema = dated;
  override process(): void {}
}
export class WrongWorker extends Worker<Mail> {
  // @ts-expect-error -- not a schema
  override readonly schema = { to: 'string' };
  override process(): void {}
}

export async function inferred(): Promise<void> {
  expectTypeOf<InferInput<typeof dated>>().toEqualTypeOf<{ at: string; n?: number | undefined }>();
  expectTypeOf<InferOutput<typeof dated>>().toEqualTypeOf<Dated>();
  expectTypeOf<InferOutput<typeof valibotMail>>().toEqualTypeOf<v.InferOutput<typeof valibotMail>>();
  expectTypeOf<InferOutput<typeof arktypeMail>>().toEqualTypeOf<typeof arktypeMail.infer>();
  expectTypeOf(await fitOf(dated, 1)).toEqualTypeOf<
    { readonly value: Dated } | { readonly issues: string[] }
  >();
  expectTypeOf(checkSchema(dated)).toEqualTypeOf<StandardSchema>();
}
