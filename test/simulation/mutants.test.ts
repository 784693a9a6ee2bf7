/** The list of broken engines, checked against the sources; `npm run mutants` runs them. */
import { afterEach, describe, expect, test } from 'vitest';
import { Runner } from './campaign.ts';
import { tellUnfit } from './mutants-command.ts';
import { MUTANTS } from './mutants.ts';

test.each(MUTANTS)(
  '$name: every text that it changes stands in the sources once, and they still load',
  (mutant) => {
    expect(mutant.edits.length).toBeGreaterThan(0);
    expect(tellUnfit([mutant])).toEqual([]);
  },
);

test('no two mutants have one name', () => {
  const names = MUTANTS.map(({ name }) => name);
  expect([...new Set(names)]).toEqual(names);
});

describe('an engine that cannot be made', () => {
  const IMPORT = "import { QueueError } from '../errors.ts';\n";
  const file = 'src/cache/log.ts';
  const of = (replace: string, find = IMPORT): { name: string; edits: [typeof edit] } => {
    const edit = { file, find, replace };
    return { name: 'a slip of the pen', edits: [edit] };
  };
  const runner = new Runner();
  afterEach(() => runner.close());

  test.each([
    ['its text stands nowhere', of('', 'this stands nowhere'), /expected this text once, found it 0 times/],
    ['it does not parse', of(`${IMPORT}const = ;\n`), /log\.ts: expected a text that parses: .*ParseError/],
    ['it does not load', of(`${IMPORT}nobody.knows();\n`), /nobody is not defined/],
  ])(
    'is told by its name before any seed is run, and ends the thread that is to run it: %s',
    async (_, unfit, why) => {
      const [told, ...others] = tellUnfit([...MUTANTS.slice(0, 1), unfit]);
      expect(told).toMatch(/^a slip of the pen: /);
      expect(told).toMatch(why);
      expect(others).toEqual([]);
      await expect(runner.run({ first: 1, count: 1, edits: unfit.edits })).rejects.toThrow(why);
      const { violation } = await runner.run({ first: 1, count: 1, edits: [] });
      expect(violation).toBeUndefined();
    },
  );
});
