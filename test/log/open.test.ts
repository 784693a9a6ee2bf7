/** What becomes of a line: whether it is logged, where, and what it looks like, whatever it holds. */
import {
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
  mkdirSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { LEVELS, type LogLevel } from '../../src/config-keys.ts';
import { loadConfig, type ConfigInput } from '../../src/config.ts';
import { openLog, type OpenedLog } from '../../src/log/open.ts';
import type { Json } from '../../src/message.ts';
import { logAbout, type LogFields } from '../../src/worker/log.ts';
import { CONTROLS } from '../support/controls.ts';

let folder = '';
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-log-')));
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true });
});

class Screen {
  text = '';
  readonly isTTY: boolean;
  constructor(isTTY = false) {
    this.isTTY = isTTY;
  }
  write(text: string): void {
    this.text += text;
  }
  hasColors(): boolean {
    return this.isTTY;
  }
  get lines(): string[] {
    return this.text.split('\n').slice(0, -1);
  }
  get objects(): Record<string, unknown>[] {
    return this.lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  }
}

interface Opened extends OpenedLog {
  stdout: Screen;
  stderr: Screen;
}

async function open(flags: ConfigInput['flags'] = {}, isTTY = false): Promise<Opened> {
  const config = await loadConfig({ cwd: folder, env: {}, flags });
  const stdout = new Screen(isTTY);
  const stderr = new Screen(isTTY);
  return { ...openLog(config, { stdout, stderr }), stdout, stderr };
}

const WORDS = LEVELS.filter((level) => level !== 'OFF');

describe('what is logged', () => {
  test.each(LEVELS)('from level %s on', async (level) => {
    const { sink, stdout } = await open({ level });
    for (const word of WORDS) sink(word, word.toLowerCase(), {});
    const least = LEVELS.indexOf(level);
    expect(stdout.objects.map(({ level }) => level)).toEqual(LEVELS.slice(least, -1));
    expect(stdout.objects.map(({ text }) => text)).toEqual(WORDS.slice(least).map((w) => w.toLowerCase()));
  });

  test('goes to stdout, stderr or a file, and nowhere else', async () => {
    const out = await open({ destination: 'stdout' });
    const error = await open({ destination: 'stderr' });
    const file = await open({ destination: 'new/folder/coda.log' });
    for (const { sink } of [out, error, file]) sink('INFO', 'here', {});
    expect([out.stdout.lines.length, out.stderr.text]).toEqual([1, '']);
    expect([error.stderr.lines.length, error.stdout.text]).toEqual([1, '']);
    expect(file.stdout.text + file.stderr.text).toBe('');
    expect(readFileSync(join(folder, 'new/folder/coda.log'), 'utf8')).toMatch(/^\{"time".*"here"\}\n$/);
    file.close();
    file.sink('INFO', 'too late', {});
    expect(readFileSync(join(folder, 'new/folder/coda.log'), 'utf8')).not.toContain('late');
  });

  test.each([
    ['a folder', () => mkdirSync(join(folder, 'x')), 'received a folder'],
    ['below a file', () => writeFileSync(join(folder, 'x'), ''), 'ENOTDIR', 'x/y'],
    ['a link to itself', () => symlinkSync('x', join(folder, 'x')), 'ELOOP'],
    ['a device in which no file can be made', () => undefined, '', '/proc/nothing/x'],
    ['a name that is too long', () => undefined, 'ENAMETOOLONG', 'x'.repeat(300)],
  ])('a destination that is %s is refused', async (_, make, why, destination = 'x') => {
    make();
    await expect(open({ destination })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(why),
    });
  });
});

