/**
 * Writes a queue's folder record by record, without the engine's writing half: what a process would have written that
 * did just this. It follows its own log, so its `state` is what the log says, never loaded from a head.
 */
import { chooseCarried, type Load } from '../../src/cache/carried.ts';
import { writeHead } from '../../src/cache/head.ts';
import { Contents } from '../../src/cache/contents.ts';
import { segmentName } from '../../src/cache/files.ts';
import { Journal } from '../../src/cache/journal.ts';
import type { Operation, SealReason } from '../../src/cache/operations.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { asciiJson, Batch, lineChecksum, parsePayload } from '../../src/cache/record.ts';
import { position } from '../../src/cache/position.ts';
import { QueueState, type Effect, type Header } from '../../src/cache/state.ts';
import type { QueueOptions } from '../../src/backend.ts';
import type { QueueError } from '../../src/errors.ts';
import type { SimFileSystem } from './sim-fs.ts';

export const FOLDER = '/srv/q';
const KEEP_OUTCOMES = 20;

export class JournalWriter {
  readonly fs: SimFileSystem;
  readonly state = new QueueState(1, KEEP_OUTCOMES);
  readonly ports: Ports;
  /** Who writes the next record; each numbers its own. */
  writer = '00000000000000a1';
  time: number;
  readonly #numbers = new Map<string, number>();
  /** Of the segment that is written to. */
  size = 0;

  private constructor(ports: Ports, fs: SimFileSystem) {
    this.ports = ports;
    this.fs = fs;
    this.time = ports.clock.now();
  }

  /** Makes the folder of a queue, and goes on in its first segment. */
  static async create(ports: Ports, fs: SimFileSystem, options: QueueOptions = {}): Promise<JournalWriter> {
    const writer = new JournalWriter(ports, fs);
    const { state, time } = writer;
    fs.makeFolder(FOLDER);
    Object.assign(state, { id: 'feed', options, created: time, boot: ports.processes.self().boot });
    writer.#begin(1, await writer.#head(1, undefined));
    return writer;
  }

  get path(): string {
    return `${FOLDER}/${segmentName(this.state.segment)}`;
  }

  /** Appends one record and applies it. */
  write(op: Operation, payload?: string): { effect: Effect; at: number } {
    const n = (this.#numbers.get(this.writer) ?? 0) + 1;
    this.#numbers.set(this.writer, n);
    const header = { ...op, w: this.writer, n, t: this.time } as Header;
    const batch = new Batch();
    const text = asciiJson(header);
    const start = batch.add(text, payload);
    const offset = this.size + start;
    this.raw(batch.buffer.subarray(0, batch.length));
    const checksum = lineChecksum(batch.buffer, start);
    const length = batch.length - 1 - start;
    const effect = this.state.apply(header, offset, length, text.length, checksum, () =>
      parsePayload(payload ?? ''),
    );
    return { effect, at: position(this.state.segment, offset) };
  }

  /** Appends bytes that are no record. */
  raw(bytes: Uint8Array): void {
    const fd = this.fs.open(this.path, 'append');
    this.fs.write(fd, bytes, 0, bytes.length);
    this.fs.close(fd);
    this.size += bytes.length;
  }

  seal(why: SealReason = 'size'): void {
    this.write({ op: 'seal', ctl: 1, why });
  }

  /** Seals the segment and goes on in the next one, whose head holds the state. */
  async rotate({ carry = false } = {}): Promise<void> {
    const { state, fs } = this;
    this.seal();
    const contents = new Contents(fs, FOLDER);
    const load = carry ? chooseCarried(state, contents, 1_000_000) : undefined;
    const carried = load?.messages ?? [];
    contents.close();
    const next = state.segment + 1;
    const batch = await this.#head(next, load);
    this.write({
      op: 'next',
      ctl: 1,
      r: '0123456789abcdef',
      at: state.seal!.offset,
      crc: state.seal!.checksum,
    });
    const places = placesOf(batch, carried);
    state.enterSegment(next);
    for (const [i, { at }] of carried.entries()) {
      const { offset, length, headerLength } = places[i]!;
      state.carry(at, position(next, offset), length, headerLength);
    }
    this.#begin(next, batch);
  }

  async #head(segment: number, load: Load | undefined): Promise<Batch> {
    const { state, time: now, ports } = this;
    const batch = new Batch();
    const source = { state, seal: state.seal, load, gone: new Set<string>(), outcomes: true, now };
    await writeHead(batch, segment, source, ports.clock);
    return batch;
  }

  /** A handle of the engine on what was written, with the whole state. */
  async open(report: (error: QueueError) => void = () => {}): Promise<Journal> {
    const journal = await Journal.open({
      ports: this.ports,
      queue: 'q',
      folder: FOLDER,
      durability: 'os',
      syncInterval: 50,
      keepOutcomes: KEEP_OUTCOMES,
      segmentBytes: 2 ** 40,
      report,
    });
    try {
      await journal.refresh();
    } catch (error) {
      await journal.close();
      throw error;
    }
    return journal;
  }

  #begin(segment: number, head: Batch): void {
    const fd = this.fs.open(`${FOLDER}/${segmentName(segment)}`, 'create');
    this.fs.write(fd, head.buffer, 0, head.length);
    this.fs.close(fd);
    this.size = head.length;
    this.#numbers.clear();
  }
}

/** Where the carried contents stand in a head: the records behind its first one. */
function placesOf(
  batch: Batch,
  carried: readonly unknown[],
): { offset: number; length: number; headerLength: number }[] {
  const places = [];
  let start = batch.buffer.indexOf(10, 1) + 1;
  while (places.length < carried.length) {
    const end = batch.buffer.indexOf(10, start);
    const headerLength = Number.parseInt(batch.buffer.toString('latin1', start + 20, start + 26), 16);
    places.push({ offset: start, length: end - start, headerLength });
    start = end + 1;
  }
  return places;
}
