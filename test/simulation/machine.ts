/**
 * A machine on which processes run, all in one thread and in virtual time. A process is a realm with an event loop: it
 * does one task, to where it waits, and the machine chooses the next. Before each file operation the machine may
 * interfere: run other processes inside it, kill the process, cut the power, refuse the operation.
 */
import type { FileSystem } from '../../src/cache/ports.ts';
import type { Seeded } from '../support/seeded.ts';
import type { Stream } from './choices.ts';
import type { Disk } from './disk.ts';
import { Killed, Process, type Container } from './process.ts';
import { Realm, type Code } from './realm.ts';

export type Operation = keyof FileSystem;

export interface MachineOptions {
  code: Code;
  disk: Disk;
  /** Names the start of the machine. */
  boot: string;
  schedule: Stream;
  /** The disk takes up to so many milliseconds for a flush. */
  flushMs: number;
  /** Randomness that nobody need choose: names, uuids. */
  entropy: Seeded;
  /**
   * Called before each file operation; what it throws is how the operation ends. May call `step`, `kill` and
   * `cutPower`.
   */
  interfere: (process: Process, operation: Operation, path: string, write?: WriteUnderWay) => void;
  /** Told of everything that happens, in words. */
  trace: ((text: string) => void) | undefined;
  /** Called with each write and change of names, for what a run has met. */
  observe: (operation: Operation, path: string, detail: Uint8Array | string | undefined) => void;
}

interface Watcher {
  folder: string;
  listener: () => void;
}

export interface WriteUnderWay {
  bytes: Uint8Array;
  length: number;
  /** Only so many bytes are written; `behind` is done behind them. */
  cut: (length: number, behind?: () => void) => void;
}

const ROOT = '/srv';
/** File operations, or tasks, after which a run is taken for one that never comes to its end. Most take a few thousand. */
const MOST_OPERATIONS = 50_000;
const MOST_TASKS = 200_000;

export class Machine {
  readonly options: MachineOptions;
  readonly disk: Disk;
  readonly processes: Process[] = [];
  /** Milliseconds since its start. */
  now = 0;
  /** Epoch milliseconds at its start; may be changed at will. */
  wall = Date.UTC(2030, 0, 1);
  operations = 0;
  on = true;
  /** It has gone on for longer than any run should, and was switched off. */
  endless = false;
  #tasks = 0;
  readonly #watchers = new Map<Process, Set<Watcher>>();
  readonly #spare: Realm[];

  /** @param spare realms that are free for new processes; those of dead ones come back to it. */
  constructor(options: MachineOptions, spare: Realm[]) {
    this.options = options;
    this.disk = options.disk;
    this.#spare = spare;
    if (this.disk.kind(ROOT) === undefined) {
      this.disk.makeFolder(ROOT);
      this.disk.finish(this.disk.beginSyncFolder('/'));
    }
  }

  // --- Processes -------------------------------------------------------------------------------------------------

  spawn(name: string, container: Container, hidden = false): Process {
    const taken = new Set(this.processes.filter(({ alive }) => alive).map(({ pid }) => pid));
    // Numbers of dead processes come again soon.
    let pid = 100;
    while (taken.has(pid)) pid++;
    const realm = this.#spare.pop() ?? new Realm(this.options.code);
    const start = String(this.processes.length + 1);
    const process = new Process({ name, pid, start, container, hidden, realm });
    this.processes.push(process);
    this.options.trace?.(`${name} starts as ${pid} in ${container.pidNamespace}`);
    return process;
  }

  /** The process ends here and now; what it was writing is cut off by what throws `Killed` inside it. */
  kill(process: Process): void {
    if (!process.alive) return;
    this.options.trace?.(`${process.name} dies`);
    this.#end(process);
  }

  /** A process has come to its end. */
  exit(process: Process): void {
    if (!process.alive) return;
    this.options.trace?.(`${process.name} ends`);
    this.#end(process);
  }

  #end(process: Process): void {
    process.alive = false;
    process.tasks.length = 0;
    this.#watchers.delete(process);
    for (const fd of process.handles) this.disk.close(fd);
    process.handles.clear();
    process.onDeath?.();
    if (!process.busy) this.#recycle(process);
  }

  #recycle({ realm }: Process): void {
    realm.clear();
    this.#spare.push(realm);
  }

  /** Every process is dead, and nothing happens any more. */
  cutPower(): void {
    this.options.trace?.('the power goes');
    this.on = false;
    for (const process of this.processes) if (process.alive) this.#end(process);
  }

  /**
   * Lets some process do its next task; false when there is none. Time goes on as far as it must.
   * @param until nothing that is due later.
   */
  step(until = Infinity): boolean {
    const { schedule } = this.options;
    const ready = this.processes.filter(({ alive, busy, next }) => alive && !busy && next);
    if (ready.length === 0 || !this.on) return false;
    let first = Infinity;
    for (const process of ready) first = Math.min(first, process.due);
    if (first > until) return false;
    const now = Math.max(this.now, first);
    const due = ready.filter((process) => process.due <= now).sort((a, b) => a.due - b.due);
    this.now = now;
    if (++this.#tasks > MOST_TASKS) this.#giveUp();
    else this.#turn(schedule.pick(due));
    return true;
  }

  /** An error would not do: somebody might catch it, and try again. */
  #giveUp(): void {
    this.endless = true;
    this.cutPower();
  }

  #turn(process: Process): void {
    const task = process.tasks.shift()!;
    process.busy = true;
    try {
      process.realm.run(task.run);
    } finally {
      process.busy = false;
      if (!process.alive) this.#recycle(process);
    }
  }

  /** Something that the process is told to do from outside, as its next task. */
  start(process: Process, run: () => void): void {
    process.later(this.now, run);
  }

  // --- What processes have of it -----------------------------------------------------------------------------------

  /** Before each file operation of a process. Throws how it ends, if not well. */
  before(process: Process, operation: Operation, path: string, write?: WriteUnderWay): void {
    if (++this.operations > MOST_OPERATIONS && this.on) this.#giveUp();
    // Time passes by what is done, too.
    this.now += 0.01;
    if (process.alive && this.on) this.options.interfere(process, operation, path, write);
    if (!process.alive || !this.on) throw new Killed();
  }

  watch(process: Process, watcher: Watcher): () => void {
    const watchers = this.#watchers.get(process) ?? new Set();
    this.#watchers.set(process, watchers.add(watcher));
    return () => void watchers.delete(watcher);
  }

  /** Wakes who watches the folder of a file that has changed, a moment later. */
  tell(path: string): void {
    const folder = path.slice(0, path.lastIndexOf('/'));
    for (const [process, watchers] of this.#watchers) {
      for (const { folder: watched, listener } of watchers) {
        if (watched !== folder || process.tasks.some(({ watch }) => watch)) continue;
        process.later(this.now + 0.2, listener, true);
      }
    }
  }
}
