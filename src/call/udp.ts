/**
 * Listens for datagrams: each is one packet, and is answered by one. What comes while too much is under way is dropped, as
 * the network would do; so a flood costs no memory.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { refusal, type CallAnswer } from './codes.ts';
import type { CallListener, ListenerOptions } from './listener.ts';
import type { CallAddress } from './method.ts';
import { Packets } from './packets.ts';
import type { PacketFormat } from './packet.ts';
import { cannotListen } from './tcp.ts';
import { isSameToken } from './token.ts';
import { ownTurn } from './turn.ts';

/** What a datagram of IPv4 can hold; the loopback device carries it in one piece (its MTU is 65,536). */
const LARGEST_DATAGRAM = 65_507;

/** Resolves when it listens. Errors: CALL_FAILED. */
export async function listenUdp(options: ListenerOptions): Promise<CallListener> {
  const { host, port } = options.address;
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
  await new Promise<void>((resolve, reject) => {
    socket.once('error', (cause) => {
      socket.close();
      reject(cannotListen(options.address, cause));
    });
    socket.bind({ address: host, port, exclusive: true }, resolve);
  });
  return new UdpListener(socket, options);
}

class UdpListener implements CallListener {
  readonly address: CallAddress;
  readonly #socket: Socket;
  readonly #options: ListenerOptions;
  /** Datagrams whose answers have not left. */
  readonly #open = new Set<Promise<void>>();
  #isClosing = false;

  constructor(socket: Socket, options: ListenerOptions) {
    this.#socket = socket;
    this.#options = options;
    const { address, port } = socket.address();
    this.address = { scheme: 'udp', host: address, port };
    socket.removeAllListeners('error');
    socket.on('error', (error) => options.log.warn(`a datagram could not be received: ${error.message}`));
    socket.on('message', (bytes, from) => this.#receive(bytes, from));
  }

  async close(signal: AbortSignal | undefined): Promise<void> {
    this.#isClosing = true;
    const fired = new Promise<void>((resolve) => {
      if (signal?.aborted) resolve();
      signal?.addEventListener('abort', () => resolve(), { once: true });
    });
    await Promise.race([Promise.all(this.#open), fired]);
    await new Promise<void>((resolve) => this.#socket.close(resolve));
  }

  #receive(bytes: Buffer, from: RemoteInfo): void {
    // Its own answer, sent back to it under its own address, would be answered for ever.
    if (from.port === this.address.port) return;
    if (this.#isClosing || this.#open.size >= this.#options.limits.calls) return;
    const answered = this.#answer(bytes, from).finally(() => this.#open.delete(answered));
    this.#open.add(answered);
  }

  async #answer(bytes: Buffer, from: RemoteInfo): Promise<void> {
    const packets = new Packets(this.#options.limits.packetBytes);
    packets.push(bytes);
    packets.end();
    if (packets.peek() === 'slow') await ownTurn();
    const incoming = packets.next();
    if (!incoming) return;
    const { format } = incoming;
    if (incoming.refused) return this.#send(incoming.refused, format, from);
    const { token } = this.#options;
    const { request } = incoming;
    if (token !== '' && (request.token === undefined || !isSameToken(request.token, token))) {
      this.#options.log.warn('a token was wrong, or missing', { from: from.address });
      return this.#send(refusal('UNAUTHORIZED', 'expected a token in every datagram'), format, from);
    }
    return this.#send(await this.#options.calls.answer(request), format, from);
  }

  /** Resolves when it has left, or cannot. */
  #send(answer: CallAnswer, format: PacketFormat, from: RemoteInfo): Promise<void> {
    let bytes = Buffer.from(format.write(answer));
    if (bytes.length > LARGEST_DATAGRAM) {
      const message = `the answer has ${bytes.length} bytes, a datagram holds ${LARGEST_DATAGRAM}; ask by tcp`;
      bytes = Buffer.from(format.write(refusal('ANSWER_TOO_LARGE', message)));
    }
    return new Promise((resolve) => {
      this.#socket.send(bytes, from.port, from.address, (error) => {
        if (error) this.#options.log.debug(`an answer could not be sent: ${error.message}`);
        resolve();
      });
    });
  }
}
