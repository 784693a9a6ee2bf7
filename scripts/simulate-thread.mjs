/** A thread of `npm run simulate` and `npm run mutants`: loads the simulation, which is TypeScript. */
import { createJiti } from 'jiti';

const { serve } = await createJiti(import.meta.url).import('../test/simulation/thread.ts');
serve();
