/** Applies a segment's own records to a state, as every reader does: for those who look at a queue without working on it. */
import { QueueError } from '../errors.ts';
import type { Json } from '../message.ts';
import { scanFile, type FileVisitor } from './files.ts';
import { decodeOwn } from './header.ts';
import type { Extent } from './messages.ts';
import type { Ports } from './ports.ts';
import { lineChecksum, scanLines, type LineVisitor } from './record.ts';
import type { Header, QueueState } from './state.ts';

export interface Stretch {
  /** Offsets of the open file; to its end by default. */
  from: number;
  to?: number;
  /** Whether a record with an operation that nobody knows is passed over like rot. */
  strangers?: boolean;
  /** Whether what stands behind the last newline is taken for a line as well: whoever writes next begins with one. */
  unended?: boolean;
  /** Offsets of records that are passed over. */
  without?: ReadonlySet<number>;
  /** Told of each record before it is applied, and where it stands: returns what of it is; undefined: nothing. */
  hear?: (header: Header, payload: Json, extent: Extent) => Header | undefined;
}

/** Behind a hole the rules are lenient, as for all. Errors: JOURNAL_NEWER for what nobody knows. */
export async function replay(
  ports: Pick<Ports, 'fs' | 'clock'>,
  fd: number,
  state: QueueState,
  { from, to = Infinity, strangers = false, unended = false, without, hear }: Stretch,
): Promise<void> {
  const visitor: FileVisitor = {
    record(buffer, start, end, headerLength, offset) {
      if (without?.has(offset)) return;
      const decoded = decodeOwn(buffer, start, end, headerLength);
      if (!decoded) return this.bad(buffer, start, end, 'rot', offset);
      const { payload } = decoded;
      const extent = { offset, length: end - start, headerLength };
      const header = hear ? hear(decoded.header, payload, extent) : decoded.header;
      if (!header) return;
      try {
        state.apply(header, offset, end - start, headerLength, lineChecksum(buffer, start), () => payload);
      } catch (error) {
        if (!strangers || !(error instanceof QueueError) || error.code !== 'JOURNAL_NEWER') throw error;
        this.bad(buffer, start, end, 'rot', offset);
      }
    },
    bad(buffer, start, end, kind, offset) {
      const zeros = buffer.subarray(start, end).includes(0);
      if (kind === 'rot') state.noteRot(offset, offset + end - start, zeros);
    },
  };
  const at = await scanFile(ports, fd, visitor, from, to);
  if (!unended) return;
  const rest = readRest(ports, fd, at);
  const lines: LineVisitor = {
    record: (buffer, start, end, headerLength) =>
      visitor.record(buffer, start, end, headerLength, at + start),
    bad: (buffer, start, end, kind) => visitor.bad(buffer, start, end, kind, at + start),
  };
  scanLines(rest, 0, rest.length, lines);
}

/** With the newline that the next write begins with. */
function readRest({ fs }: Pick<Ports, 'fs'>, fd: number, from: number): Buffer {
  const size = Math.max(0, fs.stat(fd).size - from);
  const rest = Buffer.alloc(size + 1, '\n');
  for (let got = 0; got < size;) {
    const n = fs.read(fd, rest, got, size - got, from + got);
    if (n === 0) break;
    got += n;
  }
  return rest;
}
