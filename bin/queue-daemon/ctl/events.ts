/** `queue-daemon ctl events`: what happens, as it happens. */
import { Option, type Command } from 'commander';
import { escapeControls } from '../../../src/errors.ts';
import { whole } from '../../cli.ts';
import { EXIT } from '../../exit-codes.ts';
import { isRead, note, print, safe, safeJson, styled } from '../../output.ts';
import { stamp } from '../../when.ts';
import type { Options as Common } from '../daemons.ts';
import { Client } from './client.ts';
import { eventOf, type Event } from './shapes.ts';

interface Options extends Common {
  past?: true;
  limit?: number;
}

const LONGEST_DATA = 500;
const GRAVE: ReadonlySet<string> = new Set(['failed', 'unhealthy']);

export function eventsCommand(ctl: Command): void {
  ctl
    .command('events')
    .description('print what happens as it happens, until Ctrl-C')
    .option('--past', 'first what is still known of before')
    .option('--limit <n>', 'no more than n, then end', whole(1))
    .addOption(new Option('--json', 'print each event as one line of JSON'))
    .addHelpText(
      'after',
      `
Exits with 69 when the supervisor ends.

Examples:
  queue-daemon ctl events
  queue-daemon ctl events --past --json | jq 'select(.type == "failed")'`,
    )
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      const client = await Client.of(options);
      let count = 0;
      for await (const line of client.lines(`/api/events${options.past ? '?since=0' : ''}`)) {
        if (!isRead()) return;
        if (!line.startsWith('data: ')) continue;
        const event = eventOf(line.slice('data: '.length));
        await print(options.json ? safeJson(event) : inWords(event));
        if (++count === options.limit) return;
      }
      note('the supervisor has ended');
      process.exitCode = EXIT.unavailable;
    });
}

function inWords({ at, type, process, child, data }: Event): string {
  const who = child ?? process ?? '';
  const about = data === null ? '' : safeJson(data).slice(0, LONGEST_DATA);
  const padded = escapeControls(type).padEnd(9);
  return [
    styled('dim', stamp(new Date(at))),
    GRAVE.has(type) ? styled('red', padded) : padded,
    escapeControls(who).padEnd(16),
    safe(about),
  ]
    .join('  ')
    .trimEnd();
}
