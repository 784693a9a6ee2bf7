/** What a worker declares of how its messages are to be treated, checked before the first one. */
import type { Backoff } from '../backoff.ts';
import type { Config } from '../config.ts';
import { QueueError, quote } from '../errors.ts';
import { checkSchema, type StandardSchema } from '../standard-schema.ts';
import type { Worker } from './worker.ts';

export interface Manner {
  /** Undefined when the worker names neither of its numbers: then the manager's holds. */
  readonly backoff: Backoff | undefined;
  readonly schema: StandardSchema | undefined;
}

/** Reads each property once. Errors: WORKER_FAILED. */
export function mannerOf(worker: Worker, config: Config, queue: string): Manner {
  const schema: unknown = worker.schema;
  return {
    backoff: backoffOf(worker, config, queue),
    schema: schema === undefined ? undefined : checkSchema(schema, 'schema of the worker', 'WORKER_FAILED'),
  };
}

/** The configuration says what the worker does not; but its maximum does not cut a longer wait that the worker begins with. */
function backoffOf(worker: Worker, config: Config, queue: string): Backoff | undefined {
  const backoff = milliseconds('backoff', worker.backoff, queue);
  const backoffMax = milliseconds('backoffMax', worker.backoffMax, queue);
  if (backoff === undefined && backoffMax === undefined) return undefined;
  if (backoff !== undefined && backoffMax !== undefined && backoffMax < backoff) {
    throw refused(
      `backoffMax of the worker: expected at least backoff (${backoff} ms), received ${backoffMax} ms`,
      queue,
    );
  }
  return {
    backoff: backoff ?? config.worker.backoff,
    backoffMax: backoffMax ?? Math.max(config.worker.backoffMax, backoff ?? 0),
  };
}

function milliseconds(name: string, value: unknown, queue: string): number | undefined {
  if (value === undefined || (typeof value === 'number' && Number.isFinite(value) && value >= 0))
    return value;
  throw refused(`${name} of the worker: expected milliseconds, 0 or more, received ${quote(value)}`, queue);
}

function refused(why: string, queue: string): QueueError {
  return new QueueError('WORKER_FAILED', why, { queue });
}
