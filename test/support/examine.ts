/** Whether a damaged queue still does what may be asked of it: compares it with what it was before. */
import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { verifyQueue } from '../../src/cache/verify.ts';
import { payloadText, scanLines, headerText } from '../../src/cache/record.ts';
import { QueueError } from '../../src/index.ts';
import type { Message, QueueManager } from '../../src/index.ts';
import { openManager, Q, rotate, type RecordAt, type Specimen } from './specimen.ts';

/** Where in a record a byte is changed. */
export const SPOTS: [string, (record: RecordAt) => number][] = [
  ['its first byte', ({ start }) => start],
  ['its length', ({ start }) => start + 17],
  ['its header', ({ start }) => start + 33],
  ['its end', ({ end }) => end - 2],
];

/** Runs `act` on a copy that is gone afterwards. */
export async function damaged(specimen: Specimen, act: (copy: Specimen) => Promise<void>): Promise<void> {
  const copy = specimen.copy();
  try {
    await act(copy);
  } finally {
    copy.dispose();
  }
}

/** What a sound queue holds. */
export interface Truth {
  messages: ReadonlyMap<string, Message>;
  /** Every content that each message ever had, as JSON. */
  contents: ReadonlyMap<string, ReadonlySet<string>>;
  attributes: unknown;
}

export async function truthOf(specimen: Specimen): Promise<Truth> {
  const contents = new Map<string, Set<string>>();
  for (const file of specimen.segments()) {
    const bytes = readFileSync(specimen.path(file));
    scanLines(bytes, 0, bytes.length, {
      record(buffer, start, end, headerLength) {
        const { op, u } = JSON.parse(headerText(buffer, start, headerLength)) as { op: string; u?: string };
        if (u === undefined || (op !== 'add' && op !== 'update' && op !== 'carry')) return;
        const known = contents.get(u) ?? new Set();
        contents.set(u, known.add(payloadText(buffer, start, end, headerLength)));
      },
      bad() {},
    });
  }
  const copy = specimen.copy();
  const manager = await openManager(copy.root);
  const messages = new Map((await all(manager)).map((message) => [message.uuid, message]));
  const { customAttributes: attributes } = await manager.queueStatus(Q);
  await manager.close();
  copy.dispose();
  return { messages, contents, attributes };
}

export async function all(manager: QueueManager): Promise<Message[]> {
  const found: Message[] = [];
  for await (const message of manager.findMessages(Q)) found.push(message);
  return found;
}

export interface Allowed {
  /** Messages that may be gone: their own record is damaged. */
  lost?: ReadonlySet<string>;
  /** Whether messages that had ended may be back. */
  back?: boolean;
  /** Whether a state may be another than it was: what is damaged has changed one. */
  changed?: boolean;
  /** Whether only `verifyQueue` can know of it: nobody else needs what is damaged. */
  unread?: boolean;
}

/** Data that was once written for that very message, and nothing else. */
export function expectWritten({ uuid, data }: Message, { contents }: Truth): void {
  const written = JSON.stringify(data);
  // Asked before anything is asserted: that is slow, and there are many.
  if (!contents.get(uuid)?.has(written))
    expect.fail(`message ${uuid} holds ${written}, which was never written`);
}

/**
 * Opens a damaged queue and compares: nothing is lost but what may be, nothing is returned that was not written, the
 * damage is reported, and the queue works on, through seals and heads.
 */
export async function examine(specimen: Specimen, truth: Truth, allowed: Allowed = {}): Promise<void> {
  let manager = await openManager(specimen.root);
  await expectKept(manager, truth, allowed);
  await expectReported(manager, specimen, allowed);
  if (!allowed.unread) expect(manager.getLastError()).toMatchObject({ code: 'JOURNAL_CORRUPT', queue: Q });
  const added = await manager.addMessages(Q, [{ data: 'new 1' }, { data: 'new 2' }]);
  await manager.close();
  manager = await openManager(specimen.root, { segmentBytes: 1000 });
  for (let i = 0; i < 3; i++) await rotate(manager, specimen);
  await manager.close();
  manager = await openManager(specimen.root);
  const kept = await expectKept(manager, truth, allowed, new Set(added.map(({ uuid }) => uuid)));
  for (const { uuid, data } of added) expect(kept.get(uuid)?.data).toEqual(data);
  await expectReported(manager, specimen, allowed);
  await expectDrained(manager, kept);
  await manager.close();
}

