import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadConfig, type ConfigInput } from '../src/config.ts';
import { environmentOf } from '../src/config-environment.ts';
import { ALL_KEYS, variableOf } from '../src/config-keys.ts';
import { nearest } from '../src/suggest.ts';
import { parseDuration, parseSize } from '../src/units.ts';

let folder = '';

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-config-')));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function ini(text: string | Uint8Array, name = 'config.ini'): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

/** Nothing of this process's environment or working directory reaches the configuration. */
function load(input: ConfigInput = {}) {
  return loadConfig({ cwd: folder, env: {}, ...input });
}

function refused(text: string | Uint8Array): Promise<{ code: string; message: string }> {
  ini(text);
  return load().then(
    () => expect.fail('accepted'),
    (error: { code: string; message: string }) => error,
  );
}

describe('where the configuration comes from', () => {
  test.skipIf(process.platform === 'win32')(
    'a file that is there and cannot be read is no missing one',
    async () => {
      symlinkSync('config.ini', join(folder, 'config.ini'));
      await expect(load()).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        path: join(folder, 'config.ini'),
      });
      rmSync(join(folder, 'config.ini'));
      symlinkSync('nowhere', join(folder, 'config.ini'));
      await expect(load()).resolves.not.toHaveProperty('file');
    },
  );

  test('an option that is given as null is refused, also where the environment or the file has a value', async () => {
    ini('[queue]\nqueueType = cache\n');
    for (const env of [{}, { CODA_QUEUE_TYPE: 'memory' }]) {
      const flags = { queueType: null as unknown as string };
      await expect(load({ env, flags })).rejects.toMatchObject({
        message: expect.stringMatching(/^option queueType: expected .*, received null$/),
      });
    }
  });

  test('one variable among many of other programs is found', async () => {
    const env = { PATH: '/bin', CODA_API_KEY: 'x', CODA_LEASE: '7s', coda: '1' };
    expect((await load({ env })).worker.lease).toBe(7000);
  });

  test('without a file the defaults hold, and paths count from the working directory', async () => {
    const config = await load();
    expect(config).toEqual({
      queue: {
        queueType: 'cache',
        cacheRoot: join(folder, 'queues'),
        durability: 'always',
        syncInterval: 50,
        maxMessageBytes: 16 * 1024 * 1024,
        fileMode: 0o600,
        keepOutcomes: 1000,
      },
      worker: {
        workersDir: join(folder, 'workers'),
        concurrency: 1,
        lease: 30_000,
        stopDeadline: 25_000,
        backoff: 1000,
        backoffMax: 3_600_000,
        crashLimit: 3,
      },
      http: { httpUrl: '', httpTimeout: 30_000, httpSecret: '' },
      daemon: {
        daemonsDir: join(folder, 'daemons'),
        stateDir: join(folder, 'var'),
        stallAfter: 300_000,
        queues: [],
        onFailure: [{ kind: 'restart' }, { kind: 'restart' }, { kind: 'restart' }],
        recoveryDelay: 60_000,
        resetPeriod: 86_400_000,
        exitMode: 'failure',
        exitCode: 1,
      },
      log: {
        level: 'INFO',
        destination: 'stdout',
        format: 'auto',
        rotateSize: 16 * 1024 * 1024,
        rotateAge: 0,
        rotateKeep: 7,
        redact: [],
      },
      supervisor: {
        restartDelay: 1000,
        restartDelayMax: 60_000,
        restartReset: 600_000,
        restartLimit: 10,
      },
      call: {
        callScheme: 'tcp',
        callHost: '127.0.0.1',
        callPort: 4401,
        callToken: '',
        callConnections: 1000,
        methodsDir: join(folder, 'methods'),
      },
      api: {
        apiSocket: '',
        apiPort: 0,
        apiHost: '127.0.0.1',
        apiNames: [],
        controllersDir: join(folder, 'controllers'),
      },
      processes: [],
    });
  });

  test('config.ini.example is a valid file that changes nothing, and names every key', async () => {
    const example = readFileSync(new URL('../config.ini.example', import.meta.url), 'utf8');
    const file = ini(example);
    expect(await load()).toEqual({ file, ...(await load({ cwd: tmpdir(), config: file })) });
    const { file: _, ...fromFile } = await load();
    rmSync(file);
    expect(fromFile).toEqual(await load());
    for (const key of ALL_KEYS) expect(example).toMatch(new RegExp(`^${key} = `, 'm'));
  });

  test('--config wins over CODA_CONFIG, which wins over ./config.ini', async () => {
    ini('[worker]\nconcurrency = 2\n');
    const variable = ini('[worker]\nconcurrency = 3\n', 'variable.ini');
    const option = ini('[worker]\nconcurrency = 4\n', 'option.ini');
    expect((await load()).worker.concurrency).toBe(2);
    expect((await load({ env: { CODA_CONFIG: variable } })).worker.concurrency).toBe(3);
    const both = await load({ config: option, env: { CODA_CONFIG: variable } });
    expect([both.worker.concurrency, both.file]).toEqual([4, option]);
  });

  test('a flag wins over the environment, which wins over the file', async () => {
    ini('[queue]\ndurability = os\nkeepOutcomes = 1\nfileMode = 0660\n');
    const config = await load({
      env: { CODA_DURABILITY: 'interval', CODA_KEEP_OUTCOMES: '2', CODA_LEASE: '' },
      flags: { durability: 'always', lease: undefined },
    });
    expect(config.queue).toMatchObject({ durability: 'always', keepOutcomes: 2, fileMode: 0o660 });
    expect(config.worker.lease).toBe(30_000);
  });

  test('paths in the file count from its folder, typed ones from the working directory', async () => {
    mkdirSync(join(folder, 'etc'));
    const file = ini('[queue]\ncacheRoot = ../data\n[log]\ndestination = coda.log\n', 'etc/coda.ini');
    const config = await load({ config: file });
    expect(config.queue.cacheRoot).toBe(join(folder, 'data'));
    expect(config.worker.workersDir).toBe(join(folder, 'etc', 'workers'));
    expect(config.log.destination).toBe(join(folder, 'etc', 'coda.log'));
    const typed = await load({
      config: file,
      flags: { cacheRoot: 'here' },
      env: { CODA_WORKERS_DIR: 'there' },
    });
    expect(typed.queue.cacheRoot).toBe(join(folder, 'here'));
    expect(typed.worker.workersDir).toBe(join(folder, 'there'));
  });

  test('a file that is named must exist', async () => {
    await expect(load({ config: 'absent.ini' })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      path: join(folder, 'absent.ini'),
      message: expect.stringContaining('ENOENT'),
    });
    await expect(load({ env: { CODA_CONFIG: folder } })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await expect(load({ config: '' })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });

  test('the result is frozen, sections too', async () => {
    const config = await load();
    for (const part of [config, config.queue, config.worker, config.log])
      expect(Object.isFrozen(part)).toBe(true);
  });
});

