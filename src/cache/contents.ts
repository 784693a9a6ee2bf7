/**
 * Reads what messages hold, from the record that added, updated or carried them. Nothing unverified is ever returned.
 */
import { QueueError } from '../errors.ts';
import type { Holder, Json, Message } from '../message.ts';
import { AddReader, UUID_LENGTH } from './add-reader.ts';
import { isGone } from './files.ts';
import type { Lease } from './messages.ts';
import { decode } from './header.ts';
import { openOlder } from './older-segment.ts';
import type { Content } from './operations.ts';
import type { FileSystem } from './ports.ts';
import { offsetOf, segmentOf } from './position.ts';
import { checkLine, lineLength, payloadText, PREFIX } from './record.ts';
import type { QueueState } from './state.ts';

export interface StoredMessage {
  at: number;
  /** Where the content was read. */
  place: number;
  content: Content;
  inserted: number;
  /** The payload as JSON text. */
  json: string;
}

/** Neighbours are read in one call up to this many bytes. */
const SPAN = 512 * 1024;
/** Enough for most records whose length is not known. */
const GUESS = 4096;
/** Few: a deleted file that somebody holds open still takes its space. */
const OPEN_FILES = 2;

export class Contents {
  readonly #fs: FileSystem;
  readonly #folder: string;
  /** Open segments, least recently used first. */
  readonly #files = new Map<number, number>();
  #buffer = Buffer.allocUnsafe(64 * 1024);
  /** What `#buffer` holds: bytes [from, to) of a segment. */
  #held = { segment: 0, from: 0, to: 0 };
  #ended = false;
  readonly #add = new AddReader();
  readonly #uuid = Buffer.alloc(UUID_LENGTH);

  constructor(fs: FileSystem, folder: string) {
    this.#fs = fs;
    this.#folder = folder;
  }

  /**
   * The messages at `positions`, in their order; undefined where the bytes are damaged or the file is gone (the
   * state is behind, or the record rotted).
   */
  readAll(state: QueueState, positions: readonly number[]): (StoredMessage | undefined)[] {
    const found: (StoredMessage | undefined)[] = [];
    this.#held.to = 0;
    for (let i = 0; i < positions.length; i++) {
      const { place, length } = this.#locate(state, positions[i]!);
      if (length > 0 && !this.#holds(place, length)) this.#fetch(place, this.#span(state, positions, i));
      found.push(this.#readAt(positions[i]!, place, length));
    }
    this.#held.to = 0;
    return found;
  }

  read(state: QueueState, at: number): StoredMessage | undefined {
    const { place, length } = this.#locate(state, at);
    return this.readFrom(at, place, length);
  }

  /** What the record at `place` says that the message at `at` holds. */
  readFrom(at: number, place: number, length: number): StoredMessage | undefined {
    this.#held.to = 0;
    return this.#readAt(at, place, length);
  }

  /** Lets the files go for ever: whoever still reads is told. */
  end(): void {
    this.#ended = true;
    this.close();
  }

  /** Lets the files go; they are opened again when they are needed. */
  close(): void {
    for (const fd of this.#files.values()) this.#fs.close(fd);
    this.#files.clear();
  }

  #locate(state: QueueState, at: number): { place: number; length: number } {
    const touched = state.touched.get(at);
    if (touched) return touched;
    const table = state.tables.get(segmentOf(at));
    const i = table?.find(offsetOf(at)) ?? -1;
    return { place: at, length: i < 0 ? 0 : table!.lengthAt(i) };
  }

  /** How far to read so that the following positions are served too. */
  #span(state: QueueState, positions: readonly number[], first: number): number {
    const { place, length } = this.#locate(state, positions[first]!);
    let end = place + length;
    for (let i = first + 1; i < positions.length; i++) {
      const next = this.#locate(state, positions[i]!);
      const nextEnd = next.place + next.length;
      if (
        next.length === 0 ||
        segmentOf(next.place) !== segmentOf(place) ||
        next.place < place ||
        nextEnd - place > SPAN
      )
        break;
      end = Math.max(end, nextEnd);
    }
    return end - place;
  }

  #holds(place: number, length: number): boolean {
    const { segment, from, to } = this.#held;
    const offset = offsetOf(place);
    return to > 0 && segmentOf(place) === segment && offset >= from && offset + length <= to;
  }