describe('a line', () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: new Date(2026, 2, 7, 18, 57, 8, 123), toFake: ['Date'] });
  });
  const fields = { queue: 'mails', uuid: 'u-1', alias: 'ada', attempt: 2, ms: 3 };

  test('of JSON has its time first', async () => {
    const { sink, stdout } = await open({ format: 'json' }, true);
    sink('WARN', 'slow', fields);
    const time = new Date().toISOString();
    expect(stdout.text).toBe(
      `{"time":"${time}","level":"WARN","text":"slow","queue":"mails","uuid":"u-1","alias":"ada","attempt":2,"ms":3}\n`,
    );
  });

  test('of syslog has the date, the level where it is not INFO, the text and the fields', async () => {
    const { sink, stdout } = await open({ format: 'syslog' });
    sink('INFO', 'plain', {});
    sink('ERROR', 'slow', fields);
    expect(stdout.lines).toEqual([
      'Mar  7 18:57:08 : plain',
      'Mar  7 18:57:08 : ERROR: slow  queue=mails  uuid=u-1  alias=ada  attempt=2  ms=3',
    ]);
    vi.setSystemTime(new Date(2026, 11, 17, 0, 0, 0));
    sink('INFO', 'later', {});
    expect(stdout.lines.at(-1)).toBe('Dec 17 00:00:00 : later');
  });

  test('for people is short, and coloured on a terminal', async () => {
    const plain = await open({ format: 'pretty' });
    plain.sink('INFO', 'one\ntwo', fields);
    expect(plain.stdout.text).toBe('18:57:08  INFO   one\n                 two  ada  try 2  ms=3\n');
    const { sink, stdout } = await open({}, true);
    sink('ERROR', 'slow', fields);
    expect(stdout.text).toBe(
      '\u001b[2m18:57:08\u001b[22m  \u001b[31mERROR  slow\u001b[39m  \u001b[2mada  try 2  ms=3\u001b[22m\n',
    );
  });

  test('for people names the queue where a daemon logs, which may have many', async () => {
    const { sink, stdout } = await open({ format: 'pretty' });
    sink('ERROR', 'is not being drained', { daemon: 'queue', queue: 'mails' });
    sink('INFO', 'sent', { queue: 'mails' });
    expect(stdout.lines).toEqual([
      expect.stringMatching(/is not being drained {2}queue=mails {2}daemon=queue$/),
      expect.stringMatching(/ sent$/),
    ]);
  });

  test('is JSON in a file when the format is auto, also at a terminal', async () => {
    const { sink } = await open({ destination: 'x.log' }, true);
    sink('INFO', 'x', {});
    expect(readFileSync(join(folder, 'x.log'), 'utf8')).toMatch(/^\{/);
  });
});

const HOSTILE = 'a\nb\r\u001b[31m\u0085\u2028\u202e\ufeff\0"\\{}\ud800';

