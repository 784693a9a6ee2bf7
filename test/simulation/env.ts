/** What a client has at hand. */
import type { Backend, Durability, Queue, QueueOptions } from '../../src/backend.ts';
import type { Ports } from '../../src/cache/ports.ts';
import type { Message } from '../../src/message.ts';
import type { Audit } from './audit.ts';
import type { Stream } from './choices.ts';
import type { Claims } from './claims.ts';
import type { Entry } from './entries.ts';
import type { Process } from './process.ts';
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
  | 'verify';

export interface Env {
  process: Process;
  ports: Ports;
  witness: Witness;
  claims: Claims;
  audit: Audit;
  choices: Stream;
  durability: Durability;
  segmentBytes: number;
  options: QueueOptions;
  lease: number;
  lanes: number;
  /** Of each lane. */
  steps: number;
  weights: readonly (readonly [Step, number])[];
  /** The longest that a flush takes, in milliseconds. */
  flushMs: number;
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
  /** Something was met that a run should meet. */
  met: (what: string) => void;
}

/** Whether the last client fills a segment; not where that would take megabytes. */
export function fillsSegments({ segmentBytes }: Pick<Env, 'segmentBytes'>): boolean {
  return segmentBytes < 100_000;
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

/**
 * What was answered just now is on the device, under `interval`, when this process has lived on for the interval, the flush that
 * was under way then, and the next one. Its timers and its flushes come in the order in which they are due.
 */
export function ripen(
  { durability, ports, flushMs, witness, met }: Env,
  entries: readonly Entry[],
  what: Parameters<Witness['ripened']>[1],
): void {
  if (durability !== 'interval') return;
  const { clock } = ports;
  const flushes = (left: number): void => {
    if (left > 0) return void clock.timer(flushMs + 1, () => flushes(left - 1));
    witness.ripened(entries, what);
    met('ripened');
  };
  clock.timer(SYNC_INTERVAL + 1, () => flushes(2));
}

export function errorOf({ ports }: Env): { at: string; attempt: number; name: string; message: string } {
  return { at: new Date(ports.clock.now()).toISOString(), attempt: 1, name: 'Error', message: 'no' };
}
