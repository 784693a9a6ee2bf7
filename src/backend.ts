/**
 * What every backend implements, and nothing more: the file backend (`cache/`), the in-memory one (`memory/`),
 * later others. Arguments arrive validated (`validate.ts`) and frozen in shape; a backend checks only what
 * depends on its state. Errors are `QueueError`s with the codes named here.
 */
import type { Claim, Json, Message, Outcome, TryError } from './message.ts';
import type { QueueError } from './errors.ts';

/** `always`: survives a power cut when answered. `interval`, `os`: survives the death of any process. */
export type Durability = 'always' | 'interval' | 'os';

/** Chosen when a queue is created; fixed for its life. */
export interface QueueOptions {
  /** An unfinished message's alias cannot be added again: the add returns the one that is there. */
  uniqueAlias?: boolean;
  /** Limit on waiting messages (ready, deferred, claimed and disabled); adds beyond it are `QUEUE_FULL`. */
  maxMessages?: number;
  /** Limit on the bytes of their payloads as JSON. */
  maxBytes?: number;
}

/** A message to add, as the validator hands it on. */
export interface NewMessage {
  /** The payload as JSON text. */
  json: string;
  /** The payload as it was given, for the answer to the add; made from the text where it is absent. */
  data?: Json;
  alias: string;
  retries: number;
  /** Epoch milliseconds. */
  due?: number;
  disabled: boolean;
  username: string;
}

export type Added = Message & { duplicate: boolean };

/** The message whose claim is meant, and the token that proves it. */
export interface ClaimRef {
  uuid: string;
  alias: string;
  token: string;
}

export type Settlement =
  | { type: 'complete' }
  /** Without `due` the message is out of tries and goes to *failed*. */
  | { type: 'fail'; error: TryError; due?: number }
  /** Back in line at its place, the try refunded. */
  | { type: 'release' }
  /** Not an end: the lease begins anew, `lease` milliseconds long. */
  | { type: 'renew'; lease: number; progress?: { percent: number; text: string } };

export interface MessagePatch {
  json?: string;
  alias?: string;
  retries?: number;
  /** null: run at once. */
  due?: number | null;
  disabled?: boolean;
  username?: string;
}

export interface MessageFilter {
  uuid?: string;
  alias?: string;
  state?: Message['state'];
  disabled?: boolean;
  username?: string;
}

/** Why a claim is no longer held by who made it. `cancelled`: the message was cancelled or removed. */
export type Loss = 'cancelled' | 'lapsed';

/** What has become of a message that nobody will work on any more, unless it is retried. */
export interface Ending {
  uuid: string;
  /** '' when there was none, or it is not known. */
  alias: string;
  /** `unknown`: it is not in the queue, and how it ended is no longer remembered; or it never was there. */
  outcome: Outcome | 'failed' | 'unknown';
  /** Absent where it is not known. */
  at?: Date;
}

/** One thing that happened to a message. */
export interface HistoryEvent {
  at: Date;
  event:
    | 'added'
    | 'updated'
    | 'claimed'
    | 'completed'
    | 'failed'
    | 'released'
    | 'lapsed'
    | 'cancelled'
    | 'retried'
    | 'removed'
    | 'purged';
  /** The process that did it; absent where the backend has none, or it is not known. */
  pid?: number;
  /** Of `failed`, `lapsed` and `cancelled`. */
  error?: TryError;
  /** When it may run again, or first. */
  due?: Date;
}

/** All that is known of one message. */
export interface Inspection {
  /** As it stands now; absent when it has ended. */
  message?: Message;
  /** Set when it has ended or failed. */
  ending?: Ending;
  /** Oldest first, as far back as the store remembers. */
  history: HistoryEvent[];
  /** Whether the history goes back to the add. */
  complete: boolean;
}

export interface Mark {
  uuid: string;
  alias: string;
  timestamp: Date;
}

