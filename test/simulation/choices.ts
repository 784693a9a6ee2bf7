/**
 * Every choice of a run: what clients do, who goes on next, what goes wrong. Drawn from a seed the first time, and
 * written down; a run can then be repeated from what was written, and with fewer of its choices. Choices are kept in
 * streams by what they are about, so that leaving some out of one does not shift the others.
 *
 * Zero is always the simplest choice: no fault, nobody interferes, the first of the possibilities. So is what was not
 * written down.
 */
import { Seeded } from '../support/seeded.ts';

/** What was drawn, by stream: numbers from 0 up to, but not including, 1. */
export type Record = ReadonlyMap<string, readonly number[]>;

export class Stream {
  readonly drawn: number[] = [];
  readonly #random: Seeded | undefined;
  readonly #replayed: readonly number[];

  constructor(random: Seeded | undefined, replayed: readonly number[]) {
    this.#random = random;
    this.#replayed = replayed;
  }

  #next(): number {
    const value = this.#random?.next() ?? this.#replayed[this.drawn.length] ?? 0;
    this.drawn.push(value);
    return value;
  }

  /** A whole number from 0 up to, but not including, `limit`. */
  below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }

  chance(part: number): boolean {
    return part > 0 && this.#next() >= 1 - part;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  /** One of the names, each as likely as its weight says; the first is the simplest. */
  weighted<Name extends string>(weights: readonly (readonly [Name, number])[]): Name {
    let left = this.#next() * weights.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [name, weight] of weights) if ((left -= weight) < 0) return name;
    return weights[0]![0];
  }
}

export class Choices {
  readonly #seed: number | undefined;
  readonly #record: Record;
  readonly #streams = new Map<string, Stream>();

  /** @param from a seed, or what a run has drawn. */
  constructor(from: number | Record) {
    this.#seed = typeof from === 'number' ? from : undefined;
    this.#record = typeof from === 'number' ? new Map() : from;
  }

  stream(name: string): Stream {
    const known = this.#streams.get(name);
    if (known) return known;
    const random = this.#seed === undefined ? undefined : new Seeded(hash(`${this.#seed} ${name}`));
    const stream = new Stream(random, this.#record.get(name) ?? []);
    this.#streams.set(name, stream);
    return stream;
  }

  get record(): Record {
    return new Map([...this.#streams].map(([name, { drawn }]) => [name, drawn]));
  }
}

/** FNV-1a. */
export function hash(text: string, seed = 0x811c9dc5): number {
  let value = seed;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}
