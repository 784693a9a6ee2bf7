import type { Command } from 'commander';
import type { Mark, QueueStatus } from '../../src/backend.ts';
import { withManager, type CommonOptions } from '../cli.ts';
import { grouped, print, safe, safeJson, styled } from '../output.ts';

export function statusCommand(program: Command): void {
  program
    .command('status <queue>')
    .description('show how a queue stands')
    .option('--json', 'print the whole status as JSON')
    .addHelpText('after', '\nExample:\n  queue status invoices --json | jq .counts')
    .action(async (queue: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions & { json?: true }>();
      const status = await withManager(options, (manager) => manager.queueStatus(queue));
      if (options.json) await print(safeJson(status));
      else for (const line of inWords(status)) await print(line);
    });
}

function inWords(status: QueueStatus): string[] {
  const { counts } = status;
  const limits = [
    status.options.uniqueAlias && 'aliases are unique',
    status.options.maxMessages !== undefined && `at most ${grouped(status.options.maxMessages)} messages`,
    status.options.maxBytes !== undefined && `at most ${grouped(status.options.maxBytes)} bytes`,
  ].filter((limit) => typeof limit === 'string');
  const facts: [string, string | false][] = [
    ['queue', status.queue + (status.paused ? styled('yellow', '  paused') : '')],
    [
      'to process',
      `${grouped(status.messagesToProcess)}  (ready ${grouped(counts.ready)}, deferred ${grouped(counts.deferred)}, claimed ${grouped(counts.claimed)})`,
    ],
    ['disabled', counts.disabled > 0 && grouped(counts.disabled)],
    ['failed', counts.failed > 0 && styled('red', grouped(counts.failed))],
    ['processed', `${grouped(status.processed)} ever`],
    ['last inserted', mark(status.lastMessageInserted)],
    ['last processed', mark(status.lastMessageProcessed)],
    ['last change', status.lastQueueModifyTime.toISOString()],
    ['created', status.createdAt.toISOString()],
    ['durability', `${status.durability}; a power cut may cost: ${status.lossWindow}`],
    ['limits', limits.length > 0 && limits.join(', ')],
    ['attributes', Object.keys(status.customAttributes).length > 0 && safeJson(status.customAttributes)],
    [
      'damaged',
      status.damaged > 0 &&
        styled('red', `${grouped(status.damaged)} records; see queue verify ${status.queue}`),
    ],
  ];
  return facts.flatMap(([name, text]) => (text === false ? [] : [`${name.padEnd(14)}  ${text}`]));
}

function mark(given: Mark | null): string {
  if (!given) return '-';
  return `${given.timestamp.toISOString()}  ${given.uuid}${given.alias === '' ? '' : `  ${safe(given.alias)}`}`;
}
