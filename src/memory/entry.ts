/** A message as the memory holds it, and as it is shown: every showing is a copy, so no two callers share an object. */
import type { HistoryEvent, MessageFilter } from '../backend.ts';
import type { Holder, Json, Life, Message, State } from '../message.ts';

export interface Entry {
  readonly uuid: string;
  /** Epoch milliseconds. */
  readonly insertedAt: number;
  json: string;
  alias: string;
  retries: number;
  username: string;
  life: Life;
  readonly history: HistoryEvent[];
  /** While it is claimed. */
  holder: Holder | undefined;
}

export function dueOf({ life: { phase } }: Entry): number | undefined {
  return phase.state === 'deferred' ? phase.due : undefined;
}

/** A deferred message is ready from its due time on, whether or not anybody has looked. */
export function stateOf({ life: { phase } }: Entry, now: number): State {
  return phase.state === 'deferred' && phase.due <= now ? 'ready' : phase.state;
}

/** It has crashed a worker. */
export function isSuspect(entry: Entry | undefined): boolean {
  return entry !== undefined && entry.life.crashes > 0;
}

export function toMessage(entry: Entry, now: number): Message {
  const { uuid, alias, retries, username, life } = entry;
  const due = dueOf(entry);
  return {
    uuid,
    alias,
    data: JSON.parse(entry.json) as Json,
    retries,
    executionMode: due === undefined ? 'immediate' : 'deferred',
    ...(due === undefined ? {} : { dateTimeDeferredExecution: new Date(due) }),
    disabled: life.disabled,
    username,
    insertedAt: new Date(entry.insertedAt),
    state: stateOf(entry, now),
    attempts: life.attempts,
    crashes: life.crashes,
    errors: life.errors.map((error) => ({ ...error })),
    ...(entry.holder === undefined ? {} : { holder: structuredClone(entry.holder) }),
  };
}

export function matches(message: Message, filter: MessageFilter): boolean {
  return Object.entries(filter).every(([key, wanted]) => message[key as keyof MessageFilter] === wanted);
}
