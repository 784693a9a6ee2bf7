/** The commands as they tell of themselves in their help: verbs, arguments, options. */
import type { Bench, CommandName } from './commands.ts';

export interface CommandFacts {
  /** The verb of `queue`; or `queue-worker`. */
  name: string;
  /** As the list of verbs has them: `<queue>`, `[targets...]`. */
  arguments: string[];
  /** With what stands for the value, if it takes one: `--limit`, `n`. */
  options: Map<string, string | undefined>;
  help: string;
}

/** All there are of `queue` and `queue-worker`, by name; or of another program. */
export async function commandTree(
  bench: Bench,
  program: CommandName = 'queue',
): Promise<Map<string, CommandFacts>> {
  const { stdout } = await bench.run(program, ['--help']);
  // A verb is indented by two, a line of its description by more; so are options, which begin with a hyphen.
  const verbs = [...stdout.matchAll(/^ {2}([a-z]+)((?: [<[][a-z.]+[>\]])*)(?: {2}|$)/gm)].filter(
    ([, verb]) => verb !== 'help',
  );
  const facts = await Promise.all([
    ...(program === 'queue'
      ? [factsOf('queue-worker', '<type>', bench.run('queue-worker', ['--help']))]
      : []),
    ...verbs.map(([, verb = '', given = '']) => factsOf(verb, given, bench.run(program, [verb, '--help']))),
  ]);
  return new Map(facts.map((each) => [each.name, each]));
}

async function factsOf(
  name: string,
  given: string,
  ended: Promise<{ stdout: string }>,
): Promise<CommandFacts> {
  const { stdout: help } = await ended;
  const options = [...help.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)(?: <([a-z]+)>)?/gm)];
  return {
    name,
    arguments: given.split(' ').filter((text) => text !== ''),
    options: new Map(options.map(([, flag = '', value]) => [flag, value])),
    help,
  };
}
