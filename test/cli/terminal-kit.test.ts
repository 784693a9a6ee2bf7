import { tmpdir } from 'node:os';
import { afterEach, expect, test } from 'vitest';
import { KEYS, Terminal } from './terminal.ts';

let terminal: Terminal | undefined;
afterEach(() => terminal?.close());

test('a terminal shows what a command writes, takes keys, is resized, and tells how the command ended', async () => {
  terminal = new Terminal('bash', ['--norc', '-i'], { cwd: tmpdir(), env: { PS1: '> ' } });
  await terminal.shows('> ');
  terminal.type('stty size\r');
  await terminal.shows('24 80');
  terminal.resize(40, 10);
  terminal.type('stty size\r');
  await terminal.shows('10 40');
  terminal.type('exit 3\r');
  expect(await terminal.ended).toEqual({ code: 3, signal: 0 });
  await expect(terminal.shows('never')).rejects.toThrow('ended with 3 without showing never');
});

test('a shell has the commands', async () => {
  terminal = Terminal.shell({ cwd: tmpdir() });
  terminal.type('queue nonsense\r');
  await terminal.shows(/unknown command[^]*\n\$ $/m);
  terminal.type(KEYS.ctrlD);
  expect((await terminal.ended).code).toBe(64);
});
