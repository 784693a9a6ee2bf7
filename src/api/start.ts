/**
 * The control API of a supervisor: HTTP on a unix socket, and over TCP where [api] apiPort says so. What it can do for others
 * is in the tables of routes; who may ask for it, in `admission`.
 */
import type { Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import type { Config } from '../config.ts';
import { QueueError } from '../errors.ts';
import type { QueueManager } from '../queue-manager.ts';
import type { SupervisorControl } from '../supervisor/shape.ts';
import type { Log } from '../worker/log.ts';
import { socketPathOf } from './address.ts';
import { Admission } from './admission.ts';
import { listenerOf } from './app.ts';
import { loadControllers } from './controllers.ts';
import { EventStreams } from './event-stream.ts';
import { documentOf } from './openapi.ts';
import { PROCESS_ROUTES } from './process-routes.ts';
import { QUEUE_ROUTES } from './queue-routes.ts';
import type { Context, Route } from './route.ts';
import { makeServer } from './server.ts';
import { serviceRoutes } from './service-routes.ts';
import { listenOnSocket } from './socket.ts';
import { StatusReader } from './status.ts';
import { Tokens } from './tokens.ts';

export interface ApiOptions {
  readonly control: SupervisorControl;
  /** Stays the caller's to close, after the API. */
  readonly queues: QueueManager;
  readonly config: Config;
  readonly log: Log;
  /** What `import … from 'coda-queue'` means in a controller that has no such package installed beside it. */
  readonly library: object;
}

export interface Api {
  /** The path of the socket. */
  readonly socket: string;
  /** The port over TCP; undefined: there is none. */
  readonly port: number | undefined;
  /** Has processes that are added from now on take their defaults from this one. */
  use(config: Config): void;
  /** Resolves when nobody can ask any more; what is being answered may take a second to end. Never rejects. */
  close(): Promise<void>;
}

/** Milliseconds that answers under way may take once the API is closed. */
const LAST_ANSWERS = 1000;

/**
 * Resolves when the API can be asked.
 * Errors: API_FAILED: it cannot listen there; CONFIG_INVALID: its socket or its tokens cannot be as they are; STORAGE_FAILED.
 */
export async function startApi({ control, queues, config, log, library }: ApiOptions): Promise<Api> {
  const path = socketPathOf(config);
  const { apiPort, apiHost, apiNames, controllersDir } = config.api;
  const tokens = apiPort === 0 ? undefined : Tokens.open(config.daemon.stateDir);
  const context = { control, queues, config, log };
  const events = new EventStreams(control);
  const routes = await allRoutes(context, events, controllersDir, library);
  const listenerFor = listenerOf(routes, context, new Admission(apiNames));

  const use = (next: Config): void => void (context.config = next);
  const onTrouble = (error: Error): void => log.warn(`the control API: ${error.message}`);
  const onSocket = makeServer(listenerFor({ kind: 'socket' }), onTrouble);
  const leave = await listenOnSocket(onSocket, path);
  const close = async (servers: readonly Server[]): Promise<void> => {
    leave();
    events.close();
    await Promise.all(servers.map(closed));
  };
  if (tokens === undefined) {
    log.info('the control API listens', { socket: path });
    return { socket: path, port: undefined, use, close: () => close([onSocket]) };
  }
  const onTcp = makeServer(listenerFor({ kind: 'tcp', tokens }), onTrouble);
  try {
    await listenOnTcp(onTcp, apiPort, apiHost);
  } catch (error) {
    await close([onSocket]);
    throw error;
  }
  log.info('the control API listens', { socket: path, host: apiHost, port: apiPort });
  const { port } = onTcp.address() as AddressInfo;
  return { socket: path, port, use, close: () => close([onSocket, onTcp]) };
}

async function allRoutes(
  context: Context,
  events: EventStreams,
  controllersDir: string,
  library: object,
): Promise<readonly Route[]> {
  const { version } = createRequire(import.meta.url)('coda-queue/package.json') as { version: string };
  const own: Route[] = [
    ...serviceRoutes({
      version,
      status: new StatusReader(context),
      events,
      routes: () => all,
      document: () => document,
    }),
    ...QUEUE_ROUTES,
    ...PROCESS_ROUTES,
  ];
  const taken = new Set(own.map(({ path }) => path.split('/')[2] ?? ''));
  const all = [...own, ...(await loadControllers({ controllersDir, library, taken, log: context.log }))];
  const document = documentOf(all, { name: 'Coda', version });
  return all;
}

function listenOnTcp(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (cause: NodeJS.ErrnoException): void => {
      const why = cause.code ?? cause.message;
      reject(
        new QueueError('API_FAILED', `the control API cannot listen on ${host} port ${port}: ${why}`, {
          cause,
        }),
      );
    };
    server.once('error', fail).listen({ port, host }, () => {
      server.off('error', fail);
      resolve();
    });
  });
}

async function closed(server: Server): Promise<void> {
  const done = new Promise((resolve) => server.close(resolve));
  server.closeIdleConnections();
  const late = setTimeout(() => server.closeAllConnections(), LAST_ANSWERS);
  await done;
  clearTimeout(late);
}
