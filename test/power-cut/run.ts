/** A run: actors in real processes on a disk of their own, whose power is cut again and again while they go on. */
import { fork, type ChildProcess } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Durability } from '../../src/backend.ts';
import type { CacheOptions } from '../../src/cache/backend.ts';
import { Account, markNotes, SYNC_INTERVAL, type Verdict } from './account.ts';
import type { ActorOptions } from './actor.ts';
import type { Disk, Disks, Kind } from './disks.ts';
import { examine } from './examine.ts';
import { readNotes } from './notes.ts';

const PROGRAM = fileURLToPath(new URL('actor.mjs', import.meta.url));
const CAST: readonly ActorOptions['role'][] = [
  'producer',
  'producer',
  'producer',
  'worker',
  'worker',
  'taker',
  'bearer',
];
/** Small segments: the change to the next one is a large part of what can go wrong. */
const SEGMENT_BYTES = 48 * 1024;
const STARTING_MS = 60_000;
/** The flush of one process takes along what another has forgotten to flush: in this part of the trials all but one stand still. */
const HUSHED = 0.4;
const HUSH_MS = 500;
const ANSWERS: ReadonlySet<string> = new Set(['added', 'changed', 'ended']);
const BIRTHS: ReadonlySet<string> = new Set(['born']);

export interface RunOptions {
  disks: Disks;
  /** An empty one, for the notes. */
  folder: string;
  kind: Kind;
  durability: Durability;
  /** Milliseconds that are the most between two cuts. */
  pause: number;
}

export class Run {
  readonly #options: RunOptions;
  readonly #disk: Disk;
  readonly #notes: string;
  readonly #actors: ChildProcess[] = [];
  #paths: string[] = [];
  #ending = false;
  /** Rejects when an actor ends by itself. */
  readonly #trouble: Promise<never>;
  #fail: (error: Error) => void = () => {};

  private constructor(options: RunOptions) {
    this.#options = options;
    this.#trouble = new Promise((_, reject) => (this.#fail = reject));
    this.#trouble.catch(() => undefined);
    this.#disk = options.disks.make(options.kind);
    this.#notes = join(options.folder, 'notes');
    mkdirSync(this.#notes);
  }

  /** Resolves when every actor is at work. */
  static async start(options: RunOptions): Promise<Run> {
    const run = new Run(options);
    try {
      run.#startAll();
      await Promise.race([run.#trouble, run.#atWork()]);
      return run;
    } catch (error) {
      await run.end();
      throw error;
    }
  }

  #engine(disk: Disk): CacheOptions {
    return {
      cacheRoot: join(disk.folder, 'queues'),
      durability: this.#options.durability,
      syncInterval: SYNC_INTERVAL,
      fileMode: 0o600,
      keepOutcomes: 20,
      crashLimit: 1_000_000,
      segmentBytes: SEGMENT_BYTES,
    };
  }

  #startAll(): void {
    for (const [i, role] of CAST.entries()) {
      const name = `${role}${i}`;
      const notes = join(this.#notes, name);
      this.#paths.push(notes);
      const options: ActorOptions = { name, role, notes, engine: this.#engine(this.#disk) };
      const child = fork(PROGRAM, [JSON.stringify(options)], { execArgv: [], stdio: 'inherit' });
      this.#actors.push(child);
      child.once('exit', (code, signal) => {
        if (!this.#ending) this.#fail(new Error(`${name} has ended by itself with ${signal ?? code}`));
      });
    }
  }

  async #atWork(): Promise<void> {
    const deadline = performance.now() + STARTING_MS;
    const begun = (path: string): boolean => {
      try {
        return readNotes(path).length > 2;
      } catch {
        return false;
      }
    };
    while (!this.#paths.every(begun)) {
      if (performance.now() > deadline) throw new Error(`the actors have not begun after ${STARTING_MS} ms`);
      await sleep(10);
    }
  }

  /** Lets the actors work for a while, cuts the power, and looks at what is left; the actors go on. */
  async trial(): Promise<Verdict> {
    const { disks, durability, pause } = this.#options;
    await Promise.race([this.#trouble, sleep(Math.random() * pause)]);
    const goOn = durability === 'always' && Math.random() < HUSHED ? await this.#hush() : () => {};
    const mark = markNotes(this.#paths);
    const left = disks.cut(this.#disk);
    const after = markNotes(this.#paths);
    goOn();
    try {
      const account = new Account(durability, mark, after);
      return await Promise.race([this.#trouble, examine(account, this.#engine(left))]);
    } finally {
      left.remove();
    }
  }

  /**
   * All actors stand still when this resolves, all but one for a moment, and that one has just been told something, or had its
   * time. The bearer is chosen more often than others: what it does is not flushed by what it does next. Returns what wakes them.
   */
  async #hush(): Promise<() => void> {
    const alone = Math.random() < 0.5 ? CAST.indexOf('bearer') : Math.floor(Math.random() * CAST.length);
    const others = this.#actors.filter((_, i) => i !== alone);
    for (const child of others) child.kill('SIGSTOP');
    const awaited = CAST[alone] === 'bearer' ? BIRTHS : ANSWERS;
    const answers = (): number =>
      readNotes(this.#paths[alone]!).filter(({ what }) => awaited.has(what)).length;
    const before = answers();
    if (CAST[alone] === 'bearer') this.#actors[alone]!.send('a new queue');
    const deadline = performance.now() + HUSH_MS;
    while (answers() === before && performance.now() < deadline) await sleep(1);
    this.#actors[alone]!.kill('SIGSTOP');
    return () => {
      for (const child of this.#actors) child.kill('SIGCONT');
    };
  }

  /** Nothing of it is left when this resolves. */
  async end(): Promise<void> {
    this.#ending = true;
    const ends = this.#actors
      .filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)
      .map((child) => new Promise((resolve) => child.once('exit', resolve)));
    for (const child of this.#actors) child.kill('SIGKILL');
    await Promise.all(ends);
    this.#disk.remove();
    rmSync(this.#notes, { recursive: true });
  }
}
