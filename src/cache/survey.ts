/** One pass over every byte of a segment: what in it is no record, and what is missing. Applies nothing. */
import { scanFile, type FileVisitor } from './files.ts';
import { groupBy } from './group-by.ts';
import { decode, isKnown, isOwn } from './header.ts';
import { legible, type Legible } from './legible.ts';
import type { FileSystem, Ports } from './ports.ts';
import { countBefore, Ranges, type Range } from './ranges.ts';
import { isJson, lineLength, payloadText, PREFIX, scanLines } from './record.ts';
import type { Header } from './state.ts';

export interface BadRange extends Legible {
  from: number;
  to: number;
  /**
   * `foreign`: the checksum is right, but what it covers is no record of Coda's, or a message that is no JSON. `cut`: what is left
   * of a line that was whole, as its writer's numbers show.
   */
  what: 'changed' | 'blank' | 'foreign' | 'cut';
  /** Whether it is, or was, one line: as long as it says that it is, or changed in just that. */
  single: boolean;
  /** Whether there are zeros in it, as a power cut leaves them; and how many bytes of them. */
  zeros: boolean;
  blank: number;
  /** Behind the seal: nothing but notes stands there. */
  note: boolean;
  /** Newlines alone. */
  isEmpty?: true;
}

/** Where the numbering of a writer's records leaps. */
export interface Gap {
  /** Of the record that it goes on with, and the end of the one before. */
  offset: number;
  from: number;
  count: number;
  writer: string;
}

export interface Survey {
  records: number;
  /** Sound adds before the seal. */
  adds: number;
  /** Sound records of writers: all but those of the head. */
  own: number;
  bytes: number;
  /** Behind the last sound record of the head. */
  headEnd: number;
  /** What the head ends with: its last record, another sound one, a line that was cut off, or what may have been the last one. */
  ending: 'ready' | 'sound' | 'cut' | 'bad';
  /** Offset behind the last complete line. */
  end: number;
  sealed: boolean;
  /** Where the seal stands. */
  sealedAt: number | undefined;
  /** Writes that were cut off by the death of their process, as far as no number says that they were not. */
  torn: [from: number, to: number][];
  bad: BadRange[];
  /**
   * What stands behind the last complete line, unless no write begins so: in the segment in use one that is under way, or was
   * cut off.
   */
  tail: BadRange | undefined;
  gaps: Gap[];
  /** Lines that stand further up as well, where their writer wrote them; of a head's, all that stand behind it. */
  repeated: BadRange[];
  /** Offsets of restarts of the machine, and what was known to be synced before each. */
  boots: { offset: number; synced: number }[];
  /** Offset below which all is known to have been on the device. */
  synced: number;
  /** Sealed because a flush failed: what lived in it was moved to the next head. */
  failedSync: boolean;
  /** What `queue repair` has taken out of it; undefined when it has not. */
  mended: [from: number, to: number][] | undefined;
  /** Where the seal stood when it did so last; undefined where that is not told. */
  mendedSeal: number | undefined;
}

const LONGEST_LOOK = 64 * 1024;
const NEWLINE = Buffer.from('\n');
/** Empty lines that no writes leave behind, however often they are cut off: a repair does, in the place of what it takes out. */
const MANY = PREFIX;
const [BRACKET, BRACE] = Buffer.from('[{');
/** Of a record without a payload. */
const END = '}]';

/** Of the open file. */
export async function surveySegment(ports: Pick<Ports, 'fs' | 'clock'>, fd: number): Promise<Survey> {
  const surveyor = new Surveyor(ports.fs.stat(fd).size);
  const end = await scanFile(ports, fd, surveyor);
  surveyor.end(end, readTail(ports.fs, fd, end));
  if (surveyor.suspects.size > 0) await scanFile(ports, fd, surveyor.again());
  return surveyor.survey;
}

/** No more of it than it takes to say what it is. */
function readTail(fs: FileSystem, fd: number, from: number): Buffer {
  const bytes = Buffer.alloc(Math.min(LONGEST_LOOK, Math.max(0, fs.stat(fd).size - from)));
  return bytes.subarray(0, fs.read(fd, bytes, 0, bytes.length, from));
}

/** Whether a bad range was lost before it was on the device: in a restart of the machine, or because a flush had failed. */
export function wasUnsynced(
  { boots, failedSync }: Survey,
  { from, to, what, zeros, note }: BadRange,
): boolean {
  const boot = boots[countBefore(boots, ({ offset }) => offset >= to)];
  const isUnsynced = failedSync || (boot !== undefined && boot.synced <= from);
  return zeros ? note || isUnsynced : what === 'cut' && isUnsynced;
}

