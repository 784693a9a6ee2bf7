/** `npm run simulate`. */
import { parseArgs } from 'node:util';
import { EXIT } from '../../bin/exit-codes.ts';
import { helped, misused } from '../../scripts/usage.mjs';
import { escapeControls } from '../../src/errors.ts';
import { onAllCores } from './campaign.ts';
import { neverMet, told } from './coverage.ts';
import { shrink } from './shrink.ts';
import { makeEngine, simulate } from './simulate.ts';
import { inWords, type Broken, type Kind } from './violation.ts';

const DEFAULT_SEEDS = 200;
/** Seeds that a thread takes at a time. */
const STRIDE = 10;
const SHRINK_MS = 30_000;
/** Violations that are shrunk and shown; the others are named. */
const SHOWN = 1;

const USAGE = `Usage: npm run simulate -- [--seeds N] [--seed S] [--trace]

Runs the engine on simulated machines. A seed is a run, the same each time.

  --seeds N  how many seeds (default ${DEFAULT_SEEDS})
  --seed S   the first of them (default 1)
  --trace    print what happens in the run of one seed
  --help     print this

Exit codes: 0 every promise was kept, 1 one was not, or what a long run is there for never happened, 64 usage`;

function say(text: string): void {
  process.stdout.write(`${escapeControls(text)}\n`);
}

/** Returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const help = helped(args, USAGE);
  if (help !== undefined) return help;
  const asked = parse(args);
  if (typeof asked === 'string') return misused('simulate', asked, USAGE);
  const { seeds, first, trace } = asked;
  if (trace) return traced(first);
  const met = new Map<string, number>();
  const violations: (Broken & { seed: number })[] = [];
  let operations = 0;
  await onAllCores(strides(first, seeds), async (stride, runner) => {
    const { to } = stride;
    for (let { at } = stride; at < to;) {
      const finding = await runner.run({ first: at, count: to - at, edits: [] });
      operations += finding.operations;
      for (const [what, times] of finding.met) met.set(what, (met.get(what) ?? 0) + times);
      if (finding.violation) violations.push(finding.violation);
      at = finding.violation ? finding.violation.seed + 1 : to;
    }
  });
  for (const [i, { seed, ...broken }] of violations.sort((a, b) => a.seed - b.seed).entries()) {
    for (const line of `seed ${seed}: ${inWords(broken)}`.split('\n')) say(line);
    if (i < SHOWN) show(seed, broken.kind);
    else say(`  not shrunk, only the first is: npm run simulate -- --seeds 1 --seed ${seed}`);
  }
  say(told(met));
  const missing = neverMet(met, seeds);
  if (missing.length > 0) say(`never happened: ${missing.join(', ')}`);
  say(`${seeds} seeds, ${operations} operations, ${violations.length} violations`);
  return violations.length + missing.length > 0 ? EXIT.failure : EXIT.ok;
}

function parse(args: readonly string[]): { seeds: number; first: number; trace: boolean } | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { seeds: { type: 'string' }, seed: { type: 'string' }, trace: { type: 'boolean' } },
    });
    const seeds = Number(values.seeds ?? (values.trace ? 1 : DEFAULT_SEEDS));
    const first = Number(values.seed ?? 1);
    if (!Number.isSafeInteger(seeds) || seeds < 1)
      return `--seeds: expected a number from 1, received ${values.seeds}`;
    if (!Number.isSafeInteger(first) || first < 0)
      return `--seed: expected a number from 0, received ${values.seed}`;
    if (values.trace && seeds > 1) return '--trace shows one seed: leave out --seeds';
    return { seeds, first, trace: values.trace === true };
  } catch (error) {
    return (error as Error).message;
  }
}

function* strides(first: number, seeds: number): Generator<{ at: number; to: number }> {
  for (let at = first; at < first + seeds; at += STRIDE)
    yield { at, to: Math.min(at + STRIDE, first + seeds) };
}

function traced(seed: number): number {
  const { operations, violation } = simulate(seed, makeEngine(), (line) => line.split('\n').forEach(say));
  say(`1 seeds, ${operations} operations, ${violation === undefined ? 0 : 1} violations`);
  return violation === undefined ? EXIT.ok : EXIT.failure;
}

/** The shortest schedule found for the seed that breaks a promise of that kind. */
function show(seed: number, kind: Kind): void {
  const engine = makeEngine();
  const { choices } = simulate(seed, engine);
  const least = shrink(choices, kind, (record) => simulate(record, engine), performance.now() + SHRINK_MS);
  say(`  the schedule, shrunk (the whole: npm run simulate -- --seed ${seed} --trace):`);
  simulate(least, engine, (line) => line.split('\n').forEach((part) => say(`    ${part}`)));
}
