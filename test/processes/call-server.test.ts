/** The daemon that ships as callServer, in a process of its own, and clients that were not written here. */
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { describe, expect } from 'vitest';
import { Client } from '../call/client.ts';
import type { Started } from '../cli/commands.ts';
import { until } from './stage.ts';
import { yardTest as test, type Yard } from './yard.ts';

/** @param call lines of [call]. */
function configure(yard: Yard, call = ''): void {
  yard.bench.file('config.ini', `[log]\ndestination = stderr\n[call]\ncallPort = 0\n${call}\n`);
}

interface Up {
  daemon: Started;
  port: number;
}

async function up(yard: Yard): Promise<Up> {
  let said = '';
  const daemon = yard.foreground('callServer');
  daemon.process.stderr.on('data', (text: string) => (said += text));
  await daemon.said(/"listening".*\n/);
  return { daemon, port: portIn(said) };
}

function portIn(said: string): number {
  return Number(/.*"port":(\d+)/s.exec(said)?.[1]);
}

async function down({ daemon }: Up): Promise<string> {
  daemon.process.kill('SIGTERM');
  const { code, stderr } = await daemon.ended;
  expect(code).toBe(0);
  return stderr;
}

/** Runs a program of another language, with the port as its argument. */
async function program(file: string, flags: string[], text: string, port: number): Promise<string> {
  const { stdout } = await promisify(execFile)(file, [...flags, text, String(port)], { timeout: 30_000 });
  return stdout;
}

async function has(file: string, ...args: string[]): Promise<boolean> {
  return promisify(execFile)(file, args).then(
    () => true,
    () => false,
  );
}

const hasPhp = await has('php', '-r', 'exit(0);');
const hasPython = await has('python3', '-c', 'import socket');

