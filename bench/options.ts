/** The command line of `npm run bench`. */
import { parseArgs } from 'node:util';
import { GROWTHS } from './growth.ts';
import { LIMITS, WORKLOADS } from './workloads.ts';

/** What is measured: jobs beside their limits, tables of growth, or a long run. */
type Suite = 'jobs' | 'growth' | 'steady';

export interface Options {
  suite: Suite;
  /** Names, or beginnings of names, of what to measure; all when empty. */
  only: string[];
  /** Of one timed run. */
  seconds: number;
  rounds: number;
  /** Messages that wait where a backlog is drained or opened. */
  backlog: number;
  /** How far the tables of growth go. */
  largest: number;
  /** Of the long run. */
  minutes: number;
  /** Where to write the results; a dated file in bench/results when absent. */
  json: string | undefined;
  /** Where the queues are made; the system's temporary folder when absent. */
  dir: string | undefined;
  /** Folder for a CPU profile of each child. */
  profile: string | undefined;
}

const NAMES: Record<Suite, string[]> = {
  jobs: [...WORKLOADS, ...LIMITS].map(({ name }) => name),
  growth: GROWTHS.map(({ name }) => name),
  steady: [],
};

export const USAGE = `Usage: npm run bench -- [options]
       npm run bench -- growth [options]
       npm run bench -- steady [options]

Measures this machine's limits and Coda in alternation and prints a table; each of Coda's figures is compared
with what the machine could do at that job. Takes about a minute and a half.

"growth" measures what a message costs with more and more messages waiting, ended or deferred, with more processes
and with larger payloads (some minutes). "steady" runs for half an hour at half of the possible rate, and shows
whether anything grows.

  --only NAME      only what begins with this name, with its limits; may be given again
  --seconds N      length of a timed run (default 0.5)
  --rounds N       how often everything is measured (default 4)
  --backlog N      messages waiting where a backlog is drained or opened (default 100000)
  --largest N      the most messages that "growth" goes up to (default 1000000)
  --minutes N      length of "steady" (default 30)
  --json FILE      write all values there (default: a new file in bench/results)
  --dir FOLDER     make the queues in there (default: the temporary folder); its file system is what is measured
  --profile FOLDER write a CPU profile of every child there; the figures are not worth much then
  --help           this

Names: ${NAMES.jobs.join(', ')}
Of "growth": ${NAMES.growth.join(', ')}`;

/** What is wrong with the command line, in words for its user. */
export class UsageError extends Error {}

/** Undefined: help was asked for. Throws a UsageError. */
export function readOptions(args: string[]): Options | undefined {
  const { values, positionals } = parse(args);
  if (values.help === true) return undefined;
  const [given = 'jobs', ...more] = positionals;
  const suite = (['jobs', 'growth', 'steady'] as const).find((name) => name === given);
  if (suite === undefined || more.length > 0)
    throw new UsageError(`expected growth, steady or nothing, received "${positionals.join(' ')}"`);
  const only = values.only ?? [];
  for (const name of only) {
    if (name === '' || !NAMES[suite].some((one) => one.startsWith(name)))
      throw new UsageError(`--only: nothing begins with "${name}"`);
  }
  return {
    suite,
    only,
    seconds: number('seconds', values.seconds, 0.5, 0.05, 60),
    rounds: whole('rounds', values.rounds, 4, 1, 1000),
    backlog: whole('backlog', values.backlog, 100_000, 1000, 10_000_000),
    largest: whole('largest', values.largest, 1_000_000, 1000, 10_000_000),
    minutes: number('minutes', values.minutes, 30, 0.05, 24 * 60),
    json: path('json', values.json),
    dir: path('dir', values.dir),
    profile: path('profile', values.profile),
  };
}

function parse(args: string[]) {
  const text = { type: 'string' } as const;
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        only: { type: 'string', multiple: true },
        seconds: text,
        rounds: text,
        backlog: text,
        largest: text,
        minutes: text,
        json: text,
        dir: text,
        profile: text,
        help: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function path(name: string, text: string | undefined): string | undefined {
  if (text === '') throw new UsageError(`--${name}: expected a path, received nothing`);
  return text;
}

function whole(
  name: string,
  text: string | undefined,
  fallback: number,
  least: number,
  most: number,
): number {
  const value = number(name, text, fallback, least, most);
  if (Number.isInteger(value)) return value;
  throw new UsageError(`--${name}: expected a whole number, received "${text}"`);
}

function number(
  name: string,
  text: string | undefined,
  fallback: number,
  least: number,
  most: number,
): number {
  if (text === undefined) return fallback;
  const value = /^[\d.]+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new UsageError(`--${name}: expected a number from ${least} to ${most}, received "${text}"`);
}
