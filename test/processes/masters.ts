/** A folder with processes to be supervised, programs that supervise them, and an end without leftovers. */
import { fork, type ChildProcess } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test as base } from 'vitest';
import { QueueError, type QueueErrorCode } from '../../src/errors.ts';
import type { Json } from '../../src/message.ts';
import type { Answer, ChildStatus, SupervisorEvent, SupervisorStatus } from '../../src/supervisor/shape.ts';
import type { ProcessInput } from '../../src/supervisor/spec.ts';
import { stateOf, until } from './stage.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PROGRAM = fileURLToPath(new URL('supervisor-master.mjs', import.meta.url));

type Event = Omit<SupervisorEvent, 'at'>;
type Line = { level: string; text: string; child?: string; [field: string]: unknown };
type Told = {
  id?: number;
  value?: unknown;
  error?: { code: QueueErrorCode; message: string };
  event?: Event;
  line?: Line;
  ended?: { code: QueueErrorCode; message: string } | null;
};

/** A program that supervises. */
export class Master {
  readonly events: Event[] = [];
  readonly lines: Line[] = [];
  /** Resolves when it has ended; with the error with which `run` has rejected. */
  readonly ended: Promise<QueueError | undefined>;
  readonly pid: number;
  readonly #process: ChildProcess;
  readonly #calls = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  readonly #looks = new Set<() => void>();
  #last = 0;
  #error: QueueError | undefined;

  constructor(folder: string, options: object) {
    this.#process = fork(PROGRAM, [JSON.stringify(options)], {
      cwd: folder,
      env: { PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'] },
      execArgv: [],
    });
    this.pid = this.#process.pid!;
    this.#process.on('message', (told: Told) => this.#heed(told));
    this.ended = new Promise((resolve) => {
      this.#process.once('exit', (code, signal) => {
        for (const { reject } of this.#calls.values()) reject(new Error(`ended with ${signal ?? code}`));
        this.#calls.clear();
        resolve(this.#error);
      });
    });
  }

  call<Value = unknown>(method: string, ...args: unknown[]): Promise<Value> {
    const call = new Promise((resolve, reject) => {
      const id = ++this.#last;
      this.#calls.set(id, { resolve, reject });
      this.#process.send({ id, method, args }, (error) => error && reject(error));
    });
    // A test that has failed leaves some behind, which end with the process.
    call.catch(() => undefined);
    return call as Promise<Value>;
  }

  send(target: string, command: string, args: Json = null, deadline = 20_000): Promise<Json> {
    return this.call('send', target, command, args, { deadline });
  }

  collect(target: string, command: string, deadline: number): Promise<Answer[]> {
    return this.call('collect', target, command, null, { deadline });
  }

  async child(id: string): Promise<ChildStatus> {
    const { processes } = await this.call<SupervisorStatus>('status');
    const child = processes.flatMap(({ children }) => children).find((each) => each.id === id);
    if (!child) throw new Error(`no child ${id}`);
    return child;
  }

  /** Resolves with the first event of that type and child that came, or comes. */
  event(type: SupervisorEvent['type'], child: string, nth = 1): Promise<Event> {
    return this.#until(
      () => this.events.filter((each) => each.type === type && each.child === child)[nth - 1],
    );
  }

  line(text: string | RegExp): Promise<Line> {
    return this.#until(() => this.lines.find((each) => each.text.match(text) !== null));
  }

  /** Resolves when all children of these are up. */
  async up(...ids: string[]): Promise<void> {
    await Promise.all(ids.map((id) => this.event('running', id)));
  }

  async pidOf(id: string): Promise<number> {
    const { pid } = await this.child(id);
    return pid ?? 0;
  }

  /** Has it end as it should. */
  async stop(): Promise<void> {
    await this.call('stopAll');
    const error = await this.ended;
    if (error) throw error;
  }

  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.ended;
  }

  #until<Found>(find: () => Found | undefined): Promise<Found> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const found = find();
        if (found === undefined) return;
        this.#looks.delete(look);
        resolve(found);
      };
      this.#looks.add(look);
      void this.ended.then(() =>
        reject(new Error(`the supervisor has ended before: ${JSON.stringify(this.events)}`)),
      );
      look();
    });
  }

  #heed({ id, value, error, event, line, ended }: Told): void {
    if (ended) this.#error = new QueueError(ended.code, ended.message);
    if (event) this.events.push(event);
    if (line) this.lines.push(line);
    if (event || line) for (const look of this.#looks) look();
    const call = this.#calls.get(id ?? 0);
    if (!call) return;
    this.#calls.delete(id!);
    if (error) call.reject(new QueueError(error.code, error.message));
    else call.resolve(value);
  }
}

export class Court {
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-supervisor-')));
  readonly stateDir = join(this.folder, 'var');
  readonly #masters: Master[] = [];

  constructor() {
    mkdirSync(join(this.folder, 'node_modules'));
    // As it is installed beside a user's files: so they load without a compiler.
    symlinkSync(ROOT, join(this.folder, 'node_modules/coda-queue'));
  }

  file(name: string, text: string): string {
    const path = join(this.folder, name);
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, text);
    return path;
  }

  read(name: string): string {
    try {
      return readFileSync(join(this.folder, name), 'utf8');
    } catch {
      return '';
    }
  }

  /** Writes a class: its body; `head` stands before it. Returns its path. */
  class(name: string, body: string, head = ''): string {
    return this.file(
      `${name}.mjs`,
      `import { ManagedProcess } from 'coda-queue';\n${head}\nexport default class extends ManagedProcess {\n${body}\n}\n`,
    );
  }

  supervise(processes: ProcessInput[], options: object = {}): Master {
    const master = new Master(this.folder, { processes, ...options });
    this.#masters.push(master);
    return master;
  }

  /** Everything that runs in this folder and has not ended, but for the supervisors. */
  running(): number[] {
    const masters = new Set(this.#masters.map(({ pid }) => pid));
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
      .map(Number)
      .filter((pid) => {
        try {
          return (
            readlinkSync(`/proc/${pid}/cwd`).startsWith(this.folder) && !isGone(pid) && !masters.has(pid)
          );
        } catch {
          return false;
        }
      });
  }

  async close(): Promise<void> {
    for (const master of this.#masters) await master.kill();
    for (let pids = this.running(); pids.length > 0; pids = this.running()) {
      for (const pid of pids) kill(pid);
      await until(() => pids.every(isGone));
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export function isGone(pid: number): boolean {
  return [undefined, 'Z', 'X'].includes(stateOf(pid));
}

export function kill(pid: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}

/** Waits for its stop, and for nothing else. */
export const WAIT =
  'async run(signal) { await new Promise((resolve) => { const t = setInterval(() => {}, 1e6); signal.addEventListener("abort", () => { clearInterval(t); resolve(); }); }); }';

/** A sentence with a court of its own. */
export const courtTest = base.extend<{ court: Court }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads from the pattern which fixtures this one needs
  court: async ({}, use) => {
    const court = new Court();
    try {
      await use(court);
    } finally {
      await court.close();
    }
  },
});