describe('the daemon', () => {
  test('listens, adds to the queues of the configuration, and ends when told to', async ({ yard }) => {
    configure(yard);
    await yard.bench.queue('create', 'mails');
    const server = await up(yard);
    const client = await Client.connect(server.port);
    const args = { queue: 'mails', data: { to: 'ada' }, alias: 'a' };
    expect(await client.call('queue.add', args)).toMatchObject({ code: 0, message: 'added' });
    expect(await yard.bench.json('find', 'mails', '--alias', 'a')).toMatchObject({ data: { to: 'ada' } });
    await down(server);
    expect(await client.closed()).toMatch(/^\{.*\}\n$/);
    expect(yard.running()).toEqual([]);
  });

  test('checks itself by a call of its own, with its token', async ({ yard }) => {
    configure(yard, 'callToken = secret');
    const server = await up(yard);
    await until(async () => (await yard.status('callServer')).health !== null);
    expect(await yard.status('callServer')).toMatchObject({ state: 'running', health: { sound: true } });
    const client = await Client.connect(server.port);
    expect(await client.call('verify')).toMatchObject({ code: 7 });
    expect(await down(server)).not.toContain('secret');
  });

  test('is unhealthy when its own call says so', async ({ yard }) => {
    configure(yard);
    mkdirSync(`${yard.folder}/methods`);
    yard.bench.file(
      'methods/verify.mjs',
      `import { CallMethod } from 'coda-queue';
      export default class extends CallMethod { execute() { this.fail(100, 'no ink'); } }`,
    );
    const server = await up(yard);
    await until(async () => (await yard.status('callServer')).health !== null);
    expect(await yard.status('callServer')).toMatchObject({ state: 'unhealthy', health: { sound: false } });
    await down(server);
  });

  test('has the methods of its folder, those in TypeScript too', async ({ yard }) => {
    configure(yard);
    mkdirSync(`${yard.folder}/methods`);
    yard.bench.file(
      'methods/shop.order.mjs',
      `import { CallMethod } from 'coda-queue';
      export default class extends CallMethod {
        defaultArgs = { many: 1 };
        execute() { this.succeed('ordered', { many: this.args.many, by: this.callName }); }
      }`,
    );
    yard.bench.file(
      'methods/typed.ts',
      `import { CallMethod } from 'coda-queue';
      export default class extends CallMethod<{ n: number }> {
        override readonly defaultArgs = { n: 1 };
        override execute(): void { this.succeed('', this.args.n + 1); }
      }`,
    );
    const server = await up(yard);
    const client = await Client.connect(server.port);
    expect(await client.call('shop.order', { many: 2, x: 1 })).toEqual({
      code: 0,
      message: 'ordered',
      result: { many: 2, by: 'shop.order' },
    });
    expect(await client.call('typed', { n: 41 })).toMatchObject({ result: 42 });
    await down(server);
  });

  test('does not come up where it cannot do what it is for', async ({ yard }) => {
    const other = createServer();
    await once(other.listen(0, '127.0.0.1'), 'listening');
    const { port } = other.address() as AddressInfo;
    for (const [call, code, why] of [
      ['callHost = 0.0.0.0', 78, 'expected a token'],
      ['callScheme = udp\ncallHost = 0.0.0.0\ncallToken = x', 78, 'an address of this machine alone'],
      ['callScheme = http', 78, 'expected one of tcp, udp'],
    ] as const) {
      configure(yard, call);
      const ended = await yard.foreground('callServer').ended;
      expect([ended.code, ended.stderr]).toEqual([code, expect.stringContaining(why)]);
    }
    yard.bench.file('config.ini', `[log]\ndestination = stderr\n[call]\ncallPort = ${port}\n`);
    const taken = await yard.foreground('callServer').ended;
    expect([taken.code, taken.stderr]).toEqual([69, expect.stringContaining('the port is taken')]);
    other.close();
    configure(yard);
    mkdirSync(`${yard.folder}/methods`);
    yard.bench.file('methods/bad.mjs', 'export default class { execute() {} }');
    const bad = await yard.foreground('callServer').ended;
    expect([bad.code, bad.stderr]).toEqual([69, expect.stringContaining('a class that extends CallMethod')]);
  });

  test('takes another configuration on a reload, and refuses one that is wrong', async ({ yard }) => {
    configure(yard);
    const server = await up(yard);
    const client = await Client.connect(server.port);
    configure(yard, 'callHost = 0.0.0.0');
    server.daemon.process.kill('SIGHUP');
    await server.daemon.said('expected a token');
    expect(await client.call('verify')).toMatchObject({ code: 0 });
    configure(yard, 'callToken = secret');
    let said = '';
    server.daemon.process.stderr.on('data', (text: string) => (said += text));
    server.daemon.process.kill('SIGHUP');
    await until(() => /"listening".*\n/.test(said));
    await client.closed();
    const again = await Client.connect(portIn(said));
    expect(await again.call('verify')).toMatchObject({ code: 7 });
    await down(server);
  });

  test('by udp answers datagrams, its own too', async ({ yard }) => {
    configure(yard, 'callScheme = udp');
    const server = await up(yard);
    await until(async () => (await yard.status('callServer')).health !== null);
    expect(await yard.status('callServer')).toMatchObject({ health: { sound: true } });
    await down(server);
  });

  test('killed, it leaves nothing that keeps the next from listening', async ({ yard }) => {
    configure(yard);
    await yard.bench.queue('create', 'mails');
    const { daemon, port } = await up(yard);
    const client = await Client.connect(port);
    await client.call('queue.add', { queue: 'mails', data: 1 });
    void client.send('{"name":"queue.add","args":{"queue":"mails","data":2}}\n');
    daemon.process.kill('SIGKILL');
    await daemon.ended;
    yard.bench.file('config.ini', `[log]\ndestination = stderr\n[call]\ncallPort = ${port}\n`);
    const next = await up(yard);
    const other = await Client.connect(port);
    const { result } = await other.call('queue.status', { queue: 'mails' });
    // What was answered is there.
    expect((result as { messagesToProcess: number }).messagesToProcess).toBeGreaterThanOrEqual(1);
    await down(next);
  });
});

const SEND =
  '$s = stream_socket_client("tcp://127.0.0.1:" . $argv[1]); fwrite($s, $packet); $got = stream_get_contents($s);';

