/** Completes an unread table: from the segment's index, or by reading the segment. */
import type { FileScanner, FileVisitor } from './files.ts';
import { displacement } from './displaced.ts';
import { decode, decodeOwn } from './header.ts';
import { readIndex, writeIndex, type SealName } from './index-file.ts';
import { sealIn } from './moved.ts';
import { openOlder } from './older-segment.ts';
import type { Ports } from './ports.ts';
import { position } from './position.ts';
import { headerText, lineChecksum } from './record.ts';
import { bucketOf } from './messages.ts';
import type { QueueState } from './state.ts';
import { surveySegment, wasUnsynced } from './survey.ts';
import { isInRuns, type SegmentTable } from './table.ts';

export interface TableSource {
  ports: Ports;
  scanner: FileScanner;
  folder: string;
  state: QueueState;
  table: SegmentTable;
  /** Whether indexes are used, and written where they are missing; else the segment itself is read. */
  writes: boolean;
}

/**
 * Reads where the messages of an older segment lie, and what the line and the aliases must know of them. No record
 * may be applied to the state meanwhile. Resolves with the damaged ranges it met. Errors: ENOENT.
 */
export async function readTable(source: TableSource): Promise<[from: number, to: number][]> {
  const { ports, folder, state, table, writes } = source;
  const before = table.fresh;
  table.restartReading();
  const index = writes ? readIndex(ports.fs, folder, table.segment) : undefined;
  index?.each((offset, length, headerLength, due, disabled, alias) =>
    recall(state, table, offset, length, headerLength, due, disabled, alias),
  );
  const damage = index ? [] : await readSegment(source);
  table.finishReading();
  // Who comes later must know as well that something is missing, though no bytes stand for it.
  if (table.fresh < before && damage.length === 0) damage.push([0, 0]);
  // Damaged records are not waiting any more.
  state.counts.ready += table.fresh - before;
  return damage;
}

function recall(
  state: QueueState,
  table: SegmentTable,
  offset: number,
  length: number,
  headerLength: number,
  due: number | undefined,
  disabled: boolean,
  alias: string | undefined,
): void {
  const at = position(table.segment, offset);
  // Where this record had rotted for whoever made the head, that does not say it of the place. Nobody could claim it as fresh.
  if (state.touched.has(at)) return table.refuse(offset, length, headerLength, due, disabled);
  table.recall(offset, length, headerLength, due, disabled);
  const isPlain = due === undefined && !disabled && alias === undefined;
  const i = table.count - 1;
  if (isPlain || !table.isFreshAt(i)) return;
  const life = table.lifeAt(i);
  if (bucketOf(life) !== 'ready') state.line.enter(at, life);
  if (alias !== undefined && state.options.uniqueAlias) state.noteAlias(at, alias);
}

async function readSegment(source: TableSource): Promise<[number, number][]> {
  const { ports, scanner, folder, table, writes } = source;
  const { fs, clock } = ports;
  const reading = new Reading(source);
  const { damage } = reading;
  const fd = openOlder(fs, folder, table.segment);
  try {
    const { size } = fs.stat(fd);
    for (let at = 0; at < size;) {
      const next = scanner.chunk(fd, at, size, reading);
      if (next === at) break;
      at = next;
      await clock.yield();
    }
    const { seal, aliases } = reading;
    const displaced = reading.displacedIn(size);
    if (displaced !== undefined) damage.push(displacement(displaced));
    if (writes && seal && damage.length === 0) {
      // Of all adds, not only of those that are live now: a head that has to be made again may know more of them.
      writeIndex(fs, folder, table, seal, fs.stat(fd), (at) => aliases.get(at));
    }
    // It has been cut: no bytes stand for what is missing.
    if (!seal) damage.push([0, 0]);
    if (!reading.zeros) return damage;
    // Some of it may never have been on the device.
    const survey = await surveySegment(ports, fd);
    const unsynced = new Set(survey.bad.filter((bad) => wasUnsynced(survey, bad)).map(({ from }) => from));
    return damage.filter(([from]) => !unsynced.has(from));
  } finally {
    fs.close(fd);
  }
}

/** What is read of a segment, from its beginning to its end. */
class Reading implements FileVisitor {
  readonly damage: [number, number][] = [];
  seal: SealName | undefined;
  readonly aliases = new Map<number, string>();
  /** Whether there are zeros in what is damaged. */
  zeros = false;
  readonly #state: QueueState;
  readonly #table: SegmentTable;
  /** Where the seal should stand, where that is known: as the head says, or a repair, which may have given it one of its own. */
  #sealAt: number | undefined;
  /** Where a record may have stood that is not legible, or that a repair has taken out: lists of runs. */
  readonly #illegible: number[][] = [[]];

  constructor({ state, table }: TableSource) {
    this.#state = state;
    this.#table = table;
    this.#sealAt = sealIn(table.runs());
  }

  record(buffer: Buffer, start: number, end: number, headerLength: number, offset: number): void {
    const text = headerText(buffer, start, headerLength);
    if (this.seal) {
      // What stands behind the seal has never been a message.
      if (text.startsWith('{"op":"mended"')) this.#heed(decode(buffer, start, end, headerLength));
      return;
    }
    const isSeal = text.startsWith('{"op":"seal"');
    if (!isSeal && !text.startsWith('{"op":"add"')) return;
    const header = decodeOwn(buffer, start, end, headerLength)?.header;
    if (!header) return this.bad(buffer, start, end, 'rot', offset);
    if (header.op !== 'add') {
      this.seal = { offset, checksum: lineChecksum(buffer, start) };
      return;
    }
    const { a: alias, d: due, x } = header;
    const at = position(this.#table.segment, offset);
    if (alias !== undefined && this.#state.options.uniqueAlias) this.aliases.set(at, alias);
    recall(this.#state, this.#table, offset, end - start, headerLength, due, x === 1, alias);
  }

  bad(buffer: Buffer, start: number, end: number, kind: 'torn' | 'rot', offset: number): void {
    const to = offset + end - start;
    this.#illegible[0]!.push(offset, to);
    if (kind !== 'rot') return;
    this.damage.push([offset, to]);
    this.zeros ||= buffer.subarray(start, end).includes(0);
  }

  #heed(note: ReturnType<typeof decode>): void {
    if (note?.header.op !== 'mended') return;
    // One of an earlier version does not tell it, and the head's own word no longer holds.
    this.#sealAt = note.header.seal;
    this.#illegible.push(note.header.lost.flat());
  }

  /**
   * A place at which no add stands, or not the seal, though it should by what the head says; undefined: all stand there, as far as that
   * tells. `size`: of the file.
   */
  displacedIn(size: number): number | undefined {
    const runs = this.#table.runs();
    // Each begins and ends with an add; the last one begins with the seal.
    const ends = sealIn(runs) === undefined ? runs : runs.slice(0, -2);
    const isLegible = (at: number): boolean => !this.#illegible.some((list) => isInRuns(list, at));
    const isGone = (at: number): boolean => this.#table.find(at) < 0 && isLegible(at);
    const add = ends.find((at) => (at < size || this.seal !== undefined) && isGone(at));
    if (add !== undefined || !this.seal || this.#sealAt === undefined) return add;
    return this.seal.offset === this.#sealAt || !isLegible(this.#sealAt) ? undefined : this.#sealAt;
  }
}
