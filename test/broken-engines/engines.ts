/**
 * Engines and commands that are broken on purpose, each by a small change of the sources, for the checks that are no
 * simulation: the simulation and the torture have their own. Each names the check that must fail, and what that must say: a
 * failure for another reason proves nothing. A text that does not stand in its file exactly once is an error.
 */
import { MUTANTS, type Mutant } from '../simulation/mutants.ts';

export interface BrokenEngine extends Mutant {
  suite: Suite;
  check: Check;
  /** A text in what the check says when it fails. */
  says: string;
}

export type Suite = (typeof SUITES)[number];
export const SUITES = ['rot', 'faults', 'power-cut', 'contract', 'fuzz'] as const;

/** A command that succeeds with the sound engine. */
export interface Check {
  /** A test file, or a script, from the root of the project; then its arguments. */
  run: readonly string[];
  env?: Readonly<Record<string, string>>;
  /** Whether it runs what is compiled. */
  compiled?: true;
}

type Edit = readonly [file: string, find: string, replace: string];

function broken(suite: Suite, check: Check): (name: string, says: string, ...edits: Edit[]) => BrokenEngine {
  return (name, says, ...edits) => ({
    suite,
    check,
    name,
    says,
    // Without any: one of the simulation's.
    edits: edits.length > 0 ? edits.map(([file, find, replace]) => ({ file, find, replace })) : editsOf(name),
  });
}

function editsOf(name: string): Mutant['edits'] {
  const mutant = MUTANTS.find((each) => each.name === name);
  if (!mutant) throw new Error(`no mutant of the simulation is named ${name}`);
  return mutant.edits;
}

const BACKEND = 'src/cache/backend.ts';
const JOURNAL = 'src/cache/journal.ts';
const LOG = 'src/cache/log.ts';
const MESSAGE = 'src/message.ts';
const SALVAGE = 'src/cache/repair/salvage.ts';
const VERIFY = 'src/cache/verify.ts';

const rot = broken('rot', { run: ['test/cache/random-rot.test.ts'], env: { ROT_TRIALS: '200' } });
const space = broken('faults', { run: ['test/processes/faults-space.test.ts'], compiled: true });
const io = broken('faults', { run: ['test/processes/faults-io.test.ts'], compiled: true });
const folders = broken('faults', { run: ['test/processes/faults-folders.test.ts'], compiled: true });
const limits = broken('faults', { run: ['test/processes/faults-limits.test.ts'], compiled: true });
const files = broken('contract', { run: ['test/contract/cache.test.ts'] });
const memory = broken('contract', { run: ['test/contract/memory.test.ts'] });
const walk = broken('contract', { run: ['test/contract/model.test.ts'] });

function cut(durability: string, trials: number): ReturnType<typeof broken> {
  const args = ['--trials', String(trials), '--durability', durability, '--pause', '300'];
  return broken('power-cut', { run: ['scripts/power-cut.mjs', ...args] });
}
function fuzz(file: string, times = 1, compiled = false): ReturnType<typeof broken> {
  const env = { FUZZ_RUNS: String(times) };
  const run = [`test/fuzz/${file}.test.ts`];
  return broken('fuzz', compiled ? { run, env, compiled } : { run, env });
}

