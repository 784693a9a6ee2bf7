/**
 * `queue verify`: reads every byte of a queue's folder and says what is not as it was written. Writes nothing, and looks at
 * the folder as it was at one moment (`picture.ts`), so it may run beside producers and workers.
 */
import { basename } from 'node:path';
import { QueueError, quote } from '../errors.ts';
import { Contents } from './contents.ts';
import {
  errorCode,
  FileScanner,
  indexName,
  isGone,
  listSegments,
  newestSegment,
  parseIndexName,
  segmentName,
  standsAt,
  storageError,
  temporaryName,
} from './files.ts';
import { groupBy } from './group-by.ts';
import { loadHead, type LoadedHead } from './head.ts';
import { indexedSeal, readIndex } from './index-file.ts';
import { isOfRepair, readDamagedHead } from './loading.ts';
import { findNames, formerSeal, movedFrom, sealIn, type Names } from './moved.ts';
import { nodePorts } from './node-ports.ts';
import { openOlder } from './older-segment.ts';
import { takePicture, type Picture } from './picture.ts';
import type { FileSystem, Ports } from './ports.ts';
import { offsetOf, segmentOf } from './position.ts';
import { Ranges } from './ranges.ts';
import { readTable } from './read-table.ts';
import { replay } from './replay.ts';
import type { QueueState } from './state.ts';
import { openGaps, surveySegment, wasUnsynced, type BadRange, type Survey } from './survey.ts';
import { toPlace } from './where.ts';

interface SegmentReport {
  file: string;
  records: number;
  bytes: number;
  sealed: boolean;
  /** Writes that were cut off by the death of their process, before they were acknowledged: no damage. */
  torn: number;
}

export interface DamageReport {
  file: string;
  /** Bytes [from, to) of the file. */
  from: number;
  to: number;
  /**
   * `rot`: bytes that have changed. `torn`: lost in a power cut before they were synced, as the durability allows.
   * `missing`: a record or a file that others refer to. `head`: a segment's head cannot be used, or differs from what
   * its predecessor says. `index`: one that does not match its segment; nothing is lost.
   */
  kind: 'rot' | 'torn' | 'missing' | 'head' | 'index';
  /** Whether the log shows that the damaged bytes had been on the device. */
  acknowledged: boolean;
  /** Of the message it concerns, where it can still be read. */
  uuid?: string;
  detail: string;
}

export interface VerifyReport {
  queue: string;
  /** No damage but what a power cut may take under the chosen durability, and to indexes. */
  sound: boolean;
  segments: SegmentReport[];
  damage: DamageReport[];
  /** Messages in the queue, in whatever state. Not known where the newest segment's head is damaged, or none is there. */
  messages?: number;
}

/**
 * Errors: QUEUE_NOT_FOUND, JOURNAL_NEWER, STORAGE_FAILED.
 * @param how `strangers`: whether a record with an operation that nobody knows is rot; else it is refused, as a newer format is.
 */
export async function verifyQueue(
  folder: string,
  ports: Ports = nodePorts,
  how: { strangers?: boolean } = {},
): Promise<VerifyReport> {
  const queue = basename(folder);
  let picture: Picture | undefined;
  try {
    picture = takePicture(ports.fs, folder);
    return await new Verification(folder, queue, ports, picture, how.strangers).run();
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOTDIR' || (code === 'ENOENT' && ports.fs.kind(folder) === undefined)) {
      throw new QueueError('QUEUE_NOT_FOUND', 'there is no folder of this queue', {
        queue,
        path: folder,
        cause: error,
      });
    }
    throw storageError(error, 'verifying the queue', queue, folder);
  } finally {
    picture?.close();
  }
}

const UNSYNCED = 'lost before it was synced: the machine was restarted, or a flush had failed';
const MOVED =
  'records behind this place do not stand where they were written: others name messages where none stand any more';
const REMADE = 'the head is damaged; it is made again from the predecessor, if that is sound';
const OF_REPAIR = 'the head is damaged; a repair has made it, so that no earlier segment leads to it';
const REPEATED = 'this line stands further up as well, where it was written';
const DETAILS: Record<BadRange['what'], string> = {
  changed: 'these bytes are not what was written',
  blank: 'zeros where records were',
  cut: 'only a part is left of what was written',
  foreign: 'not written by Coda: the checksum is right, but it is no record, or its message no JSON',
};

