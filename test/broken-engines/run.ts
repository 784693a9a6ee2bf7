/** A check run on a copy of the project, in which some texts have been replaced. */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Edit } from '../simulation/realm.ts';
import { edited } from '../torture/engine.ts';
import type { Check } from './engines.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** All that a check reads, but for what is installed and what is compiled. */
const COPIED = [
  'src',
  'bin',
  'workers',
  'daemons',
  'bench',
  'test',
  'scripts',
  'package.json',
  'tsconfig.json',
  'vitest.config.ts',
];
/** A check that takes longer does not end; ms. */
const LONGEST = 900_000;

export interface Result {
  /** `skipped`: this machine lacks what the check needs. */
  outcome: 'passed' | 'failed' | 'skipped';
  /** All that it has said. */
  said: string;
}

/** Leaves no file and no process. Errors: a text to be replaced that is not in its file exactly once. */
export async function runCheck(check: Check, edits: readonly Edit[], signal: AbortSignal): Promise<Result> {
  const texts = edited(edits);
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-broken-')));
  const project = join(folder, 'project');
  // Beside the copy, so that what a check leaves behind goes with it.
  const temporary = join(folder, 'tmp');
  try {
    for (const name of COPIED) cpSync(join(root, name), join(project, name), { recursive: true });
    cpSync(join(root, 'docs'), join(project, 'docs'), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(project, 'node_modules'));
    cpSync(join(project, 'package.json'), join(temporary, 'package.json'));
    for (const [path, text] of texts) writeFileSync(join(project, relative(root, path)), text);
    const [file = '', ...args] = check.run;
    const env = { ...process.env, ...check.env, TMPDIR: temporary };
    if (check.compiled) {
      const compile = "await (await import('./scripts/bundle.mjs')).bundle('dist')";
      const { code, said } = await run(['--input-type=module', '-e', compile], { cwd: project, env, signal });
      if (code !== 0) throw new Error(`the copy cannot be compiled: ${said}`);
    }
    const command = file.endsWith('.test.ts')
      ? ['node_modules/vitest/vitest.mjs', 'run', '--reporter=default', file]
      : [file];
    const { code, said } = await run([...command, ...args], { cwd: project, env, signal });
    if (/^[a-z-]+: skipped, /m.test(said) && code !== 1) return { outcome: 'skipped', said };
    return { outcome: code === 0 ? 'passed' : 'failed', said };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Where {
  cwd: string;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
}

function run(args: readonly string[], where: Where): Promise<{ code: number | null; said: string }> {
  const child = spawn(process.execPath, args, {
    ...where,
    timeout: LONGEST,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...where.env, NO_COLOR: '1' },
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (said += text));
  return new Promise((resolve, reject) => {
    child.once('error', (error) => (where.signal.aborted ? undefined : reject(error)));
    child.once('close', (code) => resolve({ code, said }));
  });
}
