/** `queue-daemon ctl status`. */
import type { Command } from 'commander';
import { QueueError, escapeControls, quote } from '../../../src/errors.ts';
import { EXIT } from '../../exit-codes.ts';
import { columnsOf, fit } from '../../layout.ts';
import { note, print, safeJson, styled, table } from '../../output.ts';
import { fromNow, lasting } from '../../when.ts';
import { megabytes, type Options } from '../daemons.ts';
import { Client } from './client.ts';
import { statusOf, type Child, type Process, type Status } from './shapes.ts';

export function statusCommand(ctl: Command): void {
  ctl
    .command('status [process]')
    .description('show the processes with their children, all or those of one')
    .option('--json', 'print all of it as JSON, with what children say of themselves and the queues')
    .addHelpText(
      'after',
      `
Exits with 1 when a child has failed.

Examples:
  queue-daemon ctl status
  queue-daemon ctl status --json | jq '.processes[] | select(.children | any(.state == "failed")) | .name'`,
    )
    .action(async (name: string | undefined, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      const client = await Client.of(options);
      const status = statusOf(await client.get('/api/status'));
      const processes = name === undefined ? status.processes : [find(status, name)];
      if (processes.some(({ children }) => children.some(({ state }) => state === 'failed')))
        process.exitCode = EXIT.failure;
      if (options.json) return print(safeJson(name === undefined ? status : processes[0]));
      if (name === undefined) await print(headline(status));
      if (processes.length === 0) return note('no processes');
      const columns = columnsOf(process.stdout) ?? Infinity;
      const [header = '', ...rows] = table(HEADER, processes.flatMap(rowsOf));
      await print(header);
      for (const row of rows) await print(fit(row, columns));
    });
}

/** Errors: UNKNOWN_PROCESS. */
function find({ processes }: Status, name: string): Process {
  const found = processes.find((each) => each.name === name);
  if (found) return found;
  const known =
    processes.length === 0
      ? 'there is none at all'
      : `known: ${processes.map((each) => each.name).join(', ')}`;
  throw new QueueError('UNKNOWN_PROCESS', `no process named ${quote(name)}; ${known}`);
}

function headline({ master: { name, pid, startedAt, state } }: Status): string {
  const since = lasting(Date.now() - Date.parse(startedAt));
  return `${styled('bold', escapeControls(name))}: ${escapeControls(state)}, process ${pid}, for ${since}`;
}

const HEADER = ['process', 'kind', 'child', 'state', 'pid', 'for', 'restarts', 'memory', ''];

/** A row for each child; one that says so where there is none. */
function rowsOf({ name, kind, wanted, children }: Process): (string | number)[][] {
  if (children.length === 0)
    return [[name, kind, '', wanted === 0 ? 'none wanted' : 'none', '', '', '', '', '']];
  return children.map((child) => [
    name,
    kind,
    child.id.startsWith(`${name}#`) ? child.id.slice(name.length) : child.id,
    child.state,
    child.pid === null ? '' : String(child.pid),
    child.startedAt === null || child.pid === null ? '' : lasting(Date.now() - Date.parse(child.startedAt)),
    child.restarts,
    child.memory === null || child.pid === null ? '' : megabytes(child.memory),
    remark(child),
  ]);
}

/** What is wrong with it, or what it says of itself. */
function remark({ state, lastEnd, nextStartAt, healthy, status }: Child): string {
  const why = lastEnd?.failed ? lastEnd.why : '';
  const parts = [
    state === 'waiting' && nextStartAt !== null ? `starts ${fromNow(new Date(nextStartAt))}` : '',
    state === 'waiting' || state === 'failed' ? why : '',
    healthy === false ? 'not well' : '',
    status?.error ? `no status: ${status.error.message}` : '',
    status?.result === undefined ? '' : safeJson(status.result),
  ];
  return parts
    .filter((part) => part !== '')
    .join('; ')
    .slice(0, 200);
}
