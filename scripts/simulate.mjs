/**
 * Runs the engine on simulated machines (`npm run simulate -- --seeds N --seed FIRST`): a seed is a run, the same each time. A
 * promise that was not kept is printed with its seed and a schedule that was made as short as may be, and the exit code is
 * 1. `--trace` prints what happens in the run of one seed.
 */
import { createJiti } from 'jiti';

const { main } = await createJiti(import.meta.url).import('../test/simulation/simulate-command.ts');
process.exitCode = await main(process.argv.slice(2));
