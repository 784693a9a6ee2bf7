/** Names of daemons. They become parts of file names, so one rule holds wherever one comes from outside. */
import { QueueError, quote } from '../errors.ts';

export const DAEMON_NAME = /^(?!\.)[A-Za-z0-9._-]{1,64}$/;

/** Errors: INVALID_ARGUMENT. */
export function checkDaemonName(name: unknown): asserts name is string {
  if (typeof name === 'string' && DAEMON_NAME.test(name)) return;
  throw new QueueError(
    'INVALID_ARGUMENT',
    "expected the name of a daemon (1 to 64 letters, digits, '.', '_' or '-', no leading '.'), " +
      `received ${quote(name)}`,
  );
}
