import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Bench, parsedLines, type Started } from './commands.ts';
import { KEYS, Terminal, type TerminalOptions } from './terminal.ts';
import { CONTROLS } from '../support/controls.ts';

let bench: Bench;
let terminals: Terminal[];

beforeEach(() => {
  bench = new Bench();
  terminals = [];
});
afterEach(async () => {
  await Promise.all(terminals.map((terminal) => terminal.close()));
  await bench.close();
});

function watch(args: string[] = [], options: Partial<TerminalOptions> = {}): Terminal {
  return run(['watch', 'mails', '--interval', '100ms', ...args], options);
}

function run(args: string[], options: Partial<TerminalOptions> = {}): Terminal {
  const terminal = Terminal.command('queue', args, { cwd: bench.folder, ...options });
  terminals.push(terminal);
  return terminal;
}

async function add(...lines: object[]): Promise<void> {
  const text = lines.map((line) => JSON.stringify(line)).join('\n');
  const { code, stderr } = await bench.run('queue', ['add', 'mails', '--create', '--ndjson', '-'], text);
  if (code !== 0) throw new Error(stderr);
}

/** Fails what says so, and works on the rest until it is told to end. */
const WORKER = `
  export default class {
    async process({ data }, { progress, signal }) {
      if (data === 'fail') throw new TypeError('no such address\\u001b[31m');
      progress(40, 'writing');
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      throw signal.reason;
    }
  }`;

function work(): Started {
  mkdirSync(join(bench.folder, 'workers'), { recursive: true });
  writeFileSync(join(bench.folder, 'workers', 'mails.mjs'), WORKER);
  return bench.start('queue-worker', ['mails', '--concurrency', '2']);
}

const counts = async (): Promise<unknown> =>
  ((await bench.json('status', 'mails')) as { counts: object }).counts;

/** As it is before and has to be after. */
const UNTOUCHED = { alternateScreen: false, cursorHidden: false, wraps: true, bracketedPaste: false };

