/** Services of systemd, of the system or of an account. Units as of systemd 240 and later; proven with 252. */
import { join } from 'node:path';
import { QueueError, quote } from '../../errors.ts';
import { restartsOf } from '../recovery.ts';
import {
  WORKERS,
  besideOf,
  commandOf,
  idOf,
  markOf,
  seconds,
  titleOf,
  type Plan,
  type Service,
  type ServiceFile,
} from './service.ts';

export interface SystemdPlace {
  /** The home of the account whose own services these are; undefined: they are the system's. */
  home: string | undefined;
  /** Another system's files, which does not run now. */
  root: string | undefined;
}

/** Beyond what the daemon needs to end by itself; ms. */
const STOP_MARGIN = 5000;
/** As long as a daemon is heard of, it says so three times within this; ms. */
const LONGEST_WATCHDOG = 60_000;
const SHORTEST_WATCHDOG = 5000;
/** Of the timer: the verb starts what is not as it should be. */
const VERIFY = ['verify', '--all', '--revive'];

/** Errors: INVALID_ARGUMENT: the path of a program that systemd does not start. */
export function systemdPlan(service: Service, { home, root }: SystemdPlace): Plan {
  const folder = home === undefined ? '/etc/systemd/system' : join(home, '.config/systemd/user');
  const isOwn = home !== undefined;
  const id = `${idOf(service)}.service`;
  const control = [
    'systemctl',
    ...(isOwn ? ['--user'] : []),
    ...(root === undefined ? [] : [`--root=${root}`]),
  ];
  const runs = root === undefined;
  const now = runs ? ['--now'] : [];
  const file = (name: string, lines: string[]): ServiceFile => ({
    path: join(folder, name),
    mode: 0o644,
    content: [
      `# ${markOf(service)}`,
      '# What is to be different belongs in a file of its own: systemctl edit.',
      ...lines,
      '',
    ].join('\n'),
  });
  const isTemplate = service.name === WORKERS;
  const verify = besideOf(service, 'verify');
  const failure = `${besideOf(service, 'failure')}.service`;
  const alarm = alarmOf(service);
  for (const program of [service.node, ...(alarm?.slice(0, 1) ?? [])]) checkProgram(program);
  const files = [file(id, unitOf(service, isOwn, alarm && failure))];
  if (alarm) files.push(file(failure, alarmUnit(service, alarm, isOwn)));
  if (!isTemplate) {
    files.push(file(`${verify}.service`, verifyUnit(service, isOwn)), file(`${verify}.timer`, TIMER));
  }
  const own = isTemplate ? [id] : [id, `${verify}.timer`];
  return {
    init: isOwn ? 'systemd-user' : 'systemd',
    id,
    files,
    others: alarm ? [] : [join(folder, failure)],
    made: runs ? [[...control, 'daemon-reload']] : [],
    enabled: isTemplate ? [] : [[...control, 'enable', ...now, id]],
    disabled: [
      ...(isTemplate && runs ? [[...control, 'stop', `${idOf(service)}*.service`]] : []),
      [...control, 'disable', ...(isTemplate ? [] : now), ...own],
    ],
    removed: runs ? [[...control, 'daemon-reload']] : [],
    unable: unableOf(service),
    next: isTemplate
      ? [`${control.join(' ')} enable ${now.join(' ')} ${idOf(service)}<type>`]
      : [`${control.join(' ')} enable ${[...now, id].join(' ')}`],
  };
}

function unitOf(service: Service, isOwn: boolean, failure: string | undefined): string[] {
  const { policy, stallAfter, patience } = service;
  const isTemplate = service.name === WORKERS;
  const { count } = restartsOf(policy);
  const interval = policy.resetPeriod === 0 ? 'infinity' : String(seconds(policy.resetPeriod));
  const watchdog = Math.min(LONGEST_WATCHDOG, Math.max(SHORTEST_WATCHDOG, stallAfter));
  return [
    '[Unit]',
    `Description=${titleOf(service)}`,
    ...(isOwn ? [] : ['After=network.target']),
    `RequiresMountsFor=${list([...mountsOf(service)])}`,
    ...(Number.isFinite(count) && count > 0
      ? [
          '# So many starts in so many seconds; then it has failed.',
          `StartLimitIntervalSec=${interval}`,
          `StartLimitBurst=${count + 1}`,
        ]
      : ['StartLimitIntervalSec=0']),
    ...(failure === undefined ? [] : [`OnFailure=${failure}`]),
    '',
    '[Service]',
    ...(isTemplate
      ? ['Type=exec', `ExecStart=${execLine(commandOf(service).slice(0, -1))} %i`]
      : [
          'Type=notify',
          // systemd-notify speaks for the daemon.
          'NotifyAccess=all',
          `ExecStart=${execLine(commandOf(service, 'run', `--service=${idOf(service)}.service`))}`,
          `ExecReload=${execLine(commandOf(service, 'reload'))}`,
          `WatchdogSec=${seconds(watchdog)}`,
          `TimeoutStartSec=${seconds(Math.max(stallAfter, 90_000))}`,
        ]),
    ...placeOf(service, isOwn),
    '',
    ...(count === 0
      ? ['Restart=no']
      : [
          'Restart=on-failure',
          `RestartSec=${policy.recoveryDelay}ms`,
          '# 78: the configuration is wrong, and would be the next time too.',
          'RestartPreventExitStatus=78',
        ]),
    'SuccessExitStatus=143',
    `TimeoutStopSec=${seconds(patience + STOP_MARGIN)}`,
    '# The daemon ends what it has started; what it leaves behind is killed.',
    'KillMode=mixed',
    '',
    ...hardening(service, isOwn),
    '',
    '[Install]',
    `WantedBy=${isOwn ? 'default' : 'multi-user'}.target`,
  ];
}

