/** The application: admits, finds the route, reads the body, answers. Whatever goes wrong becomes a refusal of one shape. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { Hono } from 'hono';
import { toTryError } from '../try-error.ts';
import type { Log } from '../worker/log.ts';
import type { Admission, Caller, Way } from './admission.ts';
import { readJson } from './json-body.ts';
import { UnreadAnswers } from './large-answers.ts';
import { bodyOf, Refusal, refusalOf } from './refusal.ts';
import type { Context, Reply, Route } from './route.ts';

interface Environment {
  Bindings: { incoming: IncomingMessage; outgoing: ServerResponse; way: Way };
  Variables: { caller: Caller };
}

/** Nothing here is for browsers to keep, to guess at, or to show as a page. */
const HEADERS: Readonly<Record<string, string>> = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
};

export type Listener = (incoming: IncomingMessage, outgoing: ServerResponse) => void;

/** What a server calls for each request, by the way that they come. */
export function listenerOf(
  routes: readonly Route[],
  context: Context,
  admission: Admission,
): (way: Way) => Listener {
  const app = new Hono<Environment>();
  const unread = new UnreadAnswers();
  app.use(async (c, next) => {
    c.set('caller', admission.admit(c.env.incoming, c.env.way));
    await next();
  });
  for (const route of routes) {
    app.on(route.method.toUpperCase(), honoPath(route.path), async (c) => {
      try {
        const reply = await route.run(context, {
          params: c.req.param(),
          query: c.req.query(),
          body: route.method === 'get' ? undefined : await readJson(c.req.raw.body),
          headers: c.req.header(),
          caller: c.var.caller,
          signal: c.req.raw.signal,
        });
        return answer(reply, c.env.outgoing, c.env.incoming.method === 'HEAD', unread);
      } catch (error) {
        // Actions may throw anything; below, only an `Error` is one.
        return refuse(logged(error, `${c.req.method} ${c.req.path}`, context.log));
      }
    });
  }
  for (const [path, methods] of methodsByPath(routes))
    app.all(honoPath(path), (c) => {
      const message = `expected ${methods.join(' or ')}, received ${c.req.method}`;
      throw new Refusal(405, 'METHOD_NOT_ALLOWED', message, { Allow: methods.join(', ') });
    });
  app.notFound(() =>
    refuse(new Refusal(404, 'NOT_FOUND', 'there is nothing here; GET /api/index says what there is')),
  );
  app.onError((error, c) => refuse(logged(error, `${c.req.method} ${c.req.path}`, context.log)));

  return (way) => {
    const listen = getRequestListener((request, env) => app.fetch(request, { ...env, way }), {
      // Other code in this process has objects of its own.
      overrideGlobalObjects: false,
      errorHandler: () => refuse(new Refusal(400, 'INVALID_REQUEST', 'the request cannot be read')),
    });
    return (incoming, outgoing) => void listen(incoming, outgoing);
  };
}

/** The refusal, once the log knows what the caller is not told. */
function logged(error: unknown, what: string, log: Log): Refusal {
  const refusal = refusalOf(error);
  if (refusal.status === 500) {
    const { message, stack } = toTryError(error, 1, Date.now());
    log.error(`${what}: ${message}`, { stack });
  }
  return refusal;
}

function refuse(refusal: Refusal): Response {
  return Response.json(bodyOf(refusal), {
    status: refusal.status,
    headers: { ...HEADERS, ...refusal.headers },
  });
}

function answer(
  { status, json, text, stream, headers }: Reply,
  outgoing: ServerResponse,
  onlyHead: boolean,
  unread: UnreadAnswers,
): Response {
  const all = { ...HEADERS, ...headers };
  if (stream) {
    outgoing.writeHead(status, all);
    if (onlyHead) outgoing.end();
    else stream(outgoing);
    return RESPONSE_ALREADY_SENT;
  }
  if (text === undefined && json === undefined) return new Response(null, { status, headers: all });
  const body = text ?? JSON.stringify(json);
  const typed = text === undefined ? { 'Content-Type': 'application/json', ...all } : all;
  if (onlyHead || !unread.isLarge(body)) return new Response(body, { status, headers: typed });
  unread.send(outgoing, status, typed, body);
  return RESPONSE_ALREADY_SENT;
}

function honoPath(path: string): string {
  return path.replace(/\{(\w+)\}/g, ':$1');
}

function methodsByPath(routes: readonly Route[]): Map<string, string[]> {
  const methods = new Map<string, string[]>();
  for (const { path, method } of routes)
    methods.set(path, [...(methods.get(path) ?? []), method.toUpperCase()]);
  return methods;
}
