/** `queue-daemon install` and `uninstall`, into a folder that stands for the system; and the init script, run as it would be there. */
import { execFile, spawnSync } from 'node:child_process';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { describe, expect } from 'vitest';
import type { Ended } from '../cli/commands.ts';
import { until } from '../processes/stage.ts';
import { yardTest as test, type Yard } from '../processes/yard.ts';

const IDLE = 'executeStart() {} getSleepTime() { return 3600; }';
/** An account that is everywhere, with another number on each system. */
const DAEMON = Number(spawnSync('id', ['-u', 'daemon'], { encoding: 'utf8' }).stdout);
const isRoot = process.getuid?.() === 0;

interface InstalledFile {
  path: string;
  mode: string | null;
  content: string | null;
  commands: string[][];
}
type StepBack = { remove: string } | { command: string[] };

const rootOf = (yard: Yard): string => join(yard.folder, 'root');

async function installed(yard: Yard, ...args: string[]): Promise<InstalledFile[]> {
  const said = await yard.does('install', 'idle', ...args, '--root', rootOf(yard), '--json');
  return JSON.parse(said) as InstalledFile[];
}

async function stepsBack(yard: Yard, ...args: string[]): Promise<StepBack[]> {
  const said = await yard.does('uninstall', 'idle', ...args, '--root', rootOf(yard), '--json');
  return JSON.parse(said) as StepBack[];
}

/** Every file below a folder, with its mode and contents. */
function files(folder: string): Record<string, [mode: string, content: string]> {
  if (!existsSync(folder)) return {};
  const found = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  return Object.fromEntries(
    found.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      const mode = (statSync(path).mode & 0o7777).toString(8).padStart(4, '0');
      return [path, [mode, readFileSync(path, 'utf8')]];
    }),
  );
}

describe.each(['systemd', 'systemd-user', 'sysv', 'launchd', 'windows'])('%s', (init) => {
  test('a dry run says to the byte what install writes; uninstall removes all of it, and nothing else', async ({
    yard,
  }) => {
    yard.daemon('idle', IDLE);
    const planned = await installed(yard, '--init', init, '--dry-run');
    expect(files(rootOf(yard))).toEqual({});

    expect(await installed(yard, '--init', init)).toEqual(planned);
    const written = planned.map(({ path, mode, content }) => [path, [mode, content]] as const);
    expect(written.length).toBeGreaterThan(0);
    expect(files(rootOf(yard))).toEqual(Object.fromEntries(written));

    const again = files(rootOf(yard));
    await installed(yard, '--init', init);
    expect(files(rootOf(yard))).toEqual(again);

    const neighbour = join(dirname(written[0]?.[0] ?? ''), 'another');
    writeFileSync(neighbour, '');
    const back = await stepsBack(yard, '--init', init, '--dry-run');
    expect(back.flatMap((step) => ('remove' in step ? [step.remove] : [])).sort()).toEqual(
      written.map(([path]) => path).sort(),
    );
    await yard.does('uninstall', 'idle', '--init', init, '--root', rootOf(yard));
    expect(Object.keys(files(rootOf(yard)))).toEqual([neighbour]);
    const { code, stderr } = await yard.verb('uninstall', 'idle', '--init', init, '--root', rootOf(yard));
    expect([code, stderr]).toEqual([0, `idle: not installed as a service of ${init}\n`]);
  });
});

test('paths, the configuration in force and the environment are those of the caller; secrets stay out', async ({
  yard,
}) => {
  yard.daemon('idle', IDLE);
  yard.bench.file('other.ini', '[daemon]\nstateDir = state\n');
  const env = {
    CODA_CONCURRENCY: '7',
    CODA_HTTP_SECRET: 'geheim',
    CODA_HTTP_URL: 'https://u:geheim@x.example',
  };
  const args = ['install', 'idle', '--init', 'systemd', '--config', 'other.ini', '--dry-run', '--json'];
  const { stdout, stderr, code } = await yard.bench.run('queue-daemon', args, '', env);
  expect(code).toBe(0);
  expect(stdout + stderr).not.toContain('geheim');
  expect(stderr).toMatch(/CODA_HTTP_SECRET is a secret/);
  const [unit] = JSON.parse(stdout) as { content: string }[];
  expect(unit?.content).toContain(`--config=${yard.folder}/other.ini`);
  expect(unit?.content).toContain(`\nWorkingDirectory=${yard.folder}\n`);
  expect(unit?.content).toContain('\nEnvironment=CODA_CONCURRENCY=7\n');
  expect(unit?.content).toContain(process.execPath);
});

