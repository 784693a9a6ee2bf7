/** Opens a segment that is not written to any more, to read what messages hold. */
import { segmentName } from './files.ts';
import { decode } from './header.ts';
import type { FileSystem } from './ports.ts';
import { checkLine, lineLength } from './record.ts';

/** More than the first record of a head ever is: it names two messages, each with an alias of at most 1 KiB. */
const FIRST_RECORD = 32 * 1024;
const first = Buffer.allocUnsafe(FIRST_RECORD);

/**
 * The file, open for reading. One that says of itself that it is another segment is as good as gone: at a message's place it
 * holds another message. Where that record is damaged the file is taken at its name. Errors: ENOENT and the like.
 */
export function openOlder(fs: FileSystem, folder: string, segment: number): number {
  const path = `${folder}/${segmentName(segment)}`;
  const fd = fs.open(path, 'read');
  try {
    const number = numberIn(fs, fd) ?? segment;
    if (number === segment) return fd;
    throw Object.assign(new Error(`${path} is segment ${number} by another name`), { code: 'ENOENT' });
  } catch (error) {
    fs.close(fd);
    throw error;
  }
}

function numberIn(fs: FileSystem, fd: number): number | undefined {
  let got = 0;
  while (got < FIRST_RECORD) {
    const n = fs.read(fd, first, got, FIRST_RECORD - got, got);
    if (n === 0) break;
    got += n;
  }
  // Every write begins with the end of a line.
  const start = 1;
  const end = start + lineLength(first.subarray(0, got), start);
  const headerLength = end > got ? -1 : checkLine(first, start, end);
  const header = headerLength < 0 ? undefined : decode(first, start, end, headerLength)?.header;
  return header?.op === 'head' ? header.segment : undefined;
}
