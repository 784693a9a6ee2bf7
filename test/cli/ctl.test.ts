/** `queue-daemon ctl`: what people type, what the supervisor is asked, and what they are told. */
import { mkdirSync, realpathSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Client } from '../../bin/queue-daemon/ctl/client.ts';
import { QueueError } from '../../src/errors.ts';
import { Desk } from '../api/desk.ts';
import { specOf, FakeSupervisor } from '../api/fake-supervisor.ts';
import { Bench, parsedLines, type Ended, type Started } from './commands.ts';
import { HOSTILE } from './hostile-queue.ts';
import { CONTROLS_IN_LINES } from '../support/controls.ts';

let desk: Desk;
let bench: Bench;
beforeEach(async () => {
  bench = new Bench();
  desk = await new Desk().open();
});
afterEach(async () => {
  await desk.close();
  await bench.close();
});

const ENV = (): Record<string, string> => ({ CODA_STATE_DIR: join(desk.folder, 'var') });
const ctl = (...args: string[]): Promise<Ended> => bench.run('queue-daemon', ['ctl', ...args], '', ENV());
const start = (...args: string[]): Started => bench.start('queue-daemon', ['ctl', ...args], ENV());

describe('status', () => {
  test('is a table of the children', async () => {
    await desk.supervisor.scale('cam', 2);
    desk.supervisor.answer = async (child) => ({ of: child });
    const { code, stdout, stderr } = await ctl('status');
    expect([code, stderr]).toEqual([0, '']);
    const lines = stdout.split('\n');
    expect(lines[0]).toMatch(new RegExp(`^supervisor: running, process ${process.pid}, for `));
    expect(lines[1]).toMatch(/^process +kind +child +state +pid +for +restarts +memory$/);
    expect(lines[2]).toMatch(/^cam +class +#1 +running +4001 .* 0 +50 MB +\{"of":"cam#1"\}$/);
    expect(lines[3]).toMatch(/^cam +class +#2 +running +4002 /);
  });

  test('as JSON it is all that the supervisor says', async () => {
    const { stdout } = await ctl('status', '--json');
    expect(JSON.parse(stdout)).toMatchObject({
      master: { name: 'supervisor' },
      processes: [{ name: 'cam' }],
      queues: [],
    });
    expect(JSON.parse((await ctl('status', 'cam', '--json')).stdout)).toMatchObject({ name: 'cam' });
  });

  test('what has failed is in the exit code, and why is told', async () => {
    desk.supervisor.setChild('cam#1', {
      state: 'failed',
      pid: undefined,
      lastEnd: { at: new Date(), why: 'was ended by SIGSEGV', failed: true },
    });
    const { code, stdout } = await ctl('status');
    expect(code).toBe(1);
    expect(stdout).toMatch(/^cam +class +#1 +failed +0 +was ended by SIGSEGV$/m);
  });

  test('nothing that a child says of itself reaches the terminal raw', async () => {
    desk.supervisor.answer = async () => HOSTILE;
    desk.supervisor.setChild('cam#1', {
      lastEnd: { at: new Date(), why: HOSTILE, failed: true },
      state: 'waiting',
    });
    for (const args of [
      ['status'],
      ['status', '--json'],
      ['command', 'cam', 'status'],
      ['status', HOSTILE],
    ]) {
      const { stdout, stderr } = await ctl(...args);
      expect(CONTROLS_IN_LINES.exec(stdout + stderr)).toBeNull();
    }
  });
});

describe('changes', () => {
  test.for(['start', 'stop', 'restart', 'reset'])('%s', async (verb) => {
    const { code, stdout } = await ctl(verb, 'cam#1');
    expect([code, stdout]).toMatchObject([0, expect.stringMatching(/^cam#1: \w+; 1 (running|stopped)\n$/)]);
    expect(desk.supervisor.asked).toEqual([{ verb, target: 'cam#1', options: { by: 'socket' } }]);
    expect(JSON.parse((await ctl(verb, 'cam', '--json')).stdout)).toMatchObject({ name: 'cam' });
  });

  test('scale, remove, and that they are kept', async () => {
    expect((await ctl('scale', 'cam', '3', '--save')).stdout).toBe('cam: 3 children wanted; 3 running\n');
    expect((await ctl('stop', 'cam', '--save')).code).toBe(0);
    expect((await ctl('remove', 'cam', '--save')).stdout).toBe('cam: removed\n');
    expect(desk.supervisor.asked.map(({ verb, options }) => [verb, options.save])).toEqual([
      ['scale', true],
      ['stop', true],
      ['remove', true],
    ]);
  });

  test('one that is not done for a child is a failure, and no supervisor that is missing', async () => {
    desk.supervisor.restart = async () => {
      throw new QueueError('CHILD_GONE', 'somebody has stopped cam#1 meanwhile');
    };
    const { code, stdout, stderr } = await ctl('restart', 'cam');
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toBe('queue-daemon: somebody has stopped cam#1 meanwhile (CHILD_GONE)\n');
  });

  test('add takes the keys of a section, and paths from here', async () => {
    let spec: unknown;
    const add = desk.supervisor.add.bind(desk.supervisor);
    desk.supervisor.add = (given, options) => {
      spec = given;
      return add(given, options);
    };
    const here = realpathSync(bench.folder);
    const added = await ctl(
      'add',
      'eye',
      'class=./eye.ts',
      'params.url=rtsp://x?a=b',
      'params.n=1',
      'memoryLimit=10MiB',
    );
    expect(added).toMatchObject({ code: 0, stdout: 'eye: added; 1 running\n' });
    expect(spec).toMatchObject({
      kind: 'class',
      target: join(here, 'eye.ts'),
      params: { url: 'rtsp://x?a=b', n: '1' },
      memoryLimit: 10 * 1024 ** 2,
    });
    expect((await ctl('add', 'job', 'exec=./job.sh "a b" c', 'autostart=false')).code).toBe(0);
    expect(spec).toMatchObject({
      kind: 'exec',
      target: join(here, 'job.sh'),
      args: ['a b', 'c'],
      autostart: false,
    });
    expect((await ctl('add', 'up', 'exec=uptime')).code).toBe(0);
    expect(spec).toMatchObject({ target: 'uptime' });
  });

  test.for([
    [['add', 'x'], /missing required argument 'settings'/],
    [['add', 'x', 'exec'], /expected key=value, received "exec"/],
    [['add', 'x', '=1'], /expected key=value/],
    [['add', 'x', 'exec=a', 'exec=b'], /expected once, received again/],
    [['add', 'x', 'exec=a', 'instances=many'], /instances: expected a whole number/],
    [['add', 'x', 'exec=a', 'instanzes=2'], /did you mean instances\?/],
    [['add', 'x', 'exec=a', '__proto__=2'], /unknown key/],
    [['add', 'x', 'class=a.ts', 'params.__proto__=2'], /names of 1 to 64/],
    [['add', '../x', 'exec=a'], /name/],
    [['add', 'cam', 'exec=a'], /PROCESS_EXISTS/],
    [['scale', 'cam', '-1'], /instances|unknown option/],
    [['scale', 'cam', '1000'], /from 0 to 512/],
    [['stop'], /missing required argument 'process'/],
    [['stop', 'none'], /UNKNOWN_PROCESS/],
    [['stop', '../../healthz'], /expected the name of a process/],
    [['stop', 'cam#x'], /expected the name of a process/],
    [['status', 'none'], /no process named "none"; known: cam/],
    [['command', 'cam', 'zoom', '{bad'], /expected args as JSON/],
    [['command', 'cam', '../x'], /expected the name of a command/],
    [['command', 'cam', 'zoom', '--deadline', '1h'], /expected/i],
    [['stat'], /unknown command 'stat'/],
  ] as const)('%j is misuse, and told in one line', async ([args, said]) => {
    const { code, stdout, stderr } = await ctl(...args);
    expect([code, stdout, stderr.trim().split('\n').length]).toEqual([64, '', 1]);
    expect(stderr).toMatch(/^queue-daemon: /);
    expect(stderr).toMatch(said);
    expect(desk.supervisor.asked.filter(({ verb }) => verb !== 'add')).toEqual([]);
  });
});

describe('command', () => {
  test('prints what each child answers, and why one does not', async () => {
    await desk.supervisor.scale('cam', 2);
    desk.supervisor.answer = async (child, command, args) => {
      if (child === 'cam#2') throw new QueueError('COMMAND_FAILED', `no\u001b lens`);
      return { command, args };
    };
    const { code, stdout } = await ctl('command', 'cam', 'zoom', '{"factor": 2}');
    expect(code).toBe(1);
    expect(stdout.split('\n').slice(1, 3)).toEqual([
      'cam#1  ok              {"command":"zoom","args":{"factor":2}}',
      'cam#2  COMMAND_FAILED  no\\u001b lens',
    ]);
    const json = await ctl('command', 'cam', 'zoom', '--json');
    expect(JSON.parse(json.stdout)).toMatchObject([{ ok: true }, { ok: false }]);
  });

  test('waits for each child no longer than it is told to', async () => {
    desk.supervisor.answer = () => new Promise(() => undefined);
    const { code, stdout } = await ctl('command', 'cam', 'hang', '--deadline', '100ms');
    expect(code).toBe(1);
    expect(stdout).toContain('COMMAND_TIMEOUT  cam#1 did not answer within 100 ms');
  });
});

describe('events', () => {
  test('what is known of before, then what comes, until there is enough', async () => {
    desk.supervisor.tell({ seen: 1 }, 'cam');
    desk.supervisor.tell(HOSTILE, 'cam', 'failed');
    const { ended } = start('events', '--past', '--limit', '3', '--json');
    await expect.poll(() => desk.supervisor.listeners, { timeout: 20_000 }).toBe(1);
    desk.supervisor.tell(null, 'mails', 'running');
    const { code, stdout } = await ended;
    expect(code).toBe(0);
    expect(parsedLines(stdout)).toMatchObject([
      { id: 1, type: 'told', process: 'cam', data: { seen: 1 } },
      { id: 2, type: 'failed', data: HOSTILE },
      { id: 3, type: 'running', process: 'mails', data: null },
    ]);
    const words = await ctl('events', '--past', '--limit', '3');
    expect(words.stdout).toMatch(/ told +cam#1 +\{"seen":1\}\n.* failed +cam#1 .*\n.* running +mails#1\n$/);
    expect(CONTROLS_IN_LINES.exec(words.stdout)).toBeNull();
  });

  test('say so when the supervisor ends', async () => {
    const { ended } = start('events');
    await expect.poll(() => desk.supervisor.listeners, { timeout: 20_000 }).toBe(1);
    await desk.api.close();
    expect(await ended).toMatchObject({ code: 69, stdout: '', stderr: 'the supervisor has ended\n' });
  });
});

describe('without a supervisor', () => {
  test.for([
    ['status'],
    ['start', 'cam'],
    ['remove', 'cam'],
    ['command', 'cam', 'x'],
    ['events'],
    ['scale', 'cam', '2'],
  ])('%j is 69, and says what to do', async (args) => {
    await desk.api.close();
    const { code, stdout, stderr } = await ctl(...args);
    expect([code, stdout]).toEqual([69, '']);
    expect(stderr).toMatch(
      /^queue-daemon: no supervisor answers at ".*supervisor\.sock"; start one with: queue-daemon start supervisor \(API_UNREACHABLE\)\n$/,
    );
  });

  test('one that answers with something else is told, and so is one that hangs up', async () => {
    await desk.api.close();
    const socket = join(desk.folder, 'var/supervisor.sock');
    for (const [answer, code, said] of [
      ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello', 1, /expected JSON/],
      ['HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n', 1, /status 500/],
      ['garbage\r\n\r\n', 69, /no supervisor answers/],
      ['', 69, /it has ended before it could answer/],
    ] as const) {
      const server = createServer((client) => {
        client.on('error', () => undefined).once('data', () => client.end(answer));
      });
      await new Promise<void>((done) => server.listen(socket, done));
      const ended = await ctl('status');
      expect([ended.code, ended.stdout]).toEqual([code, '']);
      expect(ended.stderr).toMatch(said);
      await new Promise((done) => server.close(done));
    }
  });

  test('JSON that is not what a supervisor says is told in one line', async () => {
    await desk.api.close();
    const socket = join(desk.folder, 'var/supervisor.sock');
    for (const body of [
      'null',
      '{"x":1}',
      '[]',
      '{"master":{},"processes":[]}',
      '{"answers":[null]}',
      'data: nonsense\n',
    ]) {
      const length = Buffer.byteLength(body);
      const answer = `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\nConnection: close\r\n\r\n${body}`;
      const server = createServer((client) => {
        client.on('error', () => undefined).once('data', () => client.end(answer));
      });
      await new Promise<void>((done) => server.listen(socket, done));
      const isEvent = body.startsWith('data: ');
      for (const args of isEvent
        ? [['events']]
        : [
            ['status'],
            ['stop', 'cam'],
            ['scale', 'cam', '2'],
            ['add', 'x', 'worker=x'],
            ['command', 'cam', 'x'],
          ]) {
        const ended = await ctl(...args);
        expect([body, args, ended.code, ended.stdout]).toEqual([body, args, 1, '']);
        expect(ended.stderr).toMatch(
          /^queue-daemon: expected .* from the supervisor, received .* \(API_REFUSED\)\n$/,
        );
      }
      await new Promise((done) => server.close(done));
    }
  });

  test('one that is silent is given up, one that only takes its time is not', async () => {
    const finish: (() => void)[] = [];
    let asked = 0;
    const server = createHttpServer((request, response) => {
      if (request.url === '/healthz') {
        // Two times it takes its time, then it hangs.
        if (++asked <= 2) response.end('{"alive":true}');
        if (asked === 2) finish[0]?.();
      } else finish.push(() => response.end('{"done":true}'));
    });
    const socket = join(bench.folder, 'silent.sock');
    await new Promise<void>((done) => server.listen(socket, done));
    try {
      const client = new Client(socket, 200);
      expect(await client.change('POST', '/slow')).toEqual({ done: true });
      expect(asked).toBe(2);
      const silent = { code: 'API_UNREACHABLE', message: expect.stringContaining('no answer within 200 ms') };
      await expect(client.change('POST', '/hangs')).rejects.toMatchObject(silent);
      await expect(client.get('/hangs')).rejects.toMatchObject(silent);
      await expect(client.lines('/hangs').next()).rejects.toMatchObject(silent);
    } finally {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    }
  });

  test('a socket path that is too long is a matter of the configuration', async () => {
    const ended = await bench.run('queue-daemon', ['ctl', 'status'], '', {
      CODA_API_SOCKET: `/tmp/${'x'.repeat(200)}`,
    });
    expect([ended.code, ended.stdout]).toEqual([78, '']);
    expect(ended.stderr).toContain('expected a path of at most');
  });
});

test('every verb has an example, and --json; its help fits', async () => {
  const { stdout } = await bench.run('queue-daemon', ['ctl', '--help']);
  const verbs = [...stdout.matchAll(/^ {2}([a-z]+)[ <[].*$/gm)].map(([, verb = '']) => verb);
  const own = verbs.filter((verb) => verb !== 'help');
  expect(own).toEqual([
    'status',
    'start',
    'stop',
    'restart',
    'reset',
    'add',
    'remove',
    'scale',
    'command',
    'events',
  ]);
  for (const verb of own) {
    const { stdout: help } = await bench.run('queue-daemon', ['ctl', verb, '--help']);
    expect(help, verb).toMatch(/^Examples?:$/m);
    expect(help, verb).toContain('--json');
    for (const line of help.split('\n'))
      expect(line.length, line).toBeLessThan(line.startsWith('  ') ? 110 : 81);
  }
});

test('verbs and processes are completed', async () => {
  const complete = async (...words: string[]): Promise<string[]> => {
    const { stdout } = await bench.run('queue-daemon', ['__complete', '--', ...words], '', ENV());
    return stdout.split('\n').flatMap((line) => (line === '' ? [] : [line.split('\t')[0] ?? '']));
  };
  expect(await complete('ctl', 'st')).toEqual(['status', 'start', 'stop']);
  expect(await complete('ctl', 'stop', '')).toEqual(['cam']);
  expect(await complete('ctl', 'stop', '--s')).toEqual(['--save']);
  await desk.api.close();
  expect(await complete('ctl', 'stop', '')).toEqual([]);
});

test('a configuration that is wrong keeps nobody from it: the supervisor has the one that it had', async () => {
  mkdirSync(join(bench.folder, 'var'));
  await desk.close();
  desk = new Desk();
  desk.supervisor = new FakeSupervisor(specOf('cam'));
  await desk.open({ stateDir: join(bench.folder, 'var') });
  bench.file('config.ini', '[worker]\nconcurrency = many\n');
  const { code, stdout, stderr } = await bench.run('queue-daemon', ['ctl', 'status']);
  expect(code).toBe(0);
  expect(stdout).toContain('cam');
  expect(stderr).toMatch(/^queue-daemon: .*concurrency.*\n$/);
});
