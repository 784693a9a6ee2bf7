import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import type { Message } from '../../src/message.ts';
import { execWorker, type ExecOptions } from '../../src/worker/exec/index.ts';
import { filled, wordsOf } from '../../src/worker/exec/words.ts';
import { logAbout } from '../../src/worker/log.ts';
import { HandlerAborted, wishOf, type Worker } from '../../src/worker/worker.ts';
import { Seeded } from '../support/seeded.ts';

let folder = '';
let started: Worker[] = [];

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-exec-')));
});
afterEach(async () => {
  for (const worker of started) await worker.stop?.();
  started = [];
  // None are left, unless a test has failed.
  for (const name of readdirSync(folder).filter((name) => name.endsWith('.pids'))) {
    for (const pid of numbersIn(name).filter(lives)) process.kill(pid, 'SIGKILL');
  }
  rmSync(folder, { recursive: true });
});

/** A program in the folder; returns its path. */
function program(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

interface Thrown {
  name: string;
  message: string;
  code: string;
  stack: string;
}

interface Try {
  /** Resolves with what the handler threw, undefined when it succeeded. */
  ended: Promise<Thrown | undefined>;
  abort(code: HandlerAborted['code']): void;
  lines: { level: string; text: string }[];
  /** Resolves when the log has had such a line. */
  said(text: string): Promise<void>;
}

async function run(command: string, message: Partial<Message> = {}, options?: ExecOptions): Promise<Try> {
  const worker = execWorker(command, options);
  const lines: Try['lines'] = [];
  const waiting = new Map<string, () => void>();
  const log = logAbout((level, text) => {
    lines.push({ level, text });
    waiting.get(text)?.();
  }, {});
  const controller = new AbortController();
  const { signal } = controller;
  await worker.start?.({ queue: 'plates', config: await loadConfig({ cwd: folder, env: {} }), log, signal });
  started.push(worker);
  const ended = Promise.resolve(
    worker.process(
      {
        uuid: '0198c0de-0000-7000-8000-000000000001',
        alias: '',
        data: null,
        retries: 2,
        executionMode: 'immediate',
        disabled: false,
        username: '',
        insertedAt: new Date('2026-01-02T03:04:05.678Z'),
        state: 'claimed',
        attempts: 1,
        crashes: 0,
        errors: [],
        ...message,
      },
      { signal, attempt: 1, log, renew: () => Promise.resolve(true), progress: () => undefined },
    ),
  ).then(
    () => undefined,
    (error: Thrown) => error,
  );
  const abort = (code: HandlerAborted['code']): void =>
    controller.abort(new HandlerAborted(code, 'told to end'));
  const said = (text: string): Promise<void> =>
    new Promise((resolve) => {
      if (lines.some((line) => line.text === text)) resolve();
      else waiting.set(text, resolve);
    });
  return { ended, abort, lines, said };
}

async function outcome(command: string, message?: Partial<Message>): Promise<Thrown | undefined> {
  return (await run(command, message)).ended;
}

/** Neither there nor waiting to be asked how it ended. */
function lives(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

function numbersIn(file: string): number[] {
  return readFileSync(join(folder, file), 'utf8').split(/\s+/).filter(Boolean).map(Number);
}

describe('splitting a command', () => {
  test.each([
    ['a  b\tc\nd', ['a', 'b', 'c', 'd']],
    [`a 'b "c' "d 'e" f''g`, ['a', 'b "c', "d 'e", 'fg']],
    [`a '' ""`, ['a', '', '']],
    [String.raw`a b\ c \' \\ "\"" '\'`, ['a', 'b c', "'", '\\', '"', '\\']],
    [String.raw`a "\a\$" \$HOME '$HOME' "$HOME" *`, ['a', '\\a$', '$HOME', '$HOME', '$HOME', '*']],
    [`a b\\\nc "d\\\ne"`, ['a', 'bc', 'de']],
    [`curl -d '{"a":{"b":1}}' http://x/?a=1&b=2`, ['curl', '-d', '{"a":{"b":1}}', 'http://x/?a=1&b=2']],
  ])('%j', (command, words) => {
    expect(wordsOf(command)).toEqual(words);
  });

  test('is what sh does, for any mixture of blanks, quotes and backslashes', () => {
    const random = new Seeded(3);
    const commands: string[] = [];
    const ours: string[][] = [];
    while (commands.length < 500) {
      const length = 1 + random.below(12);
      const command = Array.from({ length }, () => random.pick('ab \'"\\\t\n$'.split(''))).join('');
      // A lone $ stands for itself in sh too, but "$a", "$'" and '$"' are more in some shells.
      if (/\$[a-z'"$]/.test(command.replaceAll('\\\n', ''))) continue;
      let words: string[];
      try {
        words = wordsOf(`a ${command}`);
      } catch {
        continue;
      }
      // In sh, unlike here, a newline ends the command.
      if (/\n/.test(command.replaceAll('\\\n', ''))) continue;
      commands.push(command);
      ours.push(words.slice(1));
    }
    const script = `show() { for word; do printf '%s\\n=' "$word"; done; printf '\\n;'; }\n`;
    const all = execFileSync('sh', ['-c', script + commands.map((one) => `show ${one}`).join('\n')], {
      encoding: 'utf8',
    });
    expect(all).toBe(ours.map((words) => `${words.map((word) => `${word}\n=`).join('')}\n;`).join(''));
  });

  test.each([
    ['', 'expected a command'],
    [' \n', 'expected a command'],
    [`''`, 'expected a command'],
    ['a\0b', 'without NUL'],
    [`a 'b`, `expected a closing ', received none for character 3`],
    [`a "b\\"`, 'expected a closing "'],
    ['a b\\', 'expected a character behind the \\'],
    ['a {alia}', 'unknown placeholder "{alia}"; did you mean {alias}?'],
    ['a {data}', 'expected one of {alias}, {uuid}'],
    ['a {toString}', 'unknown placeholder'],
    ['{alias} a', 'the name of a program without placeholders'],
    ['./{queue}.sh', 'the name of a program without placeholders'],
  ])('%j is refused', (command, why) => {
    expect(() => execWorker(command)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(why) }),
    );
  });
});

describe('placeholders', () => {
  const values = { alias: 'A', uuid: 'U', queue: 'Q', attempt: '1', retries: '2', username: 'N' };

  test('are filled in wherever they stand, in quotes too; other braces stay', () => {
    const words = wordsOf(
      `a --x={alias}/{uuid} '{queue} {attempt}' {retries}{username} {"a":{"b":1}} {} {a,b} $\{1}`,
    );
    expect(filled(words, values)).toEqual(['a', '--x=A/U', 'Q 1', '2N', '{a:{b:1}}', '{}', '{a,b}', '${1}']);
  });

  test('doubled braces are those characters themselves', () => {
    expect(filled(wordsOf(`awk '{{print}}' {{alias}} {{{uuid}}} {{.Name}}`), values)).toEqual([
      'awk',
      '{print}',
      '{alias}',
      '{{uuid}}',
      '{{.Name}}',
    ]);
  });

  test('whatever a value contains, it is one word, and no part of it is looked at again', async () => {
    const alias = ` '"; $(touch x) {uuid} \\ \n* -v`;
    const path = program('args', `for one; do printf '%s|' "$one"; done > "${folder}/args.txt"`);
    expect(await outcome(`${path} x{alias} {username}`, { alias, username: '$&' })).toBe(undefined);
    expect(readFileSync(join(folder, 'args.txt'), 'utf8')).toBe(`x${alias}|$&|`);
  });
});

describe('what a command gets', () => {
  test('the data as one line of JSON on stdin', async () => {
    const path = program('take', `cat > "${folder}/data"`);
    expect(await outcome(path, { data: { a: ['ü', 1, null], b: 'x\n' } })).toBe(undefined);
    expect(readFileSync(join(folder, 'data'), 'utf8')).toBe('{"a":["ü",1,null],"b":"x\\n"}\n');
  });

  test('what else is known of the message in its environment, in which it can run queue itself', async () => {
    const path = program('env', `env | grep ^CODA_ | sort > "${folder}/env.txt"`);
    await outcome(path, { alias: 'plate 1', attempts: 3, username: 'gate' });
    const lines = readFileSync(join(folder, 'env.txt'), 'utf8').trimEnd().split('\n');
    expect(lines).toEqual([
      'CODA_MESSAGE_ALIAS=plate 1',
      'CODA_MESSAGE_ATTEMPT=3',
      'CODA_MESSAGE_INSERTED_AT=2026-01-02T03:04:05.678Z',
      'CODA_MESSAGE_QUEUE=plates',
      'CODA_MESSAGE_RETRIES=2',
      'CODA_MESSAGE_USERNAME=gate',
      'CODA_MESSAGE_UUID=0198c0de-0000-7000-8000-000000000001',
    ]);
    const env = Object.fromEntries(lines.map((line) => line.split('=') as [string, string]));
    await expect(loadConfig({ cwd: folder, env })).resolves.toBeDefined();
  });

  test('a command need not read its stdin', async () => {
    expect(await outcome('true', { data: 'x'.repeat(4_000_000) })).toBe(undefined);
  });

  test.each(['alias', 'username'])(
    'a NUL in the %s fails for good: no command could be given it',
    async (name) => {
      const error = await outcome('true', { [name]: 'a\0b' });
      expect(wishOf(error)).toEqual({ final: true });
      expect(error?.message).toContain(name);
    },
  );
});

describe('how a command ends', () => {
  test('65 fails for good', async () => {
    const error = await outcome(`sh -c 'echo cannot be >&2; exit 65'`);
    expect(wishOf(error)).toEqual({ final: true });
    expect(error).toMatchObject({ code: 'EXIT_65', stack: 'stderr:\ncannot be' });
  });

  test.each([1, 3, 64, 66, 127, 255])('%i is a failed try', async (code) => {
    const error = await outcome(`sh -c 'echo one >&2; echo two >&2; exit ${code}'`);
    expect(wishOf(error)).toEqual({});
    expect(error).toMatchObject({
      name: 'CommandFailed',
      code: `EXIT_${code}`,
      message: `command exited with ${code}`,
      stack: 'stderr:\none\ntwo',
    });
  });

  test('so is a signal', async () => {
    const error = await outcome(`sh -c 'kill -SEGV $$'`);
    expect(error).toMatchObject({ code: 'SIGSEGV', message: 'command was ended by SIGSEGV', stack: '' });
  });

  // One of the two cuts a character in half.
  test.each([300_001, 300_003])(
    'of %i bytes on stderr the last 2 KB are kept, from a whole character on',
    async (length) => {
      const path = program('wordy', `yes ééééé | head -c ${length} >&2; printf end >&2; exit 1`);
      const { stack = '' } = (await outcome(path)) ?? {};
      const text = stack.replace(/^stderr:\n…/, '');
      expect(text).toMatch(/^[é\n]+\u{fffd}?end$/u);
      expect(Buffer.byteLength(text)).toBeGreaterThan(2040);
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(2050);
    },
  );

  test('stdout is logged at DEBUG and stderr at INFO, line by line, with a bound', async () => {
    const path = program(
      'lines',
      `echo one; printf 'two\\r\\n\\nthree'; echo four >&2; head -c 9999 /dev/zero | tr '\\0' x >&2`,
    );
    const long = await run(path);
    await long.ended;
    const of = (lines: Try['lines'], level: string) =>
      lines.filter((line) => line.level === level).map(({ text }) => text);
    expect(of(long.lines, 'DEBUG')).toEqual(['one', 'two', 'three']);
    expect(of(long.lines, 'INFO')).toEqual(['four', `${'x'.repeat(2000)}…`]);
    const many = await run('seq 1 100000');
    await many.ended;
    expect(many.lines).toHaveLength(1001);
    expect(many.lines.at(-1)?.text).toContain('more than 1000 lines');
  });
});

describe('a command that cannot be started', () => {
  test.each([
    ['no-such-program x', 'found none in PATH'],
    ['./no-such-program', 'found none'],
    ['/etc/passwd', 'EACCES'],
    ['/etc', 'not a file'],
  ])('%s is refused before the first message', async (command, why) => {
    await expect(run(command)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(why),
    });
  });

  test('is a failed try when it vanishes later', async () => {
    const path = program('there', 'exit 0');
    const removing = await run(`rm ${path}`);
    expect(await removing.ended).toBe(undefined);
    const worker = execWorker(path);
    expect(existsSync(path)).toBe(false);
    const controller = new AbortController();
    const log = logAbout(() => undefined, {});
    const message = { uuid: '', alias: '', username: '', data: null, insertedAt: new Date() } as Message;
    await expect(
      worker.process(message, {
        signal: controller.signal,
        attempt: 1,
        log,
        renew: () => Promise.resolve(true),
        progress: () => undefined,
      }),
    ).rejects.toMatchObject({ name: 'CommandFailed', code: 'ENOENT' });
  });
});

/** Three generations that ignore SIGTERM, and write down their pids. */
const STUBBORN = `trap '' TERM
echo $$ >> "$0.pids"
sh -c 'trap "" TERM; echo $$ >> "$1.pids"; sleep 1000 & echo $! >> "$1.pids"; echo ready >&2; wait' sh "$0" &
wait`;

describe('a try that is aborted', () => {
  test.each(['TIMEOUT', 'CANCELLED', 'LEASE_LOST', 'STOPPING'] as const)(
    '%s: when the handler settles, nothing of the group lives, whatever it thinks of SIGTERM',
    async (code) => {
      const path = program('stubborn', STUBBORN);
      const one = await run(path, {}, { grace: 100 });
      await one.said('ready');
      const pids = numbersIn('stubborn.pids');
      expect(pids.map(lives)).toEqual([true, true, true]);
      one.abort(code);
      const error = await one.ended;
      expect(pids.map(lives)).toEqual([false, false, false]);
      expect(error).toMatchObject({ name: 'CommandFailed', code, stack: 'stderr:\nready' });
      expect(error?.message).toBe('command was ended: told to end; it had said: ready');
    },
  );

  test('a command that ends when told is not waited for any longer', async () => {
    const path = program(
      'obeying',
      `trap 'echo bye >&2; exit 0' TERM; echo ready >&2; while :; do sleep 0.01; done`,
    );
    const one = await run(path, {}, { grace: 60_000 });
    await one.said('ready');
    one.abort('TIMEOUT');
    const error = await one.ended;
    // Many programs exit with 0 when they are told to end; the work is not done for that.
    expect(error).toMatchObject({ code: 'TIMEOUT', stack: expect.stringMatching(/ready\n[^]*bye$/) });
  });

  test('on a stop the group is dead within the second that the pool gives', async () => {
    const path = program('stubborn', STUBBORN);
    const one = await run(path, {}, { grace: 60_000 });
    await one.said('ready');
    const before = performance.now();
    one.abort('STOPPING');
    await one.ended;
    expect(performance.now() - before).toBeLessThan(1000);
    expect(numbersIn('stubborn.pids').map(lives)).toEqual([false, false, false]);
  });

  test('a command is not even started when the signal has fired', async () => {
    const worker = execWorker(`touch ${join(folder, 'ran')}`);
    const log = logAbout(() => undefined, {});
    const signal = AbortSignal.abort(new HandlerAborted('STOPPING', ''));
    const context = {
      signal,
      attempt: 1,
      log,
      renew: () => Promise.resolve(true),
      progress: () => undefined,
    };
    await expect(worker.process({} as Message, context)).rejects.toMatchObject({ code: 'STOPPING' });
    expect(existsSync(join(folder, 'ran'))).toBe(false);
  });
});

describe('what a command leaves running', () => {
  test('ends with it', async () => {
    const path = program(
      'leaving',
      `sleep 1000 & echo $! > "$0.pids"; sh -c 'trap "" TERM; echo $$ >> "$0.pids"; exec sleep 1000' "$0" > /dev/null 2>&1 & while [ $(wc -l < "$0.pids") -lt 2 ]; do sleep 0.01; done`,
    );
    const one = await run(path, {}, { grace: 100 });
    expect(await one.ended).toBe(undefined);
    expect(numbersIn('leaving.pids').map(lives)).toEqual([false, false]);
  });

  test('may still print what it has to', async () => {
    const path = program('piping', `(sleep 0.1; echo late >&2) & exit 1`);
    expect(await outcome(path)).toMatchObject({ code: 'EXIT_1', stack: 'stderr:\nlate' });
  });

  test('nobody would end it should this process be killed without its keeper, so the loss of that is told', async () => {
    const path = program('waiting', 'echo ready >&2; read -r line < "$0.fifo"');
    execFileSync('mkfifo', [`${path}.fifo`]);
    const one = await run(path);
    await one.said('ready');
    const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8')
      .trim()
      .split(' ');
    const keepers = children.filter((pid) =>
      readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('coda-keeper'),
    );
    expect(keepers).toHaveLength(1);
    process.kill(Number(keepers[0]), 'SIGKILL');
    await one.said('/bin/sh ended with SIGKILL: should this worker be killed, its commands will go on');
    writeFileSync(`${path}.fifo`, '\n');
    expect(await one.ended).toBe(undefined);
  });

  test('unless it has left the group; then it is not waited for, although it holds the pipes', async () => {
    const path = program(
      'escaping',
      `setsid sh -c 'echo $$ > "$0.pids"; exec sleep 1000' "$0" & while [ ! -s "$0.pids" ]; do sleep 0.01; done`,
    );
    expect(await outcome(path)).toBe(undefined);
    const [pid = 0] = numbersIn('escaping.pids');
    expect(lives(pid)).toBe(true);
    process.kill(pid, 'SIGKILL');
    while (lives(pid)) await sleep(5);
  });
});
