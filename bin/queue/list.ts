import type { Command } from 'commander';
import type { QueueStatus } from '../../src/backend.ts';
import { tell, withManager, type CommonOptions } from '../cli.ts';
import { exitCodeOf } from '../exit-codes.ts';
import { columnsOf } from '../layout.ts';
import { note, print, safeJson, table } from '../output.ts';
import { paint } from './watch/row.ts';
import { countSpans } from './watch/words.ts';

export function listCommand(program: Command): void {
  program
    .command('list')
    .description('list the queues with their counts')
    .option('--json', 'print an array of statuses as JSON')
    .addHelpText('after', "\nExample:\n  queue list --json | jq '.[] | select(.counts.failed > 0) | .queue'")
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions & { json?: true }>();
      const statuses = await readAll(options);
      if (options.json) await print(safeJson(statuses));
      else if (statuses.length > 0) for (const line of inWords(statuses)) await print(line);
      // That one could not be read has been told.
      else if (process.exitCode === undefined) note('no queues');
    });
}

/** A queue that cannot be read is told on stderr and in the exit code, and does not hide the others. */
function readAll(options: CommonOptions): Promise<QueueStatus[]> {
  return withManager(options, async (manager) => {
    const statuses: QueueStatus[] = [];
    for (const queue of await manager.listQueues()) {
      try {
        statuses.push(await manager.queueStatus(queue));
      } catch (error) {
        tell(`queue list: ${queue}`, error);
        process.exitCode = exitCodeOf(error);
      }
    }
    return statuses;
  });
}

/** A table; on a terminal that is too narrow for it, a row for each queue. */
function inWords(statuses: readonly QueueStatus[]): string[] {
  const columns = columnsOf(process.stdout) ?? Infinity;
  const [header = '', ...rows] = table(HEADER, statuses.map(row));
  if (rows.every(({ length }) => length <= columns)) return [header, ...rows];
  return statuses.map((status) => {
    const notes = notesOf(status);
    const spans = [...countSpans(status), ...(notes === '' ? [] : ['  ', notes])];
    // Not cut: what has failed stands at the end.
    return paint([['bold', status.queue], '  ', ...spans]);
  });
}

const HEADER = ['queue', 'ready', 'deferred', 'claimed', 'disabled', 'failed', 'processed', ''];

function row(status: QueueStatus): (string | number)[] {
  const { ready, deferred, claimed, disabled, failed } = status.counts;
  return [status.queue, ready, deferred, claimed, disabled, failed, status.processed, notesOf(status)];
}

function notesOf({ paused, damaged }: QueueStatus): string {
  return [paused ? 'paused' : '', damaged > 0 ? 'damaged' : ''].filter((note) => note !== '').join(', ');
}
