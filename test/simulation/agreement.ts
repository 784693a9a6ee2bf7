/** All who have applied the same bytes hold the same state. */
import type { Log } from '../../src/cache/log.ts';
import { Violation } from './violation.ts';

export class Agreement {
  readonly #known = new Map<string, string>();

  /** Throws when another, that has applied as much, was led elsewhere. */
  check({ state, applied, whole }: Log): void {
    if (!whole || state.isDamaged) return;
    const key = `${state.segment}:${applied}`;
    const { id, digest, counts, paused, processed } = state;
    const told = JSON.stringify([id, digest, counts, paused, processed]);
    const known = this.#known.get(key);
    if (known === undefined) this.#known.set(key, told);
    else if (known !== told)
      throw new Violation('differ', `two processes differ at ${key}: ${known} and ${told}`);
  }
}
