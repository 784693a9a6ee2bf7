/** Keeps the state of a daemon in its file, as the runner tells it. */
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { QueueError, quote } from '../errors.ts';
import { toTryError } from '../try-error.ts';
import { ownMemory } from '../worker/crew/evidence.ts';
import type { Holder, Place } from './place.ts';
import {
  monotonic,
  readState,
  VERSION,
  type DaemonState,
  type Failure,
  type Keeper,
  type Phase,
  type Spread,
  type Thrown,
} from './state.ts';

export interface KeeperOptions {
  /** Within how many ms the daemon must be heard of, where it declares nothing else. */
  limit: number;
  background: boolean;
  service?: string | undefined;
  /** See `DaemonState`. */
  printedFrom?: number | undefined;
  /** Makes a text fit to be shown: without the secrets of the configuration. Must not throw. */
  clean: (text: string) => string;
  /** Called when the state cannot be written or the old one not be read, once for each time that this begins. Must not throw. */
  onTrouble: (error: QueueError) => void;
}

/** A keeper whose state is the daemon's, in its file. */
export interface StateKeeper extends Keeper {
  /** Its process ends unasked, now: instead of `ended`. It has been written when this returns. */
  crashed(thrown: Thrown): void;
  /** Somebody else has the place, and the file with it: nothing is written any more. */
  disown(): void;
}

/** Begins to keep the state of the daemon that has just taken its place. */
export function keepState(place: Place, options: KeeperOptions): StateKeeper {
  return new FileKeeper(place, options);
}

/**
 * Writes the end of who died in this place, where the place is only cleared up: else it would be taken for dead for ever. Counts its
 * crash, if it was one; who begins to keep the state does that himself. What cannot be written is no reason to leave the
 * dead where they are.
 * @param killed whether that was meant.
 */
export function concludeDead({ name, paths, predecessor }: Place, { killed }: { killed: boolean }): void {
  try {
    const before = readState(paths.state);
    if (!before) return;
    const crashed = !killed && hasCrashed(predecessor, before);
    const concluded: DaemonState = {
      ...before,
      ...(crashed ? { crashes: before.crashes + 1, lastCrashAt: iso() } : {}),
      end: hasCrashed(undefined, before)
        ? { at: iso(), why: 'told', error: before.end?.error ?? null }
        : before.end,
    };
    replace(draftOf(paths.state, name), paths.state, concluded);
  } catch {
    // See above.
  }
}

/**
 * Who was killed between its last word and leaving its place has not crashed. Without a predecessor it is the state that tells:
 * somebody has removed the pid file.
 */
function hasCrashed(predecessor: Holder | undefined, before: DaemonState | undefined): boolean {
  if (!predecessor) return before !== undefined && (!before.end || before.end.why === 'crash');
  const end = before?.token === predecessor.token ? before.end : undefined;
  return !end || end.why === 'crash';
}

/** The file is not replaced more often than this for what is no news; ms. */
const PAUSE = 100;
/** Likewise for the start of an iteration, which may be the last that is heard of it. */
const SHORT_PAUSE = 10;
/** Room that the next state is sure to have on a disk that fills up; bytes. */
const RESERVE = 4096;
const LONGEST_MESSAGE = 1000;
const MOST_TROUBLES = 20;
const LONGEST_TROUBLE = 300;

class FileKeeper implements StateKeeper {
  readonly #path: string;
  /** Becomes the state; its room is taken before it is needed. */
  readonly #draft: string;
  readonly #clean: (text: string) => string;
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
  #disowned = false;

  constructor(place: Place, { limit, clean, onTrouble, ...options }: KeeperOptions) {
    this.#path = place.paths.state;
    this.#draft = draftOf(this.#path, place.name);
    this.#clean = clean;
    this.#onTrouble = onTrouble;
    this.#limit = limit;
    this.#state = this.#begin(place, options, this.#before());
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
      state.lastError = this.#failure(thrown);
    } else {
      state.failuresInRow = 0;
      state.lastSuccessAt = iso();
    }
    this.#heard('working');
    this.#writeSoon();
  }

  troubled(troubles: readonly string[]): void {
    const kept = troubles.slice(0, MOST_TROUBLES).map((text) => this.#clean(text).slice(0, LONGEST_TROUBLE));
    if (troubles.length > kept.length) kept.push(`and ${troubles.length - kept.length} more`);
    this.#state.troubles = kept;
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
    this.#state.health = {
      at: iso(),
      sound,
      reason: sound ? '' : this.#clean(reason).slice(0, LONGEST_MESSAGE),
    };
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
      error: thrown ? this.#failure(thrown) : null,
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
        : { at: iso(), why: 'error', error: this.#failure(how) };
    this.#conclude();
  }

  crashed(thrown: Thrown): void {
    this.#state.end = { at: iso(), why: 'crash', error: this.#failure(thrown) };
    this.#conclude();
  }

  disown(): void {
    this.#disowned = true;
    clearTimeout(this.#writing);
  }

  #conclude(): void {
    this.#state.troubles = [];
    this.#heard('ended');
    this.#write();
    clearTimeout(this.#writing);
    if (!this.#disowned) fs.rmSync(this.#draft, { force: true });
  }

  #failure({ error }: Thrown): Failure {
    const { at, name, message } = toTryError(error, 1, Date.now());
    return { at, name: this.#clean(name), message: this.#clean(message).slice(0, LONGEST_MESSAGE) };
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
    { background, service, printedFrom = 0 }: Pick<KeeperOptions, 'background' | 'service' | 'printedFrom'>,
    before: DaemonState | undefined,
  ): DaemonState {
    const crashed = hasCrashed(predecessor, before);
    const { pid, ...process } = holder.who;
    return {
      version: VERSION,
      name,
      pid,
      process,
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
      troubles: [],
      crashes: (before?.crashes ?? 0) + (crashed ? 1 : 0),
      lastCrashAt: crashed ? iso() : (before?.lastCrashAt ?? null),
      sleepUntil: null,
      health: null,
      reloads: { count: 0, at: null, error: null },
      due: { at: iso(), monotonic: 0 },
      background,
      service: service ?? null,
      printedFrom,
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
    if (this.#disowned) return;
    this.#writtenAt = monotonic();
    this.#state.updatedAt = iso();
    this.#state.memory = ownMemory() ?? this.#state.memory;
    try {
      replace(this.#draft, this.#path, this.#state);
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

function draftOf(path: string, name: string): string {
  return join(dirname(path), `.${name}.state`);
}

/** In one step: no reader finds half of it. */
function replace(draft: string, path: string, state: DaemonState): void {
  fill(draft, `${JSON.stringify(state)}\n`);
  fs.renameSync(draft, path);
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

function unwritable(path: string, cause: unknown): QueueError {
  const { code } = cause as NodeJS.ErrnoException;
  const full = code === 'ENOSPC' || code === 'EDQUOT';
  const text = `the state of the daemon cannot be written to ${quote(path, 300)} (${code ?? String(cause)})`;
  return new QueueError(full ? 'STORAGE_FULL' : 'STORAGE_FAILED', text, { path, cause });
}
