/** The stores that the contract and the model are run on. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCache } from '../../src/cache/backend.ts';
import { openMemory, QueueManager } from '../../src/index.ts';
import type { MemoryStore } from '../../src/index.ts';
import type { TestStore } from './subject.ts';

export async function memoryStore(): Promise<TestStore> {
  const store: MemoryStore = new Map();
  return {
    open: (options) =>
      QueueManager.open({ ...options, backend: openMemory({ store, crashLimit: options?.crashLimit ?? 3 }) }),
    dispose: async () => store.clear(),
  };
}

export async function cacheStore(): Promise<TestStore> {
  const folder = await mkdtemp(join(tmpdir(), 'coda-contract-'));
  return {
    open: (options) =>
      QueueManager.open({ queueType: 'cache', cacheRoot: join(folder, 'queues'), ...options }),
    dispose: () => rm(folder, { recursive: true }),
  };
}

/** The file backend with segments so small that every few operations rotate, carry and delete. */
export async function tinySegmentsStore(): Promise<TestStore> {
  const folder = await mkdtemp(join(tmpdir(), 'coda-contract-'));
  return {
    async open(options) {
      const backend = await openCache({
        cacheRoot: join(folder, 'queues'),
        durability: 'os',
        syncInterval: 50,
        fileMode: 0o600,
        keepOutcomes: 10,
        crashLimit: options?.crashLimit ?? 3,
        segmentBytes: 2048,
      });
      return QueueManager.open({ ...options, backend });
    },
    dispose: () => rm(folder, { recursive: true }),
  };
}