describe('queue watch on a terminal', () => {
  test('shows who works on what and what has failed, and does what its keys say', async () => {
    await add(
      { data: 'fail', alias: 'bad-1' },
      { data: 'fail', alias: 'bad-2' },
      { data: 'work', alias: 'long-1' },
    );
    const worker = work();
    const terminal = watch();
    await terminal.shows('! 2 failed');
    await terminal.shows(/^. bad-|failed\n/m);
    await terminal.shows(new RegExp(`${worker.process.pid} +\\d+s +long-1 +\\[####\\.+\\] +40% +writing`));
    await terminal.shows('no such address\\u001b[31m');
    expect(terminal.modes()).toMatchObject({ alternateScreen: true, cursorHidden: true });

    terminal.type('p');
    await terminal.shows(/^mails +paused/);
    expect(await bench.json('status', 'mails')).toMatchObject({ paused: true });

    // Up and down to the second failed message, which alone is back in line.
    terminal.type('G');
    await terminal.shows(/^> .*bad-2/m);
    terminal.type(KEYS.up);
    await terminal.shows(/^> .*bad-1/m);
    terminal.type(KEYS.down);
    await terminal.shows(/^> .*bad-2/m);
    terminal.type('r');
    await terminal.shows('bad-2 is back in line');
    expect(await counts()).toMatchObject({ ready: 1, failed: 1 });

    // Cancel asks; any key but y is no.
    terminal.type('g');
    await terminal.shows(/^> .*long-1/m);
    terminal.type('c');
    await terminal.shows('cancel long-1?');
    terminal.type('x');
    await terminal.shows('nothing was done');
    expect(await counts()).toMatchObject({ claimed: 1 });
    terminal.type('c');
    await terminal.shows('cancel long-1?');
    terminal.type('y');
    await terminal.shows('cancelled long-1');
    expect(await counts()).toMatchObject({ claimed: 0, failed: 2 });

    terminal.type('R');
    await terminal.shows('retry 2 failed messages?');
    terminal.type('y');
    await terminal.shows('2 messages back in line');
    expect(await counts()).toMatchObject({ ready: 3, failed: 0 });
    await terminal.shows('ready 3');

    terminal.type('p');
    await terminal.shows('resumed');
    expect(await bench.json('status', 'mails')).toMatchObject({ paused: false });
  });

  test('what is pasted is no orders', async () => {
    await add({ data: 1 });
    const terminal = watch();
    await terminal.shows('ready 1');
    terminal.type('\u001b[200~pppq\u001b[201~?');
    await terminal.shows('retry all that have failed');
    expect(await bench.json('status', 'mails')).toMatchObject({ paused: false });
  });

  test.each(['q', KEYS.ctrlC])('%j quits with the terminal as it was', async (key) => {
    await add({ data: 1 });
    const terminal = watch();
    await terminal.shows('ready 1');
    terminal.type(key);
    expect(await terminal.ended).toEqual({ code: 0, signal: 0 });
    expect(terminal.modes()).toEqual(UNTOUCHED);
  });

  test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    '%s quits with the terminal as it was',
    async (signal) => {
      await add({ data: 1 });
      const terminal = watch();
      await terminal.shows('ready 1');
      terminal.signal(signal);
      expect(await terminal.ended).toEqual({ code: 0, signal: 0 });
      expect(terminal.modes()).toEqual(UNTOUCHED);
    },
  );

  test('a defect is told where it can be read, with the terminal as it was', async () => {
    await add({ data: 1 });
    const bomb = bench.file('bomb.mjs', "process.on('SIGUSR2', () => { throw new Error('a bomb'); });");
    const terminal = watch([], { env: { NODE_OPTIONS: `--import ${bomb}` } });
    await terminal.shows('ready 1');
    terminal.signal('SIGUSR2');
    expect((await terminal.ended).code).not.toBe(0);
    expect(terminal.modes()).toEqual(UNTOUCHED);
    expect(terminal.everything().join('\n')).toContain('a bomb');
  });

  test('waits for a queue that was destroyed meanwhile', async () => {
    await add({ data: 1 }, { data: 2 });
    const terminal = watch();
    await terminal.shows('ready 2');
    await bench.queue('destroy', 'mails', '--yes');
    await terminal.shows('is not there; waiting for it');
    await add({ data: 3 });
    await terminal.shows('ready 1');
    expect(terminal.screen()[0]).toBe('mails  waiting');
    // All the time in between it was nothing but gone.
    expect(terminal.output).not.toContain('QUEUE_');
  });

  test('survives every size of its window, and shows the first things first', async () => {
    await add({ data: 'fail', alias: '\u6ce8\u6587'.repeat(40) }, { data: 'work', alias: 'x'.repeat(300) });
    work();
    const before = watch();
    await before.shows('! 1 failed');
    await before.shows('40%');
    // It looks once: whatever it draws afterwards is for the window's sake.
    const terminal = run(['watch', 'mails', '--interval', '1h']);
    await terminal.shows('! 1 failed');
    await terminal.shows('40%');
    for (const [columns, rows] of [
      [20, 5],
      [200, 60],
      [2, 1],
      [40, 12],
    ] as const) {
      const before = terminal.output.length;
      terminal.resize(columns, rows);
      // The last row of the frame that follows.
      await terminal.until(
        () => terminal.output.slice(before).includes(`\u001b[${rows}H`),
        `a frame of ${rows} rows`,
      );
    }
    await terminal.shows(/^mails +at work\n! 1 failed/);
    terminal.resize(20, 5);
    await terminal.until((rows) => rows.at(-1) === 'q quit  ? help', 'a footer that fits');
    const [, alarm, count, selected] = terminal.screen();
    expect(alarm).toMatch(/^! 1 failed/);
    expect(count).toMatch(/^ready 0  claimed 1/);
    expect(selected).toMatch(/^> /);
    terminal.type('q');
    expect((await terminal.ended).code).toBe(0);
  });

  test('Ctrl-Z gives the terminal back, and fg takes it again', async () => {
    await add({ data: 1 });
    const shell = Terminal.shell({ cwd: bench.folder });
    terminals.push(shell);
    // Not as a function of the shell: those are not jobs.
    shell.type('clear; "$NODE" "$BIN/queue.js" watch mails --interval 100ms\r');
    await shell.shows('ready 1');
    shell.type(KEYS.ctrlZ);
    await shell.shows(/Stopped/);
    expect(shell.modes()).toMatchObject({ alternateScreen: false, cursorHidden: false, wraps: true });
    shell.type('clear; stty -a | grep -ow -- "-*icanon"\r');
    await shell.shows(/^icanon/m);
    shell.type('fg\r');
    await shell.shows('ready 1');
    expect(shell.modes()).toMatchObject({ alternateScreen: true, cursorHidden: true, wraps: false });
    shell.type('p');
    await shell.shows(/^mails +paused/);
    // Again, for the second time is another one.
    shell.type(KEYS.ctrlZ);
    await shell.shows(/^\$ fg[^]*Stopped/m);
    shell.type('fg\r');
    await shell.shows(/^mails +paused/);
    shell.type('q');
    await shell.until((rows) => !rows[0]?.startsWith('mails'), 'the shell');
    shell.type('clear; stty -a | grep -ow -- "-*icanon"; exit\r');
    await shell.shows(/^icanon/m);
    await shell.ended;
  });

  test('where nobody could wake it, Ctrl-Z does not leave it without its screen', async () => {
    await add({ data: 1 });
    // No shell: a process whose group is an orphan is not stopped by the system.
    const terminal = watch();
    await terminal.shows('ready 1');
    const entered = (): number => terminal.output.split('\u001b[?1049h').length - 1;
    terminal.type(KEYS.ctrlZ);
    await terminal.until(() => entered() === 2, 'its screen again');
    terminal.type('p');
    await terminal.shows(/^mails +paused/);
    expect(terminal.modes()).toMatchObject({ alternateScreen: true, cursorHidden: true });
  });

  test('writes little while little happens, and every change at once', async () => {
    await add({ data: 1 });
    const terminal = watch();
    await terminal.shows('added 0/s');
    const before = terminal.output.length;
    await terminal.shows(/last added 3s ago/);
    await terminal.shows(/last added 5s ago/);
    const written = terminal.output.slice(before);
    // About two seconds, twenty looks.
    expect(written.length).toBeLessThan(1500);
    expect(written.split('\u001b[?2026h').length).toBe(written.split('\u001b[?2026l').length);
    expect(written).not.toContain('\u001b[2J');
  });

  test('colours are for those who want them, and nothing from outside is obeyed', async () => {
    const hostile = '\u001b[2J\u009b5m\u202e\u0007\ud83d\ude80';
    await add({ data: 'fail', alias: hostile, username: hostile });
    work();
    const coloured = watch();
    await coloured.shows('! 1 failed');
    expect(coloured.output).toContain('\u001b[31m');
    const plain = watch([], { env: { NO_COLOR: '1' } });
    await plain.shows('! 1 failed');
    await plain.shows('\\u001b[2J');
    // Everything but modes, moves and erasing to the end of the row.
    // oxlint-disable-next-line no-control-regex -- these are the characters it is for
    const rest = plain.output.replace(/\u001b\[(\?\d+[hl]|\d+H|K)/g, '');
    expect(rest).not.toMatch(CONTROLS);
  });

  test('without a keyboard it shows the same, and a signal ends it', async () => {
    await add({ data: 1 });
    const shell = Terminal.shell({ cwd: bench.folder });
    terminals.push(shell);
    shell.type('clear; "$NODE" "$BIN/queue.js" watch mails --interval 100ms < /dev/null; echo "code $?"\r');
    await shell.shows('Ctrl-C quits');
    shell.type(KEYS.ctrlC);
    await shell.shows('code 0');
  });

  test('a queue that is not there from the start is refused', async () => {
    await bench.queue('create', 'mials');
    const terminal = watch();
    expect((await terminal.ended).code).toBe(69);
    expect(terminal.everything().join('')).toContain('did you mean "mials"?');
    expect(terminal.output).not.toContain('\u001b[?1049h');
  });
});

