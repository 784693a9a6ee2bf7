/** The OpenAPI document is true: it is sound, has every route, and answers look as it says. */
import { Validator } from '@seriousme/openapi-schema-validator';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { z } from 'zod';
import { PROCESS_ROUTES } from '../../src/api/process-routes.ts';
import { QUEUE_ROUTES } from '../../src/api/queue-routes.ts';
import { newProcess } from '../../src/api/schemas.ts';
import { PROCESS_KEYS } from '../../src/supervisor/spec.ts';
import { Desk } from './desk.ts';

let desk: Desk;
let document: {
  openapi: string;
  paths: Record<string, Record<string, { operationId: string; responses: Record<string, unknown> }>>;
};
beforeAll(async () => {
  desk = await new Desk().open();
  document = (await desk.get('/api/openapi.json')).json;
});
afterAll(() => desk.close());

test('it is sound OpenAPI 3.1', async () => {
  const { valid, errors } = await new Validator().validate(structuredClone(document));
  expect(errors ?? []).toEqual([]);
  expect(valid).toBe(true);
  expect(document.openapi).toBe('3.1.0');
});

test('every route of the index is in it, and every path in it is a route', async () => {
  const { json } = await desk.get('/api/index');
  const routes = json.routes.map(({ method, path }: { method: string; path: string }) => `${method} ${path}`);
  const described = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
  );
  expect(described.toSorted()).toEqual(routes.toSorted());
  expect(described.length).toBeGreaterThan(20);
});

test('every path in it is answered, and nothing but these', async () => {
  for (const [path, operations] of Object.entries(document.paths)) {
    const real = path.replace('{queue}', 'none').replace('{name}', 'none').replace('{uuid}', 'x'.repeat(36));
    for (const method of ['GET', 'POST', 'DELETE', 'PUT', 'PATCH']) {
      const there = method.toLowerCase() in operations;
      if (path === '/api/events' && there) continue;
      const { status, json } = await desk.ask(method, real);
      const absent = status === 405 || json?.error?.code === 'NOT_FOUND';
      expect([method, path, absent]).toEqual([method, path, !there]);
      if (there) expect(Object.keys(operations[method.toLowerCase()]!.responses)).toContain(String(status));
    }
  }
});

test('each operation has a name of its own', () => {
  const names = Object.values(document.paths).flatMap((operations) =>
    Object.values(operations).map(({ operationId }) => operationId),
  );
  expect(new Set(names).size).toBe(names.length);
});

test('answers look as it says', async () => {
  await desk.queues.createQueue('mails');
  const check = (table: typeof QUEUE_ROUTES, method: string, path: string, status: number): z.ZodType =>
    table.find((route) => route.method === method && route.path === path)!.answers[status]!.schema!;
  const added = await desk.post('/api/queue/mails', {
    data: 1,
    dateTimeDeferredExecution: '2040-01-01T00:00:00Z',
  });
  const at = `/api/queues/mails/messages/${added.json.uuid}`;
  const claimable = await desk.queues.addMessage('mails', { data: 2 });
  await desk.queues.claimMessages('mails');
  await desk.queues.cancelMessage('mails', claimable.uuid);
  for (const [answer, schema] of [
    [added, check(QUEUE_ROUTES, 'post', '/api/queue/{queue}', 201)],
    [await desk.get(at), check(QUEUE_ROUTES, 'get', '/api/queues/{queue}/messages/{uuid}', 200)],
    [
      await desk.get('/api/queues/mails/messages'),
      check(QUEUE_ROUTES, 'get', '/api/queues/{queue}/messages', 200),
    ],
    [await desk.get('/api/queues'), check(QUEUE_ROUTES, 'get', '/api/queues', 200)],
    [await desk.get('/api/queues/mails'), check(QUEUE_ROUTES, 'get', '/api/queues/{queue}', 200)],
    [await desk.get('/api/processes'), check(PROCESS_ROUTES, 'get', '/api/processes', 200)],
  ] as const) {
    expect(schema.parse(answer.json)).toEqual(answer.json);
  }
});

test('a process may be given all the keys of a section, and no others', () => {
  const keys = Object.keys(newProcess.shape).filter((key) => !['name', 'params', 'save'].includes(key));
  expect(keys.toSorted()).toEqual(PROCESS_KEYS.toSorted());
});
