/** `queue completion`: what TAB offers, in real shells where they are installed. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Bench } from './commands.ts';
import { Terminal } from './terminal.ts';

const BIN = fileURLToPath(new URL('../../dist/bin/', import.meta.url));

let bench: Bench;

beforeEach(async () => {
  bench = new Bench();
  for (const queue of ['mails', 'mail-archive', 'hooks']) await bench.queue('create', queue);
});
afterEach(() => bench.close());

async function offered(command: 'queue' | 'queue-worker', ...words: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await bench.run(command, ['__complete', '--', ...words]);
  expect([code, stderr]).toEqual([0, '']);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t')[0]!);
}

describe('what is offered', () => {
  test.each([
    ['verbs', ['pau'], ['pause']],
    ['queues', ['status', 'mail'], ['mail-archive', 'mails']],
    ['nothing behind the last argument', ['status', 'mails', ''], []],
    ['options of the verb', ['remove', 'mails', '--f'], ['--failed']],
    ['options of all verbs', ['remove', 'mails', '--cache'], ['--cache-root']],
    ['choices of an option', ['status', '--durability', ''], ['always', 'interval', 'os']],
    ['choices behind =', ['status', '--durability=in'], ['--durability=interval']],
    ['choices behind =, as bash splits it', ['status', '--durability', '=', 'in'], ['interval']],
    [
      'all choices behind =, as bash splits it',
      ['status', '--durability', '='],
      ['always', 'interval', 'os'],
    ],
    ['choices of an argument', ['completion', ''], ['bash', 'zsh', 'fish']],
    ['an argument behind options with values', ['retry', '--durability', 'os', '--all', 'ho'], ['hooks']],
    ['an argument behind --', ['status', '--', 'ho'], ['hooks']],
    ['no option behind --', ['status', '--', '--j'], []],
    ['files', ['add', 'mails', '--ndjson', 'x'], [':files']],
    ['folders', ['list', '--cache-root', ''], [':folders']],
    ['verbs to help with', ['help', 'pau'], ['pause']],
    ['nothing for a verb that is none', ['wrong', ''], []],
  ])('%s', async (_, words, expected) => {
    expect(await offered('queue', ...words)).toEqual(expected);
  });

  test('every verb and every option that the help shows', async () => {
    const verbs = (await offered('queue', '')).filter((verb) => verb !== 'help');
    expect(verbs).toContain('destroy');
    for (const verb of ['add', 'remove']) {
      const { stdout } = await bench.queue(verb, '--help');
      const shown = new Set(
        stdout.match(/^ {2}(?:-\w, )?--[a-z-]+/gm)?.map((line) => line.replace(/.*--/, '--')),
      );
      expect(new Set(await offered('queue', verb, '--'))).toEqual(shown);
    }
  });

  test('types of workers and their queues', async () => {
    mkdirSync(join(bench.folder, 'workers'));
    for (const file of ['invoices.ts', 'invoices-old.mjs', 'types.d.ts', 'notes.txt'])
      bench.file(`workers/${file}`, '');
    expect(await offered('queue-worker', 'inv')).toEqual(['invoices', 'invoices-old']);
    expect(await offered('queue-worker', 'types')).toEqual([]);
    expect(await offered('queue-worker', 'invoices', '--queue', 'ho')).toEqual(['hooks']);
    mkdirSync(join(bench.folder, 'there'));
    bench.file('there/elsewhere.ts', '');
    expect(await offered('queue-worker', '--workers', 'there', 'else')).toEqual(['elsewhere']);
  });

  test('the queues of the folder that the line names', async () => {
    await bench.queue('create', 'far', '--cache-root', 'there');
    expect(await offered('queue', '--cache-root', 'there', 'status', '')).toEqual(['far']);
    expect(await offered('queue', 'status', '--cache-root=there', '')).toEqual(['far']);
    bench.file('other.ini', '[queue]\ncacheRoot = there\n');
    expect(await offered('queue', 'status', '--config', 'other.ini', '')).toEqual(['far']);
  });

  test('nothing, without a word, where something is wrong; and nothing is made', async () => {
    expect(await offered('queue', 'status', '--cache-root', 'nowhere', '')).toEqual([]);
    expect(existsSync(join(bench.folder, 'nowhere'))).toBe(false);
    bench.file('config.ini', '[queue]\ncacheRot = x\n');
    expect(await offered('queue', 'status', '')).toEqual([]);
    expect(await offered('queue', 'pau')).toEqual(['pause']);
  });
});

test('without a shell it explains how to install it', async () => {
  const { code, stdout } = await bench.queue('completion');
  expect(code).toBe(0);
  for (const shell of ['bash', 'zsh', 'fish']) expect(stdout).toContain(`queue completion ${shell}`);
});

test('a shell that it does not know is refused', async () => {
  const { code, stdout, stderr } = await bench.queue('completion', 'tcsh');
  expect([code, stdout]).toEqual([64, '']);
  expect(stderr).toContain('bash, zsh, fish');
});

describe.each([
  ['bash', ['--noprofile', '--norc', '-i'], 'source <(queue completion bash)\r'],
  ['zsh', ['-f', '-i'], 'autoload -Uz compinit; compinit -D; source <(queue completion zsh)\r'],
  ['fish', ['--no-config', '-i'], 'queue completion fish | source\r'],
])('in %s', (shell, args, install) => {
  const runs = test.runIf(spawnSync(shell, ['-c', 'true']).status === 0);
  let terminal: Terminal;

  beforeEach(() => {
    const folder = join(bench.folder, 'bin');
    mkdirSync(folder);
    for (const command of ['queue', 'queue-worker']) {
      const script = `#!/bin/sh\nexec "${process.execPath}" "${BIN}${command}.js" "$@"\n`;
      writeFileSync(join(folder, command), script, { mode: 0o755 });
    }
  });
  afterEach(() => terminal?.close());

  runs('TAB completes verbs, queues, options, values and paths', async () => {
    const PATH = `${join(bench.folder, 'bin')}${delimiter}${process.env['PATH']}`;
    const env = {
      PATH,
      PS1: '$ ',
      HOME: bench.folder,
      TMPDIR: bench.folder,
      HISTFILE: '',
      INPUTRC: '/dev/null',
    };
    terminal = new Terminal(shell, args, { cwd: bench.folder, env, cols: 100 });
    await terminal.until((rows) => rows.some((row) => /[$>%#] ?$/.test(row)), 'a prompt');
    terminal.type(install);
    // What is typed must not be taken for what is answered.
    terminal.type('echo installed | tr a-z A-Z\r');
    await terminal.shows('INSTALLED');
    bench.file('some-input.ndjson', '');
    mkdirSync(join(bench.folder, 'some-folder'));
    for (const [typed, completed] of [
      ['queue pau', 'queue pause '],
      ['queue status ho', 'queue status hooks '],
      ['queue remove mails --fail', 'queue remove mails --failed '],
      ['queue status --durability int', 'queue status --durability interval '],
      ['queue status --durability=int', 'queue status --durability=interval '],
      ['queue add mails --ndjson some-inp', 'queue add mails --ndjson some-input.ndjson '],
      ['queue list --cache-root some-', 'queue list --cache-root some-folder/'],
      ['queue-worker anpr --queue ho', 'queue-worker anpr --queue hooks '],
    ] as const) {
      terminal.type(`${typed}\t`);
      await terminal.until((rows) => rows.some((row) => row.includes(completed.trimEnd())), completed);
      // Away with the line; what was completed must not be taken for what comes next.
      terminal.type('\u0015');
      terminal.type('clear\r');
      await terminal.until((rows) => rows.every((row) => !row.includes('queue')), 'an empty screen');
    }
    // What several begin with, and then all of them.
    terminal.type('queue status ma\t\t\t');
    await terminal.shows('mail-archive');
    await terminal.shows('mails');
    // A line without an answer leaves the shell as it was.
    terminal.type('\u0015');
    terminal.type('queue status --cache-root /nowhere x\t');
    terminal.type('\u0015');
    terminal.type('echo still=here\r');
    await terminal.shows(/^still=here/m);
  });
});
