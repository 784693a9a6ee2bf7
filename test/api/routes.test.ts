/** What can be asked for, and what is answered. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { QueueError } from '../../src/errors.ts';
import { errorBody, status as statusSchema } from '../../src/api/schemas.ts';
import { specOf, FakeSupervisor } from './fake-supervisor.ts';
import { Desk } from './desk.ts';

let desk: Desk;
beforeEach(async () => {
  desk = await new Desk().open();
});
afterEach(() => desk.close());

describe('queues', () => {
  beforeEach(() => desk.queues.createQueue('mails'));

  test('a message is added, and found where the answer says', async () => {
    const added = await desk.post('/api/queue/mails', { data: { to: 'a' }, alias: 'x', retries: 2 });
    expect(added.status).toBe(201);
    expect(added.headers.location).toBe(`/api/queues/mails/messages/${added.json.uuid}`);
    const found = await desk.get(added.headers.location!);
    expect(found).toMatchObject({
      status: 200,
      json: { data: { to: 'a' }, alias: 'x', retries: 2, state: 'ready' },
    });
  });

  test('a message can be put off', async () => {
    const due = '2040-01-02T03:04:05+01:00';
    const { json } = await desk.post('/api/queues/mails/messages', {
      data: 1,
      dateTimeDeferredExecution: due,
    });
    expect(json).toMatchObject({ state: 'deferred', dateTimeDeferredExecution: '2040-01-02T02:04:05.000Z' });
  });

  test('a second message of a unique alias is the first, and nothing is added', async () => {
    await desk.queues.createQueue('once', { uniqueAlias: true });
    const first = await desk.post('/api/queue/once', { data: 1, alias: 'a' });
    const second = await desk.post('/api/queue/once', { data: 2, alias: 'a' });
    expect(second).toMatchObject({ status: 200, json: { uuid: first.json.uuid, duplicate: true, data: 1 } });
  });

  test('keys that objects have anyway stay what they are: data', async () => {
    const { json } = await desk.post('/api/queue/mails', '{"data":{"__proto__":{"x":1},"constructor":2}}');
    const found = await desk.get(`/api/queues/mails/messages/${json.uuid}`);
    expect(found.text).toContain('"data":{"__proto__":{"x":1},"constructor":2}');
  });

  test('messages are listed in order, as many as are asked for, those that match', async () => {
    for (let n = 0; n < 5; n++)
      await desk.post('/api/queue/mails', { data: n, alias: n % 2 ? 'odd' : 'even' });
    const { json } = await desk.get(
      '/api/queues/mails/messages?limit=2&alias=even&state=ready&disabled=false',
    );
    expect(json.messages.map((each: { data: number }) => each.data)).toEqual([0, 2]);
    expect(json.more).toBe(true);
    expect((await desk.get('/api/queues/mails/messages')).json).toMatchObject({ more: false });
  });

  test('a list of large messages ends early, and says so', async () => {
    const data = 'x'.repeat(1_000_000);
    for (let n = 0; n < 10; n++) await desk.queues.addMessage('mails', { data });
    const { json, text } = await desk.get('/api/queues/mails/messages');
    expect(json.more).toBe(true);
    expect(text.length).toBeLessThan(10_000_000);
  });

  test('the stack of a failed try stays inside', async () => {
    await desk.queues.addMessage('mails', { data: 1 });
    const [claim] = await desk.queues.claimMessages('mails');
    await desk.queues.failMessage('mails', claim!, new Error('no luck'));
    const { json, text } = await desk.get(`/api/queues/mails/messages/${claim!.uuid}`);
    expect(json.errors).toMatchObject([{ message: 'no luck' }]);
    expect(text).not.toContain('stack');
  });

  test('a failed message is retried, one that has not failed is left, a cancelled one stands as failed', async () => {
    const { json } = await desk.post('/api/queue/mails', { data: 1 });
    const at = `/api/queues/mails/messages/${json.uuid}`;
    expect((await desk.post(`${at}/retry`)).json).toEqual({ changed: false });
    expect((await desk.post(`${at}/cancel`, { reason: 'not wanted' })).json).toEqual({ changed: true });
    expect((await desk.get(at)).json).toMatchObject({ state: 'failed', errors: [{ message: 'not wanted' }] });
    expect((await desk.post(`${at}/retry`)).json).toEqual({ changed: true });
    expect((await desk.get(at)).json.state).toBe('ready');
  });

  test('a removed message is gone', async () => {
    const { json } = await desk.post('/api/queue/mails', { data: 1 });
    const at = `/api/queues/mails/messages/${json.uuid}`;
    expect(await desk.ask('DELETE', at)).toMatchObject({ status: 204, text: '' });
    expect(await desk.ask('DELETE', at)).toMatchObject({
      status: 404,
      json: { error: { code: 'MESSAGE_NOT_FOUND' } },
    });
    expect((await desk.get(at)).status).toBe(404);
  });

  test('a queue is paused and resumed', async () => {
    expect((await desk.post('/api/queues/mails/pause')).json).toEqual({ changed: true });
    expect((await desk.post('/api/queues/mails/pause')).json).toEqual({ changed: false });
    expect((await desk.get('/api/queues/mails')).json.paused).toBe(true);
    expect((await desk.post('/api/queues/mails/resume')).json).toEqual({ changed: true });
    expect((await desk.get('/api/queues')).json.queues).toMatchObject([{ queue: 'mails', paused: false }]);
  });

  test('what the queue refuses has the status that fits', async () => {
    await desk.queues.createQueue('full', { maxMessages: 1 });
    await desk.post('/api/queue/full', { data: 1 });
    const codes = async (path: string, body: unknown): Promise<unknown[]> => {
      const { status, json } = await desk.post(path, body);
      return [status, json.error.code];
    };
    expect(await codes('/api/queue/none', { data: 1 })).toEqual([404, 'QUEUE_NOT_FOUND']);
    expect(await codes('/api/queue/full', { data: 2 })).toEqual([507, 'QUEUE_FULL']);
    expect(await codes('/api/queue/mails', { data: 1, alias: 'x'.repeat(1025) })).toEqual([
      422,
      'INVALID_MESSAGE',
    ]);
    expect(await codes('/api/queue/mails', { data: 1, colour: 'red' })).toEqual([422, 'INVALID_REQUEST']);
    expect(await codes('/api/queue/mails', { alias: 'a' })).toEqual([422, 'INVALID_REQUEST']);
  });
});

describe('processes', () => {
  test('all is shown but for paths and parameters', async () => {
    desk.supervisor.setChild('cam#1', {
      lastEnd: {
        at: new Date(),
        why: 'Error: ENOENT, open "/srv/app/secrets.txt" at file:///srv/app/cam.ts:3',
        failed: true,
      },
    });
    const { json, text } = await desk.get('/api/processes/cam');
    expect(json).toMatchObject({ name: 'cam', kind: 'class', target: 'cam.ts', wanted: 1 });
    expect(json.children[0]).toMatchObject({ id: 'cam#1', state: 'running', pid: 4001, healthy: null });
    expect(text).not.toMatch(/srv|password|secret\b/);
    expect(json.children[0].lastEnd.why).toContain('"…/secrets.txt"');
  });

  test('a process is added, saved, and removed', async () => {
    const given = { name: 'mails', worker: 'mails', instances: 3, save: true };
    const added = await desk.post('/api/processes', given);
    expect(added).toMatchObject({ status: 201, headers: { location: '/api/processes/mails' } });
    expect(added.json).toMatchObject({ name: 'mails', kind: 'worker', target: 'mails', wanted: 3 });
    expect(await desk.post('/api/processes', given)).toMatchObject({
      status: 409,
      json: { error: { code: 'PROCESS_EXISTS' } },
    });
    expect((await desk.ask('DELETE', '/api/processes/mails?save=true')).status).toBe(204);
    expect((await desk.get('/api/processes/mails')).json.error.code).toBe('UNKNOWN_PROCESS');
    expect(desk.supervisor.asked).toEqual([
      { verb: 'add', target: 'mails', options: { by: 'socket', save: true } },
      { verb: 'add', target: 'mails', options: { by: 'socket', save: true } },
      { verb: 'remove', target: 'mails', options: { by: 'socket', save: true } },
    ]);
  });

  test('a key that would be dropped without a word is refused', async () => {
    for (const body of [
      '{"name":"x","exec":"a","__proto__":{}}',
      '{"name":"x","class":"a","params":{"__proto__":1}}',
    ])
      expect((await desk.post('/api/processes', body)).status).toBe(422);
    expect((await desk.post('/api/queue/none', '{"data":1,"__proto__":{}}')).json.error.code).toBe(
      'INVALID_REQUEST',
    );
    expect(desk.supervisor.asked).toEqual([]);
  });

  test('a process that is none is refused, and what is wrong is said', async () => {
    const { status, json } = await desk.post('/api/processes', { name: 'x', worker: 'mails', exec: 'ls' });
    expect([status, json.error.code]).toEqual([422, 'CONFIG_INVALID']);
    expect(json.error.message).toContain('worker and exec');
  });

  test.for(['start', 'stop', 'restart', 'reset'])(
    '%s is done to a process, or to one child',
    async (verb) => {
      expect((await desk.post(`/api/processes/cam/${verb}`)).json.name).toBe('cam');
      expect((await desk.post(`/api/processes/cam%231/${verb}`, { save: false })).status).toBe(200);
      expect(desk.supervisor.asked).toEqual([
        { verb, target: 'cam', options: { by: 'socket' } },
        { verb, target: 'cam#1', options: { by: 'socket', save: false } },
      ]);
      expect((await desk.post(`/api/processes/cam%239/${verb}`)).json.error.code).toBe('UNKNOWN_PROCESS');
    },
  );

  test('a process is scaled', async () => {
    const { json } = await desk.post('/api/processes/cam/scale', { instances: 3 });
    expect(json.children.map(({ id }: { id: string }) => id)).toEqual(['cam#1', 'cam#2', 'cam#3']);
    expect((await desk.post('/api/processes/cam/scale', { instances: -1 })).status).toBe(422);
    expect((await desk.post('/api/processes/cam/scale', {})).status).toBe(422);
  });

  test('of a child that does not read, and of a disk that is full, the caller is told', async () => {
    desk.supervisor.answer = async (child) => {
      throw new QueueError('CHILD_BUSY', `${child} does not read`);
    };
    const { json } = await desk.post('/api/processes/cam/command', { command: 'zoom' });
    expect(json.answers).toEqual([
      { child: 'cam#1', ok: false, error: { code: 'CHILD_BUSY', message: 'cam#1 does not read' } },
    ]);
    desk.supervisor.add = async () => {
      throw new QueueError('STORAGE_FULL', 'the change cannot be kept in "/srv/var/x.json": ENOSPC');
    };
    expect(await desk.post('/api/processes', { name: 'x', exec: 'a', save: true })).toMatchObject({
      status: 507,
      json: { error: { code: 'STORAGE_FULL', message: expect.not.stringContaining('srv') } },
    });
  });

  test('a command is put to all children, and each answers for itself', async () => {
    await desk.post('/api/processes/cam/scale', { instances: 3 });
    desk.supervisor.answer = async (child, command, args) => {
      if (child === 'cam#2') return new Promise(() => undefined);
      return { child, command, args };
    };
    const { json } = await desk.post('/api/processes/cam/command', {
      command: 'zoom',
      args: [2],
      deadline: 50,
    });
    expect(json.answers).toEqual([
      { child: 'cam#1', ok: true, result: { child: 'cam#1', command: 'zoom', args: [2] } },
      {
        child: 'cam#2',
        ok: false,
        error: { code: 'COMMAND_TIMEOUT', message: expect.stringContaining('50 ms') },
      },
      { child: 'cam#3', ok: true, result: { child: 'cam#3', command: 'zoom', args: [2] } },
    ]);
  });

  test('what is done to processes is logged, with who did it', async () => {
    await desk.post('/api/processes/cam/stop');
    expect(desk.log).toContainEqual({
      level: 'INFO',
      text: 'stop a process',
      fields: { process: 'cam', saved: false, by: 'socket' },
    });
  });
});

describe('the status', () => {
  test('holds the supervisor, what children say of themselves, and all queues', async () => {
    await desk.queues.createQueue('mails');
    desk.supervisor.answer = async (child, command) => ({ child, command });
    const { json } = await desk.get('/api/status');
    expect(statusSchema.parse(json)).toEqual(json);
    expect(json.master).toMatchObject({ name: 'supervisor', state: 'running', pid: process.pid });
    expect(json.processes[0].children[0].status).toEqual({ result: { child: 'cam#1', command: 'status' } });
    expect(json.queues).toMatchObject([{ queue: 'mails', counts: { ready: 0 } }]);
  });

  test('a class that has nothing to say of itself says nothing', async () => {
    const { json } = await desk.get('/api/status');
    expect(json.processes[0].children[0]).not.toHaveProperty('status');
  });

  test('a hung child delays it by no more than the deadline, and hides nobody', async () => {
    await desk.supervisor.scale('cam', 50);
    desk.supervisor.answer = (child) =>
      child === 'cam#7' ? new Promise(() => undefined) : Promise.resolve('well');
    const before = Date.now();
    const { json } = await desk.get('/api/status');
    expect(Date.now() - before).toBeLessThan(4000);
    const answers = json.processes[0].children.map((child: { status: unknown }) => child.status);
    expect(answers[6]).toMatchObject({ error: { code: 'COMMAND_TIMEOUT' } });
    expect(answers.filter((each: { result?: string }) => each.result === 'well')).toHaveLength(49);
  });

  test('a hundred who ask at once cost the children one question', async () => {
    let questions = 0;
    desk.supervisor.answer = async () => {
      questions++;
      await new Promise((resolve) => setTimeout(resolve, 300));
      return null;
    };
    const all = await Promise.all(Array.from({ length: 100 }, () => desk.get('/api/status')));
    expect(all.every(({ status }) => status === 200)).toBe(true);
    expect(questions).toBeLessThan(5);
  });
});

describe('life and readiness', () => {
  test('the supervisor is alive, and ready while all children run', async () => {
    expect(await desk.get('/healthz')).toMatchObject({ status: 200, json: { alive: true } });
    expect(await desk.get('/readyz')).toMatchObject({ status: 200, json: { ready: true } });
    desk.supervisor.setChild('cam#1', { state: 'waiting' });
    expect(await desk.get('/readyz')).toMatchObject({
      status: 503,
      json: { error: { code: 'NOT_READY', message: 'cam: 0 of 1 children run' } },
    });
    expect((await desk.get('/healthz')).status).toBe(200);
  });

  test('what nobody starts by itself need not run', async () => {
    await desk.close();
    desk = new Desk();
    desk.supervisor = new FakeSupervisor(specOf('spare', { autostart: false }));
    await desk.open();
    desk.supervisor.setChild('spare#1', { state: 'stopped' });
    expect((await desk.get('/readyz')).status).toBe(200);
  });

  test('queues that cannot be used are not ready', async () => {
    await desk.queues.close();
    const { status, text } = await desk.get('/readyz');
    expect(status).toBe(503);
    expect(text).not.toContain(desk.folder);
  });
});

describe('refusals', () => {
  test.for([
    ['GET', '/', 404, 'NOT_FOUND'],
    ['GET', '/api/nothing', 404, 'NOT_FOUND'],
    ['GET', '/api/queues/..%2f..%2fetc', 422, 'INVALID_REQUEST'],
    ['GET', '/api/queues/__proto__', 404, 'QUEUE_NOT_FOUND'],
    ['GET', '/api/queues/%00', 422, 'INVALID_REQUEST'],
    ['GET', '/api/queues/%E0%A4', 422, 'INVALID_REQUEST'],
    ['GET', '/api/queues/x/messages?limit=1001', 422, 'INVALID_REQUEST'],
    ['GET', '/api/queues/x/messages?order=up', 422, 'INVALID_REQUEST'],
    ['PUT', '/api/queues', 405, 'METHOD_NOT_ALLOWED'],
    ['POST', '/api/status', 405, 'METHOD_NOT_ALLOWED'],
    ['DELETE', '/metrics', 405, 'METHOD_NOT_ALLOWED'],
    ['GET', '/api/processes/__proto__', 404, 'UNKNOWN_PROCESS'],
    ['POST', '/api/processes/constructor/stop', 404, 'UNKNOWN_PROCESS'],
    ['DELETE', '/api/processes/..', 404, 'NOT_FOUND'],
  ] as const)('%s %s is %d %s', async ([method, path, status, code]) => {
    const answer = await desk.ask(method, path);
    expect([answer.status, answer.json?.error.code]).toEqual([status, code]);
    expect(errorBody.parse(answer.json)).toEqual(answer.json);
  });

  test('a method that is not there is told which are', async () => {
    expect((await desk.ask('PATCH', '/api/processes')).headers.allow).toBe('GET, POST');
  });

  test('a defect says nothing of itself, but to the log', async () => {
    desk.supervisor.status = () => {
      throw new TypeError('cannot read /srv/app/secret.ts');
    };
    const { status, json } = await desk.get('/api/processes');
    expect(status).toBe(500);
    expect(json.error).toEqual({
      code: 'INTERNAL',
      message: 'this could not be done; the log of the supervisor says why',
    });
    expect(desk.log).toContainEqual(
      expect.objectContaining({ level: 'ERROR', text: 'GET /api/processes: cannot read /srv/app/secret.ts' }),
    );
  });
});
