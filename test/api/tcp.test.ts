/** Over TCP nobody is let in without a token, and one of them only looks. */
import {
  chmodSync,
  existsSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Tokens } from '../../src/api/tokens.ts';
import { Desk, freePort, said } from './desk.ts';

let desk: Desk;
beforeEach(() => {
  desk = new Desk();
});
afterEach(() => desk.close());

const token = (name: 'api' | 'api-read' = 'api'): string =>
  readFileSync(join(desk.config.daemon.stateDir, `${name}.token`), 'utf8').trim();
const bearer = (token: string): Record<string, string> => ({ Authorization: `Bearer ${token}` });

test('without a port there is no TCP, and there are no tokens', async () => {
  await desk.open();
  expect(desk.api.port).toBeUndefined();
  expect(readdirSync(desk.config.daemon.stateDir)).toEqual(['supervisor.sock']);
});

describe('with a port', () => {
  beforeEach(async () => {
    await desk.open({ apiPort: await freePort() });
    await desk.queues.createQueue('mails');
  });

  test('the tokens have 256 bits, differ, and are readable by their owner alone', () => {
    const tokens = [token('api'), token('api-read')];
    for (const each of tokens) expect(Buffer.from(each, 'base64url')).toHaveLength(32);
    expect(tokens[0]).not.toBe(tokens[1]);
    for (const name of ['api.token', 'api-read.token'])
      expect(statSync(join(desk.config.daemon.stateDir, name)).mode & 0o777).toBe(0o600);
    expect(readdirSync(desk.config.daemon.stateDir).toSorted()).toEqual([
      'api-read.token',
      'api.token',
      'supervisor.sock',
    ]);
  });

  test.for(['/healthz', '/api/status', '/metrics', '/api/events', '/nothing'])(
    '%s is refused without a token, and with one that is almost right',
    async (path) => {
      const right = token();
      const wrong = [
        {},
        bearer(''),
        bearer('x'),
        bearer(right.slice(0, -1)),
        bearer(`${right}A`),
        bearer(right.toLowerCase()),
        { Authorization: right },
        { Authorization: `Basic ${Buffer.from(`x:${right}`).toString('base64')}` },
        { Authorization: `Bearer ${right}, Bearer x` },
        { Cookie: `token=${right}` },
      ];
      for (const headers of wrong) {
        const { status, json, headers: answered } = await desk.overTcp('GET', path, headers);
        expect([headers, status, json.error.code]).toEqual([headers, 401, 'UNAUTHORIZED']);
        expect(answered['www-authenticate']).toBe('Bearer realm="coda"');
      }
      expect((await desk.overTcp('GET', `${path}?token=${right}`)).status).toBe(401);
    },
  );

  test('the token lets in, and is named in the log', async () => {
    expect((await desk.overTcp('GET', '/api/status', bearer(token()))).status).toBe(200);
    const headers = { ...bearer(token()), 'Content-Type': 'application/json' };
    expect((await desk.overTcp('POST', '/api/processes/cam/stop', headers, '{}')).status).toBe(200);
    expect(desk.supervisor.asked).toEqual([
      { verb: 'stop', target: 'cam', options: { by: 'tcp, with the token' } },
    ]);
    expect(JSON.stringify(desk.log)).toContain('tcp, with the token');
    expect(JSON.stringify(desk.log)).not.toContain(token());
  });

  test('the read-only token looks, and changes nothing', async () => {
    const headers = { ...bearer(token('api-read')), 'Content-Type': 'application/json' };
    for (const path of ['/api/status', '/metrics', '/api/queues', '/healthz'])
      expect((await desk.overTcp('GET', path, headers)).status).toBe(200);
    for (const [method, path] of [
      ['POST', '/api/queue/mails'],
      ['POST', '/api/processes'],
      ['POST', '/api/processes/cam/stop'],
      ['POST', '/api/processes/cam/command'],
      ['DELETE', '/api/processes/cam'],
    ] as const) {
      const { status, json } = await desk.overTcp(method, path, headers, '{"data":1}');
      expect([path, status, json.error.code]).toEqual([path, 403, 'FORBIDDEN']);
    }
    expect(desk.supervisor.asked).toEqual([]);
  });

  test('another host or origin is refused, token or not', async () => {
    const own = { ...bearer(token()) };
    expect((await desk.overTcp('GET', '/healthz', { ...own, Host: 'evil.example' })).status).toBe(403);
    expect((await desk.overTcp('GET', '/healthz', { ...own, Origin: 'http://evil.example' })).status).toBe(
      403,
    );
  });

  test('the port is open to this machine alone', () => {
    // Of /proc/net/tcp, which has addresses in hexadecimal.
    if (!existsSync('/proc/net/tcp')) return;
    const port = desk.api.port!.toString(16).toUpperCase().padStart(4, '0');
    const listening = readFileSync('/proc/net/tcp', 'utf8').match(
      new RegExp(`[0-9A-F]{8}:${port} 00000000:0000 0A`, 'g'),
    );
    expect(listening).toEqual([`0100007F:${port} 00000000:0000 0A`]);
  });

  test('a client that resets its connection in the middle of events is forgotten', async () => {
    const socket = connect(desk.api.port!, '127.0.0.1').on('error', () => undefined);
    socket.write(`GET /api/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token()}\r\n\r\n`);
    await vi.waitUntil(() => desk.supervisor.listeners === 1, 10_000);
    socket.resetAndDestroy();
    await vi.waitUntil(() => desk.supervisor.listeners === 0, 10_000);
  });

  test('a second one cannot have the same port, and leaves nothing behind', async () => {
    const other = new Desk();
    try {
      await expect(other.open({ apiPort: desk.api.port! })).rejects.toMatchObject({
        code: 'API_FAILED',
        message: expect.stringContaining('EADDRINUSE'),
      });
      expect(existsSync(join(other.folder, 'var/supervisor.sock'))).toBe(false);
    } finally {
      await other.close();
    }
  });
});