describe('what must not be shown', () => {
  test.each([
    ['[http]\nhttpSecret = whsec_hush!\n', 'httpSecret: expected a text, or whsec_ and base64'],
    ['[http]\nhttpUrl = ftp://me:hush@host/\n', 'httpUrl: expected a URL that begins with http://'],
    ['[http]\nhttpUrl = http://hush%zz@host/\n', 'httpUrl: expected a URL'],
    ['[http]\nhttpUrl = hush\n', 'httpUrl: expected a URL'],
    ['[http]\nhttpSecret: hush\n', 'line 2'],
    ['[http]\nhttpSecret = "hush";hush\n', 'expected nothing behind the closing quote'],
    ['[http.httpSecret]\nhush = 1\n', 'expected a plain value'],
    ['[http]\nhttpSecret = a\nhttpSecret = hush\n', 'received 2 times'],
    ['[http]\nhttpSecrets = hush\n', 'did you mean httpSecret?'],
  ])('%j is refused without a word of it', async (text, why) => {
    const { code, message } = await refused(text);
    expect([code, message]).toEqual(['CONFIG_INVALID', expect.stringContaining(why)]);
    expect(message).not.toContain('hush');
  });

  test('nor in an environment variable', async () => {
    const loading = load({ env: { CODA_HTTP_URL: 'hush' } });
    await expect(loading).rejects.toMatchObject({
      message: expect.stringMatching(/^environment variable CODA_HTTP_URL: (?!.*hush)/),
    });
  });

  test.each(['plain', 'whsec_c2VjcmV0', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'whsec_YQ=='])(
    'the secret %s is taken',
    async (httpSecret) => {
      ini(`[http]\nhttpSecret = ${httpSecret}\nhttpUrl = https://me:p%40ss@host:1/x?y=z\n`);
      expect((await load()).http).toMatchObject({ httpSecret, httpUrl: 'https://me:p%40ss@host:1/x?y=z' });
    },
  );
});