test('who asks for JSON gets files and nothing else in the list, and with the last of them the commands', async ({
  yard,
}) => {
  yard.daemon('idle', IDLE);
  const args = [
    'install',
    'idle',
    '--init',
    'systemd',
    '--user',
    'daemon',
    '--enable',
    '--dry-run',
    '--json',
  ];
  const planned = JSON.parse(await yard.does(...args)) as InstalledFile[];
  for (const { path, content } of planned)
    expect([isAbsolute(path), typeof content]).toEqual([true, 'string']);
  expect(planned.map(({ path }) => basename(path))).toEqual([
    'coda-idle.service',
    'coda.verify-idle.service',
    'coda.verify-idle.timer',
  ]);
  expect(planned.map(({ commands }) => commands)).toEqual([
    [],
    [],
    [
      ['systemctl', 'daemon-reload'],
      ['systemctl', 'enable', '--now', 'coda-idle.service'],
    ],
  ]);
});

test('what was not written by install is not overwritten, and not removed', async ({ yard }) => {
  yard.daemon('idle', IDLE);
  const folder = join(rootOf(yard), 'etc/systemd/system');
  mkdirSync(folder, { recursive: true });
  const unit = join(folder, 'coda-idle.service');
  symlinkSync('/dev/null', unit);
  const args = ['idle', '--init', 'systemd', '--root', rootOf(yard)];
  for (const verb of ['install', 'uninstall']) {
    const { code, stderr } = await yard.verb(verb, ...args);
    expect([code, stderr]).toEqual([
      69,
      expect.stringMatching(/found a link, such as one that masks/) as string,
    ]);
  }
  expect(readdirSync(folder)).toEqual(['coda-idle.service']);
});

describe('of two installations in one system', () => {
  const inB = (yard: Yard, ...args: string[]): Promise<Ended> =>
    yard.bench.shell(
      `cd b && "$NODE" "$BIN/queue-daemon.js" ${args.join(' ')} --init systemd --root '${rootOf(yard)}'`,
    );
  const inA = (yard: Yard, ...args: string[]): Promise<Ended> =>
    yard.verb(...args, '--init', 'systemd', '--root', rootOf(yard));

  test.for([['queue'], ['worker@']])(
    'the second %s is refused, with what to do, and under a name of its own stands beside the first',
    async ([name = ''], { yard }) => {
      mkdirSync(join(yard.folder, 'b'));
      expect(await inA(yard, 'install', name)).toMatchObject({ code: 0 });
      const before = files(rootOf(yard));
      for (const verb of ['install', 'uninstall']) {
        const { code, stderr } = await inB(yard, verb, name);
        expect([code, stderr]).toEqual([69, expect.stringContaining(`for ${yard.folder};`) as string]);
        expect(stderr).toContain('--name');
        expect(files(rootOf(yard))).toEqual(before);
      }
      expect(await inB(yard, 'install', name, '--name', 'second')).toMatchObject({ code: 0 });
      const both = files(rootOf(yard));
      expect(both).toMatchObject(before);
      const id = name === 'queue' ? 'coda-second.service' : 'coda-second@.service';
      const [, unit] = both[join(rootOf(yard), 'etc/systemd/system', id)] ?? [];
      expect(unit).toContain(`\nWorkingDirectory=${yard.folder}/b\n`);
      expect(unit).toContain(`/coda/${name === 'queue' ? 'second' : 'second@'}.env\n`);
      expect(await inB(yard, 'uninstall', name, '--name', 'second')).toMatchObject({ code: 0 });
      expect(files(rootOf(yard))).toEqual(before);
      expect(await inA(yard, 'uninstall', name)).toMatchObject({ code: 0 });
      expect(files(rootOf(yard))).toEqual({});
    },
  );

  test('two files of configuration in one folder are two', async ({ yard }) => {
    for (const name of ['x', 'y']) yard.bench.file(`${name}.ini`, `[daemon]\nstateDir = ${name}\n`);
    expect(await inA(yard, 'install', 'queue', '--config', 'x.ini')).toMatchObject({ code: 0 });
    expect(await inA(yard, 'install', 'queue', '--config', 'y.ini')).toMatchObject({ code: 69 });
  });
});

