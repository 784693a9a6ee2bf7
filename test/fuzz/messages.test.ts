/** Arbitrary JSON as messages: what comes out is what went in, or it was refused with a typed error. */
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { QueueError, type QueueManager } from '../../src/index.ts';
import { openManager, Q, rotate, Specimen } from '../support/specimen.ts';
import { LIMIT, runs } from './runs.ts';

let specimen: Specimen;
let manager: QueueManager;

beforeAll(async () => {
  specimen = new Specimen();
  manager = await openManager(specimen.root, { segmentBytes: 20_000 });
  await manager.createQueue(Q);
});
afterAll(async () => {
  await manager.close();
  specimen.dispose();
});

/** With keys that mean something to programs, and text of every kind. */
const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string(),
  fc.constantFrom('__proto__', 'constructor', '\u2028', '\ud800'),
);
const json = fc.oneof(
  fc.jsonValue({ noUnicodeString: false }),
  fc.letrec<{ node: unknown }>((tie) => ({
    node: fc.oneof(
      { maxDepth: 5 },
      text,
      fc.double(),
      fc.integer(),
      fc.constantFrom(null, true, -0),
      fc.array(tie('node'), { maxLength: 4 }),
      fc.dictionary(text, tie('node'), { maxKeys: 4 }),
    ),
  })).node,
);
const message = fc.record(
  {
    data: json,
    alias: text,
    username: text,
    retries: fc.oneof(fc.nat(), fc.integer(), fc.double()),
    dateTimeDeferredExecution: fc.date({ noInvalidDate: false }),
    disabled: fc.boolean(),
  },
  { requiredKeys: ['data'] },
);

function asJson(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

test('one by one', { timeout: LIMIT }, async () => {
  await fc.assert(
    fc.asyncProperty(message, async (input) => {
      let added;
      try {
        added = await manager.addMessage(Q, input as Parameters<QueueManager['addMessage']>[1]);
      } catch (error) {
        expect(error).toBeInstanceOf(QueueError);
        expect(['INVALID_MESSAGE', 'INVALID_ARGUMENT', 'MESSAGE_TOO_LARGE']).toContain(
          (error as QueueError).code,
        );
        return;
      }
      const found = await manager.findMessage(Q, { uuid: added.uuid });
      expect(found?.data).toEqual(asJson(input.data));
      expect(found?.alias).toBe(input.alias ?? '');
      expect(found?.username).toBe(input.username ?? '');
      const { duplicate: _, ...rest } = added;
      // As JSON: the answer holds what was given, so a -0, which JSON does not know, is a 0 afterwards.
      expect(asJson(found)).toEqual(asJson(rest));
    }),
    runs(300),
  );
});

test(
  'all of them are there when they are read from the files again, and through seals',
  { timeout: LIMIT },
  async () => {
    const before = [];
    for await (const each of manager.findMessages(Q)) before.push(each);
    await rotate(manager, specimen);
    const other = await openManager(specimen.root);
    const after = [];
    for await (const each of other.findMessages(Q)) after.push(each);
    await other.close();
    expect(after).toEqual(before);
    expect(after.length).toBeGreaterThan(50);
  },
);
