import { createHmac, timingSafeEqual } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import * as library from '../../src/index.ts';
import { QueueManager, type Json, type Message } from '../../src/index.ts';
import { loadWorker } from '../../src/worker/loader.ts';
import { runLoop, type LoopReport } from '../../src/worker/loop.ts';
import type { WorkerEvent } from '../../src/worker/events.ts';

const Q = 'hooks';
/** 128 real payloads, kept beside the project and not in it. */
const WEBHOOKS = new URL('../../../shared/data/webhooks.ndjson', import.meta.url);

interface Received {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

type Answer = (response: ServerResponse, request: IncomingMessage, nth: number) => void;

let folder = '';
let manager: QueueManager;
let origin = '';
let received: Received[] = [];
let connections: Set<Socket>;
let closeServer: () => Promise<void>;
/** What the server does with a request that has been read. */
let answer: Answer;

beforeEach(async () => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-http-')));
  manager = await QueueManager.open({ queueType: 'memory', cacheRoot: folder });
  await manager.createQueue(Q);
  received = [];
  connections = new Set();
  answer = (response) => response.end();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      received.push({ method, path: url, headers, body: Buffer.concat(chunks) });
      answer(response, request, received.length);
    });
  });
  server.on('connection', (socket: Socket) => {
    connections.add(socket);
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  closeServer = () =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
});
afterEach(async () => {
  await manager.close();
  await closeServer();
  rmSync(folder, { recursive: true });
});

interface Delivered {
  report: LoopReport;
  events: WorkerEvent[];
  log: string[];
}

interface Delivering {
  done: Promise<Delivered>;
  stop: () => void;
}

/** Drains the queue, or works until it is stopped; a message that is to be tried later stays. */
async function begin(env: Record<string, string> = {}, loop: object = {}): Promise<Delivering> {
  const config = await loadConfig({ cwd: folder, env: { CODA_HTTP_URL: `${origin}/in?a=b`, ...env } });
  const { worker } = await loadWorker('http', { workersDir: folder, library });
  const events: WorkerEvent[] = [];
  const log: string[] = [];
  const stop = new AbortController();
  const done = runLoop({
    queues: manager,
    queue: Q,
    worker,
    config,
    concurrency: 1,
    lease: 30_000,
    stopDeadline: 0,
    drain: true,
    stop: stop.signal,
    force: new AbortController().signal,
    sink: (_, text, fields) => log.push(`${text} ${JSON.stringify(fields)}`),
    onEvent: (event) => events.push(event),
    ...loop,
  }).then((report) => ({ report, events, log }));
  return { done, stop: () => stop.abort() };
}

async function deliver(env?: Record<string, string>, loop?: object): Promise<Delivered> {
  return (await begin(env, loop)).done;
}

function add(data: Json = { n: 1 }, retries = 1): Promise<Message> {
  return manager.addMessage(Q, { data, retries, alias: 'one' });
}

/** The message as it stands after one round. */
async function after(env?: Record<string, string>, loop?: object): Promise<Message | undefined> {
  const { uuid } = await add();
  await deliver(env, loop);
  return manager.findMessage(Q, { uuid });
}

