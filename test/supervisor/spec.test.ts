import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadConfig, type Config } from '../../src/config.ts';
import type { QueueError } from '../../src/errors.ts';
import type { ProcessSpec } from '../../src/supervisor/shape.ts';
import { PROCESS_KEYS, checkProcess, configuredProcesses, inputOf } from '../../src/supervisor/spec.ts';

let folder: string;

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-p2-spec-')));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function load(text: string): Promise<Config> {
  writeFileSync(join(folder, 'config.ini'), text);
  return loadConfig({ cwd: folder, env: {} });
}

async function processes(text: string): Promise<ProcessSpec[]> {
  return configuredProcesses(await load(text));
}

async function refused(text: string): Promise<QueueError> {
  try {
    await processes(text);
  } catch (error) {
    return error as QueueError;
  }
  throw new Error('it was accepted');
}

async function checked(input: unknown): Promise<ProcessSpec> {
  return checkProcess(input, { config: await load(''), folder });
}

describe('a section', () => {
  test('says what is run, and the rest is as the other sections say', async () => {
    const [spec] = await processes(
      '[worker]\nstopDeadline = 7s\n[supervisor]\nrestartDelay = 2s\nrestartLimit = 3\n' +
        '[daemon]\nonFailure = restart, run /bin/page\n[process:mails]\nworker = mail\n',
    );
    expect(spec).toEqual({
      name: 'mails',
      kind: 'worker',
      target: 'mail',
      args: [],
      params: {},
      instances: 1,
      autoscale: undefined,
      queue: 'mail',
      concurrency: undefined,
      autostart: true,
      stopDeadline: 7000,
      memoryLimit: undefined,
      recovery: {
        onFailure: [
          { kind: 'restart' },
          { kind: 'run', command: ['/bin/page'] },
          { kind: 'run', command: ['/bin/page'] },
        ],
        delay: 2000,
        delayMax: 60_000,
        resetPeriod: 600_000,
        limit: 3,
      },
    });
  });

  test('says all that can be said', async () => {
    const [spec] = await processes(
      '[process:w]\nworker = mail\nqueue = mails\ninstances = 2-8\nscaleBacklog = 50\nscaleAge = 30s\nconcurrency = 4\n' +
        'autostart = false\nstopDeadline = 1s\nmemoryLimit = 200MiB\nonFailure = none\nrestartDelay = 1ms\n' +
        'restartDelayMax = 2ms\nrestartReset = 1s\nrestartLimit = 0\n',
    );
    expect(spec).toMatchObject({
      queue: 'mails',
      instances: 2,
      autoscale: { min: 2, max: 8, backlog: 50, age: 30_000 },
      concurrency: 4,
      autostart: false,
      stopDeadline: 1000,
      memoryLimit: 200 * 1024 ** 2,
      recovery: { delay: 1, delayMax: 2, resetPeriod: 1000, limit: 0 },
    });
  });

  test('has paths count from the folder of the file, and leaves a bare program to PATH', async () => {
    const [camera, shell, tool] = await processes(
      '[process:camera]\nclass = lib/camera.ts\nparams.city = Rome\nparams.a.b = "x;y"\n' +
        '[process:shell]\nexec = sh -c "exit 0"\n[process:tool]\nexec = "bin/tool \'a b\' ; c"\n',
    );
    expect(camera).toMatchObject({
      kind: 'class',
      target: join(folder, 'lib/camera.ts'),
      params: { city: 'Rome', 'a.b': 'x;y' },
    });
    expect(shell).toMatchObject({ kind: 'exec', target: 'sh', args: ['-c', 'exit 0'] });
    expect(tool).toMatchObject({ target: join(folder, 'bin/tool'), args: ['a b', ';', 'c'] });
  });

  test('may be one of many with the same keys, with dots in its name, between other sections', async () => {
    const config = await load(
      '[process:a.b]\nworker = one\ninstances = 2\n[queue]\ncacheRoot = q\n[process:a]\nworker = two\ninstances = 3\n' +
        '[process:12]\ndaemon = three\n[log]\nlevel = WARN\n',
    );
    expect(configuredProcesses(config).map(({ name, target }) => `${name}=${target}`)).toEqual([
      'a.b=one',
      'a=two',
      '12=three',
    ]);
    expect([config.queue.cacheRoot, config.log.level]).toEqual([join(folder, 'q'), 'WARN']);
  });

  test('that is wrong keeps only the supervisor from beginning', async () => {
    const config = await load('[process:x]\nwroker = mail\n');
    expect(config.queue.cacheRoot).toBe(join(folder, 'queues'));
    expect(() => configuredProcesses(config)).toThrow('did you mean worker?');
  });
});

