/**
 * The torture as its users run it, for a short while; `npm run torture -- --minutes M` goes on for as long as one likes. That
 * it would find anything is shown by a broken engine; `npm run torture -- --mutants` shows it by many.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test as base } from 'vitest';
import { makePayload, readPayload } from './payload.ts';
import { Plan } from './plan.ts';
import { MUTANTS } from './mutants.ts';
import { torture } from './torture.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/torture.mjs', import.meta.url));

const test = base.extend<{ folder: string }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads from the pattern which fixtures this one needs
  folder: async ({}, use) => {
    const folder = mkdtempSync(join(tmpdir(), 'coda-torture-test-'));
    // What the loader of the script has translated before need not be translated anew.
    const translated = join(tmpdir(), 'jiti');
    mkdirSync(translated, { recursive: true });
    symlinkSync(translated, join(folder, 'jiti'));
    await use(folder);
    rmSync(folder, { recursive: true });
  },
});

function run(folder: string, ...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const env = { PATH: process.env['PATH'], TMPDIR: folder };
  return spawnSync(process.execPath, [SCRIPT, ...args], { encoding: 'utf8', timeout: 170_000, env });
}

test('thirty kills lose nothing and leave nothing', { timeout: 180_000 }, ({ folder }) => {
  const { status, stdout, stderr } = run(folder, '--kills', '30');
  expect(stdout).toMatch(/\n3\d kills, \d+ stops, \d+ messages, 0 lost, 0 twice within a lease\n$/);
  expect(stderr).toBe('');
  expect(status).toBe(0);
  expect(readdirSync(folder)).toEqual(['jiti']);
});

test(
  'a broken engine is caught, and the round that did it is kept',
  { timeout: 300_000 },
  async ({ folder }) => {
    const { edits } = MUTANTS.find(({ name }) => name === 'an add is answered before it is written')!;
    const kills = 400;
    const record = await torture({
      seed: 1,
      killsPerRound: 20,
      goesOn: (r) => r.violations.length === 0 && r.kills < kills,
      edits,
      base: folder,
    });
    expect(record.violations.length).toBeGreaterThan(0);
    const kept = record.folder!;
    expect(readFileSync(join(kept, 'account'), 'utf8')).toContain(record.violations[0]!.text);
    expect(readdirSync(join(kept, 'diaries'))).toContain('1');
    expect(readdirSync(join(kept, 'queues'))).toContain('jobs');
  },
);

test('what is asked of processes is the same for a seed each time, and another for each round', () => {
  const lives = (seed: number, round: number): unknown => {
    const plan = new Plan(seed, round);
    return [plan.ground, ...Array.from({ length: 20 }, () => plan.next())];
  };
  expect(lives(1, 1)).toEqual(lives(1, 1));
  expect(lives(1, 2)).not.toEqual(lives(1, 1));
  expect(lives(2, 1)).not.toEqual(lives(1, 1));
});

test('a payload of any size tells whose it is, and that a character of it has changed', () => {
  for (const size of [10, 80, 400, 5000, 300_000]) {
    const payload = makePayload('3.1', '4.u2', size);
    const text = JSON.stringify(payload);
    expect(text.length).toBeGreaterThan(size * 0.9);
    expect(readPayload(payload)).toEqual({ id: '3.1', version: '4.u2' });
    const at = Math.floor(text.length / 2);
    const changed = text.slice(0, at) + (text[at] === '1' ? '2' : '1') + text.slice(at + 1);
    expect(readPayload(sloppily(changed))).toBeUndefined();
  }
});

function sloppily(text: string): ReturnType<typeof makePayload> {
  try {
    return JSON.parse(text) as ReturnType<typeof makePayload>;
  } catch {
    return null;
  }
}

test.each([
  [['--minutes', '0'], '--minutes: expected a number above 0, received 0'],
  [['--kills', '1.5'], '--kills: expected a number from 1, received 1.5'],
  [['--seed', 'x'], '--seed: expected a number from 0, received x'],
  [['--minutes', '1', '--kills', '3'], 'exclude each other'],
  [['--mutants', 'nobody'], 'no mutant is named nobody'],
  [['now'], 'unexpected argument now'],
  [['--sedes', '3'], "Unknown option '--sedes'"],
])('%j is refused', (args, why) => {
  const { status, stdout, stderr } = run(tmpdir(), ...args);
  expect(stderr).toContain(why);
  expect(stdout).toBe('');
  expect(status).toBe(64);
});
