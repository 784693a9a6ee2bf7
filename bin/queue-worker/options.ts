/** What `queue-worker` was asked to do. */
import { InvalidArgumentError } from 'commander';
import type { CommonOptions } from '../cli.ts';
import { duration } from '../queue/time.ts';

export interface Options extends CommonOptions {
  queue?: string;
  workers?: string;
  exec?: string;
  concurrency?: number;
  processes?: number;
  lease?: string;
  /** Milliseconds. */
  timeout?: number;
  limit?: number;
  drain?: true;
  json?: true;
}

/** Node's timers overflow beyond 2^31 - 1 ms. */
const LONGEST = 24 * 86_400_000;
/** More is a slip of the keyboard: each is a Node of its own. */
const MOST_PROCESSES = 512;

/** Parses the argument of an option that takes a duration which is not 0; milliseconds. */
export function someTime(text: string): number {
  const milliseconds = duration(LONGEST)(text);
  if (milliseconds > 0) return milliseconds;
  throw new InvalidArgumentError('Expected a duration of at least 1ms.');
}

export function processes(text: string): number {
  const count = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= MOST_PROCESSES) return count;
  throw new InvalidArgumentError(`Expected a whole number from 1 to ${MOST_PROCESSES}.`);
}
