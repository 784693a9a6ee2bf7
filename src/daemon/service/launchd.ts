/** Services of macOS: a daemon of the system, or an agent of the account that is logged in. Not tested there. */
import { join, posix } from 'node:path';
import { restartsOf } from '../recovery.ts';
import { commandOf, idOf, markOf, seconds, type Plan, type Service } from './service.ts';
import { xml, xmlComment } from './xml.ts';

export interface LaunchdPlace {
  /** Of the account whose agent it is; undefined: it is the system's. */
  agent: { home: string; uid: number } | undefined;
  /** Another system's files, which does not run now. */
  root: string | undefined;
}

/** Beyond what the daemon needs to end by itself; ms. */
const STOP_MARGIN = 5000;

export function launchdPlan(service: Service, { agent, root }: LaunchdPlace): Plan {
  const id = idOf(service);
  const folder = agent ? join(agent.home, 'Library/LaunchAgents') : '/Library/LaunchDaemons';
  const path = posix.join(folder, `${id}.plist`);
  const domain = agent ? `gui/${agent.uid}` : 'system';
  const runs = root === undefined;
  const start = ['launchctl', 'bootstrap', domain, path];
  return {
    init: 'launchd',
    id,
    files: [{ path, mode: 0o644, content: plist(service, id, agent !== undefined) }],
    others: [],
    made: [],
    enabled: runs ? [['launchctl', 'enable', `${domain}/${id}`], start] : [],
    disabled: runs ? [['launchctl', 'bootout', `${domain}/${id}`]] : [],
    removed: [],
    unable: unableOf(service),
    next: [start.join(' ')],
  };
}

function plist(service: Service, id: string, isAgent: boolean): string {
  const { account, environment, folder, stateDir, name, policy, patience } = service;
  const { count } = restartsOf(policy);
  const output = posix.join(stateDir, `${name}.out`);
  const entries: [string, Value][] = [
    ['Label', id],
    ['ProgramArguments', commandOf(service, 'run', `--service=${id}`)],
    ['WorkingDirectory', folder],
    ...(account === undefined || isAgent ? [] : [['UserName', account] as [string, Value]]),
    ['EnvironmentVariables', environment],
    ['RunAtLoad', true],
    ['KeepAlive', count === 0 ? false : { SuccessfulExit: false }],
    // Also of the first start, which it does not delay.
    ['ThrottleInterval', Math.max(1, seconds(policy.recoveryDelay))],
    ['ExitTimeOut', seconds(patience + STOP_MARGIN)],
    ['StandardOutPath', output],
    ['StandardErrorPath', output],
  ];
  return `<?xml version="1.0" encoding="UTF-8"?>
${xmlComment(markOf(service))}
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
${valueOf(Object.fromEntries(entries), '')}
</plist>
`;
}

type Value = string | number | boolean | readonly string[] | Readonly<Record<string, unknown>>;

function valueOf(value: unknown, indent: string): string {
  if (typeof value === 'boolean') return `${indent}<${value}/>`;
  if (typeof value === 'number') return `${indent}<integer>${value}</integer>`;
  if (Array.isArray(value)) {
    const items = value.map((item) => valueOf(item, `${indent}  `));
    return [`${indent}<array>`, ...items, `${indent}</array>`].join('\n');
  }
  if (typeof value === 'object' && value !== null) {
    const items = Object.entries(value).map(
      ([key, item]) => `${indent}  <key>${xml(key)}</key>\n${valueOf(item, `${indent}  `)}`,
    );
    return [`${indent}<dict>`, ...items, `${indent}</dict>`].join('\n');
  }
  return `${indent}<string>${xml(String(value))}</string>`;
}

function unableOf({ policy }: Service): string[] {
  const { count, afterwards } = restartsOf(policy);
  return [
    ...(Number.isFinite(count) && count > 0
      ? [`launchd starts it again each time, and never goes over to "${afterwards.kind}"`]
      : []),
    ...(count === 0 && afterwards.kind !== 'none'
      ? [`launchd does not know "${afterwards.kind}": nothing is done after a failure`]
      : []),
    ...(count > 0 ? ['launchd starts it again with a wrong configuration too (exit code 78)'] : []),
  ];
}