async function expectKept(
  manager: QueueManager,
  truth: Truth,
  { lost, back, changed }: Allowed,
  added: ReadonlySet<string> = new Set(),
): Promise<Map<string, Message>> {
  const found = await all(manager);
  const kept = new Map(found.map((message) => [message.uuid, message]));
  expect(kept.size).toBe(found.length);
  for (const message of found) {
    const { uuid, data } = message;
    if (added.has(uuid)) continue;
    expectWritten(message, truth);
    const before = truth.messages.get(uuid);
    if (!before) {
      if (!back) expect.fail(`a message is back: ${uuid} ${JSON.stringify(data)}`);
    } else if (!changed) expect(message).toEqual(before);
  }
  const missing = [...truth.messages.values()].filter(({ uuid }) => !kept.has(uuid) && !lost?.has(uuid));
  expect(missing).toEqual([]);
  // Each is searched for by itself, in all segments: some are enough.
  const some = [...truth.messages.keys()].filter((_, i, keys) => i % Math.ceil(keys.length / 30) === 0);
  for (const uuid of some) {
    const one = await manager.findMessage(Q, { uuid });
    expect(one?.uuid).toBe(kept.get(uuid)?.uuid);
  }
  return kept;
}

async function expectReported(manager: QueueManager, specimen: Specimen, { unread }: Allowed): Promise<void> {
  if (!unread) {
    expect((await manager.queueStatus(Q)).damaged).toBeGreaterThan(0);
  }
  const report = await verifyQueue(specimen.folder);
  expect(report.sound).toBe(false);
  expect(report.damage.filter(({ kind }) => kind !== 'torn')).not.toEqual([]);
}

/** All that may run comes out, in order, each once, as it is. */
async function expectDrained(manager: QueueManager, kept: ReadonlyMap<string, Message>): Promise<void> {
  await manager.resumeQueue(Q);
  const order = [...kept.keys()];
  let last = -1;
  for (;;) {
    const claims = await manager.claimMessages(Q, { limit: 7 });
    if (claims.length === 0) break;
    for (const claim of claims) {
      expect(claim.data).toEqual(kept.get(claim.uuid)?.data);
      const place = order.indexOf(claim.uuid);
      expect(place).toBeGreaterThan(last);
      last = place;
      expect(await manager.completeMessage(Q, claim)).toBe(true);
    }
  }
  const { counts } = await manager.queueStatus(Q);
  expect(counts.ready).toBe(0);
  const rest = await all(manager);
  expect(rest.filter(({ state, disabled }) => state === 'ready' && !disabled)).toEqual([]);
}

/** A typed error that is no defect in disguise: one of storage is one of the operating system's. */
export function expectTypedError(error: unknown): QueueError {
  if (!(error instanceof QueueError)) throw error;
  const { cause } = error;
  if (cause instanceof Error && !(cause instanceof QueueError) && !('code' in cause)) throw cause;
  if (cause instanceof TypeError || cause instanceof RangeError || cause instanceof SyntaxError) throw cause;
  return error;
}

/** Opening it and asking for its messages is refused, in so many words. */
export async function expectRefused(
  specimen: Specimen,
  code: QueueError['code'],
  text?: RegExp,
): Promise<QueueError> {
  const manager = await openManager(specimen.root);
  const error = await all(manager).then(
    (found) => expect.fail(`expected ${code}, found ${found.length} messages`),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(QueueError);
  expect(error).toMatchObject({ code });
  if (text) expect((error as QueueError).message).toMatch(text);
  await manager.close();
  return error as QueueError;
}
