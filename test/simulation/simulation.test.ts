/**
 * The simulation as its users run it, on a few seeds; `npm run simulate` runs thousands. That it would find anything is shown by
 * one broken engine; `npm run mutants` shows it by many.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { Record } from './choices.ts';
import { neverMet } from './coverage.ts';
import { MUTANTS } from './mutants.ts';
import { Code } from './realm.ts';
import { shrink } from './shrink.ts';
import { makeEngine, simulate, type Engine } from './simulate.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/simulate.mjs', import.meta.url));

function run(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [SCRIPT, ...args], { encoding: 'utf8', timeout: 110_000 });
}

test('forty seeds keep every promise', { timeout: 120_000 }, () => {
  const { status, stdout } = run('--seeds', '40', '--seed', '1');
  expect(stdout).toMatch(/\n40 seeds, \d+ operations, 0 violations\n$/);
  expect(status).toBe(0);
});

test('the run of a seed is the same each time, byte for byte', () => {
  const [first, second] = [run('--seed', '2', '--trace'), run('--seed', '2', '--trace')];
  expect(first.stdout.split('\n').length).toBeGreaterThan(500);
  expect(second.stdout).toBe(first.stdout);
});

test.each([
  [['--seeds', 'many'], '--seeds: expected a number from 1, received many'],
  [['--seed', '-1'], 'argument'],
  [['--trace', '--seeds', '3'], 'leave out --seeds'],
  [['--sedes', '3'], "Unknown option '--sedes'"],
])('%j is refused', (args, why) => {
  const { status, stdout, stderr } = run(...args);
  expect(stderr).toContain(why);
  expect(stdout).toBe('');
  expect(status).toBe(64);
});

describe('an engine that answers before the flush', () => {
  const { edits } = MUTANTS.find(({ name }) => name === 'an answer before the flush')!;

  const length = (record: Record): number => [...record.values()].flat().length;

  const byLength = (a: Record, b: Record): number => length(a) - length(b);

  /** The runs with the fewest choices, but enough to leave some out, of those of the first seeds that are caught: not each shrinks well. */
  function caught(engine: Engine): Record[] {
    const outcomes = Array.from({ length: 50 }, (_, i) => simulate(i + 1, engine));
    const found = outcomes
      .filter(({ violation }) => violation?.kind === 'lost')
      .map(({ choices }) => choices)
      .filter((choices) => length(choices) >= 500);
    return found.sort(byLength).slice(0, 3);
  }

  /** Made shorter with so many runs, not in so much time: that would hang on what else the machine does. */
  function shrunk(choices: Record, engine: Engine, runs = 60): Record {
    const given = { operations: 0, calls: 0, met: new Map(), choices, violation: undefined };
    return shrink(choices, 'lost', (record) => (runs-- > 0 ? simulate(record, engine) : given), Infinity);
  }

  test('is caught, and the schedule that catches it shrinks', () => {
    const engine = makeEngine(new Code(edits));
    const runs = caught(engine);
    const most = length(runs[0]!) / 2;
    let least = runs[0]!;
    for (const choices of runs) if (length(least) >= most) least = shrunk(choices, engine);
    expect(length(least)).toBeLessThan(most);
    expect(simulate(least, engine).violation?.kind).toBe('lost');
    // It is this engine's fault, not the schedule's.
    expect(simulate(least, makeEngine()).violation).toBeUndefined();
  });
});

test.each([
  ['interval never flushes', 'lost'],
  ['who verifies changes the folder', 'files'],
  ['rot is taken for a torn tail', 'silent'],
  ['damage is counted, and told to nobody', 'silent'],
  ['that a head had to be made again is not counted', 'silent'],
  ['a head does not tell of damage', 'silent'],
])('an engine in which %s breaks the promise of that kind', (name, kind) => {
  const engine = makeEngine(new Code(MUTANTS.find((mutant) => mutant.name === name)!.edits));
  const seeds = Array.from({ length: 40 }, (_, i) => i + 1);
  expect(seeds.some((seed) => simulate(seed, engine).violation?.kind === kind)).toBe(true);
});

test('a run that does not come to an end is given up', () => {
  const edit = {
    file: 'src/cache/folder.ts',
    find: '  checkFileSystem(fs, root);\n',
    replace: '  while (fs.space(root)) checkFileSystem(fs, root);\n',
  };
  expect(simulate(1, makeEngine(new Code([edit]))).violation).toEqual({
    kind: 'hang',
    text: 'the run does not come to an end',
  });
});

test('a kind of event that never happened is missed when there were seeds enough', () => {
  expect(neverMet(new Map(), 100)).toEqual([]);
  expect(neverMet(new Map([['rotations', 1]]), 10_000)).toContain('deletions');
  expect(neverMet(new Map([['rotations', 1]]), 10_000)).not.toContain('rotations');
});

test('a mutant whose text no longer stands in the sources is an error', () => {
  const edit = { file: 'src/cache/log.ts', find: 'this stands nowhere', replace: '' };
  expect(() => new Code([edit])).toThrow('src/cache/log.ts: expected this text once, found it 0 times');
});
