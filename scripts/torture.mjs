/**
 * Runs producers, workers and others as real processes that are killed and stopped all the time (`npm run torture --
 * --minutes M [--seed S]`, or `--kills N`), and compares what they were told with what is left. What was not kept is told in
 * full, the folder of that round stays, and the exit code is 1. `--mutants` runs engines that are broken on purpose.
 */
import { createJiti } from 'jiti';

const { main } = await createJiti(import.meta.url).import('../test/torture/torture-command.ts');
process.exitCode = await main(process.argv.slice(2));
