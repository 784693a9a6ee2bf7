/** Points in time and durations as people write them. */
import { InvalidArgumentError } from 'commander';
import { QueueError, quote } from '../../src/errors.ts';
import { parseDuration } from '../../src/units.ts';

/**
 * A duration from now (`10m`, `1.5h`) or a date in ISO 8601 (`2026-12-24T18:00`; local time unless it says otherwise).
 * Errors: INVALID_ARGUMENT.
 */
export async function parseTime(text: string): Promise<Date> {
  const duration = parseDuration(text);
  if (duration !== undefined) return new Date(Date.now() + duration);
  return (await parseDate(text)) ?? refuse(text);
}

/** Undefined when it is no date in ISO 8601, or one that does not exist, like February 30. */
export async function parseDate(text: string): Promise<Date | undefined> {
  if (!/^\d{4}-\d{2}-\d{2}([T ]|$)/.test(text)) return undefined;
  const { parseISO } = await import('date-fns/parseISO');
  const date = parseISO(text);
  return Number.isNaN(date.getTime()) ? undefined : date;
}

/** Parses the argument of an option that takes a duration; milliseconds, at most `longest`. */
export function duration(longest = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const milliseconds = parseDuration(text);
    if (milliseconds === undefined)
      throw new InvalidArgumentError('Expected a duration such as 30s, 10m or 2d.');
    if (milliseconds <= longest) return milliseconds;
    throw new InvalidArgumentError(`Expected at most ${Math.floor(longest / 86_400_000)}d.`);
  };
}

function refuse(text: string): never {
  throw new QueueError(
    'INVALID_ARGUMENT',
    `--defer: expected a duration such as 10m or a date such as 2026-12-24T18:00, received ${quote(text)}`,
  );
}
