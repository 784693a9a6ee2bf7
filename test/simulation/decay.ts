/** Rot: one byte at a time, in the cache as on the device. */
import type { Stream } from './choices.ts';
import { segmentsIn } from './env.ts';
import type { Machine } from './machine.ts';
import type { Rot } from './rot.ts';

export class Decay {
  readonly #choices: Stream;
  readonly #rot: Rot;
  readonly #met: (what: string) => void;
  #headRotten = false;

  /** @param rot is told of what has rotted in segments. */
  constructor(choices: Stream, rot: Rot, met: (what: string) => void) {
    this.#choices = choices;
    this.#rot = rot;
    this.#met = met;
  }

  /** A byte of a segment. */
  ofSegment(machine: Machine, path: string): void {
    if (!path.endsWith('.journal')) return;
    const bytes = contentsOf(machine, path);
    if (!bytes || bytes.length === 0) return;
    const choices = this.#choices;
    this.#met('rotten bytes');
    const at = choices.chance(0.5) ? this.#inMessage(bytes) : choices.below(bytes.length);
    machine.options.trace?.(`  byte ${at} of ${path} rots`);
    const flip = 1 + choices.below(255);
    // A zero is what a power cut leaves: of a record that may not have been on the device by then nobody can tell.
    this.#corrupt(machine, path, bytes, at, flip === bytes[at] ? (flip % 255) + 1 : flip);
  }

  /** Where some message's record stands among the bytes; anywhere, when there is none. */
  #inMessage(bytes: Buffer): number {
    const choices = this.#choices;
    const from = bytes.indexOf('{"op":"add"', choices.below(bytes.length));
    if (from < 0) return choices.below(bytes.length);
    const end = bytes.indexOf(10, from);
    return from + choices.below((end < 0 ? bytes.length : end) - from);
  }

  /** A byte of the newest head; once, for with two heads gone nothing is promised. */
  ofHead(machine: Machine, path: string): void {
    const folder = path.slice(0, path.lastIndexOf('/'));
    const head = this.#headRotten || !path.endsWith('.journal') ? undefined : contentsOf(machine, path);
    const segments = head ? segmentsIn(machine.disk.list(folder)) : [];
    if (!head || segments.length < 2 || path !== `${folder}/${segments.at(-1)}`) return;
    const end = head.indexOf('{"op":"ready"');
    if (end < 0) return;
    const at = this.#choices.below(end);
    const line = head.subarray(head.lastIndexOf(10, at) + 1, head.indexOf(10, at));
    // What was carried is a message's: it may be lost with that byte.
    if (line.includes('{"op":"carry"')) return;
    this.#headRotten = true;
    this.#met('rotten heads');
    if (line.includes('{"op":"ready"')) this.#met('rotten ends of heads');
    machine.options.trace?.(`  byte ${at} of the head ${path} rots`);
    this.#corrupt(machine, path, head, at, 1 + this.#choices.below(255));
  }

  ofIndex(machine: Machine, path: string): void {
    const { length } = contentsOf(machine, path) ?? '';
    if (length === 0) return;
    this.#met('rotten indexes');
    machine.options.trace?.(`  a byte of ${path} rots`);
    machine.disk.corrupt(path, this.#choices.below(length), 1 + this.#choices.below(255));
  }

  #corrupt({ disk }: Machine, path: string, bytes: Buffer, at: number, flip: number): void {
    const before = Buffer.from(bytes);
    disk.corrupt(path, at, flip);
    this.#rot.happened(path, at, before);
  }
}

function contentsOf({ disk }: Machine, path: string): Buffer | undefined {
  if (disk.kind(path) !== 'file') return undefined;
  const bytes = disk.contents(path);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
