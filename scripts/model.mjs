/**
 * Checks the models of the protocol (model/) with spin: the rules as they are must hold in every state that can be
 * reached, and each broken variant beside them must be refuted. Run as `npm run model`.
 *
 *     npm run model                        all of it but the larger ones: minutes
 *     npm run model -- stale-note link     only these
 *     npm run model -- --trace stale-note  and in words what happens in the run that refutes it
 *     npm run model -- --deep              also the larger ones: hours, up to 4 GB of memory
 *
 * Exit codes: 0 all is as it should be, 1 something is not, 64 no such run, 69 spin or gcc is not installed.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../model', import.meta.url));
const MEMORY_MB = 4000;
/** For one run: more than the largest takes. */
const MINUTES = 120;

/** Name, model and what is defined. States are stored whole, so nothing is missed. */
const holds = [
  ['rotation', 'rotation', 'NP=3 M=1'],
  ['rotation-two-messages', 'rotation', 'NP=2 M=2'],
  ['rotation-without-power-cuts', 'rotation', 'NP=3 M=2 CUTS=0'],
  ['rotation-removals', 'rotation', 'NP=2 M=1 REMOVALS'],
  ['rotation-rot', 'rotation', 'NP=2 M=1 ROTS=1 CUTS=0'],
  ['rotation-faults', 'rotation', 'NP=2 M=1 FAULTS=1'],
  ['claims', 'claims', ''],
  ['claims-without-power-cuts', 'claims', 'CUTS=0 WRITES=6'],
  ['birth', 'birth', ''],
];

/** Of what is done twice over, one at a time may be missing. */
const spare = [
  ['spare-sync-before-note', 'rotation', 'NP=2 M=1 NO_LOG_SYNC_BEFORE_NOTE'],
  ['spare-name-of-the-seal', 'rotation', 'NP=2 M=1 STALE_NOTE NO_FOLD'],
  ['spare-sync-after-rename', 'rotation', 'NP=2 M=1 NO_FOLDER_SYNC_AFTER_RENAME'],
  ['spare-sync-before-deletion', 'rotation', 'NP=2 M=1 NO_FOLDER_SYNC_BEFORE_DELETION'],
];

/** As above, but of each state only 64 bits are stored: two that share them count as one. */
const deep = [
  ['rotation-deep', 'rotation', 'NP=3 M=2'],
  ['rotation-rot-and-power-cut', 'rotation', 'NP=2 M=1 ROTS=1'],
  ['rotation-four-segments', 'rotation', 'NP=2 M=1 NSEG=4'],
  ['rotation-two-power-cuts', 'rotation', 'NP=2 M=1 CUTS=2'],
  ['birth-two-power-cuts', 'birth', 'CUTS=2'],
];

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
  ['root-not-synced', 'birth', 'NP=2 IDS=1 ADDS=1 NO_ROOT_SYNC'],
  ['open-without-root-sync', 'birth', 'NP=2 IDS=1 ADDS=1 OPEN_UNSYNCED'],
  ['there-unsynced', 'birth', 'NP=2 ADDS=1 THERE_UNSYNCED'],
  ['destroy-unsynced', 'birth', 'NP=2 ADDS=1 DESTROY_UNSYNCED'],
  ['id-unchecked', 'birth', 'NP=2 ADDS=1 ID_UNCHECKED'],
];

const words = process.argv.slice(2);
const flags = new Set(words.filter((word) => word.startsWith('--')));
const names = words.filter((word) => !word.startsWith('--'));
const runs = [
  ...refuted.map(([name, model, defines]) => ({ name, model, defines, expected: 'refuted' })),
  ...[...holds, ...spare].map(([name, model, defines]) => ({ name, model, defines, expected: 'holds' })),
  ...deep.map(([name, model, defines]) => ({ name, model, defines, expected: 'holds', deep: true })),
];
const unknown = [
  ...[...flags].filter((flag) => flag !== '--deep' && flag !== '--trace'),
  ...names.filter((name) => !runs.some((run) => run.name === name)),
];
if (unknown.length > 0) {
  console.error(
    `model: expected --deep, --trace or names of runs, received ${unknown.map((word) => JSON.stringify(word)).join(' ')}`,
  );
  console.error(`runs: ${runs.map(({ name }) => name).join(' ')}`);
  process.exit(64);
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
let failures = 0;
try {
  const chosen = runs.filter((run) =>
    names.length > 0 ? names.includes(run.name) : !run.deep || flags.has('--deep'),
  );
  for (const run of chosen) {
    const result = await check(run);
    const ok = result.verdict === run.expected;
    if (!ok) failures++;
    const { states, seconds, megabytes } = result;
    const figures = `${String(states).padStart(11)} states ${seconds.toFixed(0).padStart(5)} s ${megabytes.toFixed(0).padStart(5)} MB`;
    const unexpected = ok ? '' : `  EXPECTED: ${run.expected}${result.why ? `; ${result.why}` : ''}`;
    console.log(`${run.name.padEnd(30)} ${result.verdict.padEnd(10)} ${figures}${unexpected}`);
    if (result.verdict === 'refuted' && (!ok || flags.has('--trace'))) story(run, result.why);
  }
  console.log(
    failures === 0
      ? `${chosen.length} runs, all as they should be`
      : `${failures} of ${chosen.length} runs are not as they should be`,
  );
} finally {
  rmSync(temp, { recursive: true, force: true });
}
process.exitCode = failures === 0 ? 0 : 1;

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
  const storage = run.deep ? ['-DHC4'] : [];
  // To optimise takes up to 15 s: only where there is more than that to be gained.
  must('gcc', [
    run.expected === 'refuted' ? '-O0' : '-O2',
    '-w',
    '-DSAFETY',
    '-DNOREDUCE',
    `-DMEMLIM=${MEMORY_MB}`,
    ...storage,
    '-o',
    'pan',
    'pan.c',
  ]);
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
    current = spawn(join(temp, 'pan'), ['-m100000', '-w24', '-E'], {
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
    if (/^\s+(process \d|the power|record \d|a name|the head)/.test(line)) console.log(`    ${line.trim()}`);
  console.log(`    ${why}`);
}

function must(command, parameters) {
  const { status, stdout, stderr } = spawnSync(command, parameters, { cwd: temp, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} failed (${status}):\n${stdout}${stderr}`);
}
