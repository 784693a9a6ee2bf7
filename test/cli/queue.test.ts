import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Bench, parsedLines } from './commands.ts';
import { CONTROLS_IN_LINES } from '../support/controls.ts';

let bench: Bench;

beforeEach(() => {
  bench = new Bench();
});
afterEach(() => bench.close());

describe('queue create', () => {
  test('creates a queue, once, with its options', async () => {
    expect(
      await bench.queue('create', 'mails', '--unique-alias', '--max-messages', '5', '--max-bytes', '1MiB'),
    ).toMatchObject({
      code: 0,
      stdout: 'created mails\n',
      stderr: '',
    });
    expect((await bench.queue('create', 'mails')).stdout).toBe('mails was there already\n');
    expect(await bench.json('create', 'mails')).toEqual({ queue: 'mails', created: false });
    expect(await bench.json('status', 'mails')).toMatchObject({
      options: { uniqueAlias: true, maxMessages: 5, maxBytes: 1_048_576 },
    });
  });

  test('refuses a bad name with a code of its own', async () => {
    const { code, stdout, stderr } = await bench.queue('create', '../x');
    expect([code, stdout]).toEqual([64, '']);
    expect(stderr).toContain('INVALID_QUEUE_NAME');
  });
});

describe('queue add', () => {
  beforeEach(() => bench.queue('create', 'mails'));

  test('adds what is given as an argument, with its options', async () => {
    const options = ['--alias', 'A-1', '--retries', '3', '--user', 'eve', '--disabled'];
    const added = await bench.json('add', 'mails', '{"to":"a"}', ...options);
    expect(added).toMatchObject({
      data: { to: 'a' },
      alias: 'A-1',
      retries: 3,
      username: 'eve',
      disabled: true,
      duplicate: false,
    });
    expect(await bench.json('status', 'mails')).toMatchObject({ counts: { disabled: 1 } });
  });

  test('adds what comes on stdin', async () => {
    const { code, stdout } = await bench.run('queue', ['add', 'mails', '-', '--json'], '"from a pipe"\n');
    expect([code, JSON.parse(stdout)]).toMatchObject([0, { data: 'from a pipe' }]);
  });

  test('defers by a duration or to a date', async () => {
    const before = Date.now();
    const soon = (await bench.json('add', 'mails', '1', '--defer', '10m')) as {
      dateTimeDeferredExecution: string;
    };
    const due = Date.parse(soon.dateTimeDeferredExecution);
    expect(due).toBeGreaterThanOrEqual(before + 600_000);
    expect(due).toBeLessThanOrEqual(Date.now() + 600_000);
    const later = await bench.json('add', 'mails', '1', '--defer', '2099-12-24T18:00:00Z');
    expect(later).toMatchObject({ state: 'deferred', dateTimeDeferredExecution: '2099-12-24T18:00:00.000Z' });
    for (const date of ['2099-02-30', 'tomorrow', '', '-1s']) {
      expect((await bench.queue('add', 'mails', '1', `--defer=${date}`)).code).toBe(64);
    }
  });

  test('to a queue that does not exist fails with the near name, unless it is to be created', async () => {
    const { code, stderr } = await bench.queue('add', 'mials', '1');
    expect(code).toBe(69);
    expect(stderr).toContain('did you mean "mails"? --create makes it (QUEUE_NOT_FOUND');
    expect((await bench.queue('add', 'orders', '1')).stderr).toContain('named "orders"; --create makes it (');
    expect((await bench.queue('add', 'mials', '1', '--create')).code).toBe(0);
  });

  test.each([
    [['add', 'mails', '{not json'], 1, 'expected the payload as JSON'],
    [['add', 'mails'], 64, 'either [data] or --ndjson'],
    [['add', 'mails', '1', '--ndjson', '-'], 64, 'either [data] or --ndjson'],
    [['add', 'mails', '--ndjson', '-', '--alias', 'x'], 64, 'each line has its own'],
    [['add', 'mails', '1', '--retries', '-1'], 64, 'whole number'],
    [['add', 'mails', '1', '--alias', 'x'.repeat(1025)], 1, 'alias'],
    [['add', 'mails', '1', '--retires', '1'], 64, 'Did you mean --retries?'],
  ])('refuses %j', async (args, expected, said) => {
    const { code, stdout, stderr } = await bench.queue(...args);
    expect([code, stdout]).toEqual([expected, '']);
    expect(stderr).toContain(said);
    expect(await bench.json('status', 'mails')).toMatchObject({ messagesToProcess: 0 });
  });
});

