import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const RUN = fileURLToPath(new URL('../dist/bench/run.js', import.meta.url));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coda-bench-test-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function bench(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [RUN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
}

describe('npm run bench', () => {
  it('measures each job with its limit, round by round, and leaves only the results', async () => {
    const json = join(folder, 'results.json');
    const names = ['add-64', 'drain-best', 'worker-1', 'flow', 'start'];
    const only = names.flatMap((name) => ['--only', name]);
    const short = ['--rounds', '2', '--seconds', '0.05', '--backlog', '20000'];
    const { code, stdout, stderr } = await bench(...only, ...short, '--dir', folder, '--json', json);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(readdirSync(folder)).toEqual(['results.json']);
    const { figures } = JSON.parse(readFileSync(json, 'utf8')) as {
      figures: {
        name: string;
        limit?: string;
        values: number[];
        median: number;
        share?: { min: number; median: number; max: number };
      }[];
    };
    expect(figures.map(({ name }) => name)).toEqual(
      expect.arrayContaining([...names, 'start-backlog', 'group-64', 'deliver-1', 'deliver-many', 'node']),
    );
    for (const { name, limit, values, share } of figures) {
      expect(stdout).toContain(name);
      expect(values).toHaveLength(2);
      for (const value of values) expect(value).toBeGreaterThan(0);
      if (limit === undefined) continue;
      const best = figures.find((figure) => figure.name === limit)!;
      const shares = values.map((value, round) =>
        name.startsWith('start') ? best.values[round]! / value : value / best.values[round]!,
      );
      expect(share).toEqual({
        median: (shares[0]! + shares[1]!) / 2,
        min: Math.min(...shares),
        max: Math.max(...shares),
      });
    }
  });

  it.each([
    [['--seconds', '0'], '--seconds: expected a number from 0.05 to 60, received "0"'],
    [['--rounds', '1.5'], '--rounds: expected a whole number, received "1.5"'],
    [['--backlog', 'many'], '--backlog: expected a number'],
    [['--only', 'ad', '--only', 'nothing'], '--only: nothing begins with "nothing"'],
    [['--json', ''], '--json: expected a path'],
    [['--fast'], "Unknown option '--fast'"],
    [['add-os'], 'add-os'],
  ])('refuses %j as a wrong command line, and says why', async (args, why) => {
    const { code, stdout, stderr } = await bench(...args, '--dir', folder);
    expect(code).toBe(64);
    expect(stdout).toBe('');
    expect(stderr).toContain(why);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('says how it is used', async () => {
    const { code, stdout } = await bench('--help');
    expect(code).toBe(0);
    expect(stdout).toContain('Usage: npm run bench');
  });
});
