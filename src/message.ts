/**
 * The words of this project, the message, and the one function that changes a message's life.
 *
 * - *message*: one unit of work. *queue*: messages of one type, drained in order of insertion.
 * - *manager*: what a program opens to work with queues. *backend*: where queues are kept.
 * - *worker*: code that processes messages of one type. *claim*: a lease on a message, held by one worker.
 * - *settle*: end a claim (complete, fail, release). *lapse*: a claim ended by its holder's death or its lease.
 * - *cancel*: have nobody work on a message; it stands as failed, and the handler that has it is told to end.
 * - *life*: what has become of a message since it was added. *due*: the time before which it must not run.
 * - *journal*: a queue's append-only log. *segment*: one file of it.
 * - *position*: segment number and byte offset of the record that added a message; its address, its place in line.
 *
 *                  add ──► deferred ──(due)──┐
 *                   │                        ▼
 *                   └──────────────────►  ready ──claim──► claimed ──complete──► (gone, counted)
 *                                         ▲  ▲ │               │ │
 *                        enable ┌─────────┘  │ └─disable─┐     │ └─fail, tries left──► deferred (backoff)
 *                               │            │           ▼     │
 *                               └────────────│────── disabled  ├─fail, none left──► failed ──retry──► ready
 *                                            └── release, lapse ──┘                   └─remove──► (gone)
 *
 * `disabled` is a flag beside the state. A message that comes back keeps its place in line.
 */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export type State = 'ready' | 'deferred' | 'claimed' | 'failed';

/** How a message ended: what `queueStatus` and the remembered outcomes speak of. */
export type Outcome = 'completed' | 'removed' | 'purged';

/** What is kept of one failed try or one lapsed claim. The last few stay with the message. */
export interface TryError {
  /** ISO 8601 */
  at: string;
  /** The number of the try, from 1. */
  attempt: number;
  name: string;
  message: string;
  code?: string;
  stack?: string;
}

/** How far a handler says it has come. */
export interface Progress {
  /** 0 to 100. */
  percent: number;
  /** '' when it said nothing. */
  text: string;
  at: Date;
}

/** Who works on a claimed message. */
export interface Holder {
  /** Of the process; absent where the backend has none. */
  pid?: number;
  /** When the claim was made. */
  since: Date;
  progress?: Progress;
}

export interface Message<T = Json> {
  /** Given by the system; a UUID of version 7. */
  uuid: string;
  /** The caller's key; '' when there is none. */
  alias: string;
  data: T;
  /** How many more times the message is tried after a failed try; never counted down. */
  retries: number;
  /** `deferred` while `dateTimeDeferredExecution` is set. */
  executionMode: 'immediate' | 'deferred';
  /** Not before this time: as asked for by the caller, or put off after a failed try. */
  dateTimeDeferredExecution?: Date;
  /** Kept in the queue but passed over, whatever its state. */
  disabled: boolean;
  /** Who added it; '' when not said. */
  username: string;
  insertedAt: Date;
  state: State;
  /** Tries begun; a released one is given back, one that ended with its process counts in `crashes` instead. */
  attempts: number;
  crashes: number;
  /** The last few, oldest first. */
  errors: TryError[];
  /** While it is claimed. */
  holder?: Holder;
}

/** A message under lease. The token proves the claim to complete, fail, release and renew. */
export interface Claim<T = Json> extends Message<T> {
  token: string;
}

/** How many errors stay with a message. */
const KEPT_ERRORS = 5;

/** Where a message stands. Only the legal fields exist in each state. */
export type Phase =
  | { readonly state: 'ready' }
  | { readonly state: 'deferred'; readonly due: number }
  | {
      readonly state: 'claimed';
      readonly token: string;
      /** Renewals so far; a lapse must name the number it saw. */
      readonly renewal: number;
    }
  | { readonly state: 'failed' };

/** What has become of a message since it was added. Values are never changed in place. */
export interface Life {
  readonly phase: Phase;
  readonly disabled: boolean;
  readonly attempts: number;
  readonly crashes: number;
  readonly errors: readonly TryError[];
}