describe.each(['json', 'syslog'] as const)('whatever a line of %s holds', (format) => {
  const looped: Record<string, unknown> = { name: 'loop' };
  looped['self'] = [looped];
  let deep: unknown = 'end';
  for (let i = 0; i < 100_000; i++) deep = { deep };
  const thrower = {
    get bad(): string {
      throw new Error('no');
    },
    good: 1,
  };
  const proxy = new Proxy({}, { ownKeys: () => JSON.parse('{') as string[] });
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();

  test.each<[string, unknown]>([
    ['control characters', { [HOSTILE]: HOSTILE }],
    [
      'names of prototypes',
      JSON.parse('{"__proto__":{"x":1},"constructor":1,"toString":2,"hasOwnProperty":3}'),
    ],
    ['names of its own', { time: 1, level: 'FATAL', text: 'forged' }],
    ['what looks like a request', { method: 'GET', headers: {}, socket: {}, url: '/' }],
    ['an err', { err: { message: 'x', stack: 1 } }],
    ['a getter that throws', thrower],
    ['a proxy that throws', proxy],
    ['a proxy that was revoked', { inner: revoked.proxy }],
    ['big numbers', { big: 12n ** 40n, nan: Number.NaN, endless: -Infinity }],
    ['symbols and functions', { symbol: Symbol('s'), call: () => 1, none: undefined }],
    ['a cycle', looped],
    ['depth', { deep }],
    ['many values', { list: Array.from({ length: 1_000_000 }, (_, i) => i) }],
    ['many names', Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`n${i}`, i]))],
    ['long texts', { list: Array.from({ length: 10 }, () => 'x'.repeat(1_000_000)) }],
    [
      'bytes, errors, dates',
      { bytes: Buffer.alloc(1000), error: new TypeError(HOSTILE), date: new Date(Number.NaN) },
    ],
    [
      'toJSON',
      {
        toJSON: () => {
          throw new Error('no');
        },
      },
    ],
    [
      'toJSON of itself',
      {
        a: {
          toJSON(): unknown {
            return this;
          },
        },
      },
    ],
    ['no object', 7],
    ['nothing', null],
  ])('%s: it is one line, safe and of a bounded size', async (_, fields) => {
    const { sink, stdout } = await open({ format });
    expect(() => sink('INFO', 'words', fields as LogFields)).not.toThrow();
    expect(() => logAbout(sink, { queue: 'q' }).info('words', fields as LogFields)).not.toThrow();
    expect(stdout.lines).toHaveLength(2);
    for (const line of stdout.lines) {
      expect(line).not.toMatch(CONTROLS);
      expect(line.length).toBeLessThan(1_200_000);
      expect(line).toContain('words');
      if (format === 'json') expect(JSON.parse(line)).toMatchObject({ level: 'INFO', text: 'words' });
    }
  });

  test.each<[string, unknown]>([
    ['control characters', HOSTILE],
    ['a million characters', 'long '.repeat(200_000)],
    ['no text', undefined],
    [
      'an object',
      {
        toString: () => {
          throw new Error('no');
        },
      },
    ],
    ['a symbol', Symbol('s')],
  ])('a text of %s makes one line', async (_, text) => {
    const { sink, stdout } = await open({ format });
    sink('INFO', text as string, {});
    expect(stdout.lines).toHaveLength(1);
    expect(stdout.lines[0]).not.toMatch(CONTROLS);
    if (typeof text === 'string' && text.length === 1_000_000) expect(stdout.text).toContain(text);
  });
});

test('fields are copied as they are, as far as JSON knows them', async () => {
  const { sink, stdout } = await open();
  const fields = {
    a: [1, { b: null }, 'x'],
    __proto__: 1,
    date: new Date(0),
    big: 5n,
    gone: undefined,
    time: 9,
  };
  sink('INFO', 'x', fields as unknown as LogFields);
  const { time: _, ...rest } = stdout.objects[0]!;
  expect(rest).toEqual({
    level: 'INFO',
    text: 'x',
    a: [1, { b: null }, 'x'],
    date: '1970-01-01T00:00:00.000Z',
    big: '5',
    time_: 9,
  });
});

test('an error is the same under any name', async () => {
  const { sink, stdout } = await open({ format: 'json' });
  const error = new TypeError('no luck');
  sink('INFO', 'x', { err: error, error } as unknown as LogFields);
  const [line] = stdout.objects;
  expect(line?.['err']).toEqual(line?.['error']);
  expect(line?.['err']).toMatchObject({ name: 'TypeError', message: 'no luck' });
});

test('of what cannot be copied the rest is there, and it is said what is not', async () => {
  const { sink, stdout } = await open();
  const loop: Record<string, unknown> = { n: 1 };
  loop['self'] = loop;
  let deep: unknown = 'end';
  for (let i = 0; i < 20; i++) deep = { deep };
  const named: unknown = JSON.parse('{"__proto__":{"x":1},"constructor":2}');
  const thrower = {
    before: 1,
    get bad(): string {
      throw new Error('no');
    },
    after: 2,
  };
  sink('INFO', 'x', { loop, deep, named, thrower } as unknown as LogFields);
  const { text } = stdout;
  expect(text).toContain('"loop":{"n":1,"self":"[circular]"}');
  expect(text).toContain('"thrower":{"before":1,"bad":"[unreadable]","after":2}');
  expect(text).toContain('"named":{"__proto__":{"x":1},"constructor":2}');
  expect(text.match(/"deep":/g)).toHaveLength(10);
  expect(text).toContain('"deep":"[too deep]"');
});

