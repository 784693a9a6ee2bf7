/** `queue-daemon` and the processes it looks after: started, stopped, reloaded, killed, and never taken for one another. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs, {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, vi } from 'vitest';
import { startDaemon } from '../../src/daemon/start.ts';
import { factsOf } from '../../src/process-table.ts';
import { stateOf, until } from './stage.ts';
import { yardTest as test, type Yard } from './yard.ts';

const COMMAND = fileURLToPath(new URL('../../dist/bin/queue-daemon.js', import.meta.url));
const IDLE = 'executeStart() {} getSleepTime() { return 3600; }';
/** For a millisecond, in which nothing else of this process runs. */
const pauseThread = (): unknown => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
/** Does not end, nor lets anything else run. */
const BLOCKED = 'executeStart() { for (;;); }';

describe('start', () => {
  test('returns when the daemon is up, in a session of its own, and says its process', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    const said = await yard.does('start', 'idle');
    const pid = yard.pidOf('idle');
    expect(said).toBe(`idle: started, process ${pid}`);
    expect(factsOf(pid)).toMatchObject({ group: pid, session: pid });
    expect(readFileSync(`/proc/${pid}/cmdline`, 'latin1')).toContain('coda: idle');
    expect(await yard.status('idle')).toMatchObject({ name: 'idle', state: 'running', pid, crashes: 0 });
    expect(statSync(yard.stateDir).mode & 0o777).toBe(0o700);
  });

  test('of one that runs is refused, and leaves it alone', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    await yard.does('start', 'idle');
    const pid = yard.pidOf('idle');
    for (const verb of ['start', 'run']) {
      const { code, stdout, stderr } = await yard.verb(verb, 'idle');
      expect([code, stdout]).toEqual([75, '']);
      expect(stderr).toContain(`daemon idle runs already, as process ${pid} (DAEMON_RUNNING`);
    }
    expect(await yard.status('idle')).toMatchObject({ state: 'running', pid, crashes: 0 });
    // Nothing is left of those who tried.
    expect(readdirSync(yard.stateDir).filter((name) => /\.(pid|after)-/.test(name))).toEqual([]);
  });

  test('says why a daemon does not come up, with what it printed, and passes on its exit code', async ({
    yard,
  }) => {
    yard.daemon(
      'bad',
      'onStart() { console.log("first words\\u001b[31m"); throw new Error("no database"); } executeStart() {}',
    );
    const failed = await yard.verb('start', 'bad');
    expect([failed.code, failed.stdout]).toEqual([69, '']);
    expect(failed.stderr).toMatch(
      /daemon bad did not come up: it ended with exit code 69\n {2}first words\\u001b\[31m\n.*no database/,
    );
    expect(await yard.verb('status', 'bad')).toMatchObject({ code: 3 });
    expect(await yard.status('bad')).toMatchObject({ state: 'failed', pid: null });
    expect(existsSync(yard.path('bad', '.pid'))).toBe(false);

    yard.bench.file('config.ini', '[daemon]\nstateDirr = x\n');
    expect(await yard.verb('start', 'bad')).toMatchObject({ code: 78 });
    expect(yard.running()).toEqual([]);
  });

  test('ends a daemon that is not up in time', async ({ yard }) => {
    yard.daemon('slow', 'onStart() { return new Promise(() => undefined); } executeStart() {}');
    const { code, stderr } = await yard.verb('start', 'slow', '--timeout', '700ms');
    expect([code, stderr]).toEqual([69, expect.stringContaining('was not up after 700ms, and was ended')]);
    expect(yard.running()).toEqual([]);
  });

  test('of one that dies as soon as it was seen to be up looks again', async ({ yard }) => {
    yard.daemon(
      'rash',
      "executeStart() { const id = setInterval(() => { if (existsSync('go')) process.exit(3); }, 5); return new Promise(() => id); }",
      `import { existsSync } from 'node:fs';\nprocess.chdir(${JSON.stringify(yard.folder)});`,
    );
    const { readFileSync: read } = fs;
    const reading = vi.spyOn(fs, 'readFileSync').mockImplementation(((file: number, encoding: 'utf8') => {
      const text = read(file, encoding);
      const [, pid] = /"pid":(\d+).*"upAt":"/.exec(text) ?? [];
      if (pid !== undefined && !existsSync(join(yard.folder, 'go'))) {
        yard.bench.file('go', '');
        for (let looks = 0; stateOf(Number(pid)) !== 'Z' && looks < 20_000; looks++) pauseThread();
      }
      return text;
    }) as typeof fs.readFileSync);
    const args = [
      COMMAND,
      'run',
      '--background',
      '--config=/dev/null',
      `--daemons=${yard.folder}/daemons`,
      'rash',
    ];
    const env = { ...process.env, CODA_STATE_DIR: yard.stateDir };
    try {
      const command = { file: process.execPath, args, env };
      const started = await startDaemon(yard.stateDir, 'rash', { command, timeout: 30_000 });
      expect(started).toMatchObject({ outcome: 'up', after: { standing: 'dead' } });
    } finally {
      reading.mockRestore();
    }
  });

  test('of one that comes to its end at once has succeeded', async ({ yard }) => {
    yard.daemon('once', 'maxSessions = 1; executeStart() {}');
    expect(await yard.does('start', 'once')).toMatch(/^once: started/);
    await until(async () => (await yard.status('once')).state === 'stopped');
    expect(await yard.status('once')).toMatchObject({ sessions: 1, end: { why: 'itself' } });
  });
});

