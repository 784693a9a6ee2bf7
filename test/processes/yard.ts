/** A folder with daemons in it, the command that looks after them, and an end without leftovers. */
import { mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test as base } from 'vitest';
import { Bench, type Ended, type Started } from '../cli/commands.ts';
import { stateOf, until } from './stage.ts';

/** What `queue-daemon status --json` prints, as far as it is looked at here. */
export interface Status {
  name: string;
  state: string;
  reason: string;
  pid: number | null;
  startedAt: string | null;
  sessions: number;
  crashes: number;
  troubles: string[];
  health: { sound: boolean; reason: string } | null;
  phase: string | null;
  sleepUntil: string | null;
  uptime: number | null;
  memory: number | null;
  reloads: { count: number };
  end: { why: string } | null;
  background: boolean;
}

export class Yard {
  readonly bench = new Bench();
  readonly folder = this.bench.folder;
  readonly stateDir = join(this.folder, 'var');

  constructor() {
    mkdirSync(join(this.folder, 'daemons'));
    this.bench.install();
  }

  /** Writes a daemon: the body of a class that extends Daemon. `head` stands before the class. */
  daemon(name: string, body: string, head = ''): void {
    this.bench.file(
      `daemons/${name}Daemon.mjs`,
      `import { Daemon } from 'coda-queue';\n${head}\nexport default class extends Daemon {\n${body}\n}\n`,
    );
  }

  /** Runs the command to its end. */
  verb(...args: string[]): Promise<Ended> {
    return this.bench.run('queue-daemon', args);
  }

  /** One that must succeed. */
  async does(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.verb(...args);
    if (code !== 0) throw new Error(`queue-daemon ${args.join(' ')} ended with ${code}: ${stdout}${stderr}`);
    return stdout.trimEnd();
  }

  /** Runs it in the foreground, as systemd would. */
  foreground(name: string, ...options: string[]): Started {
    return this.bench.start('queue-daemon', ['run', name, ...options]);
  }

  async status(name: string): Promise<Status> {
    const { stdout, stderr } = await this.verb('status', name, '--json');
    if (stdout === '') throw new Error(stderr);
    return JSON.parse(stdout) as Status;
  }

  path(name: string, suffix: string): string {
    return join(this.stateDir, name + suffix);
  }

  /** Of the process whose pid file is there. */
  pidOf(name: string): number {
    return Number(readFileSync(this.path(name, '.pid'), 'utf8').split('\n')[0]);
  }

  /** Resolves when the process is gone, but for what its parent has to ask. */
  gone(pid: number): Promise<void> {
    return until(() => [undefined, 'Z', 'X'].includes(stateOf(pid)));
  }

  /** Everything that runs in this folder and has not ended. */
  running(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
      .map(Number)
      .filter((pid) => {
        try {
          return readlinkSync(`/proc/${pid}/cwd`).startsWith(this.folder) && stateOf(pid) !== 'Z';
        } catch {
          return false;
        }
      });
  }

  async close(): Promise<void> {
    for (let pids = this.running(); pids.length > 0; pids = this.running()) {
      for (const pid of pids) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It has ended meanwhile.
        }
        await this.gone(pid);
      }
    }
    await this.bench.close();
  }
}

/** A sentence with a yard of its own. */
export const yardTest = base.extend<{ yard: Yard }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads from the pattern which fixtures this one needs
  yard: async ({}, use) => {
    const yard = new Yard();
    try {
      await use(yard);
    } finally {
      await yard.close();
    }
  },
});
