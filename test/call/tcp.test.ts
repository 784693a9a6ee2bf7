/** Connections: what is answered when, who is closed by whom, and what keeps one client from being the others' trouble. */
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { serialize, unserialize } from 'php-serialize';
import { describe, expect } from 'vitest';
import { CallServer } from '../../src/call/server.ts';
import { until } from '../processes/stage.ts';
import { Client, gate, houseTest as test, method, type House } from './client.ts';

const ECHO = method((self) => self.succeed('', self.args));

/** A server with a method that waits for its gate, and what tells that it has begun. */
async function slow(house: House, options: ConstructorParameters<typeof CallServer>[0] = {}) {
  const { opened, open } = gate();
  let begun = 0;
  const began = gate();
  const server = await house.server(options, {
    echo: ECHO,
    slow: method(async (self) => {
      begun++;
      began.open();
      await opened;
      self.succeed('slow');
    }),
  });
  return { server, open, began: began.opened, begun: () => begun };
}

describe('answers', () => {
  test('come in the order of the requests, a slow one before a quick one', async ({ house }) => {
    const { server, open, began } = await slow(house);
    const client = await house.client(server);
    await client.send('{"name":"slow"}\n{"name":"echo","args":{"n":1}}\n{"name":"echo","args":{"n":2}}\n');
    await began;
    expect(client.heard).toBe('');
    open();
    const answers = await client.answers(3);
    expect(answers.map(({ message, result }) => message || result)).toEqual(['slow', { n: 1 }, { n: 2 }]);
  });

  test('come to who closes its side behind the request', async ({ house }) => {
    const server = await house.server({}, { echo: ECHO });
    for (const text of ['{"name":"echo"}', '{"name":"echo"}\n', '{"name":"echo"}\n{"name":"echo"}']) {
      const client = await house.client(server);
      await client.send(text);
      client.half();
      const lines = (await client.closed()).trim().split('\n');
      expect(lines.map((line) => (JSON.parse(line) as { code: number }).code)).toEqual(
        text
          .split('}')
          .slice(1)
          .map(() => 0),
      );
    }
  });

  test('come to who has closed its side long before they are there', async ({ house }) => {
    const { server, open, began } = await slow(house);
    const client = await house.client(server);
    await client.send('{"name":"slow"}\n');
    client.half();
    await began;
    // The end has come by the time another connection is answered.
    await (await house.client(server)).call('verify');
    open();
    expect(JSON.parse(await client.closed())).toMatchObject({ message: 'slow' });
  });

  test('leave the connection open for others', async ({ house }) => {
    const client = await house.client(await house.server({}, { echo: ECHO }));
    for (let n = 0; n < 3; n++) expect(await client.call('echo', { n })).toMatchObject({ result: { n } });
    await client.send('{"name": }\n');
    expect(await client.answers(4)).toMatchObject([{}, {}, {}, { code: 2 }]);
    expect(await client.call('echo', { n: 4 })).toMatchObject({ result: { n: 4 } });
  });

  test('to nom, to PHP, and to what is no packet are the last: those clients read to the end', async ({
    house,
  }) => {
    const server = await house.server({}, { echo: ECHO });
    for (const [text, code] of [
      ["{nom: 'echo', args: {a: 1}}", 0],
      ['{"nom":"echo","args":{"a":1}}\n{"name":"echo"}\n', 0],
      ["{nom: 'echo', args: {a: }}", 2],
      ['{"nom":7}', 2],
      ['\u0016\u0003\u0001', 2],
    ] as const) {
      const client = await house.client(server);
      await client.send(text);
      const heard = await client.closed();
      expect(heard.match(/\n/g)).toHaveLength(1);
      expect(JSON.parse(heard)).toMatchObject({ code });
    }
    const client = await house.client(server);
    await client.send(serialize({ name: 'echo', args: { a: [1, 'é'] } }));
    expect(unserialize(await client.closed())).toEqual({ code: 0, message: '', result: { a: [1, 'é'] } });
  });

  test('to a browser are one refusal: no line of what it posts is a packet', async ({ house }) => {
    let called = 0;
    const server = await house.server({}, { count: method(() => void called++) });
    const url = `http://127.0.0.1:${server.port}/`;
    await fetch(url, { method: 'POST', body: '\n{"name":"count"}\n' }).catch(() => undefined);
    expect(called).toBe(0);
  });

  test('reach a client that has not sent everything when it is refused', async ({ house }) => {
    const server = await house.server({ limits: { packetBytes: 1000 } });
    for (const head of ['{"name":"test","args":"', 's:4000000:"', 'a:1:{s:9000000:"']) {
      const client = await house.client(server);
      // It sends everything before it looks for an answer.
      client.socket.pause();
      await client.send(head + 'x'.repeat(16_000_000));
      client.socket.resume();
      expect(await client.closed()).toContain('expected at most 1000 bytes');
    }
  });
});

