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

const FILES = 'src/cache/files.ts';
const FOLDER = 'src/cache/folder.ts';
const JOURNAL = 'src/cache/journal.ts';
const LOG = 'src/cache/log.ts';
const MESSAGE = 'src/message.ts';
const SETTLE = 'src/cache/repair/settle.ts';

const rot = broken('rot', { run: ['test/cache/random-rot.test.ts'], env: { ROT_TRIALS: '160' } });
const missing = broken('rot', { run: ['test/cache/missing-bytes.test.ts'] });
const moved = broken('rot', { run: ['test/cache/moved-lines.test.ts'] });
const holes = broken('rot', { run: ['test/cache/purge-behind-hole.test.ts'] });
const refusal = broken('faults', { run: ['test/cache/after-refusal.test.ts'] });
const flush = broken('faults', { run: ['test/cache/failed-flush.test.ts'] });
const absent = broken('rot', { run: ['test/cache/lost-creation.test.ts'] });
const space = broken('faults', { run: ['test/processes/faults-space.test.ts'], compiled: true });
const io = broken('faults', { run: ['test/processes/faults-io.test.ts'], compiled: true });
const limits = broken('faults', { run: ['test/processes/faults-limits.test.ts'], compiled: true });
const files = broken('contract', { run: ['test/contract/cache.test.ts'] });
const memory = broken('contract', { run: ['test/contract/memory.test.ts'] });

function cut(durability: string, trials: number, pause = 300): ReturnType<typeof broken> {
  const args = ['--trials', String(trials), '--durability', durability, '--pause', String(pause)];
  return broken('power-cut', { run: ['scripts/power-cut.mjs', ...args] });
}

function fuzz(file: string, times = 1): ReturnType<typeof broken> {
  return broken('fuzz', { run: [`test/fuzz/${file}.test.ts`], env: { FUZZ_RUNS: String(times) } });
}

const argv = broken('fuzz', { run: ['test/fuzz/argv.test.ts'], env: { FUZZ_RUNS: '3' }, compiled: true });

