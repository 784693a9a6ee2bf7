/** The files that make services: what must stand in them, and that whatever a path or value holds stays inside its place. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DOMParser } from '@xmldom/xmldom';
import { parse } from 'plist';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseFailureActions } from '../../src/failure-actions.ts';
import { warningsFor } from '../../src/daemon/service/host.ts';
import { launchdPlan } from '../../src/daemon/service/launchd.ts';
import { WORKERS, checkService, type Plan, type Service } from '../../src/daemon/service/service.ts';
import { systemdPlan } from '../../src/daemon/service/systemd.ts';
import { sysvPlan } from '../../src/daemon/service/sysv.ts';
import { windowsPlan } from '../../src/daemon/service/windows.ts';

/** All that means something to a unit, a shell, XML or a batch file. */
const HOSTILE = `it's "a" \\ $HOME \${X} $(id) \`id\` %n %% & <b> ; # --> ]]> -- ^ !x! é \u{1f41f}`;

let folder = '';
beforeAll(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-service-')));
});
afterAll(() => rmSync(folder, { recursive: true }));

function serviceOf(changes: Partial<Service> = {}, onFailure = 'restart'): Service {
  return {
    name: 'reports',
    called: changes.name ?? 'reports',
    home: '/srv/app',
    node: '/usr/bin/node',
    script: '/opt/coda/dist/bin/queue-daemon.js',
    options: ['--config=/etc/coda.ini'],
    folder: '/srv/app',
    account: 'coda',
    environment: {},
    stateDir: '/srv/app/var',
    writable: ['/srv/app', '/var/lib/queues'],
    readable: ['/etc/coda.ini'],
    policy: { onFailure: parseFailureActions(onFailure)!, recoveryDelay: 60_000, resetPeriod: 86_400_000 },
    patience: 30_000,
    stallAfter: 300_000,
    ...changes,
  };
}

const hostile = (): Service => {
  const at = join(folder, HOSTILE);
  return serviceOf({
    // Systemd starts nothing in whose path there are quotes.
    node: `${folder}/a $HOME %n & b/node`,
    script: `${at}/queue-daemon.js`,
    options: [`--config=${at}/config.ini`],
    folder: at,
    environment: { CODA_REDACT: HOSTILE },
    stateDir: `${at}/var`,
    writable: [at],
    readable: [],
  });
};

const HERE = { home: undefined, root: undefined };

function contentOf({ files }: Plan, suffix: string): string {
  const found = files.find(({ path }) => path.endsWith(suffix));
  if (!found) throw new Error(`no ${suffix}`);
  return found.content;
}

/** The values of one directive. */
function directive(unit: string, name: string): string[] {
  return unit
    .split('\n')
    .flatMap((line) => (line.startsWith(`${name}=`) ? [line.slice(name.length + 1)] : []));
}

describe('what no file could hold is refused', () => {
  test.each([
    [{ folder: '/srv/a\nb' }],
    [{ folder: '/srv/a\u0000' }],
    [{ folder: '/srv/\ud800' }],
    [{ folder: '/srv/app ' }],
    [{ folder: '/srv/app\\' }],
    [{ folder: 'srv' }],
    [{ options: ['--config=/a\u001b[31m'] }],
    [{ account: 'a b' }],
    [{ account: '%u' }],
    [{ account: '-x' }],
    [{ environment: { 'A=B': 'c' } }],
    [{ environment: { CODA_LEVEL: 'a\nExecStart=/bin/sh' } }],
  ])('%j', (changes) => {
    expect(() => checkService(serviceOf(changes))).toThrow(/a service needs/);
  });

  test('and nothing else', () => {
    expect(() => checkService(hostile())).not.toThrow();
    expect(() => checkService(serviceOf({ account: 'DOMAIN\\coda' }))).not.toThrow();
  });
});

