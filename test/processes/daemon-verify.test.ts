/** `queue-daemon verify`: which daemons are as they should be, and what it does about the others. */
import { existsSync, readFileSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { parsedLines } from '../cli/commands.ts';
import { until } from './stage.ts';
import { yardTest as test, type Yard } from './yard.ts';

/** Daemons that are there without anybody's doing, and do not run. */
const SHIPPED = readdirSync(new URL('../../daemons', import.meta.url)).map((file) =>
  file.replace('Daemon.ts', ''),
);
const IDLE = 'executeStart() {} getSleepTime() { return 3600; }';
const FS = `import { existsSync, writeFileSync } from 'node:fs';`;

/** Of each daemon that it told about: how it was, and is. */
async function verified(yard: Yard, ...args: string[]): Promise<{ code: number | null; told: object }> {
  const { code, stdout, stderr } = await yard.verb('verify', ...args, '--json');
  expect(stderr).toBe('');
  const lines = parsedLines(stdout) as { name: string; before: string; state: string; revived: boolean }[];
  const told = lines.map(({ name, before, state, revived }) => [name, `${before} ${state} ${revived}`]);
  return { code, told: Object.fromEntries(told) as object };
}

/** Blocks its process when it is told to. */
const SICK = `
  stallAfter = 1;
  async executeStart() { if (existsSync('block')) { writeFileSync('blocked', ''); for (;;); } }
  getSleepTime() { return 0.05; }`;

describe('a stalled daemon', () => {
  test('is found, ended by force and started again', async ({ yard }) => {
    yard.bench.file('config.ini', '[worker]\nstopDeadline = 0\n');
    yard.daemon('sick', SICK, FS);
    await yard.does('start', 'sick');
    const first = yard.pidOf('sick');
    expect(await verified(yard, 'sick')).toEqual({ code: 0, told: { sick: 'running running false' } });
    yard.bench.file('block', '');
    await until(() => existsSync(join(yard.folder, 'blocked')));
    await until(async () => (await yard.status('sick')).state === 'stalled');
    expect((await yard.verb('status', 'sick')).stdout).toContain('sick: stalled: its iteration does not end');
    expect(await verified(yard, 'sick')).toEqual({ code: 1, told: { sick: 'stalled stalled false' } });

    yard.bench.file('config.ini', '[worker]\nstopDeadline = 0\n[daemon]\nstallAfter = 1h\n');
    const { code, stdout } = await yard.verb('verify', '--all', '--revive');
    expect([code, stdout]).toEqual([0, 'sick: stalled: its iteration does not end; started again\n']);
    expect(yard.pidOf('sick')).not.toBe(first);
    expect(yard.running()).toEqual([yard.pidOf('sick')]);
  });

  test('that is told to stop is not started again under the hands of who told it', async ({ yard }) => {
    yard.daemon('sick', SICK, FS);
    await yard.does('start', 'sick');
    yard.bench.file('block', '');
    await until(async () => (await yard.status('sick')).state === 'stalled');
    const stopping = yard.verb('stop', 'sick', '--timeout', '6s');
    await until(() => existsSync(yard.path('sick', '.stopped')));
    expect(await verified(yard, '--all', '--revive')).toMatchObject({
      code: 0,
      told: { sick: 'stalled stalled false' },
    });
    expect((await stopping).stdout).toMatch(/was killed/);
    expect(yard.running()).toEqual([]);
    expect(existsSync(yard.path('sick', '.stopped'))).toBe(true);
    expect(await yard.status('sick')).toMatchObject({ pid: null, state: 'stopped' });
  });

  test('that somebody stops while it is being ended is left stopped', async ({ yard }) => {
    yard.bench.file('config.ini', '[worker]\nstopDeadline = 2s\n');
    yard.daemon('hung', 'stallAfter = 0.5; executeStart() { return new Promise(() => {}); }');
    await yard.does('start', 'hung');
    await until(async () => (await yard.status('hung')).state === 'stalled');
    const reviving = yard.verb('verify', 'hung', '--revive');
    await until(async () => (await yard.status('hung')).phase === 'stopping');
    yard.bench.file('var/hung.stopped', '');
    const { code, stdout } = await reviving;
    expect([code, stdout]).toEqual([0, expect.stringMatching(/stopped by hand meanwhile/) as string]);
    expect(yard.running()).toEqual([]);
  });

  test('that could not be started again is not ended', async ({ yard }) => {
    yard.bench.file('config.ini', '[worker]\nstopDeadline = 0\n');
    yard.daemon('sick', SICK, FS);
    await yard.does('start', 'sick');
    const pid = yard.pidOf('sick');
    yard.bench.file('block', '');
    await until(async () => (await yard.status('sick')).state === 'stalled');
    rmSync(yard.path('sick', '.out'));
    symlinkSync('/dev/null', yard.path('sick', '.out'));
    const { code, stderr } = await yard.verb('verify', '--all', '--revive');
    expect([code, stderr]).toEqual([1, expect.stringContaining('sick.out": a link') as string]);
    expect(await yard.verb('restart', 'sick')).toMatchObject({ code: 69 });
    expect(yard.running()).toEqual([pid]);
  });

  test('whose process somebody else starts again is left to that', async ({ yard }) => {
    yard.bench.file('config.ini', '[worker]\nstopDeadline = 0\n');
    yard.daemon('sick', SICK, FS);
    const loop = yard.bench.shell(
      'while [ ! -e enough ]; do "$NODE" "$BIN/queue-daemon.js" run sick; rm -f block; done',
    );
    await until(() => existsSync(yard.path('sick', '.pid')));
    yard.bench.file('block', '');
    await until(async () => (await yard.status('sick')).state === 'stalled');
    const first = yard.pidOf('sick');
    expect(await verified(yard, '--all', '--revive')).toMatchObject({
      code: 0,
      told: { sick: expect.stringMatching(/^stalled (starting|running) true$/) as string },
    });
    await until(async () => (await yard.status('sick')).state === 'running');
    expect(yard.pidOf('sick')).not.toBe(first);
    expect(await yard.status('sick')).toMatchObject({ background: false });
    yard.bench.file('enough', '');
    await yard.does('stop', 'sick');
    await loop;
  });

  test('is not one that sleeps for long, nor one whose iteration says that it is getting on', async ({
    yard,
  }) => {
    yard.daemon('sleeper', 'stallAfter = 0.3; executeStart() {} getSleepTime() { return 3600; }');
    yard.daemon(
      'long',
      `stallAfter = 1.5;
      async executeStart({ progress, stopping }) {
        for (let i = 0; !stopping.aborted; i++) {
          await new Promise((done) => setTimeout(done, 100));
          progress();
          writeFileSync('progress', String(i));
        }
      }`,
      FS,
    );
    await yard.does('start', 'sleeper');
    await yard.does('start', 'long');
    await until(() => Number(read(yard, 'progress')) >= 30);
    expect(await verified(yard, 'long', 'sleeper')).toEqual({
      code: 0,
      told: { long: 'running running false', sleeper: 'running running false' },
    });
  });
});

test('an unhealthy daemon is found, and started again', async ({ yard }) => {
  yard.daemon(
    'ill',
    `${IDLE} verify() { if (existsSync('ill')) throw new Error('no database\\u001b[31m'); return true; }`,
    FS,
  );
  yard.bench.file('ill', '');
  await yard.does('start', 'ill');
  await until(async () => (await yard.status('ill')).state === 'unhealthy');
  const { code, stdout } = await yard.verb('verify', 'ill');
  expect([code, stdout]).toEqual([1, expect.stringMatching(/^ill: unhealthy: .*no database\\u001b\[31m\n$/)]);
  const sick = await yard.verb('status', 'ill', '--json');
  expect(sick.code).toBe(0);
  expect(JSON.parse(sick.stdout)).toMatchObject({ state: 'unhealthy', health: { sound: false } });
  yard.bench.file('other', '');
  const { renameSync } = await import('node:fs');
  renameSync(join(yard.folder, 'ill'), join(yard.folder, 'well'));
  expect(await verified(yard, '--all', '--revive')).toMatchObject({
    code: 0,
    told: { ill: expect.stringMatching(/^unhealthy (starting|running) true$/) as string },
  });
  await until(async () => (await yard.status('ill')).health?.sound === true);
});

test('of those that do not run, it starts what was not meant to end', async ({ yard }) => {
  const names = ['died', 'signalled', 'stopped', 'ended', 'ran-in-front', 'failing'];
  for (const name of names) yard.daemon(name, IDLE);
  yard.daemon('ended', 'maxSessions = 1; executeStart() {}');
  yard.daemon('failing', `${IDLE} onStart() { if (!existsSync('mended')) throw new Error('no'); }`, FS);
  yard.daemon('never', IDLE);
  for (const name of ['died', 'signalled', 'stopped', 'ended']) await yard.does('start', name);
  const [died, signalled] = [yard.pidOf('died'), yard.pidOf('signalled')];
  process.kill(died, 'SIGKILL');
  // So ends everything when the machine goes down.
  process.kill(signalled, 'SIGTERM');
  await yard.does('stop', 'stopped');
  const front = yard.foreground('ran-in-front');
  await until(async () => (await yard.status('ran-in-front')).state === 'running');
  front.process.kill('SIGTERM');
  await front.ended;
  await yard.verb('start', 'failing');
  await yard.gone(died);
  await yard.gone(signalled);
  await until(async () => (await yard.status('ended')).state === 'stopped');

  const as = (word: string): object => ({
    died: `dead ${word}`,
    failing: `failed ${word}`,
    signalled: `stopped ${word}`,
  });
  const well = Object.fromEntries(
    ['ended', 'never', 'ran-in-front', 'stopped', ...SHIPPED].map((name) => [name, 'stopped stopped false']),
  );
  expect(await verified(yard, '--all')).toEqual({
    code: 1,
    told: {
      ...well,
      died: 'dead dead false',
      failing: 'failed failed false',
      signalled: 'stopped stopped false',
    },
  });
  yard.bench.file('mended', '');
  expect(await verified(yard, '--all', '--revive')).toEqual({
    code: 0,
    told: { ...well, ...as('running true') },
  });
  expect(await yard.status('died')).toMatchObject({ state: 'running', crashes: 1 });
  // Named, one that has never run is started; not one that somebody has stopped.
  expect(await verified(yard, 'never', 'stopped')).toMatchObject({ code: 1 });
  expect(await verified(yard, 'never', 'stopped', '--revive')).toEqual({
    code: 0,
    told: { never: 'stopped running true', stopped: 'stopped stopped false' },
  });
  // Nothing is said where nobody looks and all is well.
  expect(await yard.verb('verify', '--all', '--revive')).toMatchObject({ code: 0, stdout: '', stderr: '' });
});

test('two that revive at once leave one daemon', async ({ yard }) => {
  yard.daemon('idle', IDLE);
  await yard.does('start', 'idle');
  const pid = yard.pidOf('idle');
  process.kill(pid, 'SIGKILL');
  await yard.gone(pid);
  const ends = await Promise.all([1, 2, 3].map(() => yard.verb('verify', '--all', '--revive')));
  expect(ends.map(({ code, stderr }) => [code, stderr])).toEqual([1, 2, 3].map(() => [0, '']));
  expect(yard.running()).toEqual([yard.pidOf('idle')]);
  expect(await yard.status('idle')).toMatchObject({ crashes: 1 });
});

test('one that cannot be revived is told, and does not keep the others from it', async ({ yard }) => {
  yard.daemon('lost', IDLE);
  yard.daemon('found', IDLE);
  for (const name of ['found', 'lost']) {
    await yard.does('start', name);
    process.kill(yard.pidOf(name), 'SIGKILL');
    await yard.gone(yard.pidOf(name));
  }
  yard.daemon('lost', 'executeStart() {} onStart() { throw new Error("gone"); }');
  const { code, stdout, stderr } = await yard.verb('verify', '--all', '--revive');
  expect(code).toBe(1);
  expect(stdout).toMatch(/^found: dead: .*; started again$/m);
  expect(stdout).toMatch(/^lost: dead: .*; could not be started again$/m);
  expect(stderr).toMatch(/daemon lost did not come up/);
  expect(stderr).toContain('gone');
});

function read(yard: Yard, name: string): string {
  return existsSync(join(yard.folder, name)) ? readFileSync(join(yard.folder, name), 'utf8') : '';
}
