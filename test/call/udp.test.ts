/** Datagrams: one packet, one answer, and nothing that could be turned against others. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { serialize, unserialize } from 'php-serialize';
import { describe, expect } from 'vitest';
import { CallServer } from '../../src/call/server.ts';
import { until } from '../processes/stage.ts';
import { datagram, gate, houseTest as test, method } from './client.ts';

const UDP = { scheme: 'udp' } as const;
const ECHO = method((self) => self.succeed('', self.args));

async function ask(port: number, packet: string): Promise<unknown> {
  return JSON.parse((await datagram(port, packet)) ?? '"none"');
}

test('a datagram is a packet, in any format, and is answered by one', async ({ house }) => {
  const queues = await house.queues();
  const { port } = await house.server({ ...UDP, queues }, { echo: ECHO });
  expect(await ask(port, '{"name":"echo","args":{"a":1}}\n')).toEqual({
    code: 0,
    message: '',
    result: { a: 1 },
  });
  expect(await ask(port, "{nom:'echo'}")).toMatchObject({ code: 0 });
  expect(unserialize((await datagram(port, serialize({ name: 'echo', args: { a: 1 } })))!)).toMatchObject({
    result: { a: 1 },
  });
  expect(await ask(port, '{"name":"queue.add","args":{"queue":"mails","data":1}}')).toMatchObject({
    code: 0,
  });
  expect((await queues.queueStatus('mails')).messagesToProcess).toBe(1);
  expect(await ask(port, '{"name":')).toMatchObject({ code: 2 });
  expect(await ask(port, 'rubbish')).toMatchObject({ code: 2 });
});

test('an answer that a datagram cannot hold is an error, one that it can just hold is not', async ({
  house,
}) => {
  const { port } = await house.server(UDP, {
    long: method((self) => self.succeed('', 'x'.repeat((self.args as { length: number }).length))),
  });
  // {"code":0,"message":"","result":""} and a newline.
  const most = 65_507 - 36;
  const fits = await datagram(port, JSON.stringify({ name: 'long', args: { length: most } }));
  expect(Buffer.byteLength(fits ?? '')).toBe(65_507);
  expect(await ask(port, JSON.stringify({ name: 'long', args: { length: most + 1 } }))).toMatchObject({
    code: 10,
    message: expect.stringContaining('65507') as string,
    result: { error: 'ANSWER_TOO_LARGE' },
  });
  expect(
    unserialize((await datagram(port, serialize({ name: 'long', args: { length: 70_000 } })))!),
  ).toMatchObject({ code: 10 });
});

test('each brings the token', async ({ house }) => {
  const { port } = await house.server({ ...UDP, token: 'secret' });
  expect(await ask(port, '{"name":"verify","token":"secret"}')).toMatchObject({ code: 0 });
  expect(await ask(port, '{"name":"verify"}')).toMatchObject({ code: 7 });
});

test('what comes while too much is under way is dropped, and answered again later', async ({ house }) => {
  const { opened, open } = gate();
  let begun = 0;
  const server = await house.server(
    { ...UDP, limits: { calls: 5 } },
    {
      slow: method(async () => {
        begun++;
        await opened;
      }),
    },
  );
  const flood = createSocket('udp4');
  flood.connect(server.port, '127.0.0.1');
  await once(flood, 'connect');
  let answered = 0;
  flood.on('message', () => answered++);
  for (let n = 0; n < 2000; n++) await new Promise((sent) => flood.send('{"name":"slow"}', sent));
  // The system still holds some: they are read in a few turns.
  for (let turns = 0; turns < 200; turns++) await turn();
  expect(begun).toBe(5);
  open();
  await until(() => answered >= 5);
  expect(begun).toBe(5);
  expect(await ask(server.port, '{"name":"verify"}')).toMatchObject({ code: 0 });
  flood.close();
});

test('a datagram under its own address is not answered: that would go on for ever', async ({ house }) => {
  // Another address of this machine, with the port of the server.
  const { port } = await house.server(UDP);
  const double = createSocket('udp4');
  double.bind(port, '127.0.0.2');
  await once(double, 'listening');
  let answered = 0;
  double.on('message', () => answered++);
  await new Promise((sent) => double.send('{"name":"verify"}', port, '127.0.0.1', sent));
  expect(await ask(port, '{"name":"verify"}')).toMatchObject({ code: 0 });
  expect(answered).toBe(0);
  double.close();
});

test('closing waits for what is under way, and for its answer to leave', async ({ house }) => {
  const { opened, open } = gate();
  const began = gate();
  const server = await house.server(UDP, {
    slow: method(async (self) => {
      began.open();
      await opened;
      self.succeed('slow');
    }),
  });
  const answer = ask(server.port, '{"name":"slow"}');
  await began.opened;
  const closed = server.close();
  open();
  expect(await answer).toMatchObject({ message: 'slow' });
  await closed;
});

test('closing waits no longer than it is told', async ({ house }) => {
  const began = gate();
  const server = await house.server(UDP, {
    hangs: method(() => {
      began.open();
      return new Promise(() => undefined);
    }),
  });
  const socket = createSocket('udp4');
  socket.send('{"name":"hangs"}', server.port, '127.0.0.1');
  await began.opened;
  await server.close({ signal: AbortSignal.timeout(50) });
  socket.close();
});

describe('where it listens', () => {
  test.for(['0.0.0.0', '::', '', '10.1.2.3'])('not on %j, with a token neither', async (host) => {
    const server = new CallServer({ ...UDP, host, port: 0, token: 'x'.repeat(64) });
    await expect(server.listen()).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('an address of this machine alone') as string,
    });
  });

  test('a port that is taken is told', async ({ house }) => {
    const { port } = await house.server(UDP);
    await expect(new CallServer({ ...UDP, port }).listen()).rejects.toMatchObject({
      code: 'CALL_FAILED',
      message: expect.stringContaining('the port is taken') as string,
    });
  });
});