describe('queue add --ndjson', () => {
  const lines = [
    '{"alias":"a","data":{"n":1}}',
    '',
    '{"data":2,"retries":4,"username":"u","disabled":true}\r',
    '{"data":"\u{1F4E8}","dateTimeDeferredExecution":"2099-01-01T00:00:00Z"}',
  ].join('\n');

  test.each(['file', 'stdin'])('adds a message for every line of a %s, in order', async (kind) => {
    const path = kind === 'file' ? bench.file('in.ndjson', lines) : '-';
    const args = ['add', 'bulk', '--create', '--ndjson', path, '--retries', '2', '--json'];
    const { code, stdout, stderr } = await bench.run('queue', args, kind === 'file' ? '' : lines);
    expect([code, stderr]).toEqual([0, '']);
    expect(parsedLines(stdout)).toMatchObject([
      { alias: 'a', data: { n: 1 }, retries: 2 },
      { alias: '', data: 2, retries: 4, username: 'u', disabled: true },
      { data: '\u{1F4E8}', state: 'deferred', dateTimeDeferredExecution: '2099-01-01T00:00:00.000Z' },
    ]);
  });

  test.each([
    ['not JSON', '{"data":1}\n{"data":', 'line 2: expected a JSON object'],
    ['no object', '{"data":1}\n\n[1]', 'line 3: expected an object'],
    ['no data', '{"data":1}\n{"alias":"x"}', 'line 2'],
    ['an unknown key', '{"data":1}\n{"data":1,"retires":3}', 'did you mean retries?'],
    ['a date that is none', '{"data":1}\n{"data":1,"dateTimeDeferredExecution":"2026-02-30"}', 'line 2'],
    ['a key __proto__', '{"data":1}\n{"data":1,"__proto__":{"retries":1}}', 'line 2'],
  ])('adds nothing when a line has %s, and names the line', async (_, text, said) => {
    const args = ['add', 'bulk', '--create', '--ndjson', '-'];
    const { code, stdout, stderr } = await bench.run('queue', args, text);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain(said);
    expect(stderr).toContain('nothing was added');
    expect((await bench.queue('status', 'bulk')).code).toBe(69);
  });

  test('adds nothing when a line is not UTF-8 or longer than any message may be', async () => {
    const bytes = bench.file(
      'bytes.ndjson',
      Buffer.concat([Buffer.from('{"data":1}\n"'), Uint8Array.of(0xff)]),
    );
    expect(await bench.queue('add', 'bulk', '--create', '--ndjson', bytes)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('line 2: expected text in UTF-8') as string,
    });
    const long = bench.file('long.ndjson', `{"data":"${'x'.repeat(80_000)}"}`);
    const config = bench.file('small.ini', '[queue]\nmaxMessageBytes = 1kB\n');
    expect(await bench.queue('add', 'bulk', '--create', '--ndjson', long, '--config', config)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('line 1: expected at most') as string,
    });
  });

  test('counts the duplicates of a queue with unique aliases', async () => {
    await bench.queue('create', 'bulk', '--unique-alias');
    await bench.queue('add', 'bulk', '1', '--alias', 'a');
    const { stdout } = await bench.run('queue', ['add', 'bulk', '--ndjson', '-'], lines);
    expect(stdout).toBe('added 2 messages to bulk, 1 duplicate of waiting ones left out\n');
  });

  test('refuses a folder as a file, by name or as stdin', async () => {
    for (const input of ['.', '- < .']) {
      const { code, stdout, stderr } = await bench.shell(`queue add bulk --create --ndjson ${input}`);
      expect({ code, stdout }).toEqual({ code: 64, stdout: '' });
      expect(stderr).toMatch(/^queue: expected a file with one message per line, .* is a folder/);
    }
  });

  test('leaves no temporary file behind', async () => {
    const tmp = join(bench.folder, 'tmp');
    await bench.run('queue', ['create', 'bulk']);
    mkdirSync(tmp);
    await bench.run('queue', ['add', 'bulk', '--ndjson', '-'], lines, { TMPDIR: tmp });
    await bench.run('queue', ['add', 'bulk', '--ndjson', '-'], 'bad', { TMPDIR: tmp });
    expect(readdirSync(tmp)).toEqual([]);
  });

  test('more than one batch arrives whole and in order, lines longer than a read among them', async () => {
    const data = Array.from({ length: 2500 }, (_, index) =>
      index % 1000 === 7 ? '€'.repeat(200_000) : index,
    );
    const lines = data.map((each) => JSON.stringify({ data: each })).join('\n');
    const { stdout } = await bench.run(
      'queue',
      ['add', 'bulk', '--create', '--ndjson', '-', '--json'],
      lines,
    );
    expect(parsedLines(stdout).map((message) => (message as { data: unknown }).data)).toEqual(data);
    expect(await bench.json('status', 'bulk')).toMatchObject({ counts: { ready: 2500 } });
  });
});

