/** Which refusals of the store are worth waiting out, and how long. */
import { setTimeout as sleep } from 'node:timers/promises';
import { QueueError } from '../errors.ts';

/** A full disk is emptied, a failing one replaced or remounted; a queue that is gone or unreadable stays so. */
export function mayPass(error: unknown): boolean {
  return error instanceof QueueError && (error.code === 'STORAGE_FAILED' || error.code === 'STORAGE_FULL');
}

/** Milliseconds to wait after that many refusals in a row: 100, 200, 400, … up to 5 s. */
export function pauseAfter(refusals: number): number {
  return Math.min(5000, 100 * 2 ** Math.min(refusals - 1, 10));
}

/** Resolves after that time, or as soon as the signal fires. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => undefined);
}
