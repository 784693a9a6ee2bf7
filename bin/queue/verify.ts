import type { Command } from 'commander';
import { join } from 'node:path';
import { verifyQueue, type VerifyReport } from '../../src/cache/verify.ts';
import { loadConfig } from '../../src/config.ts';
import { QueueError, escapeControls, quote } from '../../src/errors.ts';
import { checkQueueName } from '../../src/validate.ts';
import { withManager, type CommonOptions } from '../cli.ts';
import { EXIT } from '../exit-codes.ts';
import { counted, grouped, print, safeJson, styled, table } from '../output.ts';

export function verifyCommand(program: Command): void {
  program
    .command('verify <queue>')
    .description(
      'read every record of a queue and check it; exits 0 when the queue is sound, 1 when it is not',
    )
    .option('--json', 'print the report as JSON')
    .addHelpText(
      'after',
      '\nIt changes nothing, and may run while others use the queue.\n\nExample:\n  queue verify invoices && echo sound',
    )
    .action(async (queue: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions & { json?: true }>();
      const folder = await folderOf(queue, options);
      const report = await verifyQueue(folder).catch(async (error: unknown) => {
        // The status of a queue that does not exist rejects too, and names one that does.
        if (error instanceof QueueError && error.code === 'QUEUE_NOT_FOUND') {
          await withManager(options, (manager) => manager.queueStatus(queue));
        }
        throw error;
      });
      if (options.json) await print(safeJson(report));
      else for (const line of inWords(report)) await print(line);
      if (!report.sound) process.exitCode = EXIT.failure;
    });
}

/** Not by opening the queue, which may be too damaged for that. */
async function folderOf(
  queue: string,
  { config: file, cacheRoot, durability }: CommonOptions,
): Promise<string> {
  checkQueueName(queue);
  const config = await loadConfig({ config: file, flags: { cacheRoot, durability } });
  if (config.queue.queueType !== 'cache') {
    throw new QueueError(
      'UNKNOWN_QUEUE_TYPE',
      `only queues of type cache have files to verify, queueType is ${quote(config.queue.queueType)}`,
    );
  }
  return join(config.queue.cacheRoot, queue);
}

function inWords(report: VerifyReport): string[] {
  const lines = table(
    ['segment', 'records', 'bytes', 'torn', ''],
    report.segments.map(({ file, records, bytes, torn, sealed }) => [
      file,
      records,
      bytes,
      torn,
      sealed ? 'sealed' : 'open',
    ]),
  );
  for (const { file, from, to, kind, acknowledged, uuid, detail } of report.damage) {
    const where = `${escapeControls(file)}, bytes ${grouped(from)} to ${grouped(to)}`;
    const what = `${kind}${acknowledged ? '' : ' (not known to have been synced)'}${uuid === undefined ? '' : `, message ${escapeControls(uuid)}`}`;
    lines.push(`${styled('red', what)}: ${where}: ${escapeControls(detail)}`);
  }
  const verdict = report.sound ? styled('bold', 'sound') : styled('red', 'not sound');
  return [...lines, `${report.queue}: ${verdict}, ${counted(report.messages, 'message')}`];
}
