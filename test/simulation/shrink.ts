/** From the choices of a run that fails to fewer that fail in the same way: no fault, no switch and no step that is not needed. */
import type { Record } from './choices.ts';
import type { Outcome } from './simulate.ts';
import type { Kind } from './violation.ts';

/** What matters to a reader comes first: what went wrong, who interfered, how many there were. */
const FIRST = ['faults', 'schedule', 'plan', 'loss'];

/**
 * @param kind of the promise that is broken.
 * @param run a run from a record.
 * @param until the time, of `performance.now()`, at which what has been reached is good enough.
 */
export function shrink(record: Record, kind: Kind, run: (record: Record) => Outcome, until: number): Record {
  let best = record;
  const attempt = (name: string, values: readonly number[]): boolean => {
    if (performance.now() > until) return false;
    const outcome = run(new Map(best).set(name, values));
    if (outcome.violation?.kind !== kind) return false;
    // What was drawn beyond the record was zero, and what was not drawn is not needed.
    best = new Map([...outcome.choices].map(([stream, drawn]) => [stream, trimmed(drawn)]));
    return true;
  };
  const names = [...FIRST, ...[...record.keys()].filter((name) => !FIRST.includes(name))];
  for (const name of names) {
    const size = (): number => best.get(name)?.length ?? 0;
    for (let kept = 0; kept < size() && !attempt(name, best.get(name)!.slice(0, kept));)
      kept = kept === 0 ? 1 : kept * 2;
    for (let length = size() >> 1; length > 0; length = length >> 1) {
      for (let from = 0; from < size(); from += length) {
        const values = [...best.get(name)!];
        if (values.slice(from, from + length).every((value) => value === 0)) continue;
        values.fill(0, from, from + length);
        attempt(name, values);
        if (performance.now() > until) return best;
      }
    }
  }
  return best;
}

function trimmed(values: readonly number[]): readonly number[] {
  const last = values.findLastIndex((value) => value !== 0);
  return values.slice(0, last + 1);
}
