/**
 * Whatever people and programs give to any of the commands: it is told in one line what was expected and what received,
 * with the exit code that goes with it, and nothing is changed. A verb or an option without a case here is a failure.
 */
import { once } from 'node:events';
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  BAD_ARGUMENT,
  badValuesOf,
  caseOf,
  CODE_FOR,
  COMMON,
  LONG,
  NAMES,
  OF_A_QUEUE,
  OPENING,
  TRIED,
} from './bad-cases.ts';
import { commandTree, type CommandFacts } from './command-tree.ts';
import { Bench, parsedLines, type Ended } from './commands.ts';
import { HOSTILE, HostileFolder } from './hostile-queue.ts';
import { Terminal } from './terminal.ts';
import { CONTROLS_IN_LINES } from '../support/controls.ts';

let bench: Bench;
let folder: HostileFolder;
let tree: Map<string, CommandFacts>;
let before: Map<string, string>;

beforeAll(async () => {
  bench = new Bench();
  folder = await HostileFolder.in(bench.folder);
  tree = await commandTree(bench);
  before = folder.contents();
});
afterAll(async () => {
  await folder.close();
  await bench.close();
});

function run(name: string, args: readonly string[], input = ''): Promise<Ended> {
  return name === 'queue-worker'
    ? bench.run(name, [...args], input)
    : bench.run('queue', [name, ...args], input);
}

/** The same in a shell, with redirections or pipes behind it. */
function shell(name: string, args: readonly string[], behind: string): Promise<Ended> {
  const words = (name === 'queue-worker' ? args : [name, ...args])
    .map((word) => `'${word.replaceAll("'", "'\\''")}'`)
    .join(' ');
  const script = name === 'queue-worker' ? 'queue-worker.js' : 'queue.js';
  return bench.shell(`{ "$NODE" "$BIN/${script}" ${words}; echo "exit code $?" >&2; } ${behind}`);
}

