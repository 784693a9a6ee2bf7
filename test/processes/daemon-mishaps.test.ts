/** What befalls daemons, and those who look after them at night: files that go, a configuration that is broken by now, sudden ends. */
import { spawn, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect } from 'vitest';
import { stateOf, until } from './stage.ts';
import { yardTest as test } from './yard.ts';

const COMMAND = fileURLToPath(new URL('../../dist/bin/queue-daemon.js', import.meta.url));
const IDLE = 'executeStart() {} getSleepTime() { return 3600; }';
/** An account that is everywhere, with another number on each system. */
const DAEMON = Number(spawnSync('id', ['-u', 'daemon'], { encoding: 'utf8' }).stdout);
const SPAWN = `import { spawn } from 'node:child_process';`;

describe('a configuration that is wrong by now', () => {
  test.for([
    ['a key', '[daemon]\nstateDir = ./var\nstalAfter = 5m\n', 'did you mean stallAfter?'],
    ['a value', '[daemon]\nstallAfter = 5 minutes\n', 'expected a duration'],
    ['a section', '[queues]\nx = 1\n', 'unknown section "queues"'],
    ['a line', '[daemon]\nwhat is this\n', 'line 2: expected key = value'],
  ] as const)('in %s keeps nobody from looking, nor from stopping', async ([, text, said], { yard }) => {
    yard.daemon('idle', IDLE);
    await yard.does('start', 'idle');
    yard.bench.file('config.ini', text);
    for (const [verb, code, told] of [
      ['status', 0, /idle: running/],
      ['logs', 0, /"text":"starting"/],
      ['list', 78, /^idle +running/m],
      ['stop', 0, /idle: stopped/],
    ] as const) {
      const ended = await yard.verb(verb, ...(verb === 'list' ? [] : ['idle']));
      expect([verb, ended.code, ended.stdout]).toEqual([verb, code, expect.stringMatching(told)]);
      expect(ended.stderr).toContain(said);
      expect(ended.stderr).toContain(
        `carrying on with what is right in it, and with the state of daemons in "${yard.stateDir}"`,
      );
    }
    expect(yard.running()).toEqual([]);
  });

  test('ends nothing that could not be started again, and starts nothing', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    await yard.does('start', 'idle');
    const pid = yard.pidOf('idle');
    yard.bench.file('config.ini', '[daemon]\nstalAfter = 5m\n');
    for (const args of [
      ['restart', 'idle'],
      ['reload', 'idle'],
      ['start', 'idle'],
      ['verify', '--all', '--revive'],
    ])
      expect(await yard.verb(...args)).toMatchObject({ code: 78, stdout: '' });
    expect(yard.running()).toEqual([pid]);
  });

  test('is not gone by where nothing shows that the state is kept there', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    yard.bench.file('config.ini', '[daemon]\nstateDir = elsewhere\n');
    await yard.does('start', 'idle');
    yard.bench.file('config.ini', '[daemon]\nstatDir = elsewhere\n');
    for (const verb of ['status', 'stop', 'logs']) {
      const { code, stdout, stderr } = await yard.verb(verb, 'idle');
      expect([code, stdout, stderr]).toEqual([78, '', expect.stringContaining('did you mean stateDir?')]);
    }
    expect(yard.running()).toHaveLength(1);
  });
});

