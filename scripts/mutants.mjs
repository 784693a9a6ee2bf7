/**
 * Runs deliberately broken engines in the simulation until each is caught (`npm run mutants`): a check that has never failed is
 * not known to check. Says by which seed and after how long. Names of mutants, if any are given, choose among them.
 */
import { createJiti } from 'jiti';

const { main } = await createJiti(import.meta.url).import('../test/simulation/mutants-command.ts');
process.exitCode = await main(process.argv.slice(2));
