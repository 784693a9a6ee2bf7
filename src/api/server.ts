/** The HTTP server, with a bound to everything that a client can take: headers, time, connections. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Listener } from './app.ts';
import { LARGEST_BODY, MOST_HEADERS } from './admission.ts';
import { bodyOf, Refusal } from './refusal.ts';

/** Milliseconds within which a client must have sent its headers; all of its request. */
const HEADERS_WITHIN = 10_000;
const REQUEST_WITHIN = 30_000;
const LARGEST_HEADERS = 16 * 1024;
/** More are closed as they come. */
const MOST_CONNECTIONS = 256;
/** Milliseconds that a client may leave an answer unread. */
const READ_WITHIN = 60_000;

/**
 * A server that does not listen yet.
 * @param onTrouble is told what is wrong with the server as a whole.
 */
export function makeServer(
  listener: Listener,
  onTrouble: (error: Error) => void,
  readWithin = READ_WITHIN,
): Server {
  /** What is being answered, by connection. */
  const open = new WeakMap<Duplex, Set<ServerResponse>>();
  const listen: Listener = (request, response) => {
    const { socket } = request;
    const responses = open.get(socket) ?? new Set();
    open.set(socket, responses.add(response));
    response.once('close', () => responses.delete(response));
    listener(request, response);
  };
  const server = createServer(
    {
      maxHeaderSize: LARGEST_HEADERS,
      headersTimeout: HEADERS_WITHIN,
      requestTimeout: REQUEST_WITHIN,
      connectionsCheckingInterval: 1000,
      keepAliveTimeout: 5000,
    },
    listen,
  );
  server.on('error', onTrouble);
  server.setTimeout(readWithin, (socket) => {
    // What is asked for may take its time; what has been said has to be read.
    const isWaiting = [...(open.get(socket) ?? [])].some(({ headersSent }) => !headersSent);
    if (!isWaiting) socket.destroy();
  });
  server.maxConnections = MOST_CONNECTIONS;
  // What is beyond that is dropped without a word: with one more than may be, the admission sees that it is too many.
  server.maxHeadersCount = MOST_HEADERS + 1;
  // Nobody is told to go on with a body that will be refused.
  server.on('checkContinue', (request, response) => {
    if (Number(request.headers['content-length'] ?? 0) <= LARGEST_BODY) response.writeContinue();
    listen(request, response);
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    const [first, ...others] = open.get(socket) ?? [];
    // What we said now would be taken for the answer to what came before, unless it is that which has broken off.
    if (first && (others.length > 0 || first.headersSent || first.req.complete)) socket.destroy();
    else refuse(error, socket);
  });
  server.on('upgrade', (_, socket) =>
    end(socket, new Refusal(400, 'INVALID_REQUEST', 'there is nothing to upgrade to')),
  );
  return server;
}

/** What came is no HTTP, too long, too slow, or says two things at once about where it ends. */
function refuse({ code }: NodeJS.ErrnoException, socket: Duplex): void {
  if (code === 'HPE_HEADER_OVERFLOW') end(socket, new Refusal(431, 'TOO_LARGE', 'the headers are too large'));
  else if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    end(socket, new Refusal(408, 'TOO_SLOW', 'the request did not come in time'));
  else end(socket, new Refusal(400, 'INVALID_REQUEST', 'the request cannot be read'));
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
};

function end(socket: Duplex, refusal: Refusal): void {
  if (!socket.writable) return void socket.destroy();
  const body = JSON.stringify(bodyOf(refusal));
  const head = [
    `HTTP/1.1 ${refusal.status} ${REASONS[refusal.status]}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  // What it goes on sending is nobody's business any more.
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}