describe('files that somebody removes under a daemon', () => {
  test('without its pid file it is seen, refuses a second one, puts the file up again, and can be stopped', async ({
    yard,
  }) => {
    yard.daemon('idle', IDLE);
    await yard.does('start', 'idle');
    const pid = yard.pidOf('idle');
    rmSync(yard.path('idle', '.pid'));
    expect(await yard.status('idle')).toMatchObject({ state: 'running', pid });
    for (const verb of ['start', 'run']) expect(await yard.verb(verb, 'idle')).toMatchObject({ code: 75 });
    await until(() => existsSync(yard.path('idle', '.pid')));
    expect(yard.pidOf('idle')).toBe(pid);
    rmSync(yard.path('idle', '.pid'));
    expect(await yard.does('stop', 'idle')).toBe('idle: stopped');
    expect(yard.running()).toEqual([]);
  });

  test.for([[''], ['rubbish\n']])(
    'with %j in the place of its pid file, it puts that right again',
    async ([text = ''], { yard }) => {
      yard.daemon('idle', IDLE);
      await yard.does('start', 'idle');
      const pid = yard.pidOf('idle');
      writeFileSync(yard.path('idle', '.pid'), text);
      await until(() => yard.pidOf('idle') === pid);
      expect(await yard.status('idle')).toMatchObject({ state: 'running', pid });
      expect(await yard.does('stop', 'idle')).toBe('idle: stopped');
      expect(readdirSync(yard.stateDir).filter((name) => name.includes('.pid'))).toEqual([]);
    },
  );

  test('once it has died, what ran in the background is dead, is counted, and is started again', async ({
    yard,
  }) => {
    yard.daemon('idle', IDLE);
    yard.daemon('rash', `${IDLE} onStart() { setTimeout(() => process.exit(3), 500); }`);
    yard.daemon('front', IDLE);
    for (const name of ['idle', 'rash']) await yard.does('start', name);
    const front = yard.foreground('front');
    await until(async () => (await yard.status('front')).state === 'running');
    await yard.gone(yard.pidOf('rash'));
    process.kill(yard.pidOf('idle'), 'SIGKILL');
    await yard.gone(yard.pidOf('idle'));
    front.process.kill('SIGKILL');
    await front.ended;
    for (const name of ['idle', 'rash', 'front']) rmSync(yard.path(name, '.pid'));
    yard.daemon('rash', IDLE);

    for (const name of ['idle', 'rash', 'front'])
      expect([name, (await yard.status(name)).state]).toEqual([name, 'dead']);
    const { code, stdout } = await yard.verb('verify', '--all', '--revive');
    expect([
      code,
      stdout
        .replace(/: dead: .*;/g, ':')
        .split('\n')
        .sort(),
    ]).toEqual([0, ['', 'idle: started again', 'rash: started again']]);
    for (const name of ['idle', 'rash'])
      expect(await yard.status(name)).toMatchObject({ state: 'running', crashes: 1 });
    // Whoever removes the pid file of one that ran before his eyes has cleared up after it.
    await yard.does('start', 'front');
    expect(await yard.status('front')).toMatchObject({ crashes: 1 });
  });

  test('what was stopped by force, or cleared up after its death, is not dead', async ({ yard }) => {
    yard.daemon('stuck', 'executeStart() { for (;;); }');
    yard.daemon('idle', IDLE);
    for (const name of ['stuck', 'idle']) await yard.does('start', name);
    process.kill(yard.pidOf('idle'), 'SIGKILL');
    await yard.gone(yard.pidOf('idle'));
    await yard.does('stop', 'stuck', '--timeout', '100ms');
    await yard.does('stop', 'idle');
    for (const name of ['stuck', 'idle'])
      expect(await yard.status(name)).toMatchObject({ state: 'stopped', end: { why: 'told' } });
  });

  test('without the folder, one that finds another in its place ends, and leaves that alone', async ({
    yard,
  }) => {
    yard.bench.file('config.ini', '[log]\ndestination = stderr\n');
    yard.daemon('idle', `${IDLE} executeStop() { this.log.info('closed well'); }`);
    const first = yard.foreground('idle');
    await until(async () => (await yard.status('idle')).state === 'running');
    // Else it would put its files up again, should the second take longer than that to come.
    first.process.kill('SIGSTOP');
    await until(() => stateOf(first.process.pid!) === 'T');
    rmSync(yard.stateDir, { recursive: true });
    const second = yard.foreground('idle');
    await until(async () => (await yard.status('idle')).pid === second.process.pid);
    first.process.kill('SIGCONT');
    const { code, stderr } = await first.ended;
    expect([code, stderr]).toEqual([75, expect.stringMatching(/FATAL.*has lost its place[^]*closed well/)]);
    expect(await yard.status('idle')).toMatchObject({
      state: 'running',
      pid: second.process.pid,
      crashes: 0,
    });
    second.process.kill('SIGTERM');
    expect(await second.ended).toMatchObject({ code: 0 });
  });
});