describe('a token', () => {
  const TOKEN = { token: 'tokén' };

  test('in the first packet opens the connection', async ({ house }) => {
    const server = await house.server(TOKEN, { echo: ECHO });
    const client = await house.client(server);
    expect(await client.call('echo', { n: 1 }, TOKEN)).toMatchObject({ code: 0, result: { n: 1 } });
    expect(await client.call('echo', { n: 2 })).toMatchObject({ code: 0 });
    const php = await house.client(server);
    await php.send(serialize({ ...TOKEN, nom: 'echo', args: {} }));
    expect(unserialize(await php.closed())).toMatchObject({ code: 0 });
  });

  test('that is wrong, or not there, ends it, and nothing is called', async ({ house }) => {
    let called = 0;
    const server = await house.server(TOKEN, { echo: method(() => void called++) });
    for (const more of [
      {},
      { token: '' },
      { token: 'token' },
      { token: 'tokén ' },
      { token: 'x'.repeat(100_000) },
    ]) {
      const client = await house.client(server);
      await client.send(
        `${JSON.stringify({ ...more, name: 'echo' })}\n${JSON.stringify({ ...TOKEN, name: 'echo' })}\n`,
      );
      expect(JSON.parse(await client.closed())).toMatchObject({ code: 7, result: { error: 'UNAUTHORIZED' } });
    }
    expect(called).toBe(0);
    expect(JSON.stringify(house.lines)).not.toContain('tokén');
  });

  test('is not missed where none is wanted', async ({ house }) => {
    const client = await house.client(await house.server({}, { echo: ECHO }));
    expect(await client.call('echo', {}, { token: 'any' })).toMatchObject({ code: 0, result: {} });
  });
});

