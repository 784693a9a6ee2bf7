import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Bench, parsedLines } from './commands.ts';
import { Terminal } from './terminal.ts';

let bench: Bench;

beforeEach(() => {
  bench = new Bench();
});
afterEach(() => bench.close());

describe('queue add --ndjson --skip-bad', () => {
  const lines = [
    '{"data":1}',
    'no \u001b[31mJSON',
    '',
    '{"data":2,"retires":1}',
    `{"data":"${'x'.repeat(80_000)}"}`,
    '{"data":3}',
  ];
  const input = Buffer.concat([Buffer.from(`${lines.join('\n')}\n`), Uint8Array.of(0xff, 10)]);

  test('adds the good lines, names the bad ones with their numbers, and exits 1', async () => {
    const path = bench.file('in.ndjson', input);
    const config = bench.file('small.ini', '[queue]\nmaxMessageBytes = 1kB\n');
    const args = ['add', 'bulk', '--create', '--ndjson', path, '--skip-bad', '--config', config];
    const { code, stdout, stderr } = await bench.queue(...args);
    expect([code, stdout]).toEqual([1, 'added 2 messages to bulk\n']);
    expect(stderr.split('\n')).toEqual([
      expect.stringContaining('line 2: expected a JSON object'),
      expect.stringContaining('line 4: unknown property "retires"'),
      expect.stringContaining('line 5: expected at most'),
      expect.stringContaining('line 7: expected text in UTF-8'),
      '4 bad lines skipped',
      '',
    ]);
    expect(stderr).not.toContain('\u001b');
    const { stdout: found } = await bench.queue('find', 'bulk', '--json');
    expect(parsedLines(found)).toMatchObject([{ data: 1 }, { data: 3 }]);
  });

  test('names no more than twenty', async () => {
    const bad = Array.from({ length: 1000 }, (_, n) => `bad ${n}`).join('\n');
    const args = ['add', 'bulk', '--create', '--ndjson', '-', '--skip-bad'];
    const { code, stderr } = await bench.run('queue', args, `${bad}\n{"data":1}`);
    expect(code).toBe(1);
    expect(stderr.split('\n').slice(19)).toEqual([
      expect.stringContaining('line 20:'),
      'skipped 980 more',
      '1,000 bad lines skipped',
      '',
    ]);
  });

  test('is a success when none is bad, and creates no queue when all are', async () => {
    const args = ['add', 'bulk', '--create', '--ndjson', '-', '--skip-bad'];
    expect(await bench.run('queue', args, 'bad')).toMatchObject({
      code: 1,
      stdout: 'added 0 messages to bulk\n',
    });
    expect((await bench.queue('status', 'bulk')).code).toBe(69);
    expect(await bench.run('queue', args, '{"data":1}')).toMatchObject({ code: 0, stderr: '' });
  });

  test('without --ndjson is refused', async () => {
    expect((await bench.queue('add', 'bulk', '1', '--create', '--skip-bad')).code).toBe(64);
    expect((await bench.queue('status', 'bulk')).code).toBe(69);
  });
});

describe('the progress of queue add --ndjson', () => {
  /** What the one line has shown, in turn. */
  const shown = (output: string): string[] =>
    output
      .split('\r\u001b[K')
      .slice(1)
      .map((part) => part.split('\r')[0] ?? '')
      .filter((part) => part !== '');

  beforeEach(() => {
    const lines = Array.from({ length: 20_000 }, (_, n) => `{"data":"${'x'.repeat(200)}${n}"}`);
    bench.file('in.ndjson', lines.join('\n'));
  });

  test.each([40, 120])('is one line on a terminal of %d columns, gone at the end', async (cols) => {
    const args = ['add', 'bulk', '--create', '--ndjson', 'in.ndjson'];
    const terminal = Terminal.command('queue', args, { cwd: bench.folder, cols });
    expect(await terminal.ended).toMatchObject({ code: 0 });
    const steps = shown(terminal.output);
    expect(steps.some((step) => step.startsWith('checking'))).toBe(true);
    const adding = steps.filter((step) => step.startsWith('adding'));
    expect(adding.length).toBeGreaterThan(0);
    for (const step of steps) expect(step.length).toBeLessThan(cols);
    for (const step of adding) {
      expect(step).toMatch(
        cols === 40
          ? /^adding {2}( \[[#.]+\])? ?[ \d]{2}\d% {2}[\d.]+ [kM]?B of 4\.3 MB/
          : /^adding {2}\[#*\.*\] {2}[ \d]{2}\d% {2}[\d.]+ [kM]?B of 4\.3 MB {2}([\d.]+ [kM]?B\/s {2})?[\d,]+ messages$/,
      );
    }
    const rows = terminal.everything().filter((row) => row !== '');
    expect(rows).toEqual(['added 20,000 messages to bulk']);
    await terminal.close();
  });

  test('does not get into what is printed on the same terminal', async () => {
    bench.file('few.ndjson', '{"data":1,"alias":"a"}\nbad\n{"data":2,"alias":"b"}\n');
    const args = ['add', 'bulk', '--create', '--ndjson', 'few.ndjson', '--skip-bad'];
    const terminal = Terminal.command('queue', args, { cwd: bench.folder, cols: 120 });
    await terminal.ended;
    expect(terminal.everything().filter((row) => row !== '')).toEqual([
      expect.stringMatching(/^skipped "few.ndjson", line 2: /),
      'added 2 messages to bulk',
      '1 bad line skipped',
    ]);
    await terminal.close();
  });

  test('is silent in a pipe', async () => {
    const { stderr } = await bench.queue('add', 'bulk', '--create', '--ndjson', 'in.ndjson');
    expect(stderr).toBe('');
  });
});