export const BROKEN: readonly BrokenEngine[] = [
  rot('checksums are not looked at', 'x'),
  rot('rot is taken for a torn tail', 'x'),
  rot('a repair does not tell which content is lost', 'x', [
    SALVAGE,
    'this.#lost.push({\n      file: segmentName(segment),\n      count: 1,\n      position: [segmentOf(at), offsetOf(at)],',
    '[].concat({\n      file: segmentName(segment),\n      count: 1,\n      position: [segmentOf(at), offsetOf(at)],',
  ]),
  rot('a repair takes the oldest content there is', 'x', [
    SALVAGE,
    'const copy = same ?? found.at(-1);',
    'const copy = same ?? found[0];',
  ]),
  rot('a repair takes what stands behind a lost seal', 'x', [
    SALVAGE,
    'return prev?.segment === segment ? prev.at : Infinity;',
    'return prev?.segment === segment ? Infinity : Infinity;',
  ]),
  rot('a repair does not keep what the indexes were', 'x', [
    'src/cache/repair/quarantine.ts',
    "if (name !== own && fs.kind(`${folder}/${name}`) === 'file')",
    "if (name !== own && !name.endsWith('.index') && fs.kind(`${folder}/${name}`) === 'file')",
  ]),
  rot('verify passes over what is not sound in older segments', 'x', [
    VERIFY,
    'for (const bad of [...survey.bad, ...cut]) {',
    'for (const bad of newest ? [...survey.bad, ...cut] : []) {',
  ]),
  rot('an index is trusted that does not match', 'x'),

  space('consumers are refused on a full disk, too', 'x', [
    JOURNAL,
    "submission.purpose === 'add' ? log.space.refusal(",
    "submission.purpose !== 'other' ? log.space.refusal(",
  ]),
  space('no reserve on a full disk', 'x'),
  io('a failed flush is taken for a good one', 'x', [
    'src/cache/syncer.ts',
    'this.#failure = error instanceof Error ? error : new Error(String(error));',
    'void error;',
  ]),
  io('a message that could not be read stays claimed', 'x'),
  io('a queue that could not be made leaves its cradle', 'x', [
    'src/cache/folder.ts',
    'for (const file of fs.list(cradle)) fs.remove(`${cradle}/${file}`);\n    fs.removeFolder(cradle);',
    '',
  ]),
  limits('a limit on the size of files is taken for a full disk', 'x', [
    'src/cache/files.ts',
    "return code === 'ENOSPC' || code === 'EDQUOT';",
    "return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG';",
  ]),
  limits('who cannot watch does not look either', 'x', [
    'src/cache/waiting.ts',
    'return Math.max(1, Math.min(due, lapse + 1, state.claimed.size > 0 ? JUDGE_MS : POLL_MS));',
    'return Math.max(1, Math.min(due, lapse + 1, 600_000));',
  ]),

  cut('always', 8)('an answer before the flush', 'x'),
  cut('os', 12)('a sealed segment is not flushed before its successor', 'x'),
  cut('always', 15)("the queue's own name is never flushed", 'x'),
  cut('interval', 6)('interval is never', 'x', [
    JOURNAL,
    "if (durability === 'interval' && landed.length > 0) this.#syncSoon();",
    'void this.#syncSoon;',
  ]),

  files('a settle without a look at the token', 'x'),
  files('the old payload after an update', 'x'),
  files('a purge takes what is claimed', 'x', [
    MESSAGE,
    "return phase.state === 'claimed' ? undefined : 'purged';",
    "return 'purged';",
  ]),
  memory('a paused queue is claimed from', 'x', ['src/memory/queue.ts', 'if (this.#paused) return [];', '']),
  files('a release costs a try', 'x', [
    MESSAGE,
    'return { ...life, phase: READY, attempts: life.attempts - 1 };',
    'return { ...life, phase: READY };',
  ]),
  walk('a message that comes back is not suspect', 'x', [
    'src/memory/entry.ts',
    'entry.life.crashes > 0',
    'entry.life.crashes > 1',
  ]),

  fuzz('journal')('a header is not looked at', 'x', [
    'src/cache/header.ts',
    'if (!isObject(header) || !hasFields(header)) return undefined;',
    'if (!isObject(header)) return undefined;',
  ]),
  fuzz('config')('control characters in errors', 'x', [
    'src/errors.ts',
    'return escapeControls(text);',
    'return text;',
  ]),
  fuzz('messages')('a user name of white space is none', 'x', [
    'src/cache/contents.ts',
    "username: stored.content.by ?? '',",
    "username: stored.content.by?.trim() ?? '',",
  ]),
  fuzz('daemon-files')('a process of an impossible number may live', 'x', [
    'src/process-table.ts',
    'if (pid > LARGEST_PID) return true;',
    'if (pid > LARGEST_PID * pid) return true;',
  ]),
  fuzz('argv', 1, true)('what is wrong with a command line is told as it is', 'x', [
    'bin/help.ts',
    'return [escapeControls(short), suggestion && escapeControls(suggestion)',
    'return [short, suggestion && escapeControls(suggestion)',
  ]),
];
