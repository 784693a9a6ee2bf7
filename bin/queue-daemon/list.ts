import type { Command } from 'commander';
import { QueueError } from '../../src/errors.ts';
import { isUp, judge, type Judgement } from '../../src/daemon/verify.ts';
import { tell } from '../cli.ts';
import { exitCodeOf } from '../exit-codes.ts';
import { note, print, safeJson, table } from '../output.ts';
import { oneLine } from '../queue/watch/row.ts';
import { lasting } from '../when.ts';
import { allNames, megabytes, soundPartOf, toJson, warn, type Options } from './daemons.ts';

export function listCommand(program: Command): void {
  program
    .command('list')
    .description('list the daemons and how they stand')
    .option('--json', 'print an array of them as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  queue-daemon list --json | jq -r \'.[] | select(.state == "dead") | .name\'',
    )
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      const { config, wrong } = await soundPartOf(options);
      if (wrong) {
        warn(wrong, config);
        process.exitCode = exitCodeOf(wrong);
      }
      const { stateDir } = config.daemon;
      const { names, error } = await allNames(config);
      if (error) complain('queue-daemon list', error);
      const judgements: Judgement[] = [];
      for (const name of names) {
        try {
          judgements.push(await judge(stateDir, name));
        } catch (error) {
          complain(`queue-daemon list: ${name}`, error);
        }
      }
      if (options.json) await print(safeJson(judgements.map((each) => toJson(config, each))));
      else if (judgements.length > 0)
        for (const line of table(HEADER, judgements.map(row))) await print(line);
      else if (process.exitCode === undefined) note('no daemons');
    });
}

/** One that cannot be judged does not hide the others. */
function complain(where: string, error: unknown): void {
  if (!(error instanceof QueueError)) throw error;
  tell(where, error);
  process.exitCode = exitCodeOf(error);
}

const HEADER = ['daemon', 'state', 'process', 'for', 'iterations', 'crashes', 'memory', ''];

function row(judgement: Judgement): (string | number)[] {
  const { name, standing, reason, holder, state } = judgement;
  const up = isUp(judgement);
  return [
    name,
    standing,
    up && holder ? String(holder.who.pid) : '',
    up && state ? lasting(Date.now() - Date.parse(state.startedAt)) : '',
    state?.sessions ?? '',
    state?.crashes ?? '',
    up && state ? megabytes(state.memory) : '',
    oneLine(reason).slice(0, 200),
  ];
}
