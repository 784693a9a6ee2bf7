/**
 * Makes a clone ready to run: installs the dependencies when what is installed is not what package-lock.json says,
 * compiles when dist/ was not made from these sources. Says what it does; says nothing when there is nothing to do.
 * `--rebuild` compiles in any case (`npm run build`).
 *
 * Both are decided by content, never by times: a checkout, an unpacked archive and `npm install` all leave times that mislead.
 * Runs that overlap take turns (see `alone`); the later one finds the work done.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
/** Whatever decides what dist/ contains, the compiler's version included. */
const sources = [
  'src',
  'bin',
  'workers',
  'daemons',
  'bench',
  'tsconfig.json',
  'tsconfig.build.json',
  'scripts/bundle.mjs',
  'package.json',
  'package-lock.json',
];
const stamp = join(root, 'dist', '.made-from');

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  say(`needs Node 20.19 or newer, this is ${process.version}`);
  process.exit(1);
}

const release = await alone();
try {
  if (!installed()) install();
  if (process.argv.includes('--rebuild') || !compiled()) await compile();
} catch (error) {
  console.error(`coda: ${error.message}`);
  process.exitCode = 1;
} finally {
  release();
}

/** npm keeps in node_modules/ a list of what it installed; optional packages for other platforms are not on it. */
function installed() {
  const wanted = readJson('package-lock.json')?.packages;
  const present = readJson('node_modules/.package-lock.json')?.packages;
  if (!wanted) throw new Error('package-lock.json is missing or not JSON; restore it from git');
  if (!present) return false;
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true;
    const found = present[path];
    return found
      ? found.version === entry.version && found.integrity === entry.integrity
      : entry.optional === true;
  });
}

function install() {
  // npm would empty the folder that the link leads to.
  if (lstatSync(join(root, 'node_modules'), { throwIfNoEntry: false })?.isSymbolicLink()) {
    throw new Error('node_modules is a link, and what it leads to is not what package-lock.json says');
  }
  say('installing dependencies (npm ci)');
  // The compiler is a development dependency, so NODE_ENV=production must not leave it out.
  run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'], {
    shell: process.platform === 'win32',
  });
}

function compiled() {
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === fingerprint();
}

/** Compiles beside dist/ and swaps: a failed compile leaves the last good dist/, and nobody reads a half-written one. */
async function compile() {
  say('compiling');
  const madeFrom = fingerprint(); // before compiling: an edit made meanwhile is compiled next time
  for (const name of readdirSync(root)) if (name.startsWith('.dist-')) remove(name);
  // The types file by file, which checks them; the code bundled, meanwhile. What fails does not leave the other running.
  const { bundle } = await import('./bundle.mjs');
  const made = await Promise.allSettled([declare('.dist-new'), bundle('.dist-new')]);
  for (const one of made) if (one.status === 'rejected') throw one.reason;
  const bin = join(root, '.dist-new/bin');
  if (existsSync(bin))
    for (const name of readdirSync(bin)) if (name.endsWith('.js')) chmodSync(join(bin, name), 0o755);
  writeFileSync(join(root, '.dist-new/.made-from'), madeFrom);
  if (existsSync(join(root, 'dist'))) renameSync(join(root, 'dist'), join(root, '.dist-old'));
  renameSync(join(root, '.dist-new'), join(root, 'dist'));
  remove('.dist-old');
}

/** Resolves when the compiler has checked the sources and written their declarations. */
function declare(folder) {
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  const args = ['-p', 'tsconfig.build.json', '--outDir', folder];
  const child = spawn(process.execPath, [compiler, ...args], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject).once('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`tsc ${args.join(' ')} ended with ${signal ?? `exit code ${code}`}`));
    });
  });
}

/** A digest over names and contents: a file that is gone counts as much as one that changed. */
function fingerprint() {
  const digest = createHash('sha256');
  for (const source of sources) {
    for (const file of filesIn(source)) {
      const text = readFileSync(join(root, file));
      digest.update(`${file}\0${text.length}\0`).update(text);
    }
  }
  return digest.digest('hex');
}

function filesIn(path) {
  if (!existsSync(join(root, path))) return [];
  if (/\.(json|mjs)$/.test(path)) return [path];
  return readdirSync(join(root, path), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length))
    .sort();
}

/**
 * Waits until no other set-up of this clone runs, and keeps others waiting until the returned function is called.
 * The lock is a listening socket, because the system closes that when its process dies: there is no stale lock to judge.
 */
async function alone() {
  const name = `coda-setup-${createHash('sha256').update(root).digest('hex').slice(0, 16)}`;
  // Linux has sockets without a file, Windows has pipes. Elsewhere a killed run leaves a file, which is removed below:
  // only there, and only after such a kill, could two runs that start in the same millisecond both go ahead.
  const file = join(tmpdir(), `${name}.sock`);
  const address = { linux: `\0${name}`, win32: `\\\\.\\pipe\\${name}` }[process.platform] ?? file;
  for (let waiting = false; ; waiting = true) {
    const server = createServer((waiter) => waiter.unref()).unref();
    const error = await new Promise((done) =>
      server.once('error', done).listen(address, () => done(undefined)),
    );
    if (!error) return () => server.close();
    if (error.code !== 'EADDRINUSE') throw error;
    if (!waiting) say('waiting for another set-up of this folder');
    const why = await new Promise((done) => {
      connect(address)
        .once('error', (cause) => done(cause.code))
        .once('close', () => done('closed'))
        .resume();
    });
    if (why === 'ECONNREFUSED' && address === file) rmSync(file, { force: true });
    await sleep(50);
  }
}

function run(command, args, options = {}) {
  const { status, signal, error } = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    ...options,
  });
  if (error) throw error;
  if (status !== 0)
    throw new Error(`${[command, ...args].join(' ')} ended with ${signal ?? `exit code ${status}`}`);
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(join(root, path), 'utf8'));
  } catch {
    return undefined;
  }
}

function remove(name) {
  rmSync(join(root, name), { recursive: true, force: true });
}

/** To stderr: stdout belongs to the command that set-up was called for. */
function say(text) {
  console.error(`coda: ${text}`);
}
