/**
 * Whoever computes for long shares its process with timers and sockets, which have their turn in between.
 */
import type { Clock } from './ports.ts';

/** They have it after so long, ms. */
const BREATH_MS = 4;

/** Whether others have waited long enough. */
export function isBreathless(clock: Clock): boolean {
  return clock.busy() >= BREATH_MS;
}

/** Lets others run if they have waited long enough. */
export async function breathe(clock: Clock): Promise<void> {
  if (isBreathless(clock)) await clock.yield();
}