describe('a delivery', () => {
  test('is a POST of the data as JSON, with the uuid as its idempotency key', async () => {
    const { uuid } = await add({ plate: 'ä-1', list: [1, null] });
    expect((await deliver()).report).toMatchObject({ completed: 1 });
    const [one] = received;
    expect(one).toMatchObject({ method: 'POST', path: '/in?a=b' });
    expect(one?.body.toString()).toBe('{"plate":"ä-1","list":[1,null]}');
    expect(one?.headers).toMatchObject({
      'content-type': 'application/json',
      'content-length': String(one?.body.length),
      'idempotency-key': uuid,
    });
    expect(Object.keys(one?.headers ?? {})).not.toContain('webhook-signature');
    expect(one?.headers.authorization).toBe(undefined);
  });

  test('sends credentials as a header, and says nothing of them or the path', async () => {
    await add();
    answer = (response) => response.writeHead(500).end();
    const url = origin.replace('//', '//m%C3%A9:hu%3Ash@');
    const { log } = await deliver({ CODA_HTTP_URL: `${url}/secret-path`, CODA_HTTP_SECRET: 'hush' });
    expect(received[0]?.headers.authorization).toBe(`Basic ${Buffer.from('mé:hu:sh').toString('base64')}`);
    const message = await manager.findMessage(Q, { alias: 'one' });
    const all = JSON.stringify([message?.errors, log]);
    expect(all).not.toMatch(/hush|hu:sh|hu%3Ash|secret-path|CODA_HTTP|bcO/);
    expect(log[0]).toContain(`delivering to ${origin.slice('http://'.length)}, signed`);
  });

  test('uses one connection for many messages', async () => {
    for (let n = 0; n < 20; n++) await add(n);
    answer = (response) => response.end('x'.repeat(10_000));
    expect((await deliver()).report).toMatchObject({ completed: 20 });
    expect(connections.size).toBe(1);
  });

  test('a connection that was closed while it was idle costs no try', async () => {
    for (let n = 0; n < 3; n++) await add(n, 0);
    // Closed as the next request is on its way, as a server does whose patience has just ended.
    answer = (response, request, nth) => (nth === 2 ? request.socket.destroy() : response.end());
    expect((await deliver()).report).toMatchObject({ completed: 3, failed: 0 });
    expect(received).toHaveLength(4);
  });
});

/** Written from the specification, on what arrived: independent of what sent it. */
function verified({ headers, body }: Received, key: Buffer, now = Date.now()): boolean {
  const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures } = headers;
  if (Math.abs(now / 1000 - Number(timestamp)) > 300) return false;
  const signed = Buffer.concat([Buffer.from(`${String(id)}.${String(timestamp)}.`), body]);
  const expected = createHmac('sha256', key).update(signed).digest();
  return String(signatures)
    .split(' ')
    .filter((one) => one.startsWith('v1,'))
    .map((one) => Buffer.from(one.slice(3), 'base64'))
    .some((given) => given.length === expected.length && timingSafeEqual(given, expected));
}

describe('a signature', () => {
  test('the check that is used here accepts what the libraries of the specification are tested with', () => {
    const example: Received = {
      method: 'POST',
      path: '/',
      headers: {
        'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
        'webhook-timestamp': '1614265330',
        'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
      },
      body: Buffer.from('{"test": 2432232314}'),
    };
    const key = Buffer.from('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64');
    expect(verified(example, key, 1_614_265_330_000)).toBe(true);
    expect(verified({ ...example, body: Buffer.from('{"test": 2432232315}') }, key, 1_614_265_330_000)).toBe(
      false,
    );
  });

  test.each([
    ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', Buffer.from('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64')],
    ['a plain téxt', Buffer.from('a plain téxt')],
  ])('with the secret %s is what Standard Webhooks says', async (secret, key) => {
    const { uuid } = await add({ text: 'ü' });
    await deliver({ CODA_HTTP_SECRET: secret });
    const [one] = received;
    if (!one) throw new Error('nothing was received');
    expect(one.headers['webhook-id']).toBe(uuid);
    expect(one.headers['webhook-signature']).toMatch(/^v1,[A-Za-z0-9+/]{43}=$/);
    expect(verified(one, key)).toBe(true);
    expect(verified(one, Buffer.from('another'))).toBe(false);
  });
});

