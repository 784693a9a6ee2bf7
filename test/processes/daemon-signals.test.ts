/** A daemon in the foreground: every signal, and every way in which it can come to its end. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect } from 'vitest';
import { spawn } from '@lydell/node-pty';
import { readState } from '../../src/daemon/state.ts';
import type { Started } from '../cli/commands.ts';
import { until } from './stage.ts';
import { yardTest as test, type Yard } from './yard.ts';

/** Says what it is called for. */
const TALKATIVE = `
  signals = ['SIGWINCH'];
  onStart() { this.log.info('up with concurrency ' + this.config.worker.concurrency); }
  executeStart() { this.log.info('iteration ' + this.completedSessions); }
  executeStop() { this.log.info('down'); }
  getSleepTime() { return 3600; }
  handleOtherSignals(name) { this.log.info('heard ' + name); }`;

/** An iteration that goes on until \`ends\` of its context fires, or for ever. */
const busy = (ends: string): string => `
  async executeStart(context) {
    this.log.info('busy');
    await new Promise((resolve) => context.${ends}?.addEventListener('abort', resolve));
  }
  executeStop() { this.log.info('down'); }`;

function configure(yard: Yard, worker = ''): void {
  yard.bench.file('config.ini', `[log]\ndestination = stderr\n[worker]\n${worker}\n`);
}

/** Starts it, and waits until it says so. */
async function up(yard: Yard, name: string, word = '"iteration 0"'): Promise<Started> {
  const daemon = yard.foreground(name);
  await daemon.said(word);
  return daemon;
}

