/**
 * Checks the models of the protocol (model/) with spin: the rules as they are must hold in every state that can be
 * reached, and each broken variant beside them must be refuted. Run as `npm run model`.
 *
 *     npm run model                        all of it but the largest: half an hour on a busy machine, 1.3 GB
 *     npm run model -- --quick             small bounds and a few of the variants: seconds, as `npm test` does
 *     npm run model -- --deep              also the largest: half as long again, 3 GB
 *     npm run model -- stale-note link     only these
 *     npm run model -- --trace stale-note  and in words what happens in the run that refutes it
 *
 * The last line says it all: how many hold, how many broken variants are refuted.
 * Exit codes: 0 all is as it should be, 1 something is not, 64 usage, 69 spin or gcc is not installed.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { helped, misused } from './usage.mjs';

const folder = fileURLToPath(new URL('../model', import.meta.url));
const MEMORY_MB = 12_000;
/** For one run: more than the largest takes on a busy machine. */
const MINUTES = 120;

/** Name, model and what is defined. States are stored whole, so nothing is missed. */
const holds = [
  ['rotation', 'rotation', 'NP=3 M=2'],
  ['rotation-removals', 'rotation', 'NP=3 M=1 REMOVALS'],
  ['rotation-faults', 'rotation', 'NP=3 M=1 FAULTS=1'],
  ['rotation-two-power-cuts', 'rotation', 'NP=3 M=1 CUTS=2'],
  ['rotation-four-segments', 'rotation', 'NP=2 M=1 NSEG=4'],
  ['rotation-rot', 'rotation', 'NP=2 M=1 ROTS=1 CUTS=0'],
  ['claims', 'claims', 'NP=3'],
  ['claims-without-power-cuts', 'claims', 'NP=3 CUTS=0 WRITES=0'],
  ['claims-client', 'claims', 'NP=2 NC=1 TOKENS=2 WRITES=4'],
  ['claims-two-clients', 'claims', 'NP=2 NC=2 TOKENS=1 WRITES=3'],
  ['birth', 'birth', 'NP=3 NSEG=4 IDS=3 ADDS=3 CUTS=2'],
];

/** Of what is done twice over, one at a time may be missing. */
const spare = [
  ['spare-sync-before-note', 'rotation', 'NP=2 M=1 NO_LOG_SYNC_BEFORE_NOTE'],
  ['spare-name-of-the-seal', 'rotation', 'NP=2 M=1 STALE_NOTE NO_FOLD'],
  ['spare-sync-after-rename', 'rotation', 'NP=2 M=1 NO_FOLDER_SYNC_AFTER_RENAME'],
  ['spare-sync-before-deletion', 'rotation', 'NP=2 M=1 NO_FOLDER_SYNC_BEFORE_DELETION'],
];

/** Larger ones, for `--deep`. */
const deep = [
  ['rotation-rot-and-power-cut', 'rotation', 'NP=2 M=1 ROTS=1'],
  ['rotation-three-by-four', 'rotation', 'NP=3 M=1 NSEG=4'],
  ['claims-client-deep', 'claims', 'NP=2 NC=1 TOKENS=2'],
];

/** Contained in those above: for `--quick`. */
const brief = [
  ['rotation-brief', 'rotation', 'NP=2 M=1'],
  ['claims-brief', 'claims', 'NP=3 TOKENS=2 WRITES=3'],
  ['claims-client-brief', 'claims', 'NP=2 NC=1 TOKENS=1 WRITES=3'],
  ['birth-brief', 'birth', 'NP=2'],
];

/** Broken variants that `--quick` tries. */
const quick = new Set([
  'discard-early',
  'seal-ignored',
  'no-token',
  'told-late-before-sync',
  'there-unsynced',
]);