describe('what is refused', () => {
  test.each([
    ['[queue]\ncacheRot = x\n', 'did you mean cacheRoot?'],
    ['[queu]\ncacheRoot = x\n', 'did you mean queue?'],
    ['[queue]\nlease = 1s\n', 'belongs to section [worker]'],
    ['[queue]\nelephant = 1\n', 'expected one of queueType, cacheRoot'],
    ['durability = os\n', 'below a [section]'],
    ['[queue\ndurability = os\n', 'below a [section]'],
    ['[queue.more]\nx = 1\n', 'unknown key "more"'],
    ['[worker.lease]\nx = 1\n', 'expected a plain value'],
    ['[worker]\nlease = 1s\nlease = 2s\n', 'expected once, received 2 times'],
    ['[worker]\nlease[] = 1s\n', 'unknown key "lease[]"'],
    ['[__proto__]\nlease = 1s\n', 'line 1'],
    ['[worker]\n__proto__ = 1\n', 'line 2'],
    ['[queue]\ncacheRoot\n', 'line 2'],
    ['[constructor]\nname = x\n', 'unknown section "constructor"'],
    ['[worker]\ntoString = x\n', 'unknown key "toString"'],
    ['[worker]\n= 1\n', 'line 2'],
    ['[worker]\nlease\n', 'received "lease"'],
    ['[api]\napiPort = 65536\n', 'a whole number from 0 to 65535'],
    ['[api]\napiHost = 0.0.0.0\n', 'an address of this machine alone'],
    ['[api]\napiHost = localhost\n', 'an address of this machine alone'],
    ['[api]\napiNames = coda.example.org:80\n', 'names of hosts'],
    ['[api]\napiNames = *\n', 'names of hosts'],
    ['[worker]\nlease = 30\n', 'with its unit'],
    ['[worker]\nlease = -1s\n', 'expected a duration'],
    ['[worker]\nlease = 2d\n', '100ms to 1d'],
    ['[worker]\nconcurrency = 0\n', 'whole number from 1'],
    ['[worker]\nconcurrency = 1.5\n', 'whole number'],
    ['[worker]\nconcurrency = 1e3\n', 'whole number'],
    ['[worker]\nbackoff = 2h\n', 'at least backoff'],
    ['[queue]\ndurability = Always\n', 'one of always, interval, os'],
    ['[queue]\nmaxMessageBytes = 1TB\n', 'expected a size'],
    ['[queue]\nfileMode = 0777\n', 'octal'],
    ['[queue]\nfileMode = 0400\n', 'octal'],
    ['[queue]\ncacheRoot = "a" ; b\n', 'closing quote'],
    ['[queue]\ncacheRoot =\n', 'expected a path'],
    ['[queue]\ncacheRoot = "a\\u0000b"\n', 'expected a path'],
    ['[daemon]\nstateDir =\n', 'expected a path'],
    ['[log]\nlevel = \u001b[31mred\n', 'received "\\u001b[31mred"'],
  ])('%j', async (text, said) => {
    const error = await refused(text);
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message).toContain(said);
    expect(error.message).toContain('config.ini');
  });

  test('a file of more than a mebibyte, or not UTF-8', async () => {
    expect((await refused('; '.padEnd(1024 * 1024 + 1, 'x'))).message).toContain('at most 1048576 bytes');
    expect((await refused(Uint8Array.of(0x5b, 0xff, 0xfe))).message).toContain('UTF-8');
  });

  test('a wrong value names its variable or its option', async () => {
    const fromEnv = load({ env: { CODA_LEASE: 'soon' } });
    await expect(fromEnv).rejects.toThrow('environment variable CODA_LEASE: expected a duration');
    await expect(load({ flags: { lease: 'soon' } })).rejects.toThrow('option lease: expected a duration');
    await expect(load({ flags: { lease: Number.NaN } })).rejects.toThrow('option lease');
    const alien = { cacheRoot: ['x'] } as unknown as NonNullable<ConfigInput['flags']>;
    await expect(load({ flags: alien })).rejects.toThrow('option cacheRoot: expected a path, received ["x"]');
  });

  test('a slip of the pen in a variable or an option is told, a variable of another program is not', async () => {
    await expect(load({ env: { CODA_CACHEROOT: 'x' } })).rejects.toThrow('did you mean CODA_CACHE_ROOT?');
    const typo = { cacheRot: 'x' } as NonNullable<ConfigInput['flags']>;
    await expect(load({ flags: typo })).rejects.toThrow('did you mean cacheRoot?');
    await load({ env: { CODA_API_KEY: 'x', CODA_TOKEN: 'y' } });
  });
});

