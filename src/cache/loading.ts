/**
 * Opening a segment: lightly, with no more than its control records, or whole, from its head and all that follows.
 * A head that is damaged is made again from the predecessor, which is kept for that.
 */
import { QueueError } from '../errors.ts';
import {
  Behind,
  errorCode,
  FileScanner,
  isGone,
  newestSegment,
  segmentName,
  storageError,
  type FileVisitor,
} from './files.ts';
import { checkVersion, loadHead } from './head.ts';
import type { Log } from './log.ts';
import { decode, isOwn } from './header.ts';
import { CONTROL, type HeadStart } from './operations.ts';
import { position } from './position.ts';
import type { FileSystem } from './ports.ts';
import { QueueState } from './state.ts';

/** How often a folder is listed again because what was found is gone, or nothing was found. */
const LISTINGS = 100;

/** Opens the newest segment lightly. Errors: JOURNAL_NEWER, JOURNAL_CORRUPT. */
export async function loadNewest(log: Log): Promise<void> {
  const { ports, folder } = log.options;
  for (let attempt = 0; ; attempt++) {
    const newest = findNewest(log);
    let fd: number;
    try {
      fd = ports.fs.open(`${folder}/${segmentName(newest)}`, 'append');
    } catch (error) {
      // Deleted since it was listed: there is a newer one.
      if (errorCode(error) === 'ENOENT' && attempt < LISTINGS) continue;
      throw storageError(error, `opening ${segmentName(newest)}`, log.options.queue, folder);
    }
    try {
      if (!(await enterLightly(log, fd, newest))) await rebuildHead(log, fd, newest);
      return;
    } catch (error) {
      if (log.fd !== fd) ports.fs.close(fd);
      if (!(error instanceof Behind) || attempt === LISTINGS) throw error;
    }
  }
}

/** A listing of a folder that is being changed may miss names: ask again before believing that there is nothing. */
function findNewest(log: Log): number {
  const { ports, folder, queue } = log.options;
  for (let attempt = 0; attempt < LISTINGS; attempt++) {
    const newest = newestSegment(ports.fs, folder);
    if (newest > 0) return newest;
  }
  const text = `the queue's folder holds no segment (expected ${segmentName(1)} or a later one)`;
  throw new QueueError('JOURNAL_CORRUPT', text, { queue, path: folder });
}

/** Goes on in the open file with no more than its control records. Undefined: its head cannot be read so. */
export async function enterLightly(log: Log, fd: number, segment: number): Promise<HeadStart | undefined> {
  const { ports, folder, keepOutcomes } = log.options;
  const path = `${folder}/${segmentName(segment)}`;
  const state = new QueueState(segment, keepOutcomes);
  const head: { start?: HeadStart; end: number } = { end: 0 };
  const visitor: Pick<FileVisitor, 'record'> = {
    record(buffer, start, end, headerLength, offset) {
      // What follows the head is applied later, in its turn.
      if (head.end > 0) return;
      const decoded = decode(buffer, start, end, headerLength);
      if (decoded?.header.op === 'ready') head.end = offset + end - start + 1;
      if (decoded?.header.op !== 'head' || decoded.header.segment !== segment) return;
      const { header, payload } = decoded;
      head.start = header;
      checkVersion(header, path);
      state.applyControl(header, offset, '', () => payload);
    },
  };
  const scanner = new FileScanner(ports.fs);
  const needles = [Buffer.from(CONTROL)];
  const { size } = ports.fs.stat(fd);
  for (let at = 0; at < size && head.end === 0;) {
    const next = scanner.sift(fd, at, size, needles, visitor);
    if (next === at) break;
    at = next;
    if (head.end === 0) await ports.clock.yield();
  }
  if (head.end === 0 || !head.start) return undefined;
  // The note that chose this segment may be gone after a power cut: then its name must not be.
  if (head.start.prev?.failed) await ports.fs.syncFolder(folder);
  log.state = state;
  log.whole = false;
  log.enter(fd, head.end);
  return head.start;
}

/** Builds the whole state of the present segment. Errors: Behind. */
export async function makeWhole(log: Log): Promise<void> {
  const { ports } = log.options;
  const { segment } = log.state;
  const loaded = await loadHead(ports, log.fd, segment, log.options.keepOutcomes, log.path);
  if (loaded) await adopt(log, log.fd, loaded.state, loaded.end);
  else {
    const fd = openAgain(log);
    await orClosed(log, fd, () => rebuildHead(log, fd, segment));
  }
  await log.catchUp();
}

/** The present segment's file once more. Errors: Behind, when it was spent and deleted meanwhile. */
function openAgain(log: Log): number {
  try {
    return log.options.ports.fs.open(log.path, 'append');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') throw new Behind(`${segmentName(log.state.segment)} is not there`);
    throw error;
  }
}

/** Closes the file again when the log does not go on in it because of an error. */
async function orClosed(log: Log, fd: number, enter: () => Promise<void>): Promise<void> {
  try {
    await enter();
  } catch (error) {
    if (log.fd !== fd) log.options.ports.fs.close(fd);
    throw error;
  }
}

/** Goes on from a loaded state, in the open file `fd`. Errors: Behind. */
export async function adopt(log: Log, fd: number, state: QueueState, headEnd: number): Promise<void> {
  const tables = [...state.tables.values()];
  for (const table of tables) {
    if (!table.read && state.needsTable(table)) await log.readTable(table, state);
  }
  state.recount();
  // Only now: what could not be read whole must not be taken for the state.
  log.state = state;
  log.whole = true;
  log.enter(fd, headEnd);
}