describe('the status decides', () => {
  test.each([200, 201, 202, 204, 299])('%i completes', async (status) => {
    answer = (response) => response.writeHead(status).end();
    expect(await after()).toBe(undefined);
  });

  test.each([400, 401, 403, 404, 409, 410, 413, 422, 451, 499])('%i fails for good', async (status) => {
    answer = (response) => response.writeHead(status).end('no\n  such "thing"\u001b[2J');
    const message = await after();
    expect(message).toMatchObject({ state: 'failed', attempts: 1 });
    expect(message?.errors[0]).toMatchObject({ name: 'FinalError', code: `HTTP_${status}` });
    expect(message?.errors[0]?.message).toMatch(/^POST to 127\.0\.0\.1:\d+: \d+ ?.*: no such "thing"/);
  });

  test.each([408, 425, 429, 500, 502, 503, 504, 599, 304, 600, 999])('%i is a failed try', async (status) => {
    answer = (response) => response.writeHead(status).end();
    const message = await after();
    expect(message).toMatchObject({ state: 'deferred', attempts: 1 });
    expect(message?.errors[0]).toMatchObject({ name: 'DeliveryFailed', code: `HTTP_${status}` });
  });

  test.each([301, 302, 303, 307, 308])('%i is a failed try, and not followed', async (status) => {
    answer = (response) =>
      response.writeHead(status, { location: 'http://user:hush@127.0.0.1:9/hush' }).end();
    const message = await after();
    expect(message).toMatchObject({ state: 'deferred' });
    expect(message?.errors[0]?.message).toMatch(
      / to http:\/\/127\.0\.0\.1:9 \(redirects are not followed\)$/,
    );
    expect(received).toHaveLength(1);
  });

  test.each([
    ['is empty', (response: ServerResponse) => response.end()],
    ['never ends', (response: ServerResponse) => void response.write('x')],
    ['is cut off', (response: ServerResponse) => void response.write('x', () => response.destroy())],
    ['is huge', (response: ServerResponse) => pour(response)],
  ])('and not the body: 200 completes when that %s', async (_, send) => {
    answer = (response) => {
      response.writeHead(200);
      send(response);
    };
    expect(await after()).toBe(undefined);
  });
});

describe('the status counts', () => {
  const answered = (text: string): void => {
    answer = (response) => void response.socket?.end(text);
  };

  test('of a refusal whose body makes no sense', async () => {
    answered('HTTP/1.1 400 Bad Request\r\ntransfer-encoding: chunked\r\n\r\nno chunk\r\n');
    expect(await after()).toMatchObject({ state: 'failed', attempts: 1, errors: [{ code: 'HTTP_400' }] });
  });

  test.each([
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno chunk\r\n',
    'HTTP/1.1 204 No Content\r\ncontent-length: 50\r\n\r\nwhat is not to be there',
  ])('of a success whose body does not either, of %j', async (text) => {
    answered(text);
    expect(await after()).toBe(undefined);
  });
});

/** A body without end. */
function pour(response: ServerResponse): void {
  const more = (): void => {
    while (!response.destroyed && response.write(Buffer.alloc(65_536, 'x')));
    if (!response.destroyed) response.once('drain', more);
  };
  more();
}

describe('of the body of a refusal', () => {
  test('500 bytes are kept; the rest is not read, and its connection closed', async () => {
    let sent: Promise<number> | undefined;
    answer = (response, { socket }) => {
      sent = new Promise((resolve) => socket.once('close', () => resolve(socket.bytesWritten)));
      response.writeHead(500);
      pour(response);
    };
    const message = await after();
    // What the buffers on the way hold.
    expect(await sent).toBeLessThan(16 * 1024 * 1024);
    expect(message?.errors[0]?.message).toMatch(/: 500 Internal Server Error: x{500}…$/);
  });

  test('what has come within a second is kept, and it is not waited for longer', async () => {
    answer = (response) => {
      response.writeHead(500);
      response.write('slow');
    };
    expect((await after())?.errors[0]?.message).toMatch(/: slow$/);
  });
});

