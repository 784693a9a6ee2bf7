import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * What takes longest is begun first: begun last, it would keep one worker busy when the others have nothing left to do.
 * Vitest knows what took how long from earlier runs alone; in a fresh clone it goes by the sizes of the files.
 */
const LONG = [
  'test/cache/random-rot.test.ts',
  'test/processes/crew.test.ts',
  'test/cli/bad-input.test.ts',
  'test/cache/repair-crash.test.ts',
  'test/cache/rot.test.ts',
  'test/contract/cache.test.ts',
  'test/contract/model.test.ts',
  'test/processes/daemon-mishaps.test.ts',
  'test/processes/daemon-control.test.ts',
  'test/simulation/simulation.test.ts',
  'test/torture/torture.test.ts',
  'test/processes/daemon-rivals.test.ts',
  'test/fuzz/argv.test.ts',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification): boolean => LONG.some((name) => moduleId.endsWith(name));
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Processes, not threads: tests kill, change folders and count handles.
    pool: 'forks',
    // More than there are cores, for most tests wait for processes and timers.
    maxWorkers: availableParallelism() + 1,
    sequence: { sequencer: LongestFirst },
    // A test that passes the second time has failed.
    retry: 0,
    // A ceiling for tests with real processes on a busy machine; tests wait for events, so most take milliseconds.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ['default'],
  },
});
