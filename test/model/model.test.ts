/**
 * The model of the protocol as its users run it, in small bounds; `npm run model` runs the larger ones. That it would find
 * anything is shown on copies of it that were broken by hand.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Compilers and spin are slow on a busy machine. */
const PATIENCE = 600_000;

interface Run {
  code: number;
  stdout: string;
  stderr: string;
}

async function model(root: string, words: readonly string[], env = process.env): Promise<Run> {
  const child = spawn(process.execPath, [join(root, 'scripts/model.mjs'), ...words], { env });
  const run: Run = { code: -1, stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (run.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (run.stderr += text));
  [run.code] = (await once(child, 'close')) as [number];
  return run;
}

const missing = ['spin', 'gcc'].find((tool) => spawnSync(tool, ['--version']).error !== undefined);
const skipped = `${missing} is not installed (on Debian: apt-get install spin gcc)`;

test(
  'the rules hold in every state within small bounds, and broken variants are refuted',
  { timeout: PATIENCE },
  async ({ skip }) => {
    skip(missing !== undefined, skipped);
    const { code, stdout, stderr } = await model(ROOT, ['--quick']);
    expect(stderr).toBe('');
    expect(stdout.trim().split('\n').at(-1)).toMatch(/^4 of 4 hold, 5 of 5 broken variants refuted \(/);
    expect(code).toBe(0);
  },
);

describe('a model that was broken', () => {
  let copy: string;
  beforeAll(() => {
    copy = mkdtempSync(join(tmpdir(), 'coda-model-test-'));
    mkdirSync(join(copy, 'scripts'));
    for (const name of ['model.mjs', 'usage.mjs'])
      cpSync(join(ROOT, 'scripts', name), join(copy, 'scripts', name));
  });
  afterAll(() => rmSync(copy, { recursive: true }));

  function breakIt(file: string, from: string, to: string): void {
    cpSync(join(ROOT, 'model'), join(copy, 'model'), { recursive: true });
    const path = join(copy, 'model', file);
    const text = readFileSync(path, 'utf8');
    expect(text.split(from)).toHaveLength(2);
    writeFileSync(path, text.replace(from, to));
  }

  test('does not hold, and says in words what happens', { timeout: PATIENCE }, async ({ skip }) => {
    skip(missing !== undefined, skipped);
    // Who creates a queue is answered before the root has been flushed.
    breakIt('birth.pml', '       onDevice = named;\n#endif\n       SAY', '#endif\n       SAY');
    const { code, stdout } = await model(copy, ['birth-brief']);
    expect(stdout).toContain('EXPECTED: holds; assertion violated');
    expect(stdout).toContain('has flushed the root, and answers that queue 1 was created');
    expect(stdout).toMatch(/^0 of 1 hold, 0 of 0 broken variants refuted \(.*\)\n$/m);
    expect(code).toBe(1);
  });

  test('is told when it refutes a broken variant no more', { timeout: PATIENCE }, async ({ skip }) => {
    skip(missing !== undefined, skipped);
    // What was acknowledged may be gone.
    breakIt('birth.pml', 'assert(!(told & BIT(k)) || (ending & BIT(k)) || n == k);', 'skip;');
    const { code, stdout } = await model(copy, ['root-not-synced']);
    expect(stdout).toContain('EXPECTED: refuted');
    expect(stdout).toMatch(/^0 of 0 hold, 0 of 1 broken variants refuted \(.*\)\n$/m);
    expect(code).toBe(1);
  });
});

test('without spin it says so, and exits with 69', async () => {
  const { code, stdout } = await model(ROOT, ['--quick'], { ...process.env, PATH: '/nowhere' });
  expect(stdout).toBe('model: SKIPPED, spin is not installed (on Debian: apt-get install spin gcc)\n');
  expect(code).toBe(69);
});

describe('its page', () => {
  const page = readFileSync(join(ROOT, 'model/README.md'), 'utf8');

  test('names every run that holds, and each model its broken variants', async () => {
    const { code, stdout } = await model(ROOT, ['--help']);
    expect(code).toBe(0);
    const runs = /^Runs: (.*)$/m.exec(stdout)![1]!.split(' ');
    const variants = ['rotation', 'claims', 'birth'].flatMap((name) => {
      const text = readFileSync(join(ROOT, `model/${name}.pml`), 'utf8');
      const [head = ''] = text.split('*/');
      const list = head.slice(head.indexOf('Broken variants'));
      return [...list.matchAll(/^ \*   ([a-z-]+) /gm)].map(([, variant]) => variant!);
    });
    const rows = [...page.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, row]) => row!);
    const listed = [...page.matchAll(/`([a-z-]+-brief|spare-[a-z-]+)`/g)].map(([, run]) => run!);
    expect([...rows, ...listed, ...variants].toSorted()).toEqual(runs.toSorted());
  });

  test('names functions that the sources have', () => {
    const cited = [...page.matchAll(/`(\w[\w-]*)\.ts` ((?:`[#\w]+`(?:, )?)+)/g)];
    expect(cited.length).toBeGreaterThan(10);
    const unknown = cited.flatMap(([, module, names]) => {
      const source = readFileSync(join(ROOT, `src/cache/${module}.ts`), 'utf8');
      const cites = [...names!.matchAll(/`([#\w]+)`/g)].map(([, name]) => name!);
      return cites.filter((name) => !source.includes(name)).map((name) => `${module}.ts ${name}`);
    });
    expect(unknown).toEqual([]);
  });
});
