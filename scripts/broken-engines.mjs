/**
 * Runs the checks for rot, disk faults, power cuts, the contract and arbitrary input on copies of the project that are broken on
 * purpose (`npm run broken-engines -- [--suite S] [NAME ...]`), and demands that each fails, for the reason that it is there for:
 * a check that has never failed is not known to check.
 */
import { createJiti } from 'jiti';

const { main } = await createJiti(import.meta.url).import('../test/broken-engines/broken-engines-command.ts');
process.exitCode = await main(process.argv.slice(2));
