/**
 * `npm run bench`: measures the machine's limits and Coda, a round after the other, and prints how they compare.
 * Exit codes: 0 measured, 1 a measurement failed, 64 usage, 130 interrupted.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Children } from './children.ts';
import { describeMachine } from './machine.ts';
import { readOptions, USAGE, UsageError, type Options } from './options.ts';
import { compare, inWords, type Measured, type Report } from './report.ts';
import { LIMITS, WORKLOADS, type Stage, type Workload } from './workloads.ts';

/** From dist/bench, where this runs, to the sources. */
const RESULTS = fileURLToPath(new URL('../../bench/results', import.meta.url));

let interrupted = false;

try {
  const options = readOptions(process.argv.slice(2));
  if (options) await bench(options);
  else console.log(USAGE);
} catch (error) {
  if (error instanceof UsageError) {
    console.error(`bench: ${error.message}\n\n${USAGE}`);
    process.exitCode = 64;
  } else if (interrupted) process.exitCode = 130;
  else {
    console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}

async function bench(options: Options): Promise<void> {
  const { seconds, rounds, backlog } = options;
  const at = new Date().toISOString();
  if (options.dir !== undefined) mkdirSync(options.dir, { recursive: true });
  const root = mkdtempSync(join(resolve(options.dir ?? tmpdir()), 'coda-bench-'));
  const profiles = options.profile === undefined ? undefined : resolve(options.profile);
  const children = new Children(profiles);
  const interrupt = (): void => {
    interrupted = true;
    void children.end();
  };
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  try {
    const machine = describeMachine(root);
    const chosen = choose(options.only);
    const backlogRoot = join(root, 'backlog');
    mkdirSync(backlogRoot);
    say(`loading a backlog of ${backlog} messages`);
    await new Children(undefined).run('adding', 'load', { folder: backlogRoot, count: backlog });
    const measured = chosen
      .flatMap(({ figures }) => figures)
      .map((figure): Measured => ({ ...figure, values: [] }));
    for (let round = 0; round < rounds; round++) {
      // Backwards every other time: nothing always runs in the wake of the same neighbour.
      for (const workload of round % 2 === 0 ? chosen : chosen.toReversed()) {
        if (interrupted) throw new Error('interrupted');
        say(`round ${round + 1} of ${rounds}: ${workload.name}`);
        const work = join(root, 'work');
        let folders = 0;
        const folder = (): string => {
          const path = join(work, String(++folders));
          mkdirSync(path, { recursive: true });
          return path;
        };
        const stage: Stage = { children, seconds, backlog, backlogRoot, folder };
        const values = await workload.run(stage);
        for (const [i, { name }] of workload.figures.entries()) {
          measured.find((figure) => figure.name === name)!.values.push(values[i]!);
        }
        rmSync(work, { recursive: true, force: true });
      }
    }
    say('');
    const report: Report = { at, machine, seconds, rounds, backlog, figures: compare(measured) };
    console.log(inWords(report));
    const file = resolve(options.json ?? join(RESULTS, `${at.replaceAll(/[:.]/g, '-')}.json`));
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
    console.log(`\nAll values: ${file}`);
  } finally {
    say('');
    await children.end();
    rmSync(root, { recursive: true, force: true });
  }
}

/** Each of Coda's workloads right behind the limits that it needs, unless they came before. */
function choose(only: readonly string[]): Workload[] {
  const wanted = ({ name }: Workload): boolean =>
    only.length === 0 || only.some((begin) => name.startsWith(begin));
  const chosen = new Set<Workload>();
  for (const workload of WORKLOADS.filter(wanted)) {
    for (const { limit } of workload.figures) {
      const owner = LIMITS.find(({ figures }) => figures.some(({ name }) => name === limit));
      if (owner) chosen.add(owner);
    }
    chosen.add(workload);
  }
  for (const limit of LIMITS.filter(wanted)) chosen.add(limit);
  return [...chosen];
}

/** A line that the next one overwrites, on a terminal only. */
function say(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001B[K${text}`);
}
