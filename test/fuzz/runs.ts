/**
 * How much is tried, and what. In `npm test` the same each time, so that what is found stops nobody whose change it has
 * nothing to do with; `npm run fuzz` tries something new, and more of it. A failure names its seed.
 */
import * as fc from 'fast-check';

const SEED = Number(process.env['FUZZ_SEED'] ?? 1);
const TIMES = Number(process.env['FUZZ_RUNS'] ?? 1);

export function runs(usual: number): { seed: number; numRuns: number } {
  return { seed: SEED, numRuns: Math.ceil(usual * TIMES) };
}

/** Milliseconds for a test of so many runs. */
export const LIMIT = 120_000 * Math.max(1, TIMES);

/**
 * Of runs that start processes, and so take their time: as many as there is time for. Says so when it was not for all. A
 * failure is told as it was found: the next try begins with what this one has left, so no smaller one is looked for.
 */
export function timed<Values>(usual: number): fc.Parameters<Values> {
  const all = runs(usual);
  return {
    ...all,
    endOnFailure: true,
    interruptAfterTimeLimit: LIMIT * 0.75,
    markInterruptAsFailure: false,
    asyncReporter: async (out) => {
      const report = await fc.asyncDefaultReportMessage(out);
      if (out.failed) throw new Error(report, { cause: out.errorInstance });
      if (out.interrupted) console.log(`fuzz: time for ${out.numRuns} of ${all.numRuns} runs`);
    },
  };
}
