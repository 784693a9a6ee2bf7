/**
 * What is known of a daemon, in a file that the daemon itself keeps and everybody may read: how often it has run, when
 * last, how that went, and by when it will be heard of again. It is replaced in one step, so a reader finds the old one
 * or the new one; and it is not flushed, for it is of use only while the machine runs.
 *
 * Only who has the daemon's place writes it.
 */
import { QueueError, quote } from '../errors.ts';
import type { Identity } from '../process-table.ts';
import { readSmall } from './small-file.ts';

/** Raised with every change that an older reader would misread. */
export const VERSION = 1;

/** All times are ISO 8601, all lengths ms. */
export interface DaemonState {
  version: number;
  name: string;
  pid: number;
  /** What tells that process from others of its number, and the token of the holder that wrote this: see `place.ts`. */
  process: Omit<Identity, 'pid'>;
  token: string;
  phase: Phase;
  startedAt: string;
  /** When it had come up; null until then. */
  upAt: string | null;
  /** Iterations that have ended since `startedAt`, failed ones included. */
  sessions: number;
  /** Of those at the end, how many in a row have failed. */
  failuresInRow: number;
  /** From the end of one iteration to the start of the next. */
  betweenSessions: Spread | null;
  /** From the start of an iteration to its end. */
  sessionLengths: Spread | null;
  /** When the last iteration began, and the last one that succeeded ended. */
  lastIterationAt: string | null;
  lastSuccessAt: string | null;
  lastError: Failure | null;
  /** What is wrong with parts of it, while the rest works, as the daemon says. */
  troubles: string[];
  /** How often a process of this daemon was found dead in its place, ever; and when last. */
  crashes: number;
  lastCrashAt: string | null;
  /** Set while it sleeps. */
  sleepUntil: string | null;
  /** As its own `verify()` says; null while that has not been asked, or there is none. */
  health: Health | null;
  reloads: { count: number; at: string | null; error: Failure | null };
  /** By when it must be heard of again, else it is stalled; `monotonic` in ms since the machine started. */
  due: { at: string; monotonic: number };
  /** Whether it was started in the background, where nobody but us starts it again. */
  background: boolean;
  /** The service of the system that runs it, and starts it again, such as `coda-reports.service`; null: there is none. */
  service: string | null;
  /**
   * Set when it has ended: because it was told to, because it had come to its own end, with an error, or because its process
   * ended unasked and could still say why.
   */
  end: { at: string; why: (typeof WHYS)[number]; error: Failure | null } | null;
  /** Bytes that stood, when it began, in the file of what it prints; absent where an older version wrote this. */
  printedFrom?: number;
  /** Bytes that its process occupied. */
  memory: number;
  updatedAt: string;
}

const WHYS = ['told', 'itself', 'error', 'crash'] as const;

export type Phase = (typeof PHASES)[number];
const PHASES = ['starting', 'working', 'sleeping', 'reloading', 'stopping', 'ended'] as const;

export interface Spread {
  last: number;
  mean: number;
  longest: number;
}

export interface Failure {
  at: string;
  name: string;
  message: string;
}

interface Health {
  at: string;
  sound: boolean;
  /** Why it is not; '' of one that is. */
  reason: string;
}

/** What was thrown, which may be anything, `undefined` included. */
export interface Thrown {
  error: unknown;
}

/**
 * Is told by the runner what the daemon does, and keeps it. No call throws or waits; what cannot be written is told to
 * `onTrouble`, and the daemon goes on.
 */
export interface Keeper {
  /**
   * The daemon has come up, for the first time or after a reload.
   * @param limit ms within which it must be heard of, where the daemon declares its own.
   */
  started(limit?: number): void;
  iterationStarted(): void;
  /** The iteration that is under way is getting on: its limit counts anew. */
  progressed(): void;
  iterationEnded(thrown?: Thrown): void;
  /** What is wrong with parts of it now. */
  troubled(troubles: readonly string[]): void;
  /** It need not be heard of before. */
  sleeping(until: Date): void;
  /** What its own health check said. */
  checked(sound: boolean, reason?: string): void;
  reloading(): void;
  /** The new configuration is in force; or why the old one still is. `started` or `ended` comes next. */
  reloaded(thrown?: Thrown): void;
  /** @param milliseconds from now, after which it has ended, by force if need be. */
  stopping(milliseconds: number): void;
  /** The last call. It has been written when this returns. */
  ended(how: 'told' | 'itself' | Thrown): void;
}

