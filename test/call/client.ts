/** A server under test, and clients that send what they like, byte for byte. */
import { connect, type Socket } from 'node:net';
import { createSocket } from 'node:dgram';
import { test as base } from 'vitest';
import { CallMethod, type CallMethodClass } from '../../src/call/method.ts';
import { CallServer, type CallServerOptions } from '../../src/call/server.ts';
import { openMemory } from '../../src/memory/backend.ts';
import { QueueManager } from '../../src/queue-manager.ts';

export interface Answer {
  code: number;
  message: string;
  result: unknown;
}

export interface Line {
  level: string;
  text: string;
  fields: Readonly<Record<string, unknown>>;
}

export class Client {
  readonly socket: Socket;
  /** All that it has been sent so far. */
  heard = '';
  readonly #ended: Promise<string>;
  readonly #listeners = new Set<() => void>();

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding('utf8').on('data', (text: string) => {
      this.heard += text;
      for (const look of this.#listeners) look();
    });
    this.#ended = new Promise((resolve) => {
      socket.on('error', () => undefined);
      socket.once('close', () => {
        resolve(this.heard);
        for (const look of this.#listeners) look();
      });
    });
  }

  /** Its own side is closed only when told to; so a server that waits for that is found out. */
  static async connect(port: number, host = '127.0.0.1'): Promise<Client> {
    const socket = connect({ port, host, allowHalfOpen: true, noDelay: true });
    const client = new Client(socket);
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    socket.once('end', () => socket.end());
    return client;
  }

  /** Resolves when it has been written; in vain if the connection is closed by then. */
  send(bytes: string | Uint8Array): Promise<void> {
    return new Promise((resolve) => this.socket.write(bytes, () => resolve()));
  }

  /** Says that nothing more comes from this side. */
  half(): void {
    this.socket.end();
  }

  /** All that was sent, once the server has closed the connection. */
  closed(): Promise<string> {
    return this.#ended;
  }

  /** The first so many lines, parsed, once they have come. */
  async answers(count: number): Promise<Answer[]> {
    await new Promise<void>((resolve, reject) => {
      const look = (): void => {
        if (this.heard.split('\n').length > count) resolve();
        else if (this.socket.closed) reject(new Error(`closed after ${JSON.stringify(this.heard)}`));
      };
      this.#listeners.add(look);
      look();
    });
    return this.heard
      .split('\n')
      .slice(0, count)
      .map((line) => JSON.parse(line) as Answer);
  }

  /** Sends a request as a line, and resolves with the answer to it, which must be the next. */
  async call(name: string, args: unknown = {}, more: object = {}): Promise<Answer> {
    const before = this.heard.split('\n').length;
    await this.send(`${JSON.stringify({ ...more, name, args })}\n`);
    return (await this.answers(before)).at(-1)!;
  }
}

/** What opens servers, and closes everything behind itself. */
export class House {
  readonly lines: Line[] = [];
  readonly #servers: CallServer[] = [];
  readonly #clients: Client[] = [];
  #queues: QueueManager | undefined;

  /** With queues in memory, one of them `mails`. */
  async queues(): Promise<QueueManager> {
    this.#queues ??= await QueueManager.open({ backend: openMemory() });
    await this.#queues.createQueue('mails');
    return this.#queues;
  }

  /** One that listens, at a port of its own. */
  async server(
    options: CallServerOptions = {},
    methods: Record<string, CallMethodClass> = {},
  ): Promise<CallServer & { port: number }> {
    const server = new CallServer({
      port: 0,
      log: (level, text, fields) => void this.lines.push({ level, text, fields }),
      ...options,
    });
    this.#servers.push(server);
    for (const [name, method] of Object.entries(methods)) server.addMethod(name, method);
    const { port } = await server.listen();
    return Object.assign(server, { port });
  }

  async client(server: { port: number }): Promise<Client> {
    const client = await Client.connect(server.port);
    this.#clients.push(client);
    return client;
  }

  async close(): Promise<void> {
    for (const { socket } of this.#clients) socket.destroy();
    await Promise.all(this.#servers.map((server) => server.close({ signal: AbortSignal.abort() })));
    await this.#queues?.close();
  }
}

/** A sentence with a house of its own. */
export const houseTest = base.extend<{ house: House }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads from the pattern which fixtures this one needs
  house: async ({}, use) => {
    const house = new House();
    try {
      await use(house);
    } finally {
      await house.close();
    }
  },
});

/** Sends a datagram; resolves with the first that comes back, or undefined when none has come within `patience` ms. */
export function datagram(
  port: number,
  bytes: string | Uint8Array,
  patience = 30_000,
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    const done = (text?: string): void => {
      clearTimeout(timer);
      socket.close();
      resolve(text);
    };
    const timer = setTimeout(done, patience);
    socket.once('error', reject).once('message', (answer) => done(answer.toString()));
    socket.send(bytes, port, '127.0.0.1');
  });
}

/** A method from a function. */
export function method(execute: (self: CallMethod) => Promise<void> | void): CallMethodClass {
  return class extends CallMethod {
    override execute(): Promise<void> | void {
      return execute(this);
    }
  };
}

/** A promise, and what resolves it. */
export function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}