/** What may never be, however a command ends. */
function expectClean({ stdout, stderr }: Pick<Ended, 'stdout' | 'stderr'>): void {
  for (const text of [stdout, stderr]) {
    expect(CONTROLS_IN_LINES.exec(text)?.index, text.slice(0, 3000)).toBeUndefined();
    expect(text).not.toMatch(/^ +at file:|internal error|\[object /m);
    expect(text).not.toMatch(/^queue: done/m);
  }
}

/** Refused: one line on stderr that is not too long, nothing on stdout. */
function expectRefused(ended: Ended, code: number, said: RegExp = /./): void {
  expectClean(ended);
  // What a worker logs is JSON, for stderr is no terminal here.
  const told = ended.stderr.split('\n').filter((line) => !line.startsWith('{"time"') && line !== '');
  expect([ended.code, ended.stdout, told]).toEqual([code, '', [expect.stringMatching(said) as string]]);
  expect(told[0]).toMatch(/^queue(-worker| check| list)?: /);
  expect(told[0]?.length).toBeLessThan(1200);
}

describe('every verb and option has a case here', () => {
  test('every verb', () => {
    expect([...tree.keys()].sort()).toEqual([...NAMES].sort());
  });

  test('every argument and every option that takes a value', () => {
    for (const { name, arguments: given, options } of tree.values()) {
      for (const each of given) expect(BAD_ARGUMENT, `${name} ${each}`).toHaveProperty([each]);
      for (const [flag, value] of options) {
        if (value !== undefined) expect(badValuesOf(name, flag, value), `${name} ${flag}`).toBeDefined();
      }
    }
  });

  test('every verb has an example in its help, and --json where it prints', () => {
    for (const { name, help, options } of tree.values()) {
      expect(help, name).toMatch(/^Examples?:$/m);
      expect(options.has('--json'), name).toBe(name !== 'completion');
      for (const line of help.split('\n'))
        expect(line.length, line).toBeLessThan(line.startsWith('  ') ? 110 : 81);
    }
  });
});

describe.concurrent('misuse of the command line is refused', () => {
  test.each(NAMES)('%s without its arguments', async (name) => {
    const needed = tree.get(name)?.arguments.filter((each) => each.startsWith('<')) ?? [];
    for (const [index, each] of needed.entries()) {
      const args = caseOf(name).right('mails').slice(0, index);
      expectRefused(
        await run(name, args),
        64,
        new RegExp(`missing required argument '${each.slice(1, -1).replace('...', '')}'`),
      );
    }
  });

  test.each(NAMES)('%s with an argument or an option too many', async (name) => {
    const args = caseOf(name).right('mails');
    const { arguments: given = [], options } = tree.get(name) ?? {};
    if (given.at(-1)?.includes('...') !== true) {
      expectRefused(await run(name, [...args, HOSTILE]), 64, /too many arguments/);
    }
    const misspelt = options?.has('--json') ? '--jsno' : '--confgi';
    expectRefused(
      await run(name, [...args, misspelt]),
      64,
      new RegExp(`unknown option '${misspelt}' \\(Did you mean --(json|config)\\?\\)`),
    );
  });

  test.each(NAMES)('%s with an option that lacks its value', async (name) => {
    const taking = [...(tree.get(name)?.options ?? [])].filter(([, value]) => value !== undefined);
    const [flag = ''] = taking.find(([each]) => !COMMON.has(each)) ?? taking[0] ?? [];
    expectRefused(
      await run(name, [...caseOf(name).right('mails'), flag]),
      64,
      new RegExp(`'${flag} <[a-z]+>' argument missing`),
    );
  });

  const next = new Map<readonly string[], number>();
  test.each(NAMES)('%s with bad values', async (name) => {
    const calls: { args: string[]; code: number; flag: string }[] = [];
    for (const [flag, value] of tree.get(name)?.options ?? []) {
      // What all take is tried with two.
      if (value === undefined || (COMMON.has(flag) && name !== 'queue-worker' && name !== 'list')) continue;
      const values = badValuesOf(name, flag, value) ?? [];
      for (let i = 0; i < Math.min(TRIED, values.length); i++) {
        const turn = next.get(values) ?? 0;
        next.set(values, turn + 1);
        const right = caseOf(name).right('mails');
        const args = [
          ...(flag === '--ndjson' ? ['mails'] : right),
          `${flag}=${values[turn % values.length]}`,
        ];
        calls.push({ args, flag, code: CODE_FOR[`${name} ${flag}`] ?? CODE_FOR[flag] ?? 64 });
      }
    }
    for (const { args, code, flag } of calls) expectRefused(await run(name, args), code, saying(code, flag));
  });

  test.each(NAMES)('%s with bad arguments', async (name) => {
    for (const [index, each] of (tree.get(name)?.arguments ?? []).entries()) {
      for (const [text, code] of BAD_ARGUMENT[each] ?? []) {
        const args = caseOf(name).right('mails');
        args[index] = text;
        expectRefused(await run(name, args), code, /expected|Expected|no worker of type|Allowed choices/);
      }
    }
  });

  test('a misspelt verb, a hostile one, one that is not UTF-8', async () => {
    expectRefused(
      await bench.queue('stauts', 'mails'),
      64,
      /unknown command 'stauts' \(Did you mean status\?\)/,
    );
    expectRefused(await bench.queue(HOSTILE), 64);
    expectRefused(await bench.queue('list', `--${HOSTILE}`), 64, /unknown option/);
    expectRefused(await bench.queue(LONG), 64);
    for (const word of ['$(printf "\\377\\233")', 'status "$(printf "a\\377\\233")"']) {
      const { stderr, ...ended } = await bench.shell(`queue ${word}`);
      expectRefused({ ...ended, stderr }, 64);
    }
  });
});

/** An option is named by what refuses its value, unless that is not the command line's doing. */
function saying(code: number, flag: string): RegExp {
  if (code !== 64 || ['--ndjson', '--exec', '--queue', '--workers'].includes(flag))
    return /[Ee]xpected|no worker of type/;
  return new RegExp(`${flag}\\b.*([Ee]xpected|Allowed choices)`);
}

describe.concurrent('what is not there, or not as it should be, is told', () => {
  test.each(OF_A_QUEUE)('%s of a queue that does not exist: the near one', async (name) => {
    if (caseOf(name).creates) return;
    expectRefused(
      await run(name, caseOf(name).right('mials')),
      69,
      /did you mean "mails"\?.*QUEUE_NOT_FOUND/,
    );
  });

  const CONFIGS = [
    ['nowhere.ini', /ENOENT/],
    ['workers', /EISDIR/],
    ['unknown.ini', /unknown key "cacheRot"; did you mean cacheRoot\?/],
    ['bytes.ini', /expected UTF-8 text/],
  ] as const;
  test.each(OPENING.map((name, index) => [name, ...CONFIGS[index % CONFIGS.length]!] as const))(
    '%s with the configuration %s',
    async (name, file, said) => {
      expectRefused(await run(name, [...caseOf(name).right('mails'), '--config', file]), 78, said);
    },
  );

  test.each(OPENING)('%s in a folder that is a file', async (name) => {
    const args = [...caseOf(name).right('mails'), '--cache-root', 'file'];
    expectRefused(await run(name, args), 69, /expected a folder, received a file.*STORAGE_UNSUPPORTED/);
  });

  test.each(OF_A_QUEUE)('%s of a queue whose journal is none', async (name) => {
    const found = caseOf(name);
    // Its type is the queue's name unless it is said.
    const args =
      name === 'queue-worker' ? [...found.right('mails'), '--queue', 'ruined'] : found.right('ruined');
    const ended = await run(name, args);
    if (name !== 'verify' && name !== 'repair') return expectRefused(ended, 69, /JOURNAL_CORRUPT/);
    expectClean(ended);
    expect([ended.code, ended.stderr]).toEqual([name === 'verify' ? 1 : 0, '']);
    expect(ended.stdout).toMatch(/ruined: (?:not sound|can be repaired)/);
  });
});

test('all that was refused has changed nothing', () => {
  expect(folder.contents()).toEqual(before);
});

describe.concurrent('whatever is in a queue', () => {
  /** A call that is right, in a folder of its own. */
  function rightIn(name: string, ...more: string[]): string[] {
    const args = caseOf(name).right('mails');
    return name === 'completion' ? [...args, ...more] : [...args, ...more, '--cache-root', folder.copy()];
  }
  const codeOf = (name: string): string => `exit code ${caseOf(name).code ?? 0}\n`;

  test.each(NAMES.filter((name) => name !== 'completion'))('%s --json prints JSON', async (name) => {
    const behind = caseOf(name).endless ? '| head -n 2' : '';
    const ended = await shell(name, rightIn(name, '--json'), behind);
    expectClean(ended);
    expect(ended.stderr.endsWith(codeOf(name)), ended.stderr).toBe(true);
    expect(parsedLines(ended.stdout).length).toBeGreaterThan(0);
  });

  test.each(NAMES)('%s prints text, with stdin closed', async (name) => {
    const ended = await shell(name, rightIn(name), `<&- | ${caseOf(name).endless ? 'head -n 2' : 'cat'}`);
    expectClean(ended);
    expect(ended.stdout).not.toBe('');
    expect(ended.stderr.endsWith(codeOf(name)), ended.stderr).toBe(true);
  });

  test.each(NAMES)('%s bears that nobody reads what it prints', async (name) => {
    const ended = await shell(name, rightIn(name), '| true');
    expectClean(ended);
    expect(ended.stderr).not.toContain('EPIPE');
    expect(ended.stderr.endsWith(codeOf(name)), ended.stderr).toBe(true);
  });

  test.runIf(existsSync('/dev/full')).each(NAMES)('%s tells that its output is lost', async (name) => {
    const ended = await shell(name, rightIn(name), '> /dev/full');
    expectClean(ended);
    expect(ended.stderr).toContain('stdout: ENOSPC: no space left on device, write\n');
    expect(ended.stderr.endsWith('exit code 1\n'), ended.stderr).toBe(true);
  });

  test.each(NAMES)('%s leaves a narrow terminal without colours as it was', async (name) => {
    const [command, args] =
      name === 'queue-worker'
        ? ([name, rightIn(name)] as const)
        : (['queue', [name, ...rightIn(name)]] as const);
    const terminal = Terminal.command(command, args, {
      cwd: bench.folder,
      cols: 20,
      rows: 8,
      env: { NO_COLOR: '1' },
    });
    if (caseOf(name).endless) {
      await terminal.shows('mails');
      terminal.type('q');
    }
    const { code } = await terminal.ended;
    expect(code).toBe(caseOf(name).code ?? 0);
    expect(terminal.modes()).toMatchObject({ alternateScreen: false, cursorHidden: false, wraps: true });
    // A line that is written over, where there are such, is all that may be on it beside text.
    const written = terminal.output.replaceAll('\r\n', '\n').replaceAll('\r\u001b[K', '');
    // oxlint-disable-next-line no-control-regex -- a colour is what it looks for
    if (caseOf(name).endless) expect(written).not.toMatch(/\u001b\[[0-9;]*3[0-7]m|\u001b\]|\u202e/);
    else expectClean({ stdout: written, stderr: '' });
    await terminal.close();
  });
});

describe.concurrent('a queue that is destroyed meanwhile', () => {
  test.each([
    ['wait', ['first', 'second'], 69, /QUEUE_(DESTROYED|NOT_FOUND)/],
    ['add', ['1', '--wait'], 69, /QUEUE_(DESTROYED|NOT_FOUND)/],
    ['watch', ['--interval', '100ms'], 69, /QUEUE_(DESTROYED|NOT_FOUND)/],
  ] as const)('ends %s', async (name, args, code, said) => {
    const queue = `doomed-${name}`;
    await folder.manager.createQueue(queue);
    for (const alias of ['first', 'second']) await folder.manager.addMessage(queue, { data: 1, alias });
    await folder.manager.getMessage(queue);
    const started = bench.start('queue', [name, queue, ...args]);
    started.process.stdin.end();
    // Each prints a line before it waits, or before it waits for more.
    await once(started.process.stdout, 'data');
    await folder.manager.destroyQueue(queue);
    const ended = await started.ended;
    expectClean(ended);
    expect([ended.code, ended.stderr.split('\n').length]).toEqual([code, 2]);
    expect(ended.stderr).toMatch(said);
  });
});

test.runIf(process.platform === 'linux')('no process is left behind', () => {
  const left = readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readlinkSync(join('/proc', pid, 'cwd')).startsWith(bench.folder);
    } catch {
      return false;
    }
  });
  expect(left).toEqual([]);
});
