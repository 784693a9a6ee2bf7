import { setTimeout as sleep } from 'node:timers/promises';
import { InvalidArgumentError, Option, type Command } from 'commander';
import type { QueueStatus } from '../../src/backend.ts';
import type { QueueManager } from '../../src/queue-manager.ts';
import { parseDuration } from '../../src/units.ts';
import { withManager, type CommonOptions } from '../cli.ts';
import { flush, grouped, isRead, print, safeJson } from '../output.ts';
import { rateInWords, Trend } from './watch/trend.ts';

interface Options extends CommonOptions {
  interval: number;
  json?: true;
}

const HELP = `
On a terminal it has the whole screen until q is pressed; ? shows the keys. Elsewhere, and on a dumb terminal, it prints
one line per interval until it is stopped. A queue that is destroyed meanwhile is waited for on the screen; in lines it
is the end, with exit code 69. The rate of adds is told from the counts: messages removed meanwhile count against it.

Examples:
  queue watch invoices
  queue watch invoices --interval 10s >> invoices.log
  queue watch invoices --json | jq --unbuffered .counts`;

export function watchCommand(program: Command): void {
  program
    .command('watch <queue>')
    .description('show how a queue stands, live')
    .addOption(
      new Option('--interval <duration>', 'time between two looks').argParser(interval).default(1000, '1s'),
    )
    .option('--json', 'print the whole status as JSON, one line per interval')
    .addHelpText('after', HELP)
    .action(async (queue: string, _: unknown, command: Command) => {
      const { interval, json, ...common } = command.optsWithGlobals<Options>();
      const live = process.stdout.isTTY && process.env['TERM'] !== 'dumb' && !json;
      await withManager(common, async (manager) => {
        // A queue that is not there at the start is a slip of the pen: told as such, not waited for.
        const status = await manager.queueStatus(queue);
        if (!live) return watchLines(manager, status, interval, json ? safeJson : inWords());
        const { watchLive } = await import('./watch/live.ts');
        await watchLive(manager, queue, interval);
      });
      await flush();
      // A look at a long queue may still be under way, and nobody waits for what it finds.
      process.exit();
    });
}

const SHORTEST_MS = 100;
const LONGEST_MS = 86_400_000;

function interval(text: string): number {
  const milliseconds = parseDuration(text);
  if (milliseconds !== undefined && milliseconds >= SHORTEST_MS && milliseconds <= LONGEST_MS)
    return milliseconds;
  throw new InvalidArgumentError('Expected a duration from 100ms to 1d, such as 2s.');
}

/** Ends when nobody reads the lines any more. */
async function watchLines(
  manager: QueueManager,
  first: QueueStatus,
  interval: number,
  line: (status: QueueStatus) => string,
): Promise<void> {
  for (let status = first; ; status = await manager.queueStatus(first.queue)) {
    await print(line(status));
    if (!isRead()) return;
    await sleep(interval);
  }
}

/** One line of a status; its rates are those since the lines before it. */
function inWords(): (status: QueueStatus) => string {
  const trend = new Trend();
  return (status) => {
    trend.add(performance.now(), status);
    const { rates } = trend;
    const counts = Object.entries(status.counts).map(([state, count]) => `${state} ${grouped(count)}`);
    const going = rates
      ? [`added ${rateInWords(rates.added)}`, `processed ${rateInWords(rates.processed)}`]
      : [];
    return [new Date().toISOString(), ...counts, ...going, ...(status.paused ? ['paused'] : [])].join('  ');
  };
}
