/** Several processes log to one file, which is put aside again and again meanwhile: each line is there, whole, and once. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ConfigInput } from '../../src/config.ts';
import { asideNames, logFiles } from '../../src/log/files.ts';
import { until } from './stage.ts';

const PROGRAM = fileURLToPath(new URL('log-writer.mjs', import.meta.url));

interface Plan {
  flags: ConfigInput['flags'] & object;
  writer: number;
  count: number;
  /** Characters of a text. */
  largest: number;
}

let folder = '';
let path = '';
let writers: Writer[] = [];

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'coda-log-writers-')));
  path = join(folder, 'logs', 'coda.log');
  writers = [];
});
afterEach(async () => {
  await Promise.all(writers.map((writer) => writer.kill()));
  rmSync(folder, { recursive: true });
});

class Writer {
  readonly process: ChildProcess;
  readonly plan: Plan;
  stderr = '';
  readonly #notes: string;
  readonly #ready: Promise<unknown>;
  readonly ended: Promise<unknown[]>;

  constructor(plan: Plan) {
    this.plan = plan;
    this.#notes = join(folder, `notes-${plan.writer}`);
    this.process = spawn(process.execPath, [PROGRAM, JSON.stringify({ ...plan, notes: this.#notes })], {
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      env: { PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'] },
    });
    this.process.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.#ready = once(this.process, 'message');
    this.ended = once(this.process, 'close');
    writers.push(this);
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.ended;
  }

  /** Has it log so many lines more as its plan says. */
  async go(): Promise<void> {
    await this.#ready;
    this.process.send('go');
  }

  /** How many lines it has logged, as far as it has come to note. */
  get logged(): number {
    return existsSync(this.#notes) ? readFileSync(this.#notes, 'utf8').split('\n').length - 1 : 0;
  }
}

function start(count: number, plan: Omit<Plan, 'writer'>): Writer[] {
  return Array.from({ length: count }, (_, i) => new Writer({ ...plan, writer: i + 1 }));
}

/** Resolves when they have logged all and ended by themselves. */
async function finished(all: Writer[]): Promise<void> {
  for (const { process } of all) process.send('end');
  await Promise.all(all.map(({ ended }) => ended));
}

interface Found {
  /** Numbers of the lines of each writer, in the order of the files. */
  of: Map<number, number[]>;
  /** Lines that are none. */
  broken: string[];
  /** Texts that no writer has written. */
  others: string[];
}

function read(files = logFiles(path)): Found {
  const found: Found = { of: new Map(), broken: [], others: [] };
  for (const file of files) {
    const lines = readFileSync(file, 'utf8').split('\n');
    if (lines.pop() !== '') found.broken.push(`${file} has no end`);
    for (const line of lines) {
      const logged = parsed(line);
      if (!logged) found.broken.push(line);
      else if (logged.n === undefined) found.others.push(logged.text);
      else if (!found.of.get(logged.writer)?.push(logged.n)) found.of.set(logged.writer, [logged.n]);
    }
  }
  return found;
}

function parsed(line: string): { writer: number; n?: number; text: string } | undefined {
  try {
    return JSON.parse(line) as { writer: number; n: number; text: string };
  } catch {
    return undefined;
  }
}

function from1(to: number): number[] {
  return Array.from({ length: to }, (_, i) => i + 1);
}

const MANY = { rotateKeep: 1000, format: 'json' };

test.each([
  ['short lines, files of 4 KiB', 400, 1200, 4096],
  ['lines of up to 100 KB', 100_000, 300, 1_000_000],
])(
  'three writers of %s lose no line, mix none, and each keeps its order',
  async (_, largest, count, rotateSize) => {
    const plan = { flags: { ...MANY, destination: path, rotateSize }, count, largest };
    const all = start(3, plan);
    await Promise.all(all.map((writer) => writer.go()));
    await finished(all);
    const { of, broken, others } = read();
    expect(all.map(({ stderr }) => stderr).join('')).toBe('');
    expect([broken.length, others]).toEqual([0, []]);
    for (const writer of [1, 2, 3]) expect(of.get(writer)).toEqual(from1(count));
    expect(asideNames(path).length).toBeGreaterThan(10);
  },
);

test('no more are kept than wanted, whoever puts them aside', async () => {
  const flags = { destination: path, format: 'json', rotateSize: 4096, rotateKeep: 4 };
  const all = start(3, { flags, count: 1000, largest: 400 });
  await Promise.all(all.map((writer) => writer.go()));
  await finished(all);
  const { of, broken } = read();
  expect([asideNames(path).length, broken.length]).toEqual([4, 0]);
  // What is left of each are its last lines.
  for (const ns of of.values()) expect(ns).toEqual(from1(1000).slice(-ns.length));
});

test('writers that are killed take no line of others with them, nor one that they had logged', async () => {
  const flags = { ...MANY, destination: path, rotateSize: 500_000 };
  const plan = { flags, count: 60, largest: 100_000 };
  const rounds = 12;
  let next = start(3, plan);
  for (let round = 0; round < rounds; round++) {
    const heir = new Writer({ ...plan, writer: writers.length + 1 });
    const victim = next[round % 3]!;
    const before = victim.logged;
    await Promise.all(next.map((writer) => writer.go()));
    await until(() => victim.logged > before + 2 * round);
    await victim.kill();
    next = next.map((writer) => (writer === victim ? heir : writer));
    await until(() => next.every(({ logged }) => logged % plan.count === 0));
  }
  await Promise.all(writers.map((writer) => writer.kill()));
  const { of, broken } = read();
  for (const { logged, plan } of writers) {
    const found = of.get(plan.writer) ?? [];
    // The last one may have been written and not noted.
    expect(found.length - logged === 1 ? found.slice(0, -1) : found).toEqual(from1(logged));
  }
  // What each was writing at its death, and a line of another right behind it, which is there once more.
  expect(broken.length).toBeLessThanOrEqual(rounds);
});

test.each([['without a signal'], ['with SIGHUP']])(
  'a log that somebody else moves is begun anew, %s',
  async (how) => {
    const plan = { flags: { ...MANY, destination: path, rotateSize: 0 }, count: 200, largest: 400 };
    const all = start(3, plan);
    const moved: string[] = [];
    for (let round = 0; round < 8; round++) {
      await Promise.all(all.map((writer) => writer.go()));
      await until(() => all.every(({ logged }) => logged > round * plan.count));
      moved.push(`${path}.${round}`);
      renameSync(path, moved.at(-1)!);
      if (how === 'with SIGHUP') for (const { process } of all) process.kill('SIGHUP');
      await until(() => all.every(({ logged }) => logged === (round + 1) * plan.count));
    }
    await finished(all);
    const { of, broken } = read([...moved, ...logFiles(path)]);
    expect(broken).toEqual([]);
    for (const writer of [1, 2, 3]) expect(of.get(writer)).toEqual(from1(1600));
  },
);

const mountable =
  process.getuid?.() === 0 &&
  spawnSync('sh', ['-c', 'd=$(mktemp -d) && mount -t tmpfs tmpfs "$d" && umount "$d" && rmdir "$d"'])
    .status === 0;
if (!mountable) console.log('log-writers: full disk skipped, a tmpfs cannot be mounted here');

describe.runIf(mountable)('a full disk', () => {
  let disk = '';
  beforeEach(() => {
    disk = join(folder, 'logs');
    mkdirSync(disk);
    expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk]).status).toBe(0);
  });
  afterEach(async () => {
    await Promise.all(writers.map((writer) => writer.kill()));
    expect(spawnSync('umount', [disk]).status).toBe(0);
  });

  test('ends no writer; what is missing is counted, and said when there is room again', async () => {
    const filler = join(disk, 'filler');
    writeFileSync(filler, Buffer.alloc(900_000));
    const flags = { ...MANY, destination: path, rotateSize: 0 };
    const all = start(3, { flags, count: 1_000_000, largest: 300 });
    await Promise.all(all.map((writer) => writer.go()));
    await until(() => all.every(({ stderr }) => stderr.includes('lines are being lost: ENOSPC')));
    expect(statfsSync(disk).bavail).toBe(0);
    const before = all.map(({ logged }) => logged);
    await until(() => all.every((writer, i) => writer.logged > before[i]! + 500));
    rmSync(filler);
    await until(() => read().others.length >= 3);
    const { broken, of, others } = read();
    await Promise.all(all.map((writer) => writer.kill()));
    expect(others.every((text) => /^\d+ lines? of this log could not be written: ENOSPC$/.test(text))).toBe(
      true,
    );
    // What the end of the disk has cut.
    expect(broken.filter((line) => !/^\{?("time|$)/.test(line)).length).toBeLessThanOrEqual(1);
    for (const ns of of.values()) expect(ns).toEqual([...new Set(ns)].sort((a, b) => a - b));
  });
});