describe('SIGTERM and SIGINT', () => {
  test.for(['SIGTERM', 'SIGINT'] as const)(
    '%s: ends a long sleep at once, and is no failure',
    async (signal, { yard }) => {
      configure(yard);
      yard.daemon('talk', TALKATIVE);
      const daemon = await up(yard, 'talk');
      daemon.process.kill(signal);
      const { code, stderr } = await daemon.ended;
      expect(code).toBe(0);
      expect(stderr).toMatch(new RegExp(`${signal}: stopping[^]*"down"[^]*stopped after 1 iteration"`));
      expect(existsSync(yard.path('talk', '.pid'))).toBe(false);
      expect(await yard.status('talk')).toMatchObject({
        state: 'stopped',
        sessions: 1,
        end: { why: 'told' },
      });
    },
  );

  test('wait for the iteration that is under way', async ({ yard }) => {
    configure(yard);
    yard.daemon('busy', busy('stopping'));
    const daemon = await up(yard, 'busy', '"busy"');
    daemon.process.kill('SIGTERM');
    const { code, stderr } = await daemon.ended;
    expect([code, stderr]).toEqual([0, expect.stringMatching(/stopping[^]*"down"[^]*after 1 iteration"/)]);
  });

  test('have one that goes on give up at the deadline, and say so', async ({ yard }) => {
    configure(yard, 'stopDeadline = 300ms');
    yard.daemon('busy', busy('signal'));
    const daemon = await up(yard, 'busy', '"busy"');
    daemon.process.kill('SIGTERM');
    const { code, stderr } = await daemon.ended;
    expect([code, stderr]).toEqual([0, expect.stringMatching(/told to give up[^]*"down"/)]);
  });

  test('abandon one that does not give up, and say so', async ({ yard }) => {
    configure(yard, 'stopDeadline = 100ms');
    yard.daemon('busy', busy('nothing'));
    const daemon = await up(yard, 'busy', '"busy"');
    daemon.process.kill('SIGTERM');
    const { code, stderr } = await daemon.ended;
    expect([code, stderr]).toEqual([0, expect.stringMatching(/is not waited for[^]*"down"/)]);
    expect(existsSync(yard.path('busy', '.pid'))).toBe(false);
  });

  test('the second one does not wait for the deadline, and the exit code tells', async ({ yard }) => {
    configure(yard, 'stopDeadline = 1h');
    yard.daemon('busy', busy('signal'));
    const daemon = await up(yard, 'busy', '"busy"');
    daemon.process.kill('SIGTERM');
    await daemon.said('stopping');
    daemon.process.kill('SIGINT');
    const { code, stderr } = await daemon.ended;
    expect([code, stderr]).toEqual([1, expect.stringMatching(/SIGINT again: stopping at once[^]*"down"/)]);
  });

  test('end a daemon whose file does not come to its end; other signals wait', async ({ yard }) => {
    configure(yard);
    yard.daemon('hung', 'executeStart() {}', 'console.error("loading"); await new Promise(() => undefined);');
    const daemon = await up(yard, 'hung', 'loading');
    for (const name of ['SIGUSR1', 'SIGUSR2', 'SIGHUP'] as const) daemon.process.kill(name);
    await daemon.said('SIGHUP: the configuration is read again');
    daemon.process.kill('SIGTERM');
    const { code, stderr } = await daemon.ended;
    expect(stderr).not.toContain('Debugger');
    expect([code, stderr]).toEqual([0, expect.stringContaining('stopped before its file was loaded')]);
    expect(existsSync(yard.path('hung', '.pid'))).toBe(false);
  });

  test('before it has come up leave nothing running', async ({ yard }) => {
    configure(yard, 'stopDeadline = 100ms');
    yard.daemon(
      'slow',
      'onStart() { this.log.info("coming"); return new Promise(() => undefined); } executeStart() {}',
    );
    const daemon = await up(yard, 'slow', '"coming"');
    daemon.process.kill('SIGTERM');
    expect(await daemon.ended).toMatchObject({ code: 0 });
    expect(existsSync(yard.path('slow', '.pid'))).toBe(false);
  });
});

describe('SIGHUP', () => {
  test('stops, reads the configuration and starts, in the same process', async ({ yard }) => {
    configure(yard);
    yard.daemon('talk', TALKATIVE);
    const daemon = await up(yard, 'talk');
    const pid = yard.pidOf('talk');
    configure(yard, 'concurrency = 7');
    daemon.process.kill('SIGHUP');
    await daemon.said('"iteration 1"');
    expect(yard.pidOf('talk')).toBe(pid);
    expect(await yard.status('talk')).toMatchObject({
      state: 'running',
      pid,
      reloads: { count: 1 },
      crashes: 0,
    });
    daemon.process.kill('SIGTERM');
    const { code, stderr } = await daemon.ended;
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /"up with concurrency 1"[^]*"iteration 0"[^]*"down"[^]*"up with concurrency 7"[^]*"iteration 1"[^]*"down"/,
    );
  });

  test('with a broken configuration keeps the old one, and says so; once mended it is taken', async ({
    yard,
  }) => {
    configure(yard);
    yard.daemon('talk', TALKATIVE);
    const daemon = await up(yard, 'talk');
    configure(yard, 'concurency = 7');
    daemon.process.kill('SIGHUP');
    await daemon.said(/is refused: .*did you mean concurrency\?.*the old one stays/);
    expect(readState(yard.path('talk', '.state.json'))).toMatchObject({ phase: 'sleeping', sessions: 1 });
    configure(yard, 'concurrency = 7');
    daemon.process.kill('SIGHUP');
    await daemon.said('"up with concurrency 7"');
    daemon.process.kill('SIGTERM');
    expect((await daemon.ended).stderr.match(/"down"/g)).toHaveLength(2);
  });

  test('does not move a daemon, nor let it lose its log', async ({ yard }) => {
    configure(yard);
    yard.daemon('talk', TALKATIVE);
    const daemon = await up(yard, 'talk');
    yard.bench.file('config.ini', '[log]\ndestination = stderr\n[daemon]\nstateDir = elsewhere\n');
    daemon.process.kill('SIGHUP');
    await daemon.said(/is refused: \[daemon\] stateDir/);
    yard.bench.file('config.ini', '[log]\ndestination = /dev/null/x\n');
    daemon.process.kill('SIGHUP');
    await daemon.said(/is refused: .*dev\/null/);
    daemon.process.kill('SIGTERM');
    expect(await daemon.ended).toMatchObject({ code: 0 });
  });

  test('takes the log elsewhere, when the configuration says so', async ({ yard }) => {
    configure(yard);
    yard.daemon('talk', TALKATIVE);
    const daemon = await up(yard, 'talk');
    yard.bench.file('config.ini', '[log]\ndestination = talk.txt\nlevel = WARN\n');
    daemon.process.kill('SIGHUP');
    await daemon.said('"down"');
    yard.bench.file('config.ini', '[log]\ndestination = stderr\n');
    daemon.process.kill('SIGHUP');
    await daemon.said('"iteration 2"');
    daemon.process.kill('SIGTERM');
    const { stderr } = await daemon.ended;
    expect(stderr).not.toContain('"iteration 1"');
    expect(readFileSync(`${yard.folder}/talk.txt`, 'utf8')).toBe('');
  });

  test('stops a daemon whose terminal was closed; before that it reloads it', async ({ yard }) => {
    yard.bench.file('config.ini', '[log]\ndestination = talk.txt\n');
    yard.daemon('talk', TALKATIVE);
    const log = (): string => readFileSync(`${yard.folder}/talk.txt`, 'utf8');
    const command = fileURLToPath(new URL('../../dist/bin/queue-daemon.js', import.meta.url));
    const terminal = spawn(process.execPath, [command, 'run', 'talk'], { cwd: yard.folder });
    const ended = new Promise<void>((resolve) => terminal.onExit(() => resolve()));
    await until(() => existsSync(`${yard.folder}/talk.txt`) && log().includes('"iteration 0"'));
    process.kill(terminal.pid, 'SIGHUP');
    await until(() => log().includes('"iteration 1"'));
    (terminal as unknown as { destroy(): void }).destroy();
    await ended;
    expect(log()).toMatch(/SIGHUP, the terminal is gone: stopping[^]*stopped after 2 iterations/);
  });

  test('that comes in a burst, in the middle of everything, ends well', async ({ yard }) => {
    configure(yard);
    yard.daemon('talk', TALKATIVE.replace('return 3600', 'return 0.001'));
    const daemon = yard.foreground('talk');
    await daemon.said('"iteration 0"');
    for (let times = 0; times < 200; times++) {
      daemon.process.kill((['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const)[times % 4]);
      if (times % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await daemon.said('started anew');
    daemon.process.kill('SIGTERM');
    const { code, stderr } = await daemon.ended;
    expect(code).toBe(0);
    expect(stderr.match(/"up with/g)?.length).toBe(stderr.match(/"down"/g)?.length);
  });
});

describe('other signals', () => {
  test('SIGUSR1, SIGUSR2 and those it declares go to the daemon; no debugger opens', async ({ yard }) => {
    configure(yard);
    yard.daemon('talk', TALKATIVE);
    const daemon = await up(yard, 'talk');
    for (const name of ['SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const) {
      daemon.process.kill(name);
      await daemon.said(`"heard ${name}"`);
    }
    daemon.process.kill('SIGTERM');
    const { code, stderr } = await daemon.ended;
    expect(code).toBe(0);
    expect(stderr).not.toContain('Debugger');
  });

  test('SIGCHLD needs no care: children may come and go', async ({ yard }) => {
    configure(yard);
    yard.daemon(
      'parent',
      `async executeStart() {
        for (let i = 0; i < 5; i++) await new Promise((resolve) => spawn('true').on('exit', resolve));
        this.log.info('iteration ' + this.completedSessions);
      }
      getSleepTime() { return 0.01; }`,
      `import { spawn } from 'node:child_process';`,
    );
    const daemon = await up(yard, 'parent');
    daemon.process.kill('SIGCHLD');
    await daemon.said('"iteration 1"');
    daemon.process.kill('SIGTERM');
    expect(await daemon.ended).toMatchObject({ code: 0 });
  });

  test.for([
    [`['SIGKILL']`, 'expected one of'],
    [`['SIGTERM']`, 'expected one that has no meaning of its own'],
    [`['SIGWINHC']`, 'did you mean SIGWINCH?'],
    [`'SIGWINCH'`, 'expected a list such as'],
    ['[7]', 'received 7'],
  ] as const)('a daemon that declares %s does not come up: %s', async ([signals, why], { yard }) => {
    yard.daemon('odd', `signals = ${signals}; executeStart() {}`);
    const { code, stderr } = await yard.foreground('odd').ended;
    expect([code, stderr]).toEqual([69, expect.stringContaining(why)]);
    expect(existsSync(yard.path('odd', '.pid'))).toBe(false);
  });
});

test('a name that no daemon has leaves nothing behind', async ({ yard }) => {
  yard.daemon('talk', TALKATIVE);
  const { code, stderr } = await yard.foreground('tlak').ended;
  expect([code, stderr]).toEqual([64, expect.stringContaining('no daemon named "tlak"; did you mean talk?')]);
  expect(readdirSync(yard.folder)).not.toContain('var');
});

describe('an end that nobody asked for', () => {
  test('by maxSessions or its own stop() is no failure', async ({ yard }) => {
    configure(yard);
    yard.daemon('short', 'maxSessions = 2; executeStart() {} getSleepTime() { return 0; }');
    yard.daemon('once', 'executeStart() { this.stop(); }');
    for (const name of ['short', 'once']) {
      expect(await yard.foreground(name).ended).toMatchObject({ code: 0 });
      expect(await yard.status(name)).toMatchObject({ state: 'stopped', end: { why: 'itself' } });
    }
  });

  test.for([
    ['process.exit(0)', 1, /FATAL.*process\.exit\(0\)/],
    ['process.exit(3)', 3, /FATAL.*process\.exit\(3\)/],
    [
      'setImmediate(() => { throw new Error("oops"); }); await new Promise(() => {})',
      1,
      /FATAL.*nothing caught: oops/,
    ],
    ['void Promise.reject(new Error("oops")); await new Promise(() => {})', 1, /FATAL.*nothing caught: oops/],
  ] as const)(
    'by %s is one: its exit code is %d, its reason is logged',
    async ([code, exit, said], { yard }) => {
      configure(yard);
      yard.daemon('rash', `async executeStart() { ${code} }`);
      const ended = await yard.foreground('rash').ended;
      expect([ended.code, ended.stderr]).toEqual([exit, expect.stringMatching(said)]);
      expect(await yard.status('rash')).toMatchObject({ state: 'dead' });
    },
  );

  test('by an onStart that throws has the exit code of what it throws', async ({ yard }) => {
    yard.daemon('poor', 'onStart() { throw new Error("no database"); } executeStart() {}');
    yard.daemon(
      'unset',
      'onStart() { throw new QueueError("CONFIG_INVALID", "no license"); } executeStart() {}',
      `import { QueueError } from 'coda-queue';`,
    );
    const poor = await yard.foreground('poor').ended;
    expect([poor.code, poor.stderr]).toEqual([
      69,
      expect.stringContaining('failed: no database (DAEMON_FAILED)'),
    ]);
    expect(await yard.foreground('unset').ended).toMatchObject({ code: 78 });
    expect(await yard.status('poor')).toMatchObject({ state: 'failed' });
  });
});