describe('systemd', () => {
  test('the unit of a daemon says what the issue of a service is: when it is up, when it hangs, when it has failed', () => {
    const unit = contentOf(systemdPlan(serviceOf(), HERE), 'coda-reports.service');
    for (const line of [
      'Type=notify',
      'NotifyAccess=all',
      'WatchdogSec=60',
      'Restart=on-failure',
      'RestartSec=60000ms',
      'RestartPreventExitStatus=78',
      'SuccessExitStatus=143',
      'KillMode=mixed',
      'User=coda',
      'WorkingDirectory=/srv/app',
      'TimeoutStopSec=35',
      'ProtectSystem=strict',
      'CapabilityBoundingSet=',
      'SystemCallFilter=@system-service @pkey',
      'ReadWritePaths=-/srv/app -/var/lib/queues',
      'WantedBy=multi-user.target',
      'ExecStart=/usr/bin/node /opt/coda/dist/bin/queue-daemon.js run --service=coda-reports.service --config=/etc/coda.ini -- reports',
      'ExecReload=/usr/bin/node /opt/coda/dist/bin/queue-daemon.js reload --config=/etc/coda.ini -- reports',
    ])
      expect(unit.split('\n')).toContain(line);
    // Node dies of it.
    expect(unit).not.toContain('MemoryDenyWriteExecute');
  });

  test('each word is handed over as it is', () => {
    const script = `/a "b" \\ c's $HOME %n/d.js`;
    const unit = contentOf(
      systemdPlan(serviceOf({ script, options: ['a;b', ';'] }), HERE),
      'reports.service',
    );
    expect(directive(unit, 'ExecReload')).toEqual([
      String.raw`/usr/bin/node "/a \"b\" \\ c's $$HOME %%n/d.js" reload "a;b" ";" -- reports`,
    ]);
  });

  test('the watchdog follows a shorter stallAfter, within bounds', () => {
    const of = (stallAfter: number) =>
      directive(contentOf(systemdPlan(serviceOf({ stallAfter }), HERE), 'reports.service'), 'WatchdogSec');
    expect([of(1000), of(20_000), of(1e9)]).toEqual([['5'], ['20'], ['60']]);
  });

  test.each([
    ['restart', ['on-failure'], ['0'], []],
    ['restart, restart, none', ['on-failure'], ['86400'], ['3']],
    ['restart, none', ['on-failure'], ['86400'], ['2']],
    ['none', ['no'], ['0'], []],
  ])('%s: so many starts', (onFailure, restart, interval, burst) => {
    const unit = contentOf(systemdPlan(serviceOf({}, onFailure), HERE), 'reports.service');
    expect(directive(unit, 'Restart')).toEqual(restart);
    expect(directive(unit, 'StartLimitIntervalSec')).toEqual(interval);
    expect(directive(unit, 'StartLimitBurst')).toEqual(burst);
  });

  test('what is to be run after the last restart is a unit of its own; what cannot be had is said', () => {
    const plan = systemdPlan(serviceOf({}, 'restart, run /bin/page "a b" $X %n'), HERE);
    expect(directive(contentOf(plan, 'reports.service'), 'OnFailure')).toEqual([
      'coda.failure-reports.service',
    ]);
    expect(directive(contentOf(plan, 'failure-reports.service'), 'ExecStart')).toEqual([
      '/bin/page "a b" "$$X" %%n',
    ]);
    const others = systemdPlan(serviceOf({}, 'restart, none, restart'), HERE);
    expect(others.unable[0]).toMatch(/what follows on "none" is left out/);
    expect(others.others).toEqual(['/etc/systemd/system/coda.failure-reports.service']);
    expect(systemdPlan(serviceOf({}, 'reboot'), HERE).unable[0]).toMatch(/Windows only/);
  });

  test('a home stays readable where something lies in it, and /tmp is shared only where something lies there', () => {
    const of = (folder: string) => {
      const unit = contentOf(systemdPlan(serviceOf({ folder, writable: [folder] }), HERE), 'reports.service');
      return [...directive(unit, 'ProtectHome'), ...directive(unit, 'PrivateTmp')];
    };
    expect(of('/srv/app')).toEqual(['yes', 'yes']);
    expect(of('/home/ada/app')).toEqual(['read-only', 'yes']);
    expect(of('/tmp/app')).toEqual(['yes']);
  });

  test('root keeps its capabilities, for it could not even read the files of others', () => {
    const unit = contentOf(systemdPlan(serviceOf({ account: 'root' }), HERE), 'reports.service');
    expect(directive(unit, 'CapabilityBoundingSet')).toEqual([]);
  });

  test('a timer has all daemons checked, and what it starts outlives the check', () => {
    const plan = systemdPlan(serviceOf(), HERE);
    expect(contentOf(plan, 'verify-reports.timer')).toContain('OnUnitInactiveSec=1min');
    expect(directive(contentOf(plan, 'verify-reports.service'), 'ExecStart')).toEqual([
      '/usr/bin/node /opt/coda/dist/bin/queue-daemon.js verify --all --revive --config=/etc/coda.ini',
    ]);
    expect(directive(contentOf(plan, 'verify-reports.service'), 'KillMode')).toEqual(['process']);
  });

  test('the template of workers runs one per instance', () => {
    const plan = systemdPlan(
      serviceOf({ name: WORKERS, script: '/opt/coda/dist/bin/queue-worker.js' }),
      HERE,
    );
    expect(plan.files.map(({ path }) => path)).toEqual(['/etc/systemd/system/coda-worker@.service']);
    const unit = contentOf(plan, 'worker@.service');
    expect(directive(unit, 'ExecStart')).toEqual([
      '/usr/bin/node /opt/coda/dist/bin/queue-worker.js --config=/etc/coda.ini -- %i',
    ]);
    expect(directive(unit, 'Type')).toEqual(['exec']);
  });

  test('commands: for the system, for an account, and for one that does not run', () => {
    expect(systemdPlan(serviceOf(), HERE)).toMatchObject({
      made: [['systemctl', 'daemon-reload']],
      enabled: [['systemctl', 'enable', '--now', 'coda-reports.service']],
    });
    const own = systemdPlan(serviceOf(), { home: '/home/ada', root: undefined });
    expect(own.files[0]?.path).toBe('/home/ada/.config/systemd/user/coda-reports.service');
    expect(own.enabled).toEqual([['systemctl', '--user', 'enable', '--now', 'coda-reports.service']]);
    expect(contentOf(own, 'reports.service')).not.toMatch(
      /^(User|ProtectSystem|PrivateDevices|CapabilityBoundingSet)=/m,
    );
    expect(systemdPlan(serviceOf(), { home: undefined, root: '/image' })).toMatchObject({
      made: [],
      enabled: [['systemctl', '--root=/image', 'enable', 'coda-reports.service']],
    });
  });

  describe.skipIf(!isThere('systemd-analyze'))('as systemd-analyze sees it', () => {
    test.each([
      ['plain', () => serviceOf()],
      ['hostile', hostile],
      ['workers', () => serviceOf({ name: WORKERS })],
      ['an account of its own', () => ({ ...serviceOf(), own: true })],
      ['with a limit and an alarm', () => serviceOf({}, 'restart, restart, run /bin/true')],
    ])('%s: nothing is wrong, to the word', (title, make) => {
      const service = make() as Service & { own?: true };
      const home = service.own ? join(folder, 'home') : undefined;
      // The programs and the folder must be there.
      const { node, script } = hostile();
      for (const path of [node, script]) mkdirSync(dirname(path), { recursive: true });
      writeFileSync(node, '#!/bin/sh\n', { mode: 0o755 });
      writeFileSync(script, '');
      const there = title === 'hostile' ? service : { ...service, folder, node, script, account: 'daemon' };
      const units = join(folder, `units-${title}`);
      mkdirSync(units, { recursive: true });
      const { files } = systemdPlan({ ...there, account: 'daemon' }, { home, root: undefined });
      const paths = files.map(({ path, content }) => {
        const at = join(units, path.split('/').at(-1) ?? '');
        writeFileSync(at, content);
        return at;
      });
      for (const path of paths) {
        // A template is looked at as one of its instances.
        const args = [...(service.own ? ['--user'] : []), 'verify', path.replace('@.', '@x.')];
        const { status, stderr } = spawnSync('systemd-analyze', args, {
          encoding: 'utf8',
          cwd: units,
          env: { ...process.env, XDG_RUNTIME_DIR: folder },
        });
        expect([status, stderr]).toEqual([0, '']);
      }
    });

    test('a program that it would not start is refused', () => {
      expect(() => systemdPlan(serviceOf({ node: "/srv/it's/node" }), HERE)).toThrow(/holds a quote/);
      const alarm = serviceOf({}, 'run /srv/a\\b');
      expect(() => systemdPlan(alarm, HERE)).toThrow(/holds a quote or a backslash/);
    });

    test('it is exposed little', () => {
      const unit = join(folder, 'coda-exposed.service');
      writeFileSync(unit, contentOf(systemdPlan(serviceOf(), HERE), 'reports.service'));
      const { stdout } = spawnSync('systemd-analyze', ['security', '--offline=true', '--no-pager', unit], {
        encoding: 'utf8',
      });
      const [, exposure] = /exposure level for \S+: ([\d.]+)/.exec(stdout) ?? [];
      expect(Number(exposure)).toBeLessThan(3);
    });
  });
});

