/**
 * Cuts the power of real disks under real processes (`npm run power-cut -- --trials N`), and compares what is left with what had
 * been acknowledged. Needs Linux, root, loop devices and mkfs.xfs; where they are missing it says so, with exit code 69.
 *
 * Works in a mount and a process namespace of its own, and in one temporary folder: when this process ends, by whatever, all
 * that it has started, mounted and attached is gone.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createJiti } from 'jiti';

const INSIDE = '--inside';
const APART = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private'];

const command = '../test/power-cut/power-cut-command.ts';
const { answered, main } = await createJiti(import.meta.url).import(command);

const [, , first, ...rest] = process.argv;
if (first === INSIDE) {
  // The process outside holds the other end, and lets it go when this is to end; or is dead itself.
  process.stdin.resume().once('end', () => process.exit(1));
  process.exit(await main(rest[0], rest.slice(1)));
}
const args = process.argv.slice(2);
process.exitCode = answered(args) ?? whyNot() ?? (await apart(args));

function whyNot() {
  const missing =
    process.platform !== 'linux'
      ? 'this is not Linux'
      : process.getuid() !== 0
        ? 'mounting needs root'
        : spawnSync('unshare', [...APART, 'true']).status === 0
          ? undefined
          : 'a mount namespace is not to be had here';
  if (missing === undefined) return undefined;
  console.error(`power-cut: skipped, ${missing}`);
  return 69;
}

function apart(args) {
  const folder = mkdtempSync(join(tmpdir(), 'coda-power-cut-'));
  const command = [process.execPath, fileURLToPath(import.meta.url), INSIDE, folder, ...args];
  const child = spawn('unshare', [...APART, ...command], { stdio: ['pipe', 'inherit', 'inherit'] });
  let signalled;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
    process.on(signal, () => {
      // It ends with all that it has started before its parent is told; the second time there is no more waiting.
      if (signalled) child.kill('SIGKILL');
      else child.stdin.end();
      signalled = signal;
    });
  return new Promise((resolve, reject) => {
    child.once('error', reject).once('close', (code) => {
      rmSync(folder, { recursive: true, force: true });
      if (signalled) console.error(`power-cut: ended by ${signalled}`);
      resolve(signalled ? 1 : (code ?? 1));
    });
  });
}