/** The gaps that no damaged line explains, nor one that has been taken out since. `unsynced`: a power cut does. */
export function openGaps(survey: Survey): (Gap & { unsynced: boolean })[] {
  const { bad, mended = [], boots, failedSync } = survey;
  if (survey.gaps.length === 0) return [];
  const lost = new Ranges([...bad.map(({ from, to }): Range => [from, to]), ...mended]);
  const restarts = new Ranges(boots.map(({ offset }) => [offset, offset]));
  const open = survey.gaps.filter(({ offset, from }) => !lost.anyWithin(from, offset));
  return open.map((gap) => {
    return { ...gap, unsynced: failedSync || restarts.anyWithin(gap.from, gap.offset) };
  });
}

/** Which bytes gaps span, by writer; of `undefined`, all gaps. */
export function spansOf(gaps: readonly Gap[]): ReadonlyMap<string | undefined, Ranges> {
  const byWriter = [...groupBy(gaps, ({ writer }) => writer), [undefined, gaps] as const];
  return new Map(
    byWriter.map(([writer, some]) => [writer, new Ranges(some.map(({ from, offset }) => [from, offset]))]),
  );
}

/** Those of them that no power cut explains either. */
export function lostGaps(survey: Survey): Gap[] {
  return openGaps(survey).filter(({ unsynced }) => !unsynced);
}

/** Tells a line from all others, by its checksum, its lengths, its writer and its number. */
function nameOf(buffer: Buffer, start: number, { w, n }: Header): string {
  return `${buffer.toString('latin1', start, start + PREFIX)}${w} ${n}`;
}

/** Only of what begins like a value of several parts it takes the time to find out. */
function isWholeJson(bytes: Buffer): boolean {
  return (bytes[0] === BRACKET || bytes[0] === BRACE) && isJson(bytes.toString('latin1'));
}

/** Of a line of which bytes are missing in its midst, the end is left. */
function isEndOfRecord(buffer: Buffer, end: number): boolean {
  return buffer.toString('latin1', end - END.length, end) === END;
}

class Surveyor implements FileVisitor {
  readonly survey: Survey;
  /** Names of lines with a number that their writer had left behind: those that stand there for the second time are among them. */
  readonly suspects = new Set<string>();
  readonly #writers = new Map<string, { n: number; end: number }>();
  readonly #torn: BadRange[] = [];
  #isBehindHead = false;
  /** Behind the last line that is not empty. */
  #reached = 0;
  /** Where there are very many empty ones. */
  readonly #empty: BadRange[] = [];

  constructor(bytes: number) {
    this.survey = {
      records: 0,
      adds: 0,
      own: 0,
      bytes,
      headEnd: 0,
      ending: 'sound',
      end: 0,
      sealed: false,
      sealedAt: undefined,
      torn: [],
      bad: [],
      tail: undefined,
      gaps: [],
      repeated: [],
      boots: [],
      synced: 0,
      failedSync: false,
      mended: undefined,
      mendedSeal: undefined,
    };
  }

  record(buffer: Buffer, start: number, end: number, headerLength: number, offset: number): void {
    const { survey } = this;
    this.#reach(offset, end - start);
    const header = decode(buffer, start, end, headerLength)?.header;
    if (!header || (!survey.sealed && !isKnown(header)))
      return this.#note(buffer, start, end, offset, 'foreign');
    survey.records++;
    if (header.op === 'mended') {
      survey.mended = [...(survey.mended ?? []), ...header.lost];
      survey.mendedSeal = header.seal;
    }
    const holds = header.op === 'add' || header.op === 'update' || header.op === 'carry';
    if (holds && !isJson(payloadText(buffer, start, end, headerLength)))
      this.#note(buffer, start, end, offset, 'foreign');
    else if (header.op === 'add' && !survey.sealed) survey.adds++;
    if (!isOwn(header)) {
      if (!this.#isBehindHead) {
        survey.headEnd = offset + end - start + 1;
        survey.ending = header.op === 'ready' ? 'ready' : 'sound';
      }
      // Nobody writes any there but a repair.
      else if (header.op !== 'mended')
        survey.repeated.push(this.#range(buffer.subarray(start, end), offset, 'changed'));
      this.#isBehindHead ||= header.op === 'ready';
      return;
    }
    this.#isBehindHead = true;
    survey.own++;
    const { n, end: from } = this.#writers.get(header.w) ?? { n: 0, end: 0 };
    if (header.n <= n && !survey.sealed) this.suspects.add(nameOf(buffer, start, header));
    if (header.n > n + 1) survey.gaps.push({ offset, count: header.n - n - 1, writer: header.w, from });
    if (header.n > n) this.#writers.set(header.w, { n: header.n, end: offset + end - start });
    if (header.op === 'boot') survey.boots.push({ offset, synced: survey.synced });
    if (header.op === 'seal' && header.why === 'sync' && !survey.sealed) survey.failedSync = true;
    if (header.op === 'unsound') survey.failedSync = true;
    if (header.op === 'seal') {
      survey.sealed = true;
      survey.sealedAt ??= offset;
    }
    if (header.s !== undefined) survey.synced = Math.max(survey.synced, header.s);
  }