/** Broken variants. Two processes are enough to refute most of them. */
const refuted = [
  ['link', 'rotation', 'NP=2 M=1 LINK'],
  ['link-revives', 'rotation', 'NP=2 M=1 LINK NSEG=4 CUTS=0'],
  ['stale-note', 'rotation', 'NP=2 M=1 STALE_NOTE NO_FOLD NO_LOG_SYNC_BEFORE_NOTE'],
  ['segment-not-synced', 'rotation', 'NP=2 M=1 NO_LOG_SYNC_BEFORE_NOTE NO_LOG_SYNC_BEFORE_RENAME'],
  ['head-not-synced', 'rotation', 'NP=2 M=1 NO_HEAD_SYNC'],
  ['folder-not-synced-before-note', 'rotation', 'NP=2 M=1 NO_FOLDER_SYNC_BEFORE_NOTE'],
  [
    'deletion-without-folder-sync',
    'rotation',
    'NP=2 M=1 OWN_NAME_ONLY NO_FOLDER_SYNC_AFTER_RENAME NO_FOLDER_SYNC_BEFORE_DELETION',
  ],
  ['one-head', 'rotation', 'NP=2 M=1 ONE_HEAD ROTS=1 ROTS_FROM=3 CUTS=0'],
  ['temporaries-early', 'rotation', 'NP=2 M=1 TEMPORARIES_EARLY CUTS=0'],
  ['discard-early', 'rotation', 'NP=2 M=1 DISCARD_EARLY'],
  ['rewrite-after-error', 'rotation', 'NP=2 M=1 FAULTS=1 REWRITE_AFTER_ERROR CUTS=0'],
  ['seal-ignored', 'rotation', 'NP=2 M=1 SEAL_IGNORED CUTS=0'],
  ['answer-before-sync', 'rotation', 'NP=2 M=1 ANSWER_BEFORE_SYNC'],
  ['lapse-ignores-renewal', 'claims', 'LAPSE_IGNORES_RENEWAL'],
  ['no-token', 'claims', 'NO_TOKEN'],
  ['no-read-back', 'claims', 'NO_READ_BACK'],
  ['foreign-clock', 'claims', 'FOREIGN_CLOCK'],
  ['unknown-is-dead', 'claims', 'UNKNOWN_IS_DEAD'],
  ['take-before-sync', 'claims', 'TAKE_BEFORE_SYNC'],
  ['told-late-before-sync', 'claims', 'NP=2 TOKENS=2 WRITES=4 TOLD_LATE_BEFORE_SYNC'],
  ['change-before-sync', 'claims', 'NP=2 NC=1 TOKENS=1 WRITES=3 ANSWER_BEFORE_SYNC'],
  ['update-blind', 'claims', 'NP=2 NC=2 TOKENS=1 WRITES=3 UPDATE_BLIND'],
  ['root-not-synced', 'birth', 'NP=2 IDS=1 ADDS=1 NO_ROOT_SYNC'],
  ['open-without-root-sync', 'birth', 'NP=2 IDS=1 ADDS=1 OPEN_UNSYNCED'],
  ['there-unsynced', 'birth', 'NP=2 ADDS=1 THERE_UNSYNCED'],
  ['destroy-unsynced', 'birth', 'NP=2 ADDS=1 DESTROY_UNSYNCED'],
  ['id-unchecked', 'birth', 'NP=2 ADDS=1 ID_UNCHECKED'],
];

/** The longest to compile (15 s), so only where there is more than that to be gained. */
const optimized = new Set(['rotation', 'claims', ...deep.map(([name]) => name)]);

const words = process.argv.slice(2);
const flags = new Set(words.filter((word) => word.startsWith('--')));
const names = words.filter((word) => !word.startsWith('--'));
const runs = [
  ...listed(brief, 'holds', 'brief'),
  ...listed(refuted, 'refuted'),
  ...listed([...holds, ...spare], 'holds'),
  ...listed(deep, 'holds', 'deep'),
];
const USAGE = `Usage: npm run model -- [--quick | --deep] [--trace] [RUN ...]

Has spin visit every state of the models in model/: the rules must hold, each broken variant must be refuted.

  --quick  small bounds and a few of the variants: seconds
  --deep   also the largest: half as long again as all others, 3 GB
  --trace  say in words what happens in the run that refutes a variant
  --help   print this

Without any: all but the largest, half an hour, 1.3 GB.
Exit codes: 0 all is as it should be, 1 something is not, 64 usage, 69 spin or gcc is not installed
Runs: ${runs.map(({ name }) => name).join(' ')}`;
const help = helped(words, USAGE);
if (help !== undefined) process.exit(help);
const unknown = [
  ...[...flags].filter((flag) => !['--quick', '--deep', '--trace'].includes(flag)),
  ...names.filter((name) => !runs.some((run) => run.name === name)),
];
if (unknown.length > 0) {
  const received = unknown.map((word) => JSON.stringify(word)).join(' ');
  const problem = `expected --quick, --deep, --trace or names of runs, received ${received}`;
  process.exit(misused('model', problem, USAGE));
}
for (const [tool, argument] of [
  ['spin', '-V'],
  ['gcc', '--version'],
]) {
  if (spawnSync(tool, [argument]).status === 0) continue;
  console.log(`model: SKIPPED, ${tool} is not installed (on Debian: apt-get install spin gcc)`);
  process.exit(69);
}

