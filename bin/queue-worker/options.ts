/** What `queue-worker` was asked to do. */
import { InvalidArgumentError } from 'commander';
import { whole, type CommonOptions } from '../cli.ts';
import type { LogThreshold } from '../../src/config-keys.ts';
import { duration } from '../queue/time.ts';

export interface Options extends CommonOptions {
  queue?: string;
  workers?: string;
  exec?: string;
  concurrency?: number;
  processes?: number;
  /** Milliseconds. */
  lease?: number;
  /** Milliseconds. */
  timeout?: number;
  limit?: number;
  logLevel?: LogThreshold;
  drain?: true;
  json?: true;
}

/** Node's timers overflow beyond 2^31 - 1 ms. */
const LONGEST = 24 * 86_400_000;
/** These as in the configuration. */
export const MOST_AT_ONCE = 10_000;
const SHORTEST_LEASE = 100;
const LONGEST_LEASE = 86_400_000;
/** More is a slip of the keyboard: each is a Node of its own. */
const MOST_PROCESSES = 512;

/** Parses the argument of an option that takes a duration which is not 0; milliseconds. */
export function someTime(text: string): number {
  const milliseconds = duration(LONGEST)(text);
  if (milliseconds > 0) return milliseconds;
  throw new InvalidArgumentError('Expected a duration of at least 1ms.');
}

/** Parses the argument of `--lease`, which overrides the configuration's; milliseconds. */
export function lease(text: string): number {
  const milliseconds = duration(LONGEST_LEASE)(text);
  if (milliseconds >= SHORTEST_LEASE) return milliseconds;
  throw new InvalidArgumentError(`Expected a duration of at least ${SHORTEST_LEASE}ms.`);
}

/** Parses the argument of `--processes`. */
export const processes = whole(1, MOST_PROCESSES);
