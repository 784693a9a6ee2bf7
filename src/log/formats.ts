/** What a line of the log looks like. */
import { LEVELS, type LogLevel } from '../config-keys.ts';
import { escapeControls } from '../errors.ts';
import type { Json } from '../message.ts';
import { LOGGED } from '../worker/log.ts';

/** As it is written as JSON; what else there is are its fields. */
export interface Line {
  /** ISO 8601. */
  time: string;
  level: LogLevel;
  text: string;
  [field: string]: Json;
}

/** A line that was written as JSON; undefined when it was not written by a log of ours. */
export function parseLine(written: string): Line | undefined {
  if (!written.startsWith(LOGGED)) return undefined;
  try {
    const line = JSON.parse(written) as Line;
    const { time, level, text } = line;
    const isSound = isLevel(level) && typeof text === 'string' && !Number.isNaN(Date.parse(time));
    return isSound ? line : undefined;
  } catch {
    return undefined;
  }
}

function isLevel(value: unknown): value is LogLevel {
  return value !== 'OFF' && LEVELS.some((level) => level === value);
}

type Style = 'dim' | 'red' | 'yellow';
export type Paint = (style: Style, text: string) => string;

const STYLE: Readonly<Record<LogLevel, Style | undefined>> = {
  TRACE: 'dim',
  DEBUG: 'dim',
  INFO: undefined,
  WARN: 'yellow',
  ERROR: 'red',
  FATAL: 'red',
};

/** A line of a text that has several must not look like one of its own. */
const INDENT = `\n${' '.repeat(17)}`;

/** For people. A text of several lines has several. */
export function pretty({ time, level, text, ...fields }: Line, paint: Paint): string {
  const { uuid, alias, attempt, queue, ...others } = fields;
  const about = alias ?? uuid;
  // A worker has one queue, a daemon may have many.
  const where = 'daemon' in others && queue !== undefined ? pairs({ queue }) : [];
  const rest = [
    ...(typeof about === 'string' ? [about] : []),
    ...(typeof attempt === 'number' && attempt > 1 ? [`try ${attempt}`] : []),
    ...where,
    ...pairs(others),
  ].join('  ');
  const said = text.split('\n').map(escapeControls).join(INDENT);
  const line = `${level.padEnd(5)}  ${said}`;
  const style = STYLE[level];
  return (
    `${paint('dim', clock(new Date(time)))}  ${style === undefined ? line : paint(style, line)}` +
    (rest === '' ? '' : `  ${paint('dim', escapeControls(rest))}`)
  );
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `Mar 17 18:57:08 : text`, one line whatever the text holds; a level other than INFO stands before it. */
export function syslog({ time, level, text, ...fields }: Line): string {
  const at = new Date(time);
  const day = String(at.getDate()).padStart(2);
  const said = [level === 'INFO' ? text : `${level}: ${text}`, ...pairs(fields)].join('  ');
  return `${MONTHS[at.getMonth()]} ${day} ${clock(at)} : ${escapeControls(said)}`;
}

/**
 * @param written by pino, which begins with the level.
 * @returns with the time first, by which lines are sorted and found, and with every control character escaped, those that JSON
 *   itself would let through too.
 */
export function json(written: string): string {
  return escapeControls(written.replace(/^\{("level":"[A-Z]+"),("time":"[^"]+")/, '{$2,$1'));
}

/** `field=value`, for each. */
export function pairs(fields: Readonly<Record<string, Json>>): string[] {
  return Object.entries(fields).map(
    ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
}

function clock(at: Date): string {
  return at.toTimeString().slice(0, 8);
}
