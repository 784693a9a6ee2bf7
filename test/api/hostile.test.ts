/** HTTP as nobody should speak it, on raw sockets. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { Desk, said } from './desk.ts';

let desk: Desk;
beforeAll(async () => {
  desk = await new Desk().open();
  await desk.queues.createQueue('mails');
});
afterAll(async () => {
  const { messagesToProcess } = await desk.queues.queueStatus('mails');
  await desk.close();
  // Nothing that was refused has been done.
  expect(messagesToProcess).toBe(0);
  expect(desk.supervisor.asked).toEqual([]);
});

const HOST = 'Host: localhost\r\n';
const JSON_TYPE = 'Content-Type: application/json\r\n';
const BODY = '{"data":1}';

function post(headers: string, body: string, path = '/api/queue/mails'): string {
  return `POST ${path} HTTP/1.1\r\n${HOST}${headers}Connection: close\r\n\r\n${body}`;
}

/** What the first answer says: status and code; and whether there is a second one. */
async function answerTo(text: string | Uint8Array): Promise<[number, string]> {
  const answer = await said(desk.connect(), text);
  const [, status = '0', rest = ''] = /^HTTP\/1\.1 (\d+)[^]*?\r\n\r\n([^]*)$/.exec(answer) ?? [];
  expect(answer).not.toMatch(/\bat .*:\d+:\d+|node_modules|\/src\//);
  expect(answer.match(/HTTP\/1\.1 \d/g) ?? []).toHaveLength(1);
  const body = /\{.*\}/.exec(rest)?.[0] ?? '{}';
  return [Number(status), (JSON.parse(body) as { error?: { code: string } }).error?.code ?? ''];
}

describe('two meanings in one request', () => {
  test.for([
    ['two lengths that differ', post(`${JSON_TYPE}Content-Length: 10\r\nContent-Length: 5\r\n`, BODY)],
    ['two lengths that agree', post(`${JSON_TYPE}Content-Length: 10\r\nContent-Length: 10\r\n`, BODY)],
    [
      'a length and chunks',
      post(`${JSON_TYPE}Content-Length: 10\r\nTransfer-Encoding: chunked\r\n`, `a\r\n${BODY}\r\n0\r\n\r\n`),
    ],
    [
      'chunks under another name',
      post(`${JSON_TYPE}Transfer-Encoding: xchunked\r\n`, `a\r\n${BODY}\r\n0\r\n\r\n`),
    ],
    ['chunks twice', post(`${JSON_TYPE}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n`, BODY)],
    ['a chunk of no number', post(`${JSON_TYPE}Transfer-Encoding: chunked\r\n`, 'zz\r\nabc\r\n0\r\n\r\n')],
    ['a length of no number', post(`${JSON_TYPE}Content-Length: 1e1\r\n`, BODY)],
    ['a length below nothing', post(`${JSON_TYPE}Content-Length: -1\r\n`, BODY)],
    ['a header with a blank before its colon', post(`${JSON_TYPE}Content-Length : 10\r\n`, BODY)],
    ['a folded header', post(`${JSON_TYPE}X: a\r\n b\r\nContent-Length: 10\r\n`, BODY)],
    ['a NUL in a header', post(`${JSON_TYPE}X: a\0b\r\nContent-Length: 10\r\n`, BODY)],
    ['no host', 'GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n'],
    ['two hosts', `GET /healthz HTTP/1.1\r\n${HOST}Host: localhost\r\nConnection: close\r\n\r\n`],
    ['two content types', post(`${JSON_TYPE}Content-Type: text/plain\r\nContent-Length: 10\r\n`, BODY)],
    ['no HTTP', 'hello\r\n\r\n'],
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['the first words of TLS', Buffer.from('1603010200010001fc0303', 'hex')],
  ] as const)('%s is 400', async ([, text]) => {
    expect(await answerTo(text)).toEqual([400, expect.stringMatching(/INVALID_REQUEST|^$/)]);
  });
});

describe('too much', () => {
  test('a body of 2 MB is refused before it is sent', async () => {
    const socket = desk.connect();
    const answer = said(socket, post(`${JSON_TYPE}Content-Length: 2000000\r\n`, ''));
    expect(await answer).toMatch(/^HTTP\/1\.1 413/);
  });

  test('nobody is asked to go on with a body that is too large', async () => {
    const answer = await said(
      desk.connect(),
      post(`${JSON_TYPE}Content-Length: 2000000\r\nExpect: 100-continue\r\n`, ''),
    );
    expect(answer).toMatch(/^HTTP\/1\.1 413/);
  });

  test('chunks are counted', async () => {
    const chunk = `10000\r\n${'x'.repeat(65_536)}\r\n`;
    expect(
      await answerTo(post(`${JSON_TYPE}Transfer-Encoding: chunked\r\n`, `${chunk.repeat(20)}0\r\n\r\n`)),
    ).toEqual([413, 'TOO_LARGE']);
  });

  test('headers of more than 16 KiB are 431', async () => {
    expect(await answerTo(`GET /healthz HTTP/1.1\r\n${HOST}X: ${'x'.repeat(20_000)}\r\n\r\n`)).toEqual([
      431,
      'TOO_LARGE',
    ]);
  });

  test('headers beyond 100 are 431, and hide nothing behind them', async () => {
    const withHeaders = (count: number, last: string): string =>
      `GET /healthz HTTP/1.1\r\n${HOST}${'X: x\r\n'.repeat(count - 3)}${last}\r\nConnection: close\r\n\r\n`;
    expect(await answerTo(withHeaders(100, 'X: y'))).toEqual([200, '']);
    expect(await answerTo(withHeaders(100, 'Origin: http://evil.example'))).toEqual([403, 'FORBIDDEN']);
    for (const count of [101, 102, 112, 130, 133, 200, 2000])
      for (const last of ['Origin: http://evil.example', 'Host: localhost', 'X: y'])
        expect([count, ...(await answerTo(withHeaders(count, last)))]).toEqual([count, 431, 'TOO_LARGE']);
  });

  test('a path of more than 16 KiB is 431', async () => {
    expect(await answerTo(`GET /${'x'.repeat(20_000)} HTTP/1.1\r\n${HOST}\r\n`)).toEqual([431, 'TOO_LARGE']);
  });

  test.for([
    ['brackets', '['.repeat(500_000)],
    ['objects', '{"a":'.repeat(150_000)],
    ['a payload', `{"data":${'['.repeat(100_000)}${']'.repeat(100_000)}}`],
  ] as const)('nesting of %s is refused, and overflows nothing', async ([, body]) => {
    const { status, json } = await desk.post('/api/queue/mails', body);
    expect([status, json.error.code]).toEqual([400, 'NOT_JSON']);
    expect((await desk.post('/api/processes/cam/command', body)).status).toBe(400);
  });

  test('connections that say nothing are bounded, and keep nobody out who comes after them', async () => {
    const idle = Array.from({ length: 300 }, () => desk.connect().resume());
    try {
      const closed = idle.map((socket) => once(socket, 'close'));
      await Promise.all(idle.map((socket) => once(socket, 'connect')));
      await Promise.all(closed.slice(-1));
      for (const socket of idle) socket.destroy();
      await Promise.all(closed);
      await expect
        .poll(
          () =>
            desk.get('/healthz').then(
              ({ status }) => status,
              () => 0,
            ),
          { timeout: 10_000 },
        )
        .toBe(200);
    } finally {
      for (const socket of idle) socket.destroy();
    }
  });
});

describe('too slow', () => {
  test('headers that come a byte at a time, or not at all, end after ten seconds, and others are answered meanwhile', async () => {
    const socket = desk.connect();
    const begun = Date.now();
    const answer = said(socket, 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n');
    const silent = desk.connect();
    const left = once(silent.resume(), 'close');
    const drip = setInterval(() => socket.write('X'), 100);
    try {
      expect((await desk.get('/healthz')).status).toBe(200);
      expect(await answer).toMatch(/^HTTP\/1\.1 408/);
      await left;
    } finally {
      clearInterval(drip);
    }
    expect(Date.now() - begun).toBeGreaterThan(9000);
    expect(Date.now() - begun).toBeLessThan(20_000);
  });
});

describe('no JSON', () => {
  test.for([
    ['text/plain', BODY, 415],
    ['application/x-www-form-urlencoded', 'data=1', 415],
    ['multipart/form-data; boundary=x', '--x--', 415],
    ['', BODY, 415],
    ['application/json; charset=utf-16', BODY, 415],
    ['application/jsonx', BODY, 415],
    ['text/plain, application/json', BODY, 415],
    ['application/json', '{"data":', 400],
    ['application/json', 'data=1', 400],
    ['application/json', '{"data":1}{"data":2}', 400],
    ['application/json', '[1]', 422],
    ['application/json', '"x"', 422],
    ['application/json', 'null', 422],
  ] as const)('%s with %s is %d', async ([type, body, status]) => {
    expect((await desk.post('/api/queue/mails', body, { 'Content-Type': type })).status).toBe(status);
  });

  test('bytes that are no UTF-8 are 400', async () => {
    const bytes = Buffer.concat([
      Buffer.from(post(`${JSON_TYPE}Content-Length: 12\r\n`, '{"data":"')),
      Buffer.from([0xff, 0x22, 0x7d]),
    ]);
    expect(await answerTo(bytes)).toEqual([400, 'NOT_JSON']);
  });

  test('nothing is changed without the content type, not even where nothing is sent', async () => {
    expect((await desk.ask('DELETE', '/api/processes/cam', undefined, { 'Content-Type': '' })).status).toBe(
      415,
    );
    expect((await desk.post('/api/processes/cam/stop', '', { 'Content-Type': 'text/plain' })).status).toBe(
      415,
    );
  });
});

describe('from elsewhere', () => {
  test.for([
    { Host: 'evil.example' },
    { Host: 'localhost.evil.example' },
    { Host: '127.0.0.1.evil.example:80' },
    { Origin: 'http://evil.example' },
    { Origin: 'null' },
    { Origin: 'http://localhost:3000' },
    { Origin: 'file://' },
    { 'Sec-Fetch-Site': 'cross-site' },
    { 'Sec-Fetch-Site': 'same-site' },
  ])('%o is refused, whatever is asked', async (headers) => {
    for (const [method, path] of [
      ['GET', '/api/status'],
      ['POST', '/api/queue/mails'],
      ['GET', '/nothing'],
      ['OPTIONS', '/api/status'],
    ] as const) {
      const { status, json, headers: answered } = await desk.ask(method, path, undefined, { ...headers });
      expect([method, path, status]).toEqual([method, path, 403]);
      expect(json.error.code).toBe('FORBIDDEN');
      expect(Object.keys(answered).filter((name) => name.startsWith('access-control'))).toEqual([]);
    }
  });

  test.for(['', 'localhost@evil.example', 'localhost, evil.example', 'localhost/evil', '127.0.0.1:x'])(
    'the host "%s" is none',
    async (host) => {
      const [status] = await answerTo(`GET /healthz HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      expect([400, 403]).toContain(status);
    },
  );

  test.for(['localhost', 'LOCALHOST:9501', '127.0.0.1', '127.0.0.1:80', '[::1]', '[::1]:9501'])(
    '%s is this host',
    async (Host) => {
      expect((await desk.get('/healthz', { Host })).status).toBe(200);
      expect((await desk.get('/healthz', { Host, Origin: `http://${Host}` })).status).toBe(
        Host.startsWith('L') ? 403 : 200,
      );
    },
  );

  test('no page is asked what it may do', async () => {
    const { status, headers } = await desk.ask('OPTIONS', '/api/queue/mails', undefined, {
      'Access-Control-Request-Method': 'POST',
    });
    expect(status).toBe(405);
    expect(headers['access-control-allow-origin']).toBeUndefined();
  });
});

describe('odd requests', () => {
  test('noise behind a request is never answered in its place, nor in the middle of a stream', async () => {
    for (const path of ['/api/status', '/api/events']) {
      const socket = desk.connect();
      const answer = said(socket, `GET ${path} HTTP/1.1\r\n${HOST}\r\n`);
      if (path === '/api/events') await vi.waitUntil(() => desk.supervisor.listeners === 1, 10_000);
      socket.write('noise\r\n\r\n');
      expect(await answer).not.toContain('400');
    }
    await vi.waitUntil(() => desk.supervisor.listeners === 0, 10_000);
  });

  test('CONNECT and upgrades lead nowhere', async () => {
    expect(await said(desk.connect(), `CONNECT evil:80 HTTP/1.1\r\n${HOST}\r\n`)).not.toContain('200');
    const upgrade = `GET /healthz HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`;
    expect(await answerTo(upgrade)).toEqual([400, 'INVALID_REQUEST']);
  });

  test('another host in the first line changes nothing', async () => {
    const line = `GET http://evil.example/api/nothing HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`;
    expect((await answerTo(line))[0]).toBe(404);
  });

  test.for([
    '//evil.example/api/status',
    '/api//status',
    '/api/status/',
    '/API/STATUS',
    '/api/%73tatus/..%2f',
    '/\\evil',
    '*',
    'x',
  ])('the path %s leads nowhere', async (path) => {
    const [status] = await answerTo(`GET ${path} HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
    expect([400, 404]).toContain(status);
  });

  test('noise is answered or cut off, and the next is served', async () => {
    for (let n = 0; n < 100; n++) {
      const socket = desk.connect();
      const answer = said(socket, randomBytes(1 + ((n * 37) % 4000)));
      socket.end();
      expect(await answer).not.toMatch(/^HTTP\/1\.1 [25]/);
    }
    expect((await desk.get('/healthz')).status).toBe(200);
  });

  test('a client that goes away in the middle of its body has changed nothing', async () => {
    const socket = desk.connect();
    socket.write(post(`${JSON_TYPE}Content-Length: 1000\r\nExpect: 100-continue\r\n`, '{"data":1'));
    const [begun] = (await once(socket, 'data')) as [Buffer];
    expect(begun.toString()).toMatch(/^HTTP\/1\.1 100/);
    socket.destroy();
    expect((await desk.get('/healthz')).status).toBe(200);
  });
});
