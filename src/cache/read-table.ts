/** Completes an unread table: from the segment's index, or by reading the segment. */
import type { FileScanner, FileVisitor } from './files.ts';
import { displacement } from './displaced.ts';
import { readIndex, writeIndex, type SealName } from './index-file.ts';
import { decode, decodeOwn } from './header.ts';
import { openOlder } from './older-segment.ts';
import type { Ports } from './ports.ts';
import { position } from './position.ts';
import { headerText, lineChecksum } from './record.ts';
import { bucketOf } from './messages.ts';
import type { QueueState } from './state.ts';
import { surveySegment, wasUnsynced } from './survey.ts';
import { isInRuns, type SegmentTable } from './table.ts';
import { sealIn } from './moved.ts';

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

async function readSegment({
  ports,
  scanner,
  folder,
  state,
  table,
  writes,
}: TableSource): Promise<[number, number][]> {
  const { fs, clock } = ports;
  const { uniqueAlias } = state.options;
  const damage: [number, number][] = [];
  /** Where a record may have stood that is not legible, as runs. */
  const illegible: number[] = [];
  const found: { seal?: SealName } = {};
  /** Where the seal should stand. A repair may have given it one of its own. */
  let sealAt = sealIn(table.runs());
  const aliases = new Map<number, string>();
  let zeros = false;
  const visitor: FileVisitor = {
    record(buffer, start, end, headerLength, offset) {
      const text = headerText(buffer, start, headerLength);
      // What stands behind the seal has never been a message.
      if (found.seal) {
        const note = text.startsWith('{"op":"mended"') && decode(buffer, start, end, headerLength)?.header;
        if (note && note.op === 'mended') sealAt = note.seal ?? sealAt;
        return;
      }
      const isSeal = text.startsWith('{"op":"seal"');
      if (!isSeal && !text.startsWith('{"op":"add"')) return;
      const header = decodeOwn(buffer, start, end, headerLength)?.header;
      if (!header) return this.bad(buffer, start, end, 'rot', offset);
      if (header.op !== 'add') {
        found.seal = { offset, checksum: lineChecksum(buffer, start) };
        return;
      }
      const { a: alias, d: due, x } = header;
      if (alias !== undefined && uniqueAlias) aliases.set(position(table.segment, offset), alias);
      recall(state, table, offset, end - start, headerLength, due, x === 1, alias);
    },
    bad(buffer, start, end, kind, offset) {
      illegible.push(offset, offset + end - start);
      if (kind !== 'rot') return;
      damage.push([offset, offset + end - start]);
      zeros ||= buffer.subarray(start, end).includes(0);
    },
  };
  const fd = openOlder(fs, folder, table.segment);
  try {
    const { size } = fs.stat(fd);
    for (let at = 0; at < size;) {
      const next = scanner.chunk(fd, at, size, visitor);
      if (next === at) break;
      at = next;
      await clock.yield();
    }
    const displaced = displacedIn(table, { sealAt, sealedAt: found.seal?.offset, illegible, size });
    if (displaced !== undefined) damage.push(displacement(displaced));
    if (writes && found.seal && damage.length === 0) {
      // Of all adds, not only of those that are live now: a head that has to be made again may know more of them.
      writeIndex(fs, folder, table, found.seal, fs.stat(fd), (at) => aliases.get(at));
    }
    // It has been cut: no bytes stand for what is missing.
    if (!found.seal) damage.push([0, 0]);
    if (!zeros) return damage;
    // Some of it may never have been on the device.
    const survey = await surveySegment(ports, fd);
    const unsynced = new Set(survey.bad.filter((bad) => wasUnsynced(survey, bad)).map(({ from }) => from));
    return damage.filter(([from]) => !unsynced.has(from));
  } finally {
    fs.close(fd);
  }
}

interface Layout {
  /** Where the seal should stand, where that is known, and where it does. */
  sealAt: number | undefined;
  sealedAt: number | undefined;
  illegible: readonly number[];
  size: number;
}

/** A place at which no add stands, or not the seal, though it should by what the head says; undefined: all stand there, as far as that tells. */
function displacedIn(table: SegmentTable, { sealAt, sealedAt, illegible, size }: Layout): number | undefined {
  const runs = table.runs();
  // Each begins and ends with an add; the last one begins with the seal.
  const ends = sealIn(runs) === undefined ? runs : runs.slice(0, -2);
  const isGone = (at: number): boolean => table.find(at) < 0 && !isInRuns(illegible, at);
  const add = ends.find((at) => isGone(at) && (at < size || sealedAt !== undefined));
  if (add !== undefined || sealAt === undefined || sealedAt === undefined) return add;
  return sealedAt === sealAt || isInRuns(illegible, sealAt) ? undefined : sealAt;
}