/** The head of `segment` is damaged: makes its state again from the predecessor. Errors: JOURNAL_CORRUPT, Behind. */
export async function rebuildHead(log: Log, fd: number, segment: number): Promise<void> {
  const { ports, folder, keepOutcomes, queue } = log.options;
  const file = segmentName(segment);
  const refusal = (text: string): QueueError =>
    new QueueError('JOURNAL_CORRUPT', `${text}; see queue verify`, { queue, path: `${folder}/${file}` });
  const corrupt = (why: string): QueueError =>
    refusal(`the head of ${file} is damaged and ${why}: it takes queue repair`);
  const damaged = readDamagedHead(ports.fs, fd);
  const said = damaged.start?.segment ?? segment;
  if (said !== segment)
    throw refusal(`${file} says that it is ${segmentName(said)}; give it its name back, or put it aside`);
  const repaired = 'a repair has made it, so that no earlier segment leads to it';
  if (damaged.start && isOfRepair(damaged.start)) throw corrupt(repaired);
  if (!log.whole || log.state.segment !== segment - 1 || !log.state.seal) {
    const path = `${folder}/${segmentName(segment - 1)}`;
    let previous: number;
    try {
      previous = ports.fs.open(path, 'append');
    } catch (error) {
      if (!isGone(error)) throw error;
      // Two newer ones do without it.
      if (newestSegment(ports.fs, folder) > segment)
        throw new Behind(`${segmentName(segment - 1)} is not there`);
      throw corrupt('there is no earlier segment to make it from');
    }
    await orClosed(log, previous, async () => {
      const loaded = await loadHead(ports, previous, segment - 1, keepOutcomes, path);
      if (!loaded) throw corrupt('so is that of its predecessor');
      await adopt(log, previous, loaded.state, loaded.end).catch((error: unknown) => {
        // Only one that is newer than this segment does without it.
        if (!(error instanceof Behind) || newestSegment(ports.fs, folder) > segment) throw error;
        throw corrupt(`cannot be made again: ${error.message}`);
      });
    });
    // Should it come no further, it stands in the predecessor: nothing may be written there.
    log.suspicious = true;
    await log.catchUp();
  }
  const { state } = log;
  if (!state.seal) throw corrupt('so is the seal of its predecessor');
  if (state.isRepaired) throw corrupt(repaired);
  const { end } = damaged;
  const isKnown = isRestoredBy(state, damaged);
  if (state.seal.why === 'destroy') await adopt(log, fd, new QueueState(segment, keepOutcomes), end);
  else {
    state.enterSegment(segment);
    // Where they stand to all who have read the head: an update that names another place has come too late.
    for (const { at, offset, length, headerLength } of damaged.carried)
      if (state.lifeOf(at)) state.carry(at, position(segment, offset), length, headerLength);
    log.enter(fd, end);
  }
  if (isKnown) log.state.restored = end;
  log.noteDamage(segment, 0, end);
}

export interface DamagedHead {
  /** Its first record, where that is legible. */
  start: HeadStart | undefined;
  /** Where it ends: at the first record that is numbered, as only those of writers are. */
  end: number;
  /** Whether its last record is legible, with nothing lost behind it that may have been a writer's. */
  isEndLegible: boolean;
  /** Contents that have moved into it: by the positions of their messages, those that are legible. */
  carried: { at: number; offset: number; length: number; headerLength: number }[];
}

export function readDamagedHead(fs: FileSystem, fd: number): DamagedHead {
  let start: HeadStart | undefined;
  let end: number | undefined;
  let last = 0;
  let isEndLegible = false;
  const carried: DamagedHead['carried'] = [];
  new FileScanner(fs).all(fd, 0, fs.stat(fd).size, {
    record(buffer, from, lineEnd, headerLength, offset) {
      if (end !== undefined) return;
      const decoded = decode(buffer, from, lineEnd, headerLength);
      if (decoded && isOwn(decoded.header)) {
        end = offset;
        return;
      }
      last = offset + lineEnd - from + 1;
      isEndLegible = decoded?.header.op === 'ready';
      if (decoded?.header.op === 'head') start = decoded.header;
      if (decoded?.header.op === 'carry')
        carried.push({ at: position(...decoded.header.p), offset, length: lineEnd - from, headerLength });
    },
    bad(_buffer, _from, _to, kind) {
      // What a death has cut short was nobody's.
      if (end === undefined && kind !== 'torn') isEndLegible = false;
    },
  });
  return { start, end: end ?? last, isEndLegible, carried };
}

/** Whether a repair has made the head: it is the state at no seal. */
export function isOfRepair({ prev, segment }: HeadStart): boolean {
  return prev === null && segment > 1;
}

/** Whether what the sealed state holds is all that the damaged head of the next segment held: then nothing is lost with that. */
export function isRestoredBy(state: QueueState, { start, isEndLegible }: DamagedHead): boolean {
  const { seal, segment: sealed, damage } = state;
  // After a failed flush the device may hold less than what the head was made of.
  if (!isEndLegible || !seal || seal.why === 'sync') return false;
  return !damage.some(({ segment }) => segment === sealed) && (!start || isMadeOf(start, state));
}

/** Whether the head was made of the state at that seal. */
export function isMadeOf(
  { prev, digest }: HeadStart,
  { seal, segment, digest: reached }: QueueState,
): boolean {
  return (
    seal !== undefined &&
    prev?.segment === segment &&
    prev.at === seal.offset &&
    prev.crc === seal.checksum &&
    digest === reached
  );
}
