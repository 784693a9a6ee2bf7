/** Reads a queue's files by the description of the format alone, without the engine: for checking what it wrote. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface LogRecord {
  offset: number;
  header: { op: string; w?: string; [field: string]: unknown };
}

export interface Segment {
  number: number;
  records: LogRecord[];
  /** Lines that are no records, though they have ended: cut off by a death, or damaged. */
  bad: { offset: number; length: number }[];
}

export function listFiles(folder: string): { segments: string[]; others: string[] } {
  const names = readdirSync(folder).sort();
  const isSegment = (name: string): boolean => /^\d{8}\.journal$/.test(name);
  return { segments: names.filter(isSegment), others: names.filter((name) => !isSegment(name)) };
}

export function newestSegment(folder: string): number {
  return Number.parseInt(listFiles(folder).segments.at(-1)!, 10);
}

export function readSegment(folder: string, name: string): Segment {
  const bytes = readFileSync(join(folder, name));
  const segment: Segment = { number: Number.parseInt(name, 10), records: [], bad: [] };
  for (let offset = 0; offset < bytes.length;) {
    const newline = bytes.indexOf(10, offset);
    const end = newline < 0 ? bytes.length : newline;
    if (end > offset) {
      const header = readLine(bytes.subarray(offset, end));
      if (header) segment.records.push({ offset, header });
      else if (newline >= 0) segment.bad.push({ offset, length: end - offset });
    }
    offset = end + 1;
  }
  return segment;
}

/** Whole when it is as long as its prefix says, and JSON. */
function readLine(line: Buffer): LogRecord['header'] | undefined {
  const length = Number.parseInt(line.toString('latin1', 11, 19), 16);
  if (length !== line.length) return undefined;
  try {
    const [, header] = JSON.parse(line.toString('utf8')) as [string, LogRecord['header']];
    return header;
  } catch {
    return undefined;
  }
}

/** `[segment, offset]` of the messages that a record names, in its order. */
export function named(where: unknown): [segment: number, offset: number][] {
  return (where as [number, ...(number | [number, number])[]][]).flatMap(([segment, ...offsets]) =>
    offsets.map((offset): [number, number] => [segment, typeof offset === 'number' ? offset : offset[0]]),
  );
}
