/**
 * A machine on which processes run, all in one thread and in virtual time. A process is a realm with an event loop: it
 * does one task, to where it waits, and the machine chooses the next. Before each file operation the machine may
 * interfere: run other processes inside it, kill the process, cut the power, refuse the operation.
 */
import { constants } from 'node:fs';
import type { Clock, FileSystem, Identity, Ports, Processes } from '../../src/cache/ports.ts';
import type { Stream } from './choices.ts';
import { errno, type Disk, type Flush } from './disk.ts';
import type { Seeded } from '../support/seeded.ts';
import type * as nodePortsModule from '../../src/cache/node-ports.ts';
import type { Code } from './realm.ts';

import { Realm } from './realm.ts';

type NodePorts = typeof nodePortsModule;

export type Operation = keyof FileSystem;

/** What stops a process that has been killed, or whose machine has no power. */
class Killed extends Error {
  readonly code = 'EKILLED';
}

interface Task {
  due: number;
  run: () => void;
  watch: boolean;
}

/** A container: processes of one see each other. Clocks of containers may begin at different times. */
export interface Container {
  pidNamespace: string;
  timeNamespace: string;
  /** Of its monotonic clock, in milliseconds. */
  offset: number;
}

export class Process {
  readonly name: string;
  readonly pid: number;
  readonly start: string;
  readonly container: Container;
  /** Whether others may not read about it in /proc. */
  readonly hidden: boolean;
  readonly realm: Realm;
  alive = true;
  /** It stands in the middle of a task: somewhere on the stack. */
  busy = false;
  /** It has been stopped until then. */
  stoppedUntil = 0;
  readonly tasks: Task[] = [];
  readonly handles = new Set<number>();
  onDeath: (() => void) | undefined;

  constructor(of: Pick<Process, 'name' | 'pid' | 'start' | 'container' | 'hidden' | 'realm'>) {
    this.name = of.name;
    this.pid = of.pid;
    this.start = of.start;
    this.container = of.container;
    this.hidden = of.hidden;
    this.realm = of.realm;
  }

  /** The earliest task that it could do, not counting that it may be stopped. */
  get next(): Task | undefined {
    return this.tasks[0];
  }
  get due(): number {
    return Math.max(this.tasks[0]!.due, this.stoppedUntil);
  }

  /** Puts a task into its event loop. Returns what takes it out. */
  later(due: number, run: () => void, watch = false): () => void {
    const task = { due, run, watch };
    const at = this.tasks.findIndex((other) => other.due > due);
    this.tasks.splice(at < 0 ? this.tasks.length : at, 0, task);
    return () => {
      const place = this.tasks.indexOf(task);
      if (place >= 0) this.tasks.splice(place, 1);
    };
  }
}

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

export interface WriteUnderWay {
  length: number;
  /** Only so many bytes are written; `behind` is done behind them. */
  cut: (length: number, behind?: () => void) => void;
}