/** A file that is missing has no bytes to be within. */
function isWithin(offset: number, { from, to, kind }: DamageReport): boolean {
  return (kind === 'missing' && to === 0) || (from <= offset && offset < to);
}

class Verification {
  readonly #folder: string;
  /** Of the picture. */
  readonly #ports: Ports;
  readonly #segments: readonly number[];
  /** As the folder is now. */
  readonly #present: FileSystem;
  readonly #scanner: FileScanner;
  readonly #report: VerifyReport;
  /** Of the segments that have been read. */
  readonly #surveys = new Map<number, Survey>();
  #names: Names = new Map();
  readonly #strangers: boolean;
  /** Segments that are known to have been sealed, because an index of them is there. */
  #indexed: readonly number[] = [];
  /** The predecessor that the newest head names. */
  #restsOn: number | undefined;

  constructor(folder: string, queue: string, ports: Ports, { fs, segments }: Picture, strangers = false) {
    this.#strangers = strangers;
    this.#folder = folder;
    this.#ports = { ...ports, fs };
    this.#segments = segments;
    this.#present = ports.fs;
    this.#scanner = new FileScanner(fs);
    this.#report = { queue, sound: true, segments: [], damage: [] };
  }

  async run(): Promise<VerifyReport> {
    const segments = this.#segments;
    const newest = segments.findLast((segment) => this.#isThere(segment)) ?? 0;
    const basis = newest && (await this.#basisOf(newest));
    // They are written when there is a successor: perhaps there is one by now.
    const indexed = this.#present.list(this.#folder).flatMap((name) => parseIndexName(name) ?? []);
    if (newestSegment(this.#present, this.#folder) === (segments.at(-1) ?? 0)) this.#indexed = indexed;
    if (basis !== newest) this.#restsOn = basis;
    if (segments.length === 0) {
      this.#damage({
        file: segmentName(1),
        from: 0,
        to: 0,
        kind: 'missing',
        detail: 'the folder holds no segment',
      });
    }
    this.#names = await findNames(this.#ports, this.#folder, segments);
    let previous: QueueState | undefined;
    for (const segment of segments)
      previous = await this.#verifySegment(segment, newest, segment === basis, previous);
    if (this.#restsOn && this.#ports.fs.kind(`${this.#folder}/${segmentName(this.#restsOn)}`) !== 'file') {
      this.#missing(
        this.#restsOn,
        'the predecessor of the newest segment, which is kept to make its head again',
      );
    }
    for (const segment of this.#indexed)
      if (segment > newest && !segments.includes(segment)) this.#missing(segment, 'its index is there');
    await this.#verifyIndexes();
    this.#report.sound = this.#report.damage.every((each) => isHarmless(each));
    return this.#report;
  }

  /** Whether there is a file under its name that is not another segment. */
  #isThere(segment: number): boolean {
    const { fs } = this.#ports;
    try {
      fs.close(openOlder(fs, this.#folder, segment));
      return true;
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
  }

  /** With whose head all begins that the newest segment rests on: its own, or where that is damaged, the one that it is made again from. */
  async #basisOf(newest: number): Promise<number | undefined> {
    const { fs } = this.#ports;
    const path = `${this.#folder}/${segmentName(newest)}`;
    const fd = fs.open(path, 'read');
    try {
      if (await loadHead(this.#ports, fd, newest, 0, path)) return newest;
      const { start } = readDamagedHead(fs, fd);
      return start ? start.prev?.segment : newest - 1;
    } finally {
      fs.close(fd);
    }
  }

  /** An index that does not match is ignored by all and made anew; that it does not is still worth knowing. */
  async #verifyIndexes(): Promise<void> {
    const { fs, clock } = this.#ports;
    // The newest gets one when it is not the newest any more.
    for (const segment of this.#segments.slice(0, -1)) {
      const file = indexName(segment);
      const exists = (): boolean => fs.kind(`${this.#folder}/${file}`) !== undefined;
      // One that is just being written is looked at once more.
      for (let attempt = 0; exists() && !readIndex(fs, this.#folder, segment); attempt++) {
        if (attempt === 1) {
          this.#damage({
            file,
            from: 0,
            to: 0,
            kind: 'index',
            detail: 'the index does not match its segment; it is ignored',
          });
          break;
        }
        await new Promise<void>((resolve) => void clock.timer(50, resolve));
      }
    }
  }

  /** Returns the state at the segment's end, when it could be followed. */
  async #verifySegment(
    segment: number,
    last: number,
    basis: boolean,
    previous: QueueState | undefined,
  ): Promise<QueueState | undefined> {
    const { fs } = this.#ports;
    const newest = segment === last;
    const file = segmentName(segment);
    const path = `${this.#folder}/${file}`;
    if (fs.kind(path) !== 'file') {
      // Where it is an older one, the head says whether it is missed: it may be spent, and deleted since it was listed.
      if (segment > last) this.#missing(segment, `${standsAt(fs, path)} is in its place`);
      return undefined;
    }
    const fd = fs.open(path, 'read');
    try {
      const survey = await surveySegment(this.#ports, fd);
      const { records, bytes, sealed, sealedAt, torn } = survey;
      this.#report.segments.push({ file, records, bytes, sealed, torn: torn.length });
      this.#judge(file, survey, newest);
      this.#surveys.set(segment, survey);
      const moved = await movedFrom(this.#ports, fd, segment, survey, {
        seal: sealedAt === undefined ? undefined : indexedSeal(fs, this.#folder, segment, sealedAt),
        names: this.#names.get(segment),
      });
      if (moved) this.#moved(segment, moved.from);
      const head = await loadHead(this.#ports, fd, segment, 0, path);
      if (
        (!newest || this.#isOver(segment)) &&
        !survey.sealed &&
        (survey.bad.length === 0 || survey.end < survey.bytes)
      )
        this.#missing(segment, 'its seal, and perhaps more: the file has been cut');
      if (!survey.mended && (survey.ending === 'cut' || survey.ending === 'sound'))
        this.#missing(
          segment,
          'the end of its head, and perhaps all that stood behind it: the file has been cut',
        );
      // Of a mended segment nothing but its messages is needed any more, and its records lead to nothing.
      if (survey.mended) {
        if (newest) this.#missing(segment + 1, 'a repair has made it when it mended the one before');
        return undefined;
      }
      // Its first record is enough to tell where the one before ended.
      const start = head?.start ?? readDamagedHead(fs, fd).start;
      if (start?.prev && !start.prev.failed && start.segment === segment)
        this.#checkSeal(start.prev.segment, start.prev.at);
      if (!head) {
        const isRepaired = previous?.isRepaired || (start && isOfRepair(start));
        const made = isRepaired ? OF_REPAIR : REMADE;
        const detail = this.#isThere(segment) ? made : 'the file is another segment, as it says itself';
        this.#damage({ file, from: 0, to: 0, kind: 'head', detail });
        return undefined;
      }
      if (newest) this.#restsOn = head.start.prev?.segment;
      this.#compare(file, head, previous);
      const state = await this.#replay(fd, head, basis);
      // With something else behind it than a file, nobody knows.
      if (newest && state && segment === this.#segments.at(-1))
        this.#report.messages = Object.values(state.counts).reduce((sum, count) => sum + count, 0);
      // Where all begins with it because the head behind it is damaged: of one that a repair has made it tells nothing.
      if (basis && state && (newest || !state.isRepaired)) {
        for (const reference of head.references) {
          if (fs.kind(`${this.#folder}/${segmentName(reference)}`) !== 'file')
            this.#missing(reference, `messages in it are still waiting, says the head of ${file}`);
        }
        // Nobody adds to a queue that is not there.
        if (state.id === '' && survey.bad.length > 0 && state.tables.get(segment)!.count > 0)
          this.#missing(segment, 'what made the queue: messages have been added to it');
        await this.#checkContents(state);
        this.#checkKnown(state);
        this.#checkSuccessor(state);
      }
      return state;
    } finally {
      fs.close(fd);
    }
  }

  /** Whether an index, or a successor that is none, shows that the newest segment had been sealed. */
  #isOver(newest: number): boolean {
    return this.#segments.includes(newest + 1) || this.#indexed.some((segment) => segment >= newest);
  }

  /** What is more than an add, or older than the last segments, may lie where no table looks. */
  async #checkContents(state: QueueState): Promise<void> {
    const contents = new Contents(this.#ports.fs, this.#folder);
    let count = 0;
    try {
      for (const [at, { place }] of state.touched) {
        if (++count % 1000 === 0) await this.#ports.clock.yield();
        if (!contents.read(state, at)) this.#missContent(at, place);
      }
    } finally {
      contents.close();
    }
  }

  #missContent(at: number, place: number): void {
    const offset = offsetOf(place);
    const file = segmentName(segmentOf(place));
    // Reported as what it is.
    if (this.#report.damage.some((known) => known.file === file && isWithin(offset, known))) return;
    const detail = `what message ${toPlace(at).join('/')} holds is not there`;
    this.#damage({ file, from: offset, to: offset, kind: 'missing', detail });
  }

  /** What was damaged when the head was made still is, or was put back by hand: until a repair all go by what the head says. */
  #checkKnown({ damage, segment }: QueueState): void {
    const found = groupBy(this.#report.damage, ({ file }) => file);
    for (const [known, ranges] of groupBy(damage, (each) => each.segment)) {
      const there = found.get(segmentName(known)) ?? [];
      if (known === segment || there.some((each) => !isHarmless(each))) continue;
      // What a failed flush has cost was met before the log said that one had failed.
      const harmless = new Ranges(there.map(({ from, to }) => [from, to]));
      if (ranges.every(({ from, to }) => to > 0 && harmless.anyCovers(from, to))) continue;
      this.#missing(known, `what was damaged in it when the head of ${segmentName(segment)} was made`);
    }
  }

  /** A successor that the log has chosen exists, under its temporary name or its own. */
  #checkSuccessor({ segment, successor }: QueueState): void {
    const fs = this.#present;
    if (successor === undefined) return;
    if (fs.kind(`${this.#folder}/${temporaryName(segment + 1, successor)}`) !== undefined) return;
    // It has its own name by now; or something else has, as is told.
    if (fs.kind(`${this.#folder}/${segmentName(segment + 1)}`) !== undefined) return;
    const isFile = (each: number): boolean => fs.kind(`${this.#folder}/${segmentName(each)}`) === 'file';
    if (listSegments(fs, this.#folder).some((each) => each > segment && isFile(each))) return;
    this.#missing(segment + 1, 'the log has chosen this segment as the next one');
  }

  /** Tells rot from what a power cut took before it was synced. */
  #judge(file: string, survey: Survey, newest: boolean): void {
    // A sealed segment is synced before its successor gets its name.
    const synced = survey.sealed && !newest ? Infinity : survey.synced;
    // Behind the seal it is a note, or what has never counted.
    const { tail, sealed } = survey;
    const cut = !newest && tail && (!sealed || tail.zeros) ? [tail] : [];
    if (newest && tail?.zeros) this.#judgeTail(file, survey, tail);
    for (const bad of [...survey.bad, ...cut]) {
      const { from, to, uuid } = bad;
      const unsynced = wasUnsynced(survey, bad);
      const detail = unsynced ? UNSYNCED : DETAILS[bad.what];
      const kind = unsynced ? 'torn' : 'rot';
      this.#damage({ file, from, to, kind, acknowledged: !unsynced && synced >= to, uuid, detail });
    }
    for (const { from, to, uuid } of survey.repeated)
      this.#damage({ file, from, to, kind: 'rot', acknowledged: synced >= to, uuid, detail: REPEATED });
    for (const { offset, count, writer, unsynced } of openGaps(survey)) {
      const detail = `${count} record${count === 1 ? '' : 's'} of writer ${quote(writer)} missing before this place`;
      const kind = unsynced ? 'torn' : 'missing';
      this.#damage({ file, from: offset, to: offset, kind, acknowledged: synced >= offset, detail });
    }
  }

  /** In the segment in use. Nobody writes zeros: they stand for what a power cut has taken, if it was not on the device. */
  #judgeTail(file: string, { synced }: Survey, { from, to, uuid, what }: BadRange): void {
    const kind = from >= synced ? 'torn' : 'rot';
    const detail = kind === 'torn' ? UNSYNCED : DETAILS[what];
    this.#damage({ file, from, to, kind, acknowledged: kind === 'rot', uuid, detail });
  }

  /** What stands at the end of a segment stands where a later head says. */
  #checkSeal(segment: number, seal: number | undefined): void {
    const survey = this.#surveys.get(segment);
    const former = survey && formerSeal(survey, seal);
    if (former !== undefined) this.#moved(segment, Math.min(former, survey!.sealedAt!));
  }

  #moved(segment: number, from: number): void {
    const file = segmentName(segment);
    if (this.#report.damage.some((known) => known.file === file && known.detail === MOVED)) return;
    this.#damage({ file, from, to: from, kind: 'missing', detail: MOVED });
  }

  /** What the head says must be what following its predecessor to the seal leads to. */
  #compare(file: string, head: LoadedHead, previous: QueueState | undefined): void {
    const { prev, digest } = head.start;
    if (!previous?.seal || prev?.segment !== previous.segment) return;
    // After a failed flush the device may hold less than what the head was made of.
    if (previous.seal.why === 'sync') return;
    // Nor does what is left of a segment in which records are lost lead anywhere.
    if (previous.damage.some(({ segment }) => segment === previous.segment)) return;
    const same =
      prev.at === previous.seal.offset && prev.crc === previous.seal.checksum && digest === previous.digest;
    if (same) return;
    const detail = `the head differs from what ${segmentName(previous.segment)} leads to`;
    this.#damage({ file, from: 0, to: head.end, kind: 'head', detail });
  }

  /** Undefined when what it rests on is gone, or not all there; of segments that is right for all but the last two. */
  async #replay(fd: number, head: LoadedHead, basis: boolean): Promise<QueueState | undefined> {
    const { state } = head;
    let complete = true;
    for (const table of state.tables.values()) {
      // For the last head, to find all that waits; else as far as the rules need it.
      if (table.read || !(basis || state.needsTable(table))) continue;
      const path = `${this.#folder}/${segmentName(table.segment)}`;
      if (this.#ports.fs.kind(path) !== 'file') {
        complete = false;
        continue;
      }
      if (basis) this.#checkSeal(table.segment, sealIn(table.runs()));
      const source = { ports: this.#ports, scanner: this.#scanner, folder: this.#folder, state, table };
      const waiting = table.fresh;
      try {
        await readTable({ ...source, writes: false });
      } catch (error) {
        if (!isGone(error)) throw error;
        // A file that is another segment, as it says itself.
        complete = false;
        this.#missing(table.segment, 'another segment stands under its name');
        continue;
      }
      const lost = waiting - table.fresh;
      if (lost > 0) complete = false;
      if (basis && lost > 0) {
        this.#missing(table.segment, `${lost} of the messages that wait in it cannot be found`);
      }
    }
    state.recount();
    await replay(this.#ports, fd, state, { from: head.end, strangers: this.#strangers });
    return complete || basis ? state : undefined;
  }

  #missing(segment: number, detail: string): void {
    this.#damage({ file: segmentName(segment), from: 0, to: 0, kind: 'missing', acknowledged: true, detail });
  }

  #damage(
    found: Omit<DamageReport, 'acknowledged' | 'uuid'> & {
      acknowledged?: boolean;
      uuid?: string | undefined;
    },
  ): void {
    const { uuid, acknowledged = true, ...rest } = found;
    this.#report.damage.push({ ...rest, acknowledged, ...(uuid === undefined ? {} : { uuid }) });
  }
}

/** An index is never synced, so a power cut may well cost it; it is ignored and made anew. */
function isHarmless({ kind }: DamageReport): boolean {
  return kind === 'torn' || kind === 'index';
}
