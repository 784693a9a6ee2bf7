/**
 * A server through which programs of any language call in. It knows methods; how packets come in is the matter of `tcp.ts`
 * and `udp.ts`, which are loaded when it listens, so that a program that only enqueues does not pay for them.
 */
import { QueueError, escapeControls, quote } from '../errors.ts';
import type { QueueManager } from '../queue-manager.ts';
import { logAbout, type Log, type LogSink } from '../worker/log.ts';
import { Calls } from './calls.ts';
import type { CallLimits, CallListener } from './listener.ts';
import { isCallMethodClass, type CallAddress, type CallMethodClass, type MethodServer } from './method.ts';
import { NotFound, Test, Verify, queueMethods } from './shipped.ts';

const USUAL_LIMITS: CallLimits = {
  packetBytes: 1024 ** 2,
  connections: 1000,
  calls: 100,
  idleTime: 60_000,
  packetTime: 10_000,
};

export interface CallServerOptions {
  /** Default tcp. Udp is for this machine alone. */
  scheme?: 'tcp' | 'udp' | undefined;
  /** Default 127.0.0.1. */
  host?: string | undefined;
  /** Default 4401; 0: any that is free. */
  port?: number | undefined;
  /** What a connection's first packet has to bring as `token`, or each datagram; '' (the default): nothing. */
  token?: string | undefined;
  /** With it there are the methods `queue.add`, `queue.status` and `queue.find`. It is not closed with the server. */
  queues?: QueueManager | undefined;
  limits?: Partial<CallLimits> | undefined;
  /** Default: nothing is logged. */
  log?: LogSink | undefined;
}

const NAME = /^[^\p{C}\s]{1,256}$/u;

export class CallServer implements MethodServer {
  readonly #methods = new Map<string, CallMethodClass>();
  readonly #options: {
    readonly scheme: 'tcp' | 'udp';
    readonly host: string;
    readonly port: number;
    readonly token: string;
    readonly log: LogSink;
  };
  readonly #limits: CallLimits;
  readonly #log: Log;
  #calls: Calls | undefined;
  /** While it listens, and from when it is told to. */
  #listener: Promise<CallListener> | undefined;
  #address: CallAddress | undefined;

  /** Errors: INVALID_ARGUMENT. */
  constructor(options: CallServerOptions = {}) {
    const { scheme = 'tcp', host = '127.0.0.1', port = 4401, token = '', queues, log } = options;
    if (scheme !== 'tcp' && scheme !== 'udp') throw wrong('scheme', 'tcp or udp', scheme);
    if (typeof host !== 'string') throw wrong('host', 'a name or an address', host);
    if (typeof token !== 'string') throw wrong('token', 'a text', 'something else');
    this.#options = {
      scheme,
      host,
      port: whole('port', port, 0, 65_535),
      token,
      log: log ?? (() => undefined),
    };
    this.#limits = limitsOf(options.limits);
    this.#log = logAbout(this.#options.log, {});
    this.addMethod('notFound', NotFound);
    this.addMethod('test', Test);
    this.addMethod('verify', Verify);
    for (const [name, method] of Object.entries(queues ? queueMethods(queues) : {}))
      this.addMethod(name, method);
  }

  /** Where it listens; undefined: it does not. */
  get address(): CallAddress | undefined {
    return this.#address;
  }

  /** The names of all methods, in order. */
  get methods(): string[] {
    return [...this.#methods.keys()].toSorted();
  }

  /**
   * Has calls of that name carried out by instances of that class, from the next call on; one that had the name before
   * is replaced. Also `test`, `verify` (which health checks call) and `notFound`, which answers calls of unknown names.
   * Errors: INVALID_ARGUMENT.
   */
  addMethod(name: string, method: CallMethodClass): void {
    if (typeof name !== 'string' || !NAME.test(name))
      throw wrong('name', 'a text of 1 to 256 characters without blanks', name);
    if (!isCallMethodClass(method))
      throw wrong(`method ${quote(name)}`, 'a class that extends CallMethod', typeof method);
    this.#methods.set(name, method);
  }

  /**
   * Resolves with where it listens, when it does.
   * Errors: CONFIG_INVALID: the host is not this machine's alone, and there is no token, or it is UDP; CALL_FAILED: it
   * listens already, the port is taken or not allowed, the host is not this machine's.
   */
  async listen(): Promise<CallAddress> {
    if (this.#listener) throw new QueueError('CALL_FAILED', 'this server listens already');
    this.#listener = this.#open();
    try {
      const { address } = await this.#listener;
      this.#address = address;
      return address;
    } catch (error) {
      this.#listener = undefined;
      throw error;
    }
  }

  /**
   * Resolves when it listens no more, calls under way have been answered, and all connections are closed. What has not
   * begun is not begun: its client sees the end without an answer. It can listen again then.
   * @param options.signal fires: wait no longer. The `signal` of the calls under way fires, and their connections are cut.
   */
  async close({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    const opening = this.#listener;
    if (!opening) return;
    const listener = await opening.catch(() => undefined);
    this.#address = undefined;
    const closed = listener?.close(signal);
    const abandoned = await this.#calls?.close(signal);
    await closed;
    if (abandoned) this.#log.warn(`closed with ${abandoned} calls under way, which were not waited for`);
    this.#listener = undefined;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #open(): Promise<CallListener> {
    const { scheme, host, port, token } = this.#options;
    const { addressOf } = await import('./host.ts');
    const address = { scheme, host: await addressOf(host, scheme, token !== ''), port };
    const calls = new Calls({
      server: this,
      methods: this.#methods,
      notFound: () => this.#methods.get('notFound') ?? NotFound,
      limit: this.#limits.calls,
      patience: this.#limits.packetTime,
      logFor: (name) => logAbout(this.#options.log, { method: escapeControls(name) }),
    });
    this.#calls = calls;
    const options = { address, token, limits: this.#limits, calls, log: this.#log };
    if (scheme === 'udp') return (await import('./udp.ts')).listenUdp(options);
    return (await import('./tcp.ts')).listenTcp(options);
  }
}

function limitsOf(given: Partial<CallLimits> = {}): CallLimits {
  const limits = { ...USUAL_LIMITS };
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(limits, name))
      throw wrong('limits', `some of ${Object.keys(limits).join(', ')}`, name);
    if (value !== undefined)
      limits[name as keyof CallLimits] = whole(`limits.${name}`, value, 1, 2 ** 31 - 1);
  }
  return limits;
}

function whole(what: string, value: unknown, least: number, most: number): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most)
    return value;
  throw wrong(what, `a whole number from ${least} to ${most}`, value);
}

function wrong(what: string, expected: string, received: unknown): QueueError {
  return new QueueError('INVALID_ARGUMENT', `${what}: expected ${expected}, received ${quote(received)}`);
}
