/**
 * Where queues can be kept. The backends of this package are loaded with the manager: a late import would make every
 * program that keeps queues in files wait for one more file.
 */
import type { Backend } from './backend.ts';
import { openCache } from './cache/backend.ts';
import type { Config } from './config.ts';
import { QueueError, quote } from './errors.ts';
import { openMemory } from './memory/backend.ts';
import { nearest } from './suggest.ts';

const BACKENDS: Readonly<Record<string, (config: Config) => Promise<Backend>>> = {
  cache({ queue, worker }) {
    const { cacheRoot, durability, syncInterval, fileMode, keepOutcomes } = queue;
    const { crashLimit } = worker;
    return openCache({
      cacheRoot,
      durability,
      syncInterval,
      fileMode,
      keepOutcomes,
      crashLimit,
    });
  },
  async memory({ worker }) {
    return openMemory({ crashLimit: worker.crashLimit });
  },
};

/** Errors: UNKNOWN_QUEUE_TYPE, and what the backend rejects with. */
export async function openBackend(config: Config): Promise<Backend> {
  const { queueType } = config.queue;
  const open = Object.hasOwn(BACKENDS, queueType) ? BACKENDS[queueType] : undefined;
  if (open) return open(config);
  const known = Object.keys(BACKENDS);
  const near = nearest(queueType, known);
  throw new QueueError(
    'UNKNOWN_QUEUE_TYPE',
    `unknown queue type ${quote(queueType)}; known are ${known.join(' and ')}${near === undefined ? '' : `, did you mean ${near}?`}`,
  );
}
