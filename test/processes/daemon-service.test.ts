/** A daemon that a service of the system runs: what it says to that service, how it ends, and what others do with it then. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { until } from './stage.ts';
import { yardTest as test, type Yard } from './yard.ts';

const SERVICE = ['--service', 'coda-idle.service'];

/** Puts up the unit of a service of the account, whose home the yard is then. */
function putUnit(yard: Yard): { HOME: string } {
  const folder = join(yard.folder, '.config/systemd/user');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'coda-idle.service'), '');
  return { HOME: yard.folder };
}
const IDLE = 'executeStart() {} getSleepTime() { return 3600; }';

describe('what looks after daemons leaves that to the service', () => {
  test('a stalled one ends as a crash would, and is not started beside its service', async ({ yard }) => {
    yard.daemon('idle', 'stallAfter = 0.5; executeStart() { return new Promise(() => {}); }');
    const { ended } = yard.foreground('idle', ...SERVICE);
    await until(async () => (await yard.status('idle')).state === 'stalled');
    const home = putUnit(yard);
    const verify = ['verify', '--all', '--revive'];
    const { code, stdout } = await yard.bench.run('queue-daemon', verify, '', home);
    expect([code, stdout]).toEqual([
      0,
      'idle: stalled: its iteration does not end; ended, for coda-idle.service to start it again\n',
    ]);
    expect(await ended).toMatchObject({ signal: 'SIGKILL' });
    expect((await yard.status('idle')).state).toBe('dead');

    const again = await yard.bench.run('queue-daemon', ['verify', 'idle', '--revive'], '', home);
    expect([again.code, again.stdout]).toEqual([
      1,
      expect.stringMatching(/^idle: dead: .*; coda-idle\.service is to start it again\n$/) as string,
    ]);
    expect(yard.running()).toEqual([]);
  });

  test('"restart" is refused while it runs; "stop" and "reload" are not', async ({ yard }) => {
    yard.daemon('idle', IDLE);
    const { ended } = yard.foreground('idle', ...SERVICE);
    await until(async () => (await yard.status('idle')).state === 'running');
    const home = putUnit(yard);
    for (const verb of ['restart', 'condrestart']) {
      const { code, stderr } = await yard.bench.run('queue-daemon', [verb, 'idle'], '', home);
      expect([code, stderr]).toEqual([
        75,
        expect.stringMatching(/"coda-idle.service": restart that/) as string,
      ]);
    }
    await yard.does('reload', 'idle');
    await yard.does('stop', 'idle');
    // A stop that was asked for is no failure.
    expect(await ended).toMatchObject({ code: 0, signal: null });
  });
});

test('those who look are sent to the service, and to its journal', async ({ yard }) => {
  yard.daemon('idle', IDLE);
  const { process: child, ended } = yard.foreground('idle', ...SERVICE);
  await until(async () => (await yard.status('idle')).state === 'running');
  expect(await yard.verb('logs', 'idle')).toMatchObject({
    code: 0,
    stdout: '',
    stderr: 'idle: its log is elsewhere: journalctl -u coda-idle.service\n',
  });
  child.kill('SIGKILL');
  await ended;
  const home = putUnit(yard);
  const { stdout } = await yard.bench.run('queue-daemon', ['status', 'idle'], '', home);
  expect(stdout).toContain('\n  systemctl restart coda-idle.service\n');
});

test('what a service ran that is gone by now is started again like any other', async ({ yard }) => {
  yard.daemon('idle', IDLE);
  const home = putUnit(yard);
  const { process: child, ended } = yard.foreground('idle', ...SERVICE);
  await until(async () => (await yard.status('idle')).state === 'running');
  child.kill('SIGKILL');
  await ended;
  const verify = ['verify', '--all', '--revive'];
  const told = await yard.bench.run('queue-daemon', verify, '', home);
  expect([told.code, told.stdout]).toEqual([1, expect.stringContaining('is to start it again') as string]);
  rmSync(join(yard.folder, '.config'), { recursive: true });
  expect((await yard.verb('status', 'idle')).stdout).toContain('\n  queue-daemon start idle\n');
  expect(await yard.bench.run('queue-daemon', verify, '', home)).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('; started again\n') as string,
  });
  expect(await yard.status('idle')).toMatchObject({ state: 'running', service: null });
});

test('systemd is told that it is up, and that it stops; what it starts cannot speak for it', async ({
  yard,
}) => {
  yard.daemon(
    'idle',
    "onStart() { writeFileSync('seen', JSON.stringify([process.env.NOTIFY_SOCKET, process.env.WATCHDOG_USEC])); }" +
      IDLE,
    "import { writeFileSync } from 'node:fs';",
  );
  const program = join(yard.folder, 'systemd-notify');
  writeFileSync(program, `#!/bin/sh\nprintf '%s|' "$NOTIFY_SOCKET" "$@" >> '${yard.folder}/told'\n`, {
    mode: 0o755,
  });
  const env = {
    PATH: `${yard.folder}:${process.env['PATH']}`,
    NOTIFY_SOCKET: '/run/x',
    WATCHDOG_USEC: '300000',
  };
  const { process: child, ended } = yard.bench.start('queue-daemon', ['run', 'idle'], env);
  const told = (): string => {
    try {
      return readFileSync(join(yard.folder, 'told'), 'utf8');
    } catch {
      return '';
    }
  };
  await until(() => told().includes('/run/x|READY=1|STATUS='));
  await until(() => told().includes('WATCHDOG=1|'));
  expect(readFileSync(join(yard.folder, 'seen'), 'utf8')).toBe('[null,null]');
  child.kill('SIGTERM');
  expect(await ended).toMatchObject({ code: 0 });
  await until(() => told().includes('STOPPING=1|'));
});

describe('an end that nobody asked for', () => {
  const THROWS =
    "executeStart() { setImmediate(() => { throw new Error('lost it'); }); return new Promise(() => {}); }";
  const LEAVES = 'executeStart() { process.exit(0); }';

  async function endOf(yard: Yard, body: string, config: string) {
    yard.daemon('idle', body);
    yard.bench.file('config.ini', `[daemon]\n${config}\n`);
    return yard.foreground('idle').ended;
  }

  test.for([
    ['an error that nothing caught', THROWS, '', 1, 'lost it'],
    ['an error, with an exit code of its own', THROWS, 'exitCode = 7', 7, 'lost it'],
    ['process.exit(0)', LEAVES, 'exitCode = 7', 7, 'process.exit(0)'],
    ['process.exit(3)', 'executeStart() { process.exit(3); }', 'exitCode = 7', 3, 'process.exit(3)'],
    ['an error that is to count as success', THROWS, 'exitMode = success', 0, 'lost it'],
    [
      'process.exit(3) that is to count as success',
      'executeStart() { process.exit(3); }',
      'exitMode = success',
      0,
      'process.exit(3)',
    ],
  ] as const)('%s', async ([, body, config, code, reason], { yard }) => {
    const ended = await endOf(yard, body, config);
    expect(ended.code).toBe(code);
    const lines = ended.stdout.split('\n').filter((line) => line.includes('"FATAL"'));
    expect(lines).toEqual([expect.stringContaining(reason) as string]);
  });
});
