/** What a supervisor lives through: workers that talk nonsense to it, and a system that gives it nothing more. */
import { spawnSync } from 'node:child_process';
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { QueueManager } from '../../src/queue-manager.ts';
import { must } from './faulty.ts';
import { WAIT, courtTest, type Court, type Master } from './masters.ts';
import { overseerTest } from './overseer.ts';

const noPrlimit =
  process.platform !== 'linux' || spawnSync('prlimit', ['--version']).error
    ? 'prlimit is not installed'
    : undefined;
if (noPrlimit) console.log(`supervisor-mishaps: skipped in part, ${noPrlimit}`);

/** A supervisor with a worker that says so over its descriptor 3 when it gets its message. */
async function withTalker(court: Court, says: string): Promise<Master> {
  court.file(
    'workers/talker.mjs',
    `import { writeSync } from 'node:fs';
    import { Worker } from 'coda-queue';
    export default class extends Worker { async process() { ${says} } }`,
  );
  const manager = await QueueManager.open({ cacheRoot: join(court.folder, 'queues') });
  await manager.createQueue('talker');
  await manager.addMessage('talker', { data: 1 });
  await manager.close();
  return court.supervise([
    { name: 'talker', worker: 'talker', restartDelay: '1m' },
    { name: 'other', exec: 'sleep 1000' },
  ]);
}

describe('a worker that writes to the channel of its supervisor', () => {
  for (const [what, text] of [
    ['what is no JSON', 'garbage\\n'],
    ['a line that never ends', 'x'.repeat(2000)],
  ] as const) {
    const flood = `for (;;) try { writeSync(3, '${text}'); } catch { await new Promise(setImmediate); }`;
    courtTest(`is ended as a failure for ${what}; the others live, and memory stays`, async ({ court }) => {
      const master = await withTalker(court, flood);
      await master.up('other#1');
      const memory = await master.call<number>('memory');
      const { data } = await master.event('ended', 'talker#1');
      expect(data).toMatchObject({ failed: true, why: expect.stringContaining('it sent') as string });
      expect((await master.child('other#1')).state).toBe('running');
      expect((await master.call<number>('memory')) - memory).toBeLessThan(60e6);
      await master.stop();
    });
  }

  courtTest('is not heeded when that is JSON which no worker says', async ({ court }) => {
    const lines = ['null', '7', '{"type":"refused"}', '{"type":"event","event":"x","data":1}', '{}'].join(
      '\\n',
    );
    const master = await withTalker(court, `writeSync(3, '\\n${lines}\\n'.trimStart());`);
    await master.line('it has said what no child says');
    await master.up('talker#1', 'other#1');
    expect(master.events.filter(({ type }) => type === 'told')).toEqual([]);
    await master.stop();
  });
});

courtTest.for([
  ['', undefined],
  [', when it is sent a command before that is heard of', 'blunt'],
] as const)('the last words of a child are heard also behind its end%s', async ([, told], { court }) => {
  const go = join(court.folder, 'go');
  const path = court.class(
    'blunt',
    `run() {
      const nap = new Int32Array(new SharedArrayBuffer(4));
      while (!existsSync(${JSON.stringify(go)})) Atomics.wait(nap, 0, 0, 2);
      throw new Error('the well is dry');
    }`,
    "import { existsSync } from 'node:fs';",
  );
  const master = court.supervise([{ name: 'blunt', class: path, restartDelay: '1m' }]);
  await master.up('blunt#1');
  await master.call('hearEndFirst', await master.pidOf('blunt#1'), go, ...(told ? [told] : []));
  const { data } = await master.event('ended', 'blunt#1');
  expect(data).toEqual({ failed: true, why: 'ended with exit code 1: the well is dry' });
  await master.stop();
});

describe.skipIf(noPrlimit)('when no file descriptor is left', () => {
  /** From now on the process may have so many; those it has open stay. */
  const limit = (pid: number, count: number): void =>
    must('prlimit', ['--pid', String(pid), `--nofile=${count}:`]);

  for (const kind of ['exec', 'class', 'worker', 'daemon'] as const) {
    courtTest(
      `a child of kind ${kind} has failed, and starts again when there are some`,
      async ({ court }) => {
        const idle = (base: string, method: string): string =>
          `import { ${base} } from 'coda-queue';\nexport default class extends ${base} { ${method}() {} }\n`;
        court.file('workers/idle.mjs', idle('Worker', 'process'));
        court.file('daemons/idleDaemon.mjs', idle('Daemon', 'executeStart'));
        const target = {
          exec: 'sleep 1000',
          class: court.class('idle', WAIT),
          worker: 'idle',
          daemon: 'idle',
        }[kind];
        const master = court.supervise([
          { name: 'other', exec: 'sleep 1000' },
          { name: 'new', [kind]: target, autostart: false, restartDelay: '100ms', restartLimit: 100 },
        ]);
        await master.up('other#1');
        limit(master.pid, 5);
        void master.call('start', 'new');
        const { data } = await master.event('ended', 'new#1');
        expect(data).toMatchObject({ failed: true, why: expect.stringContaining('EMFILE') as string });
        expect((await master.child('other#1')).state).toBe('running');
        limit(master.pid, 1000);
        await master.up('new#1');
        await master.stop();
      },
    );
  }

  overseerTest('a daemon that cannot look up its own memory goes on', async ({ yard }) => {
    yard.configure('[process:nap]\nexec = sleep 1000\n');
    const supervisor = await yard.supervise();
    const nap = await yard.up('nap');
    limit(supervisor.process.pid!, 5);
    supervisor.process.kill('SIGHUP');
    await supervisor.said('is refused');
    limit(supervisor.process.pid!, 1000);
    expect(await yard.up('nap')).toEqual(nap);
    expect(await yard.ended(supervisor)).toBe(0);
  });
});

overseerTest('a configuration that was moved away is no wish to stop everything', async ({ yard }) => {
  yard.configure('[process:nap]\nexec = sleep 1000\n');
  const supervisor = await yard.supervise();
  const nap = await yard.up('nap');
  const path = join(yard.folder, 'config.ini');
  renameSync(path, `${path}.away`);
  supervisor.process.kill('SIGHUP');
  await supervisor.said(/refused: expected the configuration at .*config\.ini.*, found none/);
  expect(await yard.up('nap')).toEqual(nap);
  renameSync(`${path}.away`, path);
  yard.configure('[process:nap]\nexec = sleep 1000\n[process:more]\nexec = sleep 1000\n');
  supervisor.process.kill('SIGHUP');
  await yard.up('more');
  expect(await yard.up('nap')).toEqual(nap);
  expect(await yard.ended(supervisor)).toBe(0);
});
