/**
 * A worker that ships: delivers each message's data as JSON by HTTP POST to `httpUrl` of the configuration's [http].
 *
 * The status decides, as soon as it is there: 2xx completes. 4xx fails for good, for the same request will be refused again;
 * except 408, 425 and 429, which are about the moment. Those, 3xx, 5xx and failures of the network are failed tries.
 * Redirects are not followed: data and signature are meant for the URL that was configured, and for nobody it names.
 * `Retry-After` is heeded, up to a day. Deliveries may come twice: `Idempotency-Key` is the message's uuid.
 *
 * Neither the credentials nor the path of the URL get into errors and logs; with many services the path is a secret too.
 */
import { createHmac } from 'node:crypto';
import * as http from 'node:http';
import * as https from 'node:https';
import {
  FinalError,
  QueueError,
  RetryAt,
  Worker,
  type Message,
  type StartContext,
  type WorkerContext,
} from 'coda-queue';

/** Statuses that speak of the moment, not of the message. */
const PASSING = [408, 425, 429];
/** Bytes of an answer that are kept when it is an error. */
const KEPT = 500;
/** Bytes of an answer that are read so that its connection can be used again, and how long that may take, in ms. */
const READ = 16 * 1024;
const READ_TIME = 1000;
const DAY = 86_400_000;

type Headers = Record<string, string | number>;

interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  /** The first `KEPT` bytes, on one line. */
  text: string;
}

export default class Http extends Worker {
  #target: Target | undefined;

  override start({ config, log }: StartContext): void {
    const { httpUrl, httpTimeout, httpSecret } = config.http;
    if (httpUrl === '') {
      throw new QueueError(
        'CONFIG_INVALID',
        '[http] httpUrl: expected the URL to deliver to, received none (it can also be given as CODA_HTTP_URL)',
        config.file === undefined ? {} : { path: config.file },
      );
    }
    this.#target = new Target(httpUrl, httpTimeout, httpSecret);
    log.info(`delivering to ${this.#target.host}${httpSecret === '' ? '' : ', signed'}`);
  }

  override stop(): void {
    this.#target?.close();
  }

  override async process({ uuid, data }: Message, { signal, log }: WorkerContext): Promise<void> {
    if (!this.#target) throw new Error('this worker has not been started');
    signal.throwIfAborted();
    const answer = await this.#target.post(uuid, Buffer.from(JSON.stringify(data)), signal);
    log.debug(`${this.#target.host} answered ${answer.status}`);
    judge(this.#target.host, answer);
  }
}

/** Where messages are delivered. */
class Target {
  /** What errors and logs say of it. */
  readonly host: string;
  readonly #url: URL;
  readonly #timeout: number;
  readonly #agent: http.Agent;
  readonly #authorization: Headers;
  readonly #key: Buffer | undefined;

  constructor(href: string, timeout: number, secret: string) {
    this.#url = new URL(href);
    this.host = this.#url.host;
    this.#timeout = timeout;
    this.#agent = new (this.#secure ? https : http).Agent({ keepAlive: true });
    this.#authorization = credentialsOf(this.#url);
    this.#url.username = this.#url.password = '';
    this.#key = secret === '' ? undefined : keyOf(secret);
  }

  get #secure(): boolean {
    return this.#url.protocol === 'https:';
  }

  close(): void {
    this.#agent.destroy();
  }

  async post(uuid: string, body: Buffer, signal: AbortSignal): Promise<Answer> {
    const headers = {
      'content-type': 'application/json',
      'content-length': body.length,
      'user-agent': 'coda-queue',
      'idempotency-key': uuid,
      ...this.#authorization,
      ...(this.#key ? signatureOf(this.#key, uuid, body) : {}),
    };
    try {
      return await this.#send(headers, body, signal, this.#agent);
    } catch (error) {
      if (!(error instanceof Stale)) throw error;
      return this.#send(headers, body, signal, false);
    }
  }

  #send(headers: Headers, body: Buffer, signal: AbortSignal, agent: http.Agent | false): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const request = (this.#secure ? https : http).request(this.#url, { method: 'POST', headers, agent });
      const abort = (): void => void request.destroy(signal.reason as Error);
      const late = (): void => void request.destroy(new TimeoutError(this.host, this.#timeout));
      const timer = setTimeout(late, this.#timeout);
      let answered = false;
      signal.addEventListener('abort', abort, { once: true });
      request.on('error', (error: NodeJS.ErrnoException) => {
        if (signal.aborted || error instanceof DeliveryFailed) reject(error);
        // Something is wrong with the rest of the answer, which does not count.
        else if (answered) return;
        else if (request.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(error.code ?? ''))
          reject(new Stale());
        else reject(networkError(this.host, error));
      });
      request.once('response', (response) => {
        answered = true;
        // The rest of the answer does not count.
        clearTimeout(timer);
        const { statusCode: status = 0, headers } = response;
        void beginningOf(response).then((text) => resolve({ status, headers, text }));
      });
      request.once('close', () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', abort);
        // Counts when there was neither an answer nor an error: the other side wanted another protocol.
        if (!answered) reject(networkError(this.host, new Error('closed without an answer')));
      });
      request.end(body);
    });
  }
}

class DeliveryFailed extends Error {
  override readonly name: string = 'DeliveryFailed';
  readonly code: string;

