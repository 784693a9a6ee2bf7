/** Completes an unread table from the segment's file. */
import type { FileScanner, FileVisitor } from './files.ts';
import type { Operation } from './operations.ts';
import type { Ports } from './ports.ts';
import { position } from './position.ts';
import { headerText } from './record.ts';
import { bucketOf, type QueueState } from './state.ts';
import type { SegmentTable } from './table.ts';

export interface TableSource {
  ports: Ports;
  scanner: FileScanner;
  path: string;
  state: QueueState;
  table: SegmentTable;
}

/**
 * Reads where the messages of an older segment lie, and what the line and the aliases must know of them. Payloads
 * are checked, not kept. No record may be applied to `state` meanwhile. Resolves with the damaged ranges it met.
 */
export async function readTable({
  ports,
  scanner,
  path,
  state,
  table,
}: TableSource): Promise<[from: number, to: number][]> {
  const { fs, clock } = ports;
  const { uniqueAlias } = state.options;
  const before = table.fresh;
  const damage: [number, number][] = [];
  let sealed = false;
  const visitor: FileVisitor = {
    record(buffer, start, end, headerLength, offset) {
      const text = headerText(buffer, start, headerLength);
      // What stands behind the seal has never been a message.
      sealed ||= text.startsWith('{"op":"seal"');
      if (sealed || !text.startsWith('{"op":"add"')) return;
      // Most messages are plain: nothing in their header concerns the table.
      const plain = !uniqueAlias && !text.includes('"d":') && !text.includes('"x":');
      const h = plain ? undefined : (JSON.parse(text) as Operation & { op: 'add' });
      table.recall(offset, end - start, headerLength, h?.d, h?.x === 1);
      if (!h || !table.isFreshAt(table.count - 1)) return;
      const at = position(table.segment, offset);
      const life = table.lifeAt(table.count - 1);
      if (bucketOf(life) !== 'ready') state.line.enter(at, life);
      if (h.a !== undefined && uniqueAlias) state.noteAlias(at, h.a);
    },
    bad(_buffer, start, end, kind, offset) {
      if (kind === 'rot') damage.push([offset, offset + end - start]);
    },
  };
  table.restartReading();
  const fd = fs.open(path, 'read');
  try {
    const { size } = fs.stat(fd);
    for (let at = 0; at < size;) {
      const next = scanner.chunk(fd, at, size, visitor);
      if (next === at) break;
      at = next;
      await clock.yield();
    }
  } finally {
    fs.close(fd);
  }
  table.finishReading();
  // Damaged records are not waiting any more.
  state.counts.ready += table.fresh - before;
  return damage;
}
