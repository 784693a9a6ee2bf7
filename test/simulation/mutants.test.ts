/** The list of broken engines, checked against the sources; `npm run mutants` runs them. */
import { expect, test } from 'vitest';
import { MUTANTS } from './mutants.ts';
import { checkEdits } from './realm.ts';

test.each(MUTANTS)(
  '$name: every text that it changes stands in the sources once, and they still parse',
  ({ edits }) => {
    expect(edits.length).toBeGreaterThan(0);
    expect(() => checkEdits(edits)).not.toThrow();
  },
);

test('no two mutants have one name', () => {
  const names = MUTANTS.map(({ name }) => name);
  expect([...new Set(names)]).toEqual(names);
});