  constructor(code: string, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

class TimeoutError extends DeliveryFailed {
  constructor(host: string, timeout: number) {
    super('HTTP_TIMEOUT', `POST to ${host}: no answer within ${timeout} ms`);
  }
}

/** The other side had closed the idle connection that was used: no fault of the message, and no failed try. */
class Stale extends Error {}

/** Returns when the message has been delivered. */
function judge(host: string, { status, headers, text }: Answer): void {
  if (status >= 200 && status < 300) return;
  const phrase = http.STATUS_CODES[status];
  const why =
    `POST to ${host}: ${status}${phrase === undefined ? '' : ` ${phrase}`}` +
    (status >= 300 && status < 400 ? `${elsewhere(headers.location)} (redirects are not followed)` : '') +
    (text === '' ? '' : `: ${text}`);
  const code = `HTTP_${status}`;
  if (status >= 400 && status < 500 && !PASSING.includes(status)) {
    throw Object.assign(new FinalError(why), { code });
  }
  const date = retryDate(headers['retry-after'], Date.now());
  throw date ? Object.assign(new RetryAt(date, why), { code }) : new DeliveryFailed(code, why);
}

/** Without path and credentials, which may be secrets. */
function elsewhere(location: string | undefined): string {
  const url = location !== undefined && URL.canParse(location) ? new URL(location) : undefined;
  return url?.host ? ` to ${url.protocol}//${url.host}` : '';
}

/**
 * RFC 9110, 10.2.3: seconds, or a date in one of the three forms of 5.6.7. Undefined when it is neither, or not in the
 * future: the usual wait then, or a server that says 0 would use up the tries at once.
 */
function retryDate(value: string | undefined, now: number): Date | undefined {
  const text = value?.trim() ?? '';
  let time = Number.NaN;
  if (/^\d+$/.test(text)) time = now + Number(text) * 1000;
  // asctime's form does not say that it is GMT.
  else if (/^[A-Z][a-z]{2,8},? /.test(text)) time = Date.parse(text.endsWith(' GMT') ? text : `${text} GMT`);
  return time > now ? new Date(Math.min(time, now + DAY)) : undefined;
}

function networkError(host: string, error: NodeJS.ErrnoException): DeliveryFailed {
  const { code = 'HTTP_FAILED', message } = error;
  // When several addresses were tried, the message is empty.
  return new DeliveryFailed(code, `POST to ${host}: ${message === '' ? code : message}`, error);
}

/** Never rejects: what is missing of an answer does not change its status. */
async function beginningOf(response: http.IncomingMessage): Promise<string> {
  const timer = setTimeout(() => response.destroy(), READ_TIME);
  let kept = Buffer.alloc(0);
  let size = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      size += chunk.length;
      kept = Buffer.concat([kept, chunk.subarray(0, KEPT - kept.length)]);
      // Leaving the loop closes the connection.
      if (size > READ) break;
    }
  } catch {
    // Cut off.
  }
  clearTimeout(timer);
  const text = kept.toString('utf8').replace(/\s+/g, ' ').trim();
  return size > KEPT ? `${text}…` : text;
}

function credentialsOf({ username, password }: URL): Headers {
  if (username === '' && password === '') return {};
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
}

/** https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md: "Signature scheme", symmetric. */
function signatureOf(key: Buffer, id: string, body: Buffer): Headers {
  const timestamp = Math.floor(Date.now() / 1000);
  const signature = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64');
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` };
}

function keyOf(secret: string): Buffer {
  return secret.startsWith('whsec_')
    ? Buffer.from(secret.slice('whsec_'.length), 'base64')
    : Buffer.from(secret);
}