describe('a client in PHP', () => {
  test('sends its own format, and reads to the end', async ({ yard, skip }) => {
    skip(!hasPhp, 'there is no php here');
    configure(yard);
    await yard.bench.queue('create', 'mails');
    const server = await up(yard);
    const answer = await program(
      'php',
      ['-r'],
      `$data = ["größe" => 1.5, "liste" => [1, 2, 3], "leer" => null, "wahr" => true, "5" => "x\\0y", "tief" => [["a" => PHP_INT_SIZE]]];
      $packet = serialize(["nom" => "queue.add", "args" => ["queue" => "mails", "data" => $data, "alias" => "php"]]);
      ${SEND}
      $answer = unserialize($got, ["allowed_classes" => false]);
      echo json_encode([$answer["code"], $answer["message"], $answer["result"]["alias"]]);`,
      server.port,
    );
    expect(JSON.parse(answer)).toEqual([0, 'added', 'php']);
    expect(await yard.bench.json('find', 'mails')).toMatchObject({
      data: { größe: 1.5, liste: [1, 2, 3], leer: null, wahr: true, 5: 'x\0y', tief: [{ a: 8 }] },
    });
    const refused = await program(
      'php',
      ['-r'],
      `$packet = serialize(["name" => "test", "args" => ["o" => new ArrayObject([1])]]); ${SEND} echo json_encode(unserialize($got));`,
      server.port,
    );
    expect(JSON.parse(refused)).toMatchObject({
      code: 2,
      message: expect.stringContaining('objects') as string,
    });
    // All its numbers and texts come back as they went.
    const echoed = await program(
      'php',
      ['-r'],
      `$args = ["f" => [0.1, 1e25, -1.5e-7, 1.7976931348623157e308, 5e-324], "i" => [0, -1, PHP_INT_MAX >> 10], "t" => "\\u{1F600}\\"};", "n" => ["a" => ["b" => false]]];
      $packet = serialize(["name" => "test", "args" => $args]); ${SEND} var_dump(unserialize($got)["result"]["args"] === $args);`,
      server.port,
    );
    expect(echoed.trim()).toBe('bool(true)');
    await down(server);
  });

  test('sends JSON with keys that are not quoted, as its predecessors did', async ({ yard, skip }) => {
    skip(!hasPhp, 'there is no php here');
    configure(yard);
    const server = await up(yard);
    const answer = await program(
      'php',
      ['-r'],
      `$packet = "{nom: 'test', args: {id: 7, name: \\"it's\\"}}"; ${SEND} echo $got;`,
      server.port,
    );
    expect(JSON.parse(answer)).toEqual({
      code: 0,
      message: 'received',
      result: { args: { id: 7, name: "it's" } },
    });
    await down(server);
  });
});

test('a client in Python sends a packet without quotes, byte by byte, and several as lines', async ({
  yard,
  skip,
}) => {
  skip(!hasPython, 'there is no python3 here');
  configure(yard);
  await yard.bench.queue('create', 'mails');
  const server = await up(yard);
  const answers = await program(
    'python3',
    ['-c'],
    `
import json, socket, sys
def open(): return socket.create_connection(('127.0.0.1', int(sys.argv[1])))
s = open()
for byte in b"{nom: 'queue.add', args: {queue: 'mails', data: {to: 'ada', n: 1}}}":
    s.send(bytes([byte]))
legacy = s.makefile().read()
s = open()
f = s.makefile('rw')
codes = []
for n in range(3):
    f.write(json.dumps({'name': 'queue.add', 'args': {'queue': 'mails', 'data': n}}) + '\\n')
    f.flush()
    codes.append(json.loads(f.readline())['code'])
s = open()
s.sendall(json.dumps({'name': 'queue.status', 'args': {'queue': 'mails'}}).encode())
s.shutdown(socket.SHUT_WR)
status = json.loads(s.makefile().read())
print(json.dumps([json.loads(legacy)['code'], codes, status['result']['messagesToProcess']]))
`,
    server.port,
  );
  expect(JSON.parse(answers)).toEqual([0, [0, 0, 0], 4]);
  await down(server);
});

test(
  '10,000 connections that are opened and left cost the others nothing',
  { timeout: 120_000 },
  async ({ yard }) => {
    configure(yard);
    const server = await up(yard);
    const { pid } = server.daemon.process;
    const guest = await Client.connect(server.port);
    await guest.call('verify');
    const idle = (await yard.status('callServer')).memory ?? 0;
    let left = 0;
    let slowest = 0;
    const sockets = new Set<ReturnType<typeof connect>>();
    for (let round = 0; round < 100; round++) {
      await Promise.all(
        Array.from({ length: 100 }, async (_, n) => {
          const socket = connect({ port: server.port, host: '127.0.0.1' });
          sockets.add(socket);
          socket.on('error', () => undefined).once('close', () => sockets.delete(socket));
          await Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => undefined);
          left++;
          // Some have begun to say something.
          if (n % 3 === 0) socket.write('{"name":"queue.add","args":{');
        }),
      );
      const before = performance.now();
      expect(await guest.call('test', { round })).toMatchObject({ result: { args: { round } } });
      const newcomer = await Client.connect(server.port);
      expect(await newcomer.call('verify')).toMatchObject({ code: 0 });
      newcomer.socket.destroy();
      slowest = Math.max(slowest, performance.now() - before);
    }
    expect(left).toBe(10_000);
    // Beyond the thousand that it keeps they have been let go.
    expect(sockets.size).toBeLessThan(1100);
    expect(slowest).toBeLessThan(5000);
    const memory = await memoryOf(pid!);
    expect(memory - idle).toBeLessThan(150 * 1024 ** 2);
    for (const socket of sockets) socket.destroy();
    const stderr = await down(server);
    expect(stderr.match(/connections are open/g)).toHaveLength(1);
  },
);

/** Resident bytes. */
async function memoryOf(pid: number): Promise<number> {
  const { stdout } = await promisify(execFile)('ps', ['-o', 'rss=', '-p', String(pid)]);
  return Number(stdout) * 1024;
}
