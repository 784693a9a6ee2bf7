/**
 * A machine with a real systemd, in namespaces and a root filesystem of its own. Its files are an overlay over a Debian that
 * debootstrap has made: that stays as it is, and what the machine writes goes with it.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BOOT = fileURLToPath(new URL('boot.sh', import.meta.url));
const NAMESPACES = ['--mount', '--pid', '--uts', '--ipc', '--net', '--cgroup', '--propagation', 'private'];
const PACKAGES = 'systemd,systemd-sysv,dbus,libstdc++6,procps';
const PATH = '/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/** Why there can be no such machine here; undefined: there can. */
export function whyNot(): string | undefined {
  if (process.platform !== 'linux') return 'this is not Linux';
  if (process.getuid?.() !== 0) return 'namespaces and mounts need root';
  for (const program of ['unshare', 'nsenter', 'setpriv', 'npm'])
    if (spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0) return `there is no ${program}`;
  if (cgroups() === undefined) return 'there is no cgroup2';
  const apart = spawnSync('unshare', [...NAMESPACES, '--fork', 'true']);
  return apart.status === 0 ? undefined : 'namespaces are not to be had here';
}

/** Resolves when there is a Debian with systemd in that folder; takes minutes the first time, and a mirror. */
export function makeBase(folder: string): void {
  if (existsSync(join(folder, 'lib/systemd/systemd'))) return;
  const { VERSION_CODENAME: suite = 'bookworm' } = Object.fromEntries(
    [...readFileSync('/etc/os-release', 'utf8').matchAll(/^(\w+)="?([^"\n]*)"?$/gm)].map(
      ([, name, value]) => [name, value],
    ),
  ) as Record<string, string>;
  const args = ['--variant=minbase', `--include=${PACKAGES}`, suite, folder];
  const { status, error, stdout } = spawnSync('debootstrap', args, {
    encoding: 'utf8',
    timeout: 1_200_000,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (status === 0) return;
  rmSync(folder, { recursive: true, force: true });
  throw new Error(`debootstrap: ${error?.message ?? stdout.split('\n').slice(-5).join('\n')}`);
}

export class Machine {
  readonly #folder = mkdtempSync(join(tmpdir(), 'coda-system-'));
  readonly #root = join(this.#folder, 'root');
  readonly #cgroup = join(cgroups() ?? '', basename(this.#folder));
  #child: ChildProcess | undefined;
  #first = 0;

  constructor(base: string) {
    for (const name of ['upper', 'work', 'root']) mkdirSync(join(this.#folder, name));
    const layers = `lowerdir=${base},upperdir=${this.#folder}/upper,workdir=${this.#folder}/work`;
    must('mount', ['-t', 'overlay', 'overlay', '-o', layers, this.#root]);
  }

  /** Puts this package there as `npm pack` makes it, with what it depends on, and this Node. */
  installPackage(): void {
    const packed = must('npm', ['pack', '--pack-destination', this.#folder, '--silent'], ROOT).trim();
    const modules = join(this.#root, 'usr/local/lib/node_modules');
    const home = join(modules, 'coda-queue');
    mkdirSync(home, { recursive: true });
    must('tar', [
      'xzf',
      join(this.#folder, packed.split('\n').at(-1) ?? ''),
      '-C',
      home,
      '--strip-components=1',
    ]);
    const paths = must('npm', ['ls', '--omit=dev', '--all', '--parseable'], ROOT).trim().split('\n').slice(1);
    for (const path of paths)
      cpSync(path, join(home, path.slice(ROOT.length)), { recursive: true, dereference: true });
    const bin = join(this.#root, 'usr/local/bin');
    cpSync(process.execPath, join(bin, 'node'));
    for (const name of ['queue', 'queue-daemon', 'queue-worker'])
      must('ln', ['-s', `../lib/node_modules/coda-queue/dist/bin/${name}.js`, join(bin, name)]);
  }

  /** Writes a file there. */
  file(path: string, text: string): void {
    mkdirSync(join(this.#root, path, '..'), { recursive: true });
    writeFileSync(join(this.#root, path), text);
  }

  /** Runs a command there while it does not run. */
  offline(...command: string[]): void {
    must('chroot', [this.#root, ...command]);
  }

  /** Resolves when systemd has come up. */
  async boot(): Promise<void> {
    mkdirSync(this.#cgroup, { recursive: true });
    // In the group before its namespace is made, so that it sees nothing else.
    const script = `echo $$ > "$0/cgroup.procs" && exec unshare "$@"`;
    const args = [...NAMESPACES, '--fork', '--kill-child', 'sh', BOOT, this.#root];
    this.#child = spawn('sh', ['-c', script, this.#cgroup, ...args], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    const { pid } = this.#child;
    await until('systemd has come up', async () => {
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
      this.#first = Number(children.split(' ')[0] ?? 0);
      if (this.#first === 0) return false;
      const { stdout } = await this.run('systemctl', 'is-system-running');
      return /^(running|degraded)/.test(stdout);
    });
  }

  /** As a cut of the power would. */
  async cut(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    await until('its processes are gone', () =>
      readFileSync(join(this.#cgroup, 'cgroup.events'), 'utf8').includes('populated 0'),
    );
  }

  run(...command: string[]): Promise<Ended> {
    return new Promise((resolve, reject) => {
      const namespaces = ['-m', '-p', '-u', '-i', '-n', '-C'];
      const inside = ['sh', '-c', 'cd /srv/app && exec "$@"', 'sh', ...command];
      const args = ['-t', String(this.#first), ...namespaces, '--', ...inside];
      const child = spawn('nsenter', args, {
        env: { PATH, HOME: '/root' },
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: 120_000,
      });
      let stdout = '';
      let stderr = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
      child.once('error', reject).once('close', (code) => resolve({ code: code ?? -1, stdout, stderr }));
    });
  }

  /** One that must succeed; what it prints. */
  async does(...command: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...command);
    if (code !== 0) throw new Error(`${command.join(' ')}: exit code ${code}: ${stdout}${stderr}`);
    return stdout.trim();
  }

  /** A property of a unit, as systemctl shows it. */
  show(unit: string, property: string): Promise<string> {
    return this.does('systemctl', 'show', '-P', property, unit);
  }

  async close(): Promise<void> {
    await this.cut();
    removeGroup(this.#cgroup);
    spawnSync('umount', ['-l', this.#root]);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  append(path: string, text: string): void {
    appendFileSync(join(this.#root, path), text);
  }
}

/** Where this system has its cgroup2. */
function cgroups(): string | undefined {
  return /^\d+ \d+ \S+ \S+ (\S+) .* - cgroup2 /m.exec(readFileSync('/proc/self/mountinfo', 'utf8'))?.[1];
}

function removeGroup(path: string): void {
  if (!existsSync(path)) return;
  for (const entry of readdirSync(path, { withFileTypes: true }))
    if (entry.isDirectory()) removeGroup(join(path, entry.name));
  rmdirSync(path);
}

function must(file: string, args: string[], cwd?: string): string {
  const { status, stdout, stderr, error } = spawnSync(file, args, {
    encoding: 'utf8',
    cwd,
    maxBuffer: 1 << 26,
  });
  if (status === 0) return stdout;
  throw new Error(`${file} ${args.join(' ')}: ${error?.message ?? `exit code ${status}: ${stderr}`}`);
}

export async function until(
  what: string,
  holds: () => Promise<boolean> | boolean,
  most = 60_000,
): Promise<void> {
  const deadline = performance.now() + most;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not so after ${most / 1000} s: ${what}`);
    await sleep(100);
  }
}
