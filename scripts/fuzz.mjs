/**
 * Tries arbitrary input on everything that reads any (`npm run fuzz -- [--times N] [--seed S] [FILE ...]`): a new seed each time,
 * and N times as much of it as `npm test`. Says the seed first; the same one tries the same again.
 */
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { helped, misused } from './usage.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const TIMES = 10;
const FILES = readdirSync(join(root, 'test/fuzz'))
  .filter((name) => name.endsWith('.test.ts'))
  .map((name) => name.slice(0, -'.test.ts'.length))
  .sort();
const USAGE = `Usage: npm run fuzz -- [--times N] [--seed S] [FILE ...]

Tries arbitrary input on everything that reads any. FILE is one in test/fuzz, or how its name begins: ${FILES.join(', ')}.

  --times N  so many times as much as npm test (default ${TIMES})
  --seed S   tries the same as the run that named it (default: a new one)
  --help     print this

Exit codes: 0 nothing was found, 1 something was, 64 usage`;

/** What is asked for; a text: what is wrong with it. */
function asked(args) {
  try {
    const text = { type: 'string' };
    const { values, positionals } = parseArgs({
      args,
      options: { times: text, seed: text },
      allowPositionals: true,
    });
    const times = Number(values.times ?? TIMES);
    const seed = Number(values.seed ?? randomInt(1, 2 ** 31));
    // With less the tests do not meet what they ask to have been met.
    if (!(times >= 1 && times <= 100_000))
      return `--times: expected a number from 1 to 100000, received ${values.times}`;
    if (!(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 31) || values.seed === '')
      return `--seed: expected a number from 0 to ${2 ** 31 - 1}, received ${values.seed}`;
    const unknown = positionals.find((part) => part === '' || !FILES.some((name) => name.startsWith(part)));
    if (unknown !== undefined)
      return `expected files among ${FILES.join(', ')}, received ${JSON.stringify(unknown)}`;
    return { times, seed, files: positionals };
  } catch (error) {
    return error.message;
  }
}

const args = process.argv.slice(2);
process.exitCode = helped(args, USAGE);
const wanted = process.exitCode === undefined ? asked(args) : undefined;
if (typeof wanted === 'string') process.exitCode = misused('fuzz', wanted, USAGE);
else if (wanted) {
  const { times, seed, files } = wanted;
  const again = ['--times', times, '--seed', seed, ...files].join(' ');
  console.log(`fuzz: seed ${seed}, ${times} times the usual; the same again: npm run fuzz -- ${again}`);
  const chosen = files.length === 0 ? ['test/fuzz/'] : files.map((name) => `test/fuzz/${name}`);
  const child = spawn(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...chosen], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, FUZZ_SEED: String(seed), FUZZ_RUNS: String(times) },
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  child.once('close', (code) => {
    process.exitCode = code ?? 1;
  });
}
