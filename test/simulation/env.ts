/** What a client has at hand. */
import type { Backend, Durability, Queue, QueueOptions } from '../../src/backend.ts';
import type { Ports } from '../../src/cache/ports.ts';
import type { Message } from '../../src/message.ts';
import type { Audit } from './audit.ts';
import type { Stream } from './choices.ts';
import type { Claims } from './claims.ts';
import type { Process } from './process.ts';
import type { Rot } from './rot.ts';
import type { Witness } from './witness.ts';

export const ROOT = '/srv/queues';
export const Q = 'jobs';
/** Milliseconds between flushes under `interval`. */
export const SYNC_INTERVAL = 5;

export type Step =
  | 'add'
  | 'addMany'
  | 'claim'
  | 'take'
  | 'find'
  | 'look'
  | 'status'
  | 'update'
  | 'remove'
  | 'cancel'
  | 'retry'
  | 'pause'
  | 'purge'
  | 'destroy'
  | 'attribute'
  | 'reopen'
  | 'verify'
  | 'list'
  | 'plan'
  | 'idle';

export interface Env {
  process: Process;
  ports: Ports;
  /** The same, for what must change no file: whoever does is found out. */
  readOnly: Ports;
  witness: Witness;
  claims: Claims;
  audit: Audit;
  rot: Rot;
  choices: Stream;
  durability: Durability;
  segmentBytes: number;
  options: QueueOptions;
  lease: number;
  lanes: number;
  /** Of each lane. */
  steps: number;
  weights: readonly (readonly [Step, number])[];
  /** Whether what a try ended with may take kilobytes to tell. */
  longErrors: boolean;
  /** The longest that a flush takes, in milliseconds. */
  flushMs: number;
  /** Whether it leaves the making of the queue to another. */
  waits: boolean;
  /** Judges an error: throws it when nothing that has happened explains it. */
  judge: (error: unknown, during: string) => void;
  /** The program has come to its end, or failed. */
  done: (error: unknown) => void;
  /** It can do no more, and nobody is to blame. */
  leave: () => void;
  /** Says in the trace what is called and answered. */
  say: (text: string) => void;
  /** The machine's time in milliseconds. */
  time: () => number;
  /** How often the storage has refused to read, and whether it has refused more than that. */
  readsRefused: () => number;
  changesRefused: () => boolean;
  /** The engine is about to be called. */
  calls: () => void;
  /** Something was met that a run should meet. */
  met: (what: string) => void;
}

/** Whether the last client fills a segment; not where that would take megabytes. */
export function fillsSegments({ segmentBytes }: Pick<Env, 'segmentBytes'>): boolean {
  return segmentBytes < 100_000;
}

/** Of the names in a queue's folder, those of its segments, in order. */
export function segmentsIn(names: readonly string[]): string[] {
  return names.filter((name) => name.endsWith('.journal')).sort();
}

export interface Hands {
  backend: Backend;
  queue: Queue;
}

export function sleep({ ports }: Env, ms: number): Promise<void> {
  return new Promise((resolve) => void ports.clock.timer(ms, resolve));
}

export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

export function numberOf({ data }: Message): number {
  return (data as { id: number }).id;
}

/** The answer; when the call is refused, nobody knows what it has done. */
export async function unlessLost<T>(
  witness: Witness,
  call: Parameters<Witness['lost']>[0],
  answer: Promise<T>,
): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    witness.lost(call);
    throw error;
  }
}

/** What was answered on a handle, and may not be on the device yet. */
const unripe = new WeakMap<Queue, Set<() => void>>();

/**
 * What was answered just now on the handle is on the device, under `interval`, when the handle has been closed, or this process
 * has lived on for the interval, the flush that was under way then, and the next one. By the process's own timers: they come
 * in the order in which they are due, after however long it was stopped, and so do the engine's. @param ripened is told then.
 */
export function ripen({ durability, ports, flushMs, met }: Env, queue: Queue, ripened: () => void): void {
  if (durability !== 'interval') return;
  const waiting = unripe.get(queue) ?? new Set();
  unripe.set(queue, waiting);
  const done = (): void => {
    if (!waiting.delete(done)) return;
    ripened();
    met('ripened');
  };
  waiting.add(done);
  const { clock } = ports;
  const flushes = (left: number): void => {
    if (left > 0) clock.timer(flushMs + 1, () => flushes(left - 1));
    else done();
  };
  clock.timer(SYNC_INTERVAL + 1, () => flushes(2));
}

/** Closes the handle: what was answered on it is on the device. */
export async function closeQueue({ process }: Env, queue: Queue): Promise<void> {
  await queue.close();
  // Nothing is answered to the dead.
  if (!process.alive) return;
  for (const ripe of unripe.get(queue) ?? []) ripe();
}

export function errorOf(env: Env): { at: string; attempt: number; name: string; message: string } {
  const { ports, choices, longErrors } = env;
  // A few of these, and a head is longer than all that is written behind it.
  const message = longErrors && choices.chance(0.5) ? 'no'.repeat(1000 + choices.below(1000)) : 'no';
  return { at: new Date(ports.clock.now()).toISOString(), attempt: 1, name: 'Error', message };
}
