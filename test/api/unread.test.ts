/** Clients that ask and do not read. */
import { connect, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import { makeServer } from '../../src/api/server.ts';
import { Desk } from './desk.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

const fail = (error: Error): void => expect.fail(error.message);

test('an answer that is not read is given up, one that takes its time is not', async () => {
  const slow: (() => void)[] = [];
  const server = makeServer(
    (request, response) => {
      if (request.url === '/large') response.end('x'.repeat(50_000_000));
      else slow.push(() => response.end('done'));
    },
    fail,
    300,
  );
  cleanups.push(() => new Promise((done) => server.close(done)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const ask = (path: string) => {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    return socket;
  };
  const patient = ask('/slow');
  const deaf = ask('/large').pause();
  // Both have come, and one has gone.
  await expect.poll(() => slow.length, { timeout: 20_000 }).toBe(1);
  await expect
    .poll(() => new Promise<number>((done) => server.getConnections((_, count) => done(count))), {
      timeout: 20_000,
    })
    .toBe(1);
  deaf.destroy();
  slow[0]!();
  const [answer] = (await once(patient, 'data')) as [Buffer];
  expect(answer.toString()).toContain('200 OK');
  patient.destroy();
});

test('a client that leaves in the middle of a long answer costs nothing, not even a word on stderr', async () => {
  const desk = new Desk();
  cleanups.push(() => desk.close());
  await desk.open();
  await desk.queues.createQueue('mails');
  for (let n = 0; n < 6; n++) await desk.queues.addMessage('mails', { data: 'x'.repeat(1_000_000) });
  const said: unknown[] = [];
  const { error, info } = console;
  console.error = (...words: unknown[]) => said.push(words);
  console.info = (...words: unknown[]) => said.push(words);
  try {
    for (let n = 0; n < 10; n++) {
      const socket = desk.connect();
      socket.write('GET /api/queues/mails/messages HTTP/1.1\r\nHost: localhost\r\n\r\n');
      await once(socket, 'data');
      socket.destroy();
      await once(socket, 'close');
    }
    expect((await desk.get('/healthz')).status).toBe(200);
  } finally {
    Object.assign(console, { error, info });
  }
  expect(said).toEqual([]);
  expect(desk.log.filter(({ level }) => level === 'ERROR')).toEqual([]);
});

test('of answers that nobody reads no more than 64 MiB wait; those that have waited longest are broken off', async () => {
  const desk = new Desk();
  cleanups.push(() => desk.close());
  await desk.open();
  await desk.queues.createQueue('mails');
  for (let n = 0; n < 9; n++) await desk.queues.addMessage('mails', { data: 'x'.repeat(1_000_000) });
  const clients: { socket: ReturnType<Desk['connect']>; bytes: number }[] = [];
  for (let n = 0; n < 12; n++) {
    const client = { socket: desk.connect(), bytes: 0 };
    clients.push(client);
    cleanups.push(async () => client.socket.destroy());
    client.socket.write(
      'GET /api/queues/mails/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
    );
    await once(client.socket, 'readable');
  }
  const read = async ({ socket }: { socket: ReturnType<Desk['connect']> }): Promise<number> => {
    let bytes = 0;
    socket.on('data', (part: Buffer) => (bytes += part.length));
    await once(socket, 'close');
    return bytes;
  };
  const lengths: number[] = [];
  for (const client of clients) lengths.push(await read(client));
  const whole = lengths.map((length) => length > 9_000_000);
  expect(whole.indexOf(true)).toBeGreaterThan(3);
  expect(whole.indexOf(true)).toBeLessThan(7);
  expect(whole.slice(whole.indexOf(true))).not.toContain(false);
});
