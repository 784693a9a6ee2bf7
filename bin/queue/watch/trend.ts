/** How a queue has been going while it was watched: rates and the course of its backlog, from successive statuses. Pure. */
import type { QueueStatus } from '../../../src/backend.ts';

/** Of the sparkline. */
export const SPAN_MS = 300_000;
/** Rates are those of this time, so that a busy second does not make them jump. */
const RATE_MS = 10_000;
const CELL_MS = 5000;
const GLYPHS = '▁▂▃▄▅▆▇█';

interface Sample {
  /** Monotonic milliseconds. */
  at: number;
  backlog: number;
  /** All that is in the queue. */
  held: number;
  processed: number;
}

export interface Rates {
  /** Messages a second. What was removed meanwhile counts against those added. */
  added: number;
  processed: number;
  /** Milliseconds until nothing is left to do, if it goes on like this; undefined when that is never. */
  emptyIn: number | undefined;
}

export class Trend {
  #samples: Sample[] = [];
  #createdAt = 0;

  /** @param at monotonic milliseconds. */
  add(at: number, status: QueueStatus): void {
    const { counts, processed, messagesToProcess } = status;
    const held = messagesToProcess + counts.disabled + counts.failed;
    const createdAt = status.createdAt.getTime();
    // Another queue of that name has nothing to do with the last one.
    if (createdAt !== this.#createdAt || processed < (this.#samples.at(-1)?.processed ?? 0))
      this.#samples = [];
    this.#createdAt = createdAt;
    this.#samples.push({ at, backlog: counts.ready + counts.claimed, held, processed });
    // Two are kept however far they lie apart, and one that is older than the span, for its first cell.
    while (this.#samples.length > 2 && at - this.#samples[1]!.at > SPAN_MS) this.#samples.shift();
  }

  /** Undefined until there are two statuses. */
  get rates(): Rates | undefined {
    const last = this.#samples.at(-1);
    const before = this.#samples.findLast(({ at }) => last !== undefined && last.at - at >= RATE_MS);
    const first = before ?? this.#samples[0];
    if (!first || !last || first.at === last.at) return undefined;
    const seconds = (last.at - first.at) / 1000;
    const done = last.processed - first.processed;
    const added = Math.max(0, (last.held - first.held + done) / seconds);
    const processed = done / seconds;
    const gain = processed - added;
    const emptyIn = gain > 0 && last.backlog > 0 ? (last.backlog / gain) * 1000 : undefined;
    return { added, processed, emptyIn };
  }

  /** The highest backlog of the span. */
  get most(): number {
    return this.#samples.reduce((most, { backlog }) => Math.max(most, backlog), 0);
  }

  /** The backlog of the span, a character for each part of it, the present on the right; as long as was watched. */
  sparkline(columns: number): string {
    const last = this.#samples.at(-1);
    if (!last || columns < 1) return '';
    const cells = Math.min(columns, SPAN_MS / CELL_MS);
    const length = SPAN_MS / cells;
    // Cells begin at fixed times: so the line moves only when one is full.
    const cellOf = (at: number): number => Math.floor(at / length);
    const end = cellOf(last.at);
    const heights: (number | undefined)[] = Array.from({ length: cells }, () => undefined);
    for (const { at, backlog } of this.#samples) {
      heights[Math.max(0, cells - 1 - (end - cellOf(at)))] = backlog;
    }
    const { most } = this;
    let line = '';
    let height: number | undefined;
    for (const own of heights) {
      // A cell without a status of its own is as the last one was.
      height = own ?? height;
      if (height !== undefined) line += glyph(height, most);
    }
    return line;
  }
}

/** Only nothing is as low as nothing. */
function glyph(height: number, most: number): string {
  if (height === 0) return GLYPHS[0]!;
  return GLYPHS[Math.min(7, 1 + Math.floor((height / most) * 6.999))]!;
}

/** `12/s`, `3/min`, `7/h`: a whole number where there is one to tell. */
export function rateInWords(perSecond: number): string {
  if (perSecond === 0) return '0/s';
  if (perSecond >= 10) return `${Math.round(perSecond).toLocaleString('en')}/s`;
  if (perSecond >= 1) return `${perSecond.toFixed(1)}/s`;
  if (perSecond * 60 >= 1) return `${Math.round(perSecond * 60)}/min`;
  return `${Math.max(1, Math.round(perSecond * 3600))}/h`;
}