test('every key is told in docs/supervisor.md and in config.ini.example', () => {
  const read = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');
  const example = read('config.ini.example');
  const table = read('docs/supervisor.md')
    .split('\n')
    .filter((line) => line.startsWith('| `'));
  for (const key of PROCESS_KEYS) {
    expect(example, key).toMatch(new RegExp(`^;.*\\b${key}\\b`, 'm'));
    expect(
      table.some((line) => line.split('|')[1]?.includes(`\`${key}\``)),
      key,
    ).toBe(true);
  }
});

describe('refused, with the place and what was expected:', () => {
  test.for([
    ['[process:x]\n', 'expected one of class, daemon, worker and exec, received none of them'],
    ['[process:x]\nclass = a\nworker = b\n', 'received class and worker'],
    ['[process:x]\nworker = ../b\n', 'worker: expected a type of worker, received "../b"'],
    ['[process:x]\ndaemon = .b\n', 'daemon: expected the name of a daemon'],
    ['[process:x]\ndaemon = supervisor\n', 'expected another one than the supervisor itself'],
    ['[process:x]\ndaemon = d\ninstances = 2\n', 'one process at most runs a daemon'],
    ['[process:x]\nexec =\n', 'exec: expected a command'],
    ['[process:x]\nexec = sh "x\n', 'a closing "'],
    ['[process:x]\nworker = a\ninstances = 8-1\n', 'instances: expected a whole number'],
    ['[process:x]\nworker = a\ninstances = 513\n', 'received "513"'],
    ['[process:x]\nworker = a\ninstances = -1\n', 'received "-1"'],
    ['[process:x]\nexec = a\ninstances = 1-3\n', 'where it is no worker'],
    ['[process:x]\nworker = a\nscaleAge = 1m\n', 'scaleAge: expected only with instances from least to most'],
    ['[process:x]\nworker = a\nparams.x = 1\n', 'params: expected only with class'],
    ['[process:x]\nexec = a\nqueue = q\n', 'queue: expected only with worker'],
    ['[process:x]\nexec = a\nconcurrency = 2\n', 'concurrency: expected only with worker'],
    ['[process:x]\nexec = a\nautostart = yes\n', 'expected true or false, received "yes"'],
    ['[process:x]\nexec = a\nonFailure = reboot\n', 'received reboot, which is for services'],
    ['[process:x]\nexec = a\nrestartDelay = 2m\n', 'restartDelayMax: expected at least restartDelay'],
    ['[process:x]\nexec = a\nmemoryLimit = 5\n', 'memoryLimit: expected 0 (no limit), or a size'],
    ['[process:x]\nexec = a\nname = y\n', 'unknown key "name"'],
    ['[process:x]\nexec = a\ninstanses = 1\n', 'did you mean instances?'],
    ['[process:x]\nexec = a\ncacheRoot = 1\n', 'belongs to section [queue]'],
    ['[process:x]\nexec = a\nexec = b\n', 'expected one value, received 2'],
    ['[process:x]\nclass = a\nparams.1 = b\n', 'params: expected names'],
    ['[process:x]\nclass = a\nparams.__proto__ = b\n', 'expected key = value'],
    ['[process:x]\nexec = a\n[process:x]\nexec = a\n', 'expected once, received again'],
    ['[process:]\nexec = a\n', 'name: expected 1 to 64 letters'],
    ['[process:a#1]\nexec = a\n', 'name: expected 1 to 64 letters'],
    ['[process:../x]\nexec = a\n', 'name: expected 1 to 64 letters'],
    ['[process:__proto__]\nexec = a\n', 'expected key = value or [section]'],
    ['[process:\u001b[31m]\nexec = a\n', '\\u001b'],
    ['[process]\nexec = a\n', 'unknown section "process"'],
  ])('%j', async ([text, said]) => {
    const error = await refused(text ?? '');
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message).toContain(said);
    expect(error.message).toContain('config.ini');
    expect(error.path).toBe(join(folder, 'config.ini'));
  });
});