/**
 * The state of the daemon at `place`, as last written; undefined when there is none.
 * Errors: STORAGE_FAILED, saying what was found instead: what is no state, or one of another version, is never taken
 * for one.
 */
export function readState(path: string): DaemonState | undefined {
  const text = readSmall(path);
  if (text === undefined) return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw unreadable(path, quote(text));
  }
  if (!isRecord(parsed)) throw unreadable(path, quote(text));
  if (parsed['version'] !== VERSION)
    throw unreadable(path, `one of version ${quote(parsed['version'])}, this Coda has ${VERSION}`);
  const wrong = Object.entries(FIELDS).find(([field, isSound]) => !isSound(parsed[field]));
  if (wrong) throw unreadable(path, `${quote(parsed[wrong[0]])} for its ${wrong[0]}`);
  return parsed as unknown as DaemonState;
}

/** Milliseconds since the machine started, the same for all its processes. */
export function monotonic(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === 'string';
const isTime: Check = (value) => isText(value) && !Number.isNaN(Date.parse(value as string));
const isFlag: Check = (value) => typeof value === 'boolean';
const isNumber: Check = (value) => typeof value === 'number' && Number.isFinite(value) && value >= 0;
const isCount: Check = (value) => Number.isSafeInteger(value) && isNumber(value);
const isPid: Check = (value) => isCount(value) && value !== 0;
const isToken: Check = (value) => isText(value) && /^[0-9a-f]{16}$/.test(value as string);
const isList: Check = (value) => Array.isArray(value) && value.every(isText);
const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value);
const shaped =
  (fields: Readonly<Record<string, Check>>): Check =>
  (value) =>
    isRecord(value) && Object.entries(fields).every(([field, check]) => check(value[field]));
const isSpread = shaped({ last: isNumber, mean: isNumber, longest: isNumber });
const isFailure = shaped({ at: isTime, name: isText, message: isText });

const FIELDS: Readonly<Record<keyof DaemonState, Check>> = {
  version: isCount,
  name: isText,
  pid: isPid,
  process: shaped({ start: isText, boot: isText, pidNamespace: isText, timeNamespace: isText }),
  token: isToken,
  phase: (value) => PHASES.some((phase) => phase === value),
  startedAt: isTime,
  upAt: orNull(isTime),
  sessions: isCount,
  failuresInRow: isCount,
  betweenSessions: orNull(isSpread),
  sessionLengths: orNull(isSpread),
  lastIterationAt: orNull(isTime),
  lastSuccessAt: orNull(isTime),
  lastError: orNull(isFailure),
  troubles: isList,
  crashes: isCount,
  lastCrashAt: orNull(isTime),
  sleepUntil: orNull(isTime),
  health: orNull(shaped({ at: isTime, sound: isFlag, reason: isText })),
  reloads: shaped({ count: isCount, at: orNull(isTime), error: orNull(isFailure) }),
  due: shaped({ at: isTime, monotonic: isNumber }),
  background: isFlag,
  service: orNull(isText),
  end: orNull(
    shaped({ at: isTime, why: (value) => WHYS.some((why) => why === value), error: orNull(isFailure) }),
  ),
  printedFrom: (value) => value === undefined || isCount(value),
  memory: isCount,
  updatedAt: isTime,
};

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function unreadable(path: string, found: string): QueueError {
  return new QueueError(
    'STORAGE_FAILED',
    `expected the state of a daemon at ${quote(path, 300)}, found ${found}`,
    { path },
  );
}