describe('queue status and queue list', () => {
  test('tell how queues stand, to people and to programs', async () => {
    for (const queue of ['b', 'a']) await bench.queue('add', queue, '1', '--create');
    const { stdout } = await bench.queue('status', 'a');
    expect(stdout).toMatch(/^a {2}ready 1\nnothing is wrong\n\nto process +1\n/);
    expect(stdout).not.toContain('\u001b');
    expect((await bench.queue('list')).stdout).toMatch(/^queue .*\na +1 .*\nb +1 .*\n$/);
    const list = (await bench.json('list')) as unknown[];
    expect(list).toMatchObject([{ queue: 'a' }, { queue: 'b' }]);
    expect(await bench.json('status', 'a')).toEqual(list[0]);
  });

  test('list says that there are none', async () => {
    mkdirSync(join(bench.folder, 'queues'));
    expect(await bench.queue('list')).toMatchObject({ code: 0, stdout: '', stderr: 'no queues\n' });
    expect(await bench.json('list')).toEqual([]);
  });
});

describe('a folder of queues that is not there', () => {
  const VERBS = [
    ...['status', 'find', 'check', 'verify', 'repair', 'attr', 'get', 'pause', 'resume', 'watch'].map(
      (verb) => [verb, 'mails'],
    ),
    ...['show', 'cancel', 'retry', 'remove --yes', 'wait', 'enable', 'disable'].map((verb) => [
      ...verb.split(' '),
      'mails',
      'a',
    ]),
    ['update', 'mails', 'a', '--retries', '1'],
    ['add', 'mails', '1'],
    ['destroy', 'mails', '--yes'],
    ['purge', 'mails', '--yes'],
  ];

  test.each(VERBS)('is not made by %s, which names it', async (...args) => {
    const { code, stdout, stderr } = await bench.queue(...args, '--cache-root', 'quues/mistyped');
    expect([code, stdout]).toEqual([69, '']);
    expect(stderr).toContain(
      `expected the folder of the queues at "${bench.folder}/quues/mistyped", found none\n`,
    );
    expect(stderr).toContain('QUEUE_NOT_FOUND');
    expect(existsSync(join(bench.folder, 'quues'))).toBe(false);
  });

  test('has no queues in it, and is not made to tell that', async () => {
    const said = `expected the folder of the queues at "${bench.folder}/queues", found none\n`;
    expect(await bench.queue('list')).toEqual({
      code: 0,
      signal: null,
      stdout: '',
      stderr: `${said}no queues\n`,
    });
    expect(await bench.queue('list', '--json')).toMatchObject({ code: 0, stdout: '[]\n', stderr: said });
    expect(existsSync(join(bench.folder, 'queues'))).toBe(false);
  });

  test.each([[['create', 'mails']], [['add', 'mails', '1', '--create']]])('is made by %s', async (args) => {
    expect(await bench.queue(...args, '--cache-root', 'new/queues')).toMatchObject({ code: 0, stderr: '' });
    expect(statSync(join(bench.folder, 'new/queues')).mode & 0o777).toBe(0o700);
  });

  // A pipe can be read once.
  test.each([
    ['queue list --json', '"queue":"mails"'],
    ['queue add mails 2', 'added'],
    ['queue add mails 2 --create', 'added'],
    ['queue update mails a --data 2', 'updated'],
    ['queue check', 'mails: not checked'],
    ['"$NODE" "$BIN/queue-worker.js" mails --exec cat --drain --json', '"completed":1'],
  ])('is looked for where a configuration says that is a pipe: %s', async (command, says) => {
    const root = `${bench.folder}/elsewhere`;
    await bench.queue('add', 'mails', '1', '--alias', 'a', '--create', '--cache-root', root);
    const config = `[queue]\\ncacheRoot = ${root}\\n`;
    const { code, stdout, stderr } = await bench.shell(`printf '${config}' | ${command} --config /dev/stdin`);
    expect(stderr).not.toContain('found none');
    expect(stdout + stderr).toContain(says);
    expect(code).toBe(0);
    expect(readdirSync(bench.folder)).toEqual(['elsewhere']);
  });

  test.each(['verify', 'repair'])(
    'and what is there is named by %s, where it lacks the queue that was meant',
    async (verb) => {
      const root = `${bench.folder}/elsewhere`;
      await bench.queue('create', 'letters', '--cache-root', root);
      const config = `[queue]\ncacheRoot = ${root}\n`;
      const { code, stderr } = await bench.shell(
        `printf '${config}' | queue ${verb} leters --config /dev/stdin`,
      );
      expect([code, stderr]).toEqual([69, expect.stringContaining('did you mean "letters"?')]);
    },
  );
});

