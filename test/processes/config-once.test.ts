/** The daemons that ship read their configuration once, so that they do with a file that can be read only once: a named pipe. */
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Started } from '../cli/commands.ts';
import { overseerTest as test, type Overseer } from './overseer.ts';
import { until } from './stage.ts';

/** Starts it with the configuration in a pipe; resolves when it has said that it is up. */
async function up(yard: Overseer, name: string, text: string, said: string): Promise<Started> {
  const config = join(yard.folder, 'pipe.ini');
  expect(spawnSync('mkfifo', [config]).status).toBe(0);
  const daemon = yard.foreground(name, '--config', config);
  await writeFile(config, `[log]\ndestination = stderr\n[queue]\ncacheRoot = elsewhere\n${text}\n`);
  await daemon.said(said);
  return daemon;
}

async function add(yard: Overseer, queue: string): Promise<void> {
  const { code, stderr } = await yard.bench.queue('add', queue, '7', '--create', '--cache-root', 'elsewhere');
  expect([code, stderr]).toEqual([0, '']);
}

test('the one that drains queues', async ({ yard }) => {
  yard.worker('mail', 'note(message.data);');
  const daemon = await up(yard, 'queue', '[daemon]\nqueues = mail', 'working on mail');
  await add(yard, 'mail');
  await until(() => yard.noted.length === 1);
  expect(await yard.ended(daemon)).toBe(0);
});

test('the call server', async ({ yard }) => {
  const daemon = await up(yard, 'callServer', '[call]\ncallPort = 0', 'listening');
  expect(await yard.ended(daemon)).toBe(0);
});

test('the supervisor, also to see how many children are wanted', async ({ yard }) => {
  yard.worker('mail', 'note(message.data);');
  const text = '[process:mail]\nworker = mail\ninstances = 0-1\nscaleAge = 1s';
  const daemon = await up(yard, 'supervisor', text, 'the control API listens');
  await add(yard, 'mail');
  await until(() => yard.noted.length === 1);
  expect(await yard.ended(daemon)).toBe(0);
});
