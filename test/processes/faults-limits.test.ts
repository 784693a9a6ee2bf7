/** Limits of a process or an account: files that may be open, folders that may be watched, how large a file may become. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect } from 'vitest';
import { EXIT } from '../../bin/exit-codes.ts';
import { drain, must, Q, refusal, sceneTest as test, Shim, type Managed } from './faulty.ts';

const shim = new Shim();
afterAll(() => shim.remove());

const limits =
  process.platform !== 'linux'
    ? 'limits are set on Linux only'
    : spawnSync('prlimit', ['--version']).error && 'prlimit is not installed';
if (limits) console.log(`faults-limits: skipped, ${limits}`);

/** Of a running process; of what it has open already, nothing is taken from it. */
function limit({ pid }: Managed, what: string): void {
  must('prlimit', ['--pid', String(pid), what]);
}

describe.skipIf(limits)('a process with too many files open', () => {
  test('goes on adding; its claims are refused, harm no message, and work again when it has closed some', async ({
    scene,
  }) => {
    const managed = await scene.start();
    const { manager } = managed;
    await manager.createQueue(Q);
    await manager.addMessage(Q, { data: 1 });
    await manager.queueStatus(Q);
    limit(managed, '--nofile=3:');
    await manager.addMessage(Q, { data: 2 });
    for (let tries = 0; tries < 5; tries++)
      expect(await refusal(manager.claimMessages(Q))).toMatchObject({
        code: 'STORAGE_FAILED',
        message: expect.stringContaining('as many files open as it may (ulimit -n) (EMFILE)') as string,
      });
    limit(managed, '--nofile=1000:');
    expect(await manager.queueStatus(Q)).toMatchObject({ counts: { ready: 2, claimed: 0, failed: 0 } });
    expect(await manager.claimMessages(Q, { limit: 2 })).toMatchObject([
      { data: 1, crashes: 0, attempts: 1 },
      { data: 2, crashes: 0, attempts: 1 },
    ]);
  });

  test.skipIf(shim.missing !== undefined)('a command says so, with 69', async ({ scene }) => {
    const faults = shim.faults();
    await (await scene.start()).manager.createQueue(Q);
    faults.begin({ call: 'open', path: `/${Q}`, how: 'EMFILE' });
    const args = ['add', Q, '1', '--cache-root', scene.cacheRoot];
    const { code, stderr } = await scene.bench.run('queue', args, '', faults.env);
    expect(code).toBe(EXIT.unavailable);
    expect(stderr).toMatch(/^queue: .* \(ulimit -n\) \(EMFILE\) \(STORAGE_FAILED, .*\)\n$/);
  });
});

/** In a user namespace of its own the limit is its own, too, and gone with its last process. */
function watchless(what: string): string[] {
  const script = `echo 0 > /proc/sys/user/${what} && exec "$@"`;
  return ['unshare', '--user', '--map-root-user', 'sh', '-c', script, 'sh'];
}

const [file, ...args] = watchless('max_inotify_instances');
const namespaces =
  limits || (spawnSync(file!, [...args, 'true']).status === 0 ? undefined : 'no user namespaces here');
if (namespaces) console.log(`faults-limits: watches skipped, ${namespaces}`);

describe.skipIf(namespaces)('an account that may watch no more folders', () => {
  test.for(['max_inotify_instances', 'max_inotify_watches'])(
    'is told of a message all the same, a second later (%s)',
    async (what, { scene }) => {
      const [producer, waiter] = await Promise.all([scene.start(), scene.start({ prefix: watchless(what) })]);
      await producer.manager.createQueue(Q);
      const waiting = waiter.manager.waitForMessage(Q, { timeout: 600_000 });
      // It has the queue open by now.
      await waiter.manager.queueStatus(Q);
      await producer.manager.addMessage(Q, { data: 1 });
      expect(await waiting).toBe(true);
      expect(await drain(waiter)).toEqual([1]);
    },
  );
});

describe.skipIf(limits)('a process that may not make files larger', () => {
  const MEGABYTE = 1024 * 1024;

  test('is told so, and leaves the reserve alone; others go on, and so does it when it may again', async ({
    scene,
  }) => {
    const [limited, other] = await Promise.all([scene.start(), scene.start()]);
    const { manager } = limited;
    await manager.createQueue(Q);
    limit(limited, `--fsize=${MEGABYTE}:`);
    const refused = {
      code: 'STORAGE_FAILED',
      message: expect.stringContaining('as large as this process may make one (ulimit -f) (EFBIG)') as string,
    };
    const add = (n: number): Promise<unknown> =>
      manager.addMessage(Q, { data: { n, filler: 'x'.repeat(50_000) } });
    const added: number[] = [];
    // The first one that does not fit is cut off in the middle.
    const error = await (async () => {
      for (;;) added.push(await add(added.length).then(() => added.length));
    })().catch((reason: unknown) => reason);
    expect(added.length).toBeGreaterThan(10);
    expect(error).toMatchObject(refused);
    for (const call of [add(-1), manager.claimMessages(Q)])
      expect(await refusal(call)).toMatchObject(refused);
    expect(existsSync(join(scene.queueFolder, 'reserve'))).toBe(true);
    await other.manager.addMessage(Q, { data: 'of another' });
    limit(limited, '--fsize=unlimited:');
    await manager.addMessage(Q, { data: 'again' });
    expect(await drain(limited)).toEqual([...added, 'of another', 'again']);
  });

  test('a command says so, with 69', async ({ scene }) => {
    const { manager } = await scene.start();
    await manager.createQueue(Q);
    await manager.addNumbers(Q, { first: 0, count: 20, bytes: 50_000 });
    const root = scene.cacheRoot;
    const { code, stdout, stderr } = await scene.bench.shell(
      `ulimit -f 1000; queue add ${Q} 1 --cache-root '${root}'`,
    );
    expect({ code, stdout }).toEqual({ code: EXIT.unavailable, stdout: '' });
    expect(stderr).toMatch(/^queue: .* \(ulimit -f\) \(EFBIG\) \(STORAGE_FAILED, .*\)\n$/);
  });
});
