/** `npm run mutants`. */
import { parseArgs } from 'node:util';
import { EXIT } from '../../bin/exit-codes.ts';
import { helped, misused } from '../../scripts/usage.mjs';
import { escapeControls, quote } from '../../src/errors.ts';
import { onAllCores, type Runner } from './campaign.ts';
import { MUTANTS, type Mutant, type Simulated } from './mutants.ts';
import { Code } from './realm.ts';
import { makeEngine } from './simulate.ts';
import { inWords, type Kind } from './violation.ts';

/** A mutant that is still alive after so many seeds has survived. */
const SEEDS = 3000;
const STRIDE = 20;
/** Characters of what a mutant was caught at. */
const SHOWN = 120;

const USAGE = `Usage: npm run mutants -- [NAME ...]

Simulates engines that are broken on purpose, all or those named, until each is caught or has survived ${SEEDS} seeds.

  --help  print this

Exit codes: 0 all were caught, 1 one was not, or could not be made, 64 usage
Names, each one argument, in quotes:
${MUTANTS.map(({ name }) => `  ${name}`).join('\n')}`;

function say(text: string): void {
  process.stdout.write(`${escapeControls(text)}\n`);
}

/** Returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const help = helped(args, USAGE);
  if (help !== undefined) return help;
  const chosen = choose(args);
  if (typeof chosen === 'string') return misused('mutants', chosen, USAGE);
  // Before anything runs: what is no engine would break a promise by every seed, and none of its own.
  const unfit = tellUnfit(chosen);
  for (const line of unfit) say(`UNFIT     ${line}`);
  if (unfit.length > 0) return EXIT.failure;
  let caught = 0;
  await onAllCores(chosen, async (mutant, runner) => {
    const began = performance.now();
    const found = await hunt(mutant, runner);
    for (const line of found.beside) say(`beside    ${mutant.name}: ${line}`);
    if (!found.caught) return say(`SURVIVED  ${mutant.name}: ${SEEDS} seeds`);
    caught++;
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    say(`caught    ${mutant.name}: after ${seconds} s ${found.caught}`);
  });
  say(`caught ${caught} of ${chosen.length}`);
  return caught === chosen.length ? EXIT.ok : EXIT.failure;
}

/** A text: what is wrong with what was asked for. */
function choose(args: readonly string[]): readonly Simulated[] | string {
  try {
    const { positionals: names } = parseArgs({ args: [...args], allowPositionals: true });
    const unknown = names.find((name) => !MUTANTS.some((mutant) => mutant.name === name));
    if (unknown !== undefined) return `no mutant is named ${quote(unknown)}`;
    return MUTANTS.filter(({ name }) => names.length === 0 || names.includes(name));
  } catch (error) {
    return (error as Error).message;
  }
}

/** Of each of them that cannot be made, and why: its texts do not stand in the sources once, or what they make does not load. */
export function tellUnfit(mutants: readonly Mutant[]): string[] {
  return mutants.flatMap(({ name, edits }) => {
    try {
      makeEngine(new Code(edits));
      return [];
    } catch (error) {
      return [`${name}: ${(error as Error).message}`];
    }
  });
}

/** Simulates the mutant until it breaks one of the promises that are its own. `beside`: the first of each kind that it broke before. */
async function hunt(
  { edits, breaks }: Simulated,
  runner: Runner,
): Promise<{ caught: string | undefined; beside: string[] }> {
  const beside = new Map<Kind, string>();
  let caught: string | undefined;
  for (let first = 1; first <= SEEDS && caught === undefined;) {
    const { violation } = await runner.run({ first, count: STRIDE, edits });
    first = violation ? violation.seed + 1 : first + STRIDE;
    if (!violation) continue;
    const { seed, kind } = violation;
    const line = `by seed ${seed}: ${inWords(violation).split('\n')[0]!.slice(0, SHOWN)}`;
    // What the engine itself cannot bear proves nothing.
    const { violation: own } = await runner.run({ first: seed, count: 1, edits: [] });
    if (own) say(`the engine itself fails by seed ${seed}: ${inWords(own).split('\n')[0]}`);
    else if (breaks.includes(kind)) caught = line;
    else if (!beside.has(kind)) beside.set(kind, line);
  }
  return { caught, beside: [...beside.values()] };
}
