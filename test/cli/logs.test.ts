/** Where `queue-worker` logs to, as a user sees it. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Bench, parsedLines, type Ended } from './commands.ts';

let bench: Bench;

beforeEach(() => {
  bench = new Bench();
  bench.install();
  mkdirSync(join(bench.folder, 'workers'));
  bench.file(
    'workers/talk.mjs',
    `import { Worker } from 'coda-queue';
    export default class extends Worker {
      start({ config, log }) { log.info('secret ' + config.http.httpSecret); }
      process({ data }, { log }) {
        if (data.raw) console.error(data.raw);
        if (data.die) process.kill(process.pid, 'SIGKILL');
        log.info(data.repeat ? data.text.repeat(data.repeat) : data.text, { password: 'hush' });
        log.debug('fine print');
      }
    }`,
  );
});
afterEach(() => bench.close());

interface Logged {
  time: string;
  level: string;
  text: string;
}

async function work(
  data: readonly object[],
  args: string[],
  env: Record<string, string> = {},
): Promise<Ended> {
  const text = data.map((item) => JSON.stringify({ data: item })).join('\n');
  const added = await bench.run('queue', ['add', 'talk', '--create', '--ndjson', '-'], text);
  expect([added.code, added.stderr]).toEqual([0, '']);
  return bench.run('queue-worker', ['talk', '--drain', '--json', ...args], '', env);
}

function file(name = 'coda.log'): string {
  return readFileSync(join(bench.folder, name), 'utf8');
}

const texts = (text: string): string[] => (parsedLines(text) as Logged[]).map((line) => line.text);

test('to stderr when the configuration says stdout, for stdout has the report', async () => {
  for (const destination of ['stdout', 'stderr', '']) {
    const { stdout, stderr, code } = await work([{ text: 'one' }], [], { CODA_DESTINATION: destination });
    expect(code).toBe(0);
    expect(parsedLines(stdout)).toMatchObject([{ ended: 'drained', completed: 1 }]);
    expect(texts(stderr)).toEqual([expect.stringMatching(/^working on/), 'secret ', 'one']);
  }
});

test('to a file, which says all and leaves stderr alone', async () => {
  bench.file('config.ini', '[log]\ndestination = logs/coda.log\nformat = syslog\nredact = password\n');
  const { stdout, stderr } = await work([{ text: 'one\ntwo' }], []);
  expect([parsedLines(stdout).length, stderr]).toEqual([1, '']);
  expect(file('logs/coda.log').split('\n')).toEqual([
    expect.stringMatching(/^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d : working on talk  worker=/),
    expect.stringMatching(/ : secret   queue=talk$/),
    expect.stringMatching(/ : one\\u000atwo  queue=talk  uuid=\S+  attempt=1  password=\[redacted\]$/),
    '',
  ]);
});

describe('with processes', () => {
  const env = { CODA_DESTINATION: 'coda.log', CODA_HTTP_SECRET: 'hush-hush' };

  test('each line is in the file once, also a long one; what is no line of a log goes to stderr', async () => {
    const data = Array.from({ length: 30 }, (_, i) => ({ text: `t${i}`, raw: `raw ${i}` }));
    const long = { text: 'long', repeat: 50_000 };
    const { code, stderr } = await work([...data, long], ['--processes', '3', '--log-level', 'DEBUG'], env);
    expect(code).toBe(0);
    expect(stderr.split('\n').sort()).toEqual(['', ...data.map(({ raw }) => raw)].sort());
    const lines = parsedLines(file()) as Logged[];
    const said = lines.filter(({ level }) => level === 'INFO').map(({ text }) => text);
    expect(said.filter((text) => /^t\d/.test(text)).sort()).toEqual(data.map(({ text }) => text).sort());
    expect(said).toContain('long'.repeat(50_000));
    expect(lines.filter(({ text }) => text === 'fine print')).toHaveLength(31);
    expect(lines.map(({ time }) => time)).toEqual(lines.map(({ time }) => time).sort());
    expect(file()).not.toContain('hush-hush');
    expect(said).toContain('secret [redacted]');
  });

  test('what a process said before it was killed is there', async () => {
    const { code } = await work(
      [{ text: 'before' }, { die: true, raw: 'last words' }],
      ['--processes', '1'],
      {
        ...env,
        CODA_CRASH_LIMIT: '1',
      },
    );
    expect(code).toBe(0);
    expect(texts(file())).toEqual(
      expect.arrayContaining(['before', expect.stringMatching(/was ended by SIGKILL/)]),
    );
  });
});

test.each([
  [['--log-level', 'OFF'], {}, []],
  [['--log-level', 'ERROR'], { CODA_LEVEL: 'DEBUG' }, []],
  [[], { CODA_LEVEL: 'DEBUG' }, ['fine print', 'completed']],
  [['--log-level', 'DEBUG', '--processes', '1'], { CODA_LEVEL: 'OFF' }, ['fine print', 'completed']],
])('at the level of %j, %j', async (args, env, last) => {
  const { stdout, stderr, code } = await work([{ text: 'one' }], args, env);
  expect(parsedLines(stdout)).toMatchObject([{ ended: 'drained', completed: 1 }]);
  // Of a member its parent speaks, too, whenever it comes to that.
  const said = texts(stderr).filter((text) => !/^process \d+ has begun$/.test(text));
  expect([code, said.slice(-2)]).toEqual([0, last]);
});

test('a file that cannot be written is refused before anything is done; a full disk is no reason to stop', async () => {
  const refused = await work([{ text: 'one' }], [], { CODA_DESTINATION: bench.folder });
  expect([refused.code, refused.stdout]).toEqual([78, '']);
  expect(refused.stderr).toMatch(
    /^queue-worker: \[log\] destination: expected a file, received a folder.*\n$/,
  );
  if (!existsSync('/dev/full')) return;
  const full = await work([], [], { CODA_DESTINATION: '/dev/full' });
  expect(parsedLines(full.stdout)).toMatchObject([{ completed: 1 }]);
  expect([full.code, full.stderr.split('\n')]).toEqual([
    0,
    [
      'the log "/dev/full": lines are being lost: ENOSPC',
      'the log "/dev/full": at its end 3 lines were lost: ENOSPC',
      '',
    ],
  ]);
});