describe('queue watch elsewhere', () => {
  test('prints a line per interval, until nobody reads', async () => {
    await add({ data: 1 }, { data: 2 });
    await bench.queue('pause', 'mails');
    const { code, stdout, stderr } = await bench.shell('queue watch mails --interval 100ms | head -n 3');
    expect([code, stderr]).toEqual([0, '']);
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(3);
    expect(lines[2]).toMatch(
      /^\d{4}-\S+Z  ready 2  deferred 0  claimed 0  disabled 0  failed 0  added 0\/s  processed 0\/s  paused$/,
    );
  });

  test('prints statuses as JSON', async () => {
    await add({ data: 1 });
    const { stdout } = await bench.shell('queue watch mails --interval 100ms --json | head -n 2');
    const status = await bench.json('status', 'mails');
    expect(parsedLines(stdout)).toEqual([status, status]);
  });

  test('ends when the queue is destroyed', async () => {
    await add({ data: 1 });
    const { process: child, ended } = bench.start('queue', ['watch', 'mails', '--interval', '100ms']);
    await new Promise((said) => child.stdout.once('data', said));
    await bench.queue('destroy', 'mails', '--yes');
    expect((await ended).code).toBe(69);
  });

  test('is what a dumb terminal gets', async () => {
    await add({ data: 1 });
    const terminal = watch([], { env: { TERM: 'dumb' } });
    await terminal.shows(/ready 1 .*added 0\/s/s);
    expect(terminal.output).not.toContain('\u001b');
    terminal.type(KEYS.ctrlC);
    await terminal.ended;
  });

  test.each(['5', '99ms', '2d', 'soon', '', '-1s'])('refuses --interval=%s', async (given) => {
    const { code, stderr } = await bench.queue('watch', 'mails', `--interval=${given}`);
    expect(code).toBe(64);
    expect(stderr).toContain('from 100ms to 1d');
  });
});

