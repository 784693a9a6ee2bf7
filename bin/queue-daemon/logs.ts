import type { Command } from 'commander';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathsOf } from '../../src/daemon/place.ts';
import { judge, type Judgement } from '../../src/daemon/verify.ts';
import { escapeControls, quote } from '../../src/errors.ts';
import { parseLine, pretty, type Line } from '../../src/log/formats.ts';
import { whole } from '../cli.ts';
import { isRead, note, print, styled } from '../output.ts';
import { logFileOf, namedAnyhow, type Named, type Options as Common } from './daemons.ts';
import { Tail } from './tail.ts';

interface Options extends Common {
  follow?: true;
  lines: number;
}

/** How often it is looked whether something was added, in ms. */
const EVERY = 200;
const MOST_LINES = 1_000_000;

export function logsCommand(program: Command): void {
  program
    .command('logs <daemon>')
    .description('print the end of the log of a daemon, and go on with what is added')
    .option('-f, --follow', 'go on with what is added, until Ctrl-C')
    .option('-n, --lines <n>', 'how many lines to begin with', whole(0, MOST_LINES), 10)
    .addHelpText(
      'after',
      `
First what its process has printed beside its log, such as its last words, if there is anything. On a terminal lines of
JSON are laid out for people; elsewhere all are printed as they were logged.

Examples:
  queue-daemon logs queue -n 100
  queue-daemon logs queue -f`,
    )
    .action(async (name: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await show(await namedAnyhow(name, options), options);
    });
}

async function show(daemon: Named, { follow, lines }: Options): Promise<void> {
  const { name, config, stateDir } = daemon;
  const { destination } = config.log;
  const { log, output } = pathsOf(stateDir, name);
  const isStream = destination === 'stdout' || destination === 'stderr';
  const tails = [new Tail(output), new Tail(isStream ? log : destination)];
  try {
    const look = lookOf();
    const ends = tails.map((tail) => tail.last(lines));
    for (const end of ends) await printAll(end, look);
    const elsewhere = await elsewhereOf(daemon);
    if (elsewhere !== undefined) note(`${name}: its log is elsewhere: ${elsewhere}`);
    if (!follow) {
      if (elsewhere === undefined && ends.every((end) => end.length === 0) && lines > 0)
        note(`nothing was logged yet to ${quote(isStream ? log : destination, 300)}`);
      return;
    }
    while (isRead()) {
      for (const tail of tails) await printAll(tail.next(), look);
      await sleep(EVERY);
    }
  } finally {
    for (const tail of tails) tail.close();
  }
}

/** Where what it logs goes, when that is no file: what is shown is older then. */
async function elsewhereOf({ name, config, stateDir }: Named): Promise<string | undefined> {
  let judgement: Judgement;
  try {
    judgement = await judge(stateDir, name);
  } catch {
    // A pid file that is none hides no log.
    return undefined;
  }
  if (logFileOf(config, judgement) !== undefined) return undefined;
  const service = judgement.state?.service;
  return service?.endsWith('.service') ? `journalctl -u ${escapeControls(service)}` : 'where it was run';
}

type Look = (line: string) => string;

async function printAll(lines: readonly string[], look: Look): Promise<void> {
  for (const line of lines) if (isRead()) await print(look(line));
}

/** How lines are shown: on a terminal as a log looks there, with the day above those of another day than the one before. */
function lookOf(): Look {
  if (!process.stdout.isTTY) return escapeControls;
  let day = new Date().toDateString();
  return (written) => {
    const line = parseLine(written);
    if (!line) return escapeControls(written);
    const shown = laidOut(line) ?? escapeControls(written);
    const before = day;
    day = new Date(line.time).toDateString();
    return day === before ? shown : `${styled('dim', day)}\n${shown}`;
  };
}

/** Undefined for one that is nested deeper than any of ours. */
function laidOut(line: Line): string | undefined {
  try {
    return pretty(line, styled);
  } catch {
    return undefined;
  }
}