describe('an end that nobody asked for', () => {
  test.for([
    ['process.exit(7)', 'ended its process with process.exit(7)'],
    [
      'setImmediate(() => { throw new Error("oops\\u001b[31m"); })',
      'ended with an error that nothing caught: oops\\u001b[31m',
    ],
  ] as const)('by %s is told by status, and counts as a crash', async ([code, said], { yard }) => {
    yard.daemon(
      'rash',
      `executeStart() { if (existsSync('now')) ${code}; } getSleepTime() { return 0.05; }`,
      `import { existsSync } from 'node:fs';`,
    );
    await yard.does('start', 'rash');
    yard.bench.file('now', '');
    await until(async () => (await yard.status('rash')).state === 'dead');
    const { code: exit, stdout } = await yard.verb('status', 'rash');
    expect([exit, stdout]).toEqual([1, expect.stringContaining(`rash: dead: ${said}\n`)]);
    rmSync(join(yard.folder, 'now'));
    await yard.does('start', 'rash');
    expect(await yard.status('rash')).toMatchObject({ state: 'running', crashes: 1, end: null });
  });

  test('right after it has come up is no success of "start"', async ({ yard }) => {
    yard.daemon('rash', 'executeStart() { process.exit(0); }');
    const { code, stdout, stderr } = await yard.verb('start', 'rash');
    expect([code, stdout]).toEqual([69, '']);
    expect(stderr).toContain(
      'daemon rash came up, and is dead already: ended its process with process.exit(0)',
    );
  });

  test('is explained by what it has printed, and not by what stood in that file before', async ({ yard }) => {
    yard.daemon('rash', 'executeStart() { process.stderr.write("of today\\n"); process.exit(0); }');
    mkdirSync(yard.stateDir, { mode: 0o700 });
    writeFileSync(yard.path('rash', '.out'), 'of last week\n');
    const { stderr } = await yard.verb('start', 'rash');
    expect(stderr).toContain('of today');
    expect(stderr).not.toContain('of last week');
    const { stdout } = await yard.verb('status', 'rash');
    expect(stdout).toContain('of today');
    expect(stdout).not.toContain('of last week');
    expect(await yard.verb('status', 'rash', '--json')).not.toMatchObject({
      stdout: expect.stringContaining('printedFrom') as string,
    });
  });

  test('by an error that nothing caught is printed without what a terminal would obey', async ({ yard }) => {
    yard.daemon(
      'rash',
      "executeStart() { setImmediate(() => { throw new Error('red \\u001b[31m'); }); return new Promise(() => {}); }",
    );
    const { code, stdout, stderr } = await yard.foreground('rash').ended;
    expect([code, stderr]).toEqual([1, expect.stringContaining('Uncaught Error: red \\u001b[31m') as string]);
    expect(stdout + stderr).not.toContain('\u001b');
  });

  test('is left to a handler that the daemon has for it', async ({ yard }) => {
    yard.daemon(
      'rash',
      `maxSessions = 1;
      onStart() { process.on('uncaughtException', () => this.done()); }
      executeStart() {
        setImmediate(() => { throw new Error('no'); });
        return new Promise((done) => (this.done = done));
      }`,
    );
    expect(await yard.foreground('rash').ended).toMatchObject({ code: 0, stderr: '' });
  });

  test('by a third word to stop was asked for', async ({ yard }) => {
    yard.bench.file('config.ini', '[log]\ndestination = stderr\n');
    yard.daemon(
      'stuck',
      'executeStart() { this.log.info("busy"); return new Promise(() => {}); } executeStop() { return new Promise(() => {}); }',
    );
    const daemon = yard.foreground('stuck');
    await daemon.said('"busy"');
    daemon.process.kill('SIGTERM');
    await daemon.said('SIGTERM: stopping');
    daemon.process.kill('SIGTERM');
    await daemon.said('SIGTERM again');
    daemon.process.kill('SIGTERM');
    const { code, stderr } = await daemon.ended;
    expect(code).toBe(1);
    expect(stderr).not.toContain('FATAL');
    expect(await yard.status('stuck')).toMatchObject({ state: 'stopped', end: { why: 'told' } });
  });
});