describe('queue get', () => {
  test('takes the next message and prints it; without one it exits 1', async () => {
    await bench.queue('add', 'mails', '{"n":1}', '--create');
    await bench.queue('add', 'mails', '{"n":2}');
    expect(await bench.json('get', 'mails')).toMatchObject({ data: { n: 1 } });
    expect((await bench.queue('get', 'mails')).stdout).toContain('"n": 2');
    expect(await bench.queue('get', 'mails')).toMatchObject({
      code: 1,
      stdout: '',
      stderr: 'nothing to get from mails\n',
    });
    expect(await bench.json('status', 'mails')).toMatchObject({ processed: 2 });
  });

  test('no control character of a payload reaches the terminal, and JSON stays what it was', async () => {
    const data = { text: '\u001b[2J\u009b31m\u202e\u007f \u2028' };
    for (let i = 0; i < 2; i++) {
      await bench.queue('add', 'mails', JSON.stringify(data), '--create', '--alias', '\u001b]0;x\u0007');
    }
    const shown = (await bench.queue('get', 'mails')).stdout;
    expect(shown).not.toMatch(CONTROLS_IN_LINES);
    const { stdout } = await bench.queue('get', 'mails', '--json');
    expect(stdout).not.toMatch(CONTROLS_IN_LINES);
    expect(JSON.parse(stdout)).toMatchObject({ data });
  });
});