function verifyUnit(service: Service, isOwn: boolean): string[] {
  return [
    '[Unit]',
    `Description=Check of the daemons beside ${titleOf(service)}`,
    '',
    '[Service]',
    'Type=oneshot',
    `ExecStart=${execLine(commandOf(service, ...VERIFY).slice(0, -2))}`,
    ...placeOf(service, isOwn),
    '# What it starts goes on when it has ended.',
    'KillMode=process',
    'NoNewPrivileges=yes',
  ];
}

const TIMER = [
  '[Unit]',
  'Description=Check of the Coda daemons, every minute',
  '',
  '[Timer]',
  'OnActiveSec=1min',
  'OnUnitInactiveSec=1min',
  'AccuracySec=10s',
  '',
  '[Install]',
  'WantedBy=timers.target',
];

/** What is to be run when no more restarts come. */
function alarmOf({ policy }: Service): readonly string[] | undefined {
  const { afterwards } = restartsOf(policy);
  return afterwards.kind === 'run' ? afterwards.command : undefined;
}

function alarmUnit(service: Service, command: readonly string[], isOwn: boolean): string[] {
  return [
    '[Unit]',
    `Description=What follows on failures of ${titleOf(service).replace('worker %i', 'workers')}`,
    '',
    '[Service]',
    'Type=oneshot',
    `ExecStart=${execLine(command)}`,
    ...placeOf(service, isOwn),
  ];
}

function unableOf({ policy }: Service): string[] {
  const { count, afterwards, goesOn } = restartsOf(policy);
  return [
    ...(goesOn
      ? [
          `systemd gives up with the first action that is no restart: what follows on "${afterwards.kind}" is left out`,
        ]
      : []),
    ...(afterwards.kind === 'reboot' ? ['"reboot" is for Windows only: nothing is done in its place'] : []),
    ...(Number.isFinite(count) && count > 0
      ? [
          'systemd counts starts, those by hand too, and from the first of them: "systemctl reset-failed" begins anew',
        ]
      : []),
  ];
}

/** Where and as whom. */
function placeOf({ folder, account, environment, called }: Service, isOwn: boolean): string[] {
  const variables = Object.entries(environment).map(
    ([key, value]) => `Environment=${word(`${key}=${value}`)}`,
  );
  const file = `${called}.env`;
  return [
    ...(account === undefined || isOwn ? [] : [`User=${account}`]),
    // Held to the end of the line, without quotes.
    `WorkingDirectory=${specifiers(folder)}`,
    ...variables,
    `EnvironmentFile=-${isOwn ? '%E/coda' : '/etc/coda'}/${file}`,
  ];
}

/** What Node survives: it dies without memory that is writable and executable, and where pkey_alloc is not allowed. */
function hardening(service: Service, isOwn: boolean): string[] {
  const calls = [
    'NoNewPrivileges=yes',
    'LockPersonality=yes',
    'RestrictRealtime=yes',
    'RestrictSUIDSGID=yes',
    'RestrictNamespaces=yes',
    'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK',
    'SystemCallArchitectures=native',
    'SystemCallFilter=@system-service @pkey',
  ];
  // The rest needs rights that the systemd of an account does not have.
  if (isOwn) return calls;
  const paths = [...mountsOf(service)];
  const isBelow = (...folders: string[]): boolean =>
    paths.some((path) => folders.some((folder) => path === folder || path.startsWith(`${folder}/`)));
  const isInTmp = isBelow('/tmp', '/var/tmp');
  const writable = isInTmp ? [...service.writable, '/tmp', '/var/tmp'] : service.writable;
  const isRoot = service.account === undefined || service.account === 'root';
  return [
    ...calls,
    // Root without them could not even read what belongs to others.
    ...(isRoot ? [] : ['CapabilityBoundingSet=']),
    'ProtectSystem=strict',
    `ReadWritePaths=${list(writable.map((path) => `-${path}`))}`,
    `ProtectHome=${isBelow('/home', '/root', '/run/user') ? 'read-only' : 'yes'}`,
    ...(isInTmp ? [] : ['PrivateTmp=yes']),
    'PrivateDevices=yes',
    'ProtectClock=yes',
    'ProtectControlGroups=yes',
    'ProtectHostname=yes',
    'ProtectKernelLogs=yes',
    'ProtectKernelModules=yes',
    'ProtectKernelTunables=yes',
  ];
}

function mountsOf({ node, script, folder, stateDir, writable, readable }: Service): Set<string> {
  return new Set([folder, stateDir, ...writable, ...readable, node, script]);
}

/** However it is written down. */
function checkProgram(path: string): void {
  if (!/["'\\]/.test(path)) return;
  throw new QueueError(
    'INVALID_ARGUMENT',
    `systemd starts no program whose path holds a quote or a backslash, received ${quote(path, 300)}`,
  );
}

/** The first word is a path and knows no variables; in the others `$` would begin one. */
function execLine([program = '', ...rest]: readonly string[]): string {
  return [word(program), ...rest.map((each) => word(each.replaceAll('$', '$$$$')))].join(' ');
}

function list(paths: readonly string[]): string {
  return paths.map(word).join(' ');
}

/** As systemd.syntax(7) has it. */
function word(text: string): string {
  const escaped = specifiers(text).replaceAll('\\', '\\\\').replaceAll('"', '\\"');
  return /^[A-Za-z0-9@%_=:.,/+-]+$/.test(text) ? escaped : `"${escaped}"`;
}

/** See systemd.unit(5). */
function specifiers(text: string): string {
  return text.replaceAll('%', '%%');
}
