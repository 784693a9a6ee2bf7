/** Whatever people give to `queue-daemon`: told in one line, with the exit code that goes with it, and nothing changed. */
import { appendFileSync, existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../processes/stage.ts';
import { Yard, yardTest } from '../processes/yard.ts';
import { commandTree, type CommandFacts } from './command-tree.ts';
import type { Ended } from './commands.ts';
import { HOSTILE } from './hostile-queue.ts';
import { KEYS, Terminal } from './terminal.ts';
import { CONTROLS_IN_LINES } from '../support/controls.ts';

/** Calls that are right, of a daemon that is there and does not run; with their exit codes. */
const RIGHT: Readonly<Record<string, [args: string[], code: number]>> = {
  run: [['once'], 0],
  start: [['once'], 0],
  stop: [['idle'], 0],
  restart: [['once'], 0],
  condrestart: [['idle'], 0],
  reload: [['idle'], 69],
  status: [['idle'], 3],
  list: [[], 0],
  logs: [['idle'], 0],
  // It has ended by itself; who names it wants it to run.
  verify: [['once'], 1],
  install: [['once', '--dry-run'], 0],
  uninstall: [['once', '--dry-run'], 0],
};
const VERBS = Object.keys(RIGHT);
const OF_ONE = VERBS.filter((verb) => verb !== 'list');
const LONG = 'x'.repeat(100_000);
const TIME = '2026-03-17T18:57:08.123Z';

let yard: Yard;
let tree: Map<string, CommandFacts>;

beforeAll(async () => {
  yard = new Yard();
  for (const name of ['idle', 'once', 'idle-too']) yard.daemon(name, 'maxSessions = 1; executeStart() {}');
  yard.bench.file('wrong.ini', `[daemon]\nstatDir = ${HOSTILE.replace(/\s/g, '')}\n`);
  tree = await commandTree(yard.bench, 'queue-daemon');
});
afterAll(() => yard.close());

function expectClean({ stdout, stderr }: Ended): void {
  for (const text of [stdout, stderr]) {
    expect(CONTROLS_IN_LINES.exec(text)?.index, text.slice(0, 3000)).toBeUndefined();
    expect(text).not.toMatch(/^ +at file:|internal error|\[object /m);
  }
}

function expectRefused(ended: Ended, code: number, said: RegExp): void {
  expectClean(ended);
  const told = ended.stderr.split('\n').filter((line) => line !== '');
  expect([ended.code, ended.stdout, told]).toEqual([code, '', [expect.stringMatching(said) as string]]);
  expect(told[0]).toMatch(/^queue-daemon( [a-z]+)?: /);
  expect(told[0]?.length).toBeLessThan(1200);
}

test('every verb has a case here, an example, and --json where it prints', () => {
  // ctl has verbs of its own: ctl.test.ts.
  const own = [...tree.values()].filter(({ name }) => name !== 'queue-daemon' && name !== 'ctl');
  // supervise ends only when it is told to: supervise.test.ts.
  expect(own.map(({ name }) => name).sort()).toEqual([...VERBS, 'supervise'].sort());
  for (const { name, help, options } of own) {
    expect(help, name).toMatch(/^Examples?(, .*)?:$/m);
    expect(options.has('--json'), name).toBe(!['run', 'supervise', 'logs'].includes(name));
    expect(help).not.toContain('--background');
    for (const line of help.split('\n'))
      expect(line.length, line).toBeLessThan(line.startsWith('  ') ? 110 : 81);
  }
});

describe.concurrent('misuse is refused', () => {
  test.each(OF_ONE)('%s without its daemon', async (verb) => {
    const said =
      verb === 'verify' ? /expected names of daemons, or --all/ : /missing required argument 'daemon'/;
    expectRefused(await yard.verb(verb), 64, said);
  });

  test.each(VERBS)('%s with an argument or an option too many', async (verb) => {
    const [args] = RIGHT[verb]!;
    if (verb === 'verify') expectRefused(await yard.verb(verb, ...args, '--all'), 64, /received both/);
    else expectRefused(await yard.verb(verb, ...args, HOSTILE), 64, /too many arguments/);
    expectRefused(
      await yard.verb(verb, ...args, '--cofnig', 'x'),
      64,
      /unknown option '--cofnig' \(Did you mean --config\?\)/,
    );
  });

  test.each(OF_ONE)('%s of a daemon that is none: the near one', async (verb) => {
    expectRefused(
      await yard.verb(verb, 'idel'),
      64,
      /(no daemon named|no daemon of that name).*did you mean idle\?|idel/,
    );
    for (const name of [`../${HOSTILE}`, '.idle', '', LONG, 'a/b'])
      expectRefused(await yard.verb(verb, name), 64, /expected the name of a daemon/);
  });

  test('bad values of options', async () => {
    for (const [verb, flag, values] of [
      ['start', '--timeout', ['5', '-1s', HOSTILE, '3d']],
      ['stop', '--timeout', ['', '1y']],
      ['logs', '--lines', ['-1', '1.5', HOSTILE, '99999999']],
      ['list', '--daemons', ['']],
      ['list', '--config', ['']],
    ] as const) {
      for (const value of values) {
        const [args] = RIGHT[verb]!;
        expectRefused(
          await yard.verb(verb, ...args, `${flag}=${value}`),
          64,
          new RegExp(`${flag}.*[Ee]xpected`),
        );
      }
    }
  });

  test.each(OF_ONE)('%s with a configuration that is wrong', async (verb) => {
    const [args] = RIGHT[verb]!;
    expectRefused(await yard.verb(verb, ...args, '--config', 'wrong.ini'), 78, /did you mean stateDir\?/);
  });

  test('a misspelt verb', async () => {
    expectRefused(await yard.verb('strat', 'idle'), 64, /unknown command 'strat' \(Did you mean start\?\)/);
  });
});

test('all that was refused has left nothing', () => {
  expect(existsSync(yard.stateDir)).toBe(false);
});

describe('what is right', () => {
  test.each(VERBS)(
    '%s ends as it should, prints JSON if it is asked to, and bears that nobody reads it',
    async (verb) => {
      const [args, code] = RIGHT[verb]!;
      const json = tree.get(verb)?.options.has('--json') ? ['--json'] : [];
      const ended = await yard.verb(verb, ...args, ...json);
      expectClean(ended);
      expect(ended.code, ended.stderr).toBe(code);
      if (json.length > 0) expect(JSON.parse(ended.stdout)).toBeDefined();
      await until(() => yard.running().length === 0);
      const words = [verb, ...args].map((word) => `'${word}'`).join(' ');
      const unread = await yard.bench.shell(
        `{ "$NODE" "$BIN/queue-daemon.js" ${words}; echo "exit code $?" >&2; } | true`,
      );
      expectClean(unread);
      expect(unread.stderr).toContain(`exit code ${code}\n`);
      expect(unread.stderr).not.toContain('EPIPE');
      await until(() => yard.running().length === 0);
    },
  );

  test('the index of the daemons may be broken: what is known is told all the same', async () => {
    yard.bench.file('daemons/index.mjs', `throw new Error(${JSON.stringify(HOSTILE)});`);
    const { code, stdout, stderr } = await yard.verb('list');
    expect([code, stderr.split('\n').length]).toEqual([64, 2]);
    expect(stderr).toMatch(/index\.mjs.*cannot be loaded/);
    expect(stdout).toMatch(/^once +stopped/m);
    expectClean({ code, signal: null, stdout, stderr });
    // It has run, so that it is known without that.
    expect(await yard.verb('status', 'once')).toMatchObject({ code: 3, stderr: '' });
    yard.bench.file('daemons/index.mjs', '');
  });
});

describe('logs', () => {
  yardTest(
    'prints the last lines, of what was put aside too, with what controls a terminal made harmless',
    async ({ yard }) => {
      yard.daemon('idle', 'executeStart() {}');
      mkdirSync(yard.stateDir);
      const aside = yard.path('idle', '.log.2026-03-17T18-57-08.123Z-9f31c0de');
      writeFileSync(aside, 'one\ntwo\nthree \u001b[31m\n');
      writeFileSync(yard.path('idle', '.log'), `four\n${'x'.repeat(200_000)}é\nunfinished`);
      const lines = async (...args: string[]): Promise<string[]> =>
        (await yard.does('logs', 'idle', ...args)).split('\n').map((line) => line.slice(0, 20));
      const last = 'x'.repeat(20);
      expect(await lines('-n', '1')).toEqual([last]);
      expect(await lines('-n', '4')).toEqual(['two', 'three \\u001b[31m', 'four', last]);
      expect(await lines()).toEqual(['one', 'two', 'three \\u001b[31m', 'four', last]);
      expect(await lines('-n', '0')).toEqual(['']);
      writeFileSync(yard.path('idle', '.out'), 'last words\n');
      expect(await lines('-n', '1')).toEqual(['last words', last]);
    },
  );

  yardTest('says so when nothing was logged', async ({ yard }) => {
    yard.daemon('idle', 'executeStart() {}');
    expect(await yard.verb('logs', 'idle')).toMatchObject({
      code: 0,
      stdout: '',
      stderr: expect.stringContaining('nothing was logged yet') as string,
    });
  });

  yardTest(
    'is laid out for people on a terminal, also what is added after a rotation, with nothing that controls it',
    async ({ yard }) => {
      yard.daemon('idle', 'executeStart() {}');
      mkdirSync(yard.stateDir);
      const log = yard.path('idle', '.log');
      const line = (fields: object): string =>
        `${JSON.stringify({ time: TIME, level: 'INFO', ...fields })}\n`;
      const deep = '['.repeat(10_000) + ']'.repeat(10_000);
      writeFileSync(yard.path('idle', '.out'), 'printed \u001b[31m\n');
      writeFileSync(
        log,
        line({ text: 'first\nsecond', daemon: 'idle', alias: '\u001b[2J\u009b2J' }) +
          line({ level: 'WARN', text: 'to do', list: [1, 'two'] }) +
          line({ level: 'LOUD', text: 'no level of ours' }) +
          `{"time":"${TIME}","level":"INFO","text":"nested","x":${deep}}\n`,
      );
      const terminal = Terminal.command('queue-daemon', ['logs', 'idle', '-f'], {
        cwd: yard.folder,
        cols: 160,
        rows: 300,
        env: { TZ: 'UTC' },
      });
      try {
        await terminal.shows('"text":"nested"');
        renameSync(log, `${log}.2026-03-17T18-57-00.123Z-9f31c0de`);
        writeFileSync(log, line({ level: 'ERROR', text: 'behind it' }));
        await terminal.shows('behind it');
        const rows = terminal.everything().filter((row) => !/^[[\]]|"nested"/.test(row));
        expect(rows.slice(0, 7)).toEqual([
          'printed \\u001b[31m',
          'Tue Mar 17 2026',
          '18:57:08  INFO   first',
          `${' '.repeat(17)}second  \\u001b[2J\\u009b2J  daemon=idle`,
          '18:57:08  WARN   to do  list=[1,"two"]',
          `{"time":"${TIME}","level":"LOUD","text":"no level of ours"}`,
          '18:57:08  ERROR  behind it',
        ]);
        terminal.type(KEYS.ctrlC);
        await terminal.ended;
        // What is not ours has no colours.
        expect(terminal.output.split('\u001b[31m')).toHaveLength(2);
      } finally {
        await terminal.close();
      }
    },
  );

  yardTest('goes on with what is added, across rotations, without a line lost or twice', async ({ yard }) => {
    yard.daemon('idle', 'executeStart() {}');
    mkdirSync(yard.stateDir);
    const log = yard.path('idle', '.log');
    const { process: child, ended } = yard.bench.start('queue-daemon', ['logs', 'idle', '-f', '-n', '1000']);
    let seen = '';
    child.stdout.on('data', (text: string) => (seen += text));
    const expected: string[] = [];
    for (let file = 0; file < 5; file++) {
      for (let i = 0; i < 20; i++) {
        expected.push(`line ${file} ${i}`);
        appendFileSync(log, `line ${file} `);
        appendFileSync(log, `${i}\n`);
      }
      // Two at once, the second time: one of them is never seen as the one that is written.
      if (file !== 2) await until(() => seen.endsWith(`${expected.at(-1)}\n`));
      renameSync(log, `${log}.2026-03-17T18-57-0${file}.123Z-9f31c0de`);
    }
    appendFileSync(log, 'the end\n');
    await until(() => seen.endsWith('the end\n'));
    expect(seen.trimEnd().split('\n')).toEqual([...expected, 'the end']);
    writeFileSync(log, 'new\n');
    await until(() => seen.endsWith('new\n'));
    child.kill('SIGINT');
    expect(await ended).toMatchObject({ signal: 'SIGINT', stderr: '' });
    expect(readdirSync(yard.stateDir)).toHaveLength(6);
    expect(join(yard.stateDir, 'idle.log')).toBe(log);
  });
});

test('TAB completes verbs, daemons and options', async () => {
  const offered = async (...words: string[]): Promise<string[]> => {
    const { stdout } = await yard.verb('__complete', '--', ...words);
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split('\t')[0]!);
  };
  expect(await offered('cond')).toEqual(['condrestart']);
  expect(await offered('status', 'idle')).toEqual(['idle', 'idle-too']);
  expect(await offered('verify', 'idle', 'on')).toEqual(['once']);
  expect(await offered('start', '--time')).toEqual(['--timeout']);
  expect(await offered('status', '--daemons', 'nowhere', '')).toEqual([
    'callServer',
    'once',
    'queue',
    'supervisor',
  ]);
});