export const BROKEN: readonly BrokenEngine[] = [
  rot('verify passes over what is not sound in older segments', 'reported', [
    'src/cache/verify.ts',
    'for (const bad of [...survey.bad, ...cut]) {',
    'for (const bad of newest ? [...survey.bad, ...cut] : []) {',
  ]),
  rot(
    'a repair gives up a message whose last content is lost',
    'is not there, although its record is sound',
    [SETTLE, 'const copy = same ?? other;', 'const copy = same;'],
  ),
  rot('a repair does not keep what the indexes were', 'to deeply equal Map', [
    'src/cache/repair/quarantine.ts',
    "if (name !== own && fs.kind(`${folder}/${name}`) === 'file')",
    "if (name !== own && !name.endsWith('.index') && fs.kind(`${folder}/${name}`) === 'file')",
  ]),
  missing('offsets are believed behind a place where bytes are missing', 'a message holds what its last', [
    'src/cache/moved.ts',
    'if (bound === Infinity) return undefined;',
    'if (bound >= 0) return undefined;',
  ]),
  moved('only a place where no message stands tells of a move', 'a message is not ended for the one', [
    'src/cache/moved.ts',
    'if (stands === undefined ? present === undefined && damaged.has(named) : uuid === undefined) return;',
    'if (stands !== undefined || damaged.has(named)) return;',
  ]),
  moved('a message is taken for the one in whose place it stands', 'is there beside it', [
    'src/cache/moved.ts',
    'const hidden = state.touched.has(at) && known.get(at) !== uuid;',
    'const hidden = state.touched.has(at) && at < 0;',
  ]),
  holes('a purge takes what a claim held that has rotted', 'spares messages whose claim has rotted', [
    'src/cache/state.ts',
    'const count = this.purge(this.spares());',
    'const count = this.purge();',
  ]),
  absent('a queue is taken for absent whose creation has rotted', 'is refused, and nothing written', [
    'src/cache/rotation.ts',
    "return state.id === '' && state.isDamaged && state.seal?.why !== 'destroy';",
    "return state.id === '' && state.isDamaged && state.seal?.why === 'sync';",
  ]),

  space('consumers are refused on a full disk, too', 'refuses what commands add with 75', [
    JOURNAL,
    "submission.purpose === 'add' ? log.space.refusal(",
    "submission.purpose !== 'other' ? log.space.refusal(",
  ]),
  space('no reserve on a full disk', 'refuses what commands add with 75'),
  io('a failed flush is taken for a good one', 'when an add is flushed: nobody is told', [
    'src/cache/syncer.ts',
    'this.#failure = error instanceof Error ? error : new Error(String(error));',
    'void error;',
  ]),
  io('a message that could not be read stays claimed', 'whenever messages are read: the call is refused'),
  io('a queue that could not be made leaves its cradle', 'when a queue is made: there is none', [
    FOLDER,
    'for (const file of fs.list(cradle)) fs.remove(`${cradle}/${file}`);\n    fs.removeFolder(cradle);',
    '',
  ]),
  // Seldom enough does anybody try again in the moment in between for the simulation not to meet it.
  flush(
    'who waits for a failed flush is refused before the log says so',
    'before anybody hears of the failure',
    [JOURNAL, 'this.#doomed.push(fail);', 'fail();'],
  ),
  refusal('a head that could not be noted is named in a later segment', 'names it in no other segment', [
    'src/cache/rotation.ts',
    '    this.#noted = undefined;\n    const { path, state, options }',
    '    const { path, state, options }',
  ]),
  limits(
    'a limit on the size of files is taken for a full disk',
    'is told so, and leaves the reserve alone',
    [
      FILES,
      "return code === 'ENOSPC' || code === 'EDQUOT';",
      "return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG';",
    ],
  ),
  limits('who cannot watch does not look either', 'is told of a message all the same', [
    'src/cache/waiting.ts',
    'state.claimed.size > 0 ? JUDGE_MS : POLL_MS',
    'state.claimed.size > 0 ? JUDGE_MS : POLL_MS * 600',
  ]),

  cut('always', 8)('an answer before the flush', 'after its end was acknowledged'),
  cut('os', 10)('a sealed segment is not flushed before its successor', 'is not sound as it was left'),
  cut('os', 10)(
    'a successor is used, and deletions rest on it, before it is flushed',
    'a power cut is reported as damage',
  ),
  // That the folder is not flushed before a note does no harm here: ext4 flushes a new file's name with the file.
  cut('always', 25)(
    'a new queue is answered before its name is flushed',
    'is lost after it was created',
    [FOLDER, '  await fs.syncFolder(root);\n  return true;', '  return true;'],
    [LOG, '#named = false;', '#named = true;'],
  ),
  // In long segments, because each change to the next one flushes as well.
  cut('interval', 6, 3000)(
    'interval is never',
    ' ms may be',
    [
      JOURNAL,
      "if (durability === 'interval' && landed.length > 0) this.#syncSoon();",
      'void this.#syncSoon;',
    ],
    ['test/power-cut/run.ts', 'const SEGMENT_BYTES = 48 * 1024;', 'const SEGMENT_BYTES = 8 * 1024 * 1024;'],
  ),

  files('a settle without a look at the token', 'can settle nothing'),
  files('the old payload after an update', 'changes what it names and leaves the rest'),
  memory('a purge takes what is claimed', 'a claim outlives a purge', [
    MESSAGE,
    "return phase.state === 'claimed' ? undefined : 'purged';",
    "return 'purged';",
  ]),
  memory('a paused queue is claimed from', 'a paused queue gives nothing out', [
    'src/memory/queue.ts',
    'if (this.#paused) return [];',
    '',
  ]),
  files('a release costs a try', 'its try given back', [
    MESSAGE,
    'return { ...life, phase: READY, attempts: life.attempts - 1 };',
    'return { ...life, phase: READY };',
  ]),
  memory('a message that has killed is claimed with others', 'takes no others with it', [
    'src/memory/entry.ts',
    'entry.life.crashes > 0',
    'entry.life.crashes > 1',
  ]),

  fuzz('journal')('a header is not looked at', 'Counterexample', [
    'src/cache/header.ts',
    'if (!isObject(header) || !hasFields(header)) return undefined;',
    'if (!isObject(header)) return undefined;',
  ]),
  fuzz('config')('control characters in errors', 'Counterexample', [
    'src/errors.ts',
    'return escapeControls(text);',
    'return text;',
  ]),
  fuzz('messages')('white space around a user name is nothing', 'Counterexample', [
    'src/cache/contents.ts',
    "username: stored.content.by ?? '',",
    "username: stored.content.by?.trim() ?? '',",
  ]),
  fuzz('daemon-files')('a process of an impossible number may live', 'Counterexample', [
    'src/process-table.ts',
    'if (pid > LARGEST_PID) return true;',
    'if (pid > LARGEST_PID * pid) return true;',
  ]),
  argv('what is wrong with a command line is told as it is', 'Counterexample', [
    'bin/help.ts',
    'return [escapeControls(short), suggestion && escapeControls(suggestion)',
    'return [short, suggestion && escapeControls(suggestion)',
  ]),
];
