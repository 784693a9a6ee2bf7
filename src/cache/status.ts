/** `queueStatus`, told from the state. */
import type { Durability, Mark, QueueStatus } from '../backend.ts';
import type { Journal } from './journal.ts';
import type { StampRecord } from './operations.ts';

export function summarize(queue: string, { state, options }: Journal): QueueStatus {
  const { clock, processes } = options.ports;
  const now = clock.now();
  const due = state.line.countDue(now);
  const { ready, deferred, claimed, disabled, failed } = state.counts;
  const levels = [...state.writers.values()]
    .filter(({ who }) => who.boot === processes.self().boot && !processes.isKnownDead(who))
    .map(({ durability }) => durability);
  const durability = weakest([options.durability, ...levels]);
  return {
    queue,
    lastMessageInserted: mark(state.inserted),
    lastMessageProcessed: mark(state.last),
    lastQueueModifyTime: new Date(state.modified || state.created),
    messagesToProcess: ready + deferred + claimed,
    customAttributes: structuredClone(state.attributes),
    counts: { ready: ready + due, deferred: deferred - due, claimed, disabled, failed },
    processed: state.processed,
    paused: state.paused,
    createdAt: new Date(state.created),
    durability,
    lossWindow: LOSS[durability](options.syncInterval),
    options: { ...state.options },
    damaged: state.damage.length,
  };
}

const LOSS: Record<Durability, (interval: number) => string> = {
  always: () => 'none',
  interval: (ms) => `what was acknowledged in the last ${ms} ms`,
  os: () => 'what the operating system has not written out yet, by default about the last 30 s',
};

function weakest(levels: Durability[]): Durability {
  return levels.includes('os') ? 'os' : levels.includes('interval') ? 'interval' : 'always';
}

function mark(stamp: StampRecord | null): Mark | null {
  return stamp && { uuid: stamp.u, alias: stamp.a, timestamp: new Date(stamp.t) };
}
