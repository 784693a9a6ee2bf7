/** What a repair finds and does, for programs and for people. */
import { escapeControls } from '../../errors.ts';
import type { DamageReport } from '../verify.ts';
import type { Lost } from './losses.ts';

export interface RepairReport {
  queue: string;
  /**
   * `sound`: there is nothing to repair. `planned`: this is what would be done. `in use`: processes that have registered
   * with the queue live. `repaired`: it has been done.
   */
  outcome: 'sound' | 'planned' | 'in use' | 'repaired';
  /** Those processes. */
  pids: number[];
  /** What the queue holds afterwards. */
  messages: number;
  counts: Readonly<Record<string, number>>;
  lost: Lost[];
  /** Records of which nothing is legible, at most: each may have added a message, changed or ended one, or emptied the queue. */
  unnamed: number;
  /** Files that are missing, or cut off, with nothing left that tells how many messages were in them. */
  gone: string[];
  /** Of those it holds: how many may have ended, or been put off or disabled, because nothing tells. They are delivered again. */
  doubtful: number;
  /** Likewise: positions of those of which only an earlier content is left. They stand as failed. */
  outdated: [segment: number, offset: number][];
  /** False: nothing sound says that there is a queue of that name, or it has been destroyed. It can be created. */
  exists: boolean;
  /** Whether the queue's options and attributes are known; if not, it has none afterwards. */
  optionsKnown: boolean;
  /** What `queue verify` finds before. */
  damage: DamageReport[];
  /** `aside`: what is under a file's name and is none; `is` says what, and where a link led before it was moved. */
  segments: { file: string; fate: 'kept' | 'mended' | 'removed' | 'new' | 'aside'; is?: string }[];
  /**
   * Folders with what earlier repairs have kept, in the order in which they were made. One that was killed may have been carried out
   * or not: what it has lost stands in its report alone.
   */
  earlier: string[];
  /** The folder with this report and a copy of the old files. */
  quarantine?: string;
  /** Whether `queue verify` finds the queue sound afterwards. */
  sound?: boolean;
}

export function inText(report: RepairReport): string {
  const {
    queue,
    messages,
    counts,
    lost,
    unnamed,
    gone,
    doubtful,
    outdated,
    exists,
    optionsKnown,
    damage,
    segments,
    earlier,
  } = report;
  const lines = [
    `Repair of the queue ${queue}`,
    '',
    `Messages kept: ${messages} (${Object.entries(counts)
      .map(([state, count]) => `${count} ${state}`)
      .join(', ')}).`,
    `Of these ${doubtful} may have ended before, or been put off or disabled; ${outdated.length} have only an earlier content left, and stand as failed.`,
    ...outdated.map(([segment, offset]) => `  position ${segment}/${offset}`),
    ...(exists ? [] : ['Nothing sound says that there is a queue of this name: it has to be created again.']),
    ...(optionsKnown ? [] : ['The options and attributes of the queue are lost: it has none now.']),
    '',
    `Messages lost, as far as it is known: ${lost.reduce((sum, { count }) => sum + count, 0)}`,
    ...lost.map(({ file, count, position, uuid, why }) => {
      const which = position ? `position ${position.join('/')}` : `${count} of ${file}`;
      return `  ${which}${uuid === undefined ? '' : `, uuid ${uuid}`}: ${why}`;
    }),
    ...gone.map((file) => `  ${file}, or its end, is not there; how much was in it is not known.`),
    ...(unnamed > 0
      ? [
          `  Of up to ${unnamed} records nothing is legible: each may have added a message, changed or ended one, or emptied the queue.`,
        ]
      : []),
    '',
    'Damage that was found:',
    ...damage.map(({ file, from, to, kind, uuid, detail }) => {
      return `  ${kind}: ${file}, bytes ${from} to ${to}${uuid === undefined ? '' : `, uuid ${uuid}`}: ${detail}`;
    }),
    '',
    'Files:',
    ...segments.map(({ file, fate, is }) => `  ${file}: ${fate}${is === undefined ? '' : `, ${is}`}`),
    '',
    ...(earlier.length > 0 ? ['What earlier repairs have lost stands in their own reports:'] : []),
    ...earlier.map((path) => `  ${path}`),
    ...(earlier.length > 0 ? [''] : []),
    'The folder old/ beside this file holds the files as they were before.',
  ];
  return lines.map((line) => `${escapeControls(line)}\n`).join('');
}
