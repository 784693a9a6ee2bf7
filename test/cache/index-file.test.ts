/** An index tells of each add of its segment what a look at the segment would; one that does not fit counts for nothing. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { indexName, segmentName } from '../../src/cache/files.ts';
import { readIndex, writeIndex } from '../../src/cache/index-file.ts';
import { nodePorts } from '../../src/cache/node-ports.ts';
import { asciiJson, Batch, lineChecksum } from '../../src/cache/record.ts';
import { SegmentTable } from '../../src/cache/table.ts';

const SEGMENT = 3;
const { fs } = nodePorts;

type Entry = [
  offset: number,
  length: number,
  headerLength: number,
  due: number | undefined,
  disabled: boolean,
  alias: string | undefined,
];

const ENTRIES: Entry[] = [
  [600, 330, 110, undefined, false, undefined],
  [931, 70_000, 65_535, 1_790_000_000_000.5, false, 'ä"'],
  [80_000, 331, 111, undefined, true, undefined],
  [2 ** 31 + 5, 332, 112, 5, true, 'b'],
];

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coda-index-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Writes a segment that consists of a seal, and its index. */
function write(entries: readonly Entry[]): void {
  const batch = new Batch();
  const offset = batch.add('{"op":"seal","ctl":1,"why":"size"}');
  writeFileSync(join(folder, segmentName(SEGMENT)), batch.buffer.subarray(0, batch.length));
  const table = new SegmentTable(SEGMENT, true);
  for (const [at, length, headerLength, due, disabled] of entries)
    table.add(at, length, headerLength, due, disabled);
  const aliases = new Map(entries.map(([at, , , , , alias]) => [at, alias]));
  const fd = fs.open(join(folder, segmentName(SEGMENT)), 'read');
  const seal = { offset, checksum: lineChecksum(batch.buffer, offset) };
  writeIndex(fs, folder, table, seal, fs.stat(fd), (at) => aliases.get(at % 2 ** 32));
  fs.close(fd);
}

function read(): Entry[] | undefined {
  const index = readIndex(fs, folder, SEGMENT);
  const found: Entry[] = [];
  index?.each((...entry) => found.push(entry));
  return index && found;
}

/** Puts another body behind the header of the index, or says otherwise how many adds it holds; the checksums are right. */
function change(how: (body: Buffer) => { body?: Buffer; count?: number }): void {
  const path = join(folder, indexName(SEGMENT));
  const bytes = readFileSync(path);
  const lineEnd = bytes.indexOf(10, 1);
  const header = (JSON.parse(bytes.toString('utf8', 1, lineEnd)) as [string, { count: number }])[1];
  const before = bytes.subarray(lineEnd + 1);
  const { body = before, count = header.count } = how(before);
  const batch = new Batch();
  batch.add(asciiJson({ ...header, count, bytes: body.length, crc: crc32(body) }));
  writeFileSync(path, Buffer.concat([batch.buffer.subarray(0, batch.length), body]));
}

describe('an index', () => {
  test('tells what was written', () => {
    write(ENTRIES);
    expect(read()).toEqual(ENTRIES);
  });

  test('of a segment without adds tells of none', () => {
    write([]);
    expect(read()).toEqual([]);
  });

  test.each<[string, (body: Buffer) => { body?: Buffer; count?: number }]>([
    ['has more adds than bytes', () => ({ count: 1000 })],
    ['lacks the end of its due times', (body) => ({ body: body.subarray(0, ENTRIES.length * 11 + 9) })],
    ['is cut off in its aliases', (body) => ({ body: body.subarray(0, -1) })],
    [
      'has aliases that are none',
      (body) => ({ body: Buffer.concat([body.subarray(0, 60), Buffer.from('7')]) }),
    ],
  ])('that %s counts for nothing', (_, how) => {
    write(ENTRIES);
    change(how);
    expect(read()).toBeUndefined();
  });

  test('of another seal, or another segment, counts for nothing', () => {
    write(ENTRIES);
    const index = readFileSync(join(folder, indexName(SEGMENT)));
    const segment = readFileSync(join(folder, segmentName(SEGMENT)));
    const other = new Batch();
    other.add('{"op":"seal","ctl":1,"why":"idle"}');
    writeFileSync(join(folder, segmentName(SEGMENT)), other.buffer.subarray(0, other.length));
    expect(read()).toBeUndefined();
    writeFileSync(join(folder, segmentName(SEGMENT + 1)), segment);
    writeFileSync(join(folder, indexName(SEGMENT + 1)), index);
    expect(readIndex(fs, folder, SEGMENT + 1)).toBeUndefined();
  });
});
