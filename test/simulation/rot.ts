/**
 * What has rotted, and whether those who meet it say so, as is promised (docs/guarantees.md, "Rot"): `queueStatus` counts it, and
 * `getLastError` tells of it.
 *
 * Known is each record that was sound until one of its bytes rotted, while it stands there as that has left it: of one that a power
 * cut has taken a part of, nobody can tell that it was on the device. A handle has met it when it holds the state and has read over it
 * since: in the segment in use, from the head on, or in an older one, for where its messages lie. So these need not say anything: who
 * had read it before, or was just reading it; who only adds, and looks for control records; who took an index instead. Nor is it
 * looked at whether one says so who wanted no more than what one message holds: of that its client is told.
 */
import type { Backend } from '../../src/backend.ts';
import type { QueueError } from '../../src/errors.ts';
import { segmentName } from '../../src/cache/files.ts';
import type { Log } from '../../src/cache/log.ts';
import type { Ports } from '../../src/cache/ports.ts';
import { checkLine } from '../../src/cache/record.ts';
import type { QueueState } from '../../src/cache/state.ts';
import type { Process } from './process.ts';
import { Violation } from './violation.ts';

const NEWLINE = 10;

/** A record: bytes [from, to) of the file, and what stands there since, with the newlines around it. */
interface Rotten {
  path: string;
  from: number;
  to: number;
  bytes: Buffer;
  since: number;
}

/** When somebody began to read, and what his client would have been told then. */
interface Mark {
  time: number;
  told: QueueError | undefined;
}

export class Rot {
  readonly #contents: (path: string) => Uint8Array | undefined;
  readonly #met: (what: string) => void;
  #rotten: Rotten[] = [];
  /** How often something has rotted. */
  #time = 0;
  /** Of the process that these are the ports of. */
  readonly #backends = new WeakMap<Ports, { process: Process; backend: Backend }>();
  readonly #indexesRead = new WeakMap<Process, number>();
  /** Of each handle, when it last read on. */
  readonly #marks = new WeakMap<Log, Mark>();
  /** Of each handle that has entered a segment, and has not read on yet: when it had not read its head. */
  readonly #entered = new WeakMap<Log, Mark>();

  /** @param contents what is read from a file now; undefined when there is none. */
  constructor(contents: (path: string) => Uint8Array | undefined, met: (what: string) => void) {
    this.#contents = contents;
    this.#met = met;
  }

  /** The byte at `at` is another than it was `before`. */
  happened(path: string, at: number, before: Buffer): void {
    this.#time++;
    // Hit once more, it may be anything.
    this.#rotten = this.#rotten.filter(
      (known) => known.path !== path || at < known.from - 1 || at > known.to,
    );
    const from = before.lastIndexOf(NEWLINE, at) + 1;
    const to = before.indexOf(NEWLINE, at);
    const now = this.#contents(path)!;
    // A zero is what a power cut leaves.
    if (from > at || to < 0 || now[at] === 0 || checkLine(before, from, to) < 0) return;
    const bytes = Buffer.from(now.subarray(from - 1, to + 1));
    this.#rotten.push({ path, from, to, bytes, since: this.#time });
  }

  #stands({ path, from, to, bytes }: Rotten): boolean {
    const now = this.#contents(path);
    return now !== undefined && bytes.equals(now.subarray(from - 1, to + 1));
  }

  // --- What clients are told ---------------------------------------------------------------------------------------

  /** Of one that has read all of the newest segment since something rotted. `damaged`: what its status said. */
  told(newest: string, damaged: number, error: QueueError | undefined): void {
    const stands = this.#rotten.some((record) => record.path === newest && this.#stands(record));
    if (stands && (damaged === 0 || !error))
      throw new Violation('silent', `rot stands in ${newest}, and no client is told of it`);
  }

  /** Of one that was the only one there, and of one that came when it had made further heads: damage is kept until a repair. */
  toldLater(before: number, damaged: number): void {
    if (damaged < before)
      throw new Violation('silent', `${before} places were damaged, and later on ${damaged}`);
  }

  // --- Who meets it ------------------------------------------------------------------------------------------------

  /** What the clients of a process are told by. */
  opened(process: Process, ports: Ports, backend: Backend): void {
    this.#backends.set(ports, { process, backend });
  }

  indexRead(process: Process): void {
    this.#indexesRead.set(process, this.#indexesReadBy(process) + 1);
  }

  #indexesReadBy(process: Process): number {
    return this.#indexesRead.get(process) ?? 0;
  }

  #mark(log: Log): Mark {
    return { time: this.#time, told: this.#homeOf(log).backend.lastError() };
  }

  #homeOf({ options }: Log): { process: Process; backend: Backend } {
    return this.#backends.get(options.ports)!;
  }

  /** The handle goes on in a segment whose head it has read since it last read on. */
  entering(log: Log): void {
    if (log.whole) this.#entered.set(log, this.#marks.get(log) ?? { time: 0, told: undefined });
    else this.#entered.delete(log);
    this.#marks.set(log, this.#mark(log));
  }

  /** The handle is about to read on. Returns the check for when it has. */
  reading(log: Log): () => void {
    if (this.#rotten.length === 0) return () => undefined;
    const mark = this.#mark(log);
    const { applied } = log;
    return () => {
      const { whole, state, path, headEnd } = log;
      const entered = this.#entered.get(log);
      this.#entered.delete(log);
      this.#marks.set(log, this.#mark(log));
      const met = this.#within(path, applied, log.applied, mark);
      if (!whole) return this.#pass(met, 'by producers');
      if (entered) this.#check(log, state, this.#within(path, 0, headEnd, entered), entered);
      this.#check(log, state, met, mark);
    };
  }

  /** The handle is about to look through an older segment. Returns the check for when it has. */
  readingOlder(log: Log, segment: number, state: QueueState): (() => void) | undefined {
    if (this.#rotten.length === 0) return undefined;
    const { process } = this.#homeOf(log);
    const indexes = this.#indexesReadBy(process);
    const path = `${log.options.folder}/${segmentName(segment)}`;
    const mark = this.#mark(log);
    const known = new Set(this.#rotten.filter((record) => isCounted(record, state, segment)));
    return () => {
      const met = this.#within(path, 0, Infinity, mark);
      if (this.#indexesReadBy(process) > indexes) return this.#pass(met, 'with an index');
      this.#check(log, state, met, mark, segment, known);
    };
  }

  #within(path: string, from: number, to: number, { time }: Mark): Rotten[] {
    return this.#rotten.filter(
      (record) =>
        record.path === path &&
        record.since <= time &&
        record.from >= from &&
        record.to <= to &&
        this.#stands(record),
    );
  }

  #pass(records: readonly Rotten[], how: string): void {
    for (const _ of records) this.#met(`rot passed ${how}`);
  }

  /** @param known of which one was told before. */
  #check(
    log: Log,
    state: QueueState,
    met: readonly Rotten[],
    { told }: Mark,
    segment = state.segment,
    known: ReadonlySet<Rotten> = new Set(),
  ): void {
    for (const record of met) {
      this.#met('rot met by readers');
      const what = `bytes ${record.from} to ${record.to} of ${record.path} had rotted, and who has read over them`;
      if (!isCounted(record, state, segment)) throw new Violation('silent', `${what} counts no damage there`);
      if (!known.has(record) && this.#mark(log).told === told)
        throw new Violation('silent', `${what} tells nobody`);
    }
  }
}

function isCounted({ from, to }: Rotten, { damage }: QueueState, segment: number): boolean {
  return damage.some((each) => each.segment === segment && each.from < to && each.to > from);
}
