/** What destroys asks the person at a terminal first; a real one here. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Bench } from './commands.ts';
import { KEYS, Terminal } from './terminal.ts';

let bench: Bench;
const terminals = new Set<Terminal>();

beforeEach(async () => {
  bench = new Bench();
  for (const alias of ['a', 'b', 'c']) await bench.queue('add', 'mails', '1', '--create', '--alias', alias);
  await bench.queue('cancel', 'mails', 'c');
});
afterEach(async () => {
  for (const terminal of terminals) await terminal.close();
  terminals.clear();
  await bench.close();
});

function queue(...args: string[]): Terminal {
  const terminal = Terminal.command('queue', args, { cwd: bench.folder });
  terminals.add(terminal);
  return terminal;
}

async function total(): Promise<number> {
  const { counts } = (await bench.json('status', 'mails')) as { counts: Record<string, number> };
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

describe('on a terminal', () => {
  test.each([
    [
      ['purge', 'mails'],
      'Purge mails? It loses 3 messages (2 ready, 1 failed). [y/N]',
      'purged 3 messages',
      0,
    ],
    [['remove', 'mails', 'a', 'c'], 'Remove 2 messages (1 ready, 1 failed) from mails? [y/N]', 'removed', 1],
    [['remove', 'mails', '--failed'], 'Remove 1 message (1 failed) from mails? [y/N]', 'removed', 2],
  ])('%j says what would be lost, and does it after a yes', async (args, question, done, left) => {
    const terminal = queue(...args);
    await terminal.shows(question);
    expect(await total()).toBe(3);
    terminal.type('y\r');
    expect((await terminal.ended).code).toBe(0);
    await terminal.shows(done);
    expect(await total()).toBe(left);
  });

  test('destroy does it after a yes', async () => {
    const terminal = queue('destroy', 'mails');
    await terminal.shows('Destroy mails? It loses 3 messages (2 ready, 1 failed). [y/N]');
    terminal.type('YES\r');
    expect((await terminal.ended).code).toBe(0);
    await terminal.shows('destroyed mails');
    expect((await bench.queue('status', 'mails')).code).toBe(69);
  });

  test.each([
    ['no', 'n\r'],
    ['nothing', '\r'],
    ['what only begins like a yes', 'yesterday\r'],
    ['Ctrl-C', KEYS.ctrlC],
    ['the end of input', KEYS.ctrlD],
  ])('%s means no, and exits 1', async (_, keys) => {
    for (const args of [
      ['destroy', 'mails'],
      ['purge', 'mails'],
      ['remove', 'mails', 'a'],
    ]) {
      const terminal = queue(...args);
      await terminal.shows('[y/N]');
      terminal.type(keys);
      expect(await terminal.ended).toEqual({ code: 1, signal: 0 });
      await terminal.shows(/\nnothing was done/);
    }
    expect(await total()).toBe(3);
  });

  test('--yes asks nothing', async () => {
    const terminal = queue('purge', 'mails', '--yes');
    expect((await terminal.ended).code).toBe(0);
    expect(terminal.screen()[0]).toBe('purged 3 messages from mails');
  });

  test('a queue that does not exist is told instead of asked about', async () => {
    const terminal = queue('destroy', 'mials');
    expect((await terminal.ended).code).toBe(69);
    expect(terminal.screen().join('')).toContain('did you mean "mails"?');
  });

  test('targets that are not there are told before the question', async () => {
    const terminal = queue('remove', 'mails', 'a', 'nope');
    await terminal.shows(/received "nope"[^]*Remove 1 message \(1 ready\) from mails\? \[y\/N\]/);
    terminal.type('y\r');
    expect((await terminal.ended).code).toBe(1);
    expect(await total()).toBe(2);
  });

  test('a message that fails while the question stands was not asked about, and stays', async () => {
    const terminal = queue('remove', 'mails', '--failed');
    await terminal.shows('[y/N]');
    await bench.queue('cancel', 'mails', 'a');
    terminal.type('y\r');
    expect((await terminal.ended).code).toBe(0);
    expect(await bench.json('status', 'mails')).toMatchObject({ counts: { ready: 1, failed: 1 } });
  });

  test('a message that is retried while the question stands is spared by --failed', async () => {
    const terminal = queue('remove', 'mails', '--failed');
    await terminal.shows('[y/N]');
    await bench.queue('retry', 'mails', 'c');
    terminal.type('y\r');
    expect((await terminal.ended).code).toBe(0);
    await terminal.shows('has been retried or has gone meanwhile');
    expect(await total()).toBe(3);
  });
});

test('where only stdout is no terminal, it asks, and data alone goes to stdout', async () => {
  const terminal = new Terminal(
    'sh',
    [
      '-c',
      '"$0" "$1" purge mails --json > out',
      process.execPath,
      new URL('../../dist/bin/queue.js', import.meta.url).pathname,
    ],
    { cwd: bench.folder },
  );
  terminals.add(terminal);
  await terminal.shows('[y/N]');
  terminal.type('y\r');
  expect((await terminal.ended).code).toBe(0);
  expect((await bench.shell('cat out')).stdout).toBe('{"queue":"mails","purged":3}\n');
});

test('where stderr is no terminal, nobody would see the question: --yes is needed', async () => {
  const terminal = new Terminal(
    'sh',
    [
      '-c',
      '"$0" "$1" purge mails 2> err',
      process.execPath,
      new URL('../../dist/bin/queue.js', import.meta.url).pathname,
    ],
    { cwd: bench.folder },
  );
  terminals.add(terminal);
  expect((await terminal.ended).code).toBe(64);
  expect((await bench.shell('cat err')).stdout).toContain('expected --yes');
  expect(await total()).toBe(3);
});
