/** The numbers of a crew: those of its members, and of what the parent settles in their place, added up. */
import type { WorkerCounts, WorkerEvent } from '../events.ts';

export function noCounts(): WorkerCounts {
  return { completed: 0, retried: 0, failed: 0, released: 0, lost: 0, cancelled: 0 };
}

/** Adds what an event tells of; false when that is nothing. */
export function count(counts: WorkerCounts, event: WorkerEvent): boolean {
  switch (event.type) {
    case 'completed':
    case 'released':
      counts[event.type]++;
      return true;
    case 'failed':
      counts[event.final ? 'failed' : 'retried']++;
      return true;
    case 'lost':
      counts[event.why === 'cancelled' ? 'cancelled' : 'lost']++;
      return true;
    default:
      return false;
  }
}

export function addCounts(to: WorkerCounts, more: WorkerCounts): void {
  for (const name of Object.keys(to) as (keyof WorkerCounts)[]) to[name] += more[name];
}