describe('queue status', () => {
  test('says what is wrong first, and which command helps', async () => {
    await add({ data: 'fail', alias: 'bad-1' }, { data: 'work', alias: 'long-1' });
    const worker = work();
    const terminal = watch();
    await terminal.shows('40%');
    await terminal.shows('! 1 failed');
    await bench.queue('pause', 'mails');
    const { stdout } = await bench.queue('status', 'mails');
    expect(stdout.split('\n').slice(0, 5)).toEqual([
      'mails  ready 0  claimed 1  failed 1',
      expect.stringMatching(/^! 1 failed, the last \d+s ago$/),
      '  queue find mails --state failed',
      '! paused: nothing is handed out',
      '  queue resume mails',
    ]);
    expect(stdout).toMatch(new RegExp(`${worker.process.pid} +\\d+s  long-1 +\\[####\\.+\\] +40%  writing`));
    expect(stdout).toMatch(/\d+s {2}bad-1 +TypeError: no such address/);
    expect(stdout).not.toContain('\u001b');
  });

  test.each([40, 80])('fits %i columns', async (cols) => {
    await add({ data: 'fail', alias: '\u6ce8\u6587'.repeat(40) }, { data: 'work', alias: 'x'.repeat(300) });
    work();
    const watching = watch();
    await watching.shows('40%');
    await watching.shows('! 1 failed');
    const terminal = run(['status', 'mails'], { cols, rows: 50 });
    expect((await terminal.ended).code).toBe(0);
    const wide = await bench.queue('status', 'mails');
    // No row was so long that the terminal had to break it.
    expect(terminal.everything().filter((row) => row !== '')).toHaveLength(
      wide.stdout.split('\n').filter((row) => row !== '').length,
    );
  });
});
