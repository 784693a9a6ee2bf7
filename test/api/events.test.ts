/** Events as they happen, and again for those who come back. */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Desk, said } from './desk.ts';

let desk: Desk;
let sockets: Socket[];
beforeEach(async () => {
  desk = await new Desk().open();
  sockets = [];
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await desk.close();
});

/** A client that listens: what it has heard, and a wait for more. */
class Client {
  text = '';
  readonly socket: Socket;
  readonly closed: Promise<unknown>;
  #look: () => void = () => undefined;

  constructor(headers = '', path = '/api/events') {
    this.socket = desk.connect();
    sockets.push(this.socket);
    this.closed = once(this.socket, 'close');
    this.socket.setEncoding('utf8').on('data', (part: string) => {
      this.text += part;
      this.#look();
    });
    this.socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`);
  }

  heard(pattern: RegExp | string): Promise<void> {
    return new Promise((resolve) => {
      this.#look = () => {
        if (this.text.match(pattern)) resolve();
      };
      this.#look();
    });
  }

  get ids(): string[] {
    return [...this.text.matchAll(/^id: (.*)$/gm)].map(([, id = '']) => id);
  }
}

const life = (): string => desk.supervisor.startedAt.getTime().toString(36);

test('each event is told as it happens, with its id, its type and its data', async () => {
  const client = new Client();
  await client.heard('retry: 2000');
  expect(client.text).toContain('Content-Type: text/event-stream');
  desk.supervisor.tell({ seen: 'A 1\n\ndata: x' }, 'cam');
  await client.heard('}\n\n');
  expect(client.text).toContain(`id: ${life()}-1\nevent: told\ndata: {"id":1,`);
  expect(client.text).toContain('"data":{"seen":"A 1\\n\\ndata: x"}}\n\n');
});

test('who comes back hears what was missed, once, and nothing twice', async () => {
  for (let n = 1; n <= 5; n++) desk.supervisor.tell(n);
  const client = new Client(`Last-Event-ID: ${life()}-3\r\n`);
  await client.heard(`id: ${life()}-5`);
  desk.supervisor.tell(6);
  await client.heard(`id: ${life()}-6`);
  expect(client.ids).toEqual([4, 5, 6].map((id) => `${life()}-${id}`));
});

test('who comes back to another life of the supervisor hears all that is kept of it', async () => {
  for (let n = 1; n <= 2; n++) desk.supervisor.tell(n);
  const client = new Client('Last-Event-ID: abc-700\r\n');
  await client.heard(`id: ${life()}-2`);
  expect(client.ids).toHaveLength(2);
});

test('since does the same for those who cannot send a header', async () => {
  for (let n = 1; n <= 2; n++) desk.supervisor.tell(n);
  const client = new Client('', '/api/events?since=1');
  await client.heard(`id: ${life()}-2`);
  expect(client.ids).toEqual([`${life()}-2`]);
});

test('an id that is none is refused', async () => {
  for (const id of ['x', '-1', '1e3', 'a-b', '9'.repeat(20)])
    expect((await desk.get('/api/events', { 'Last-Event-ID': id })).status).toBe(422);
});

test('a client that vanishes is forgotten', async () => {
  const clients = Array.from({ length: 20 }, () => new Client());
  await Promise.all(clients.map((client) => client.heard('retry')));
  expect(desk.supervisor.listeners).toBe(20);
  for (const { socket } of clients) socket.destroy();
  await vi.waitUntil(() => desk.supervisor.listeners === 0, 10_000);
  desk.supervisor.tell('nobody');
});

test('a client that does not read is let go, and costs the others nothing', async () => {
  const deaf = new Client();
  const client = new Client();
  await Promise.all([deaf.heard('retry'), client.heard('retry')]);
  deaf.socket.pause();
  const data = 'x'.repeat(50_000);
  for (let n = 0; n < 100 && desk.supervisor.listeners > 1; n++) {
    desk.supervisor.tell(data);
    await client.heard(`id: ${life()}-${n + 1}\n`);
    await new Promise(setImmediate);
  }
  await vi.waitUntil(() => desk.supervisor.listeners === 1, 10_000);
  desk.supervisor.tell('last');
  await client.heard('"data":"last"');
  deaf.socket.resume();
  await deaf.closed;
});

test('of the past a client is sent no more than it reads, and then all of it, with what has come meanwhile', async () => {
  let written = 0;
  const past = 60;
  const large = {
    toJSON: () => {
      written++;
      return 'x'.repeat(100_000);
    },
  } as unknown as string;
  for (let n = 0; n < past; n++) desk.supervisor.tell(large);
  const deaf = Array.from({ length: 5 }, () => new Client('', '/api/events?since=0'));
  await Promise.all(deaf.map((client) => client.heard('retry')));
  for (const { socket } of deaf) socket.pause();
  await vi.waitUntil(() => desk.supervisor.listeners === deaf.length, 10_000);
  // What the system takes of it, it has taken by the time another has heard all.
  const client = new Client('', '/api/events?since=0');
  await client.heard(`id: ${life()}-${past}\n[^]*\n\n`);
  expect(written).toBeLessThan(past + deaf.length * 20);
  desk.supervisor.tell('news');
  await client.heard('"data":"news"');
  deaf[0]!.socket.resume();
  await deaf[0]!.heard('"data":"news"');
  const all = Array.from({ length: past + 1 }, (_, index) => `${life()}-${index + 1}`);
  expect(deaf[0]!.ids).toEqual(all);
  expect(client.ids).toEqual(all);
});

test('there is a bound to how many listen', async () => {
  const clients = Array.from({ length: 64 }, () => new Client());
  await Promise.all(clients.map((client) => client.heard('retry')));
  const { status, json, headers } = await desk.get('/api/events');
  expect([status, json.error.code, headers['retry-after']]).toEqual([503, 'TOO_MANY_CLIENTS', '10']);
  clients[0]!.socket.destroy();
  await vi.waitUntil(() => desk.supervisor.listeners < 64, 10_000);
  await new Client().heard('retry');
});

test('asking for the head alone leaves nobody listening', async () => {
  const answer = await said(
    desk.connect(),
    'HEAD /api/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
  );
  expect(answer).toContain('200 OK');
  expect(desk.supervisor.listeners).toBe(0);
});

test('all streams end when the API is closed', async () => {
  const client = new Client();
  await client.heard('retry');
  await desk.api.close();
  await client.closed;
  expect(client.text).toMatch(/0\r\n\r\n$/);
  expect(desk.supervisor.listeners).toBe(0);
});