describe('limits', () => {
  const SHORT = { idleTime: 300, packetTime: 300 };

  test('a client that says nothing is left', async ({ house }) => {
    const client = await house.client(await house.server({ limits: SHORT }));
    expect(await client.closed()).toBe('');
  });

  test('a packet that does not come to its end is told so, however busily it comes', async ({ house }) => {
    const server = await house.server({ limits: SHORT });
    const client = await house.client(server);
    const drip = setInterval(() => void client.send('x'), 20);
    await client.send('{"name":"');
    expect(JSON.parse(await client.closed())).toMatchObject({ code: 11, result: { error: 'TIMEOUT' } });
    clearInterval(drip);
  });

  test('a client that does not read is not read, and cut in the end', async ({ house }) => {
    let called = 0;
    const big = 'x'.repeat(200_000);
    const server = await house.server(
      { limits: { idleTime: 1500 } },
      {
        big: method((self) => {
          called++;
          self.succeed('', big);
        }),
      },
    );
    const client = await house.client(server);
    client.socket.pause();
    const request = '{"name":"big"}\n';
    // A million calls, more than fits into any buffer: so the client hears of it when it is cut.
    void client.send(request.repeat(1_000_000));
    const other = await house.client(server);
    expect(await other.call('verify')).toMatchObject({ code: 0 });
    await client.closed();
    // What fits into the buffers of the two sides; the system's may grow to 6 MB each.
    expect(called).toBeLessThan(200);
  });

  test('one connection more makes room for the most silent stranger, and for no call', async ({ house }) => {
    const { server, open, began } = await slow(house, { limits: { connections: 4 } });
    const busy = await house.client(server);
    void busy.send('{"name":"slow"}\n');
    await began;
    const guest = await house.client(server);
    await guest.call('echo');
    const strangers: Client[] = [];
    // One after the other goes; who has called stays as long as there are strangers.
    for (let n = 0; n < 20; n++) strangers.push(await house.client(server));
    for (const stranger of strangers.slice(0, -2)) expect(await stranger.closed()).toBe('');
    expect(await guest.call('echo', { n: 1 })).toMatchObject({ result: { n: 1 } });
    open();
    expect(await busy.answers(1)).toMatchObject([{ message: 'slow' }]);
    expect(house.lines.filter(({ level }) => level === 'WARN')).toHaveLength(1);
  });

  test('who has begun a packet and leaves it makes room like any other', async ({ house }) => {
    const server = await house.server({ limits: { connections: 2 } });
    const first = await house.client(server);
    await first.send('{"na');
    await house.client(server);
    const third = await house.client(server);
    expect(await first.closed()).toBe('');
    expect(await third.call('verify')).toMatchObject({ code: 0 });
  });

  test('where all connections are at work, one more is turned away', async ({ house }) => {
    const { server, open, began } = await slow(house, { limits: { connections: 1 } });
    const busy = await house.client(server);
    void busy.send('{"name":"slow"}\n');
    await began;
    const other = await house.client(server);
    expect(await other.closed()).toBe('');
    open();
    expect(await busy.answers(1)).toMatchObject([{ message: 'slow' }]);
  });

  test('packets that are begun and left take up no more than is set aside for all; the first of them goes', async ({
    house,
  }) => {
    const mebibyte = 1024 ** 2;
    const server = await house.server({ limits: { packetBytes: 16 * mebibyte, packetTime: 60_000 } });
    const part = Buffer.concat([Buffer.from('{"name":"'), Buffer.alloc(12 * mebibyte, 'x')]);
    const clients: Client[] = [];
    for (let n = 0; n < 10; n++) {
      const client = await house.client(server);
      await client.send(part);
      clients.push(client);
    }
    const last = await house.client(server);
    await last.send(part);
    expect(await clients[0]!.closed()).toBe('');
    expect(clients.slice(2).filter(({ socket }) => socket.closed)).toEqual([]);
    // The last is a packet like any other.
    await last.send('"}\n');
    expect(await last.answers(1)).toMatchObject([{ code: 2 }]);
    expect(await last.call('verify')).toMatchObject({ code: 0 });
  });

  test('answers that are not read take up no more either, the last of a connection neither', async ({
    house,
  }) => {
    const big = 'x'.repeat(20 * 1024 ** 2);
    const server = await house.server({}, { big: method((self) => self.succeed('', big)) });
    for (let n = 0; n < 9; n++) {
      const client = await house.client(server);
      client.socket.pause();
      await client.send(n < 4 ? '{"name":"big"}\n' : "{nom:'big'}");
    }
    await until(() => house.lines.some(({ text }) => text.includes('held much for long')));
    const client = await house.client(server);
    expect(await client.call('verify')).toMatchObject({ code: 0 });
  });

  test('calls beyond those that may be under way wait, and are told so when they have waited too long', async ({
    house,
  }) => {
    const { server, open, began, begun } = await slow(house, { limits: { calls: 1, packetTime: 400 } });
    const first = await house.client(server);
    void first.send('{"name":"slow"}\n');
    await began;
    const second = await house.client(server);
    expect(await second.call('echo')).toMatchObject({ code: 8, result: { error: 'BUSY' } });
    open();
    expect(await second.call('slow')).toMatchObject({ message: 'slow' });
    expect(begun()).toBe(2);
  });

  test('a call that waits for others begins when one of them has ended', async ({ house }) => {
    const { server, open, began } = await slow(house, { limits: { calls: 1, packetTime: 600_000 } });
    const first = await house.client(server);
    void first.send('{"name":"slow"}\n');
    await began;
    const second = await house.client(server);
    const waiting = second.call('echo', { n: 2 });
    // What is no call is answered at once; by then the one before it has been read.
    const third = await house.client(server);
    await third.send('{}\n');
    await third.answers(1);
    open();
    expect(await waiting).toMatchObject({ result: { n: 2 } });
  });

  test('a method that blocks in waiting holds up only its own connection', async ({ house }) => {
    const { server, began } = await slow(house);
    const hung = await house.client(server);
    void hung.send('{"name":"slow"}\n');
    await began;
    const other = await house.client(server);
    for (let n = 0; n < 10; n++) expect(await other.call('echo', { n })).toMatchObject({ result: { n } });
  });

  test('a client that is gone before its answer costs nobody anything', async ({ house }) => {
    const { server, open, began } = await slow(house);
    const gone = await house.client(server);
    void gone.send('{"name":"slow"}\n{"name":"slow"}\n');
    await began;
    gone.socket.resetAndDestroy();
    open();
    const other = await house.client(server);
    expect(await other.call('echo')).toMatchObject({ code: 0 });
    expect(house.lines.filter(({ level }) => level !== 'DEBUG')).toEqual([]);
  });
});