describe('stop', () => {
  test('waits for the end, and of one that does not run says so', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    expect(await yard.does('stop', 'idle')).toBe('idle: was not running');
    await yard.does('start', 'idle');
    const pid = yard.pidOf('idle');
    expect(await yard.does('stop', 'idle')).toBe('idle: stopped');
    // Where nobody asks how it ended, it stays in the list of processes.
    expect([undefined, 'Z']).toContain(stateOf(pid));
    expect(await yard.does('stop', 'idle')).toBe('idle: was not running');
    expect(await yard.verb('status', 'idle')).toMatchObject({ code: 3 });
    expect(await yard.status('idle')).toMatchObject({ state: 'stopped', end: { why: 'told' } });
  });

  test('kills what has not ended in time, with all its process group', async ({ yard }) => {
    yard.daemon('stuck', BLOCKED, `import { spawn } from 'node:child_process';\nspawn('sleep', ['1000']);`);
    await yard.does('start', 'stuck');
    expect(yard.running()).toHaveLength(2);
    expect(await yard.does('stop', 'stuck', '--timeout', '300ms')).toBe(
      'stuck: had not ended within 300ms, and was killed',
    );
    expect(yard.running()).toEqual([]);
    expect(await yard.verb('status', 'stuck')).toMatchObject({ code: 3 });
  });

  test('ends what a daemon has left behind in its group', async ({ yard }) => {
    yard.daemon(
      'parent',
      IDLE,
      `import { spawn } from 'node:child_process';\nspawn('sleep', ['1000']).unref();`,
    );
    await yard.does('start', 'parent');
    expect(await yard.does('stop', 'parent')).toBe(
      'parent: stopped; ended what it had left behind: 1 process',
    );
    expect(yard.running()).toEqual([]);
  });

  test('leaves alone what shares the group of a daemon in the foreground', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    // A shell with job control: the daemon is the first of its pipe, and so of its group.
    const pipe = 'set -m; "$NODE" "$COMMAND" run idle | sleep 1000';
    const env = { PATH: process.env['PATH'], NODE: process.execPath, COMMAND };
    const shell = spawn('bash', ['-c', pipe], { cwd: yard.folder, env, stdio: 'ignore' });
    await once(shell, 'spawn');
    await until(() => existsSync(yard.path('idle', '.pid')));
    await until(async () => (await yard.status('idle')).state === 'running');
    const pid = yard.pidOf('idle');
    expect(factsOf(pid)?.group).toBe(pid);
    expect(await yard.does('stop', 'idle')).toBe('idle: stopped');
    const group = yard.running().filter((other) => factsOf(other)?.group === pid);
    expect(group.map(stateOf)).toEqual(['S']);
  });

  test('wakes a daemon that stands still', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    await yard.does('start', 'idle');
    process.kill(yard.pidOf('idle'), 'SIGSTOP');
    expect(await yard.does('stop', 'idle')).toBe('idle: stopped');
  });

  test('twice at once does not cut an iteration short', async ({ yard }) => {
    yard.daemon(
      'busy',
      `async executeStart({ signal }) {
        writeFileSync('begun', '');
        while (!existsSync('finish') && !signal.aborted) await new Promise((done) => setTimeout(done, 10));
        writeFileSync('end', signal.aborted ? 'aborted' : 'finished');
      }`,
      `import { existsSync, writeFileSync } from 'node:fs';`,
    );
    await yard.does('start', 'busy');
    await until(() => existsSync(join(yard.folder, 'begun')));
    const first = yard.does('stop', 'busy');
    await until(async () => (await yard.status('busy')).phase === 'stopping');
    const second = yard.verb('stop', 'busy');
    // Each has had the time to send its signal when this has looked.
    await yard.status('busy');
    yard.bench.file('finish', '');
    expect(await first).toBe('busy: stopped');
    expect(await second).toMatchObject({ code: 0 });
    expect(readFileSync(join(yard.folder, 'end'), 'utf8')).toBe('finished');
  });
});

