/**
 * The life of one TCP connection. Its packets are answered one after the other, in order; while a call is under way, or an
 * answer waits to be read, no more is read than what Node and the system hold for it. Each stage has its time:
 *
 *   idle ──first byte──► receiving ──all of it──► working ──answer──► sending ──read──► idle
 *    │ idleTime            │ packetTime                                 │ idleTime
 *    └──► ending ◄─────────┴── what is its last, or is none ────────────┴──► cut
 */
import type { Socket } from 'node:net';
import { refusal, type CallAnswer } from './codes.ts';
import { JSON_FORMAT } from './json.ts';
import type { ListenerOptions } from './listener.ts';
import { Packets, type Incoming } from './packets.ts';
import type { CallRequest, PacketFormat } from './packet.ts';
import { isSameToken } from './token.ts';
import { nextTurn, ownTurn } from './turn.ts';

type Stage = 'idle' | 'receiving' | 'working' | 'sending' | 'ending';

/** How long a client may take to hear that it is over when the server closes; ms. */
const FAREWELL = 2000;

export class Connection {
  readonly #socket: Socket;
  readonly #options: ListenerOptions;
  readonly #packets: Packets;
  readonly #onChange: (connection: Connection) => void;
  #stage: Stage = 'idle';
  #timer: NodeJS.Timeout | undefined;
  #isTrusted: boolean;
  #hasCalled = false;
  /** No packet is answered any more. */
  #isOver = false;
  #isClosing = false;

  /** @param onChange is told when its stage has changed, or what it holds. */
  constructor(socket: Socket, options: ListenerOptions, onChange: (connection: Connection) => void) {
    this.#socket = socket;
    this.#options = options;
    this.#onChange = onChange;
    this.#packets = new Packets(options.limits.packetBytes);
    this.#isTrusted = options.token === '';
  }

  get stage(): Stage {
    return this.#stage;
  }

  /** Bytes that are in memory for it: of a packet that is not complete, and of answers that are not read. */
  get held(): number {
    return this.#packets.held + this.#socket.writableLength;
  }

  /** Whether a call of it has been answered. */
  get hasCalled(): boolean {
    return this.#hasCalled;
  }

  /** Resolves when it is closed. Never rejects. */
  async run(): Promise<void> {
    const socket = this.#socket;
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.on('error', () => undefined).setNoDelay(true);
    this.#enter('idle');
    try {
      for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        if (this.#isOver) continue;
        this.#packets.push(chunk);
        await this.#answerAll();
      }
      this.#packets.end();
      if (!this.#isOver) await this.#answerAll();
      this.#end();
    } catch {
      // It was cut, by either side.
      socket.destroy();
    }
    await closed;
    clearTimeout(this.#timer);
  }

  /** Ends it when the call that is under way has been answered: the server closes. */
  finish(): void {
    this.#isOver = true;
    this.#isClosing = true;
    if (this.#socket.writableFinished) this.#waitForEnd();
    else if (this.#stage !== 'working') this.#end();
  }

  cut(): void {
    this.#isOver = true;
    this.#socket.destroy();
  }

  /** All that has come whole. */
  async #answerAll(): Promise<void> {
    for (let isFirst = true; !this.#isOver; isFirst = false) {
      const kind = this.#packets.peek();
      if (kind === 'nothing') break;
      // However many came at once, others do not wait for all of them.
      if (kind === 'slow') await this.#wait();
      else if (!isFirst) await nextTurn();
      const next = this.#isOver ? undefined : this.#packets.next();
      if (next) await this.#answer(next);
    }
    // The server may have closed between two of them.
    if (this.#isOver) return this.#end();
    // The time for a packet counts from its first byte.
    if (this.#packets.held === 0) this.#enter('idle');
    else if (this.#stage !== 'receiving') this.#enter('receiving');
    else this.#onChange(this);
  }

  /** For a turn in which a slow packet may be read. It has come in time; what counts now is that nothing is said. */
  async #wait(): Promise<void> {
    this.#enter('idle');
    await ownTurn();
  }

  async #answer(incoming: Incoming): Promise<void> {
    const { format, isLast } = incoming;
    if (incoming.refused) {
      this.#options.log.debug(incoming.refused.message, { from: this.#socket.remoteAddress });
      await this.#send(incoming.refused, format, isLast);
      return;
    }
    const { request } = incoming;
    if (!this.#trusts(request)) {
      this.#options.log.warn('a token was wrong, or missing', { from: this.#socket.remoteAddress });
      await this.#send(refusal('UNAUTHORIZED', 'expected a token in the first packet'), format, true);
      return;
    }
    this.#enter('working');
    const answer = await this.#options.calls.answer(request);
    this.#hasCalled = true;
    await this.#send(answer, format, isLast || this.#isOver);
  }

  /** The first packet decides for all. */
  #trusts({ token }: CallRequest): boolean {
    this.#isTrusted ||= token !== undefined && isSameToken(token, this.#options.token);
    return this.#isTrusted;
  }

  /** Resolves when more can be sent. */
  async #send(answer: CallAnswer, format: PacketFormat, isLast: boolean): Promise<void> {
    const socket = this.#socket;
    // Cut during the call: nobody hears the answer, and nothing will ever be drained.
    if (socket.destroyed) return;
    const bytes = Buffer.from(format.write(answer));
    if (isLast) this.#end(bytes);
    else if (!socket.write(bytes)) {
      this.#enter('sending');
      await new Promise<void>((resolve) => {
        const go = (): void => {
          socket.off('drain', go).off('close', go);
          resolve();
        };
        socket.once('drain', go).once('close', go);
      });
    }
  }

  /** Says that nothing more comes, behind what is still to be read, and waits for the other side to say so. */
  #end(last?: Buffer): void {
    this.#isOver = true;
    const socket = this.#socket;
    if (socket.destroyed || socket.writableEnded) return;
    this.#enter('ending');
    socket.end(last ?? Buffer.alloc(0), () => this.#waitForEnd());
    this.#onChange(this);
  }

  /**
   * For the end of the other side. What it still sends is read and thrown away: a system that closes a connection of which
   * something has not been read cuts it, and the answer is lost.
   */
  #waitForEnd(): void {
    if (this.#socket.destroyed) return;
    clearTimeout(this.#timer);
    const time = this.#isClosing ? FAREWELL : this.#options.limits.packetTime;
    this.#timer = setTimeout(() => this.cut(), time);
  }

  #enter(stage: Stage): void {
    clearTimeout(this.#timer);
    this.#stage = stage;
    const { idleTime, packetTime } = this.#options.limits;
    if (stage !== 'working') {
      const time = stage === 'receiving' ? packetTime : idleTime;
      this.#timer = setTimeout(() => this.#timeIsUp(), time);
    }
    this.#onChange(this);
  }

  #timeIsUp(): void {
    if (this.#stage === 'receiving') {
      const message = `the packet was not complete within ${this.#options.limits.packetTime} ms`;
      this.#end(Buffer.from(JSON_FORMAT.write(refusal('TIMEOUT', message))));
    } else if (this.#stage === 'idle') this.#end();
    else this.cut();
  }
}
