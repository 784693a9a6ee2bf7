import type { Command } from 'commander';
import { verifyQueue, type VerifyReport } from '../../src/cache/verify.ts';
import { escapeControls } from '../../src/errors.ts';
import type { CommonOptions } from '../cli.ts';
import { EXIT } from '../exit-codes.ts';
import { counted, grouped, print, safeJson, styled, table } from '../output.ts';
import { filesOf, orNamingOthers } from './files.ts';

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
      const { folder, config } = await filesOf(queue, options);
      const report = await orNamingOthers(queue, config, verifyQueue(folder));
      if (options.json) await print(safeJson(report));
      else for (const line of inWords(report)) await print(line);
      if (!report.sound) process.exitCode = EXIT.failure;
    });
}

function messagesIn({ messages }: VerifyReport): string {
  return messages === undefined ? 'how many messages it holds is not known' : counted(messages, 'message');
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
  lines.push(`${report.queue}: ${verdict}, ${messagesIn(report)}`);
  if (!report.sound) lines.push(`what can be saved: queue repair ${report.queue} --dry-run`);
  return lines;
}
