/** What the files of a queue say, each by itself, before anybody asks what it leads to. Reads only. */
import { FileScanner, isGone, listSegments, parseIndexName, segmentName } from '../files.ts';
import { Displaced, findNames, formerSeal, movedFrom, type Told } from '../moved.ts';
import { indexedSeal } from '../index-file.ts';
import type { HeadStart } from '../operations.ts';
import type { Ports } from '../ports.ts';
import { position } from '../position.ts';
import { countBefore } from '../ranges.ts';
import { surveySegment, type BadRange, type Survey } from '../survey.ts';
import { checkNames, checkNumbers } from './origins.ts';
import { readStart, type Start } from './partial-head.ts';

export class Evidence {
  readonly ports: Ports;
  readonly folder: string;
  readonly scanner: FileScanner;
  /** Numbers that something in the folder has the name of a segment with, or of an index. */
  readonly listed: readonly number[];
  readonly indexed: readonly number[];
  /** Of the segments that can be read. */
  readonly segments: readonly number[];
  readonly surveys = new Map<number, Survey>();
  /** The first records of their heads, where they are sound. */
  readonly starts = new Map<number, Start>();
  /** What does not stand where it was written. */
  readonly moved = new Displaced();
  readonly #repeated = new Set<number>();

  /** Errors: JOURNAL_CORRUPT for a file that is not what its name says, those of node:fs. */
  static async gather(ports: Ports, folder: string): Promise<Evidence> {
    const evidence = new Evidence(ports, folder);
    await evidence.#read();
    return evidence;
  }

  private constructor(ports: Ports, folder: string) {
    const { fs } = ports;
    this.ports = ports;
    this.folder = folder;
    this.scanner = new FileScanner(fs);
    this.indexed = fs.list(folder).flatMap((name) => parseIndexName(name) ?? []);
    this.listed = listSegments(fs, folder);
    this.segments = this.listed.filter((segment) => fs.kind(this.path(segment)) === 'file');
  }

  async #read(): Promise<void> {
    checkNumbers(this.folder, this.listed, this.indexed);
    for (const segment of this.segments) {
      await this.reading(segment, async (fd) => {
        const survey = await surveySegment(this.ports, fd);
        this.surveys.set(segment, survey);
        for (const { from } of survey.repeated) this.#repeated.add(position(segment, from));
        const start = readStart(this.ports.fs, this.scanner, fd, this.path(segment));
        if (start) this.starts.set(segment, start);
      });
    }
    checkNames(this.folder, this.starts);
    const names = await findNames(this.ports, this.folder, this.segments);
    for (const segment of this.segments)
      await this.noteMoved(segment, { seal: this.#sealTold(segment), names: names.get(segment) });
  }

  path(segment: number): string {
    return `${this.folder}/${segmentName(segment)}`;
  }

  /** Undefined: it is gone. */
  async reading<T>(segment: number, use: (fd: number) => T | Promise<T>): Promise<T | undefined> {
    const { fs } = this.ports;
    let fd: number;
    try {
      fd = fs.open(this.path(segment), 'read');
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
    try {
      return await use(fd);
    } finally {
      fs.close(fd);
    }
  }

  /** Each segment that is still there, in their order. */
  async readingAll(use: (fd: number, segment: number) => Promise<void>): Promise<void> {
    for (const segment of this.segments) await this.reading(segment, (fd) => use(fd, segment));
  }

  /** Whether a segment has moved, as far as can be told by what is known of it. */
  async noteMoved(segment: number, told: Told): Promise<void> {
    await this.reading(segment, async (fd) => {
      const move = await movedFrom(this.ports, fd, segment, this.surveys.get(segment)!, told);
      if (move) await this.moved.note(this.ports, fd, segment, move);
    });
  }

  badAt(segment: number, offset: number): BadRange | undefined {
    const bad = this.surveys.get(segment)?.bad ?? [];
    // In order, and none within another.
    const found = bad[countBefore(bad, ({ from }) => from > offset) - 1];
    return found && offset < found.to ? found : undefined;
  }

  /** Whether the line there stands further up as well: it goes. */
  isRepeated(place: number): boolean {
    return this.#repeated.has(place);
  }

  /** Whether what stood there is damaged, or gone with its file. */
  isLost(segment: number, offset: number): boolean {
    const survey = this.surveys.get(segment);
    if (!survey || this.badAt(segment, offset)) return true;
    // It has been cut off.
    return !survey.sealed && !this.moved.segments.has(segment) && offset >= survey.end;
  }

  /**
   * Whether it was cut off within its head, and others have gone on with it: by what they wrote, nothing is missing. A head gets its
   * name whole.
   */
  isResumed(segment: number): boolean {
    const { ending, own, mended } = this.surveys.get(segment)!;
    if (own === 0 || mended) return false;
    // Where its last line has gone from the midst, what stands behind it is what did.
    return ending === 'cut' || (ending === 'sound' && !this.moved.segments.has(segment));
  }

  /** Whether records of it are known to be missing. */
  isHoled(segment: number): boolean {
    const { bad, gaps } = this.surveys.get(segment)!;
    return bad.length > 0 || gaps.length > 0 || this.moved.segments.has(segment);
  }

  /** Whether a sealed segment has lost its end. */
  isCut(segment: number): boolean {
    const { sealed, bad, end, bytes } = this.surveys.get(segment)!;
    // A damaged line may be the seal.
    return !sealed && (bad.length === 0 || end < bytes || this.sealOf(segment, segment + 1) >= bytes);
  }

  /** Where the successor's head says that the segment ended, should its seal be lost. */
  sealOf(segment: number, next: number | undefined): number {
    if (next === undefined || this.surveys.get(segment)?.sealed) return Infinity;
    const prev = this.starts.get(next)?.header.prev;
    if (prev?.segment !== segment) return Infinity;
    if (this.badAt(segment, prev.at)) return prev.at;
    // Where bytes have been put in, the damaged line that was the seal stands further down.
    return this.surveys.get(segment)?.bad.find(({ from }) => from > prev.at)?.from ?? prev.at;
  }

  /** How far what stands at the end of a sealed segment has moved, as far as its successor tells. */
  shiftOf(segment: number): number {
    const survey = this.surveys.get(segment);
    const former = survey && formerSeal(survey, this.#sealTold(segment));
    return former === undefined ? 0 : survey!.sealedAt! - former;
  }

  /** Whether it is told from elsewhere where the segment's seal stood: if it still does, so does all before it. */
  isPlaced(segment: number): boolean {
    // Not its index: that may have been made anew since.
    return this.surveys.get(segment)?.mendedSeal !== undefined || this.#prevOf(segment) !== undefined;
  }

  /** Where the segment was sealed, as its successor or its index tells. */
  #sealTold(segment: number): number | undefined {
    const prev = this.#prevOf(segment);
    if (prev) return prev.at;
    const sealedAt = this.surveys.get(segment)?.sealedAt;
    return sealedAt === undefined ? undefined : indexedSeal(this.ports.fs, this.folder, segment, sealedAt);
  }

  /** What the successor's head says of the segment's end. */
  #prevOf(segment: number): HeadStart['prev'] | undefined {
    const prev = this.starts.get(segment + 1)?.header.prev;
    // After a failed flush the device may hold less than what the head was made of.
    return prev?.segment === segment && !prev.failed ? prev : undefined;
  }
}
