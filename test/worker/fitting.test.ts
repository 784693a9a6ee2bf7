import { expect, test } from 'vitest';
import * as z from 'zod';
import type { StandardSchema } from '../../src/standard-schema.ts';
import { QUEUE, aborted, drain, first, gate, manager, start, workerOf } from './running.ts';

const Mail = z.object({ to: z.string().min(3), when: z.string().transform((text) => new Date(text)) });

/** A schema of this function alone. */
function schemaOf(validate: StandardSchema['~standard']['validate']): StandardSchema {
  return { '~standard': { version: 1, vendor: 'test', validate } };
}

test('a handler is given what the schema makes of the data', async () => {
  await manager.addMessage(QUEUE, { data: { to: 'ada', when: '2026-12-24' } });
  const seen: unknown[] = [];
  const report = await drain(workerOf(({ data }) => void seen.push(data), { schema: Mail } as object));
  expect(report.completed).toBe(1);
  expect(seen).toEqual([{ to: 'ada', when: new Date('2026-12-24') }]);
});

test('a message that does not fit fails for good with the reasons, and its handler is never called', async () => {
  await manager.addMessage(QUEUE, { data: { to: 'x', when: 7 }, retries: 5 });
  let calls = 0;
  const told: unknown[] = [];
  const worker = workerOf(() => void calls++, {
    schema: Mail,
    failed: ({ data }: { data: unknown }, error: unknown, { final }: { final: boolean }) =>
      void told.push(data, error, final),
  } as object);
  const loop = start(worker, { drain: true });
  expect(await loop.report).toMatchObject({ failed: 1, retried: 0, completed: 0 });
  expect(calls).toBe(0);
  const { state, errors } = await first();
  expect(state).toBe('failed');
  expect(errors).toMatchObject([{ name: 'SchemaError', code: 'DATA_INVALID', attempt: 1 }]);
  expect(errors[0]?.message).toMatch(/data\.to: .*data\.when: /);
  expect(told).toMatchObject([{ to: 'x', when: 7 }, { code: 'DATA_INVALID' }, true]);
  expect(loop.told).toEqual(['started', 'ended', 'failed']);
});

test('the failed hook gets the data as its handler did', async () => {
  await manager.addMessage(QUEUE, { data: { to: 'ada', when: '2026-12-24' } });
  const seen: unknown[] = [];
  const worker = workerOf(() => Promise.reject(new Error('no')), {
    schema: Mail,
    failed: ({ data }: { data: unknown }) => void seen.push(data),
  } as object);
  await drain(worker);
  expect(seen).toEqual([{ to: 'ada', when: new Date('2026-12-24') }]);
});

test('a schema that throws is one failed try', async () => {
  await manager.addMessage(QUEUE, { data: 1, retries: 1 });
  let calls = 0;
  const schema = schemaOf((value) => {
    if (calls++ === 0) throw new TypeError('broken schema');
    return { value };
  });
  expect(await drain(workerOf(() => undefined, { schema } as object))).toMatchObject({
    retried: 1,
    completed: 1,
  });
});

test('a schema that takes its time is waited for, and no handler begins once the try is over', async () => {
  await manager.addMessage(QUEUE, { data: 1 });
  const asked = gate();
  const answer = gate();
  let calls = 0;
  const schema = schemaOf(async (value) => {
    asked.open();
    await answer.opened;
    return { value };
  });
  const loop = start(
    workerOf(() => void calls++, { schema } as object),
    { stopDeadline: 0 },
  );
  await asked.opened;
  loop.stop();
  // By then the loop has told its tries to end.
  setTimeout(answer.open, 50);
  expect(await loop.report).toMatchObject({ released: 1 });
  expect(calls).toBe(0);
  expect(await first()).toMatchObject({ state: 'ready', attempts: 0 });
});

test('a try is timed from its schema on', async () => {
  await manager.addMessage(QUEUE, { data: 1 });
  const schema = schemaOf(async (value) => {
    await new Promise((resolve) => setTimeout(resolve, 60));
    return { value };
  });
  const worker = workerOf(async (_, { signal }) => void (await aborted(signal)), { schema } as object);
  expect(await drain(worker, { timeout: 20 })).toMatchObject({ failed: 1, completed: 0 });
});
