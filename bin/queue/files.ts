/** For the verbs that look at a queue's files without opening the queue, which may be too damaged for that. */
import { join } from 'node:path';
import { loadConfig, type Config } from '../../src/config.ts';
import { QueueError, quote } from '../../src/errors.ts';
import { checkQueueName } from '../../src/validate.ts';
import { withQueues, type CommonOptions } from '../cli.ts';

/** Where they are, and the configuration that says so. Errors: INVALID_QUEUE_NAME, CONFIG_INVALID, UNKNOWN_QUEUE_TYPE. */
export async function filesOf(
  queue: string,
  { config: file, cacheRoot, durability }: CommonOptions,
): Promise<{ folder: string; keepOutcomes: number; config: Config }> {
  checkQueueName(queue);
  const config = await loadConfig({ config: file, flags: { cacheRoot, durability } });
  const { queueType, cacheRoot: root, keepOutcomes } = config.queue;
  if (queueType !== 'cache') {
    throw new QueueError(
      'UNKNOWN_QUEUE_TYPE',
      `only queues of type cache have files, queueType is ${quote(queueType)}`,
    );
  }
  return { folder: join(root, queue), keepOutcomes, config };
}

/** Passes the result on. Where there is no such queue, the error names one that there is. */
export async function orNamingOthers<T>(queue: string, config: Config, result: Promise<T>): Promise<T> {
  return result.catch(async (error: unknown) => {
    // The status of a queue that does not exist rejects too, and says so.
    if (error instanceof QueueError && error.code === 'QUEUE_NOT_FOUND')
      await withQueues(config, (manager) => manager.queueStatus(queue));
    throw error;
  });
}
