/**
 * Tries arbitrary input on everything that reads any (`npm run fuzz -- [--times N] [--seed S] [FILE ...]`): a new seed each time,
 * and N times as much of it as `npm test` (default 10). FILE is a part of the name of a file in test/fuzz. Says the seed first;
 * the same one tries the same again.
 */
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const USAGE = 'Usage: npm run fuzz -- [--times N] [--seed S] [FILE ...]';
const EXIT_USAGE = 64;

/** What is asked for; a text: what is wrong with it. */
function asked(args) {
  try {
    const text = { type: 'string' };
    const { values, positionals } = parseArgs({
      args,
      options: { times: text, seed: text },
      allowPositionals: true,
    });
    const times = Number(values.times ?? 10);
    const seed = Number(values.seed ?? randomInt(1, 2 ** 31));
    if (!(times > 0 && times <= 100_000))
      return `--times: expected a number above 0, received ${values.times}`;
    if (!(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 31) || values.seed === '')
      return `--seed: expected a number from 0 to ${2 ** 31 - 1}, received ${values.seed}`;
    return { times, seed, files: positionals };
  } catch (error) {
    return error.message;
  }
}

const wanted = asked(process.argv.slice(2));
if (typeof wanted === 'string') {
  console.error(`fuzz: ${JSON.stringify(wanted).slice(1, -1)}\n${USAGE}`);
  process.exitCode = EXIT_USAGE;
} else {
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
