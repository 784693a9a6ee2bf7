/** The errors with which the loop itself has a try fail. */
import { FinalError } from './worker.ts';

/** The try took longer than the worker's timeout. What the handler threw when it was told so is the cause. */
export class TimeoutError extends Error {
  override readonly name = 'TimeoutError';
  readonly code = 'TIMEOUT';

  /** @param timeout milliseconds. */
  constructor(timeout: number, options?: ErrorOptions) {
    super(`the try took longer than its timeout of ${timeout} ms`, options);
  }
}

/** The data does not fit the worker's schema, and never will: the message has failed for good. */
export class SchemaError extends FinalError {
  override readonly name = 'SchemaError';
  readonly code = 'DATA_INVALID';

  /** @param issues one line each, safe to show. */
  constructor(issues: readonly string[]) {
    super(`the data does not fit the worker's schema: ${issues.join('; ')}`);
  }
}