describe('what a daemon that was killed has left behind', () => {
  test.for(['stop', 'start'] as const)('is ended by %s', async (verb, { yard }) => {
    yard.daemon('parent', IDLE, `${SPAWN}\nspawn('sleep', ['1000']);`);
    await yard.does('start', 'parent');
    const pid = yard.pidOf('parent');
    const [child = 0] = yard.running().filter((other) => other !== pid);
    process.kill(pid, 'SIGKILL');
    await yard.gone(pid);
    expect(stateOf(child)).toBe('S');
    const said = await yard.does(verb, 'parent');
    await yard.gone(child);
    if (verb === 'stop')
      expect(said).toBe(
        'parent: had died already; its place is cleared up; ended what it had left behind: 1 process',
      );
  });

  test('is not what another process of its number has left', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    await yard.does('start', 'idle');
    process.kill(yard.pidOf('idle'), 'SIGKILL');
    await yard.gone(yard.pidOf('idle'));
    // The leader of a session, which ends and leaves one in its group.
    const leader = spawn('sh', ['-c', 'sleep 1000 & echo $!'], { cwd: yard.folder, detached: true });
    const ended = once(leader, 'exit');
    const [printed] = (await once(leader.stdout, 'data')) as [Buffer];
    await ended;
    const [, ...rest] = readFileSync(yard.path('idle', '.pid'), 'utf8').split('\n');
    writeFileSync(yard.path('idle', '.pid'), [leader.pid, ...rest].join('\n'));
    expect(await yard.does('stop', 'idle')).toBe('idle: had died already; its place is cleared up');
    expect(stateOf(Number(printed))).toBe('S');
  });
});

test('a daemon that stood still for a while is not ended for that', async ({ yard }) => {
  yard.daemon('idle', 'stallAfter = 0.5; executeStart() {} getSleepTime() { return 0.1; }');
  await yard.does('start', 'idle');
  const pid = yard.pidOf('idle');
  process.kill(pid, 'SIGSTOP');
  await until(async () => (await yard.status('idle')).state === 'stalled');
  const revived = yard.does('verify', 'idle', '--revive');
  // As when a machine goes on, and its cron is the first to: by now it has looked.
  await sleep(1000);
  process.kill(pid, 'SIGCONT');
  await revived;
  expect(await yard.status('idle')).toMatchObject({ state: 'running', pid });
});

test.runIf(process.getuid?.() === 0)(
  'root is told when it starts what ran under another account',
  async ({ yard }) => {
    yard.daemon('idle', IDLE);
    await yard.does('restart', 'idle');
    await yard.does('stop', 'idle');
    chownSync(yard.path('idle', '.state.json'), 65_534, 65_534);
    const { code, stderr } = await yard.verb('start', 'idle');
    expect([code, stderr]).toEqual([
      0,
      expect.stringContaining('ran as user 65534 before, and is started as root now'),
    ]);
    // Now it is root's.
    expect(await yard.verb('restart', 'idle')).toMatchObject({ code: 0, stderr: '' });
  },
);

describe.runIf(canMount())('a disk', () => {
  test('that is read-only, or full, is named as what it is, and nothing is left half done', async ({
    yard,
  }) => {
    yard.daemon('idle', IDLE);
    mkdirSync(yard.stateDir);
    mount('-t', 'tmpfs', '-o', 'size=64k,ro', 'tmpfs', yard.stateDir);
    try {
      const env = { CODA_STATE_DIR: join(yard.stateDir, 'deep/var') };
      for (const verb of ['start', 'run']) {
        const { code, stderr } = await yard.bench.run('queue-daemon', [verb, 'idle'], '', env);
        expect([code, stderr]).toEqual([69, expect.stringMatching(/EROFS.*STORAGE_FAILED/) as string]);
      }
      mount('-o', 'remount,rw', yard.stateDir);
      const filler = join(yard.stateDir, 'filler');
      expect(() => writeFileSync(filler, Buffer.alloc(1 << 20))).toThrow(/ENOSPC/);
      for (const verb of ['start', 'run']) {
        const { code, stderr } = await yard.verb(verb, 'idle');
        expect([code, stderr]).toEqual([75, expect.stringMatching(/ENOSPC.*STORAGE_FULL/) as string]);
      }
      expect(readdirSync(yard.stateDir).filter((name) => !/^(filler|idle\.out)$/.test(name))).toEqual([]);
      rmSync(filler);
      await yard.does('start', 'idle');
      await yard.does('stop', 'idle');
    } finally {
      spawnSync('umount', ['-l', yard.stateDir]);
    }
  });
});

function canMount(): boolean {
  if (process.getuid?.() !== 0) return false;
  const folder = mkdtempSync(join(tmpdir(), 'coda-mount-'));
  const can = spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', folder]).status === 0;
  if (can) spawnSync('umount', ['-l', folder]);
  rmdirSync(folder);
  return can;
}

