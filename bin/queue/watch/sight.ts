/** What one look at a queue finds: who works on what, what has failed, how long the first in line has waited. */
import type { QueueStatus } from '../../../src/backend.ts';
import type { Message, State } from '../../../src/message.ts';
import type { QueueManager } from '../../../src/queue-manager.ts';

/** More of a kind than this are told as a number. */
const MOST = 200;
/** So far from the front the first ready message is looked for. */
const FRONT = 200;

export interface Found {
  /** Since when the first ready message could have been worked on; `far`: it is far from the front of the line. */
  waitingSince: Date | 'far' | undefined;
  /** The claimed messages, in line; the first of them when there are many. */
  working: readonly Message[];
  /** Likewise those that have failed. */
  failed: readonly Message[];
  /** How many others have failed, but are not to be had: their records are damaged. */
  unreadable: number;
}

export const NOTHING_FOUND: Found = { waitingSince: undefined, working: [], failed: [], unreadable: 0 };

/** Looks only for what the counts of the status say is there. Errors: those of `findMessages`. */
export async function lookAround(manager: QueueManager, status: QueueStatus): Promise<Found> {
  const { queue, counts } = status;
  return {
    waitingSince: counts.ready === 0 ? undefined : await frontSince(manager, queue),
    working: await some(manager, queue, 'claimed', counts.claimed),
    ...(await lookAtFailed(manager, status)),
  };
}

/** The part of it that has failed. Errors: those of `findMessages`. */
export async function lookAtFailed(
  manager: QueueManager,
  { queue, counts }: QueueStatus,
): Promise<Pick<Found, 'failed' | 'unreadable'>> {
  const failed = await some(manager, queue, 'failed', counts.failed);
  if (failed.length >= Math.min(counts.failed, MOST)) return { failed, unreadable: 0 };
  // Retried or removed meanwhile, or damaged: what the search could not read it has noted.
  const now = await manager.queueStatus(queue);
  const missing = Math.min(counts.failed, now.counts.failed) - failed.length;
  return { failed, unreadable: now.damaged === 0 ? 0 : Math.max(0, missing) };
}

/** Stops at the number that there are: what follows the last of them need not be read. */
async function some(manager: QueueManager, queue: string, state: State, count: number): Promise<Message[]> {
  const most = Math.min(count, MOST);
  const found: Message[] = [];
  if (most === 0) return found;
  for await (const message of manager.findMessages(queue, { state })) {
    if (found.push(message) >= most) break;
  }
  return found;
}

async function frontSince(manager: QueueManager, queue: string): Promise<Found['waitingSince']> {
  let looked = 0;
  for await (const { state, disabled, insertedAt, dateTimeDeferredExecution } of manager.findMessages(
    queue,
  )) {
    if (state === 'ready' && !disabled)
      return dateTimeDeferredExecution && dateTimeDeferredExecution > insertedAt
        ? dateTimeDeferredExecution
        : insertedAt;
    if (++looked >= FRONT) return 'far';
  }
  return undefined;
}
