/** Completes an unread table: from the segment's index, or by reading the segment. */
import { segmentName, type FileScanner, type FileVisitor } from './files.ts';
import { readIndex, writeIndex, type SealName } from './index-file.ts';
import type { Operation } from './operations.ts';
import type { Ports } from './ports.ts';
import { position } from './position.ts';
import { headerText, lineChecksum } from './record.ts';
import { bucketOf } from './messages.ts';
import type { QueueState } from './state.ts';
import type { SegmentTable } from './table.ts';

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
  if (index) for (const entry of index) recall(state, table, entry);
  const damage = index ? [] : await readSegment(source);
  table.finishReading();
  // Damaged records are not waiting any more.
  state.counts.ready += table.fresh - before;
  return damage;
}

interface Recalled {
  offset: number;
  length: number;
  headerLength: number;
  due: number | undefined;
  disabled: boolean;
  alias: string | undefined;
}

function recall(state: QueueState, table: SegmentTable, entry: Recalled): void {
  const { offset, length, headerLength, due, disabled, alias } = entry;
  table.recall(offset, length, headerLength, due, disabled);
  const i = table.count - 1;
  if (!table.isFreshAt(i)) return;
  const at = position(table.segment, offset);
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
  const found: { seal?: SealName } = {};
  const aliases = new Map<number, string>();
  const visitor: FileVisitor = {
    record(buffer, start, end, headerLength, offset) {
      // What stands behind the seal has never been a message.
      if (found.seal) return;
      const text = headerText(buffer, start, headerLength);
      if (text.startsWith('{"op":"seal"')) found.seal = { offset, checksum: lineChecksum(buffer, start) };
      if (!text.startsWith('{"op":"add"')) return;
      // Most messages are plain: nothing in their header concerns the table.
      const plain = !uniqueAlias && !text.includes('"d":') && !text.includes('"x":');
      const h = plain ? undefined : (JSON.parse(text) as Operation & { op: 'add' });
      if (h?.a !== undefined && uniqueAlias) aliases.set(position(table.segment, offset), h.a);
      recall(state, table, {
        offset,
        length: end - start,
        headerLength,
        due: h?.d,
        disabled: h?.x === 1,
        alias: h?.a,
      });
    },
    bad(_buffer, start, end, kind, offset) {
      if (kind === 'rot') damage.push([offset, offset + end - start]);
    },
  };
  const fd = fs.open(`${folder}/${segmentName(table.segment)}`, 'read');
  try {
    const { size } = fs.stat(fd);
    for (let at = 0; at < size;) {
      const next = scanner.chunk(fd, at, size, visitor);
      if (next === at) break;
      at = next;
      await clock.yield();
    }
    if (writes && found.seal && damage.length === 0) {
      // Of all adds, not only of those that are live now: a head that has to be made again may know more of them.
      writeIndex(fs, folder, table, found.seal, fs.stat(fd), (at) => aliases.get(at));
    }
  } finally {
    fs.close(fd);
  }
  return damage;
}
