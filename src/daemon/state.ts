/**
 * What is known of a daemon, in a file that the daemon itself keeps and everybody may read: how often it has run, when
 * last, how that went, and by when it will be heard of again. It is replaced in one step, so a reader finds the old one
 * or the new one; and it is not flushed, for it is of use only while the machine runs.
 *
 * Only who has the daemon's place writes it.
 */
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { QueueError, quote } from '../errors.ts';
import { toTryError } from '../try-error.ts';
import type { Place } from './place.ts';
import { readSmall } from './small-file.ts';

/** Raised with every change that an older reader would misread. */
const VERSION = 1;

/** All times are ISO 8601, all lengths ms. */
export interface DaemonState {
  version: number;
  name: string;
  pid: number;
  /** Of the holder that wrote it: see `place.ts`. */
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
  /** Set when it has ended: because it was told to, because it had come to its own end, or with an error. */
  end: { at: string; why: (typeof WHYS)[number]; error: Failure | null } | null;
  /** Bytes that its process occupied. */
  memory: number;
  updatedAt: string;
}

const WHYS = ['told', 'itself', 'error'] as const;

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

export interface Health {
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

export interface KeeperOptions {
  /** Within how many ms the daemon must be heard of, where it declares nothing else. */
  limit: number;
  background: boolean;
  /** Called when the state cannot be written or the old one not be read, once for each time that this begins. Must not throw. */
  onTrouble: (error: QueueError) => void;
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

/** Begins to keep the state of the daemon that has just taken its place. */
export function keepState(place: Place, options: KeeperOptions): Keeper {
  return new FileKeeper(place, options);
}

/** The file is not replaced more often than this for what is no news; ms. */
const PAUSE = 100;
/** Likewise for the start of an iteration, which may be the last that is heard of it. */
const SHORT_PAUSE = 10;
/** Room that the next state is sure to have on a disk that fills up; bytes. */
const RESERVE = 4096;
const LONGEST_MESSAGE = 1000;

class FileKeeper implements Keeper {
  readonly #path: string;
  /** Becomes the state; its room is taken before it is needed. */
  readonly #draft: string;
  readonly #onTrouble: (error: QueueError) => void;
  readonly #state: DaemonState;
  #limit: number;
  /** Monotonic ms. */
  #iterationBegan: number | undefined;
  #iterationEnd: number | undefined;
  #gaps = 0;
  #writtenAt = -Infinity;
  #writing: NodeJS.Timeout | undefined;
  #inTrouble = false;

  constructor(place: Place, { limit, background, onTrouble }: KeeperOptions) {
    this.#path = place.paths.state;
    this.#draft = join(dirname(this.#path), `.${place.name}.state`);
    this.#onTrouble = onTrouble;
    this.#limit = limit;
    this.#state = this.#begin(place, background, this.#before());
    this.#heard('starting');
    this.#write();
  }

  started(limit = this.#limit): void {
    this.#limit = limit;
    this.#state.upAt ??= iso();
    this.#heard('working');
    this.#write();
  }

  iterationStarted(): void {
    const now = monotonic();
    if (this.#iterationEnd !== undefined) {
      this.#state.betweenSessions = spread(
        this.#state.betweenSessions,
        now - this.#iterationEnd,
        ++this.#gaps,
      );
    }
    this.#iterationBegan = now;
    this.#state.lastIterationAt = iso();
    this.#heard('working');
    if (now - this.#writtenAt >= SHORT_PAUSE) this.#write();
    else this.#writeSoon();
  }

  progressed(): void {
    this.#heard(this.#state.phase);
    this.#writeSoon();
  }