/** What may happen to a message. Times are epoch milliseconds, decided by whoever caused the event. */
export type Happening =
  /** `due` names the due time of the deferred message that the claimer found to be due. */
  | { readonly type: 'claim'; readonly token: string; readonly due?: number | undefined }
  | { readonly type: 'renew'; readonly token: string }
  | { readonly type: 'complete'; readonly token: string }
  /** Without `due` the message is out of tries. */
  | {
      readonly type: 'fail';
      readonly token: string;
      readonly error: TryError;
      readonly due?: number | undefined;
    }
  | { readonly type: 'release'; readonly token: string }
  /** The holder is known dead, or its lease is over. `final`: the message has killed too often. */
  | {
      readonly type: 'lapse';
      readonly token: string;
      readonly renewal: number;
      readonly error: TryError;
      readonly final: boolean;
    }
  | { readonly type: 'retry' }
  | {
      readonly type: 'update';
      readonly disabled?: boolean | undefined;
      readonly due?: number | null | undefined;
    }
  /** Nobody is to work on it: it stands as failed, whoever held it. */
  | { readonly type: 'cancel'; readonly error: TryError }
  | { readonly type: 'remove' }
  | { readonly type: 'purge' };

const READY: Phase = Object.freeze({ state: 'ready' });
const FAILED: Phase = Object.freeze({ state: 'failed' });
const NO_ERRORS: readonly TryError[] = Object.freeze([]);
/** The life of a message to which nothing has happened, and that may run at once. */
export const FRESH: Life = Object.freeze({
  phase: READY,
  disabled: false,
  attempts: 0,
  crashes: 0,
  errors: NO_ERRORS,
});

/** The life a message begins with. */
export function born(due: number | undefined, disabled: boolean): Life {
  if (due === undefined && !disabled) return FRESH;
  return { ...FRESH, phase: due === undefined ? READY : { state: 'deferred', due }, disabled };
}

/**
 * The transition function: the life after `event`, an outcome when the message has ended, or undefined
 * when the event no longer applies (its claim has ended, the message is not where its writer saw it), and
 * so changes nothing. Pure: the same life and event give the same answer in every process.
 */
export function transition(life: Life, event: Happening): Life | Outcome | undefined {
  const { phase } = life;
  switch (event.type) {
    case 'claim':
      if (!mayRun(life, event.due)) return undefined;
      // Written out: every message goes through this, and a spread takes several times as long.
      return {
        phase: { state: 'claimed', token: event.token, renewal: 0 },
        disabled: life.disabled,
        attempts: life.attempts + 1,
        crashes: life.crashes,
        errors: life.errors,
      };
    case 'renew':
      if (phase.state !== 'claimed' || phase.token !== event.token) return undefined;
      return { ...life, phase: { ...phase, renewal: phase.renewal + 1 } };
    case 'complete':
      return phase.state === 'claimed' && phase.token === event.token ? 'completed' : undefined;
    case 'fail':
      if (phase.state !== 'claimed' || phase.token !== event.token) return undefined;
      return {
        ...life,
        phase: event.due === undefined ? FAILED : { state: 'deferred', due: event.due },
        errors: withError(life, event.error),
      };
    case 'release':
      if (phase.state !== 'claimed' || phase.token !== event.token) return undefined;
      return { ...life, phase: READY, attempts: life.attempts - 1 };
    case 'lapse':
      if (phase.state !== 'claimed' || phase.token !== event.token || phase.renewal !== event.renewal)
        return undefined;
      return {
        ...life,
        phase: event.final ? FAILED : READY,
        attempts: life.attempts - 1,
        crashes: life.crashes + 1,
        errors: withError(life, event.error),
      };
    case 'cancel':
      if (phase.state === 'failed') return undefined;
      return { ...life, phase: FAILED, errors: withError(life, event.error) };
    case 'retry':
      if (phase.state !== 'failed') return undefined;
      return { ...life, phase: READY, attempts: 0, crashes: 0 };
    case 'update':
      return { ...life, phase: rescheduled(phase, event.due), disabled: event.disabled ?? life.disabled };
    case 'remove':
      return 'removed';
    case 'purge':
      return phase.state === 'claimed' ? undefined : 'purged';
  }
}

function withError(life: Life, error: TryError): readonly TryError[] {
  return [...life.errors, error].slice(-KEPT_ERRORS);
}

function mayRun(life: Life, due: number | undefined): boolean {
  if (life.disabled) return false;
  if (life.phase.state === 'ready') return true;
  return life.phase.state === 'deferred' && life.phase.due === due;
}

/** Only a waiting message can be put off or brought forward: a claimed or failed one keeps its phase. */
function rescheduled(phase: Phase, due: number | null | undefined): Phase {
  if (due === undefined || phase.state === 'claimed' || phase.state === 'failed') return phase;
  return due === null ? READY : { state: 'deferred', due };
}
