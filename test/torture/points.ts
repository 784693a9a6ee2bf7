/**
 * Named points: places between two steps of the engine at which a process kills or stops itself. The engine takes its file
 * system through a port; here the real one is wrapped, and what is about to happen, or just has, is compared with the
 * point. Nothing of this is in the engine.
 */
import { basename, dirname } from 'node:path';
import type { FileSystem } from '../../src/cache/ports.ts';

type Operation = 'append' | 'write' | 'sync' | 'syncFolder' | 'rename' | 'remove' | 'create' | 'makeFolder';
type File = 'segment' | 'temporary' | 'index' | 'reserve' | 'probe' | 'cradle' | 'folder';

interface Place {
  when: 'before' | 'half' | 'after';
  operation: Operation;
  file: File;
  /** The bytes that are written hold this. */
  holding?: string;
  /** The write is of several records. */
  several?: true;
  /** The operation of this process before it. */
  behind?: Operation;
  /** Met so often that the first time would always be soon: which time is drawn from 1 up to this. */
  often?: number;
}

const POINTS = {
  'before a write': { when: 'before', operation: 'append', file: 'segment', often: 30 },
  'half of a write': { when: 'half', operation: 'append', file: 'segment', often: 20 },
  'half of a write of several records': {
    when: 'half',
    operation: 'append',
    file: 'segment',
    several: true,
    often: 5,
  },
  'after a write, before it is read back': { when: 'after', operation: 'append', file: 'segment', often: 30 },
  'before a flush': { when: 'before', operation: 'sync', file: 'segment', often: 20 },
  'after a flush, before the answer': { when: 'after', operation: 'sync', file: 'segment', often: 20 },
  'after adds were written': {
    when: 'after',
    operation: 'append',
    file: 'segment',
    holding: '"op":"add"',
    often: 5,
  },
  'before a claim is written': {
    when: 'before',
    operation: 'append',
    file: 'segment',
    holding: '"op":"claim"',
    often: 8,
  },
  'after a claim was written': {
    when: 'after',
    operation: 'append',
    file: 'segment',
    holding: '"op":"claim"',
    often: 8,
  },
  'after a completion was written': {
    when: 'after',
    operation: 'append',
    file: 'segment',
    holding: '"op":"done"',
    often: 8,
  },
  'after an update was written': {
    when: 'after',
    operation: 'append',
    file: 'segment',
    holding: '"op":"update"',
  },
  'before a lapse is written': {
    when: 'before',
    operation: 'append',
    file: 'segment',
    holding: '"op":"lapse"',
  },
  'after a lapse was written': {
    when: 'after',
    operation: 'append',
    file: 'segment',
    holding: '"op":"lapse"',
  },
  "the successor's file is made": { when: 'after', operation: 'create', file: 'temporary' },
  'before the seal': { when: 'before', operation: 'append', file: 'segment', holding: '"op":"seal"' },
  'half of the seal': { when: 'half', operation: 'append', file: 'segment', holding: '"op":"seal"' },
  'after the seal': { when: 'after', operation: 'append', file: 'segment', holding: '"op":"seal"' },
  'half of the head': { when: 'half', operation: 'write', file: 'temporary', holding: '"op":"head"' },
  'after the head': { when: 'after', operation: 'write', file: 'temporary', holding: '"op":"head"' },
  "before the head's flush": { when: 'before', operation: 'sync', file: 'temporary' },
  "after the head's flush": { when: 'after', operation: 'sync', file: 'temporary' },
  "after the folder's flush, before the note": {
    when: 'after',
    operation: 'syncFolder',
    file: 'folder',
    behind: 'sync',
  },
  'before the note': { when: 'before', operation: 'append', file: 'segment', holding: '"op":"next"' },
  'half of the note': { when: 'half', operation: 'append', file: 'segment', holding: '"op":"next"' },
  'after the note': { when: 'after', operation: 'append', file: 'segment', holding: '"op":"next"' },
  'before the rename': { when: 'before', operation: 'rename', file: 'temporary' },
  'after the rename': { when: 'after', operation: 'rename', file: 'temporary' },
  "after the folder's flush that follows the rename": {
    when: 'after',
    operation: 'syncFolder',
    file: 'folder',
    behind: 'rename',
  },
  'before the index': { when: 'before', operation: 'create', file: 'index' },
  'half of the index': { when: 'half', operation: 'write', file: 'index' },
  'after the index': { when: 'after', operation: 'write', file: 'index' },
  'before a segment is deleted': { when: 'before', operation: 'remove', file: 'segment' },
  'after a segment was deleted': { when: 'after', operation: 'remove', file: 'segment' },
  'after an unfinished head was deleted': { when: 'after', operation: 'remove', file: 'temporary' },
  'a queue is being born': { when: 'after', operation: 'makeFolder', file: 'cradle' },
  'half of a birth': { when: 'half', operation: 'write', file: 'cradle' },
  'before a queue gets its name': { when: 'before', operation: 'rename', file: 'cradle' },
  'after a queue got its name': { when: 'after', operation: 'rename', file: 'cradle' },
  'half of the reserve': { when: 'half', operation: 'write', file: 'reserve' },
  'during the trial of the file system': { when: 'before', operation: 'rename', file: 'probe' },
} as const satisfies Readonly<Record<string, Place>>;

