/** What a daemon throws, which may be anything. Nothing here throws in its turn. */
import { QueueError, escapeControls } from '../errors.ts';
import { toTryError } from '../try-error.ts';

export function messageOf(error: unknown): string {
  return toTryError(error, 1, 0).message;
}

/** Whether it was thrown because one of these signals has fired: then nothing has failed. */
export function isConsequence(error: unknown, signals: readonly (AbortSignal | undefined)[]): boolean {
  const fired = signals.flatMap((signal) => (signal?.aborted ? signal : []));
  if (fired.length === 0) return false;
  try {
    const { name, cause } = error as Error;
    return name === 'AbortError' || fired.some(({ reason }) => reason === error || reason === cause);
  } catch {
    return false;
  }
}

/** The error with which a daemon does not come up. */
export function startFailed(cause: unknown): QueueError {
  if (cause instanceof QueueError) return cause;
  const message = `onStart() of the daemon failed: ${escapeControls(messageOf(cause))}`;
  return new QueueError('DAEMON_FAILED', message, { cause });
}
