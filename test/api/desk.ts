/** An API in a folder of its own, over a supervisor that is none, and over queues that are. */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { request, type IncomingHttpHeaders, type OutgoingHttpHeaders, type RequestOptions } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startApi, type Api } from '../../src/api/start.ts';
import { loadConfig, type Config } from '../../src/config.ts';
import * as library from '../../src/index.ts';
import { QueueManager } from '../../src/queue-manager.ts';
import type { SupervisorControl } from '../../src/supervisor/shape.ts';
import { logAbout } from '../../src/worker/log.ts';
import { FakeSupervisor, specOf } from './fake-supervisor.ts';

export interface Heard {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  /** Undefined where it is none. */
  json: any; // oxlint-disable-line typescript/no-explicit-any -- whatever the API says
}

export interface Line {
  level: string;
  text: string;
  fields: Record<string, unknown>;
}

export class Desk {
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-api-')));
  readonly log: Line[] = [];
  supervisor = new FakeSupervisor(specOf('cam'));
  queues!: QueueManager;
  config!: Config;
  api!: Api;
  #closed = false;

  /** @param flags of the configuration, beside those that keep it in the folder. */
  async open(
    flags: Record<string, string | number> = {},
    control: SupervisorControl = this.supervisor,
  ): Promise<this> {
    this.config = await loadConfig({
      cwd: this.folder,
      env: {},
      flags: { cacheRoot: join(this.folder, 'queues'), stateDir: join(this.folder, 'var'), ...flags },
    });
    this.queues = await QueueManager.open({ cacheRoot: this.config.queue.cacheRoot, durability: 'os' });
    this.api = await startApi({
      control,
      queues: this.queues,
      config: this.config,
      log: logAbout((level, text, fields) => this.log.push({ level, text, fields }), {}),
      library,
    });
    return this;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.api?.close();
    await this.queues?.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  get(path: string, headers: OutgoingHttpHeaders = {}): Promise<Heard> {
    return this.ask('GET', path, undefined, headers);
  }

  post(path: string, body: unknown = {}, headers: OutgoingHttpHeaders = {}): Promise<Heard> {
    return this.ask('POST', path, body, headers);
  }

  /** A body that is text is sent as it is. */
  ask(method: string, path: string, body?: unknown, headers: OutgoingHttpHeaders = {}): Promise<Heard> {
    const given = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    const own = method === 'GET' || method === 'HEAD' ? {} : { 'Content-Type': 'application/json' };
    return heard({ socketPath: this.api.socket, method, path, headers: { ...own, ...headers } }, given);
  }

  /** Over TCP. */
  overTcp(method: string, path: string, headers: OutgoingHttpHeaders = {}, body?: string): Promise<Heard> {
    return heard({ host: '127.0.0.1', port: this.api.port ?? 0, method, path, headers }, body);
  }

  /** A connection at which anything can be said. */
  connect(): Socket {
    return connect(this.api.socket).on('error', () => undefined);
  }
}

function heard(options: RequestOptions, body: string | undefined): Promise<Heard> {
  return new Promise((resolve, reject) => {
    const sent = request({ agent: false, timeout: 20_000, ...options }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
      response.once('error', reject).once('end', () => {
        let json: unknown;
        try {
          json = JSON.parse(text);
        } catch {
          // It is none.
        }
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json });
      });
    });
    sent.once('error', reject);
    if (body !== undefined) sent.setHeader('Content-Length', Buffer.byteLength(body));
    sent.end(body);
  });
}

/** Says something on a connection, as it is, and resolves with all that comes until it is closed. */
export function said(socket: Socket, text: string | Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    let all = '';
    socket.setEncoding('latin1').on('data', (part: string) => (all += part));
    socket.once('close', () => resolve(all));
    socket.write(text);
  });
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const { createServer } = await import('node:net');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
