import type { Command } from 'commander';
import { QueueError } from '../../src/errors.ts';
import type { QueueManager } from '../../src/queue-manager.ts';
import { withManager, type CommonOptions } from '../cli.ts';
import { Endings, LONGEST_TIMEOUT } from './endings.ts';
import { resolveTargets } from './targets.ts';
import { duration } from './time.ts';

interface Options extends CommonOptions {
  timeout?: number;
  json?: true;
}

const HELP = `
Each ending is told as it comes: completed, failed, removed, purged; or unknown, when a message is not in the queue and how
it ended is no longer remembered ([queue] keepOutcomes). A failed message that is retried later has been told as failed.
The exit code is 0 when all have completed, 1 when one has ended otherwise, 75 when none has, but --timeout came first.
An alias means the first message in line that has it; when none has, the last one remembered.

Examples:
  queue wait invoices 01890a5d-ac96-774b-bcce-b302099a8057 --timeout 10m
  queue wait invoices invoice-17 invoice-18 --json`;

export function waitCommand(program: Command): void {
  program
    .command('wait <queue> <targets...>')
    .description('wait until messages, named by uuid or alias, have ended; exits 0 when all completed')
    .option('--timeout <duration>', 'no longer than this, such as 10m', duration(LONGEST_TIMEOUT))
    .option('--json', 'print each ending as one line of JSON')
    .addHelpText('after', HELP)
    .action(async (queue: string, targets: string[], _: unknown, command: Command) => {
      const { timeout, json, ...common } = command.optsWithGlobals<Options>();
      await withManager(common, async (manager) => {
        const endings = new Endings(manager, queue, { timeout, json });
        const uuids: string[] = [];
        for (const target of targets) uuids.push(await uuidOf(manager, queue, target));
        await endings.add(uuids);
        process.exitCode = await endings.done();
      });
    });
}

/** The uuids that this system gives. Those of others may be aliases. */
const OURS = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Errors: MESSAGE_NOT_FOUND for an alias that neither a message nor a remembered one has. */
async function uuidOf(manager: QueueManager, queue: string, target: string): Promise<string> {
  try {
    const [message] = await resolveTargets(manager, queue, [target]);
    if (message) return message.uuid;
  } catch (error) {
    if (!(error instanceof QueueError) || error.code !== 'MESSAGE_NOT_FOUND') throw error;
    // It may have ended; how, is known by its uuid.
    if (OURS.test(target)) return target.toLowerCase();
    const ended = await manager.inspectMessage(queue, { alias: target });
    if (!ended?.ending) throw error;
    return ended.ending.uuid;
  }
  return target;
}