describe('Retry-After', () => {
  // A date without a zone is one of GMT, wherever the worker runs.
  const zone = process.env['TZ'];
  beforeAll(() => void (process.env['TZ'] = 'Asia/Tokyo'));
  afterAll(() => {
    if (zone === undefined) delete process.env['TZ'];
    else process.env['TZ'] = zone;
  });

  const inAnHour = new Date(Math.ceil(Date.now() / 1000) * 1000 + 3_600_000);
  const [, weekday, day, month, year, time] =
    /^(\w+), (\d+) (\w+) (\d+) ([\d:]+) GMT$/.exec(inAnHour.toUTCString()) ?? [];
  const fullDay = inAnHour.toLocaleDateString('en', { weekday: 'long', timeZone: 'UTC' });

  test.each([
    ['seconds', 429, '3600', inAnHour],
    ['seconds', 503, ' 3600 ', inAnHour],
    ['a date', 503, inAnHour.toUTCString(), inAnHour],
    ['a date of RFC 850', 429, `${fullDay}, ${day}-${month}-${year?.slice(2)} ${time} GMT`, inAnHour],
    ['a date of asctime', 429, `${weekday} ${month} ${day?.replace(/^0/, ' ')} ${time} ${year}`, inAnHour],
    ['more than a day', 429, '9999999', new Date(Date.now() + 86_400_000)],
    ['more than a number can hold', 429, '9'.repeat(400), new Date(Date.now() + 86_400_000)],
    ['a date far away', 503, 'Fri, 31 Dec 9999 23:59:59 GMT', new Date(Date.now() + 86_400_000)],
  ])('as %s (%i, %s) says when the next try is', async (_, status, value, expected) => {
    answer = (response) => response.writeHead(status, { 'retry-after': value }).end();
    const message = await after();
    expect(message).toMatchObject({ state: 'deferred', errors: [{ code: `HTTP_${status}` }] });
    const due = message?.dateTimeDeferredExecution?.getTime() ?? 0;
    expect(Math.abs(due - expected.getTime())).toBeLessThan(30_000);
  });

  test.each(['0', '-1', '1.5', 'soon', '', 'Sun, 06 Nov 1994 08:49:37 GMT', 'Someday, never'])(
    'that says nothing of the future (%j) leaves the usual wait',
    async (value) => {
      answer = (response) => response.writeHead(503, { 'retry-after': value }).end();
      const message = await after();
      const due = message?.dateTimeDeferredExecution?.getTime() ?? 0;
      expect(due - Date.now()).toBeLessThan(1001);
      expect(message?.errors[0]?.name).toBe('DeliveryFailed');
    },
  );
});

describe('a failing network is a failed try', () => {
  test.each<[string, Answer, string]>([
    ['a reset', (_, request) => request.socket.resetAndDestroy(), 'ECONNRESET'],
    ['an end without an answer', (_, request) => request.socket.end(), 'ECONNRESET'],
    ['something that is not HTTP', (_, request) => request.socket.end('SSH-2.0-OpenSSH\r\n\r\n'), 'HPE_'],
    [
      'a header without end',
      (_, request) => void request.socket.write(`HTTP/1.1 200 OK\r\nx: ${'x'.repeat(99_999)}`),
      'HPE_HEADER_OVERFLOW',
    ],
    [
      'another protocol',
      (_, request) =>
        request.socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'),
      'HTTP_FAILED',
    ],
  ])('%s', async (_, misbehave, code) => {
    answer = misbehave;
    const message = await after();
    expect(message).toMatchObject({ state: 'deferred', attempts: 1 });
    expect(message?.errors[0]).toMatchObject({ name: 'DeliveryFailed', code: expect.stringContaining(code) });
    expect(message?.errors[0]?.message).toMatch(/^POST to 127\.0\.0\.1:\d+: ./);
    expect(received).toHaveLength(1);
  });

  test('nobody there', async () => {
    await closeServer();
    closeServer = () => Promise.resolve();
    const message = await after();
    expect(message).toMatchObject({ state: 'deferred', errors: [{ code: 'ECONNREFUSED' }] });
  });

  test('no such host', async () => {
    const message = await after({ CODA_HTTP_URL: 'http://no-such-host.invalid/' });
    expect(message).toMatchObject({ state: 'deferred', errors: [{ code: expect.stringMatching(/^E/) }] });
  });

  test.each<[string, Answer]>([
    ['no answer', () => undefined],
    ['headers that trickle', (_, request) => void request.socket.write('HTTP/1.1 200 OK\r\nx: y\r\n')],
  ])('%s within httpTimeout', async (_, hang) => {
    let closed: Promise<void> | undefined;
    answer = (response, request, nth) => {
      closed = new Promise((resolve) => request.socket.once('close', () => resolve()));
      hang(response, request, nth);
    };
    const message = await after({ CODA_HTTP_TIMEOUT: '100ms' });
    await closed;
    expect(message).toMatchObject({ state: 'deferred', errors: [{ code: 'HTTP_TIMEOUT' }] });
  });

  test('a worker that stops does not wait for the answer; the message goes back in line', async () => {
    const { uuid } = await add();
    const asked = new Promise<void>((resolve) => {
      answer = () => resolve();
    });
    const { done, stop } = await begin({}, { drain: false });
    await asked;
    stop();
    const { report, events } = await done;
    expect(report).toMatchObject({ ended: 'stopped', released: 1 });
    // Not released under a handler that goes on.
    expect(events.map(({ type }) => type).slice(0, 2)).toEqual(['started', 'ended']);
    expect(await manager.findMessage(Q, { uuid })).toMatchObject({ state: 'ready', attempts: 0, errors: [] });
  });
});

