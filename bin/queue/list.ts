import type { Command } from 'commander';
import type { QueueStatus } from '../../src/backend.ts';
import { tell, withManager, type CommonOptions } from '../cli.ts';
import { exitCodeOf } from '../exit-codes.ts';
import { note, print, safeJson, table } from '../output.ts';

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
      else if (statuses.length > 0) for (const line of table(HEADER, statuses.map(row))) await print(line);
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

const HEADER = ['queue', 'ready', 'deferred', 'claimed', 'disabled', 'failed', 'processed', ''];

function row({ queue, counts, processed, paused, damaged }: QueueStatus): (string | number)[] {
  const { ready, deferred, claimed, disabled, failed } = counts;
  const notes = [paused ? 'paused' : '', damaged > 0 ? 'damaged' : ''].filter((note) => note !== '');
  return [queue, ready, deferred, claimed, disabled, failed, processed, notes.join(', ')];
}