test('daemons whose names look alike, and the template of workers, share no file', async ({ yard }) => {
  yard.bench.file('config.ini', '[daemon]\nonFailure = restart, run /bin/true\n');
  const written: string[] = [];
  for (const name of ['ok', 'ok-verify', 'ok-failure', 'worker', 'worker@']) {
    if (name !== 'worker@') yard.daemon(name, IDLE);
    const args = ['install', name, '--init', 'systemd', '--root', rootOf(yard), '--json'];
    written.push(...(JSON.parse(await yard.does(...args)) as InstalledFile[]).map(({ path }) => path));
  }
  expect(new Set(written).size).toBe(written.length);
  const kept = files(rootOf(yard));
  expect(Object.keys(kept).sort()).toEqual(written.sort());
  const secrets = Object.values(kept).flatMap(([, text]) => /^EnvironmentFile=.*$/m.exec(text)?.[0] ?? []);
  expect(new Set(secrets).size).toBe(5);
});

test('a configuration that is wrong by now does not keep a service from being taken away', async ({
  yard,
}) => {
  yard.daemon('idle', IDLE);
  await installed(yard, '--init', 'systemd');
  yard.bench.file('config.ini', '[daemon]\nstallAfter = soon\n');
  const { code, stderr } = await yard.verb('uninstall', 'idle', '--init', 'systemd', '--root', rootOf(yard));
  expect([code, stderr]).toEqual([0, expect.stringContaining('carrying on with what is right') as string]);
  expect(files(rootOf(yard))).toEqual({});
});

test('a dry run says that there is no such account', async ({ yard }) => {
  yard.daemon('idle', IDLE);
  const { code, stderr } = await yard.verb(
    'install',
    'idle',
    '--init',
    'sysv',
    '--user',
    'nobody2',
    '--dry-run',
  );
  expect([code, stderr]).toEqual([
    0,
    expect.stringMatching(/refused: .*there is none named nobody2/) as string,
  ]);
});

test('others may read what is written, and run the script, whatever the umask says', async ({ yard }) => {
  yard.daemon('idle', IDLE);
  const install = '"$NODE" "$BIN/queue-daemon.js" install idle --root root --init';
  const { code } = await yard.bench.shell(`umask 077; ${install} sysv && ${install} systemd`);
  expect(code).toBe(0);
  const modes = Object.entries(files(rootOf(yard))).map(([path, [mode]]) => [basename(path), mode]);
  expect(Object.fromEntries(modes)).toMatchObject({ 'coda-idle': '0755', 'coda-idle.service': '0644' });
});

test('another policy leaves nothing of the one before', async ({ yard }) => {
  yard.daemon('idle', IDLE);
  yard.bench.file('config.ini', '[daemon]\nonFailure = restart, run /bin/true\n');
  await yard.does('install', 'idle', '--init', 'systemd', '--root', rootOf(yard));
  expect(Object.keys(files(rootOf(yard))).join()).toContain('coda.failure-idle.service');
  yard.bench.file('config.ini', '[daemon]\nonFailure = restart\n');
  const done = await installed(yard, '--init', 'systemd');
  const failure = join(rootOf(yard), 'etc/systemd/system/coda.failure-idle.service');
  expect(done.filter(({ content }) => content === null)).toMatchObject([{ path: failure, mode: null }]);
  expect(Object.keys(files(rootOf(yard))).join()).not.toContain('failure');
});

test('misuse is refused', async ({ yard }) => {
  yard.daemon('idle', IDLE);
  for (const [args, code, said] of [
    [['install', 'idle', '--init', 'upstart'], 64, /Allowed choices are systemd/],
    [['install', 'idle', '--init', 'systemd', '--user', '%n', '--dry-run'], 64, /name of an account/],
    [
      ['install', 'idle', '--init', 'systemd-user', '--user', 'nobody', '--dry-run'],
      64,
      /run under that account/,
    ],
    [['install', 'worker@', '--init', 'systemd', '--enable'], 64, /worker by worker/],
    [['install', 'worker@', '--init', 'sysv', '--dry-run'], 64, /only systemd has/],
    [['install', 'idel', '--dry-run'], 64, /idle/],
    [['uninstall', 'idel', '--root', 'root'], 64, /idle/],
    [['install', 'idle', '--init', 'launchd'], 69, /does not run here/],
    [['install', 'idle', '--init', 'windows'], 69, /does not run here/],
  ] as const) {
    const ended = await yard.verb(...args);
    expect([ended.code, ended.stdout], ended.stderr).toEqual([code, '']);
    expect(ended.stderr).toMatch(said);
  }
  expect(readdirSync(yard.folder)).not.toContain('root');
});

