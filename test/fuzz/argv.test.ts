/** Arbitrary words as the command line, in real processes: an exit code that is documented, an end, and never a stack. */
import { join } from 'node:path';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Bench } from '../cli/commands.ts';
import { commandTree, type CommandFacts } from '../cli/command-tree.ts';
import { Yard } from '../processes/yard.ts';
import { openManager } from '../support/specimen.ts';
import { expectOrdinary, word } from './command-lines.ts';
import { LIMIT, timed } from './runs.ts';

const GLOBAL = ['--config', '--cache-root', '--durability', '--version', '--help', '-h', '-V'];

/** A verb, most often one there is, and some words, among them options that it has. */
function lineOf(
  tree: ReadonlyMap<string, CommandFacts>,
  values: readonly string[] = [],
): fc.Arbitrary<string[]> {
  const verbs = [...tree.values()].map(({ name, options }) => {
    const words = word([...options.keys(), ...GLOBAL], values);
    // What it works on, most often: else little gets beyond the first check.
    const rest = fc.tuple(word([], values), fc.array(words, { maxLength: 5 }));
    return rest.map(([target, more]) => [name, target, ...more]);
  });
  const [first, ...others] = verbs as [fc.Arbitrary<string[]>, ...fc.Arbitrary<string[]>[]];
  const any = fc.array(word([...GLOBAL, 'help'], values), { maxLength: 4 });
  return fc.oneof({ weight: 8, arbitrary: fc.oneof(first, ...others) }, any);
}

test('of queue', { timeout: LIMIT }, async () => {
  const bench = new Bench();
  try {
    const tree = await commandTree(bench);
    tree.delete('queue-worker');
    const waits = ([verb = '', ...rest]: string[]): boolean =>
      verb === 'watch' ||
      verb === 'wait' ||
      (verb === 'add' && rest.some((each) => each.startsWith('--wait')));
    await fc.assert(
      fc.asyncProperty(lineOf(tree), async (words) => {
        const manager = await openManager(join(bench.folder, 'queues'));
        await manager.createQueue('jobs');
        await manager.addMessage('jobs', { data: { n: 1 }, alias: 'job' });
        await manager.close();
        await expectOrdinary(bench.start('queue', words), { runsOn: waits(words) });
      }),
      timed(40),
    );
  } finally {
    await bench.close();
  }
});

test('of queue-worker', { timeout: LIMIT }, async () => {
  const bench = new Bench();
  try {
    const facts = (await commandTree(bench)).get('queue-worker')!;
    const words = fc.array(word([...facts.options.keys()], ['log', 'cat', 'false']), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(words, async (some) => {
        await expectOrdinary(bench.start('queue-worker', some), { runsOn: true });
      }),
      timed(12),
    );
  } finally {
    await bench.close();
  }
});

/** Told to end, a daemon ends; and what it had started in the background is there to be stopped. */
test('of queue-daemon', { timeout: LIMIT }, async () => {
  const yard = new Yard();
  try {
    yard.daemon('ticks', 'startIteration() {}\nget interval() { return 50; }');
    yard.daemon('broken', "startIteration() { throw new Error('always'); }");
    // Whatever is asked for, no system gets a service: what would run one is not found.
    const env = { PATH: yard.folder };
    const tree = await commandTree(yard.bench, 'queue-daemon');
    for (const [name, facts] of tree) {
      facts.options.delete('--root');
      tree.set(name, facts);
    }
    const values = ['ticks', 'ticks', 'ticks', 'broken', 'queue', 'worker@', 'systemd', 'sysv', '20ms'];
    await fc.assert(
      fc.asyncProperty(lineOf(tree, values), async ([verb = '', ...rest]) => {
        const isService = verb === 'install' || verb === 'uninstall';
        const words = [verb, ...(isService ? ['--root', 'elsewhere'] : []), ...rest];
        const follows = verb === 'logs' && rest.some((each) => /^(-[a-z]*f|--follow)/.test(each));
        const started = yard.bench.start('queue-daemon', words, env);
        // 3: what `status` says of one that does not run.
        await expectOrdinary(started, {
          runsOn: verb === 'run' || follows,
          also: verb === 'status' ? [3] : [],
        });
      }),
      timed(25),
    );
    for (const name of ['ticks', 'broken', 'queue']) await yard.verb('stop', name);
    expect(yard.running()).toEqual([]);
  } finally {
    await yard.close();
  }
});
