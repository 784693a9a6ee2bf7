/** The trial of a cut of power, as `npm run power-cut` does it, a few times. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test as base } from 'vitest';
import { EXIT } from '../../bin/exit-codes.ts';
import { until } from '../processes/stage.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/power-cut.mjs', import.meta.url));

interface Started {
  pid: number;
  ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
}

const test = base.extend<{ folder: string; start: (...args: string[]) => Started }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads from the pattern which fixtures this one needs
  folder: async ({}, use) => {
    const folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-power-cut-test-')));
    // The actors need not be compiled anew.
    const compiled = join(tmpdir(), 'jiti');
    mkdirSync(compiled, { recursive: true });
    symlinkSync(compiled, join(folder, 'jiti'));
    try {
      await use(folder);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  start: async ({ folder }, use) => {
    const running: Started[] = [];
    await use((...args) => {
      const child = spawn(process.execPath, [SCRIPT, ...args], { env: { ...process.env, TMPDIR: folder } });
      let stdout = '';
      let stderr = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
      const ended = new Promise<Awaited<Started['ended']>>((resolve, reject) => {
        child.once('error', reject).once('close', (code) => resolve({ code, stdout, stderr }));
      });
      running.push({ pid: child.pid!, ended });
      return running.at(-1)!;
    });
    for (const { pid, ended } of running) {
      try {
        process.kill(pid, 'SIGTERM');
      } catch {
        // Ended by itself.
      }
      await ended;
    }
  },
});

/** Milliseconds: many processes are started one after the other. */
const LONG = 240_000;

test(
  'what is left after a cut is what was promised, at every durability',
  async ({ start, skip }) => {
    const { code, stdout, stderr } = await start('--trials', '2', '--pause', '300').ended;
    if (code === EXIT.unavailable) skip(stderr.trim());
    expect({ code, stderr }, stdout).toEqual({ code: EXIT.ok, stderr: '' });
    expect(stdout).toMatch(/^6 trials, 0 broken promises$/m);
  },
  LONG,
);

test(
  'ended in the middle, it leaves no process, no mount and no loop device',
  async ({ folder, start, skip }) => {
    const { pid, ended } = start('--trials', '1000', '--durability', 'os');
    const begun = (name: string): boolean => existsSync(join(folder, name, 'notes', 'worker3'));
    let over = false;
    void ended.then(() => (over = true));
    await until(() => over || readdirSync(folder).some(begun), LONG / 2);
    if (!over) process.kill(pid, 'SIGTERM');
    const { code, stderr } = await ended;
    if (code === EXIT.unavailable) skip(stderr.trim());
    expect({ code, stderr }).toEqual({ code: EXIT.failure, stderr: 'power-cut: ended by SIGTERM\n' });
    // The kernel takes a moment to detach what nobody holds any more.
    await until(() => !spawnSync('losetup', ['-a']).stdout.toString().includes(folder));
    expect(spawnSync('ps', ['-eo', 'args']).stdout.toString()).not.toContain(folder);
    expect(readdirSync(folder)).toEqual(['jiti']);
  },
  LONG,
);

test(
  'what is not understood is refused, wherever it is',
  async ({ start }) => {
    const wrong = [['--trials', '0'], ['--durability', 'never'], ['--file-system', 'fat'], ['--strange']];
    for (const args of wrong) {
      const { code, stderr } = await start(...args).ended;
      expect({ code, stderr }).toEqual({
        code: EXIT.usage,
        stderr: expect.stringContaining(`power-cut: ${args[1] ? args[0] : 'Unknown option'}`) as string,
      });
    }
  },
  LONG,
);