describe('queue verify', () => {
  test('exits 0 when a queue is sound', async () => {
    await bench.queue('add', 'mails', '1', '--create');
    expect(await bench.json('verify', 'mails')).toMatchObject({ queue: 'mails', sound: true, messages: 1 });
    expect((await bench.queue('verify', 'mails')).stdout).toContain('mails: sound, 1 message\n');
  });

  test('of a queue that does not exist is neither sound nor not', async () => {
    await bench.queue('create', 'mails');
    const { code, stderr } = await bench.queue('verify', 'mials');
    expect(code).toBe(69);
    expect(stderr).toContain('QUEUE_NOT_FOUND');
    expect(stderr).toContain('did you mean "mails"?');
  });

  test('exits 1 and names the place when a byte was changed', async () => {
    await bench.queue('add', 'mails', '"AAAA"', '--create');
    await bench.queue('add', 'mails', '"b"');
    const journal = join(bench.folder, 'queues', 'mails', '00000001.journal');
    writeFileSync(journal, readFileSync(journal, 'utf8').replace('AAAA', 'AAAB'));
    const { code, stdout } = await bench.queue('verify', 'mails', '--json');
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      sound: false,
      damage: [{ kind: 'rot', file: '00000001.journal' }],
    });
    expect((await bench.queue('verify', 'mails')).stdout).toContain('mails: not sound');
  });
});

describe('the command line', () => {
  test('a misspelt verb gets a suggestion', async () => {
    const { code, stderr } = await bench.queue('stauts', 'x');
    expect(code).toBe(64);
    expect(stderr).toContain('Did you mean status?');
  });

  test.each(['create', 'add', 'status', 'watch', 'list', 'get', 'verify'])(
    'queue %s --help has an example',
    async (verb) => {
      const { code, stdout } = await bench.queue(verb, '--help');
      expect(code).toBe(0);
      expect(stdout).toMatch(/Examples?:/);
      expect(stdout).toContain('--cache-root');
    },
  );

  test('a wrong configuration has its own exit code', async () => {
    bench.file('config.ini', '[queue]\ncacheRot = x\n');
    const { code, stderr } = await bench.queue('list');
    expect(code).toBe(78);
    expect(stderr).toContain('did you mean cacheRoot?');
  });

  test('flags and environment choose the folder', async () => {
    await bench.queue('create', 'one', '--cache-root', 'there');
    expect(readdirSync(join(bench.folder, 'there'))).toEqual(['one']);
    const { stdout } = await bench.run('queue', ['list', '--json'], '', { CODA_CACHE_ROOT: 'there' });
    expect(JSON.parse(stdout)).toMatchObject([{ queue: 'one' }]);
  });

  test('control characters in arguments do not reach the terminal', async () => {
    for (const args of [['\u001b[31m'], ['status', '\u001b[31m'], ['add', 'x', '1', '--\u001b[31m']]) {
      const { code, stderr } = await bench.queue(...args);
      expect(code).toBe(64);
      expect(stderr).not.toContain('\u001b');
    }
  });

  test.runIf(existsSync('/dev/full'))('output that cannot be written is told, without a stack', async () => {
    const { code, stderr } = await bench.shell('queue create x > /dev/full');
    expect(code).toBe(1);
    expect(stderr).toBe('stdout: ENOSPC: no space left on device, write\n');
  });

  test('a reader that leaves early is no error, and what was to be added is added', async () => {
    const many = Array.from({ length: 3000 }, (_, index) => `{"data":"${'x'.repeat(200)}${index}"}`).join(
      '\n',
    );
    bench.file('in.ndjson', many);
    const { code, stdout, stderr } = await bench.shell(
      '{ queue add bulk --create --ndjson in.ndjson --json; echo "exit code $?" >&2; } | head -n 1',
    );
    expect([code, stderr, parsedLines(stdout)]).toMatchObject([0, 'exit code 0\n', [{ alias: '' }]]);
    expect(await bench.json('status', 'bulk')).toMatchObject({ counts: { ready: 3000 } });
  });
});
