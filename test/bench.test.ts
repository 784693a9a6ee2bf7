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

  it('tells how costs grow, a row for each size', async () => {
    const json = join(folder, 'results.json');
    const short = ['--largest', '10000', '--seconds', '0.05', '--dir', folder, '--json', json];
    const { code, stdout, stderr } = await bench('growth', '--only', 'backlog', '--only', 'sizes', ...short);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(readdirSync(folder)).toEqual(['results.json']);
    const { tables } = JSON.parse(readFileSync(json, 'utf8')) as {
      tables: { name: string; columns: string[]; rows: { size: number; values: number[] }[] }[];
    };
    expect(tables.map(({ name }) => name)).toEqual(['backlog', 'sizes']);
    expect(tables[0]?.rows.map(({ size }) => size)).toEqual([1000, 10_000]);
    for (const { columns, rows } of tables) {
      for (const column of columns) expect(stdout).toContain(column);
      for (const { values } of rows) {
        expect(values).toHaveLength(columns.length);
        for (const value of values) expect(value).toBeGreaterThan(0);
      }
    }
  });

  it('shows over time what one producer and one worker do to the machine', async () => {
    const json = join(folder, 'results.json');
    const short = ['--minutes', '0.05', '--seconds', '0.05', '--dir', folder, '--json', json];
    const { code, stdout, stderr } = await bench('steady', ...short);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(readdirSync(folder)).toEqual(['results.json']);
    const results = JSON.parse(readFileSync(json, 'utf8')) as {
      rate: number;
      period: number;
      producer: { count: number; rss: number }[];
      worker: { count: number; rss: number }[];
    };
    const sum = (samples: { count: number }[]): number => samples.reduce((all, { count }) => all + count, 0);
    expect(results.producer).toHaveLength(results.worker.length);
    expect(sum(results.producer)).toBeGreaterThan(0);
    expect(sum(results.worker)).toBeGreaterThan(0);
    expect(sum(results.worker)).toBeLessThanOrEqual(Math.ceil(results.rate * 3) + results.rate);
    for (const { rss } of [...results.producer, ...results.worker]) expect(rss).toBeGreaterThan(0);
    expect(stdout).toContain('p99.9 ms');
  });

  it.each([
    [['--seconds', '0'], '--seconds: expected a number from 0.05 to 60, received "0"'],
    [['--rounds', '1.5'], '--rounds: expected a whole number, received "1.5"'],
    [['--backlog', 'many'], '--backlog: expected a number'],
    [['--only', 'ad', '--only', 'nothing'], '--only: nothing begins with "nothing"'],
    [['--json', ''], '--json: expected a path'],
    [['--fast'], "Unknown option '--fast'"],
    [['add-os'], 'expected growth, steady or nothing, received "add-os"'],
    [['growth', 'steady'], 'received "growth steady"'],
    [['growth', '--only', 'add-os'], '--only: nothing begins with "add-os"'],
    [['--largest', '5'], '--largest: expected a number from 1000'],
    [['steady', '--minutes', '0'], '--minutes: expected a number'],
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
