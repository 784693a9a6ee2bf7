/** The journal of systemd: it has its own clock, and finds lines by how grave they are if each begins with a number that says so. */
import { fstatSync } from 'node:fs';
import type { LogLevel } from '../config-keys.ts';
import { escapeControls } from '../errors.ts';
import { pairs, type Line } from './formats.ts';

/** As sd-daemon(3) has them. */
const PRIORITY: Readonly<Record<LogLevel, number>> = {
  TRACE: 7,
  DEBUG: 7,
  INFO: 6,
  WARN: 4,
  ERROR: 3,
  FATAL: 2,
};

/** `<6>text  field=value`, one line whatever the text holds. */
export function journal(line: Line): string {
  const { level, text, time: _, ...fields } = line;
  return `<${PRIORITY[level]}>${escapeControls([text, ...pairs(fields)].join('  '))}`;
}

/** Whether what is written to this descriptor goes to the journal; see JOURNAL_STREAM in systemd.exec(5). */
export function leadsToJournal(fd: number | undefined, env: NodeJS.ProcessEnv): boolean {
  const stream = env['JOURNAL_STREAM'];
  if (fd === undefined || stream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    return stream === `${dev}:${ino}`;
  } catch {
    return false;
  }
}
