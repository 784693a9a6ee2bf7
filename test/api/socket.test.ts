/** The socket: one process has it, others are kept out, and the dead are replaced. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LONGEST_SOCKET_PATH } from '../../src/api/address.ts';
import { listenOnSocket } from '../../src/api/socket.ts';
import { Desk } from './desk.ts';

let desk: Desk;
let path: string;
beforeEach(() => {
  desk = new Desk();
  path = join(desk.folder, 'var/supervisor.sock');
});
afterEach(() => desk.close());

/** A process that has listened there, and was killed. */
async function leaveDead(at: string): Promise<void> {
  mkdirSync(join(desk.folder, 'var'), { recursive: true, mode: 0o700 });
  const program = 'require("net").createServer().listen(process.argv[1], () => console.log("up"))';
  const child = spawn(process.execPath, ['-e', program, at], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'close');
  expect(lstatSync(at).isSocket()).toBe(true);
}

test('it is open to its owner alone, in a folder of its owner, and gone with the API', async () => {
  await desk.open();
  expect(desk.api.socket).toBe(path);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(statSync(join(desk.folder, 'var')).mode & 0o777).toBe(0o700);
  expect(readdirSync(join(desk.folder, 'var'))).toEqual(['supervisor.sock']);
  await desk.api.close();
  expect(readdirSync(join(desk.folder, 'var'))).toEqual([]);
});

test('one that a dead process has left is replaced, and so is what died on its way there', async () => {
  await leaveDead(path);
  await leaveDead(join(desk.folder, 'var/.api-d0123abcd'));
  await desk.open();
  expect((await desk.get('/healthz')).status).toBe(200);
  expect(readdirSync(join(desk.folder, 'var'))).toEqual(['supervisor.sock']);
});

test('one of a process that lives is left alone', async () => {
  await desk.open();
  const server = createServer();
  await expect(listenOnSocket(server, path)).rejects.toMatchObject({
    code: 'API_FAILED',
    message: expect.stringContaining('another process listens there already'),
  });
  expect((await desk.get('/healthz')).status).toBe(200);
  expect(readdirSync(join(desk.folder, 'var'))).toEqual(['supervisor.sock']);
});

test('of many who find the same dead socket one gets its place, whoever is quicker', async () => {
  for (let round = 0; round < 20; round++) {
    await leaveDead(path);
    const servers = Array.from({ length: 4 }, () => createServer());
    const outcomes = await Promise.allSettled(servers.map((server) => listenOnSocket(server, path)));
    const winners = outcomes.filter(({ status }) => status === 'fulfilled');
    expect(winners).toHaveLength(1);
    await Promise.all(
      servers.filter(({ listening }) => listening).map((server) => new Promise((done) => server.close(done))),
    );
    rmSync(path, { force: true });
    expect(readdirSync(join(desk.folder, 'var'))).toEqual([]);
  }
});

test('what is no socket is left alone', async () => {
  mkdirSync(join(desk.folder, 'var'));
  for (const put of [
    () => writeFileSync(path, 'mine'),
    () => mkdirSync(path),
    () => symlinkSync(join(desk.folder, 'nowhere'), path),
  ]) {
    put();
    await expect(desk.open()).rejects.toMatchObject({
      code: 'API_FAILED',
      message: expect.stringContaining('no socket'),
    });
    expect(lstatSync(path)).toBeDefined();
    rmSync(path, { recursive: true });
    await desk.queues.close();
  }
});

test('a folder that everybody may change is refused, unless what is there stays its owner’s', async () => {
  mkdirSync(join(desk.folder, 'open'));
  chmodSync(join(desk.folder, 'open'), 0o777);
  const apiSocket = join(desk.folder, 'open/coda.sock');
  await expect(desk.open({ apiSocket })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('mode 777'),
  });
  await desk.queues.close();
  chmodSync(join(desk.folder, 'open'), 0o1777);
  await desk.open({ apiSocket });
  expect((await desk.get('/healthz')).status).toBe(200);
});

test('a path that the system would cut is refused, with its length and what to do', async () => {
  const apiSocket = `/tmp/${'x'.repeat(LONGEST_SOCKET_PATH)}`;
  await expect(desk.open({ apiSocket })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(`at most ${LONGEST_SOCKET_PATH} bytes`),
  });
  await desk.queues.close();
  const longest = join(desk.folder, 'y'.repeat(LONGEST_SOCKET_PATH - desk.folder.length - 1));
  await desk.open({ apiSocket: longest });
  expect(Buffer.byteLength(longest)).toBe(LONGEST_SOCKET_PATH);
  expect((await desk.get('/healthz')).status).toBe(200);
});

test('what another has put in its place since is not taken away', async () => {
  await desk.open();
  rmSync(path);
  const other = createServer();
  const leave = await listenOnSocket(other, path);
  await desk.api.close();
  expect(existsSync(path)).toBe(true);
  await new Promise((resolve) => other.close(resolve));
  leave();
  expect(existsSync(path)).toBe(false);
});

test('to close takes no longer than a second, whoever is still there', async () => {
  await desk.open();
  desk.supervisor.answer = () => new Promise(() => undefined);
  const asked = desk.get('/api/status').catch((error: NodeJS.ErrnoException) => error.code);
  const idle = desk.connect();
  await once(idle, 'connect');
  const begun = Date.now();
  await desk.api.close();
  expect(Date.now() - begun).toBeLessThan(1800);
  expect(await asked).toBe('ECONNRESET');
});