describe('one that was killed', () => {
  test('is dead, starts again, and the crash is counted', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    await yard.does('start', 'idle');
    const pid = yard.pidOf('idle');
    process.kill(pid, 'SIGKILL');
    await yard.gone(pid);
    const { code, stdout } = await yard.verb('status', 'idle');
    expect([code, stdout]).toEqual([
      1,
      expect.stringContaining(`idle: dead: process ${pid} died without a word`),
    ]);
    expect(await yard.status('idle')).toMatchObject({ state: 'dead', pid: null, crashes: 0 });
    await yard.does('start', 'idle');
    expect(await yard.status('idle')).toMatchObject({ state: 'running', crashes: 1 });
    expect(yard.pidOf('idle')).not.toBe(pid);
  });

  test('is cleared away by stop', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    await yard.does('start', 'idle');
    process.kill(yard.pidOf('idle'), 'SIGKILL');
    await yard.gone(yard.pidOf('idle'));
    expect(await yard.does('stop', 'idle')).toBe('idle: had died already; its place is cleared up');
    expect(await yard.verb('status', 'idle')).toMatchObject({ code: 3 });
    expect(readdirSync(yard.stateDir).filter((name) => name.endsWith('.sock'))).toEqual([]);
  });
});

describe('a process that got the number of the daemon', () => {
  /** The pid file of a daemon that has died, with the pid of somebody else who lives. */
  async function recycled(yard: Yard): Promise<number> {
    yard.daemon('idle', IDLE);
    await yard.does('start', 'idle');
    process.kill(yard.pidOf('idle'), 'SIGKILL');
    await yard.gone(yard.pidOf('idle'));
    const other = spawn('sleep', ['1000'], { cwd: yard.folder, stdio: 'ignore' });
    const [, ...rest] = readFileSync(yard.path('idle', '.pid'), 'utf8').split('\n');
    writeFileSync(yard.path('idle', '.pid'), [other.pid, ...rest].join('\n'));
    return other.pid!;
  }

  test('is neither taken for it nor signalled', async ({ yard }) => {
    const other = await recycled(yard);
    expect(await yard.verb('status', 'idle')).toMatchObject({ code: 1 });
    expect(await yard.verb('reload', 'idle')).toMatchObject({ code: 69 });
    expect(await yard.does('stop', 'idle')).toBe('idle: had died already; its place is cleared up');
    expect(stateOf(other)).toBe('S');
  });

  test('does not keep it from starting', async ({ yard }) => {
    const other = await recycled(yard);
    await yard.does('start', 'idle');
    expect(await yard.status('idle')).toMatchObject({ state: 'running', crashes: 1 });
    expect(stateOf(other)).toBe('S');
  });

  test('survives even a forced restart', async ({ yard }) => {
    const other = await recycled(yard);
    await yard.does('restart', 'idle', '--timeout', '10s');
    expect(stateOf(other)).toBe('S');
  });
});

describe('restart and condrestart', () => {
  test('restart gives a new process; condrestart only where there was one', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    expect(await yard.does('condrestart', 'idle')).toBe('idle: not running, left as it is');
    await yard.does('restart', 'idle');
    const first = yard.pidOf('idle');
    expect(await yard.does('condrestart', 'idle')).toMatch(/^idle: restarted, process \d+$/);
    const second = yard.pidOf('idle');
    expect(second).not.toBe(first);
    expect(await yard.does('restart', 'idle')).toBe(`idle: restarted, process ${yard.pidOf('idle')}`);
    expect(yard.pidOf('idle')).not.toBe(second);
    expect(await yard.status('idle')).toMatchObject({ crashes: 0 });
  });
});

