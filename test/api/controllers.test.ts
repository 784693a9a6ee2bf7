/** Actions of the user's own. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Desk, freePort } from './desk.ts';

let desk: Desk;
beforeEach(() => {
  desk = new Desk();
  mkdirSync(join(desk.folder, 'controllers'));
});
afterEach(() => desk.close());

function controller(file: string, text: string): void {
  writeFileSync(join(desk.folder, 'controllers', file), text);
}

const REPORTS = `
import { QueueError, type Json } from 'coda-queue';
interface Context { queues: { addMessage(queue: string, message: { data: Json }): Promise<{ uuid: string }> };
  control: { status(): { name: string } }; query: Record<string, string>; body: Json; method: string; log: { info(text: string): void } }
class Base { actionInherited(): string { return 'from above'; } }
export default class ReportsController extends Base {
  readonly name = 'reports';
  actionIndex({ control }: Context): Json { return { of: control.status().name, by: this.name }; }
  async actionSendPDFNow({ queues, query, body, method, log }: Context): Promise<Json> {
    log.info('sending');
    const { uuid } = await queues.addMessage('mails', { data: { query, body, method } });
    return uuid;
  }
  actionNothing(): void {}
  actionRefuse(): never { throw new QueueError('QUEUE_FULL', 'no more'); }
  actionBreak(): never { throw new Error('secret /srv/app/x.ts'); }
  actionReject(): Promise<never> { return Promise.reject('just text'); }
  actionOdd(): bigint { return 1n; }
  helper(): string { return 'not an action'; }
}
`;

test('a method action<Name> appears below /api/<name>, index as that itself', async () => {
  controller('reportsController.ts', REPORTS);
  await desk.open();
  await desk.queues.createQueue('mails');
  expect((await desk.get('/api/reports')).json).toEqual({ of: 'supervisor', by: 'reports' });
  const { status, json } = await desk.post('/api/reports/send-pdf-now?to=a', { n: 1 });
  expect(status).toBe(200);
  expect((await desk.queues.findMessage('mails', { uuid: json }))?.data).toEqual({
    query: { to: 'a' },
    body: { n: 1 },
    method: 'POST',
  });
  expect((await desk.get('/api/reports/inherited')).json).toBe('from above');
  expect(await desk.get('/api/reports/nothing')).toMatchObject({ status: 204, text: '' });
  for (const path of ['helper', 'index', 'constructor', 'action-index', 'sendPDFNow'])
    expect((await desk.get(`/api/reports/${path}`)).status).toBe(404);
});

test('what goes wrong in it is told to the log, not to the caller', async () => {
  controller('reportsController.ts', REPORTS);
  await desk.open();
  expect(await desk.get('/api/reports/refuse')).toMatchObject({
    status: 507,
    json: { error: { code: 'QUEUE_FULL', message: 'no more' } },
  });
  for (const action of ['break', 'reject', 'odd']) {
    const { status, text } = await desk.get(`/api/reports/${action}`);
    expect([action, status]).toEqual([action, 500]);
    expect(text).not.toMatch(/secret|srv|just text|stack|\bat\b/);
  }
  expect(desk.log.map(({ text }) => text)).toContain('GET /api/reports/break: secret /srv/app/x.ts');
});

test('it is in the index and in the document, which stays sound', async () => {
  controller('reportsController.ts', REPORTS);
  await desk.open();
  const { json: document } = await desk.get('/api/openapi.json');
  expect(Object.keys(document.paths['/api/reports/send-pdf-now'])).toEqual(['get', 'post']);
  expect((await new Validator().validate(document)).valid).toBe(true);
  const { json: index } = await desk.get('/api/index');
  expect(index.routes).toContainEqual(expect.objectContaining({ method: 'GET', path: '/api/reports' }));
});

test('nothing of ours can be hidden', async () => {
  for (const name of ['status', 'queue', 'queues', 'processes', 'events', 'index'])
    controller(
      `${name}Controller.js`,
      'export default class { actionIndex() { return "mine" } actionStop() { return "mine" } }',
    );
  await desk.open();
  expect((await desk.get('/api/status')).json.master).toBeDefined();
  expect((await desk.get('/api/queues')).json.queues).toEqual([]);
  expect((await desk.get('/api/queue/stop')).status).toBe(405);
  expect(desk.log.filter(({ text }) => /controller \w+ is left out.* is taken/.test(text))).toHaveLength(6);
});

test('one that cannot be loaded is left out, and hides no other', async () => {
  controller('brokenController.js', 'export default class {');
  controller('emptyController.js', 'export default class { helper() {} }');
  controller(
    'throwsController.js',
    'export default class { constructor() { throw new Error("no") } actionIndex() {} }',
  );
  controller('objectController.js', 'export default { actionIndex() {} }');
  controller('Bad NameController.js', 'export default class { actionIndex() {} }');
  controller('goodController.mjs', 'export default class { actionIndex() { return 1 } }');
  await desk.open();
  expect((await desk.get('/api/good')).json).toBe(1);
  for (const name of ['broken', 'empty', 'throws', 'object']) {
    expect((await desk.get(`/api/${name}`)).status).toBe(404);
    expect(desk.log.map(({ text }) => text)).toContainEqual(
      expect.stringMatching(`controller ${name} is left out`),
    );
  }
});

test('the read-only token does not reach it, for what it does is not known', async () => {
  controller('goodController.mjs', 'export default class { actionIndex() { return 1 } }');
  await desk.open({ apiPort: await freePort() });
  const { readFileSync } = await import('node:fs');
  const token = (name: string): string =>
    readFileSync(join(desk.config.daemon.stateDir, name), 'utf8').trim();
  const ask = (name: string) => desk.overTcp('GET', '/api/good', { Authorization: `Bearer ${token(name)}` });
  expect((await ask('api-read.token')).status).toBe(403);
  expect((await ask('api.token')).status).toBe(200);
});

test('its signal fires when the client goes', async () => {
  controller(
    'slowController.mjs',
    `export default class { async actionIndex({ signal, log }) {
       log.info('waiting');
       await new Promise((resolve) => signal.addEventListener('abort', resolve));
       log.info('left');
     } }`,
  );
  await desk.open();
  const said = (text: string): Promise<void> =>
    expect.poll(() => desk.log.some((line) => line.text === text), { timeout: 10_000 }).toBe(true);
  const socket = desk.connect();
  socket.write('GET /api/slow HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await said('waiting');
  socket.destroy();
  await said('left');
});
