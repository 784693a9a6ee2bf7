/** The control API of a supervisor that runs, with real children, asked by curl. */
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Bench, type Ended, type Started } from '../cli/commands.ts';
import { freePort } from '../api/desk.ts';
import { status as statusSchema } from '../../src/api/schemas.ts';

const CAMERA = `
import { ManagedProcess } from 'coda-queue';
export default class Camera extends ManagedProcess {
  async run(signal) { if (!signal.aborted) await new Promise((end) => signal.addEventListener('abort', end)); }
  commandStatus() { return this.params.hangs === this.name ? new Promise(() => undefined) : { seen: 7 }; }
  commandZoom(args) { return { zoomed: args }; }
  commandBreak() { throw new Error('no lens at /srv/app/lens.ts:3'); }
  commandBlock() { for (;;); }
}
`;

let bench: Bench;
let supervisor: Started | undefined;
let socket: string;
beforeEach(() => {
  bench = new Bench();
  socket = join(bench.folder, 'var/supervisor.sock');
  bench.file('camera.mjs', CAMERA);
});
afterEach(async () => {
  if (supervisor) {
    supervisor.process.kill('SIGTERM');
    await supervisor.ended;
    supervisor = undefined;
  }
  await bench.close();
});

async function supervise(config: string): Promise<void> {
  bench.file('config.ini', `[queue]\ndurability = os\n${config}`);
  supervisor = bench.start('queue-daemon', ['supervise']);
  let ended: Ended | undefined;
  void supervisor.ended.then((end) => (ended = end));
  await expect
    .poll(() => ended?.stderr ?? existsSync(socket), { timeout: 30_000, message: 'the supervisor is up' })
    .toBe(true);
}

interface Curled {
  status: number;
  body: string;
  json: any; // oxlint-disable-line typescript/no-explicit-any -- whatever the API says
}

/** What curl gets, as a stranger would ask. */
async function curl(path: string, ...args: string[]): Promise<Curled> {
  const where = path.startsWith('http') ? [path] : ['--unix-socket', socket, `http://localhost${path}`];
  const { stdout } = await promisify(execFile)('curl', [
    '-sS',
    '--max-time',
    '30',
    '-w',
    '\n%{http_code}',
    '--noproxy',
    '*',
    ...args,
    ...where,
  ]);
  const cut = stdout.lastIndexOf('\n');
  const body = stdout.slice(0, cut);
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    // It is none.
  }
  return { status: Number(stdout.slice(cut + 1)), body, json };
}

const POST = ['-X', 'POST', '-H', 'Content-Type: application/json'];
const post = (path: string, body: unknown = {}): Promise<Curled> =>
  curl(path, ...POST, '-d', JSON.stringify(body));
const child = (id: string): Promise<Record<string, unknown>> =>
  curl(`/api/processes/${id.split('#')[0]}`).then(({ json }) =>
    json.children.find((each: { id: string }) => each.id === id),
  );
const running = async (name: string, count: number): Promise<void> => {
  const states = async (): Promise<string[]> =>
    (await curl(`/api/processes/${name}`)).json.children.map(({ state }: { state: string }) => state);
  await expect.poll(states, { timeout: 30_000 }).toEqual(Array.from({ length: count }, () => 'running'));
};

test('processes are looked at, commanded, added, scaled, stopped and removed', async () => {
  await supervise(
    '[process:camera]\nclass = ./camera.mjs\ninstances = 2\nparams.url = rtsp://user:pass@cam\n',
  );
  await running('camera', 2);
  const { json, body } = await curl('/api/status');
  expect(statusSchema.parse(json)).toEqual(json);
  expect(json.processes[0].children.map((each: { status: unknown }) => each.status)).toEqual([
    { result: { seen: 7 } },
    { result: { seen: 7 } },
  ]);
  expect(body).not.toContain('pass');
  expect(body).not.toContain(bench.folder);

  expect(
    (await post('/api/processes/camera/command', { command: 'zoom', args: { by: 2 } })).json.answers,
  ).toEqual([
    { child: 'camera#1', ok: true, result: { zoomed: { by: 2 } } },
    { child: 'camera#2', ok: true, result: { zoomed: { by: 2 } } },
  ]);
  const broken = await post('/api/processes/camera%231/command', { command: 'break' });
  expect(broken.json.answers).toMatchObject([
    { child: 'camera#1', ok: false, error: { code: 'COMMAND_FAILED' } },
  ]);
  expect(broken.body).toContain('no lens');
  expect(broken.body).not.toContain('/srv');

  expect(await post('/api/processes', { name: 'tunnel', exec: 'sleep 1000' })).toMatchObject({ status: 201 });
  await running('tunnel', 1);
  expect((await post('/api/processes/tunnel/scale', { instances: 3 })).json.wanted).toBe(3);
  await running('tunnel', 3);
  const { pid } = await child('tunnel#2');
  expect(
    (await post('/api/processes/tunnel/stop')).json.children.map((each: { state: string }) => each.state),
  ).toEqual(['stopped', 'stopped', 'stopped']);
  expect(() => process.kill(pid as number, 0)).toThrow('ESRCH');
  expect(
    (await curl('/api/processes/tunnel', '-X', 'DELETE', '-H', 'Content-Type: application/json')).status,
  ).toBe(204);
  expect((await curl('/api/processes/tunnel')).status).toBe(404);
});

