/** A reader's folder, in which the package is installed and what a recipe says is done: real files, real terminals. */
import { spawn } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Terminal } from '../cli/terminal.ts';
import { until } from '../processes/stage.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** What recipes have their readers install. */
const PACKAGES = ['express', 'fastify', 'nodemailer', 'zod', '@types'];
/** Wide enough that no line of a log is broken. */
const COLUMNS = 250;

export class Kitchen {
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-cookbook-')));
  readonly #terminals = new Set<Terminal>();
  readonly #path: string;

  constructor() {
    const modules = join(this.folder, 'node_modules');
    const bin = join(modules, '.bin');
    mkdirSync(bin, { recursive: true });
    symlinkSync(ROOT, join(modules, 'coda-queue'));
    for (const name of PACKAGES) symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
    for (const name of ['queue', 'queue-worker', 'queue-daemon']) {
      symlinkSync(join('..', 'coda-queue', 'dist', 'bin', `${name}.js`), join(bin, name));
    }
    this.#path = [bin, dirname(process.execPath), process.env['PATH']].join(delimiter);
  }

  write(name: string, text: string): void {
    const path = join(this.folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }

  read(name: string): string {
    return readFileSync(join(this.folder, name), 'utf8');
  }

  /** Starts a script in a terminal; a command in it that fails ends it. What it leaves in the background outlives it. */
  start(script: string, env: Record<string, string> = {}): Terminal {
    const terminal = new Terminal('sh', ['-e', '-m', '-c', script], {
      cwd: this.folder,
      cols: COLUMNS,
      rows: 50,
      env: { PATH: this.#path, HOME: this.folder, NO_COLOR: '1', ...env },
    });
    this.#terminals.add(terminal);
    return terminal;
  }

  /** Runs a script to its end; resolves with what the terminal shows. Rejects when it fails or takes too long. */
  async run(script: string, env: Record<string, string>, most: number): Promise<string> {
    const terminal = this.start(script, env);
    const { code } = await within(most, terminal.ended, () => `not at its end:\n${shown(terminal)}`);
    this.#terminals.delete(terminal);
    const text = shown(terminal);
    await terminal.close();
    if (code !== 0) throw new Error(`exit code ${code}:\n${text}`);
    return text;
  }

  /** Runs the lines of a crontab once each, as cron does: in the account's home, with hardly any environment, on no terminal. */
  async cron(crontab: string, most: number): Promise<void> {
    const env: Record<string, string> = { HOME: this.folder, SHELL: '/bin/sh', PATH: '/usr/bin:/bin' };
    for (const line of crontab.split('\n')) {
      const [, name, value = ''] = /^([A-Z]+)=(.*)$/.exec(line) ?? [];
      // Where the example has its node, this machine has it elsewhere.
      if (name) env[name] = [dirname(process.execPath), value].join(delimiter);
      if (name || line === '') continue;
      const command = /^(?:[\d*/,-]+\s+){5}(.+)$/.exec(line)?.[1];
      if (command === undefined) throw new Error(`no line of a crontab: ${line}`);
      const child = spawn('/bin/sh', ['-c', command], { cwd: this.folder, env, stdio: 'ignore' });
      const ended = new Promise<number | null>((resolve, reject) => {
        child.once('error', reject);
        child.once('exit', resolve);
      });
      const code = await within(most, ended, () => `not at its end: ${command}`).finally(() =>
        child.kill('SIGKILL'),
      );
      if (code !== 0) throw new Error(`exit code ${code}: ${command}`);
    }
  }

  /** Resolves when these files of TypeScript compile as a strict reader has it; rejects with what is wrong with them. */
  async compile(names: readonly string[]): Promise<void> {
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    const options = '--strict --noEmit --skipLibCheck --module nodenext --target es2023 --types node';
    await this.run(`node '${tsc}' ${options} ${names.join(' ')}`, {}, 30_000);
  }

  /** Resolves when nothing runs in the folder any more and it is gone; rejects with what was left running. */
  async close(): Promise<void> {
    await Promise.all([...this.#terminals].map((terminal) => terminal.close()));
    // What was told to end may need a moment.
    await until(() => runningBelow(this.folder).length === 0, 5000).catch(() => undefined);
    const left = runningBelow(this.folder);
    for (const { pid } of left) process.kill(pid, 'SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
    if (left.length > 0) throw new Error(`left running: ${left.map(({ command }) => command).join(', ')}`);
  }
}

/** What is and was on the terminal, without the blank rows at its end. */
export function shown(terminal: Terminal): string {
  return terminal.everything().join('\n').trimEnd();
}

/** Rejects when it takes longer, in ms, with the text. */
export async function within<T>(most: number, promise: Promise<T>, text: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`after ${most} ms ${text()}`)), most);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Living processes whose working directory is there; of Linux only. */
function runningBelow(folder: string): { pid: number; command: string }[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc').flatMap((pid) => {
    try {
      const at = /^\d+$/.test(pid) ? readlinkSync(`/proc/${pid}/cwd`) : '';
      if (at !== folder && !at.startsWith(`${folder}/`)) return [];
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      return [{ pid: Number(pid), command }];
    } catch {
      // Ended meanwhile, or another account's; the dead that nobody has asked for have no working directory.
      return [];
    }
  });
}