  #fetch(place: number, wanted: number): boolean {
    const fd = this.#file(segmentOf(place));
    if (fd === undefined) return false;
    // What a head says of a length need not be so.
    const length = wanted > SPAN ? Math.min(wanted, this.#fs.stat(fd).size) : wanted;
    if (this.#buffer.length < length) this.#buffer = Buffer.allocUnsafe(length);
    const from = offsetOf(place);
    let got = 0;
    while (got < length) {
      const n = this.#fs.read(fd, this.#buffer, got, length - got, from + got);
      if (n === 0) break;
      got += n;
    }
    this.#held = { segment: segmentOf(place), from, to: from + got };
    return got > 0;
  }

  #readAt(at: number, place: number, knownLength: number): StoredMessage | undefined {
    const length = knownLength || this.#lengthAt(place);
    if (length === 0) return undefined;
    if (!this.#holds(place, length)) this.#fetch(place, length);
    if (!this.#holds(place, length)) return undefined;
    const start = offsetOf(place) - this.#held.from;
    const headerLength = checkLine(this.#buffer, start, start + length);
    if (headerLength < 0) return undefined;
    const json = payloadText(this.#buffer, start, start + length, headerLength);
    if (this.#add.read(this.#buffer, start, start + length, headerLength)) {
      this.#add.copyUuid(this.#uuid);
      return { at, place, content: { u: this.#uuid.toString('latin1') }, inserted: this.#add.time, json };
    }
    const header = decode(this.#buffer, start, start + length, headerLength)?.header;
    if (header?.op !== 'add' && header?.op !== 'update' && header?.op !== 'carry') return undefined;
    const inserted = header.op === 'add' ? header.t : header.i;
    return { at, place, content: contentOf(header), inserted, json };
  }

  /** What the prefix of a record says, as far as the file can hold it; 0 when it cannot be. */
  #lengthAt(place: number): number {
    const fd = this.#file(segmentOf(place));
    if (fd === undefined || !this.#fetch(place, GUESS)) return 0;
    const { from, to } = this.#held;
    if (to - from < PREFIX) return 0;
    const length = lineLength(this.#buffer, 0);
    return from + length <= this.#fs.stat(fd).size ? length : 0;
  }

  #file(segment: number): number | undefined {
    if (this.#ended) throw new QueueError('CLOSED', 'this manager has been closed', { path: this.#folder });
    let fd = this.#files.get(segment);
    if (fd !== undefined) {
      this.#files.delete(segment);
      this.#files.set(segment, fd);
      return fd;
    }
    try {
      fd = openOlder(this.#fs, this.#folder, segment);
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
    this.#files.set(segment, fd);
    for (const [oldest, oldestFd] of this.#files) {
      if (this.#files.size <= OPEN_FILES) break;
      this.#files.delete(oldest);
      this.#fs.close(oldestFd);
    }
    return fd;
  }
}

/** Only what a header says of its content. */
function contentOf({ u, a, r, by }: Content): Content {
  const content: Content = { u };
  if (a !== undefined) content.a = a;
  if (r !== undefined) content.r = r;
  if (by !== undefined) content.by = by;
  return content;
}

/**
 * The message as callers see it: what was stored, and what has become of it. Undefined when it has ended, or holds what
 * is no JSON (a foreign writer's: as good as rot).
 */
export function toMessage(stored: StoredMessage, state: QueueState, now: number): Message | undefined {
  const life = state.lifeOf(stored.at);
  const data = life && parseData(stored.json);
  if (!life || data === undefined) return undefined;
  const { phase, disabled, attempts, crashes, errors } = life;
  const due = phase.state === 'deferred' ? phase.due : undefined;
  const message: Message = {
    uuid: stored.content.u,
    alias: stored.content.a ?? '',
    data,
    retries: stored.content.r ?? 0,
    executionMode: due === undefined ? 'immediate' : 'deferred',
    disabled,
    username: stored.content.by ?? '',
    insertedAt: new Date(stored.inserted),
    state: due !== undefined && due <= now ? 'ready' : phase.state,
    attempts,
    crashes,
    errors: errors.length === 0 ? [] : [...errors],
  };
  if (phase.state === 'claimed') message.holder = holderOf(state, state.touched.get(stored.at)?.lease);
  if (due !== undefined) message.dateTimeDeferredExecution = new Date(due);
  return message;
}

function parseData(json: string): Json | undefined {
  try {
    return JSON.parse(json) as Json;
  } catch {
    return undefined;
  }
}

function holderOf(state: QueueState, lease: Lease | undefined): Holder {
  const holder: Holder = { since: new Date(lease?.since ?? 0) };
  const pid = lease && state.writers.get(lease.writer)?.who.pid;
  if (pid !== undefined) holder.pid = pid;
  if (lease?.progress) {
    const { percent, text, t } = lease.progress;
    holder.progress = { percent, text, at: new Date(t) };
  }
  return holder;
}
