/** The OpenAPI 3.1 document of the routes. */
import { z } from 'zod';
import type { AnswerShape, Route } from './route.ts';
import { errorBody } from './schemas.ts';

type Schema = Record<string, unknown>;

/** What any route may answer besides. */
const REFUSALS: Readonly<Record<string, string>> = {
  '400': 'the request cannot be read',
  '401': 'over TCP: no token, or a wrong one',
  '403': 'the Host or Origin is not let in, or the token only reads',
  '422': 'something in it is not what was expected',
  '500': 'it could not be done; the log of the supervisor says why',
};
const REFUSED_CHANGES: Readonly<Record<string, string>> = {
  '413': 'the body, or a message, is too large',
  '415': 'the content type is not application/json',
};
const NOT_FOUND = 'there is no such queue, message or process';

export function documentOf(
  routes: readonly Route[],
  { name, version }: { name: string; version: string },
): object {
  const schemas: Schema = {};
  const paths: Record<string, Schema> = {};
  for (const route of routes) {
    const operations = (paths[route.path] ??= {});
    operations[route.method] = operationOf(route, schemas);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: `${name}: control API`,
      version,
      description: 'Every refusal is { error: { code, message } }.',
    },
    servers: [{ url: 'http://localhost' }],
    security: [{}, { token: [] }],
    paths,
    components: {
      schemas,
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'over TCP; the unix socket takes none' },
      },
    },
  };
}

function operationOf(route: Route, schemas: Schema): Schema {
  const { method, path, summary, params, query, body } = route;
  const changes = method !== 'get';
  const refusals = {
    ...REFUSALS,
    ...(changes && REFUSED_CHANGES),
    ...(path.includes('{') && { '404': NOT_FOUND }),
  };
  const bodySchema = method === 'post' ? schemaOf(body, 'input', schemas) : undefined;
  return {
    operationId: operationId(method, path),
    summary,
    tags: [path.split('/')[2]?.replace(/^queue$/, 'queues') ?? 'service'],
    parameters: [...parametersOf('path', params, schemas), ...parametersOf('query', query, schemas)],
    ...(bodySchema && {
      requestBody: {
        required: Array.isArray(bodySchema['required']) || '$ref' in bodySchema,
        content: { 'application/json': { schema: bodySchema } },
      },
    }),
    responses: {
      ...Object.fromEntries(
        Object.entries(refusals).map(([status, description]) => [
          status,
          responseOf({ description }, schemas, true),
        ]),
      ),
      ...Object.fromEntries(
        Object.entries(route.answers).map(([status, answer]) => [
          status,
          responseOf(answer, schemas, Number(status) >= 400),
        ]),
      ),
    },
  };
}

function responseOf(
  { description, schema, type = 'application/json' }: AnswerShape,
  schemas: Schema,
  refused: boolean,
): Schema {
  const shape = refused ? errorBody : schema;
  if (!shape) return { description };
  return { description, content: { [type]: { schema: schemaOf(shape, 'output', schemas) } } };
}

function parametersOf(place: 'path' | 'query', shape: z.ZodType, schemas: Schema): Schema[] {
  const { properties, required } = schemaOf(shape, 'input', schemas);
  const needed = new Set(required as string[] | undefined);
  return Object.entries((properties ?? {}) as Record<string, Schema>).map(
    ([name, { description, ...schema }]) => ({
      name,
      in: place,
      required: place === 'path' || needed.has(name),
      ...(description !== undefined && { description }),
      schema,
    }),
  );
}

/** A schema as JSON; those with a name of their own go into `schemas`, and are referred to. */
function schemaOf(shape: z.ZodType, io: 'input' | 'output', schemas: Schema): Schema {
  const made = z.toJSONSchema(shape, { io, unrepresentable: 'any' }) as Schema;
  const text = JSON.stringify(made).replaceAll('"#/$defs/', '"#/components/schemas/');
  const {
    $schema: _,
    $defs = {},
    ...schema
  } = JSON.parse(text) as Schema & { $defs?: Record<string, Schema> };
  for (const [id, { id: __, ...definition }] of Object.entries($defs)) schemas[id] = definition;
  const { id, ...plain } = schema;
  if (typeof id !== 'string') return schema;
  schemas[id] = plain;
  return { $ref: `#/components/schemas/${id}` };
}

/** `getQueuesQueueMessages` of `GET /api/queues/{queue}/messages`. */
function operationId(method: string, path: string): string {
  const words = path.replace(/^\/(api\/)?/, '').match(/[A-Za-z0-9]+/g) ?? [];
  return method + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
}