describe.skipIf(!isRoot)('as root', () => {
  test('another account is told that it has no right to, and nothing is written', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    const root = rootOf(yard);
    mkdirSync(root);
    chownSync(yard.folder, DAEMON, DAEMON);
    const args = ['install', 'idle', '--init', 'sysv', '--user', 'daemon', '--root', root];
    const { status, stderr } = spawnSync(process.execPath, [BIN, ...args], {
      cwd: yard.folder,
      uid: DAEMON,
      gid: DAEMON,
      encoding: 'utf8',
    });
    expect([status, stderr]).toEqual([69, expect.stringMatching(/no right to write .*sudo/) as string]);
    expect(readdirSync(root)).toEqual([]);
  });

  describe.each(['root', ...(isThere('runuser') ? ['daemon'] : [])])('of %s', (account) => {
    test(
      'the init script starts, shows, reloads, restarts and stops a daemon, with the exit codes of the standard',
      { timeout: 60_000 },
      async ({ yard }) => {
        yard.daemon('idle', IDLE);
        yard.bench.file('config.ini', '[log]\nlevel = INFO\n');
        if (account === 'daemon') chownSync(yard.folder, DAEMON, DAEMON);
        await yard.does('install', 'idle', '--init', 'sysv', '--user', account, '--root', rootOf(yard));
        const script = join(rootOf(yard), 'etc/init.d/coda-idle');
        const does = (verb: string): Promise<Ended> => runScript(script, verb);

        expect(await does('status')).toMatchObject({ code: 3 });
        expect(await does('condrestart')).toMatchObject({ code: 0 });
        expect(await does('reload')).toMatchObject({ code: 7, stderr: 'coda-idle: does not run\n' });
        expect(await does('stop')).toMatchObject({ code: 0 });
        expect(await does('start')).toMatchObject({ code: 0, stderr: '' });
        const first = yard.pidOf('idle');
        expect(statSync(`/proc/${first}`).uid).toBe(account === 'daemon' ? DAEMON : 0);
        expect(await does('start')).toMatchObject({ code: 0 });
        expect(yard.pidOf('idle')).toBe(first);
        expect(await does('status')).toMatchObject({
          code: 0,
          stdout: expect.stringContaining('running') as string,
        });
        expect(await does('reload')).toMatchObject({ code: 0 });
        expect(yard.pidOf('idle')).toBe(first);
        expect(await does('restart')).toMatchObject({ code: 0 });
        const second = yard.pidOf('idle');
        expect(second).not.toBe(first);
        expect(await does('try-restart')).toMatchObject({ code: 0 });
        const third = yard.pidOf('idle');
        expect(third).not.toBe(second);

        process.kill(third, 'SIGKILL');
        await yard.gone(third);
        await until(async () => (await does('status')).code === 1);
        expect(await does('start')).toMatchObject({ code: 0 });
        expect(await does('stop')).toMatchObject({ code: 0 });
        expect(await does('status')).toMatchObject({ code: 3 });

        yard.bench.file('config.ini', '[log]\nlevel = LOUD\n');
        expect(await does('start')).toMatchObject({ code: 6 });
        expect(await does('dance')).toMatchObject({
          code: 2,
          stderr: expect.stringMatching(/^Usage: /) as string,
        });
        expect(yard.running()).toEqual([]);
      },
    );
  });

  test('the init script says what is not there, and who may not', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    await yard.does('install', 'idle', '--init', 'sysv', '--user', 'root', '--root', rootOf(yard));
    const path = join(rootOf(yard), 'etc/init.d/coda-idle');
    const script = readFileSync(path, 'utf8');
    writeFileSync(path, script.replace(/^script=.*$/m, "script='/nowhere'"));
    expect(await runScript(path, 'start')).toMatchObject({
      code: 5,
      stderr: 'coda-idle: no Coda at /nowhere\n',
    });
    expect(await runScript(path, 'status')).toMatchObject({ code: 4 });
    writeFileSync(path, script.replace(/^folder=.*$/m, "folder='/'"));
    chownSync(yard.folder, DAEMON, DAEMON);
    expect(await runScript(path, 'stop', DAEMON)).toMatchObject({
      code: 4,
      stderr: 'coda-idle: no right to: it runs as root\n',
    });
  });
});

const BIN = join(import.meta.dirname, '../../dist/bin/queue-daemon.js');

function runScript(script: string, verb: string, uid?: number): Promise<Ended> {
  return new Promise((resolve) => {
    const options = {
      cwd: '/',
      env: { PATH: process.env['PATH'] },
      ...(uid === undefined ? {} : { uid, gid: uid }),
    };
    execFile('sh', [script, verb], options, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, signal: null, stdout, stderr });
    });
  });
}

function isThere(program: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
}
