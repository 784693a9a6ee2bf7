/** How much is tried: `FUZZ_RUNS=100 npx vitest run test/fuzz` tries a hundred times as much. A failure names its seed. */
const TIMES = Number(process.env['FUZZ_RUNS'] ?? 1);

export function runs(usual: number): { numRuns: number } {
  return { numRuns: Math.ceil(usual * TIMES) };
}

/** Milliseconds for a test of so many runs. */
export const LIMIT = 120_000 * Math.max(1, TIMES);
