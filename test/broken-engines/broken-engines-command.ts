/** `npm run broken-engines`. */
import { parseArgs } from 'node:util';
import { EXIT } from '../../bin/exit-codes.ts';
import { helped, misused } from '../../scripts/usage.mjs';
import { escapeControls, quote } from '../../src/errors.ts';
import { checkEdits } from '../simulation/realm.ts';
import { BROKEN, SUITES, type BrokenEngine, type Check, type Suite } from './engines.ts';
import { runCheck } from './run.ts';

const USAGE = `Usage: npm run broken-engines -- [--suite ${SUITES.join('|')}] [NAME ...]

Runs the checks for rot, disk faults, power cuts, the contract and arbitrary input on copies of the project that are broken on
purpose, all or those named, and demands that each fails.

  --suite S  only those for this kind of check (default: all)
  --help     print this

Exit codes: 0 all were caught or skipped, 1 one was not, 64 usage
Names, each one argument, in quotes:
${BROKEN.map(({ suite, name }) => `  ${suite.padEnd(9)}  ${name}`).join('\n')}`;
/** Characters of the line at which one was caught, and lines of what was said instead. */
const SHOWN = 140;
const TAIL = 25;

function say(text: string): void {
  process.stdout.write(`${escapeControls(text)}\n`);
}

/** The last lines of what a check has said. */
function sayEnd(said: string): void {
  for (const text of said.trimEnd().split('\n').slice(-TAIL)) say(`  ${text}`);
}

/** Returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const help = helped(args, USAGE);
  if (help !== undefined) return help;
  const chosen = choose(args);
  if (typeof chosen === 'string') return misused('broken-engines', chosen, USAGE);
  const ending = new AbortController();
  const end = (): void => ending.abort();
  process.on('SIGINT', end).on('SIGTERM', end);
  try {
    return await breakThem(chosen, ending.signal);
  } finally {
    process.off('SIGINT', end).off('SIGTERM', end);
  }
}

/** A text: what is wrong with what was asked for. */
function choose(args: readonly string[]): readonly BrokenEngine[] | string {
  try {
    const options = { suite: { type: 'string' } } as const;
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
    const { suite } = values;
    if (suite !== undefined && !SUITES.includes(suite as Suite))
      return `--suite: expected ${SUITES.join(', ')}, received ${quote(suite)}`;
    const among = BROKEN.filter((each) => suite === undefined || each.suite === suite);
    const unknown = positionals.find((name) => !among.some((each) => each.name === name));
    if (unknown !== undefined) return `no engine is named ${quote(unknown)}`;
    return among.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  } catch (error) {
    return (error as Error).message;
  }
}

async function breakThem(chosen: readonly BrokenEngine[], signal: AbortSignal): Promise<number> {
  // Before anything runs: does each still stand in the sources?
  for (const { edits } of chosen) checkEdits(edits);
  /** How each check does with the sound engine: one that fails anyway shows nothing. */
  const sound = new Map<string, string>();
  let caught = 0;
  let skipped = 0;
  for (const engine of chosen) {
    const basis = await soundOf(engine.check, sound, signal);
    if (signal.aborted) break;
    if (basis !== 'passed') {
      if (basis === 'skipped') skipped++;
      say(`${basis === 'skipped' ? 'skipped ' : 'NOT SOUND'} ${engine.name}: ${engine.check.run.join(' ')}`);
      continue;
    }
    const began = performance.now();
    const { outcome, said } = await runCheck(engine.check, engine.edits, signal);
    if (signal.aborted) break;
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    // What has passed is told as well.
    const line = said.split('\n').find((text) => !/^\s*[✓↓]/.test(text) && text.includes(engine.says));
    if (outcome === 'failed' && line !== undefined) {
      caught++;
      say(`caught    ${engine.suite}: ${engine.name}: after ${seconds} s: ${line.trim().slice(0, SHOWN)}`);
    } else if (outcome === 'failed') {
      say(`OTHERWISE ${engine.suite}: ${engine.name}: it fails, but does not say ${quote(engine.says)}:`);
      sayEnd(said);
    } else say(`SURVIVED  ${engine.suite}: ${engine.name}: after ${seconds} s`);
  }
  if (signal.aborted) process.stderr.write('broken-engines: ended early\n');
  say(`caught ${caught} of ${chosen.length}${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  return caught + skipped === chosen.length ? EXIT.ok : EXIT.failure;
}

async function soundOf(check: Check, known: Map<string, string>, signal: AbortSignal): Promise<string> {
  const key = JSON.stringify(check);
  let outcome = known.get(key);
  if (outcome === undefined) {
    const result = await runCheck(check, [], signal);
    outcome = result.outcome;
    known.set(key, outcome);
    if (outcome === 'failed' && !signal.aborted) {
      say('the engine as it is fails:');
      sayEnd(result.said);
    }
  }
  return outcome;
}
