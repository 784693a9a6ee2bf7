/** A yard whose supervisor is run by the command, and asked through its API. */
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { test as base } from 'vitest';
import type { Started } from '../cli/commands.ts';
import { until } from './stage.ts';
import { Yard } from './yard.ts';

/** As the API tells of it, as far as it is looked at here. */
export interface SeenChild {
  id: string;
  state: string;
  pid: number | null;
  restarts: number;
  lastEnd: { why: string; failed: boolean } | null;
}

interface SeenProcess {
  name: string;
  origin: string;
  wanted: number;
  children: SeenChild[];
}

export class Overseer extends Yard {
  /** Lines that workers and processes of this file note. */
  readonly notes = join(this.folder, 'notes');

  constructor() {
    super();
    mkdirSync(join(this.folder, 'workers'));
    appendFileSync(this.notes, '');
  }

  /** Writes config.ini; the log goes to stderr. */
  configure(text: string): void {
    this.bench.file('config.ini', `[log]\ndestination = stderr\n${text}\n`);
  }

  /** Writes a worker. @param process the body of its method; `note(text)` appends a line to the notes. */
  worker(type: string, process: string): void {
    this.bench.file(
      `workers/${type}.mjs`,
      `import { Worker } from 'coda-queue';\n${this.#note}
      export default class extends Worker { async process(message, { signal }) { ${process} } }`,
    );
  }

  /** Writes a class that extends ManagedProcess. @param body what it has besides a `run` that waits for its stop. */
  class(name: string, body = ''): void {
    this.bench.file(
      `${name}.mjs`,
      `import { ManagedProcess } from 'coda-queue';\n${this.#note}
      export default class extends ManagedProcess {
        run(signal) { return new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true })); }
        ${body}
      }`,
    );
  }

  get #note(): string {
    return `import { appendFileSync } from 'node:fs';
      const note = (text) => appendFileSync(${JSON.stringify(this.notes)}, text + '\\n');`;
  }

  get noted(): string[] {
    return readFileSync(this.notes, 'utf8').split('\n').slice(0, -1);
  }

  /** Runs it in the foreground; resolves when it answers. */
  async supervise(): Promise<Started> {
    const started = this.bench.start('queue-daemon', ['supervise']);
    await started.said('the control API listens');
    return started;
  }

  /** Tells it to stop; resolves with its exit code when it has ended. */
  async ended(
    { process: { pid = 0 }, ended }: Started,
    signal: NodeJS.Signals = 'SIGTERM',
  ): Promise<number | null> {
    process.kill(pid, signal);
    return (await ended).code;
  }

  /** Resolves with what the API answers. Rejects when that is a refusal. */
  async ask(method: string, path: string, body?: object): Promise<unknown> {
    const { status, text } = await this.#request(method, path, body);
    if (status >= 300) throw new Error(`${method} ${path}: ${status} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  }

  #request(method: string, path: string, body?: object): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const headers = method === 'GET' ? {} : { 'content-type': 'application/json' };
      const socketPath = join(this.stateDir, 'supervisor.sock');
      const asking = request({ socketPath, method, path, headers, host: 'localhost' }, (response) => {
        let text = '';
        response
          .setEncoding('utf8')
          .on('data', (part: string) => (text += part))
          .on('end', () => resolve({ status: response.statusCode ?? 0, text }))
          .on('error', reject);
      });
      asking.on('error', reject).end(body && JSON.stringify(body));
    });
  }

  async processes(): Promise<SeenProcess[]> {
    return ((await this.ask('GET', '/api/processes')) as { processes: SeenProcess[] }).processes;
  }

  async children(name: string): Promise<SeenChild[]> {
    return (await this.processes()).find((process) => process.name === name)?.children ?? [];
  }

  /** Resolves with the pids of its children when so many are up. */
  async up(name: string, count = 1): Promise<number[]> {
    let pids: number[] = [];
    await until(async () => {
      // In a reload the API may open anew.
      const children = await this.children(name).catch((): SeenChild[] => []);
      pids = children.flatMap(({ state, pid }) => (state === 'running' && pid !== null ? pid : []));
      return pids.length === count && children.length === count;
    });
    return pids;
  }
}

/** A sentence with an overseer of its own. */
export const overseerTest = base.extend<{ yard: Overseer }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads from the pattern which fixtures this one needs
  yard: async ({}, use) => {
    const yard = new Overseer();
    try {
      await use(yard);
    } finally {
      await yard.close();
    }
  },
});
