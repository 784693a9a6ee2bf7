/**
 * `queue verify`: reads every byte of a queue's folder and says what is not as it was written. Writes nothing, so it
 * may run beside producers and workers.
 */
import { basename } from 'node:path';
import { QueueError } from '../errors.ts';
import {
  errorCode,
  FileScanner,
  indexName,
  isGone,
  listSegments,
  newestSegment,
  segmentName,
  storageError,
  temporaryName,
  type FileVisitor,
} from './files.ts';
import { loadHead, type LoadedHead } from './head.ts';
import { readIndex } from './index-file.ts';
import { nodePorts } from './node-ports.ts';
import type { HeadRecord, Operation, Written } from './operations.ts';
import type { Ports } from './ports.ts';
import { headerText, lineChecksum, parsePayload, payloadText } from './record.ts';
import { readTable } from './read-table.ts';
import type { Header, QueueState } from './state.ts';

interface SegmentReport {
  file: string;
  records: number;
  bytes: number;
  sealed: boolean;
  /** Writes that were cut off by the death of their process, before they were acknowledged: no damage. */
  torn: number;
}

interface DamageReport {
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
  /** Messages in the queue, in whatever state. */
  messages: number;
}

/** Errors: QUEUE_NOT_FOUND, JOURNAL_NEWER, STORAGE_FAILED. */
export async function verifyQueue(folder: string, ports: Ports = nodePorts): Promise<VerifyReport> {
  const queue = basename(folder);
  try {
    return await new Verification(folder, queue, ports).run();
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') {
      throw new QueueError('QUEUE_NOT_FOUND', 'there is no folder of this queue', {
        queue,
        path: folder,
        cause: error,
      });
    }
    throw storageError(error, 'verifying the queue', queue, folder);
  }
}

interface BadRange {
  from: number;
  to: number;
  uuid: string | undefined;
  blank: boolean;
  /** Whether there are zeros in it, as a power cut leaves them. */
  zeros: boolean;
  /** Behind the seal: nothing but notes stands there. */
  note: boolean;
}

/** What one pass over a segment's bytes shows. */
interface Survey {
  report: SegmentReport;
  bad: BadRange[];
  /** Gaps in the numbering of a writer's records: where it goes on, and how many are not there. */
  gaps: { offset: number; count: number; writer: string; from: number }[];
  /** Offsets of restarts of the machine, and what was known to be synced before each. */
  boots: { offset: number; synced: number }[];
  synced: number;
  /** Sealed because a flush failed: what lived in it was moved to the next head. */
  failedSync: boolean;
}

class Verification {
  readonly #folder: string;
  readonly #ports: Ports;
  readonly #scanner: FileScanner;
  readonly #report: VerifyReport;

  constructor(folder: string, queue: string, ports: Ports) {
    this.#folder = folder;
    this.#ports = ports;
    this.#scanner = new FileScanner(ports.fs);
    this.#report = { queue, sound: true, segments: [], damage: [], messages: 0 };
  }