function mount(...args: string[]): void {
  const { status, stderr } = spawnSync('mount', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

describe('what a daemon prints without end fills no disk', () => {
  const CHATTY = `executeStart() { process.stdout.write('x'.repeat(3 << 20)); } getSleepTime() { return 3600; }`;

  test('while it runs in the background', async ({ yard }) => {
    yard.daemon('chatty', CHATTY);
    await yard.does('start', 'chatty');
    await until(() => existsSync(yard.path('chatty', '.out.old')));
    expect(statSync(yard.path('chatty', '.out')).size).toBe(0);
    await until(() => statSync(yard.path('chatty', '.out.old')).size === 1 << 20);
  });

  test('while it prints there as launchd has it', async ({ yard }) => {
    yard.daemon('chatty', CHATTY);
    mkdirSync(yard.stateDir);
    const fd = openSync(yard.path('chatty', '.out'), 'a');
    const daemon = spawn(process.execPath, [COMMAND, 'run', 'chatty'], {
      cwd: yard.folder,
      stdio: ['ignore', fd, fd],
    });
    closeSync(fd);
    const ended = once(daemon, 'exit');
    await until(() => existsSync(yard.path('chatty', '.out.old')));
    expect(statSync(yard.path('chatty', '.out')).size).toBe(0);
    daemon.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
  });

  test('when it starts again, however much is there by then', async ({ yard }) => {
    yard.daemon('chatty', IDLE);
    mkdirSync(yard.stateDir);
    writeFileSync(yard.path('chatty', '.out'), `${'x'.repeat(3 << 20)}the end\n`);
    await yard.does('start', 'chatty');
    expect(statSync(yard.path('chatty', '.out')).size).toBe(0);
    const kept = readFileSync(yard.path('chatty', '.out.old'), 'utf8');
    expect([kept.length, kept.slice(-8)]).toEqual([1 << 20, 'the end\n']);
  });
});

describe('a crash is counted', () => {
  test.for(['stop', 'restart'] as const)('by %s, once, when nothing else has', async (verb, { yard }) => {
    yard.daemon('idle', IDLE);
    await yard.does('start', 'idle');
    const pid = yard.pidOf('idle');
    process.kill(pid, 'SIGKILL');
    await yard.gone(pid);
    await yard.does(verb, 'idle');
    expect(await yard.status('idle')).toMatchObject({
      crashes: 1,
      state: verb === 'stop' ? 'stopped' : 'running',
    });
    await yard.does('restart', 'idle');
    await yard.does('stop', 'idle');
    expect(await yard.status('idle')).toMatchObject({
      crashes: 1,
      lastCrashAt: expect.any(String) as string,
    });
  });

  test('not where its end was asked for, and came by force', async ({ yard }) => {
    yard.daemon('stuck', 'executeStart() { for (;;); }');
    await yard.does('start', 'stuck');
    expect(await yard.does('stop', 'stuck', '--timeout', '100ms')).toContain('was killed');
    expect(await yard.status('stuck')).toMatchObject({ crashes: 0, state: 'stopped' });
  });

  test('nor is it in the way when that cannot be written', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    await yard.does('start', 'idle');
    const pid = yard.pidOf('idle');
    process.kill(pid, 'SIGKILL');
    await yard.gone(pid);
    writeFileSync(yard.path('idle', '.state.json'), 'rubbish');
    expect(await yard.does('stop', 'idle')).toBe('idle: had died already; its place is cleared up');
    expect(readFileSync(yard.path('idle', '.state.json'), 'utf8')).toBe('rubbish');
  });
});

test('a folder in the place of its state keeps a daemon from being started, and that is said at once', async ({
  yard,
}) => {
  yard.daemon('idle', IDLE);
  mkdirSync(yard.path('idle', '.state.json'), { recursive: true });
  const { code, stderr } = await yard.verb('start', 'idle');
  expect([code, stderr]).toEqual([69, expect.stringContaining('found a folder') as string]);
});

test('one that runs here logs as much as it is told', async ({ yard }) => {
  yard.daemon('once', "maxSessions = 1; executeStart() { this.log.debug('in detail'); }");
  const quiet = await yard.foreground('once').ended;
  expect(quiet.stdout).not.toContain('in detail');
  const loud = await yard.foreground('once', '--log-level', 'DEBUG').ended;
  expect(loud.stdout).toContain('in detail');
  expect(await yard.foreground('once', '--log-level', 'OFF').ended).toMatchObject({ code: 0, stdout: '' });
});

test('one that is started logs as much as it is told, also when it has read its configuration again', async ({
  yard,
}) => {
  yard.daemon('idle', "executeStart() { this.log.debug('in detail'); } getSleepTime() { return 60; }");
  const details = (): number => readFileSync(yard.path('idle', '.log'), 'utf8').split('in detail').length - 1;
  await yard.does('start', 'idle', '--log-level', 'DEBUG');
  await until(() => details() === 1);
  await yard.does('reload', 'idle');
  await until(() => details() === 2);
  await yard.does('restart', 'idle', '--log-level', 'DEBUG');
  await until(() => details() === 3);
  await yard.does('condrestart', 'idle', '--log-level', 'WARN');
  const before = readFileSync(yard.path('idle', '.log'), 'utf8');
  await yard.does('stop', 'idle');
  expect(readFileSync(yard.path('idle', '.log'), 'utf8')).toBe(before);
  // What was told once is not told for good.
  await yard.does('start', 'idle');
  await yard.does('stop', 'idle');
  expect(details()).toBe(3);
  expect(readFileSync(yard.path('idle', '.log'), 'utf8').slice(before.length)).toContain('"level":"INFO"');
});

test.skipIf(process.getuid?.() !== 0)(
  'a daemon can be stopped where nothing can be written',
  async ({ yard }) => {
    yard.daemon('idle', IDLE);
    mkdirSync(yard.stateDir);
    chownSync(yard.stateDir, DAEMON, DAEMON);
    chmodSync(yard.folder, 0o755);
    const as = { cwd: yard.folder, uid: DAEMON, gid: DAEMON, encoding: 'utf8' } as const;
    expect(spawnSync(process.execPath, [COMMAND, 'start', 'idle'], as).status).toBe(0);
    const pid = yard.pidOf('idle');
    chmodSync(yard.stateDir, 0o500);
    const { status, stdout, stderr } = spawnSync(process.execPath, [COMMAND, 'stop', 'idle'], as);
    expect([status, stdout], stderr).toEqual([0, 'idle: stopped\n']);
    expect(stderr).toMatch(/is to stay stopped cannot be noted \(EACCES\)/);
    await yard.gone(pid);
  },
);

test('status names the file that the daemon logs to', async ({ yard }) => {
  yard.daemon('idle', IDLE);
  const logs = async (): Promise<unknown[]> => {
    const { log } = JSON.parse((await yard.verb('status', 'idle', '--json')).stdout) as { log: unknown };
    return [log, /^log +(.*)$/m.exec((await yard.verb('status', 'idle')).stdout)?.[1]];
  };
  await yard.does('start', 'idle');
  expect(await logs()).toEqual([yard.path('idle', '.log'), yard.path('idle', '.log')]);
  await yard.does('stop', 'idle');
  const daemon = yard.foreground('idle');
  await until(async () => (await yard.status('idle')).state === 'running');
  expect(await logs()).toEqual([null, 'goes to where it was run']);
  daemon.process.kill('SIGTERM');
  await daemon.ended;
  yard.bench.file('config.ini', '[log]\ndestination = all.log\n');
  const all = join(yard.folder, 'all.log');
  expect(await logs()).toEqual([all, all]);
});

test.runIf(process.getuid?.() === 0)(
  'another account is told that it may not, and whose daemon it is',
  async ({ yard }) => {
    yard.daemon('idle', IDLE);
    await yard.does('start', 'idle');
    const other = (verb: string): SpawnSyncReturns<string> =>
      spawnSync(process.execPath, [COMMAND, verb, 'idle'], {
        cwd: yard.folder,
        uid: 65_534,
        gid: 65_534,
        encoding: 'utf8',
      });
    chmodSync(yard.folder, 0o755);
    expect(other('status').stderr).toContain(
      'expected the folder of the state of daemons: this account may not read it',
    );
    chmodSync(yard.stateDir, 0o755);
    for (const [verb, why] of [
      [
        'status',
        /this account may not read ".*idle\.pid" \(EACCES\); it belongs to user 0, whose daemon that is/,
      ],
      ['stop', /this account may not read ".*idle\.pid"/],
      ['logs', /this account may not read the log ".*idle\.(log|out)"/],
    ] as const) {
      const { status, stdout, stderr } = other(verb);
      expect([status, stdout, stderr]).toEqual([69, '', expect.stringMatching(why)]);
    }
    expect(yard.running()).toHaveLength(1);
  },
);
