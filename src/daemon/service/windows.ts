/**
 * Services of Windows, which needs a program between itself and Node: WinSW, configured by a file of XML, or shawl, set up
 * by commands. Neither is shipped, so what is written is for a person to use. Not tested there.
 */
import { win32 } from 'node:path';
import type { FailureAction } from '../../failure-actions.ts';
import { QueueError, quote } from '../../errors.ts';
import { commandOf, idOf, markOf, seconds, titleOf, type Plan, type Service } from './service.ts';
import { xml, xmlComment } from './xml.ts';

/** Beyond what the daemon needs to end by itself; ms. */
const STOP_MARGIN = 5000;

/** Errors: INVALID_ARGUMENT: what neither a batch file nor WinSW can hold. */
export function windowsPlan(service: Service): Plan {
  refuse(service);
  const id = idOf(service);
  const folder = join(service.stateDir, 'service');
  const path = (suffix: string): string => join(folder, id + suffix);
  return {
    init: 'windows',
    id,
    files: [
      { path: path('.xml'), mode: 0o644, content: winsw(service, id) },
      { path: path('-shawl.cmd'), mode: 0o644, content: batch(service, id) },
    ],
    others: [],
    made: [],
    enabled: [],
    disabled: [
      ['sc.exe', 'stop', id],
      ['sc.exe', 'delete', id],
    ],
    removed: [],
    unable: unableOf(service),
    next: [`${path('.exe')} install`, path('-shawl.cmd')],
  };
}

/** Paths of Windows, also where this runs elsewhere. */
function join(folder: string, name: string): string {
  return folder.startsWith('/') ? `${folder}/${name}` : win32.join(folder, name);
}

function winsw(service: Service, id: string): string {
  const { folder, account, environment, policy, patience } = service;
  const [node = '', ...run] = commandOf(service, 'run', `--service=${id}`);
  const [, ...stop] = commandOf(service, 'stop');
  const element = (name: string, text: string): string => `  <${name}>${xml(text)}</${name}>`;
  const lines = [
    element('id', id),
    element('name', titleOf(service)),
    element('description', `Runs the ${titleOf(service)}.`),
    element('executable', node),
    element('arguments', run.map(argument).join(' ')),
    element('stopexecutable', node),
    element('stoparguments', stop.map(argument).join(' ')),
    element('workingdirectory', folder),
    ...Object.entries(environment).map(
      ([name, value]) => `  <env name="${xml(name)}" value="${xml(value)}"/>`,
    ),
    ...(account === undefined
      ? []
      : [
          `  <serviceaccount>\n  ${element('username', account)}\n    <prompt>console</prompt>\n  </serviceaccount>`,
        ]),
    element('startmode', 'Automatic'),
    element('stoptimeout', `${seconds(patience + STOP_MARGIN)} sec`),
    ...policy.onFailure.map(
      ({ kind }) =>
        `  <onfailure action="${kind === 'run' ? 'none' : kind}" delay="${policy.recoveryDelay} ms"/>`,
    ),
    ...(policy.resetPeriod === 0 ? [] : [element('resetfailure', `${seconds(policy.resetPeriod)} sec`)]),
    '  <log mode="roll"/>',
  ];
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    xmlComment(markOf(service)),
    xmlComment(`For WinSW: put its program beside this file as ${id}.exe, and run "${id}.exe install".`),
    '<service>',
    ...lines,
    '</service>',
    '',
  ].join('\n');
}

function batch(service: Service, id: string): string {
  const { folder, account, environment, policy, patience } = service;
  const run = commandOf(service, 'run', `--service=${id}`);
  const variables = Object.entries(environment).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
  const commands = [
    [
      'shawl',
      'add',
      '--name',
      id,
      '--cwd',
      folder,
      ...variables,
      '--no-restart',
      '--pass',
      '0',
      '--stop-timeout',
      String(patience + STOP_MARGIN),
      '--',
      ...run,
    ].map(argument),
    ['sc', 'config', id, 'start=', 'auto', ...(account === undefined ? [] : ['obj=', argument(account)])],
    [
      'sc',
      'failure',
      id,
      'reset=',
      policy.resetPeriod === 0 ? 'INFINITE' : String(seconds(policy.resetPeriod)),
      'actions=',
      policy.onFailure.map((action) => `${SC[action.kind]}/${policy.recoveryDelay}`).join('/'),
      ...commandsOf(service)
        .slice(0, 1)
        .flatMap((command) => ['command=', inQuotes(command.map(argument).join(' '))]),
    ],
    // Else only an end without a word counts, not an exit code.
    ['sc', 'failureflag', id, '1'],
    ['sc', 'start', id],
  ];
  return [
    '@echo off',
    'rem The words below are UTF-8.',
    'chcp 65001 >nul',
    `rem ${markOf(service)}`,
    'rem For shawl: with shawl.exe in the PATH, run this as an administrator.',
    ...commands.map((words) => `${words.join(' ').replaceAll('%', '%%')} || exit /b 1`),
    '',
  ].join('\r\n');
}

const SC: Readonly<Record<FailureAction['kind'], string>> = {
  none: '""',
  restart: 'restart',
  run: 'run',
  reboot: 'reboot',
};

function commandsOf({ policy }: Service): (readonly string[])[] {
  const all = policy.onFailure.flatMap((action) => (action.kind === 'run' ? [action.command] : []));
  return [...new Map(all.map((command) => [command.join('\0'), command])).values()];
}

function unableOf(service: Service): string[] {
  const commands = commandsOf(service);
  return [
    ...(commands.length > 0
      ? ['WinSW does not run programs after a failure: "run" does nothing there; with shawl it does']
      : []),
    ...(commands.length > 1 ? ['Windows has one program for all failures: the first one is run'] : []),
    ...(service.policy.resetPeriod === 0 ? ['WinSW always counts from the first again, after a day'] : []),
  ];
}

/** A word of a command line, as Node and most programs take it apart again. There is no quote in it. */
function argument(text: string): string {
  if (/^[A-Za-z0-9._:=\\/-]+$/.test(text)) return text;
  return `"${text.replace(/\\+$/, '$&$&')}"`;
}

/**
 * A command line as one word of another. To cmd a quote behind a backslash is a quote like any other, so behind it `&` would
 * begin another command: with a caret before each, none of them means anything.
 */
function inQuotes(commandLine: string): string {
  return `"${commandLine.replaceAll('"', '\\"')}"`.replace(/["&|<>()^!]/g, '^$&');
}

/** WinSW puts variables in the place of `%NAME%`, and nothing keeps it from that; paths of Windows hold no quotes. */
function refuse(service: Service): void {
  const { node, script, options, folder, stateDir, environment } = service;
  const texts = [
    node,
    script,
    ...options,
    folder,
    stateDir,
    ...Object.values(environment),
    ...commandsOf(service).flat(),
  ];
  const bad = texts.find((text) => /["%]/.test(text));
  if (bad === undefined) return;
  throw new QueueError(
    'INVALID_ARGUMENT',
    `a service of Windows needs texts without " and %, received ${quote(bad, 300)}`,
  );
}