  async run(): Promise<VerifyReport> {
    const segments = listSegments(this.#ports.fs, this.#folder);
    const newest = segments.at(-1);
    if (newest === undefined) {
      this.#damage({
        file: segmentName(1),
        from: 0,
        to: 0,
        kind: 'missing',
        detail: 'the folder holds no segment',
      });
    }
    let previous: QueueState | undefined;
    for (const segment of segments)
      previous = await this.#verifySegment(segment, segment === newest, previous);
    if (newest !== undefined && newest > 1 && !segments.includes(newest - 1)) {
      this.#missing(
        newest - 1,
        'the predecessor of the newest segment, which is kept to make its head again',
      );
    }
    await this.#verifyIndexes(segments);
    // An index is never synced, so a power cut may well cost it; it is ignored and made anew.
    this.#report.sound = this.#report.damage.every(({ kind }) => kind === 'torn' || kind === 'index');
    return this.#report;
  }

  /** An index that does not match is ignored by all and made anew; that it does not is still worth knowing. */
  async #verifyIndexes(segments: readonly number[]): Promise<void> {
    const { fs, clock } = this.#ports;
    for (const segment of segments) {
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
    newest: boolean,
    previous: QueueState | undefined,
  ): Promise<QueueState | undefined> {
    const { fs } = this.#ports;
    const file = segmentName(segment);
    const path = `${this.#folder}/${file}`;
    let fd: number;
    try {
      fd = fs.open(path, 'read');
    } catch (error) {
      // Spent and deleted by a worker since it was listed, unless the newest head says otherwise.
      if (isGone(error) && !newest) return undefined;
      throw error;
    }
    try {
      const survey = await this.#survey(fd, file);
      this.#report.segments.push(survey.report);
      this.#judge(survey, newest);
      const head = loadHead(fs, fd, segment, 0, path);
      if (!head) {
        this.#damage({
          file,
          from: 0,
          to: 0,
          kind: 'head',
          detail: 'the head is damaged; it can be made again from the predecessor',
        });
        return undefined;
      }
      this.#compare(file, head, previous);
      const state = await this.#replay(fd, head, newest);
      if (newest && state) {
        this.#report.messages = Object.values(state.counts).reduce((sum, count) => sum + count, 0);
        for (const reference of head.references) {
          if (fs.kind(`${this.#folder}/${segmentName(reference)}`) !== 'file') {
            this.#missing(reference, `messages in it are still waiting, says the head of ${file}`);
          }
        }
        this.#checkSuccessor(state);
      }
      return state;
    } finally {
      fs.close(fd);
    }
  }

  /** A successor that the log has chosen exists, under its temporary name or its own. */
  #checkSuccessor({ segment, successor }: QueueState): void {
    const { fs } = this.#ports;
    if (successor === undefined) return;
    if (fs.kind(`${this.#folder}/${temporaryName(segment + 1, successor)}`) !== undefined) return;
    // Renamed, or even spent, since the folder was listed.
    if (newestSegment(fs, this.#folder) > segment) return;
    this.#missing(segment + 1, 'the log has chosen this segment as the next one');
  }

  async #survey(fd: number, file: string): Promise<Survey> {
    const survey: Survey = {
      report: { file, records: 0, bytes: 0, sealed: false, torn: 0 },
      bad: [],
      gaps: [],
      boots: [],
      synced: 0,
      failedSync: false,
    };
    const writers = new Map<string, { n: number; end: number }>();
    const visitor: FileVisitor = {
      record(buffer, start, end, headerLength, offset) {
        survey.report.records++;
        const header = JSON.parse(headerText(buffer, start, headerLength)) as
          | (Operation & Written)
          | (HeadRecord & { w?: undefined });
        if (header.w === undefined) return;
        const { n, end: from } = writers.get(header.w) ?? { n: 0, end: 0 };
        if (header.n > n + 1) survey.gaps.push({ offset, count: header.n - n - 1, writer: header.w, from });
        writers.set(header.w, { n: header.n, end: offset + end - start });
        if (header.op === 'boot') survey.boots.push({ offset, synced: survey.synced });
        if (header.op === 'seal' && header.why === 'sync' && !survey.report.sealed) survey.failedSync = true;
        if (header.op === 'unsound') survey.failedSync = true;
        if (header.op === 'seal') survey.report.sealed = true;
        if (header.s !== undefined) survey.synced = Math.max(survey.synced, header.s);
      },
      bad(buffer, start, end, kind, offset) {
        if (kind === 'torn') {
          survey.report.torn++;
          return;
        }
        const text = buffer.toString('latin1', start, Math.min(end, start + 400));
        const uuid = /"u":"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"/.exec(text)?.[1];
        const blank = buffer.subarray(start, end).every((byte) => byte === 0);
        const zeros = buffer.subarray(start, end).includes(0);
        const note = survey.report.sealed;
        survey.bad.push({ from: offset, to: offset + end - start, uuid, blank, zeros, note });
      },
    };
    const { size } = this.#ports.fs.stat(fd);
    survey.report.bytes = size;
    for (let at = 0; at < size;) {
      const next = this.#scanner.chunk(fd, at, size, visitor);
      if (next === at) break;
      at = next;
      await this.#ports.clock.yield();
    }
    return survey;
  }

  /** Tells rot from what a power cut took before it was synced. */
  #judge(survey: Survey, newest: boolean): void {
    const { file, sealed } = survey.report;
    // A sealed segment is synced before its successor gets its name.
    const synced = sealed && !newest ? Infinity : survey.synced;
    for (const { from, to, uuid, blank, zeros, note } of survey.bad) {
      const boot = survey.boots.find(({ offset }) => offset >= to);
      const unsynced = zeros && (note || survey.failedSync || (boot !== undefined && boot.synced <= from));
      const detail = unsynced
        ? 'lost before it was synced: the machine was restarted, or a flush had failed'
        : blank
          ? 'zeros where records were'
          : 'these bytes are not what was written';
      this.#damage({
        file,
        from,
        to,
        kind: unsynced ? 'torn' : 'rot',
        acknowledged: !unsynced && synced >= to,
        uuid,
        detail,
      });
    }
    for (const { offset, count, writer, from } of survey.gaps) {
      // A damaged line in between is the reason, and reported.
      if (survey.bad.some((bad) => bad.from >= from && bad.to <= offset)) continue;
      const boot =
        survey.boots.some((candidate) => candidate.offset >= from && candidate.offset <= offset) ||
        survey.failedSync;
      const detail = `${count} record${count === 1 ? '' : 's'} of writer ${writer} missing before this place`;
      this.#damage({
        file,
        from: offset,
        to: offset,
        kind: boot ? 'torn' : 'missing',
        acknowledged: synced >= offset,
        detail,
      });
    }
  }

  /** What the head says must be what following its predecessor to the seal leads to. */
  #compare(file: string, head: LoadedHead, previous: QueueState | undefined): void {
    const { prev, digest } = head.start;
    if (!previous?.seal || prev?.segment !== previous.segment) return;
    // After a failed flush the device may hold less than what the head was made of.
    if (previous.seal.why === 'sync') return;
    const same =
      prev.at === previous.seal.offset && prev.crc === previous.seal.checksum && digest === previous.digest;
    if (same) return;
    const detail = `the head differs from what ${segmentName(previous.segment)} leads to`;
    this.#damage({ file, from: 0, to: head.end, kind: 'head', detail });
  }

  /** Undefined when segments that it rests on are gone, as is right for all but the last two. */
  async #replay(fd: number, head: LoadedHead, newest: boolean): Promise<QueueState | undefined> {
    const { state } = head;
    let complete = true;
    for (const table of state.tables.values()) {
      // For the newest segment, to find all that waits; else as far as the rules need it.
      if (table.read || !(newest || table.special > 0 || state.needsTables)) continue;
      const path = `${this.#folder}/${segmentName(table.segment)}`;
      if (this.#ports.fs.kind(path) !== 'file') {
        complete = false;
        continue;
      }
      const source = { ports: this.#ports, scanner: this.#scanner, folder: this.#folder, state, table };
      const waiting = table.fresh;
      await readTable({ ...source, writes: false });
      const lost = waiting - table.fresh;
      if (newest && lost > 0) {
        this.#missing(table.segment, `${lost} of the messages that wait in it cannot be found`);
      }
    }
    state.recount();
    const visitor: FileVisitor = {
      record(buffer, start, end, headerLength, offset) {
        const header = JSON.parse(headerText(buffer, start, headerLength)) as Header;
        state.apply(header, offset, end - start, headerLength, lineChecksum(buffer, start), () =>
          parsePayload(payloadText(buffer, start, end, headerLength)),
        );
      },
      // Behind a hole the rules are lenient.
      bad(_buffer, start, end, kind, offset) {
        if (kind === 'rot')
          state.damage.push({ segment: state.segment, from: offset, to: offset + end - start });
      },
    };
    const { size } = this.#ports.fs.stat(fd);
    for (let at = head.end; at < size;) {
      const next = this.#scanner.chunk(fd, at, size, visitor);
      if (next === at || (state.seal && !newest)) break;
      at = next;
      await this.#ports.clock.yield();
    }
    return complete || newest ? state : undefined;
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
