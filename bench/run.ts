/**
 * `npm run bench`: measures how Coda compares with the machine's limits, how its costs grow, or how it holds out.
 * Exit codes: 0 measured, 1 a measurement failed, 64 usage, 130 interrupted.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Children } from './children.ts';
import { grownInWords, GROWTHS, type Grown } from './growth.ts';
import { runJobs } from './jobs.ts';
import { describeMachine, type Machine } from './machine.ts';
import { readOptions, USAGE, UsageError, type Options } from './options.ts';
import { inWords, machineInWords, table } from './report.ts';
import { runSteadily, steadyInWords } from './steady.ts';

/** From dist/bench, where this runs, to the sources. */
const RESULTS = fileURLToPath(new URL('../../bench/results', import.meta.url));
/** Milliseconds that a child needs for each message of a large backlog, at the most. */
const MS_A_MESSAGE = 0.2;

let interrupted = false;

interface Hall {
  options: Options;
  children: Children;
  machine: Machine;
  /** A folder that is removed at the end. */
  root: string;
  /** A new, empty folder, kept until `between` is called. */
  folder: () => string;
  between: (next: string) => void;
}

async function bench(options: Options): Promise<void> {
  if (options.dir !== undefined) mkdirSync(options.dir, { recursive: true });
  const root = mkdtempSync(join(resolve(options.dir ?? tmpdir()), 'coda-bench-'));
  const profiles = options.profile === undefined ? undefined : resolve(options.profile);
  const expected = Math.max(options.largest * MS_A_MESSAGE, options.minutes * 60_000);
  const children = new Children(profiles, options.suite === 'jobs' ? 0 : expected);
  const interrupt = (): void => {
    interrupted = true;
    void children.end();
  };
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  const work = join(root, 'work');
  let folders = 0;
  const hall: Hall = {
    options,
    children,
    machine: describeMachine(root),
    root,
    folder() {
      const path = join(work, String(++folders));
      mkdirSync(path, { recursive: true });
      return path;
    },
    between(next) {
      if (interrupted) throw new Error('interrupted');
      rmSync(work, { recursive: true, force: true });
      say(next);
    },
  };
  const at = new Date().toISOString();
  try {
    const results = await SUITES[options.suite](hall);
    const file = resolve(options.json ?? join(RESULTS, `${at.replaceAll(/[:.]/g, '-')}.json`));
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify({ at, machine: hall.machine, ...results }, null, 2)}\n`);
    console.log(`\nAll values: ${file}`);
  } finally {
    say('');
    await children.end();
    rmSync(root, { recursive: true, force: true });
  }
}

/** Each prints what it measured, and resolves with all of it. */
const SUITES: Record<Options['suite'], (hall: Hall) => Promise<object>> = {
  async jobs({ options: { only, seconds, rounds, backlog }, children, machine, root, folder, between }) {
    const backlogRoot = join(root, 'backlog');
    mkdirSync(backlogRoot);
    const figures = await runJobs({ children, only, seconds, rounds, backlog, backlogRoot, folder, between });
    say('');
    console.log(inWords({ machine, seconds, rounds, backlog, figures }));
    return { seconds, rounds, backlog, figures };
  },

  async growth({ options: { only, seconds, largest }, children, machine, folder, between }) {
    const chosen = GROWTHS.filter(
      ({ name }) => only.length === 0 || only.some((begin) => name.startsWith(begin)),
    );
    const tables: Grown[] = [];
    console.log(
      `${machineInWords(machine)}\ndurability os where none is named; a timed run takes ${seconds} s`,
    );
    for (const { name, what, of, columns, sizes, row } of chosen) {
      const rows: Grown['rows'] = [];
      for (const size of sizes(largest)) {
        between(`${name}: ${size} ${of}`);
        rows.push({ size, values: await row({ children, seconds, largest, folder }, size) });
      }
      say('');
      const grown = { name, what, of, columns, rows };
      tables.push(grown);
      const [[title = ''] = [], ...lines] = grownInWords(grown);
      console.log(`\n${title}\n${table(lines)}`);
    }
    return { seconds, tables };
  },

  async steady({ options: { minutes, seconds }, children, machine, folder }) {
    const steady = await runSteadily({ children, minutes, seconds: seconds * 10, folder, say });
    say('');
    const [[title = ''] = [], ...lines] = steadyInWords(steady);
    console.log(`${machineInWords(machine)}\n${title}\n\n${table(lines)}`);
    return { minutes, ...steady };
  },
};

/** A line that the next one overwrites, on a terminal only. */
function say(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001B[K${text}`);
}

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
