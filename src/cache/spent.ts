/**
 * Segments in which nothing lives any more, and what it costs to let them go. A segment is kept until two heads do without it, so
 * heads are made before it gives anything back. Where the disk is full, they come out of what consumers settle with.
 */
import { listSegments, segmentName, sizeOf } from './files.ts';
import { loadHead } from './head.ts';
import type { Log } from './log.ts';
import { segmentOf } from './position.ts';

/** An early seal for want of space must be worth a head; between two of them about so much is written. */
export const WORTH_BYTES = 64 * 1024;
/** For the rest: what a head grows by before the seal, the seal itself and the note, blocks that are not full. */
const REST_BYTES = 32 * 1024;

/** Seals to free space, at most so many in so long: after three, what can be freed is. */
const RECLAIMS = 3;
const RECLAIM_MS = 1000;

export class Spent {
  readonly #log: Log;
  /** Of each spent segment the first head that does without it, as far as this handle knows. */
  #without = new Map<number, number>();
  /** What the head of the present segment names. */
  #head: { segment: number; names: ReadonlySet<number> | undefined } | undefined;
  #reclaimed = 0;
  #reclaimedAt = -Infinity;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Whether sealing would let files go that are worth it; asked often, at most for so many seals. */
  reclaims(worth: number): boolean {
    const { clock } = this.#log.options.ports;
    if (clock.monotonic() - this.#reclaimedAt > RECLAIM_MS) this.#reclaimed = 0;
    if (this.#reclaimed === RECLAIMS) return false;
    this.#reclaimedAt = clock.monotonic();
    this.#reclaimed++;
    const { state, headEnd, applied } = this.#log;
    const live = this.#live();
    if (applied - headEnd >= Math.max(worth, headEnd) && !live.has(state.segment)) return true;
    return this.#older(live).some(
      ({ segment, size }) => size >= headEnd + worth && this.#headsFor(segment) !== undefined,
    );
  }

  /**
   * How long a head may be, of a seal that can wait, with so much room: until something at least as long goes, all heads and what is
   * written between them must have room in it. A seal that is one too few takes all it needs from the consumers, and gives nothing back.
   */
  async longestHead(room: number): Promise<number> {
    const heads = await this.#headsToMake();
    // Less than what is written between two heads is no matter.
    return Math.max(WORTH_BYTES, (room - REST_BYTES - (heads - 1) * WORTH_BYTES) / heads);
  }

  /** Until something as long as a head goes. At most three: what is written behind the next seal is spent soon. */
  async #headsToMake(): Promise<number> {
    const { state, headEnd } = this.#log;
    const names = await this.#named();
    const live = this.#live();
    let heads = live.has(state.segment) ? 3 : 2;
    const known = new Map<number, number>();
    for (const { segment, size } of this.#older(live)) {
      const isNamed = names === undefined || names.has(segment);
      known.set(segment, this.#without.get(segment) ?? state.segment + (isNamed ? 1 : 0));
      if (size >= headEnd) heads = Math.min(heads, this.#headsFor(segment, known) ?? heads);
    }
    this.#without = known;
    return heads;
  }

  /** Undefined where they have been made, and one more: such a file cannot be deleted. */
  #headsFor(segment: number, known = this.#without): number | undefined {
    const present = this.#log.state.segment;
    const left = (known.get(segment) ?? present + 1) + 1 - present;
    // Whoever should have deleted it may have died.
    return left < 0 ? undefined : Math.max(left, 1);
  }

  /** Segments that something lives in, or that are damaged. */
  #live(): Set<number> {
    const { state } = this.#log;
    const live = new Set([...state.touched.values()].map(({ place }) => segmentOf(place)));
    for (const table of state.tables.values()) if (table.fresh > 0) live.add(table.segment);
    for (const { segment } of state.damage) live.add(segment);
    return live;
  }

  /** Older segments that are spent. */
  #older(live: ReadonlySet<number>): { segment: number; size: number }[] {
    const { state, options } = this.#log;
    const { fs } = options.ports;
    return listSegments(fs, options.folder)
      .filter((segment) => segment < state.segment && !live.has(segment))
      .map((segment) => ({ segment, size: sizeOf(fs, `${options.folder}/${segmentName(segment)}`) }));
  }

  /** Undefined when the head cannot be read: it may name all. */
  async #named(): Promise<ReadonlySet<number> | undefined> {
    const { state, options, fd, path } = this.#log;
    const { segment } = state;
    if (this.#head?.segment !== segment) {
      const loading = loadHead(options.ports, fd, segment, options.keepOutcomes, path);
      const names = await loading.then(
        (loaded) => loaded?.references,
        () => undefined,
      );
      this.#head = { segment, names };
    }
    return this.#head.names;
  }
}