const ROOT = '/srv';

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
  readonly #watchers = new Map<Process, Set<{ folder: string; listener: () => void }>>();
  readonly #spare: Realm[];
  #entropy: Seeded;

  /** @param spare realms that are free for new processes; those of dead ones come back to it. */
  constructor(options: MachineOptions, spare: Realm[]) {
    this.options = options;
    this.disk = options.disk;
    this.#spare = spare;
    this.#entropy = options.entropy;
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
    this.#turn(schedule.pick(due));
    return true;
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

  // --- Ports -----------------------------------------------------------------------------------------------------

  ports(process: Process): Ports {
    return {
      fs: this.#fs(process),
      clock: this.clock(process),
      random: {
        uuid: () => uuid(this.wall + Math.floor(this.now), this.#entropy),
        hex: (bytes) => this.#entropy.hex(bytes),
      },
      processes: this.#processes(process),
    };
  }

  /** Of all file operations, before they are done. */
  #operate<T>(process: Process, operation: Operation, path: string, run: () => T): T {
    this.#before(process, operation, path);
    let result: T;
    try {
      result = run();
    } catch (error) {
      this.options.trace?.(`${process.name} ${operation} ${path}: ${(error as NodeJS.ErrnoException).code}`);
      throw error;
    }
    this.options.trace?.(`${process.name} ${operation} ${path}${told(result)}`);
    return result;
  }

  #before(process: Process, operation: Operation, path: string, write?: WriteUnderWay): void {
    this.operations++;
    // Time passes by what is done, too.
    this.now += 0.01;
    if (process.alive && this.on) this.options.interfere(process, operation, path, write);
    if (!process.alive || !this.on) throw new Killed();
  }

  #fs(process: Process): FileSystem {
    const { disk } = this;
    const path = (fd: number): string => disk.pathOf(fd);
    const on = <T>(operation: Operation, fd: number, run: () => T): T =>
      this.#operate(process, operation, process.alive ? path(fd) : '', run);
    const names = (operation: Operation, at: string, run: () => void, detail?: string): void => {
      this.#operate(process, operation, at, () => {
        run();
        this.options.observe(operation, at, detail);
        this.#tell(detail ?? at);
      });
    };
    return {
      open: (at, how, mode) =>
        this.#operate(process, 'open', at, () => {
          const fd = disk.open(at, how, mode);
          process.handles.add(fd);
          if (how === 'create') this.#tell(at);
          return fd;
        }),
      close: (fd) => {
        // The death of the process has closed it.
        if (!process.alive) return;
        process.handles.delete(fd);
        disk.close(fd);
      },
      write: (fd, bytes, offset, length, position) =>
        this.#write(process, fd, bytes, offset, length, position),
      read: (fd, into, offset, length, position) =>
        on('read', fd, () => disk.read(fd, into, offset, length, position)),
      stat: (fd) => on('stat', fd, () => disk.stat(fd)),
      truncate: (fd, size) => on('truncate', fd, () => disk.truncate(fd, size)),
      setOwner: (fd, uid, gid) => on('setOwner', fd, () => disk.setOwner(fd, uid, gid)),
      setMode: (fd, mode) => on('setMode', fd, () => disk.setMode(fd, mode)),
      sync: (fd) => this.#flush(process, 'sync', process.alive ? path(fd) : '', () => disk.beginSync(fd)),
      syncFolder: (at) => this.#flush(process, 'syncFolder', at, () => disk.beginSyncFolder(at)),
      rename: (from, to) => names('rename', from, () => disk.rename(from, to), to),
      remove: (at) => names('remove', at, () => disk.remove(at)),
      makeFolder: (at) => names('makeFolder', at, () => disk.makeFolder(at)),
      removeFolder: (at) => names('removeFolder', at, () => disk.removeFolder(at)),
      list: (at) => this.#list(process, at),
      kind: (at) => this.#operate(process, 'kind', at, () => disk.kind(at)),
      resolve: (at) => at,
      space: (at) =>
        this.#operate(process, 'space', at, () => ({ free: disk.capacity - disk.used, type: 0xef53 })),
      watch: (folder, listener) => {
        const watchers = this.#watchers.get(process) ?? new Set();
        const watcher = { folder, listener };
        this.#watchers.set(process, watchers.add(watcher));
        return () => void watchers.delete(watcher);
      },
    };
  }

  #write(
    process: Process,
    fd: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    position?: number,
  ): number {
    const { disk } = this;
    if (!process.alive) throw new Killed();
    const path = disk.pathOf(fd);
    const cut: { at: number; behind?: (() => void) | undefined } = { at: length };
    this.#before(process, 'write', path, { length, cut: (at, behind) => Object.assign(cut, { at, behind }) });
    const wanted = bytes.subarray(offset, offset + cut.at);
    let written: number;
    try {
      written = disk.write(fd, wanted, position);
    } catch (error) {
      this.options.trace?.(`${process.name} write ${path}: ${(error as NodeJS.ErrnoException).code}`);
      throw error;
    }
    this.options.trace?.(`${process.name} write ${path} ${written} of ${length}${shown(wanted)}`);
    this.options.observe('write', path, wanted);
    this.#tell(path);
    if (cut.behind) {
      cut.behind();
      throw new Killed();
    }
    return written;
  }

  /** A listing that runs while names change may miss some, and show one twice. */
  #list(process: Process, at: string): string[] {
    const before = this.disk.kind(at) === 'folder' && process.alive ? this.disk.list(at) : [];
    return this.#operate(process, 'list', at, () => {
      const after = this.disk.list(at);
      if (before.join() === after.join() || !this.options.schedule.chance(0.5)) return after;
      const seen = before.slice(0, before.length >> 1);
      return [
        ...seen,
        ...after.filter((name) => !before.includes(name) || before.indexOf(name) >= seen.length),
      ];
    });
  }

  #flush(process: Process, operation: Operation, path: string, begin: () => Flush): Promise<void> {
    const { promise, resolve, reject } = process.realm.deferred<void>();
    let flush: Flush | undefined;
    let failure: Error | undefined;
    try {
      if (!process.alive) throw new Killed();
      // What is flushed is what stands there now; a failure is told at the end.
      flush = begin();
      this.#before(process, operation, path);
    } catch (error) {
      if (error instanceof Killed || !(error as NodeJS.ErrnoException).code || !flush) {
        reject(error);
        return promise;
      }
      failure = error as Error;
    }
    const ms = 0.1 + this.options.schedule.below(this.options.flushMs * 10) / 10;
    const begun = flush;
    process.later(this.now + ms, () => {
      try {
        this.disk.finish(begun, failure);
        this.options.trace?.(`${process.name} ${operation} ${path} done`);
        resolve();
      } catch (error) {
        this.options.trace?.(
          `${process.name} ${operation} ${path}: ${(error as NodeJS.ErrnoException).code}`,
        );
        reject(error);
      }
    });
    return promise;
  }

  /** Wakes who watches the folder, a moment later. */
  #tell(path: string): void {
    const folder = path.slice(0, path.lastIndexOf('/'));
    for (const [process, watchers] of this.#watchers) {
      for (const { folder: watched, listener } of watchers) {
        if (watched !== folder || process.tasks.some(({ watch }) => watch)) continue;
        process.later(this.now + 0.2, listener, true);
      }
    }
  }

  clock(process: Process): Clock {
    const { offset } = process.container;
    return {
      now: () => this.wall + Math.floor(this.now),
      monotonic: () => Math.floor(this.now) + offset,
      timer: (ms, run) => process.later(this.now + Math.max(ms, 0), run),
      yield: () => {
        const { promise, resolve } = process.realm.deferred<void>();
        process.later(this.now, resolve);
        return promise;
      },
    };
  }

  /** The real port, over a /proc and a kill(2) of this machine. */
  #processes(self: Process): Processes {
    const others = (): Process[] =>
      this.processes.filter(
        ({ alive, container }) => alive && container.pidNamespace === self.container.pidNamespace,
      );
    const stat = ({ pid, start }: Process): string =>
      `${pid} (node) S ${Array.from({ length: 18 }, () => '0').join(' ')} ${start} 0`;
    const fs = {
      constants,
      readFileSync: (path: string): string => {
        if (path === '/proc/sys/kernel/random/boot_id') return this.options.boot;
        if (path === '/proc/self/stat') return stat(self);
        const pid = Number(/^\/proc\/(\d+)\/stat$/.exec(path)?.[1]);
        const found = others().find((one) => one.pid === pid && !one.hidden);
        if (!found) throw errno('ENOENT', path);
        return stat(found);
      },
      readlinkSync: (path: string): string =>
        path === '/proc/self/ns/pid' ? self.container.pidNamespace : self.container.timeNamespace,
    };
    const process = {
      pid: self.pid,
      platform: 'linux',
      kill: (pid: number): void => {
        const found = others().find((one) => one.pid === pid);
        if (!found) throw errno('ESRCH');
        if (found.hidden) throw errno('EPERM');
      },
    };
    const modules = { 'node:fs': fs };
    const { nodePorts } = self.realm.fresh('src/cache/node-ports.ts', {
      modules,
      process,
    }) as NodePorts;
    const identity: Identity = nodePorts.processes.self();
    return {
      self: () => identity,
      isKnownDead: (who) => nodePorts.processes.isKnownDead(who),
    };
  }
}

function told(result: unknown): string {
  if (result === undefined) return '';
  if (Array.isArray(result)) return ` = ${result.join(' ')}`;
  if (typeof result === 'string' || typeof result === 'number') return ` = ${result}`;
  const { size, links } = result as { size?: number; links?: number };
  return size === undefined ? '' : ` = ${size} bytes, ${links} names`;
}

/** The headers of the records, without payloads. */
function shown(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('latin1');
  if (!text.startsWith('\n[')) return '';
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => `\n      ${line.slice(0, 160)}`)
    .join('');
}

function uuid(time: number, random: Seeded): string {
  const hex = time.toString(16).padStart(12, '0') + random.hex(10);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-7${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
}
