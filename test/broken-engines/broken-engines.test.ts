/** The list of what is broken on purpose, checked against the sources; `npm run broken-engines` runs it. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { checkEdits } from '../simulation/realm.ts';
import { BROKEN, SUITES } from './engines.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/broken-engines.mjs', import.meta.url));
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

test.each(BROKEN)(
  '$suite, $name: every text that it changes stands in the sources once, and they still parse',
  ({ edits, check, says }) => {
    expect(edits.length).toBeGreaterThan(0);
    expect(() => checkEdits(edits)).not.toThrow();
    expect(existsSync(`${ROOT}${check.run[0]}`)).toBe(true);
    expect(says).not.toBe('');
  },
);

test('no two have one name, and there are four for each kind of check at least', () => {
  const names = BROKEN.map(({ name }) => name);
  expect([...new Set(names)]).toEqual(names);
  for (const suite of SUITES)
    expect(BROKEN.filter((each) => each.suite === suite).length).toBeGreaterThanOrEqual(4);
});

test.each([
  [['--suite', 'luck'], '--suite: expected rot, faults, power-cut, contract, fuzz, received "luck"'],
  [['nobody'], 'no engine is named "nobody"'],
  [['--suites'], "Unknown option '--suites'"],
])('%j is refused', (args, why) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT, ...args], { encoding: 'utf8' });
  expect(stderr).toContain(why);
  expect({ status, stdout }).toEqual({ status: 64, stdout: '' });
});
