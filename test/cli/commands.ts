/** Runs the compiled commands, as a user does, in a folder of their own. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BIN = join(ROOT, 'dist/bin/');

export type CommandName = 'queue' | 'queue-worker' | 'queue-daemon';

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface Started {
  process: ChildProcessWithoutNullStreams;
  ended: Promise<Ended>;
  /** Resolves when stderr has said it; rejects when the command ends without. */
  said(text: string | RegExp): Promise<void>;
}

export class Bench {
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-cli-')));
  readonly #children = new Set<ChildProcessWithoutNullStreams>();

  /** Writes a file into the folder; returns its path. */
  file(name: string, text: string | Uint8Array): string {
    const path = join(this.folder, name);
    writeFileSync(path, text);
    return path;
  }

  /** Puts the package where it is installed beside a user's files: what imports it there loads without a compiler. */
  install(): void {
    mkdirSync(join(this.folder, 'node_modules'));
    symlinkSync(ROOT, join(this.folder, 'node_modules/coda-queue'));
  }

  start(command: CommandName, args: string[], env: Record<string, string> = {}): Started {
    return this.#spawn(process.execPath, [join(BIN, `${command}.js`), ...args], env);
  }

  /** Runs a script of the shell in which `queue` is the command. */
  shell(script: string): Promise<Ended> {
    const definition = 'queue() { "$NODE" "$BIN/queue.js" "$@"; }';
    return this.#spawn('sh', ['-c', `${definition}\n${script}`], { NODE: process.execPath, BIN }).ended;
  }

  #spawn(file: string, args: string[], env: Record<string, string>): Started {
    const child = spawn(file, args, {
      cwd: this.folder,
      env: { PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'], ...env },
    });
    this.#children.add(child);
    let stdout = '';
    let stderr = '';
    const listeners = new Set<() => void>();
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      for (const look of listeners) look();
    });
    // A command that does not read its stdin may be gone before it is written.
    child.stdin.on('error', () => undefined);
    const ended = new Promise<Ended>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        this.#children.delete(child);
        resolve({ code, signal, stdout, stderr });
      });
    });
    const said = (text: string | RegExp): Promise<void> =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (typeof text === 'string' ? stderr.includes(text) : text.test(stderr)) resolve();
        };
        listeners.add(look);
        look();
        void ended.then(() => reject(new Error(`ended without saying ${String(text)}: ${stderr}`)));
      });
    return { process: child, ended, said };
  }

  run(command: CommandName, args: string[], input = '', env: Record<string, string> = {}): Promise<Ended> {
    const { process: child, ended } = this.start(command, args, env);
    child.stdin.end(input);
    return ended;
  }

  queue(...args: string[]): Promise<Ended> {
    return this.run('queue', args);
  }

  /** Runs a command that must succeed; its stdout as JSON. */
  async json(...args: string[]): Promise<unknown> {
    const { code, stdout, stderr } = await this.queue(...args, '--json');
    if (code !== 0) throw new Error(stderr);
    return JSON.parse(stdout);
  }

  async close(): Promise<void> {
    const ends = [...this.#children].map((child) => new Promise((resolve) => child.once('close', resolve)));
    for (const child of this.#children) child.kill('SIGKILL');
    await Promise.all(ends);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The lines of a command's output, parsed. */
export function parsedLines(text: string): unknown[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line): unknown => JSON.parse(line));
}