test('without a URL the worker refuses to start, and touches no message', async () => {
  const { uuid } = await add();
  await expect(deliver({ CODA_HTTP_URL: '' })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('httpUrl: expected the URL to deliver to'),
  });
  expect(await manager.findMessage(Q, { uuid })).toMatchObject({ state: 'ready', attempts: 0 });
});

describe.skipIf(!existsSync(WEBHOOKS))(
  '128 real webhooks (skipped where ../shared/data is not there)',
  () => {
    test('each is accepted once, signed, byte for byte, by a server that answers well and badly', async () => {
      const key = Buffer.from('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64');
      const webhooks = readFileSync(WEBHOOKS, 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as { alias: string; data: Json });
      expect(webhooks).toHaveLength(128);
      const accepted = new Map<string, unknown>();
      const refused = new Set<string>();
      answer = (response, request, nth) => {
        const last = received.at(-1);
        const id = String(request.headers['webhook-id']);
        if (!last || !verified(last, key)) return response.writeHead(401).end('bad signature');
        if (nth % 3 === 0) return response.writeHead(503, { 'retry-after': 'soon' }).end('busy');
        if (nth % 11 === 0) return request.socket.resetAndDestroy();
        if (nth % 13 === 0) return response.writeHead(429).end();
        if (nth % 17 === 0) return void request.socket.end('nonsense\r\n\r\n');
        if (nth % 19 === 0) {
          refused.add(id);
          return response.writeHead(422).end('{"error":"unknown event"}');
        }
        if (accepted.has(id)) return response.writeHead(500).end('twice');
        accepted.set(id, JSON.parse(last.body.toString()));
        return response.writeHead(nth % 2 === 0 ? 200 : 201).end('{"ok":true}');
      };
      const env = { CODA_HTTP_SECRET: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' };
      const impatient = await QueueManager.open({ queueType: 'memory', cacheRoot: folder, backoff: 0 });
      await impatient.createQueue(Q);
      await impatient.addMessages(
        Q,
        webhooks.map((webhook) => ({ ...webhook, retries: 20 })),
      );
      const { report } = await deliver(env, { queues: impatient, concurrency: 8 });
      const failed: Message[] = [];
      for await (const message of impatient.findMessages(Q, { state: 'failed' })) failed.push(message);
      await impatient.close();
      expect(report.completed).toBe(accepted.size);
      expect(failed.map(({ uuid }) => uuid).sort()).toEqual([...refused].sort());
      expect(report.completed + failed.length).toBe(128);
      expect(failed.every(({ errors }) => errors.at(-1)?.code === 'HTTP_422')).toBe(true);
      expect(report.retried).toBeGreaterThan(40);
      const sent = webhooks.map(({ data }) => JSON.stringify(data)).sort();
      const got = [...accepted.values(), ...failed.map(({ data }) => data)].map((data) =>
        JSON.stringify(data),
      );
      expect(got.sort()).toEqual(sent);
    });
  },
);
