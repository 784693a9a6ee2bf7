/** What runs have met: a kind of event that never happens is one about which nothing is known. */
import type { Operation } from './machine.ts';
import type { Process } from './process.ts';

/** Enough seeds for each kind to happen: the rarest happens about 35 times in so many. */
const ENOUGH_SEEDS = 1000;

const EXPECTED = [
  'QUEUE_FULL',
  'STORAGE_FULL',
  'births before a cut',
  'carried',
  'claims given back',
  'clock jumps',
  'created',
  'damage remembered',
  'deletions',
  'destroyed',
  'duplicates',
  'failed flushes',
  'filled at the end',
  'full disks',
  'heads made beside other processes',
  'heads made beside own calls',
  'indexes',
  'idle seals',
  'indexes read',
  'killed',
  'lapses',
  'listed',
  'power cuts',
  'purged',
  'quotas',
  'refused operations',
  'renewals',
  'repairs planned',
  'reserve freed',
  'ripe at a power cut',
  'rot met by readers',
  'rotations',
  'rotten bytes',
  'rotten heads',
  'rotten indexes',
  'second notes',
  'slow flushes',
  'stale settles',
  'stopped',
  'torn',
  'verified',
  'writes and reads refused',
];

export function neverMet(met: ReadonlyMap<string, number>, seeds: number): string[] {
  return seeds < ENOUGH_SEEDS ? [] : EXPECTED.filter((what) => !met.has(what));
}

export function told(met: ReadonlyMap<string, number>): string {
  return [...met]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([what, times]) => `${what} ${times}`)
    .join(', ');
}

/** What can be told from an operation in a queue's folder: a write, with its bytes, or a change of names. */
export function* toldBy(
  operation: Operation,
  path: string,
  detail: Uint8Array | string | undefined,
): Generator<string> {
  if (operation === 'rename' && String(detail).endsWith('.journal')) yield 'rotations';
  if (operation === 'remove') {
    if (path.endsWith('.journal')) yield 'deletions';
    if (path.endsWith('/reserve')) yield 'reserve freed';
  }
  if (operation !== 'write' || !(detail instanceof Uint8Array) || path.endsWith('/reserve')) return;
  if (path.endsWith('.index')) yield 'indexes';
  const text = Buffer.from(detail.buffer, detail.byteOffset, detail.length);
  if (path.includes('/tmp-') && text.includes('{"op":"carry"')) yield 'carried';
  if (text.includes('{"op":"lapse"')) yield 'lapses';
  if (text.includes('"op":"seal"') && text.includes('"why":"idle"')) yield 'idle seals';
}

/**
 * Heads in the making: from when the mode of their file is set to the first write to it, their makers write nothing, and nobody else
 * goes on but in their pauses.
 */
export class Making {
  readonly #makers = new Map<Process, Set<string>>();

  /** An operation is about to be done. Returns what was met. */
  operated(process: Process, operation: Operation, path: string): ReadonlySet<string> {
    const isHead = path.includes('/tmp-');
    const beside = isHead && operation === 'write' ? this.#makers.get(process) : undefined;
    if (beside) this.#makers.delete(process);
    for (const [maker, met] of this.#makers)
      if (maker !== process && maker.alive && !maker.busy) met.add('heads made beside other processes');
    if (isHead && operation === 'setMode') this.#makers.set(process, new Set());
    return beside ?? new Set();
  }

  /** A client of that process calls the engine. */
  called(process: Process): void {
    this.#makers.get(process)?.add('heads made beside own calls');
  }
}
