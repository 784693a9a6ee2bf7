import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { QueueManager } from '../../src/queue-manager.ts';
import { join } from 'node:path';
import { Bench, parsedLines } from './commands.ts';
import { Terminal } from './terminal.ts';
import { CONTROLS_IN_LINES } from '../support/controls.ts';

let bench: Bench;
let manager: QueueManager;

/** `a-1` by eve, `a-2` deferred, `b` disabled, one without an alias. */
beforeEach(async () => {
  bench = new Bench();
  manager = await QueueManager.open({ cacheRoot: join(bench.folder, 'queues') });
  await manager.createQueue('mails');
  await manager.addMessages('mails', [
    { data: { to: 'Zoë "Z"', n: 17 }, alias: 'a-1', username: 'eve' },
    { data: { n: 18 }, alias: 'a-2', dateTimeDeferredExecution: new Date(Date.now() + 10_800_000) },
    { data: 'text', alias: 'b', disabled: true },
    { data: [1] },
  ]);
});
afterEach(async () => {
  await manager.close();
  await bench.close();
});

async function found(...options: string[]): Promise<unknown[]> {
  const { code, stdout } = await bench.queue('find', 'mails', '--json', ...options);
  expect(code).toBe(0);
  return parsedLines(stdout).map((message) => (message as { alias: string }).alias);
}

describe('queue find', () => {
  test.each<[string[], string[]]>([
    [[], ['a-1', 'a-2', 'b', '']],
    [['--state', 'deferred'], ['a-2']],
    [['--state', 'failed'], []],
    [['--alias', 'b'], ['b']],
    [['--alias', ''], ['']],
    [
      ['--alias', 'a*'],
      ['a-1', 'a-2'],
    ],
    [['--alias', '*-2'], ['a-2']],
    [['--alias', 'a*1*1'], []],
    [['--alias', 'a-1*1'], []],
    [['--user', 'eve'], ['a-1']],
    [['--disabled'], ['b']],
    [['--older-than', '1h'], []],
    [
      ['--newer-than', '1h', '--limit', '2'],
      ['a-1', 'a-2'],
    ],
    [['--text', '"n":18'], ['a-2']],
    [['--text', 'Zoë "Z"'], ['a-1']],
    [['--text', 'TEXT'], []],
    [['--alias', 'a*', '--state', 'ready', '--text', '1'], ['a-1']],
  ])('%j finds %j, in order of their place in line', async (options, aliases) => {
    expect(await found(...options)).toEqual(aliases);
  });

  test('tells ages by when messages were added', async () => {
    expect(await found('--newer-than', '0')).toEqual([]);
    expect(await found('--older-than', '0')).toHaveLength(4);
  });

  test('that nothing matches is said on stderr, and is no failure', async () => {
    expect(await bench.queue('find', 'mails', '--alias', 'c')).toMatchObject({
      code: 0,
      stdout: '',
      stderr: 'no messages match\n',
    });
  });

  test('shows why messages failed', async () => {
    const [claim] = await manager.claimMessages('mails');
    await manager.failMessage('mails', claim!, new TypeError('two\nlines \u001b[31m'), { final: true });
    const { stdout } = await bench.queue('find', 'mails', '--state', 'failed');
    expect(stdout).toMatch(/^uuid .* last error\n.* failed .* a-1 .* TypeError: two lines \\u001b\[31m\n$/);
  });

  test.each([
    [['--state', 'done'], 64, 'Allowed choices'],
    [['--older-than', '5'], 64, 'such as 30s'],
    [['--limit', '0'], 64, 'at least 1'],
    [['--txet', 'x'], 64, 'Did you mean --text?'],
  ])('refuses %j', async (options, expected, said) => {
    const { code, stdout, stderr } = await bench.queue('find', 'mails', ...options);
    expect([code, stdout]).toEqual([expected, '']);
    expect(stderr).toContain(said);
  });

  test('of a queue that does not exist is refused with the near name', async () => {
    const { code, stderr } = await bench.queue('find', 'mials');
    expect(code).toBe(69);
    expect(stderr).toContain('did you mean "mails"?');
  });

  test('a reader that leaves early is no error', async () => {
    await manager.addMessages(
      'mails',
      Array.from({ length: 5000 }, (_, n) => ({ data: 'x'.repeat(300) + n })),
    );
    const { stdout, stderr } = await bench.shell(
      '{ queue find mails --json; echo "exit code $?" >&2; } | head -n 2',
    );
    expect([stderr, parsedLines(stdout)]).toMatchObject(['exit code 0\n', [{ alias: 'a-1' }, {}]]);
  });
});

describe('on a terminal', () => {
  const WIDE = '日本語'.repeat(12);

  beforeEach(async () => {
    await manager.addMessages('mails', [
      { data: { text: '\u001b[2J\u202e'.repeat(30) }, alias: `\u001b]0;x\u0007${WIDE}` },
      { data: WIDE.repeat(5), alias: 'e\u0301'.repeat(30) },
    ]);
  });

  test('of 120 columns every message has one row, all in columns', async () => {
    const terminal = Terminal.command('queue', ['find', 'mails'], { cwd: bench.folder, cols: 120 });
    await terminal.ended;
    const rows = terminal.screen().filter((row) => row !== '');
    expect(rows).toHaveLength(7);
    expect(rows[0]).toMatch(/^uuid {34}state {14}alias {17}added {6}tries {2}data$/);
    expect(rows[2]).toMatch(/^[0-9a-f-]{36} {2}deferred in 3h {5}a-2 /);
    expect(rows[3]).toContain('ready disabled');
    for (const row of rows.slice(1, 5)) expect(row).toMatch(/^.{57}.{22}(now|\d+s ago) /);
    expect(rows[5]).toContain('…');
    await terminal.close();
  });

  test('of 40 columns every message has two rows, and none wraps', async () => {
    const terminal = Terminal.command('queue', ['find', 'mails'], { cwd: bench.folder, cols: 40 });
    await terminal.ended;
    const rows = terminal.screen().filter((row) => row !== '');
    expect(rows).toHaveLength(12);
    for (const [index, row] of rows.entries()) {
      expect(row).toMatch(index % 2 === 0 ? /^[0-9a-f-]{36}$/ : /^ {2}(ready|deferred)/);
    }
    expect(rows[3]).toContain('deferred in 3h  a-2');
    await terminal.close();
  });

  test('nothing of a message steers it, and NO_COLOR leaves no escape sequence at all', async () => {
    const env = { NO_COLOR: '1' };
    const terminal = Terminal.command('queue', ['find', 'mails'], { cwd: bench.folder, cols: 200, env });
    await terminal.ended;
    expect(terminal.output.replaceAll('\r\n', '\n')).not.toMatch(CONTROLS_IN_LINES);
    expect(terminal.output).toContain('\\u001b]0;x\\u0007');
    await terminal.close();
  });
});
