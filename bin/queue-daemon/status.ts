import type { Command } from 'commander';
import { lastWords } from '../../src/daemon/start.ts';
import { pathsOf } from '../../src/daemon/place.ts';
import type { Failure, Spread } from '../../src/daemon/state.ts';
import { isUp, isWell, judge, type Judgement, type Standing } from '../../src/daemon/verify.ts';
import type { Config } from '../../src/config.ts';
import { escapeControls } from '../../src/errors.ts';
import { columnsOf } from '../layout.ts';
import { grouped, print, safeJson } from '../output.ts';
import { fitRow, oneLine, paint, type Row } from '../queue/watch/row.ts';
import { fromNow, lasting, stamp } from '../when.ts';
import { headline, logFileOf, megabytes, namedAnyhow, serviceOf, toJson, type Options } from './daemons.ts';

/** Lines of what it printed last, of one that has died. */
const LAST_LINES = 5;

/** As init scripts have it (Linux Standard Base): what lives, lives, well or not; `verify` tells the two apart. */
const CODE: Readonly<Record<Standing, number>> = {
  running: 0,
  starting: 0,
  stalled: 0,
  unhealthy: 0,
  dead: 1,
  failed: 3,
  stopped: 3,
};

export function statusCommand(program: Command): void {
  program
    .command('status <daemon>')
    .description('show how a daemon stands, and what it has done')
    .option('--json', 'print all of it as JSON')
    .addHelpText(
      'after',
      `
Exits with 0 when its process lives, with 1 when it died and left its pid file, with 3 when it is stopped or has failed.

Examples:
  queue-daemon status queue
  queue-daemon status queue --json | jq .health`,
    )
    .action(async (name: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      const { config, stateDir } = await namedAnyhow(name, options);
      const judgement = await judge(stateDir, name);
      process.exitCode = CODE[judgement.standing];
      if (options.json) return print(safeJson(toJson(config, judgement)));
      const columns = columnsOf(process.stdout) ?? Infinity;
      for (const row of inWords(config, judgement)) await print(paint(fitRow(row, columns)));
    });
}

function inWords(config: Config, judgement: Judgement): Row[] {
  const { name, standing, state } = judgement;
  const { output } = pathsOf(config.daemon.stateDir, name);
  const words =
    standing === 'dead' || standing === 'failed' ? lastWords(output, state?.printedFrom ?? 0) : '';
  const lines = words === '' ? [] : words.split('\n').slice(-LAST_LINES);
  return [
    headline(judgement),
    ...(isWell(judgement) ? [] : [[`  ${remedyOf(config.daemon.stateDir, judgement)}`]]),
    [],
    ...facts(judgement).map(([title, text]): Row => [['dim', title.padEnd(16)], oneLine(text)]),
    [['dim', 'log'.padEnd(16)], escapeControls(logFileOf(config, judgement) ?? 'goes to where it was run')],
    ...(lines.length > 0 ? [[], [['bold', 'what it printed last']] as Row] : []),
    ...lines.map((line): Row => [`  ${escapeControls(line)}`]),
  ];
}

/** What to type, to have it run again. */
function remedyOf(stateDir: string, judgement: Judgement): string {
  const { name, standing } = judgement;
  const ended = standing === 'dead' || standing === 'failed';
  const service = serviceOf(stateDir, judgement);
  // Started here it would run beside its service.
  if (service?.endsWith('.service')) return `systemctl restart ${escapeControls(service)}`;
  return `queue-daemon ${ended ? 'start' : 'restart'} ${name}`;
}

function facts(judgement: Judgement): [string, string][] {
  const { state, holder } = judgement;
  const up = isUp(judgement);
  if (!state) return [['state', 'it has never run, or what it left is gone']];
  const facts: [string, string | false][] = [
    ['process', up && String(holder?.who.pid ?? state.pid)],
    ['started', `${stamp(new Date(state.startedAt))}${up ? `, ${ago(state.startedAt)}` : ''}`],
    ['ended', state.end !== null && `${ago(state.end.at)}, ${ENDED[state.end.why]}`],
    [
      'iterations',
      `${grouped(state.sessions)}${state.failuresInRow > 0 ? `, the last ${grouped(state.failuresInRow)} failed` : ''}`,
    ],
    [
      'last iteration',
      state.lastIterationAt === null
        ? 'never'
        : `${ago(state.lastIterationAt)}${spread(state.sessionLengths, ', took')}`,
    ],
    ['between them', state.betweenSessions !== null && spread(state.betweenSessions, '').trim()],
    ['next', up && state.sleepUntil !== null && ago(state.sleepUntil)],
    ['last success', state.lastSuccessAt === null ? 'never' : ago(state.lastSuccessAt)],
    ['last error', state.lastError !== null && failure(state.lastError)],
    [
      'crashes',
      state.crashes > 0 && `${grouped(state.crashes)}, the last found ${ago(state.lastCrashAt ?? '')}`,
    ],
    [
      'reloads',
      state.reloads.at !== null &&
        `${grouped(state.reloads.count)}, the last ${ago(state.reloads.at)}${state.reloads.error ? `, refused: ${state.reloads.error.message}` : ''}`,
    ],
    [
      'health',
      up &&
        state.health !== null &&
        `${state.health.sound ? 'sound' : `not sound: ${state.health.reason}`}, ${ago(state.health.at)}`,
    ],
    ['memory', up && megabytes(state.memory)],
  ];
  return facts.filter((fact): fact is [string, string] => fact[1] !== false);
}

const ENDED = {
  told: 'it was told to',
  itself: 'by itself',
  error: 'with an error',
  crash: 'unasked',
} as const;

function ago(iso: string): string {
  return fromNow(new Date(iso));
}

function failure({ at, name, message }: Failure): string {
  return `${ago(at)}: ${name}: ${message}`;
}

function spread(lengths: Spread | null, intro: string): string {
  if (!lengths) return '';
  const { last, mean, longest } = lengths;
  return `${intro} ${lasting(last)}, ${lasting(mean)} on average, ${lasting(longest)} at most`;
}
