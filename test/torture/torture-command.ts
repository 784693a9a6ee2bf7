/** `npm run torture`. */
import { parseArgs } from 'node:util';
import { EXIT } from '../../bin/exit-codes.ts';
import { helped, misused } from '../../scripts/usage.mjs';
import { escapeControls } from '../../src/errors.ts';
import { edited } from './engine.ts';
import { MUTANTS } from './mutants.ts';
import { torture, type Torture, type TortureRecord } from './torture.ts';

const DEFAULT_SEED = 1;
const KILLS_PER_ROUND = 100;
/** Of a broken engine: what breaks does so soon. */
const KILLS_PER_MUTANT_ROUND = 50;
/** A broken engine that is not caught after so many has survived. */
const KILLS_PER_MUTANT = 1000;

const USAGE = `Usage: npm run torture -- [--minutes M | --kills N] [--seed S]
       npm run torture -- --mutants [NAME ...] [--seed S]

Kills and stops real processes all the time, and compares what they were told with what is left.

  --minutes M  for so long (default 1)
  --kills N    until so many processes were killed
  --seed S     fixes the plan, not the timing (default ${DEFAULT_SEED})
  --mutants    run engines that are broken on purpose, all or those named, until each is caught
  --help       print this

Exit codes: 0 every promise was kept (every engine was caught), 1 otherwise, 64 usage
Names, each one argument, in quotes:
${MUTANTS.map(({ name }) => `  ${name}`).join('\n')}`;

interface Asked {
  seed: number;
  minutes: number | undefined;
  kills: number | undefined;
  mutants: readonly string[] | undefined;
}

function say(text: string): void {
  process.stdout.write(`${escapeControls(text)}\n`);
}

/** Returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const help = helped(args, USAGE);
  if (help !== undefined) return help;
  const asked = parse(args);
  if (typeof asked === 'string') return misused('torture', asked, USAGE);
  const ending = new AbortController();
  const end = (): void => ending.abort();
  process.on('SIGINT', end).on('SIGTERM', end);
  try {
    const { signal } = ending;
    return asked.mutants ? await breakIn(asked.seed, asked.mutants, signal) : await long(asked, signal);
  } finally {
    process.off('SIGINT', end).off('SIGTERM', end);
  }
}

function parse(args: readonly string[]): Asked | string {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        minutes: { type: 'string' },
        kills: { type: 'string' },
        seed: { type: 'string' },
        mutants: { type: 'boolean' },
      },
    });
    const { minutes, kills, seed, mutants } = values;
    if (minutes !== undefined && !(Number(minutes) > 0))
      return `--minutes: expected a number above 0, received ${minutes}`;
    if (kills !== undefined && !(Number.isSafeInteger(Number(kills)) && Number(kills) > 0))
      return `--kills: expected a number from 1, received ${kills}`;
    if (seed !== undefined && !(seed !== '' && Number.isSafeInteger(Number(seed)) && Number(seed) >= 0))
      return `--seed: expected a number from 0, received ${seed}`;
    const unknown = positionals.find((name) => !mutants || !MUTANTS.some((mutant) => mutant.name === name));
    if (unknown !== undefined)
      return mutants ? `no mutant is named ${unknown}` : `unexpected argument ${unknown}`;
    if ([minutes, kills, mutants].filter((each) => each !== undefined).length > 1)
      return '--minutes, --kills and --mutants exclude each other';
    const asMany = (text: string | undefined): number | undefined =>
      text === undefined ? undefined : Number(text);
    return {
      seed: Number(seed ?? DEFAULT_SEED),
      minutes: asMany(minutes) ?? (kills === undefined ? 1 : undefined),
      kills: asMany(kills),
      mutants: mutants ? positionals : undefined,
    };
  } catch (error) {
    return (error as Error).message;
  }
}

async function long(
  { seed, minutes = Infinity, kills = Infinity }: Asked,
  signal: AbortSignal,
): Promise<number> {
  const until = performance.now() + minutes * 60_000;
  const wanted: Torture = {
    seed,
    killsPerRound: Math.min(KILLS_PER_ROUND, kills),
    goesOn: (record) => performance.now() < until && record.kills < kills,
    signal,
  };
  if (process.stderr.isTTY) {
    wanted.progress = (record) =>
      void process.stderr.write(
        `round ${record.rounds}: ${record.kills} kills, ${record.messages} messages\n`,
      );
  }
  const record = await torture(wanted);
  report(record);
  if (signal.aborted) process.stderr.write('torture: ended early\n');
  return record.violations.length > 0 || signal.aborted ? EXIT.failure : EXIT.ok;
}

function report(record: TortureRecord): void {
  const { seed, rounds, processes, points, violations, folder } = record;
  for (const line of record.account) say(line);
  if (folder !== undefined) say(`kept: ${folder}`);
  const struck = [...points]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([point, times]) => `${point} ${times}`);
  say(
    `seed ${seed}, ${rounds} rounds, ${processes} processes, ${record.late} settles refused; struck at named points:`,
  );
  say(`  ${struck.join(', ') || 'none'}`);
  const count = (kind: string): number => violations.filter((each) => each.kind === kind).length;
  const others = count('other') > 0 ? `, ${count('other')} other violations` : '';
  say(
    `${record.kills} kills, ${record.stops} stops, ${record.messages} messages, ${count('lost')} lost, ` +
      `${count('twice')} twice within a lease${others}`,
  );
}

/** Runs broken engines until each is caught: a check that has never failed is not known to check. */
async function breakIn(seed: number, names: readonly string[], signal: AbortSignal): Promise<number> {
  const chosen = MUTANTS.filter(({ name }) => names.length === 0 || names.includes(name));
  // Before anything runs: does each still stand in the sources?
  for (const { edits } of chosen) edited(edits);
  let caught = 0;
  for (const { name, edits } of chosen) {
    const began = performance.now();
    const record = await torture({
      seed,
      killsPerRound: KILLS_PER_MUTANT_ROUND,
      goesOn: ({ kills }) => kills < KILLS_PER_MUTANT,
      edits,
      keeps: false,
      signal,
    });
    if (signal.aborted) break;
    const [first] = record.violations;
    if (!first) {
      say(`SURVIVED  ${name}: ${record.kills} kills`);
      continue;
    }
    caught++;
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    say(`caught    ${name}: after ${seconds} s and ${record.kills} kills: ${first.text.split('\n')[0]}`);
  }
  say(`caught ${caught} of ${chosen.length}`);
  return caught === chosen.length ? EXIT.ok : EXIT.failure;
}