  iterationEnded(thrown?: Thrown): void {
    const now = monotonic();
    const state = this.#state;
    state.sessions++;
    this.#iterationEnd = now;
    state.sessionLengths = spread(state.sessionLengths, now - (this.#iterationBegan ?? now), state.sessions);
    if (thrown) {
      state.failuresInRow++;
      state.lastError = failure(thrown);
    } else {
      state.failuresInRow = 0;
      state.lastSuccessAt = iso();
    }
    this.#heard('working');
    this.#writeSoon();
  }

  sleeping(until: Date): void {
    const milliseconds = Math.max(0, until.getTime() - Date.now());
    this.#heard('sleeping', milliseconds);
    // A short sleep is over before anybody has looked.
    if (milliseconds > PAUSE) this.#write();
    else this.#writeSoon();
  }

  checked(sound: boolean, reason = ''): void {
    const isNews = this.#state.health?.sound !== sound;
    this.#state.health = { at: iso(), sound, reason: sound ? '' : reason.slice(0, LONGEST_MESSAGE) };
    if (isNews) this.#write();
    else this.#writeSoon();
  }

  reloading(): void {
    this.#heard('reloading');
    this.#write();
  }

  reloaded(thrown?: Thrown): void {
    const { reloads } = this.#state;
    this.#state.reloads = {
      count: reloads.count + 1,
      at: iso(),
      error: thrown ? failure(thrown) : null,
    };
    this.#heard(this.#state.phase);
    this.#write();
  }

  stopping(milliseconds: number): void {
    this.#heard('stopping', milliseconds);
    this.#write();
  }

  ended(how: 'told' | 'itself' | Thrown): void {
    this.#state.end =
      typeof how === 'string'
        ? { at: iso(), why: how, error: null }
        : { at: iso(), why: 'error', error: failure(how) };
    this.#heard('ended');
    this.#write();
    clearTimeout(this.#writing);
    fs.rmSync(this.#draft, { force: true });
  }

  /** What the last process of this daemon has left. */
  #before(): DaemonState | undefined {
    try {
      return readState(this.#path);
    } catch (error) {
      // Begun anew: a daemon is not kept from its work because its statistics are gone.
      this.#onTrouble(error as QueueError);
      return undefined;
    }
  }

  #begin(
    { name, holder, predecessor }: Place,
    background: boolean,
    before: DaemonState | undefined,
  ): DaemonState {
    // Who was killed between its last word and leaving its place has not crashed.
    const crashed = predecessor !== undefined && !(before?.token === predecessor.token && before.end);
    return {
      version: VERSION,
      name,
      pid: holder.who.pid,
      token: holder.token,
      phase: 'starting',
      startedAt: iso(),
      upAt: null,
      sessions: 0,
      failuresInRow: 0,
      betweenSessions: null,
      sessionLengths: null,
      lastIterationAt: before?.lastIterationAt ?? null,
      lastSuccessAt: before?.lastSuccessAt ?? null,
      lastError: before?.lastError ?? null,
      crashes: (before?.crashes ?? 0) + (crashed ? 1 : 0),
      lastCrashAt: crashed ? iso() : (before?.lastCrashAt ?? null),
      sleepUntil: null,
      health: null,
      reloads: { count: 0, at: null, error: null },
      due: { at: iso(), monotonic: 0 },
      background,
      end: null,
      memory: 0,
      updatedAt: iso(),
    };
  }

  #heard(phase: Phase, expected = 0): void {
    const state = this.#state;
    const sleeps = phase === 'sleeping';
    state.phase = phase;
    state.sleepUntil = sleeps ? iso(expected) : null;
    const limit = expected + this.#limit;
    state.due = { at: iso(limit), monotonic: Math.round(monotonic() + limit) };
  }

  #writeSoon(): void {
    if (this.#writing) return;
    const wait = this.#writtenAt + PAUSE - monotonic();
    if (wait <= 0) return this.#write();
    this.#writing = setTimeout(() => this.#write(), wait).unref();
  }

  #write(): void {
    clearTimeout(this.#writing);
    this.#writing = undefined;
    this.#writtenAt = monotonic();
    this.#state.updatedAt = iso();
    this.#state.memory = process.memoryUsage.rss();
    try {
      fill(this.#draft, `${JSON.stringify(this.#state)}\n`);
      fs.renameSync(this.#draft, this.#path);
      this.#inTrouble = false;
    } catch (cause) {
      if (!this.#inTrouble) this.#onTrouble(unwritable(this.#path, cause));
      this.#inTrouble = true;
      return;
    }
    try {
      fill(this.#draft, ' '.repeat(RESERVE));
    } catch {
      // Without the room in advance the next state may still find some.
    }
  }
}

/** Gives a file these contents, in the room that it has already. */
function fill(path: string, text: string): void {
  const { O_WRONLY, O_CREAT } = fs.constants;
  const fd = fs.openSync(path, O_WRONLY | O_CREAT | (fs.constants.O_NOFOLLOW ?? 0), 0o600);
  try {
    const bytes = Buffer.from(text);
    for (let done = 0; done < bytes.length;) done += fs.writeSync(fd, bytes, done, bytes.length - done, done);
    fs.ftruncateSync(fd, bytes.length);
  } finally {
    fs.closeSync(fd);
  }
}

/** Milliseconds since the machine started, the same for all its processes. */
export function monotonic(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** Beyond what a Date can hold: an author may ask for any sleep. */
const LATEST = 8.64e15;

function iso(milliseconds = 0): string {
  return new Date(Math.min(Date.now() + milliseconds, LATEST)).toISOString();
}

function spread(before: Spread | null, last: number, count: number): Spread {
  const length = Math.round(last);
  const mean = before ? before.mean + (length - before.mean) / count : length;
  return {
    last: length,
    mean: Math.round(mean * 1000) / 1000,
    longest: Math.max(length, before?.longest ?? 0),
  };
}

function failure({ error }: Thrown): Failure {
  const { at, name, message } = toTryError(error, 1, Date.now());
  return { at, name, message: message.slice(0, LONGEST_MESSAGE) };
}

type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === 'string';
const isTime: Check = (value) => isText(value) && !Number.isNaN(Date.parse(value as string));
const isFlag: Check = (value) => typeof value === 'boolean';
const isNumber: Check = (value) => typeof value === 'number' && Number.isFinite(value) && value >= 0;
const isCount: Check = (value) => Number.isSafeInteger(value) && isNumber(value);
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
  pid: isCount,
  token: isText,
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
  crashes: isCount,
  lastCrashAt: orNull(isTime),
  sleepUntil: orNull(isTime),
  health: orNull(shaped({ at: isTime, sound: isFlag, reason: isText })),
  reloads: shaped({ count: isCount, at: orNull(isTime), error: orNull(isFailure) }),
  due: shaped({ at: isTime, monotonic: isNumber }),
  background: isFlag,
  end: orNull(
    shaped({ at: isTime, why: (value) => WHYS.some((why) => why === value), error: orNull(isFailure) }),
  ),
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

function unwritable(path: string, cause: unknown): QueueError {
  const { code } = cause as NodeJS.ErrnoException;
  const full = code === 'ENOSPC' || code === 'EDQUOT';
  const text = `the state of the daemon cannot be written to ${quote(path, 300)} (${code ?? String(cause)})`;
  return new QueueError(full ? 'STORAGE_FULL' : 'STORAGE_FAILED', text, { path, cause });
}