describe('what takes long to read', () => {
  // JSON5 needs milliseconds for one of these.
  const packet = `{name:"count",args:{a:[${'1,'.repeat(4000)}1]}}\n`;

  async function crowd(house: House, options: ConstructorParameters<typeof CallServer>[0] = {}) {
    let count = 0;
    const answer = method((self) => {
      count++;
      self.succeed('');
    });
    const server = await house.server(options, { count: answer });
    const clients: Client[] = [];
    for (let n = 0; n < 20; n++) clients.push(await house.client(server));
    return { server, clients, counted: () => count };
  }

  test('has turns of its own, so that others are answered between', async ({ house }) => {
    const { server, clients, counted } = await crowd(house);
    const other = await house.client(server);
    await Promise.all(clients.map((client) => client.send(packet.repeat(10))));
    await other.call('verify');
    await other.call('verify');
    expect(counted()).toBeLessThan(50);
    expect((await clients.at(-1)!.answers(10)).every(({ code }) => code === 0)).toBe(true);
  });

  test('is read in the order of the packets, and answered to who has closed its side', async ({ house }) => {
    const { clients, counted } = await crowd(house);
    const [client] = clients;
    await client!.send(`${packet}{"name":"verify"}\n${packet}{"name":"none"}\n`.repeat(2));
    client!.half();
    const codes = (await client!.closed())
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { code: number }).code);
    expect(codes).toEqual([0, 0, 0, codes[3], 0, 0, 0, codes[3]]);
    expect(codes[3]).not.toBe(0);
    expect(counted()).toBe(4);
  });

  test('is left when the server closes', async ({ house }) => {
    const { server, clients, counted } = await crowd(house);
    await Promise.all(clients.map((client) => client.send(packet.repeat(10))));
    await clients[0]!.answers(1);
    await server.close();
    expect(counted()).toBeLessThan(200);
    for (const client of clients) await client.closed();
  });
});

