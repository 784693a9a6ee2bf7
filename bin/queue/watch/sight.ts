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
}

export const NOTHING_FOUND: Found = { waitingSince: undefined, working: [], failed: [] };

/** Looks only for what the counts of the status say is there. Errors: those of `findMessages`. */
export async function lookAround(manager: QueueManager, { queue, counts }: QueueStatus): Promise<Found> {
  return {
    waitingSince: counts.ready === 0 ? undefined : await frontSince(manager, queue),
    working: await some(manager, queue, 'claimed', counts.claimed),
    failed: await some(manager, queue, 'failed', counts.failed),
  };
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