test('names in apiNames are this host as well', async () => {
  await desk.open({ apiNames: 'coda.example.org, queue.local' });
  expect((await desk.get('/healthz', { Host: 'CODA.example.org' })).status).toBe(200);
  expect(
    (await desk.get('/healthz', { Host: 'queue.local:8443', Origin: 'https://queue.local:8443' })).status,
  ).toBe(200);
  expect((await desk.get('/healthz', { Host: 'other.example.org' })).status).toBe(403);
});

describe('token files', () => {
  test('the same tokens hold after the next start', async () => {
    await desk.open({ apiPort: await freePort() });
    const before = token();
    await desk.api.close();
    Tokens.open(desk.config.daemon.stateDir);
    expect(token()).toBe(before);
  });

  test('many that begin at the same time have the same tokens', async () => {
    const all = Array.from({ length: 10 }, () => Tokens.open(desk.folder));
    const made = readFileSync(join(desk.folder, 'api.token'), 'utf8').trim();
    expect(all.map((each) => each.rightOf(made))).toEqual(all.map(() => 'full'));
  });

  test('a file that others can read, that is empty, or a link is refused, and nothing of it is shown', () => {
    const file = join(desk.folder, 'api.token');
    writeFileSync(file, 'a'.repeat(43), { mode: 0o600 });
    chmodSync(file, 0o640);
    expect(() => Tokens.open(desk.folder)).toThrow(/mode 600\), found mode 640/);
    chmodSync(file, 0o600);
    for (const text of ['', 'short', 'hunter2 '.repeat(20)]) {
      writeFileSync(file, text);
      expect(() => Tokens.open(desk.folder)).toThrow(/found something else; remove it/);
      expect(() => Tokens.open(desk.folder)).not.toThrow(/hunter2/);
    }
    unlinkSync(file);
    symlinkSync(join(desk.folder, 'elsewhere'), file);
    expect(() => Tokens.open(desk.folder)).toThrow(/a link/);
  });

  test('a folder that cannot be made is told as what it is', () => {
    writeFileSync(join(desk.folder, 'file'), '');
    const open = (): Tokens => Tokens.open(join(desk.folder, 'file/state'));
    expect(open).toThrow(expect.objectContaining({ code: 'STORAGE_FAILED' }));
    expect(open).toThrow(/ENOTDIR/);
  });
});

test('a request that is torn is refused over TCP as well', async () => {
  await desk.open({ apiPort: await freePort() });
  const socket = connect(desk.api.port!, '127.0.0.1').on('error', () => undefined);
  expect(await said(socket, 'GET / HTTP/9.9\r\n\r\n')).toMatch(/^HTTP\/1\.1 400/);
});
