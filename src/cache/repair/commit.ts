/** The one step by which a queue is repaired: the log names the repaired head as the successor of its newest segment. */
import { basename } from 'node:path';
import { QueueError } from '../../errors.ts';
import { errorCode, segmentName, takeOwner, temporaryName } from '../files.ts';
import { writeHead } from '../head.ts';
import type { FileSystem, Ports } from '../ports.ts';
import { Batch, encodeHeader, lineChecksum } from '../record.ts';
import { writeAll } from './mend.ts';
import type { Salvage } from './salvage.ts';

/** Gives the successor that the log has chosen its name, as any reader would. False: there is nothing to finish. */
export async function finishRotation(
  { fs }: Ports,
  folder: string,
  { state, newest }: Salvage,
): Promise<boolean> {
  if (state.segment !== newest || state.successor === undefined) return false;
  const chosen = `${folder}/${temporaryName(newest + 1, state.successor)}`;
  if (fs.kind(chosen) !== 'file') return false;
  const log = fs.open(`${folder}/${segmentName(newest)}`, 'append');
  try {
    await fs.sync(log);
  } finally {
    fs.close(log);
  }
  fs.rename(chosen, `${folder}/${segmentName(newest + 1)}`);
  await fs.syncFolder(folder);
  return true;
}

/**
 * Makes what was salvaged the newest segment; it is on the device when this resolves. False: others have written to the
 * log since it was read, so it is not what it should be, and the queue is as it was. Errors: STORAGE_FAILED where this
 * account may not give a file the owner of the last one; those of `keep` and node:fs.
 * @param keep called when all is ready, before anything is changed; `own` is the new file.
 */
export async function commit(
  ports: Ports,
  folder: string,
  salvaged: Salvage,
  keep: (own: string) => Promise<void>,
): Promise<boolean> {
  const { fs, random } = ports;
  const name = random.hex(8);
  const temporary = `${folder}/${temporaryName(salvaged.newest + 1, name)}`;
  const log = openLog(fs, folder, salvaged);
  const size = salvaged.surveys.get(salvaged.newest)?.bytes ?? 0;
  // Once the log may name it, it stays.
  let named = false;
  try {
    if (log !== undefined) await fs.sync(log);
    const closing = log === undefined ? new Batch() : closingOf(ports, salvaged, size, name);
    await makeHead(ports, folder, salvaged, temporary);
    await keep(basename(temporary));
    if (log !== undefined && closing.length > 0) {
      // Of what has been written since it was read the head knows nothing.
      if (fs.stat(log).size !== size) return false;
      named = true;
      if (fs.write(log, closing.buffer, 0, closing.length) < closing.length)
        throw Object.assign(new Error('short write'), { code: 'ENOSPC' });
      named = isAt(fs, log, size, closing);
      if (!named) return false;
      await fs.sync(log);
    }
    giveName(fs, temporary, `${folder}/${segmentName(salvaged.newest + 1)}`);
    await fs.syncFolder(folder);
    return true;
  } finally {
    if (log !== undefined) fs.close(log);
    if (!named && fs.kind(temporary) !== undefined) fs.remove(temporary);
  }
}

/** Undefined where the newest segment is no file that could be written to. */
function openLog(fs: FileSystem, folder: string, { state, newest }: Salvage): number | undefined {
  const path = `${folder}/${segmentName(newest)}`;
  return newest > 0 && state.segment === newest && fs.kind(path) === 'file'
    ? fs.open(path, 'append')
    : undefined;
}

/**
 * The records that end the segment of `size` bytes, in one write: the seal, unless there is one, and the note that names
 * the successor, unless there is one whose file is gone. The note holds only if nobody else writes in between.
 */
function closingOf({ clock, random }: Ports, { state }: Salvage, size: number, name: string): Batch {
  const batch = new Batch();
  if (state.successor !== undefined) return batch;
  const writer = { w: random.hex(8), t: clock.now() };
  let { seal } = state;
  let n = 0;
  if (!seal) {
    const start = batch.add(encodeHeader({ op: 'seal', ctl: 1, why: 'damage', ...writer, n: ++n, s: size }));
    seal = { offset: size + start, checksum: lineChecksum(batch.buffer, start), why: 'damage' };
    state.tables.get(state.segment)?.close(seal.offset);
  }
  const { offset: at, checksum: crc } = seal;
  batch.add(encodeHeader({ op: 'next', ctl: 1, r: name, at, crc, repair: 1, ...writer, n: ++n }));
  return batch;
}

async function makeHead(
  { fs, clock }: Ports,
  folder: string,
  { state, newest, surveys }: Salvage,
  path: string,
): Promise<void> {
  state.damage.length = 0;
  const holding = new Set([...state.claimed].map((at) => state.touched.get(at)?.lease?.writer));
  const gone = new Set([...state.writers.keys()].filter((writer) => !holding.has(writer)));
  const batch = new Batch();
  // No predecessor: what was salvaged is not what its records lead to.
  const source = { state, seal: undefined, load: undefined, gone, outcomes: true, now: clock.now() };
  await writeHead(batch, newest + 1, source, clock);
  const fd = fs.open(path, 'create', 0o600);
  try {
    const model = Math.max(...surveys.keys());
    if (surveys.size > 0) takeAfter(fs, fd, `${folder}/${segmentName(model)}`, path);
    writeAll(fs, fd, batch.buffer.subarray(0, batch.length), 0);
    await fs.sync(fd);
  } finally {
    fs.close(fd);
  }
  await fs.syncFolder(folder);
}

/** The owner and mode of another segment: who could use the queue still can. */
function takeAfter(fs: FileSystem, fd: number, other: string, path: string): void {
  const model = fs.open(other, 'read');
  try {
    takeOwner(fs, fd, fs.stat(model));
  } catch (error) {
    if (errorCode(error) !== 'EPERM') throw error;
    const { uid, gid } = fs.stat(model);
    const text = `this account may not give the repaired segment the owner of the last one (${uid}:${gid})`;
    throw new QueueError('STORAGE_FAILED', text, { path, cause: error });
  } finally {
    fs.close(model);
  }
}

function isAt(fs: FileSystem, fd: number, position: number, { buffer, length }: Batch): boolean {
  const found = Buffer.alloc(length);
  let got = 0;
  while (got < length) {
    const n = fs.read(fd, found, got, length - got, position + got);
    if (n === 0) return false;
    got += n;
  }
  return found.equals(buffer.subarray(0, length));
}

/** Unless another process has been quicker, as it may: the log names it. */
function giveName(fs: FileSystem, temporary: string, path: string): void {
  if (fs.kind(path) !== undefined) return;
  try {
    fs.rename(temporary, path);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT' || fs.kind(path) === undefined) throw error;
  }
}