test('a child that blocks its event loop delays the status by no more than the deadline', async () => {
  await supervise('[process:camera]\nclass = ./camera.mjs\ninstances = 3\n');
  await running('camera', 3);
  const blocked = post('/api/processes/camera%232/command', { command: 'block', deadline: 200 });
  expect((await blocked).json.answers).toMatchObject([{ ok: false, error: { code: 'COMMAND_TIMEOUT' } }]);
  const before = Date.now();
  const { json } = await curl('/api/status');
  expect(Date.now() - before).toBeLessThan(8000);
  const [one, two, three] = json.processes[0].children;
  expect([one.status, three.status]).toEqual([{ result: { seen: 7 } }, { result: { seen: 7 } }]);
  expect(two.status).toMatchObject({ error: { code: 'COMMAND_TIMEOUT' } });
  process.kill(two.pid, 'SIGKILL');
});

test('a message that curl adds is there for everybody', async () => {
  await supervise('');
  expect((await bench.queue('create', 'mails')).code).toBe(0);
  const { status, json } = await post('/api/queue/mails', { data: { to: 'a' }, alias: 'x' });
  expect(status).toBe(201);
  expect(await bench.json('show', 'mails', json.uuid)).toMatchObject({
    data: { to: 'a' },
    alias: 'x',
  });
  expect((await curl('/api/queues/mails')).json.counts.ready).toBe(1);
  expect((await curl('/metrics')).body).toContain('coda_queue_messages{queue="mails",state="ready"} 1');
});

test('events come to curl as they happen, and again to one that comes back', async () => {
  await supervise('[process:camera]\nclass = ./camera.mjs\n');
  await running('camera', 1);
  const listener = spawn('curl', [
    '-sN',
    '--max-time',
    '60',
    '--unix-socket',
    socket,
    'http://localhost/api/events?since=0',
  ]);
  let heard = '';
  listener.stdout.setEncoding('utf8').on('data', (text: string) => (heard += text));
  const ended = new Promise((resolve) => listener.once('close', resolve));
  try {
    await expect.poll(() => heard, { timeout: 20_000 }).toMatch(/event: running\ndata: .*"child":"camera#1"/);
    const { pid } = await child('camera#1');
    process.kill(pid as number, 'SIGKILL');
    await expect
      .poll(() => heard, { timeout: 20_000 })
      .toMatch(/event: (waiting|failed|ended)\ndata: .*"child":"camera#1"/);
  } finally {
    listener.kill('SIGKILL');
    await ended;
  }
  const ids = [...heard.matchAll(/^id: (.*)$/gm)].map(([, id = '']) => id);
  expect(ids.map((id) => Number(id.split('-')[1]))).toEqual(ids.map((_, index) => index + 1));
  const again = await bench.run('queue-daemon', ['ctl', 'events', '--past', '--limit', '3', '--json']);
  expect(again.stdout.trim().split('\n')).toHaveLength(3);
});

test('over TCP curl is let in with the token alone', async () => {
  const port = await freePort();
  await supervise(`[api]\napiPort = ${port}\n`);
  const at = `http://127.0.0.1:${port}`;
  expect((await curl(`${at}/api/status`)).status).toBe(401);
  const file = join(bench.folder, 'var/api.token');
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const token = readFileSync(file, 'utf8').trim();
  expect((await curl(`${at}/api/status`, '-H', `Authorization: Bearer ${token}`)).status).toBe(200);
  expect(
    (await curl(`${at}/healthz`, '-H', `Authorization: Bearer ${token}`, '-H', 'Host: evil.example')).status,
  ).toBe(403);
});

test('when the supervisor is killed its socket is taken over by the next, and ctl says so in between', async () => {
  await supervise('');
  supervisor!.process.kill('SIGKILL');
  await supervisor!.ended;
  expect(existsSync(socket)).toBe(true);
  expect((await bench.run('queue-daemon', ['ctl', 'status'])).code).toBe(69);
  supervisor = bench.start('queue-daemon', ['supervise']);
  await expect
    .poll(async () => (await bench.run('queue-daemon', ['ctl', 'status'])).code, {
      timeout: 30_000,
      interval: 500,
    })
    .toBe(0);
  expect((await curl('/healthz')).status).toBe(200);
});

test('a reload moves the socket, and a controller is there when its folder is', async () => {
  mkdirSync(join(bench.folder, 'controllers'));
  bench.file(
    'controllers/helloController.mjs',
    'export default class { actionIndex({ control }) { return control.status().name } }',
  );
  await supervise('');
  expect((await curl('/api/hello')).json).toBe('supervisor');
  const before = socket;
  socket = join(bench.folder, 'other.sock');
  bench.file('config.ini', '[api]\napiSocket = ./other.sock\n');
  supervisor!.process.kill('SIGHUP');
  await expect.poll(() => existsSync(socket), { timeout: 20_000 }).toBe(true);
  expect((await curl('/api/hello')).status).toBe(200);
  expect(existsSync(before)).toBe(false);
});