describe('reload', () => {
  test('keeps the process, and says whether the daemon took the configuration', async ({ yard }) => {
    yard.daemon('idle', `${IDLE} onStart() { this.log.info('lease ' + this.config.worker.lease); }`);
    yard.bench.file('config.ini', '[worker]\nlease = 1s\n');
    await yard.does('start', 'idle');
    const pid = yard.pidOf('idle');
    yard.bench.file('config.ini', '[worker]\nlease = 2s\n');
    expect(await yard.does('reload', 'idle')).toBe('idle: has taken the new configuration');
    expect(await yard.does('logs', 'idle', '-n', '100')).toMatch(/lease 1000[^]*lease 2000/);

    yard.bench.file('config.ini', '[worker]\nleas = 2s\n');
    // The command itself reads that file too.
    yard.bench.file('sound.ini', '');
    const { code, stdout } = await yard.verb('reload', 'idle', '--config', 'sound.ini');
    expect(code).toBe(78);
    expect(stdout).toContain('goes on with the old configuration');
    expect(stdout).toContain('did you mean lease?');
    yard.bench.file('config.ini', '');
    expect(await yard.status('idle')).toMatchObject({ state: 'running', pid, reloads: { count: 2 } });
  });

  test('of one that does not run, or does not answer in time', async ({ yard }) => {
    yard.daemon('stuck', BLOCKED);
    const idle = await yard.verb('reload', 'stuck');
    expect([idle.code, idle.stdout]).toEqual([69, 'stuck: is not running\n']);
    await yard.does('start', 'stuck');
    const { code, stdout } = await yard.verb('reload', 'stuck', '--timeout', '200ms');
    expect([code, stdout]).toEqual([75, 'stuck: has been told, and has not answered within 200ms\n']);
  });

  test('of one that is coming up waits for that, and does not tell it before', async ({ yard }) => {
    yard.daemon(
      'slow',
      `async onStart() { while (!existsSync('go')) await new Promise((next) => setTimeout(next, 10)); } ${IDLE}`,
      `import { existsSync } from 'node:fs';`,
    );
    const { process: daemon } = yard.foreground('slow');
    await until(async () => (await yard.status('slow')).phase === 'starting');
    const early = await yard.verb('reload', 'slow', '--timeout', '200ms');
    expect([early.code, early.stdout]).toEqual([
      75,
      'slow: has not come up within 200ms, and was not told\n',
    ]);
    const reload = yard.does('reload', 'slow');
    yard.bench.file('go', '');
    expect(await reload).toBe('slow: has taken the new configuration');
    expect(await yard.status('slow')).toMatchObject({ pid: daemon.pid, reloads: { count: 1 } });
  });
});

