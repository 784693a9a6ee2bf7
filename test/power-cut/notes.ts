/**
 * What the actors of a run write down, outside of the disk whose power is cut: what they are about to do, what they were
 * told, and when each flush began. A line a note, `<what> <words>`; times are those of one clock for all processes, in milliseconds.
 */
import { openSync, readFileSync, statSync, writeSync } from 'node:fs';

interface Notes {
  /** Before the call: a message may be there from now on. */
  try: [id: string];
  added: [id: string, at: number];
  /** Before and after an update of its data. */
  changing: [id: string, version: number];
  changed: [id: string, version: number, at: number];
  /** Before a call that ends a message. */
  ending: [id: string];
  /** Durably, where the durability says so: removed or taken. */
  ended: [id: string, at: number];
  /** A call that may end any one message, and its answer. */
  taking: [];
  taken: [];
  bearing: [queue: string];
  born: [queue: string, at: number];
  killing: [queue: string];
  dead: [queue: string, at: number];
  /** Of the segment that its process has last written to. */
  flushing: [at: number];
  /** What was acknowledged before `began` is on the device. */
  flushed: [began: number];
  /** The event loop stood still for so long, until now. */
  stalled: [ms: number, at: number];
  error: [text: string];
}

export type Note = { [W in keyof Notes]: { what: W; words: Notes[W] } }[keyof Notes];

export type Taker = <W extends keyof Notes>(what: W, ...words: Notes[W]) => void;

/** Milliseconds, the same for all processes of the machine. */
export const now = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;

/** A note is in the file when this returns. */
export function takeNotes(path: string): Taker {
  const fd = openSync(path, 'a');
  return (what, ...words) => void writeSync(fd, `${JSON.stringify([what, ...words])}\n`);
}

export function sizeOf(path: string): number {
  return statSync(path).size;
}

/** The notes in the first `bytes` of a file; a line that is being written is left out. */
export function readNotes(path: string, bytes = Infinity): Note[] {
  const text = readFileSync(path);
  const end = Math.min(bytes, text.length);
  return text
    .toString('utf8', 0, text.lastIndexOf(10, end - 1) + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [what, ...words] = JSON.parse(line) as [string, ...unknown[]];
      return { what, words } as Note;
    });
}

/** The data of a message: bytes that a shifted or a foreign read would show. */
export function dataOf(id: string, version: number): { id: string; version: number; pad: string } {
  const n = Number(id.slice(id.indexOf('.') + 1));
  return { id, version, pad: `${id}/${version} `.repeat(1 + ((n * 37 + version * 11) % 150)) };
}
