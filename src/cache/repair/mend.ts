/**
 * A segment without its damage: a copy in which every byte that is no record has become a newline, so that all that is
 * sound keeps its offset. Behind its seal a record says what has been taken out, and another one the same.
 */
import { segmentName, takeOwner, temporaryName } from '../files.ts';
import { loadHead } from '../head.ts';
import type { Mended } from '../operations.ts';
import type { FileSystem, Ports } from '../ports.ts';
import { asciiJson, Batch, encodeHeader } from '../record.ts';
import { lostGaps, openGaps, surveySegment, wasUnsynced, type Survey } from '../survey.ts';

const CHUNK = 1024 * 1024;
const NEWLINE = 10;

/**
 * Puts a mended copy in the place of a sealed segment, where there is something to mend; a reader finds the one or the
 * other. The copy is on the device then; its name is not. Resolves with whether there was. Errors: those of node:fs.
 * @param force whether it is to be marked as mended in any case: its records do not lead to what came after it.
 */
export async function mendSegment(
  ports: Ports,
  folder: string,
  segment: number,
  force = false,
): Promise<boolean> {
  const { fs, random } = ports;
  const path = `${folder}/${segmentName(segment)}`;
  const from = fs.open(path, 'read');
  try {
    const survey = await surveySegment(ports, from);
    const isWhole =
      survey.mended !== undefined || (await loadHead(ports, from, segment, 0, path)) !== undefined;
    if (isWhole && !needsMending(survey) && !force) return false;
    const copy = `${folder}/${temporaryName(segment, random.hex(8))}`;
    const to = fs.open(copy, 'create', 0o600);
    try {
      takeOwner(fs, to, fs.stat(from));
      await copyWithout(ports, from, to, survey);
      await fs.sync(to);
      fs.rename(copy, path);
    } catch (error) {
      fs.remove(copy);
      throw error;
    } finally {
      fs.close(to);
    }
    return true;
  } finally {
    fs.close(from);
  }
}

/** Whether something in it is not as it was written, beyond what a power cut may cost. */
export function needsMending(survey: Survey): boolean {
  const flawed = survey.bad.some((bad) => !wasUnsynced(survey, bad));
  return flawed || survey.repeated.length > 0 || !survey.sealed || lostGaps(survey).length > 0;
}

async function copyWithout(ports: Ports, from: number, to: number, survey: Survey): Promise<void> {
  const { fs, clock, random } = ports;
  const buffer = Buffer.allocUnsafe(CHUNK);
  const gone = [...survey.bad, ...survey.repeated].map((bad): [number, number] => [bad.from, bad.to]);
  // A torn line with a newline behind it, where something bad was, may look like a record that has rotted.
  const none = [...gone, ...survey.torn];
  for (let at = 0; at < survey.end;) {
    const got = fs.read(from, buffer, 0, Math.min(CHUNK, survey.end - at), at);
    if (got === 0) break;
    for (const [start, end] of none) {
      if (end > at && start < at + got)
        buffer.fill(NEWLINE, Math.max(0, start - at), Math.min(got, end - at));
    }
    writeAll(fs, to, buffer.subarray(0, got), at);
    at += got;
    await clock.yield();
  }
  const batch = new Batch();
  let seal = survey.sealedAt;
  if (seal === undefined) {
    const written = { w: random.hex(8), n: 1, t: clock.now(), s: survey.end };
    seal = survey.end + batch.add(encodeHeader({ op: 'seal', ctl: 1, why: 'damage', ...written }));
  }
  const missing = openGaps(survey).map(({ offset }): [number, number] => [offset, offset]);
  const lost = [...gone, ...missing].sort(([a], [b]) => a - b);
  const note = asciiJson({ op: 'mended', lost, seal } satisfies Mended);
  // Nothing else tells of it for good.
  for (let i = 0; i < 2; i++) batch.add(note);
  writeAll(fs, to, batch.buffer.subarray(0, batch.length), survey.end);
}

/** Errors: ENOSPC, also where the device takes only a part. */
export function writeAll(fs: FileSystem, fd: number, bytes: Uint8Array, position: number): void {
  for (let written = 0; written < bytes.length;) {
    const n = fs.write(fd, bytes, written, bytes.length - written, position + written);
    if (n === 0) throw Object.assign(new Error('nothing written'), { code: 'ENOSPC' });
    written += n;
  }
}
