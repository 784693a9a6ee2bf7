/** All who have applied the same bytes hold the same state. */
import type { Log } from '../../src/cache/log.ts';
import type * as logModule from '../../src/cache/log.ts';
import type { Realm } from './realm.ts';
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

const watched = new WeakSet<Realm>();

/** Has the engine's handles tell what they have applied. */
export function watchLogs(realm: Realm, engine: { applied: (log: Log) => void }): void {
  if (watched.has(realm)) return;
  watched.add(realm);
  const { Log: Class } = realm.load('src/cache/log.ts') as typeof logModule;
  const { prototype } = Class;
  // Each is called with the handle that it was called on.
  // oxlint-disable-next-line typescript/unbound-method
  const { step, applyBatch } = prototype;
  prototype.step = function (this: Log): boolean {
    const done = step.call(this);
    engine.applied(this);
    return done;
  };
  prototype.applyBatch = function (this: Log): boolean {
    const done = applyBatch.call(this);
    if (done) engine.applied(this);
    return done;
  };
}