describe('what stands where its files should be', () => {
  test.for([
    ['garbage', '\u001b[31mgarbage', 'found "\\u001b[31mgarbage"'],
    ['nothing', '', 'found ""'],
    ['another version', '{"version":99}', 'version 99'],
    ['a field that is wrong', undefined, 'for its sessions'],
  ] as const)('a state of %s is told, and hinders nobody', async ([, text, said], { yard }) => {
    yard.daemon('idle', IDLE);
    await yard.does('start', 'idle');
    const path = yard.path('idle', '.state.json');
    writeFileSync(path, text ?? readFileSync(path, 'utf8').replace(/"sessions":\d+/, '"sessions":-1'));
    const { code, stdout, stderr } = await yard.verb('status', 'idle');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain('idle: unhealthy: expected the state of a daemon');
    expect(stdout).toContain(said);
    expect(await yard.verb('verify', 'idle')).toMatchObject({ code: 1 });
    expect(await yard.does('stop', 'idle')).toBe('idle: stopped');
    expect(await yard.status('idle')).toMatchObject({ state: 'stopped', end: { why: 'told' } });
  });

  test('a pid file that is none is told, and nothing is done', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    await yard.does('start', 'idle');
    const pid = yard.pidOf('idle');
    // Else it would put that right again.
    process.kill(pid, 'SIGSTOP');
    const all = ['start', 'stop', 'restart', 'reload', 'status', 'verify'];
    for (const [text, verbs] of [
      ['x\u001b[31m', all],
      ['', ['stop']],
      [`${pid}\n`, ['stop']],
      ['1\n{"token":"../../x"}\n', ['status']],
    ] as const) {
      writeFileSync(yard.path('idle', '.pid'), text);
      for (const verb of verbs) {
        const { code, stdout, stderr } = await yard.verb(verb, 'idle');
        expect([verb, code, stdout]).toEqual([verb, verb === 'verify' ? 1 : 69, '']);
        expect(stderr).toMatch(
          /expected the pid file of a daemon at .*remove it if that daemon does not run: rm ".*idle\.pid" \(STORAGE_FAILED/,
        );
      }
      expect((await yard.verb('list')).stdout).not.toContain('idle');
    }
    expect(stateOf(pid)).toBe('T');
  });

  test('a pid file that is none, of a daemon that is dead: what is said to be done about it helps', async ({
    yard,
  }) => {
    yard.daemon('idle', IDLE);
    mkdirSync(yard.stateDir);
    writeFileSync(yard.path('idle', '.pid'), 'xx');
    const { code, stderr } = await yard.verb('start', 'idle');
    expect(code).toBe(69);
    const command = /: (rm ".*") \(STORAGE_FAILED\)\n$/.exec(stderr)?.[1] ?? '';
    expect(await yard.bench.shell(command)).toMatchObject({ code: 0, stderr: '' });
    await yard.does('start', 'idle');
    expect(await yard.status('idle')).toMatchObject({ state: 'running' });
  });

  test('a state folder that is a file, or may not be written', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    yard.bench.file('var', '');
    for (const verb of ['start', 'run']) {
      const { code, stderr } = await yard.verb(verb, 'idle');
      expect([code, stderr]).toEqual([
        69,
        expect.stringMatching(/expected .*ENOTDIR|EEXIST.*STORAGE_FAILED/),
      ]);
    }
    // Where a folder that is to be made with those above it would be tried for ever.
    const env = { CODA_STATE_DIR: '/proc/nothing/var' };
    if (process.platform === 'linux') {
      const { code, stderr } = await yard.bench.run('queue-daemon', ['start', 'idle'], '', env);
      expect([code, stderr]).toEqual([69, expect.stringMatching(/ENOENT.*STORAGE_FAILED/)]);
    }
    if (process.getuid?.() === 0) return;
    yard.bench.file('config.ini', '[daemon]\nstateDir = closed/var\n');
    writeFileSync(join(yard.folder, 'closed'), '');
    chmodSync(join(yard.folder, 'closed'), 0);
    expect(await yard.verb('start', 'idle')).toMatchObject({ code: 69 });
  });
});

describe('from another container', () => {
  const unshare = ['unshare', '-pf', '--mount-proc'];
  const can = spawnSync(unshare[0]!, [...unshare.slice(1), 'true']).status === 0;

  /** Runs a daemon in a process namespace of its own, whose first process is a shell. */
  function contained(yard: Yard): ChildProcess {
    const env = { PATH: process.env['PATH'], NODE: process.execPath, COMMAND };
    const script = '"$NODE" "$COMMAND" run idle & wait $!';
    return spawn(unshare[0]!, [...unshare.slice(1), 'sh', '-c', script], {
      cwd: yard.folder,
      env,
      stdio: 'ignore',
    });
  }

  test.runIf(can)('a daemon is seen to live, and is told to reload and to stop', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    const container = contained(yard);
    const ended = once(container, 'exit');
    await until(() => existsSync(yard.path('idle', '.pid')));
    await until(async () => (await yard.status('idle')).state === 'running');
    expect(await yard.verb('start', 'idle')).toMatchObject({ code: 75 });
    expect(await yard.does('reload', 'idle')).toBe('idle: has taken the new configuration');
    expect(await yard.does('stop', 'idle')).toBe('idle: stopped');
    expect(await ended).toEqual([0, null]);
  });

  test.runIf(can)('one that was killed keeps nobody out', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    const container = contained(yard);
    await until(() => existsSync(yard.path('idle', '.pid')));
    await until(async () => (await yard.status('idle')).state === 'running');
    const daemon = yard
      .running()
      .find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('coda: idle'));
    process.kill(daemon!, 'SIGKILL');
    await once(container, 'exit');
    expect(await yard.status('idle')).toMatchObject({ state: 'dead' });
    await yard.does('start', 'idle');
    expect(await yard.status('idle')).toMatchObject({ state: 'running', crashes: 1 });
  });
});
