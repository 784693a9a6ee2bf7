/** What the sentences of the contract are about, and the phrases they share. */
import { expect, test } from 'vitest';
import { QueueError } from '../../src/index.ts';
import type { Claim, Json, OpenOptions, QueueErrorCode, QueueManager } from '../../src/index.ts';

/** Somewhere that queues are kept. */
export interface TestStore {
  /** A manager on this store; several may be open at once. */
  open(options?: OpenOptions): Promise<QueueManager>;
  /** Called when its managers are closed: leaves nothing behind. */
  dispose(): Promise<void>;
}
export type MakeStore = () => Promise<TestStore>;

/** The queue that is there when a sentence begins. */
export const Q = 'jobs';

export interface Subject {
  /** An empty store. What it opens is closed at the end. */
  store: Pick<TestStore, 'open'>;
  /** A manager on it, with an empty queue `Q`. Failed tries come back at once. */
  manager: QueueManager;
}

export type ContractTest = ReturnType<typeof contractTest>;

export function contractTest(makeStore: MakeStore) {
  return test.extend<Subject>({
    // oxlint-disable-next-line no-empty-pattern -- vitest reads from the pattern which fixtures this one needs
    store: async ({}, use) => {
      const store = await makeStore();
      const opened: QueueManager[] = [];
      await use({
        async open(options) {
          const manager = await store.open({ backoff: 0, ...options });
          opened.push(manager);
          return manager;
        },
      });
      try {
        await Promise.all(opened.map((manager) => manager.close()));
      } finally {
        await store.dispose();
      }
    },
    manager: async ({ store }, use) => {
      const manager = await store.open();
      await manager.createQueue(Q);
      await use(manager);
    },
  });
}

/** Adds messages with these data, in this order. */
export async function add(manager: QueueManager, ...data: Json[]): Promise<void> {
  await manager.addMessages(
    Q,
    data.map((item) => ({ data: item })),
  );
}

/** The one message that a claim of one yields. */
export async function claimOne(manager: QueueManager, lease?: number): Promise<Claim> {
  const claims = await manager.claimMessages(Q, { lease });
  expect(claims).toHaveLength(1);
  return claims[0]!;
}

/** The data of all that may be claimed now, in order; each is completed. */
export async function drain(manager: QueueManager): Promise<Json[]> {
  const drained: Json[] = [];
  for (;;) {
    const claims = await manager.claimMessages(Q, { limit: 100 });
    if (claims.length === 0) return drained;
    await Promise.all(claims.map((claim) => manager.completeMessage(Q, claim)));
    drained.push(...claims.map(({ data }) => data));
  }
}

export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

/** The first answer of a search, or its refusal. */
export function firstOf<T>(items: AsyncIterable<T>): Promise<unknown> {
  return items[Symbol.asyncIterator]().next();
}

/** The data of every message in the queue, in order. */
export async function dataOf(manager: QueueManager): Promise<Json[]> {
  return (await all(manager.findMessages(Q))).map(({ data }) => data);
}

/** Waits until a lease is over and its message has been put back; nothing else may be claimable meanwhile. */
export async function leaseOver(manager: QueueManager): Promise<void> {
  expect(await manager.waitForMessage(Q, { timeout: 20_000 })).toBe(true);
}

/** The error with which it rejects. */
export async function refusal(promise: Promise<unknown>, code: QueueErrorCode): Promise<QueueError> {
  const error = await promise.then(
    (value) => expect.fail(`expected ${code}, but it resolved with ${JSON.stringify(value)}`),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(QueueError);
  expect(error).toMatchObject({ code });
  return error as QueueError;
}

/** A message, whatever its state, is counted once; the counts are those of the messages that are found. */
export async function expectSound(manager: QueueManager): Promise<void> {
  const { counts, messagesToProcess } = await manager.queueStatus(Q);
  const found = { ready: 0, deferred: 0, claimed: 0, disabled: 0, failed: 0 };
  for await (const { state, disabled } of manager.findMessages(Q)) {
    found[disabled && state !== 'claimed' && state !== 'failed' ? 'disabled' : state]++;
  }
  expect(counts).toEqual(found);
  expect(messagesToProcess).toBe(found.ready + found.deferred + found.claimed);
}
