/** The commands for those who work on Coda: each says how it is used, in the same way as the others. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { BROKEN } from './broken-engines/engines.ts';
import { MUTANTS } from './simulation/mutants.ts';
import { MUTANTS as TORTURED } from './torture/mutants.ts';

const namesOf = (engines: readonly { name: string }[]): string[] => engines.map(({ name }) => `  ${name}\n`);

/** With some of what their help must name. */
const COMMANDS: Readonly<Record<string, readonly string[]>> = {
  simulate: ['--seeds N', '--seed S', '--trace', 'default 200'],
  mutants: namesOf(MUTANTS),
  model: ['--quick', '--deep', '--trace', ' claims-brief '],
  torture: ['--minutes M', '--kills N', '--seed S', '--mutants', ...namesOf(TORTURED)],
  'power-cut': ['--trials N', '--durability D', '--file-system F', '--pause MS', 'default 20'],
  fuzz: ['--times N', '--seed S', 'default 10', 'journal, messages'],
  'broken-engines': ['--suite ', ...namesOf(BROKEN)],
};

describe.each(Object.entries(COMMANDS))('npm run %s', (name, words) => {
  const run = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(
      process.execPath,
      [fileURLToPath(new URL(`../scripts/${name}.mjs`, import.meta.url)), ...args],
      {
        encoding: 'utf8',
      },
    );

  test.each(['--help', '-h'])('tells with %s what it takes', (help) => {
    const { status, stdout, stderr } = run(help);
    for (const word of [`Usage: npm run ${name} -- `, 'Exit codes: 0 ', ...words])
      expect(stdout).toContain(word);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  test.each([
    [['--strange'], '--strange'],
    [['no\u001b[31m\nsuch'], 'no\\u001b[31m'],
  ])('refuses %j in one line, then tells how it is used', (args, said) => {
    const { status, stdout, stderr } = run(...args);
    const [line, usage, ...rest] = stderr.split('\n');
    expect(line!.startsWith(`${name}: `)).toBe(true);
    expect(line).toContain(said);
    expect(line).not.toContain('To specify');
    expect(usage).toMatch(/^Usage: npm run /);
    expect(rest.slice(-2)).toEqual(['--help says more', '']);
    expect({ status, stdout }).toEqual({ status: 64, stdout: '' });
  });
});

test('an argument that is missing is told without advice', () => {
  const script = fileURLToPath(new URL('../scripts/simulate.mjs', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [script, '--seed', '-1'], { encoding: 'utf8' });
  expect(stderr.split('\n')[0]).toBe("simulate: Option '--seed' argument is ambiguous.");
  expect(status).toBe(64);
});