describe('init scripts', () => {
  test('have the header of the standard, and the line of chkconfig', () => {
    const [file] = sysvPlan(serviceOf(), { linker: 'update-rc.d', root: undefined }).files;
    expect(file).toMatchObject({ path: '/etc/init.d/coda-reports', mode: 0o755 });
    expect(file?.content).toMatch(/^#!\/bin\/sh\n/);
    expect(file?.content).toContain('\n# chkconfig: 2345 95 05\n# description: Coda daemon reports\n');
    expect(file?.content).toMatch(/### BEGIN INIT INFO\n# Provides: +coda-reports\n[^]*\n### END INIT INFO/);
  });

  test('are linked by what the system has', () => {
    const debian = sysvPlan(serviceOf(), { linker: 'update-rc.d', root: undefined });
    expect(debian.enabled[0]).toEqual(['update-rc.d', 'coda-reports', 'defaults']);
    expect(debian.removed).toEqual([['update-rc.d', 'coda-reports', 'remove']]);
    const redHat = sysvPlan(serviceOf(), { linker: 'chkconfig', root: undefined });
    expect(redHat.enabled[0]).toEqual(['chkconfig', '--add', 'coda-reports']);
    expect(redHat.disabled.at(-1)).toEqual(['chkconfig', '--del', 'coda-reports']);
  });

  test.each(['sh', 'dash', 'bash'].filter(isThere))('%s takes them, whatever they hold', (shell) => {
    const path = join(folder, 'script');
    for (const service of [serviceOf(), hostile()]) {
      writeFileSync(path, sysvPlan(service, { linker: undefined, root: undefined }).files[0]?.content ?? '');
      expect(spawnSync(shell, ['-n', path], { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
    }
  });

  test('hand each word over as it is', () => {
    const service = { ...hostile(), node: '/bin/echo' };
    const { content } = sysvPlan(service, { linker: undefined, root: undefined }).files[0]!;
    const upTo = content.slice(0, content.indexOf('# Local settings'));
    const shown = execFileSync(
      'sh',
      ['-c', `${upTo}\nprintf '%s\\n' "$node" "$script" "$folder" "$CODA_REDACT"`],
      { encoding: 'utf8' },
    );
    expect(shown.split('\n').slice(0, 4)).toEqual(['/bin/echo', service.script, service.folder, HOSTILE]);
  });
});

describe('launchd', () => {
  test('the property list says what it is to say, whatever the words hold', () => {
    const service = hostile();
    const plan = launchdPlan(service, { agent: undefined, root: undefined });
    expect(plan.files[0]?.path).toBe('/Library/LaunchDaemons/coda-reports.plist');
    expect(parse(plan.files[0]?.content ?? '')).toEqual({
      Label: 'coda-reports',
      ProgramArguments: [
        service.node,
        service.script,
        'run',
        '--service=coda-reports',
        ...service.options,
        '--',
        'reports',
      ],
      WorkingDirectory: service.folder,
      UserName: 'coda',
      EnvironmentVariables: { CODA_REDACT: HOSTILE },
      RunAtLoad: true,
      KeepAlive: { SuccessfulExit: false },
      ThrottleInterval: 60,
      ExitTimeOut: 35,
      StandardOutPath: `${service.stateDir}/reports.out`,
      StandardErrorPath: `${service.stateDir}/reports.out`,
    });
    expectWellFormed(plan.files[0]?.content ?? '');
  });

  test('an agent belongs to the account that is logged in', () => {
    const plan = launchdPlan(serviceOf(), { agent: { home: '/Users/ada', uid: 501 }, root: undefined });
    expect(plan.files[0]?.path).toBe('/Users/ada/Library/LaunchAgents/coda-reports.plist');
    expect(plan.enabled[1]).toEqual(['launchctl', 'bootstrap', 'gui/501', plan.files[0]?.path]);
    expect(parse(plan.files[0]?.content ?? '')).not.toHaveProperty('UserName');
  });

  test('what it cannot do is said', () => {
    const of = (onFailure: string) =>
      launchdPlan(serviceOf({}, onFailure), { agent: undefined, root: undefined });
    expect(of('restart, none').unable[0]).toMatch(/never goes over to "none"/);
    expect(of('none').unable).toEqual([]);
    expect(parse(contentOf(of('none'), '.plist'))).toMatchObject({ KeepAlive: false });
  });
});

describe('Windows', () => {
  const windows = (changes: Partial<Service> = {}, onFailure = 'restart'): Service =>
    serviceOf(
      {
        node: 'C:\\Program Files\\nodejs\\node.exe',
        script: 'C:\\coda\\bin\\queue-daemon.js',
        options: ['--config=C:\\my app\\config.ini'],
        folder: 'C:\\my app & co\\',
        stateDir: 'C:\\my app\\var',
        writable: [],
        readable: [],
        account: undefined,
        ...changes,
      },
      onFailure,
    );

  test('the file for WinSW is XML, and has the policy', () => {
    const plan = windowsPlan(windows({}, 'restart, restart, reboot'));
    const file = contentOf(plan, 'coda-reports.xml');
    const document = expectWellFormed(file);
    const text = (name: string) => document.getElementsByTagName(name).item(0)?.textContent;
    expect(text('executable')).toBe('C:\\Program Files\\nodejs\\node.exe');
    expect(text('arguments')).toBe(
      'C:\\coda\\bin\\queue-daemon.js run --service=coda-reports "--config=C:\\my app\\config.ini" -- reports',
    );
    expect(text('workingdirectory')).toBe('C:\\my app & co\\');
    expect(file.match(/<onfailure action="\w+"/g)).toEqual([
      '<onfailure action="restart"',
      '<onfailure action="restart"',
      '<onfailure action="reboot"',
    ]);
    expect(text('resetfailure')).toBe('86400 sec');
  });

  test('the commands for shawl tell the system what to do after a failure', () => {
    const file = contentOf(windowsPlan(windows({}, 'restart, run C:\\page.exe "a b", none')), '-shawl.cmd');
    const lines = file.split('\r\n');
    expect(lines).toContain(
      'sc failure coda-reports reset= 86400 actions= restart/60000/run/60000/""/60000 command= ^"C:\\page.exe \\^"a b\\^"^" || exit /b 1',
    );
    expect(lines).toContain('sc failureflag coda-reports 1 || exit /b 1');
    expect(lines.find((line) => line.startsWith('shawl add'))).toContain('--cwd "C:\\my app & co\\\\" ');
  });

  test('nothing in a program that is to be run ends the command it stands in', () => {
    const program = 'C:\\a & b\\page.exe';
    const policy = `run "${program}" "x | y > z" "^(a)!" c&d`;
    const file = contentOf(windowsPlan(windows({}, policy)), '-shawl.cmd');
    const line = file.split('\r\n').find((each) => each.startsWith('sc failure '));
    const given = /command= (.*) \|\| exit \/b 1$/.exec(line ?? '')?.[1] ?? '';
    // As cmd reads it: what has a caret before it is itself; no quote, nor anything else that means something, has none.
    expect(given.replace(/\^./g, '')).not.toMatch(/["&|<>()^!]/);
    const handed = given.replace(/\^(.)/g, '$1');
    // As sc reads it: one word.
    const [, command = ''] = /^"(.*)"$/.exec(handed) ?? [];
    expect(command.replaceAll('\\"', '"')).toBe(`"${program}" "x | y > z" "^(a)!" "c&d"`);
  });

  test('what neither can hold is refused', () => {
    expect(() => windowsPlan(windows({ folder: 'C:\\100%' }))).toThrow(/without " and %/);
  });
});

test('version managers, a cache and root are warned of', () => {
  const of = (node: string, script = '/opt/coda.js', account = 'coda') =>
    warningsFor({ node, script, account, isOwn: false }).join('\n');
  expect(of('/usr/bin/node')).toBe('');
  for (const [node, name] of [
    ['/home/ada/.nvm/versions/node/v20.19.0/bin/node', 'nvm'],
    ['/home/ada/.local/share/fnm/node-versions/v20.19.0/installation/bin/node', 'fnm'],
    ['/home/ada/.volta/tools/image/node/20.19.0/bin/node', 'volta'],
    ['/home/ada/.asdf/installs/nodejs/20.19.0/bin/node', 'asdf'],
    ['/usr/local/n/versions/node/20.19.0/bin/node', 'n'],
    ['/home/ada/.local/share/mise/installs/node/20/bin/node', 'mise'],
  ] as const)
    expect(of(node)).toMatch(new RegExp(`belongs to ${name}:`));
  expect(of('/usr/bin/node', '/root/.npm/_npx/12/node_modules/coda-queue/dist/bin/queue-daemon.js')).toMatch(
    /npx/,
  );
  expect(of('/usr/bin/node', '/opt/coda.js', 'root')).toMatch(/runs as root/);
});

function expectWellFormed(text: string) {
  const document = new DOMParser({
    onError: (_, message) => expect.fail(message),
  }).parseFromString(text, 'text/xml');
  return document;
}

function isThere(program: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
}
