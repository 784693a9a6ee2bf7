/**
 * Finding messages by what they hold. There is no index: a uuid or an alias is searched for in the bytes of the
 * segments (about a gigabyte a second), anything else by reading every message.
 */
import type { MessageFilter } from '../backend.ts';
import type { Message } from '../message.ts';
import { readCaughtUp } from './caught-up.ts';
import { toMessage, type StoredMessage } from './contents.ts';
import { isGone, segmentName } from './files.ts';
import type { Journal } from './journal.ts';
import { decode } from './header.ts';
import type { HeadRecord, Mended } from './operations.ts';
import { offsetOf, position, segmentOf } from './position.ts';
import { asciiJson, scanLines } from './record.ts';
import type { Header, QueueState } from './state.ts';
import type { SegmentTable } from './table.ts';

const NEWLINE = 10;
const CHUNK = 1024 * 1024;
/** How often a search is begun anew because segments came and went meanwhile. */
const TRIES = 20;
/** So many uuids are searched for one by one; more of them cost a look at every message. */
const FEW = 8;
/** Messages read between two turns of the event loop. */
const STRIDE = 256;

/** Uuids that are looked for together. */
interface Asked {
  uuids: Set<string>;
  found: Promise<Map<string, StoredMessage>>;
}

export class Search {
  readonly #journal: Journal;
  #asked: Asked | undefined;

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  /** Messages that match, in order of position. */
  async *messages(filter: MessageFilter): AsyncGenerator<Message> {
    const { options } = this.#journal;
    const { contents } = this.#journal.log;
    for await (const positions of this.#positions(filter)) {
      const read = (): (StoredMessage | undefined)[] => contents.readAll(this.#journal.state, positions);
      let stored = read();
      if (stored.includes(undefined)) {
        // Ended, or carried to another segment meanwhile.
        const again = await readCaughtUp(this.#journal, read, (found) => found.includes(undefined));
        stored = again.found;
        if (again.isLost)
          for (const [i, at] of positions.entries()) if (!stored[i]) this.#reportUnreadable(at);
      }
      const { state } = this.#journal;
      for (const found of stored) {
        const message = found && toMessage(found, state, options.ports.clock.now());
        if (found && !message) this.#reportUnreadable(found.at);
        if (message && matches(message, filter)) yield message;
      }
      await options.ports.clock.yield();
    }
  }

  #reportUnreadable(at: number): void {
    const { log, state } = this.#journal;
    if (!state.lifeOf(at)) return;
    const place = state.touched.get(at)?.place ?? at;
    log.noteDamage(segmentOf(place), offsetOf(place), offsetOf(place) + 1);
  }

  /** The message with that uuid. What is asked for in one turn of the event loop is looked for together. */
  async byUuid(uuid: string): Promise<StoredMessage | undefined> {
    const asked = (this.#asked ??= this.#nextTurn());
    asked.uuids.add(uuid);
    return (await asked.found).get(uuid);
  }

  #nextTurn(): Asked {
    const uuids = new Set<string>();
    const found = this.#journal.options.ports.clock.yield().then(() => {
      this.#asked = undefined;
      return this.allByUuid(uuids);
    });
    return { uuids, found };
  }

  /** Those of these messages that are in the queue. */
  async allByUuid(uuids: ReadonlySet<string>): Promise<Map<string, StoredMessage>> {
    const found = new Map<string, StoredMessage>();
    const note = (stored: StoredMessage | undefined): void => {
      if (stored && uuids.has(stored.content.u)) found.set(stored.content.u, stored);
    };
    if (uuids.size <= FEW) {
      for (const uuid of uuids) note(await this.#searchUuid(uuid));
      return found;
    }
    const { options } = this.#journal;
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const { segment } = this.#journal.state;
      for await (const positions of this.#positions({})) {
        for (const stored of this.#journal.log.contents.readAll(this.#journal.state, positions)) note(stored);
        await options.ports.clock.yield();
      }
      // What has been carried on meanwhile may have been missed in both places: also by others, whose word is not read yet.
      await this.#journal.refresh();
      if (found.size === uuids.size || this.#journal.state.segment === segment) break;
    }
    return found;
  }

  async #searchUuid(uuid: string): Promise<StoredMessage | undefined> {
    for (let attempt = 0; ; attempt++) {
      const [at] = await this.#containing(`"u":${asciiJson(uuid)}`);
      const { state, contents } = this.#journal.log;
      if (at === undefined || !state.lifeOf(at)) return undefined;
      const stored = contents.read(state, at);
      if (stored?.content.u === uuid) return stored;
      if (attempt === TRIES) return undefined;
      await this.#journal.refresh();
    }
  }

  /** Positions of the failed messages among `uuids`. */
  async failed(uuids: ReadonlySet<string>): Promise<number[]> {
    const { log } = this.#journal;
    const read = (): (StoredMessage | undefined)[] =>
      log.contents.readAll(log.state, inPhase(log.state, 'failed'));
    const { found: stored } = await readCaughtUp(this.#journal, read, (found) => found.includes(undefined));
    return stored.flatMap((found) => (found && uuids.has(found.content.u) ? found.at : []));
  }

  async *#positions(filter: MessageFilter): AsyncGenerator<number[]> {
    if (filter.uuid !== undefined || filter.alias) {
      const text =
        filter.uuid !== undefined ? `"u":${asciiJson(filter.uuid)}` : `"a":${asciiJson(filter.alias)}`;
      yield [...(await this.#containing(text))].sort((a, b) => a - b);
      return;
    }
    const { state } = this.#journal;
    if (filter.state === 'claimed' || filter.state === 'failed') {
      // These are never fresh: no table need be looked through.
      yield* inStrides(inPhase(state, filter.state));
      return;
    }
    const segments = new Set([...state.tables.keys(), ...[...state.touched.keys()].map(segmentOf)]);
    for (const segment of [...segments].sort((a, b) => a - b))
      yield* inStrides(await this.#positionsIn(segment));
  }

  /** Of all messages that were added in that segment, in one look: what is claimed meanwhile is fresh or touched, never neither. */
  async #positionsIn(segment: number): Promise<number[]> {
    for (;;) {
      const { state } = this.#journal;
      const table = state.tables.get(segment);
      if (table && !table.read) {
        await this.#journal.read(table);
        continue;
      }
      const positions = [...state.touched.keys()].filter((at) => segmentOf(at) === segment);
      if (table) addFresh(positions, table);
      return positions.sort((a, b) => a - b);
    }
  }

  /** Positions of messages of which a record holds, or has held, `text` in its header; newest segments first. */
  async #containing(text: string): Promise<Set<number>> {
    for (let attempt = 0; ; attempt++) {
      const { state } = this.#journal;
      const { segment } = state;
      const segments = new Set(state.tables.keys());
      for (const { place } of state.touched.values()) segments.add(segmentOf(place));
      const found = new Set<number>();
      let complete = true;
      for (const each of [...segments].sort((a, b) => b - a)) {
        complete = (await this.#searchSegment(each, text, found)) && complete;
      }
      // What has been carried on meanwhile may have been missed in both places.
      if ((complete && this.#journal.state.segment === segment) || attempt === TRIES) return found;
      await this.#journal.refresh();
    }
  }

  /** False: the segment is gone. */
  async #searchSegment(segment: number, text: string, found: Set<number>): Promise<boolean> {
    const { fs, clock } = this.#journal.options.ports;
    let fd: number;
    try {
      fd = fs.open(`${this.#journal.options.folder}/${segmentName(segment)}`, 'read');
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
    try {
      const { size } = fs.stat(fd);
      const needle = Buffer.from(text, 'latin1');
      let buffer = Buffer.allocUnsafe(CHUNK);
      for (let from = 0; from < size;) {
        const got = fs.read(fd, buffer, 0, buffer.length, from);
        if (got === 0) break;
        const last = buffer.lastIndexOf(NEWLINE, got - 1);
        if (last < 0 && from + got < size) {
          buffer = Buffer.allocUnsafe(buffer.length * 2);
          continue;
        }
        const end = last < 0 ? got : last + 1;
        for (let hit = buffer.indexOf(needle); hit >= 0 && hit < end; hit = buffer.indexOf(needle, hit + 1)) {
          const start = buffer.lastIndexOf(NEWLINE, hit) + 1;
          const lineEnd = buffer.indexOf(NEWLINE, hit);
          if (lineEnd < 0 || lineEnd >= got) continue;
          // A damaged line may still hold a sound record.
          scanLines(buffer, start, lineEnd + 1, {
            record: (_, recordStart, recordEnd, headerLength) => {
              if (hit < recordStart || hit >= recordEnd) return;
              const decoded = decode(buffer, recordStart, recordEnd, headerLength);
              const place = position(segment, from + recordStart);
              const at = decoded && this.#messageOf(decoded.header, place);
              if (at !== undefined) found.add(at);
            },
            bad() {},
          });
        }
        from += end;
        await clock.yield();
      }
      return true;
    } finally {
      fs.close(fd);
    }
  }

  /** The live message whose content is, or was, the record at `place`. */
  #messageOf(header: Header | HeadRecord | Mended, place: number): number | undefined {
    if (header.op !== 'add' && header.op !== 'update' && header.op !== 'carry') return undefined;
    const at = header.op === 'add' ? place : position(...header.p);
    return this.#journal.state.lifeOf(at) ? at : undefined;
  }
}

/** Positions of the claimed or failed messages, in order. */
function inPhase({ touched }: QueueState, phase: 'claimed' | 'failed'): number[] {
  return [...touched]
    .filter(([, { life }]) => life.phase.state === phase)
    .map(([at]) => at)
    .sort((a, b) => a - b);
}

function* inStrides(positions: readonly number[]): Generator<number[]> {
  for (let i = 0; i < positions.length; i += STRIDE) yield positions.slice(i, i + STRIDE);
}

function addFresh(positions: number[], table: SegmentTable): void {
  for (let i = 0; i < table.count; i++) {
    if (table.isFreshAt(i)) positions.push(position(table.segment, table.offsetAt(i)));
  }
}

function matches(message: Message, { uuid, alias, state, disabled, username }: MessageFilter): boolean {
  return (
    (uuid === undefined || message.uuid === uuid) &&
    (alias === undefined || message.alias === alias) &&
    (state === undefined || message.state === state) &&
    (disabled === undefined || message.disabled === disabled) &&
    (username === undefined || message.username === username)
  );
}
