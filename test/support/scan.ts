/** Writing and reading lines of a journal without an engine. */
import { asciiJson, Batch, headerText, payloadText, scanLines } from '../../src/cache/record.ts';
import type { Json } from '../../src/message.ts';

export interface Rec {
  header: Json;
  /** As JSON text. */
  payload?: string;
}

export interface Found {
  /** Sound lines, as text. */
  lines: string[];
  bad: { from: number; to: number; kind: 'torn' | 'rot' }[];
  /** Where the first unfinished line begins. */
  end: number;
}

/** What one write of these records puts into the file. */
export function written(records: readonly Rec[]): Buffer {
  const batch = new Batch();
  for (const { header, payload } of records) batch.add(asciiJson(header), payload);
  return Buffer.from(batch.buffer.subarray(0, batch.length));
}

/** The line of one record, without newlines. */
export function line(record: Rec): string {
  return written([record]).toString('utf8').trim();
}

export function scan(bytes: Buffer): Found {
  const found: Found = { lines: [], bad: [], end: 0 };
  found.end = scanLines(bytes, 0, bytes.length, {
    record(buffer, start, end, headerLength) {
      // Both must be readable; the line is what they were taken from.
      JSON.parse(headerText(buffer, start, headerLength));
      payloadText(buffer, start, end, headerLength);
      found.lines.push(buffer.toString('utf8', start, end));
    },
    bad(_buffer, from, to, kind) {
      found.bad.push({ from, to, kind });
    },
  });
  return found;
}