const temp = mkdtempSync(join(tmpdir(), 'coda-model-'));
let current;
// Ctrl-C leaves nothing behind.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    current?.kill('SIGKILL');
    rmSync(temp, { recursive: true, force: true });
    process.exit(1);
  });
}
const began = performance.now();
const tally = { holds: [0, 0], refuted: [0, 0] };
let most = 0;
try {
  for (const run of runs.filter(isChosen)) {
    const result = await check(run);
    const ok = result.verdict === run.expected;
    const count = tally[run.expected];
    if (ok) count[0]++;
    count[1]++;
    const { states, seconds, megabytes } = result;
    most = Math.max(most, megabytes);
    const figures = `${String(states).padStart(11)} states ${seconds.toFixed(0).padStart(5)} s ${megabytes.toFixed(0).padStart(5)} MB`;
    const unexpected = ok ? '' : `  EXPECTED: ${run.expected}${result.why ? `; ${result.why}` : ''}`;
    console.log(`${run.name.padEnd(30)} ${result.verdict.padEnd(10)} ${figures}${unexpected}`);
    if (result.verdict === 'refuted' && (!ok || flags.has('--trace'))) story(run, result.why);
  }
} finally {
  rmSync(temp, { recursive: true, force: true });
}
const figures = `${((performance.now() - began) / 1000).toFixed(0)} s, at most ${most.toFixed(0)} MB`;
console.log(
  `${tally.holds.join(' of ')} hold, ${tally.refuted.join(' of ')} broken variants refuted (${figures})`,
);
process.exitCode = Object.values(tally).every(([met, all]) => met === all) ? 0 : 1;

function listed(list, expected, size = 'usual') {
  return list.map(([name, model, defines]) => ({ name, model, defines, expected, size }));
}

function isChosen({ name, size }) {
  if (names.length > 0) return names.includes(name);
  if (flags.has('--quick')) return size === 'brief' || quick.has(name);
  return size === 'usual' || (size === 'deep' && flags.has('--deep'));
}

function definesOf({ defines }) {
  return defines
    .split(' ')
    .filter((define) => define !== '')
    .map((define) => `-D${define}`);
}

function fileOf({ model }) {
  return join(folder, `${model}.pml`);
}

/** Explores all states, or until one breaks an assertion. */
async function check(run) {
  must('spin', ['-a', '-o3', ...definesOf(run), fileOf(run)]);
  const swift = run.expected === 'refuted' || run.size === 'brief';
  const optimization = swift ? '-O0' : optimized.has(run.name) ? '-O2' : '-O1';
  must('gcc', [optimization, '-w', '-DSAFETY', '-DNOREDUCE', `-DMEMLIM=${MEMORY_MB}`, '-o', 'pan', 'pan.c']);
  const began = performance.now();
  const output = await explore();
  const seconds = (performance.now() - began) / 1000;
  const states = Number(/^\s*(\S+) states, stored/m.exec(output)?.[1] ?? 0);
  const megabytes = Number(/^\s*(\S+)\s+(?:total actual )?memory usage/m.exec(output)?.[1] ?? 0);
  const figures = { states, seconds, megabytes };
  const why = /pan:1: (.*)/.exec(output)?.[1] ?? '';
  if (/errors: 0$/m.test(output) && !/Search not completed|max search depth too small/.test(output))
    return { verdict: 'holds', ...figures };
  if (why.startsWith('assertion violated')) return { verdict: 'refuted', ...figures, why };
  return {
    verdict: 'unfinished',
    ...figures,
    why: /pan: (reached .*)/.exec(output)?.[1] ?? (why || 'stopped before its end'),
  };
}

function explore() {
  return new Promise((resolve, reject) => {
    let output = '';
    current = spawn(join(temp, 'pan'), ['-m100000', '-w22', '-E'], {
      cwd: temp,
      timeout: MINUTES * 60_000,
      // On this it says how far it has come.
      killSignal: 'SIGINT',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    current.on('error', reject);
    if (current.pid !== undefined) setPriority(current.pid, constants.priority.PRIORITY_LOW);
    for (const stream of [current.stdout, current.stderr])
      stream.setEncoding('utf8').on('data', (text) => (output += text));
    current.on('close', () => {
      current = undefined;
      resolve(output);
    });
  });
}

/** What happens in the run that was found: what the model prints on the way. */
function story(run, why) {
  const trail = join(temp, `${run.model}.pml.trail`);
  const { stdout } = spawnSync('spin', ['-t', '-k', trail, ...definesOf(run), fileOf(run)], {
    cwd: temp,
    encoding: 'utf8',
  });
  for (const line of stdout.split('\n'))
    if (/^\s+(process \d|client \d|the power|record \d|a name|the head)/.test(line))
      console.log(`    ${line.trim()}`);
  console.log(`    ${why}`);
}

function must(command, parameters) {
  const { status, stdout, stderr } = spawnSync(command, parameters, { cwd: temp, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} failed (${status}):\n${stdout}${stderr}`);
}
