/** How long a message waits after a failed try. */

export interface Backoff {
  /** Milliseconds before the second try. */
  readonly backoff: number;
  /** Milliseconds that no wait exceeds. */
  readonly backoffMax: number;
}

/**
 * Milliseconds to wait after try number `attempt` (from 1) has failed: doubled with each try up to `backoffMax`, then
 * somewhere in its upper half, so that messages which failed together do not all come back together. This is the
 * "equal jitter" of Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015: full jitter spreads a little
 * better, but may ask a service that is down again at once.
 *
 * @param random a number in [0, 1).
 */
export function backoffDelay(attempt: number, { backoff, backoffMax }: Backoff, random: number): number {
  // Beyond 2 ** 60 the product is over any backoffMax; the bound keeps 0 * Infinity out.
  const full = Math.min(backoff * 2 ** Math.min(Math.max(attempt - 1, 0), 60), backoffMax);
  return Math.round(full / 2 + (full / 2) * random);
}