test('a byte order mark, CRLF, comments and quotes are understood', async () => {
  ini(
    '\ufeff; hello\r\n[queue]\r\n# __proto__ in a comment is no key\r\ncacheRoot = "a;b"\r\nqueueType = cache ; why not\r\n',
  );
  expect((await load()).queue.cacheRoot).toBe(join(folder, 'a;b'));
});

test('programs give numbers of milliseconds, bytes and mode bits', async () => {
  const { queue, worker } = await load({
    flags: { lease: 1500, maxMessageBytes: 10, fileMode: 0o640, concurrency: 8 },
  });
  expect([worker.lease, worker.concurrency, queue.maxMessageBytes, queue.fileMode]).toEqual([
    1500, 8, 10, 0o640,
  ]);
});

test('what is wrong can be told instead of thrown: all of it, and the rest holds', async () => {
  ini(
    '[worker]\nlease = 2m\nconcurrency = 0\nwhat is this\nlaese = 3s\n[queue]\ncacheRoot = here\ncacheRoot = there\n' +
      '[queeu]\nx = 1\n[http]\nhttpSecret = whsec_hush!\n[daemon]\nstateDir = state\n',
  );
  const told: string[] = [];
  const { worker, queue, daemon, http } = await load({
    env: { CODA_CACHEROOT: 'x' },
    onWrong: ({ code, message }) => told.push(`${code} ${message}`),
  });
  expect(
    told.map((each) => /line \d+|\[[a-z]+\] [a-zA-Z]+(?=:| unknown)|unknown .*/.exec(each)?.[0]),
  ).toEqual([
    'line 4',
    'unknown key "laese"; did you mean lease?',
    '[queue] cacheRoot',
    'unknown section "queeu"; did you mean queue?',
    'unknown environment variable "CODA_CACHEROOT"; did you mean CODA_CACHE_ROOT?',
    '[worker] concurrency',
    '[http] httpSecret',
  ]);
  expect(told.join('')).not.toContain('hush');
  expect(worker).toMatchObject({ lease: 120_000, concurrency: 1 });
  expect([queue.cacheRoot, daemon.stateDir, http.httpSecret]).toEqual([
    join(folder, 'queues'),
    join(folder, 'state'),
    '',
  ]);
  await expect(load({ config: 'nowhere.ini', onWrong: () => undefined })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
  });
});

test('a configuration is the same when it is read from the environment that it makes', async () => {
  ini(
    '[queue]\ncacheRoot = q\nfileMode = 0660\nsyncInterval = 1.5s\nmaxMessageBytes = 1MiB\n[worker]\nlease = 2m\nstopDeadline = 0\n' +
      '[http]\nhttpUrl = "https://a:b@c.example/;#"\nhttpSecret = "hush;#\'"\n' +
      '[log]\nlevel = OFF\ndestination = a.log\nrotateAge = 1d\nredact = password, headers.authorization\n',
  );
  const { queue, worker, http, log } = await load();
  const env = environmentOf(await load());
  mkdirSync(join(folder, 'other'));
  ini('[workre]\n', 'other/config.ini');
  const same = await load({ env, cwd: join(folder, 'other') });
  expect(same).toMatchObject({ queue, worker, http, log });
  for (const name of Object.keys({ ...queue, ...worker, ...http, ...log }))
    expect(Object.keys(env)).toContain(variableOf(name));
});

test('durations and sizes', () => {
  const durations = ['50ms', '1.5h', ' 2 d ', '0', '10m', 7, '30', '1w', '-1s', '', '1e3s', Number.NaN, -1];
  expect(durations.map(parseDuration)).toEqual([50, 5_400_000, 172_800_000, 0, 600_000, 7, ...nothings(7)]);
  const sizes = ['16MiB', '1kB', '1.5 kib', '12', '0b', 9, '1TB', 'MiB', '', '-1', Number.POSITIVE_INFINITY];
  expect(sizes.map(parseSize)).toEqual([16_777_216, 1000, 1536, 12, 0, 9, ...nothings(5)]);
});

test('a near word is suggested, a far one is not', () => {
  const verbs = ['create', 'add', 'status', 'list', 'verify'];
  expect(['craete', 'STATSU', 'ad', 'lst', 'verfy'].map((word) => nearest(word, verbs))).toEqual([
    'create',
    'status',
    'add',
    'list',
    'verify',
  ]);
  expect(['elephant', 'x', '', 'a'.repeat(100_000)].map((word) => nearest(word, verbs))).toEqual(nothings(4));
});

function nothings(length: number): undefined[] {
  return Array.from({ length }, () => undefined);
}