describe('an object', () => {
  test('says the same with numbers and words, and is copied', async () => {
    const params = { deep: { list: [1, 2] } };
    const spec = await checked({
      name: 'x',
      class: 'a.ts',
      params,
      instances: 3,
      stopDeadline: 500,
      queue: undefined,
    });
    params.deep.list.push(3);
    expect(spec).toMatchObject({ params: { deep: { list: [1, 2] } }, instances: 3, stopDeadline: 500 });
    expect(await checked({ name: 'y', exec: ['a b', ''] })).toMatchObject({ target: 'a b', args: [''] });
  });

  test('comes back the same from what a process is described by', async () => {
    const specs = await processes(
      '[daemon]\nonFailure = restart, run "/bin/page all" "a, b" ""\n[process:a]\nclass = c.ts\nparams.x = "y;"\nmemoryLimit = 1GiB\n' +
        '[process:b]\nworker = w\nqueue = q\ninstances = 0-9\nconcurrency = 3\n[process:c]\nexec = ./x "a b" \'"\'\nautostart = false\n' +
        '[process:d]\ndaemon = queue\nrestartLimit = 0\n',
    );
    expect(specs).toHaveLength(4);
    const config = await load('[supervisor]\nrestartDelay = 3s\n[worker]\nstopDeadline = 1s\n');
    for (const spec of specs) {
      const input: unknown = JSON.parse(JSON.stringify(inputOf(spec)));
      expect(checkProcess(input, { config, folder: '/elsewhere' })).toEqual(spec);
    }
  });

  test.for([
    [null, 'expected a process { name, … }, received null'],
    ['x', 'received "x"'],
    [[], 'received []'],
    [{}, 'name: expected'],
    [{ name: ['x'], exec: 'a' }, 'name: expected'],
    [{ name: '__proto__\n', exec: 'a' }, 'name: expected'],
    [{ name: 'x', exec: { a: 1 } }, 'exec: expected a command, received {"a":1}'],
    [{ name: 'x', exec: ['a', 5] }, 'exec: expected'],
    [{ name: 'x', exec: [] }, 'exec: expected'],
    [{ name: 'x', exec: ['a\0'] }, 'exec: expected'],
    [{ name: 'x', worker: 'a', instances: 1.5 }, 'instances: expected'],
    [{ name: 'x', worker: 'a', instances: { toString: 'x' } }, 'instances: expected'],
    [{ name: 'x', exec: 'a', autostart: 1 }, 'autostart: expected true or false'],
    [{ name: 'x', class: 'a', params: 'text' }, 'params: expected an object'],
    [{ name: 'x', class: 'a', params: { x: Number.NaN } }, 'params'],
    [{ name: 'x', class: 'a', params: { x: 'y'.repeat(70_000) } }, 'params: expected at most 65536 bytes'],
    [JSON.parse('{"name":"x","class":"a","params":{"__proto__":{"y":1}}}'), 'params: expected names'],
    [JSON.parse('{"name":"x","exec":"a","__proto__":{"y":1}}'), 'unknown key "__proto__"'],
    [{ name: 'x', exec: 'a', constructor: 1 }, 'unknown key "constructor"'],
    [{ name: 'x', exec: 'a', ['y'.repeat(1_000_000)]: 1 }, 'unknown key'],
  ] as [unknown, string][])('that is wrong is refused: %#', async ([input, said]) => {
    const error = await checked(input).catch((error: unknown) => error as QueueError);
    expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
    expect((error as QueueError).message).toContain(said);
    expect((error as QueueError).message.length).toBeLessThan(1000);
  });
});