describe('closing', () => {
  test('between two packets that came at once ends the connection behind the first', async ({ house }) => {
    let closed: Promise<void> | undefined;
    const server = await house.server(
      {},
      {
        close: method((self) => {
          // By then it is answered, and the other waits for the next turn.
          setImmediate(() => {
            closed ??= server.close();
          });
          self.succeed('closing');
        }),
      },
    );
    const client = await house.client(server);
    await client.send('{"name":"close"}\n'.repeat(1000));
    const answers = (await client.closed()).trim().split('\n');
    expect(answers.length).toBeLessThan(10);
    await closed;
  });

  test('waits for the calls under way, begins no others, and ends all connections', async ({ house }) => {
    const { server, open, began, begun } = await slow(house);
    const busy = await house.client(server);
    void busy.send('{"name":"slow"}\n{"name":"slow"}\n');
    const idle = await house.client(server);
    const partial = await house.client(server);
    await partial.send('{"na');
    await began;
    let isClosed = false;
    const closed = server.close().then(() => (isClosed = true));
    expect(await idle.closed()).toBe('');
    expect(await partial.closed()).toBe('');
    expect(isClosed).toBe(false);
    await expect(Client.connect(server.port)).rejects.toThrow('ECONNREFUSED');
    open();
    expect(JSON.parse(await busy.closed())).toMatchObject({ message: 'slow' });
    await closed;
    expect(begun()).toBe(1);
    expect(server.address).toBeUndefined();
  });

  test('waits no longer than it is told: calls are told, connections are cut', async ({ house }) => {
    let told: unknown;
    const began = gate();
    const server = await house.server(
      {},
      {
        hangs: method(
          (self) =>
            new Promise(() => {
              self.signal.addEventListener('abort', () => (told = self.signal.reason));
              began.open();
            }),
        ),
      },
    );
    const client = await house.client(server);
    void client.send('{"name":"hangs"}\n');
    await began.opened;
    const why = new Error('deadline');
    const deadline = new AbortController();
    const closed = server.close({ signal: deadline.signal });
    deadline.abort(why);
    await closed;
    expect(await client.closed()).toBe('');
    expect(told).toBe(why);
    expect(house.lines.at(-1)?.text).toContain('1 calls under way');
  });

  test('may be said twice, and before it listens; then it can listen again', async ({ house }) => {
    const server = new CallServer({ port: 0 });
    await server.close();
    await server.listen();
    await expect(server.listen()).rejects.toMatchObject({ code: 'CALL_FAILED' });
    await Promise.all([server.close(), server.close()]);
    const { port } = await server.listen();
    const client = await house.client({ port });
    expect(await client.call('verify')).toMatchObject({ code: 0 });
    client.socket.destroy();
    await server.close();
  });

  test('does not wait for long for a client that has its answer and does not leave', async ({ house }) => {
    const server = await house.server({}, { echo: ECHO });
    const client = await house.client(server);
    client.socket.removeAllListeners('end');
    await client.send("{nom:'echo'}");
    await client.answers(1);
    const before = performance.now();
    await server.close();
    // The client would have had ten seconds.
    expect(performance.now() - before).toBeLessThan(8000);
  });

  test('a client that neither reads nor leaves keeps it no longer than the deadline', async ({ house }) => {
    const server = await house.server(
      {},
      { big: method((self) => self.succeed('', 'x'.repeat(20_000_000))) },
    );
    const client = await house.client(server);
    client.socket.pause();
    await client.send('{"name":"big"}\n');
    await sleep(100);
    await server.close({ signal: AbortSignal.timeout(200) });
  });
});

describe('where it listens', () => {
  test('a port that is taken is told', async ({ house }) => {
    const other = createServer();
    await once(other.listen(0, '127.0.0.1'), 'listening');
    const { port } = other.address() as AddressInfo;
    const server = new CallServer({ port });
    await expect(server.listen()).rejects.toMatchObject({
      code: 'CALL_FAILED',
      message: expect.stringContaining(`port ${port}: the port is taken`) as string,
    });
    other.close();
    await once(other, 'close');
    // And it can be tried again.
    await server.listen();
    const client = await house.client({ port });
    expect(await client.call('verify')).toMatchObject({ code: 0 });
    client.socket.destroy();
    await server.close();
  });

  test.for(['0.0.0.0', '::', '', '10.1.2.3', '::ffff:10.1.2.3'])(
    'the host %j, which others reach, wants a token',
    async (host) => {
      const server = new CallServer({ host, port: 0 });
      await expect(server.listen()).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining('expected a token') as string,
      });
    },
  );

  test('with a token it may be one that others reach', async ({ house }) => {
    const server = await house.server({ host: '0.0.0.0', token: 'x' });
    const client = await house.client(server);
    expect(await client.call('verify', {}, { token: 'x' })).toMatchObject({ code: 0 });
  });

  test.for(['127.0.0.1', 'localhost', '127.3.2.1'])('%s is this machine’s own', async (host, { house }) => {
    const server = await house.server({ host });
    expect(server.address?.host).toMatch(/^127\.|^::1$/);
  });

  test('a host that is none is told', async () => {
    const server = new CallServer({ host: 'no.such.host.invalid', port: 0 });
    await expect(server.listen()).rejects.toMatchObject({ code: 'CALL_FAILED' });
    const elsewhere = new CallServer({ host: '192.0.2.1', port: 0, token: 'x' });
    await expect(elsewhere.listen()).rejects.toMatchObject({
      message: expect.stringContaining('no such address') as string,
    });
  });
});
