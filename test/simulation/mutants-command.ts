/** `npm run mutants`. */
import { EXIT } from '../../bin/exit-codes.ts';
import { escapeControls } from '../../src/errors.ts';
import { onAllCores } from './campaign.ts';
import { MUTANTS } from './mutants.ts';
import { checkEdits } from './realm.ts';

/** A mutant that is still alive after so many seeds has survived. */
const SEEDS = 3000;
const STRIDE = 20;
/** Characters of what a mutant was caught at. */
const SHOWN = 120;

function say(text: string): void {
  process.stdout.write(`${escapeControls(text)}\n`);
}

/** Returns the exit code. @param names of mutants; none means all. */
export async function main(names: readonly string[]): Promise<number> {
  const unknown = names.find((name) => !MUTANTS.some((mutant) => mutant.name === name));
  if (unknown !== undefined) {
    process.stderr.write(`mutants: no mutant is named ${escapeControls(unknown)}\n`);
    return EXIT.usage;
  }
  const chosen = MUTANTS.filter(({ name }) => names.length === 0 || names.includes(name));
  // Before anything runs: does each still stand in the sources?
  for (const { edits } of chosen) checkEdits(edits);
  let caught = 0;
  await onAllCores(chosen, async ({ name, edits }, runner) => {
    const began = performance.now();
    for (let first = 1; first <= SEEDS; first += STRIDE) {
      const { violation } = await runner.run({ first, count: STRIDE, edits });
      if (!violation) continue;
      // What the engine itself cannot bear proves nothing.
      const own = await runner.run({ first: violation.seed, count: 1, edits: [] });
      if (own.violation) {
        say(`the engine itself fails by seed ${violation.seed}: ${own.violation.text.split('\n')[0]}`);
        first = violation.seed + 1 - STRIDE;
        continue;
      }
      caught++;
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      const what = violation.text.split('\n')[0]!.slice(0, SHOWN);
      say(`caught    ${name}: by seed ${violation.seed}, after ${seconds} s: ${what}`);
      return;
    }
    say(`SURVIVED  ${name}: ${SEEDS} seeds`);
  });
  say(`caught ${caught} of ${chosen.length}`);
  return caught === chosen.length ? EXIT.ok : EXIT.failure;
}
