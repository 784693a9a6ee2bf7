/**
 * `coda-queue/testing`: for the tests of programs that use queues. `inline` and `drain` run a worker in the test's own
 * process, against a queue in memory and by the very loop that `queue-worker` runs; `waitForState` waits for a message
 * of any queue. They know no test runner, and leave nothing running.
 */
export { drain, inline } from './run.ts';
export type {
  Drained,
  DrainOptions,
  InputOf,
  MessageOf,
  Processed,
  TestedWorker,
  Tried,
  TryOptions,
} from './run.ts';
export type { LogLine } from './recorder.ts';
export { waitForState } from './wait-for-state.ts';
