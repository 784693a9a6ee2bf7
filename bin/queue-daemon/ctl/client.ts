/** How `queue-daemon ctl` speaks to the supervisor: HTTP over the socket that the configuration names. */
import { lstatSync } from 'node:fs';
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import { listenNameOf, socketPathOf } from '../../../src/api/address.ts';
import { QueueError, quote } from '../../../src/errors.ts';
import { tell } from '../../cli.ts';
import { isErrorCode } from '../../exit-codes.ts';
import { soundPartOf, type Options } from '../daemons.ts';

type Method = 'GET' | 'POST' | 'DELETE';

/** Milliseconds that a question may take. What changes something takes as long as it takes, as long as the supervisor lives. */
const PATIENCE = 30_000;
/** Characters of a line: of one event. */
const LONGEST_LINE = 16 * 1024 ** 2;

export class Client {
  readonly #socket: string;
  readonly #patience: number;

  /**
   * @param socket its path.
   * @param patience milliseconds for which the supervisor may be silent.
   */
  constructor(socket: string, patience = PATIENCE) {
    this.#socket = socket;
    this.#patience = patience;
  }

  /** A configuration that is wrong is told: the supervisor runs with the one that it had. Errors: CONFIG_INVALID: it cannot be read. */
  static async of(options: Options): Promise<Client> {
    const { config, wrong } = await soundPartOf(options);
    if (wrong) tell('queue-daemon', wrong);
    return new Client(socketPathOf(config));
  }

  /** Resolves with the answer, parsed. Errors: API_UNREACHABLE; API_REFUSED; what the supervisor has refused it with. */
  async get(path: string, patience = this.#patience): Promise<unknown> {
    return this.#answer(await this.#send('GET', path, undefined, endAfter(patience)));
  }

  /**
   * As `get`, but takes as long as it takes: meanwhile the supervisor is asked whether it lives.
   * Resolves with undefined when there is nothing to say.
   */
  async change(method: 'POST' | 'DELETE', path: string, body: object = {}): Promise<unknown> {
    const watch = (sent: ClientRequest): void => {
      const look = setInterval(() => {
        this.get('/healthz').catch((error: Error) => sent.destroy(error));
      }, this.#patience);
      sent.once('close', () => clearInterval(look));
    };
    return this.#answer(await this.#send(method, path, body, watch));
  }

  /**
   * The lines of an answer as they come. Ends when the supervisor ends it, or does not even give the sign of life that it
   * gives twice a minute or more. Errors: as of `get`.
   */
  async *lines(path: string): AsyncGenerator<string> {
    const response = await this.#send('GET', path, undefined, endAfter(this.#patience));
    if (response.statusCode !== 200) await this.#answer(response);
    let rest = '';
    try {
      for await (const part of response.setEncoding('utf8')) {
        const lines = (rest + (part as string)).split('\n');
        rest = lines.pop() ?? '';
        if (rest.length > LONGEST_LINE) return;
        yield* lines;
      }
    } catch {
      // Broken off: it has ended, all the same.
    }
  }

  #send(
    method: Method,
    path: string,
    body: object | undefined,
    watch: (sent: ClientRequest) => void,
  ): Promise<IncomingMessage> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      Host: 'localhost',
      ...(text !== undefined && {
        'Content-Type': 'application/json',
        'Content-Length': Buffer.byteLength(text),
      }),
    };
    const socketPath = listenNameOf(this.#socket);
    return new Promise((resolve, reject) => {
      const sent = request({ socketPath, method, path, headers, agent: false }, resolve);
      watch(sent);
      sent.once('error', (cause: NodeJS.ErrnoException) => reject(this.#unreachable(cause)));
      sent.end(text);
    });
  }

  async #answer(response: IncomingMessage): Promise<unknown> {
    const { statusCode = 0 } = response;
    let text = '';
    try {
      for await (const part of response.setEncoding('utf8')) text += part as string;
    } catch (cause) {
      throw this.#unreachable(cause as NodeJS.ErrnoException);
    }
    const answer = parsed(text);
    if (statusCode >= 200 && statusCode < 300) return answer;
    const { code = '', message = `status ${statusCode}` } =
      (answer as Partial<Refused> | undefined)?.error ?? {};
    // What it found wrong is what was typed here.
    if (code === 'INVALID_REQUEST' || code === 'CONFIG_INVALID')
      throw new QueueError('INVALID_ARGUMENT', message);
    if (code === 'CLOSED') throw new QueueError('API_UNREACHABLE', 'the supervisor is about to end');
    if (isErrorCode(code)) throw new QueueError(code, message);
    throw new QueueError('API_REFUSED', `${message} (${code || 'no code'})`);
  }

  #unreachable(cause: NodeJS.ErrnoException): QueueError {
    if (cause instanceof QueueError) return cause;
    const where = quote(this.#socket, 300);
    const { code } = cause;
    const owner = lstatSync(this.#socket, { throwIfNoEntry: false })?.uid;
    const why =
      code === 'ENOENT' || code === 'ECONNREFUSED'
        ? 'start one with: queue-daemon start supervisor'
        : code === 'EACCES' || code === 'EPERM'
          ? `this account may not use it${owner === undefined ? '' : `; it belongs to user ${owner}`}`
          : code === 'ECONNRESET' || code === 'EPIPE'
            ? 'it has ended before it could answer'
            : cause.message;
    return new QueueError('API_UNREACHABLE', `no supervisor answers at ${where}; ${why}`, {
      path: this.#socket,
      cause,
    });
  }
}

function endAfter(patience: number): (sent: ClientRequest) => void {
  return (sent) => {
    sent.setTimeout(patience, () => sent.destroy(new Error(`no answer within ${patience} ms`)));
  };
}

interface Refused {
  readonly error: { readonly code?: string; readonly message?: string };
}

function parsed(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    throw new QueueError('API_REFUSED', `expected JSON from the supervisor, received ${quote(text)}`);
  }
}

/** A name as part of a path: `mails#2` as `mails%232`. */
export function part(name: string): string {
  return encodeURIComponent(name);
}
