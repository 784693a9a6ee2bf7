/** What there is, how all of it stands, and what others want to know of it again and again. */
import { access, constants } from 'node:fs/promises';
import { z } from 'zod';
import type { Config } from '../config.ts';
import type { EventStreams } from './event-stream.ts';
import { METRICS_TYPE, metricsOf } from './metrics.ts';
import { Refusal } from './refusal.ts';
import { route, type Context, type Route } from './route.ts';
import { event, status } from './schemas.ts';
import type { StatusReader } from './status.ts';

export interface Services {
  readonly version: string;
  readonly status: StatusReader;
  readonly events: EventStreams;
  /** All routes there are, these among them. */
  readonly routes: () => readonly Route[];
  /** The OpenAPI document. */
  readonly document: () => object;
}

const index = z.strictObject({
  name: z.string(),
  version: z.string(),
  routes: z.array(z.strictObject({ method: z.string(), path: z.string(), summary: z.string() })),
});

export function serviceRoutes({ version, status: reader, events, routes, document }: Services): Route[] {
  return [
    route(
      {
        method: 'get',
        path: '/api/index',
        summary: 'What is here',
        answers: { 200: { description: 'the routes', schema: index } },
      },
      ({ control }) => ({
        status: 200,
        json: {
          name: control.status().name,
          version,
          routes: routes().map(({ method, path, summary }) => ({
            method: method.toUpperCase(),
            path,
            summary,
          })),
        },
      }),
    ),
    route(
      {
        method: 'get',
        path: '/api/openapi.json',
        summary: 'What is here, as OpenAPI 3.1',
        answers: { 200: { description: 'the document', schema: z.looseObject({ openapi: z.string() }) } },
      },
      () => ({ status: 200, json: document() }),
    ),
    route(
      {
        method: 'get',
        path: '/api/status',
        summary: 'The supervisor, all children with what they say of themselves, and all queues',
        answers: { 200: { description: 'all of it', schema: status } },
      },
      async () => ({ status: 200, json: await reader.read() }),
    ),
    route(
      {
        method: 'get',
        path: '/api/events',
        summary:
          'What happens, as server-sent events; after the one that Last-Event-ID or `since` names, else from now on',
        query: z.strictObject({
          since: z.string().optional().describe('for clients that cannot send Last-Event-ID'),
        }),
        answers: {
          200: { description: 'each event has this as its data', schema: event, type: 'text/event-stream' },
        },
      },
      (_, { query, headers }) => ({
        status: 200,
        headers: { 'Content-Type': 'text/event-stream', 'X-Accel-Buffering': 'no' },
        stream: events.prepare(headers['last-event-id'] ?? query.since),
      }),
    ),
    route(
      {
        method: 'get',
        path: '/metrics',
        summary: 'Numbers for Prometheus',
        answers: {
          200: { description: 'version 0.0.4 of its text format', schema: z.string(), type: 'text/plain' },
        },
      },
      async (context) => ({
        status: 200,
        text: await metricsOf(context),
        headers: { 'Content-Type': METRICS_TYPE },
      }),
    ),
    route(
      {
        method: 'get',
        path: '/healthz',
        summary: 'Whether the supervisor is alive',
        answers: { 200: { description: 'it is', schema: z.strictObject({ alive: z.literal(true) }) } },
      },
      () => ({ status: 200, json: { alive: true } }),
    ),
    route(
      {
        method: 'get',
        path: '/readyz',
        summary: 'Whether all children that should run do, and the queues can be used',
        answers: {
          200: { description: 'they do', schema: z.strictObject({ ready: z.literal(true) }) },
          503: { description: 'something is missing: NOT_READY, and what it is' },
        },
      },
      async (context) => {
        const missing = [...missingChildren(context), ...(await missingQueues(context))];
        if (missing.length > 0) throw new Refusal(503, 'NOT_READY', missing.join('; '));
        return { status: 200, json: { ready: true } };
      },
    ),
  ];
}

function missingChildren({ control }: Context): string[] {
  const { state, processes } = control.status();
  const short = processes.flatMap(({ spec, wanted, children }) => {
    const up = children.filter((child) => child.state === 'running').length;
    return spec.autostart && up < wanted ? [`${spec.name}: ${up} of ${wanted} children run`] : [];
  });
  return [...(state === 'running' ? [] : [`the supervisor is ${state}`]), ...short];
}

async function missingQueues({ queues, config, log }: Context): Promise<string[]> {
  try {
    await queues.listQueues();
    await checkRoot(config);
    return [];
  } catch (error) {
    log.warn(`the queues cannot be used: ${String(error)}`);
    return ['the queues cannot be used'];
  }
}

async function checkRoot({ queue }: Config): Promise<void> {
  if (queue.queueType === 'cache')
    await access(queue.cacheRoot, constants.R_OK | constants.W_OK | constants.X_OK);
}
