/** What `npm run fuzz` does not understand it refuses. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const SCRIPT = fileURLToPath(new URL('../../scripts/fuzz.mjs', import.meta.url));

function fuzz(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  // What is not refused would run for minutes.
  return spawnSync(process.execPath, [SCRIPT, ...args], { encoding: 'utf8', timeout: 30_000 });
}

test.each([
  [['--times', '0.5'], '--times: expected a number from 1 to 100000, received 0.5'],
  [['--seed', '-1'], '--seed'],
  [['--seed', 'x'], '--seed: expected a number from 0 to 2147483647, received x'],
  [['--tmies', '3'], "Unknown option '--tmies'"],
  [['journal', 'nosuchfile'], 'messages, received "nosuchfile"\n'],
  [[''], 'received ""'],
])('%j is refused', (args, why) => {
  const { status, stdout, stderr } = fuzz(...args);
  expect(stderr).toContain(why);
  expect({ status, stdout }).toEqual({ status: 64, stdout: '' });
});