/** Between an answer of the product and the line that notes it: nothing that the product does. */
export const UNNOTED = 'before an answer is noted';
export type PointName = keyof typeof POINTS | typeof UNNOTED;
export const POINT_NAMES = [...Object.keys(POINTS), UNNOTED] as readonly PointName[];

/** Up to which time of meeting it a point is of use. */
export function mostTimes(name: PointName): number {
  return name === UNNOTED ? 30 : ((POINTS[name] as Place).often ?? 1);
}

/** Who comes to it: anybody soon, who changes to the next segment, or who makes a queue. */
export function kindOf(name: PointName): 'daily' | 'rotation' | 'birth' {
  if (name === UNNOTED) return 'daily';
  const { file, holding, operation }: Place = POINTS[name];
  if (file === 'cradle' || file === 'reserve' || file === 'probe') return 'birth';
  const changes = ['"op":"seal"', '"op":"next"'].includes(holding ?? '') || operation === 'remove';
  return file === 'segment' && !changes ? 'daily' : 'rotation';
}

/** Whether a process may go on from there: a write of which half was made is not made whole later. */
export function canStopAt(name: PointName): boolean {
  return name === UNNOTED || (POINTS[name] as Place).when !== 'half';
}

/** The file system of a process that is struck when it meets a point for the `time`th time: killed, or stopped for a while. */
export function trapped(fs: FileSystem, name: PointName, time: number, strike: () => void): FileSystem {
  if (name === UNNOTED) return fs;
  const place: Place = POINTS[name];
  const files = new Map<number, { file: File | undefined; appends: boolean }>();
  let last: Operation | undefined;
  let met = 0;

  const isHere = (operation: Operation, file: File | undefined, bytes?: Buffer): boolean => {
    const { behind, holding, several } = place;
    const here =
      place.operation === operation &&
      place.file === file &&
      (behind === undefined || last === behind) &&
      (holding === undefined || bytes?.includes(holding) === true) &&
      (several === undefined || (bytes !== undefined && bytes.indexOf('\n[', bytes.indexOf('\n[') + 1) > 0));
    if (operation !== 'append' || file !== 'segment') last = operation;
    return here && ++met === time;
  };

  /** Runs the operation, and strikes before or after it, should this be the place. */
  const around = <T>(operation: Operation, file: File | undefined, run: () => T): T => {
    if (!isHere(operation, file)) return run();
    if (place.when === 'before') strike();
    const result = run();
    if (place.when === 'after') strike();
    return result;
  };

  return {
    ...fs,
    open(path, how, mode) {
      const file = fileOf(path);
      const fd =
        how === 'create' ? around('create', file, () => fs.open(path, how, mode)) : fs.open(path, how, mode);
      files.set(fd, { file, appends: how === 'append' });
      return fd;
    },
    write(fd, bytes, offset, length, position) {
      const known = files.get(fd);
      const text = Buffer.from(bytes.buffer, bytes.byteOffset + offset, length);
      const here = isHere(known?.appends ? 'append' : 'write', known?.file, text);
      if (here && place.when === 'before') strike();
      if (here && place.when === 'half') {
        fs.write(fd, bytes, offset, Math.ceil(length / 2), position);
        strike();
      }
      const written = fs.write(fd, bytes, offset, length, position);
      if (here && place.when === 'after') strike();
      return written;
    },
    async sync(fd) {
      const here = isHere('sync', files.get(fd)?.file);
      if (here && place.when === 'before') strike();
      await fs.sync(fd);
      if (here && place.when === 'after') strike();
    },
    async syncFolder(path) {
      const here = isHere('syncFolder', 'folder');
      await fs.syncFolder(path);
      if (here) strike();
    },
    rename: (from, to) => around('rename', fileOf(from), () => fs.rename(from, to)),
    remove: (path) => around('remove', fileOf(path), () => fs.remove(path)),
    makeFolder: (path, mode) => around('makeFolder', fileOf(path), () => fs.makeFolder(path, mode)),
  };
}

function fileOf(path: string): File | undefined {
  const name = basename(path);
  if (name === 'reserve') return 'reserve';
  if (name.startsWith('.new-') || basename(dirname(path)).startsWith('.new-')) return 'cradle';
  if (name.startsWith('.probe-')) return 'probe';
  if (name.startsWith('tmp-')) return 'temporary';
  if (name.endsWith('.journal')) return 'segment';
  return name.endsWith('.index') ? 'index' : undefined;
}
