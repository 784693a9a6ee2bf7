/**
 * Who may ask. A web page that a person on this machine looks at can send requests to loopback too, under a name of its own
 * that leads there: so neither the port nor the address proves anything. Checked before anything is read of the body.
 */
import type { IncomingMessage } from 'node:http';
import { quote } from '../errors.ts';
import { Refusal } from './refusal.ts';
import type { Right, Tokens } from './tokens.ts';

/** The way by which a request came. */
export type Way =
  /** Whoever can open it has been let in by the permissions of the file. */
  { readonly kind: 'socket' } | { readonly kind: 'tcp'; readonly tokens: Tokens };

export interface Caller {
  readonly right: Right;
  /** For the log. The system does not tell Node which account is at the other end of a socket: its owner, or root. */
  readonly by: string;
}

/** Bytes of a request's body. */
export const LARGEST_BODY = 1024 ** 2;
/** Headers of a request. */
export const MOST_HEADERS = 100;

const READS: ReadonlySet<string | undefined> = new Set(['GET', 'HEAD']);
const LOOPBACK: readonly string[] = ['localhost', '127.0.0.1', '[::1]'];
/** Of these a request has one at most: of two it could be read another way than it was checked. */
const ONCE: readonly string[] = [
  'host',
  'origin',
  'authorization',
  'content-type',
  'content-length',
  'last-event-id',
];

export class Admission {
  readonly #names: ReadonlySet<string>;

  /** @param names by which requests may call this host, besides those of loopback. */
  constructor(names: readonly string[]) {
    this.#names = new Set([...LOOPBACK, ...names]);
  }

  /** Whoever sent the request. Throws a `Refusal`. */
  admit(request: IncomingMessage, way: Way): Caller {
    refuseMany(request.rawHeaders);
    refuseTwice(request.rawHeaders);
    const host = this.#checkHost(request.headers.host);
    this.#refuseForeign(request.headers, host);
    const right = way.kind === 'socket' ? 'full' : rightOf(request.headers.authorization, way.tokens);
    if (!READS.has(request.method)) {
      if (right === 'read')
        throw new Refusal(403, 'FORBIDDEN', 'the read-only token changes nothing; this takes the other one');
      refuseForms(request.headers['content-type']);
      refuseLarge(request.headers['content-length']);
    }
    return {
      right,
      by: way.kind === 'socket' ? 'socket' : `tcp, with the ${right === 'full' ? '' : 'read-only '}token`,
    };
  }

  #checkHost(host = ''): string {
    const name = nameOf(host.toLowerCase());
    if (name !== undefined && this.#names.has(name)) return host.toLowerCase();
    throw new Refusal(
      403,
      'FORBIDDEN',
      `Host: expected localhost, a loopback address or a name in [api] apiNames, received ${quote(host)}`,
    );
  }

  /** Nothing of ours is a page: whatever has an origin of its own, be it `null`, is none of ours. */
  #refuseForeign({ origin, 'sec-fetch-site': site }: IncomingMessage['headers'], host: string): void {
    const own = origin === undefined || origin === `http://${host}` || origin === `https://${host}`;
    if (own && site !== 'cross-site' && site !== 'same-site') return;
    throw new Refusal(403, 'FORBIDDEN', 'requests from other origins are refused');
  }
}

/** Of those beyond a number Node tells nothing: one that would have been refused could hide there. */
function refuseMany({ length }: readonly string[]): void {
  if (length <= 2 * MOST_HEADERS) return;
  throw new Refusal(431, 'TOO_LARGE', `expected at most ${MOST_HEADERS} headers, received more`, {
    Connection: 'close',
  });
}

function refuseTwice(rawHeaders: readonly string[]): void {
  const seen = new Set<string>();
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase();
    if (ONCE.includes(name) && seen.has(name))
      throw new Refusal(400, 'INVALID_REQUEST', `expected one header ${name}, received several`);
    seen.add(name);
  }
}

/** `localhost` of `localhost:9501`; undefined: it is no host. */
function nameOf(host: string): string | undefined {
  return /^(\[[0-9a-f:]+\]|[a-z0-9.-]+)(?::\d{1,5})?$/.exec(host)?.[1];
}

function rightOf(authorization: string | undefined, tokens: Tokens): Right {
  const shown = /^Bearer ([A-Za-z0-9_-]+)$/i.exec(authorization ?? '')?.[1];
  const right = shown === undefined ? undefined : tokens.rightOf(shown);
  if (right !== undefined) return right;
  throw new Refusal(
    401,
    'UNAUTHORIZED',
    'expected a header "Authorization: Bearer" with the token that lies in the state folder',
    { 'WWW-Authenticate': 'Bearer realm="coda"' },
  );
}

/** What a form of a foreign page can send without asking first is never this. */
function refuseForms(type = ''): void {
  if (/^application\/json\s*(;\s*charset=utf-8\s*)?$/i.test(type)) return;
  throw new Refusal(415, 'NOT_JSON', `expected content type application/json, received ${quote(type)}`);
}

function refuseLarge(length = '0'): void {
  if (Number(length) <= LARGEST_BODY) return;
  throw tooLarge();
}

export function tooLarge(): Refusal {
  return new Refusal(413, 'TOO_LARGE', `expected a body of at most ${LARGEST_BODY} bytes, received more`, {
    Connection: 'close',
  });
}