export interface QueueStatus {
  queue: string;
  lastMessageInserted: Mark | null;
  lastMessageProcessed: Mark | null;
  lastQueueModifyTime: Date;
  /** ready + deferred + claimed; disabled ones are not counted. */
  messagesToProcess: number;
  customAttributes: Record<string, Json>;
  /** Each message once: a disabled one counts as disabled unless it is claimed or failed. */
  counts: { ready: number; deferred: number; claimed: number; disabled: number; failed: number };
  /** Messages completed or taken, ever. */
  processed: number;
  paused: boolean;
  createdAt: Date;
  /** The weakest among the living writers. */
  durability: Durability;
  /** What a power cut may cost under it, in words: `none`, `the last 50 ms`, … */
  lossWindow: string;
  options: QueueOptions;
  /** Damaged records met so far; `queue verify` lists them. */
  damaged: number;
}

/** One open queue. Every promise is about what has happened in the backend when it resolves. */
export interface Queue {
  /**
   * Adds in the order given; resolves when all are as durable as the manager's durability says.
   * Errors: QUEUE_FULL (none is added beyond the limit; earlier ones of the same call may be), STORAGE_FULL.
   */
  add(messages: readonly NewMessage[]): Promise<Added[]>;
  /** Up to `limit` messages in order of position among those that may run now; none when paused. Never waits. */
  claim(limit: number, lease: number): Promise<Claim[]>;
  /** The first message that may run, gone when handed over. */
  take(): Promise<Message | undefined>;
  /** False: the claim had ended meanwhile, nothing changed. */
  settle(claim: ClaimRef, settlement: Settlement): Promise<boolean>;
  /** Why each of these claims that has ended did; by token. What is still held is not in it. */
  losses(claims: readonly ClaimRef[]): Promise<ReadonlyMap<string, Loss>>;
  /**
   * One ending for each of these messages, as they come; first those that have ended or failed already. Done when all
   * have been told or the signal fires.
   */
  endings(uuids: readonly string[], signal: AbortSignal | undefined): AsyncIterable<Ending>;
  /** Undefined: there is nothing to be known of it. */
  inspect(target: { uuid: string } | { alias: string }): Promise<Inspection | undefined>;
  /** In order of position. A message added, changed or ended during the iteration may or may not be seen. */
  find(filter: MessageFilter): AsyncIterable<Message>;
  /** The message after the change; undefined when there is none with that uuid. */
  update(uuid: string, patch: MessagePatch): Promise<Message | undefined>;
  /** What changes many messages or the queue itself; resolves with the number of messages changed. */
  change(change: QueueChange): Promise<number>;
  status(): Promise<QueueStatus>;
  /** True as soon as something may be claimable; false after `timeout` ms or when the signal fires. */
  wait(timeout: number | undefined, signal: AbortSignal | undefined): Promise<boolean>;
  close(): Promise<void>;
}

export type QueueChange =
  | { type: 'remove'; uuid: string }
  /** A message that has not failed stands as failed with this error, and a claim on it has ended. */
  | { type: 'cancel'; uuid: string; error: TryError }
  /** The claims of a process that has ended lapse, with what is known of its death. */
  | { type: 'died'; pid: number; error: TryError }
  /** Failed messages back in line, tries and crashes counted anew. */
  | { type: 'retry'; uuids: readonly string[] | 'all' }
  /** Ends every message that is not claimed. */
  | { type: 'purge' }
  | { type: 'pause' }
  | { type: 'resume' }
  /** A null removes its key. */
  | { type: 'attributes'; patch: Readonly<Record<string, Json>> }
  | { type: 'processed'; uuid: string; alias: string };

export interface Backend {
  /** True: created; false: it was there. Its options are those it was created with. */
  create(queue: string, options: QueueOptions): Promise<boolean>;
  /** True: destroyed; false: there was none. */
  destroy(queue: string): Promise<boolean>;
  exists(queue: string): Promise<boolean>;
  /** Names in alphabetical order. */
  list(): Promise<string[]>;
  /** Errors: QUEUE_NOT_FOUND, JOURNAL_NEWER, JOURNAL_CORRUPT, STORAGE_UNSUPPORTED. */
  open(queue: string): Promise<Queue>;
  /** The last error that was met outside any call: a damaged record, a failed background sync. */
  lastError(): QueueError | undefined;
  close(): Promise<void>;
}
