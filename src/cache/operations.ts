/**
 * The vocabulary of the journal: the header of each kind of record. `docs/journal-format.md` tells the same to
 * readers in other languages. Names are short because a header stands in every record.
 *
 * A place in the log is written `[segment, offset]`. A list of messages, `Where[]`, is grouped by segment:
 * `[segment, offset, offset, …]`; where a claim means a deferred message that is due, `[offset, due]` stands
 * in place of the offset.
 */
import type { Durability, QueueOptions } from '../backend.ts';
import type { Outcome } from '../message.ts';
import type { Identity } from './ports.ts';

/** Version of the framing and of the files. */
export const FORMAT = 1;
/** Version of the rules by which records change the state; a newer one refuses to open. */
export const RULES = 1;

export type Place = [segment: number, offset: number];
export type Where = [segment: number, ...offsets: (number | [offset: number, due: number])[]];

/**
 * `ctl` marks the records that a mere producer has to know of: those that can change what becomes of an add. It finds
 * them by their bytes, `"ctl":1`, and reads nothing else. The first quote is left out: a search stops at whatever may be the
 * beginning, and there are many quotes.
 */
export const CONTROL = 'ctl":1';

/** What every record written by a handle says: who, its how-manieth record in this segment, when (wall clock). */
export interface Written {
  w: string;
  n: number;
  t: number;
  /** Offset up to which the writer knows the segment to be on the device; now and then. */
  s?: number | undefined;
}

/** What a record says of a message whose payload it carries. */
export interface Content {
  u: string;
  /** Alias. */
  a?: string | undefined;
  /** Retries. */
  r?: number | undefined;
  /** Username. */
  by?: string | undefined;
}

export type Operation =
  | ({ op: 'add'; d?: number | undefined; x?: 1 | undefined } & Content)
  /** New content for the message at `p`, if its content is still the record at `at`. `i`: when it was inserted. */
  | ({ op: 'update'; p: Place; at: Place; i: number; d?: number | null; x?: 0 | 1 } & Content)
  /** Schedule and flag only. */
  | { op: 'set'; p: Place; d?: number | null; x?: 0 | 1 }
  /** Takes the first `max` of `c` that may still run, under token `w.k`, for `ms` from monotonic time `m`. */
  | { op: 'claim'; k: string; m: number; ms: number; max: number; c: Where[] }
  /** Payload, if any: how far the work has come. */
  | { op: 'renew'; k: string; m: number; ms: number; c: Where[] }
  | { op: 'done'; k: string; c: Where[]; u: string[]; a: string[] }
  /** Payload: the error. Without `d` the message has failed for good. */
  | { op: 'fail'; k: string; c: Where[]; d?: number }
  | { op: 'release'; k: string; c: Where[] }
  /** Payload: the evidence. `r`: the last renewal seen; `f`: the message has killed too often. */
  | { op: 'lapse'; k: string; r: number; c: Where[]; f?: 1 }
  | { op: 'remove'; p: Place; u: string; a?: string }
  /** Payload: the error that says so. The message stands as failed, whoever held it. */
  | { op: 'cancel'; p: Place; u: string }
  /** Without `c`: every failed message. */
  | { op: 'retry'; c?: Where[] }
  | { op: 'purge' }
  | { op: 'pause' }
  | { op: 'resume' }
  /** Payload: the patch. */
  | { op: 'attr' }
  | { op: 'processed'; u: string; a: string }
  /** Who writes under this `w`, and how durably. */
  | { op: 'writer'; who: Identity; dur: Durability }
  /** The machine has been started anew; what was not synced before may be gone. */
  | { op: 'boot'; ctl: 1; id: string }
  /** A queue begins where there was none. Payload: its options. */
  | { op: 'create'; ctl: 1; id: string }
  | { op: 'seal'; ctl: 1; why: SealReason }
  /** Behind a seal: a flush of the sealed segment has failed, as if it had been sealed for that. */
  | { op: 'unsound'; ctl: 1 }
  /**
   * The successor is `tmp-<number>-<r>`, if the seal at offset `at` has the checksum `crc`. `repair`: one has made it, of more, or
   * of less, than this segment leads to.
   */
  | { op: 'next'; ctl: 1; r: string; at: number; crc: string; repair?: 1 };

/** `damage`: rot was met in the segment; from the next head on all agree again on what is in the queue. */
export type SealReason = 'size' | 'idle' | 'space' | 'destroy' | 'sync' | 'damage';

/** Records of a head: the state at the predecessor's seal. They have no writer. */
export type HeadRecord =
  | HeadStart
  /** Fresh messages of an older segment: how many, how many of them deferred or disabled, runs of what is not. */
  | { op: 'segment'; segment: number; fresh: number; special: number; runs: number[] }
  /** More runs of the segment named last. */
  | { op: 'runs'; segment: number; runs: number[] }
  /** A touched message. Payload: its errors, if any. */
  | TouchedRecord
  /** The content of a message moved here from a sparse segment. Payload: the message's. */
  | ({ op: 'carry'; p: Place; i: number } & Content)
  | { op: 'registered'; w: string; who: Identity; dur: Durability }
  | { op: 'damage'; segment: number; from: number; to: number }
  /** Payload: how the last messages ended, oldest first. */
  | { op: 'outcomes' }
  /** The head is whole: so many records stand before this one. */
  | { op: 'ready'; ctl: 1; records: number };

/**
 * Behind the seal of a segment that `queue repair` has written anew: these ranges [from, to) held no records, or, where
 * they are empty, some were missing there. Void to all but `queue verify`, which need not report them again.
 */
export interface Mended {
  op: 'mended';
  lost: [from: number, to: number][];
  /** Offset of the segment's seal. Repairs of earlier versions do not tell it. */
  seal?: number;
}

export interface HeadStart {
  op: 'head';
  ctl: 1;
  format: number;
  rules: number;
  /** The queue's random id; '' while there is no queue of this name. */
  id: string;
  segment: number;
  /** The seal before this head. `failed`: its segment's notes may not be on the device, whatever a flush says. */
  prev: { segment: number; at: number; crc: string; failed?: 1 } | null;
  /** Of the effects of the predecessor's records. */
  digest: number;
  boot: string;
  t: number;
  created: number;
  modified: number;
  paused: boolean;
  added: number;
  processed: number;
  inserted: StampRecord | null;
  last: StampRecord | null;
}

export interface TouchedRecord {
  op: 'touched';
  p: Place;
  at: Place;
  /** Length of the content's record and of its header. */
  len: number;
  hl: number;
  state: 'ready' | 'deferred' | 'claimed' | 'failed';
  d?: number;
  x?: 1;
  /** Alias, where aliases are unique. */
  a?: string;
  attempts: number;
  crashes: number;
  /** Of a claimed one: token, renewals, the lease's beginning (monotonic) and length, when it was claimed (wall clock). */
  k?: string;
  r?: number;
  m?: number;
  ms?: number;
  ct?: number;
  /** How far the work on it has come, and when that was said. */
  pr?: ProgressRecord & { t: number };
}

/** Payload of a renewal that says how far the work has come. */
export interface ProgressRecord {
  percent: number;
  text: string;
}

export interface StampRecord {
  u: string;
  a: string;
  t: number;
}

/** Payload of the first head record and of `create`. */
export interface HeadPayload {
  options: QueueOptions;
  attributes: Record<string, unknown>;
}

export interface OutcomeEntry {
  u: string;
  a: string;
  o: Outcome;
  t: number;
}
