/** Listens for connections, and keeps their number bounded: one more is made room for by the one that costs least. */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { QueueError, quote } from '../errors.ts';
import { Connection } from './connection.ts';
import type { CallListener, ListenerOptions } from './listener.ts';
import type { CallAddress } from './method.ts';

/** Resolves when it listens. Errors: CALL_FAILED. */
export async function listenTcp(options: ListenerOptions): Promise<CallListener> {
  const { host, port } = options.address;
  // A client may end its side behind a request, and read the answer.
  const server = createServer({ allowHalfOpen: true, noDelay: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(cannotListen(options.address, cause)));
    server.listen({ host, port, backlog: 1024 }, resolve);
  });
  return new TcpListener(server, options);
}

/** Errors in listening, as what is to be done about them. */
export function cannotListen({ scheme, host, port }: CallAddress, cause: Error): QueueError {
  const why: Record<string, string> = {
    EADDRINUSE: 'the port is taken: another program listens there',
    EACCES: 'the port is not allowed to this account',
    EADDRNOTAVAIL: 'this machine has no such address',
  };
  const { code = '' } = cause as NodeJS.ErrnoException;
  const where = `${scheme} ${quote(host)}, port ${port}`;
  return new QueueError('CALL_FAILED', `cannot listen on ${where}: ${why[code] ?? quote(cause.message)}`, {
    cause,
  });
}

/** Bytes that all connections together may hold, of packets to come and answers to be read. */
const MOST_HELD = 128 * 1024 ** 2;
/** Bytes that one may hold without being reckoned among those that hold much. */
const LITTLE = 64 * 1024;

class TcpListener implements CallListener {
  readonly address: CallAddress;
  readonly #server: Server;
  readonly #options: ListenerOptions;
  readonly #all = new Map<Connection, Promise<void>>();
  /** Those that may make room, the longest silent first: who has never called, and who has. */
  readonly #strangers = new Set<Connection>();
  readonly #guests = new Set<Connection>();
  /** What those hold that hold much, the first that did so first. */
  readonly #holders = new Map<Connection, number>();
  #held = 0;
  #hasComplained = false;

  constructor(server: Server, options: ListenerOptions) {
    this.#server = server;
    this.#options = options;
    const { address, port } = server.address() as AddressInfo;
    this.address = { scheme: 'tcp', host: address, port };
    server.on('connection', (socket) => this.#welcome(socket));
    // Of one that could not be accepted; the others can.
    server.on('error', (error) => options.log.warn(`a connection could not be accepted: ${error.message}`));
  }

  async close(signal: AbortSignal | undefined): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    const cut = (): void => {
      for (const connection of this.#all.keys()) connection.cut();
    };
    if (signal?.aborted) cut();
    signal?.addEventListener('abort', cut, { once: true });
    for (const connection of this.#all.keys()) connection.finish();
    await closed;
    signal?.removeEventListener('abort', cut);
  }

  #welcome(socket: Socket): void {
    if (this.#all.size >= this.#options.limits.connections && !this.#makeRoom()) {
      socket.destroy();
      return;
    }
    const connection = new Connection(socket, this.#options, (changed) => {
      this.#weigh(changed);
      this.#sort(changed);
    });
    const gone = connection.run().then(() => this.#forget(connection));
    this.#all.set(connection, gone);
  }

  /** So nobody keeps others out by opening connections and leaving them. */
  #makeRoom(): boolean {
    if (!this.#hasComplained) {
      this.#hasComplained = true;
      const { connections } = this.#options.limits;
      this.#options.log.warn(`${connections} connections are open; from now on the most silent make room`);
    }
    const [stranger] = this.#strangers;
    const [guest] = this.#guests;
    const leaving = stranger ?? guest;
    if (!leaving) return false;
    this.#forget(leaving);
    leaving.cut();
    return true;
  }

  #sort(connection: Connection): void {
    const { stage, hasCalled } = connection;
    // Bytes that are no packet make nobody less silent.
    if (stage === 'receiving') return;
    this.#strangers.delete(connection);
    this.#guests.delete(connection);
    if (stage !== 'working') (hasCalled ? this.#guests : this.#strangers).add(connection);
  }

  /** Who sends or reads quickly does not hold much for long: so it is the first of those that do that is cut. */
  #weigh(connection: Connection): void {
    const before = this.#holders.get(connection) ?? 0;
    const now = connection.held > LITTLE ? connection.held : 0;
    this.#held += now - before;
    if (now > 0) this.#holders.set(connection, now);
    else this.#holders.delete(connection);
    for (const [first] of this.#holders) {
      if (this.#held <= MOST_HELD || this.#holders.size === 1) return;
      this.#options.log.warn('cut a connection that held much for long', { bytes: this.#holders.get(first) });
      this.#forget(first);
      first.cut();
    }
  }

  #forget(connection: Connection): void {
    this.#held -= this.#holders.get(connection) ?? 0;
    this.#holders.delete(connection);
    this.#all.delete(connection);
    this.#strangers.delete(connection);
    this.#guests.delete(connection);
  }
}