  /** Notes which of the suspects stand further up as well. */
  again(): FileVisitor {
    const met = new Set<string>();
    let sealed = false;
    return {
      record: (buffer, start, end, headerLength, offset) => {
        const header = decode(buffer, start, end, headerLength)?.header;
        if (sealed || !header || !isOwn(header)) return;
        sealed = header.op === 'seal';
        const name = nameOf(buffer, start, header);
        if (!this.suspects.has(name)) return;
        if (met.has(name)) {
          this.survey.repeated.push(this.#range(buffer.subarray(start, end), offset, 'changed'));
          if (header.op === 'add') this.survey.adds--;
        }
        met.add(name);
      },
      bad() {},
    };
  }

  bad(buffer: Buffer, start: number, end: number, kind: 'torn' | 'rot', offset: number): void {
    this.#reach(offset, end - start);
    if (!this.#isBehindHead)
      this.survey.ending = kind === 'torn' && !isEndOfRecord(buffer, end) ? 'cut' : 'bad';
    if (kind === 'rot') return this.#note(buffer, start, end, offset, 'changed');
    this.#torn.push(this.#range(buffer.subarray(start, end), offset, 'cut'));
  }

  /** The file has been read up to `offset`, behind which `tail` stands. */
  end(offset: number, tail: Buffer): void {
    const { survey } = this;
    this.#reach(offset, 0);
    // Without the word of a repair they stand for what has been there.
    if (!survey.mended) survey.bad = survey.bad.concat(this.#empty);
    survey.end = offset;
    this.#sortTorn();
    if (tail.length === 0) return;
    const range = this.#range(tail, offset, 'changed');
    const to = Math.max(survey.bytes, offset);
    // What is too long to be looked at may be like what was.
    const whole = { ...range, to, blank: range.zeros ? range.blank + to - range.to : 0 };
    if (range.zeros || !this.#noteUnended(tail, offset)) survey.tail = whole;
  }

  /** Who goes on behind a write of its own that was cut off makes it again; where its number is missing, it was whole once. */
  #sortTorn(): void {
    const { survey } = this;
    // Of whose writer nothing is legible, it was perhaps, where nothing else is damaged that was.
    const open = spansOf(openGaps(survey)).get(undefined)!;
    const spans = spansOf(survey.gaps);
    for (const range of this.#torn) {
      const { from, to, writer } = range;
      const span = writer === undefined ? open : spans.get(writer);
      if (span?.anyCovers(from, to)) survey.bad.push(range);
      else survey.torn.push([from, to]);
    }
    survey.bad.sort((a, b) => a.from - b.from);
  }

  /** Whether something is no record, nor the beginning of one, as will show once the next write has begun with a newline. */
  #noteUnended(tail: Buffer, offset: number): boolean {
    const before = this.survey.bad.length;
    const lines = Buffer.concat([tail, NEWLINE]);
    scanLines(lines, 0, lines.length, {
      record() {},
      bad: (buffer, start, end, kind) => {
        if (kind === 'rot') this.#note(buffer, start, end, offset + start, 'changed');
      },
    });
    return this.survey.bad.length > before;
  }

  /** A line begins at `offset`; those before it are empty. */
  #reach(offset: number, length: number): void {
    const count = offset - this.#reached;
    if (count > MANY) {
      const some = Buffer.alloc(Math.min(LONGEST_LOOK, count), NEWLINE);
      this.#empty.push({ ...this.#range(some, this.#reached, 'changed'), to: offset, isEmpty: true });
    }
    this.#reached = offset + length + 1;
  }

  #note(buffer: Buffer, start: number, end: number, offset: number, kind: BadRange['what']): void {
    this.survey.bad.push(this.#range(buffer.subarray(start, end), offset, kind));
  }

  #range(bytes: Buffer, from: number, kind: BadRange['what']): BadRange {
    const blank = bytes.reduce((count, byte) => (byte === 0 ? count + 1 : count), 0);
    return {
      from,
      to: from + bytes.length,
      ...legible(bytes),
      what: kind === 'changed' && blank === bytes.length ? 'blank' : kind,
      single: kind === 'cut' || lineLength(bytes, 0) === bytes.length || isWholeJson(bytes),
      zeros: blank > 0,
      blank,
      note: this.survey.sealed,
    };
  }
}
