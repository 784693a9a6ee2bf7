import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Processes, not threads: tests kill, change folders and count handles.
    pool: 'forks',
    // More than there are cores, for most tests wait for processes and timers.
    maxWorkers: availableParallelism() + 1,
    // A test that passes the second time has failed.
    retry: 0,
    // A ceiling for tests with real processes on a busy machine; tests wait for events, so most take milliseconds.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ['default'],
  },
});