describe('what must not be logged', () => {
  test('fields that are named, by name or by path, at any depth', async () => {
    const { sink, stdout } = await open({ redact: 'password, headers.authorization,card.*.cvc' });
    sink('INFO', 'x', {
      Password: 'hush-1',
      list: [{ password: { inner: 'hush-2' } }],
      request: { headers: { Authorization: ['hush-3'], accept: 'all' } },
      authorization: 'shown',
      card: { first: { cvc: 'hush-4' }, cvc: 'shown' },
      passwords: 'shown',
    });
    expect(stdout.text).not.toContain('hush');
    expect(stdout.objects[0]).toMatchObject({
      Password: '[redacted]',
      list: [{ password: '[redacted]' }],
      request: { headers: { Authorization: '[redacted]', accept: 'all' } },
      authorization: 'shown',
      card: { first: { cvc: '[redacted]' }, cvc: 'shown' },
      passwords: 'shown',
    });
  });

  test('what would be hidden is not even read', async () => {
    const { sink, stdout } = await open({ redact: 'password' });
    sink('INFO', 'x', {
      get password(): string {
        throw new Error('read');
      },
    });
    expect(stdout.objects[0]).toMatchObject({ password: '[redacted]' });
  });

  test.each(['json', 'syslog', 'pretty'])(
    'secrets of the configuration, by whatever way, as %s',
    async (format) => {
      const flags = {
        httpSecret: 'h"us\\h; 1',
        httpUrl: 'https://me:pa%20ss1@host/hooks/T000/B000/tok3n?k=v',
        format,
      };
      const { sink, stdout } = await open(flags);
      const secret = flags.httpSecret;
      const url = flags.httpUrl;
      sink('ERROR', `no ${secret} for ${url}`, {
        [secret]: secret,
        json: JSON.stringify({ secret }),
        twice: JSON.stringify(JSON.stringify({ password: 'pa ss1' })),
        list: [new Error(`at ${url} with ${secret}`) as unknown as Json],
        header: `Basic ${Buffer.from('me:pa ss1').toString('base64')}`,
        path: 'POST /hooks/T000/B000/tok3n?k=v 404',
        parts: 'pa ss1 pa%20ss1',
        error: encodeURIComponent(secret),
      });
      sink('INFO', `${'x'.repeat(1024 * 1024 - 4)}${secret}`, {});
      for (const part of ['us', 'pa ss1', 'pa%20ss1', 'tok3n', 'bWU6', 'ss1'])
        expect(stdout.text).not.toContain(part);
      expect(stdout.text).toContain('[redacted]');
    },
  );

  test('a secret of digits is not logged as a number, and one of three characters is everywhere', async () => {
    const digits = await open({ httpSecret: '123456' });
    digits.sink('INFO', 'x', { pin: 123456, other: 5 });
    expect(digits.stdout.objects[0]).toMatchObject({ pin: '[redacted]', other: 5 });
    const short = await open({ httpSecret: 'abc' });
    short.sink('INFO', 'abc', {});
    expect(short.stdout.text).toContain('abc');
  });

  test('a Standard Webhooks secret without its beginning', async () => {
    const { sink, stdout } = await open({ httpSecret: 'whsec_c2VjcmV0' });
    sink('INFO', 'key c2VjcmV0, whsec_c2VjcmV0', {});
    expect(stdout.objects[0]).toMatchObject({ text: 'key [redacted], [redacted]' });
  });
});

test('a log is for the levels that it was made for', async () => {
  const { sink, stdout } = await open({ level: 'TRACE' });
  const log = logAbout(sink, { queue: 'q' });
  for (const level of WORDS) log[level.toLowerCase() as Lowercase<LogLevel>](level, { n: 1 });
  expect(stdout.objects.map(({ level, text, queue, n }) => [level, text, queue, n])).toEqual(
    WORDS.map((level) => [level, level, 'q', 1]),
  );
});
