/**
 * What scripts/bundle.mjs must keep. Above all what programs and commands load as they start: that is what makes their
 * users wait, and it grows unnoticed.
 */
import { execFile } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { COMPLETE } from '../bin/complete.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DIST = join(ROOT, 'dist');
const QUEUE = join(DIST, 'bin/queue.js');

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-start-up-')));
const here = ['--cache-root', join(folder, 'queues')];

beforeAll(() => loadedBy(QUEUE, 'create', 'mail', ...here));
afterAll(() => rmSync(folder, { recursive: true }));

test('a program that enqueues a message loads two files of the package, and no other package', async () => {
  const program = join(folder, 'program.mjs');
  writeFileSync(
    program,
    `import { QueueManager } from ${JSON.stringify(pathToFileURL(join(DIST, 'src/index.js')).href)};
    const manager = await QueueManager.open({ cacheRoot: ${JSON.stringify(join(folder, 'queues'))} });
    await manager.addMessage('mail', { data: 1 });
    await manager.close();`,
  );
  const { files, builtins } = await loadedBy(program);
  expect(files).toEqual([program, join(DIST, 'src/index.js'), join(DIST, 'src/shared/core.js')].sort());
  // Each takes a millisecond or more.
  for (const dear of ['child_process', 'net', 'perf_hooks', 'readline', 'worker_threads', 'crypto'])
    expect(builtins).not.toContain(`NativeModule ${dear}`);
});

test.each([
  ['add', 'mail', '{}'],
  ['status', 'mail'],
])('queue %s loads no package that it does not need', async (...verb) => {
  const { files } = await loadedBy(QUEUE, ...verb, ...here);
  expect(files.filter((file) => file.startsWith(DIST)).length).toBeLessThan(6);
  expect(files.filter((file) => /node_modules.(date-fns|ini|jiti|pino)\b/.test(file))).toEqual([]);
});

test('what is asked while typing does not wait for the log', async () => {
  for (const word of [[COMPLETE, '--', '--'], ['--help']]) {
    const { files } = await loadedBy(join(DIST, 'bin/queue-worker.js'), ...word);
    expect(files.filter((file) => /node_modules.pino\b/.test(file))).toEqual([]);
  }
});

test('commands find the workers that ship, from any folder', async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [join(DIST, 'bin/queue-worker.js'), COMPLETE, '--', ''],
    { cwd: folder },
  );
  expect(stdout.split('\n').map((line) => line.trim())).toContain('http');
});

/** Runs a program to its end: the files that it has loaded, in order of their names, and Node's own modules. */
async function loadedBy(
  program: string,
  ...args: string[]
): Promise<{ files: string[]; builtins: string[] }> {
  const traces = mkdtempSync(join(folder, 'traces-'));
  const hook = `process.on('exit', () => process.getBuiltinModule('fs').writeFileSync(
    ${JSON.stringify(join(traces, 'builtins'))}, JSON.stringify(process.moduleLoadList)))`;
  mkdirSync(join(traces, 'scripts'));
  await promisify(execFile)(
    process.execPath,
    ['--import', `data:text/javascript,${encodeURIComponent(hook)}`, program, ...args],
    { cwd: folder, env: { PATH: process.env['PATH'], NODE_V8_COVERAGE: join(traces, 'scripts') } },
  );
  const [name = ''] = readdirSync(join(traces, 'scripts'));
  const { result } = JSON.parse(readFileSync(join(traces, 'scripts', name), 'utf8')) as {
    result: { url: string }[];
  };
  return {
    files: result
      .filter(({ url }) => url.startsWith('file:'))
      .map(({ url }) => fileURLToPath(url))
      .sort(),
    builtins: JSON.parse(readFileSync(join(traces, 'builtins'), 'utf8')) as string[],
  };
}
