/** The file system of a simulated machine, as one of its processes meets it: at each operation anything may happen first. */
import type { FileSystem } from '../../src/cache/ports.ts';
import type { Flush } from './disk.ts';
import type { Machine, Operation } from './machine.ts';
import { Killed, type Process } from './process.ts';

export function fileSystem(machine: Machine, process: Process): FileSystem {
  return new Files(machine, process).port();
}

class Files {
  readonly #machine: Machine;
  readonly #process: Process;

  constructor(machine: Machine, process: Process) {
    this.#machine = machine;
    this.#process = process;
  }

  port(): FileSystem {
    const { disk, options } = this.#machine;
    const process = this.#process;
    const path = (fd: number): string => disk.pathOf(fd);
    const on = <T>(operation: Operation, fd: number, run: () => T): T =>
      this.#operate(operation, process.alive ? path(fd) : '', run);
    const names = (operation: Operation, at: string, run: () => void, detail?: string): void => {
      this.#operate(operation, at, () => {
        run();
        options.observe(operation, at, detail);
        this.#machine.tell(detail ?? at);
      });
    };
    return {
      open: (at, how, mode) =>
        this.#operate('open', at, () => {
          const fd = disk.open(at, how, mode);
          process.handles.add(fd);
          if (how === 'create') this.#machine.tell(at);
          return fd;
        }),
      close: (fd) => {
        // The death of the process has closed it.
        if (!process.alive) return;
        process.handles.delete(fd);
        disk.close(fd);
      },
      write: (fd, bytes, offset, length, position) =>
        this.#write(fd, bytes.subarray(offset, offset + length), position),
      read: (fd, into, offset, length, position) =>
        on('read', fd, () => disk.read(fd, into, offset, length, position)),
      stat: (fd) => on('stat', fd, () => disk.stat(fd)),
      truncate: (fd, size) => on('truncate', fd, () => disk.truncate(fd, size)),
      setOwner: (fd, uid, gid) => on('setOwner', fd, () => disk.setOwner(fd, uid, gid)),
      setMode: (fd, mode) => on('setMode', fd, () => disk.setMode(fd, mode)),
      sync: (fd) => this.#flush('sync', process.alive ? path(fd) : '', () => disk.beginSync(fd)),
      syncFolder: (at) => this.#flush('syncFolder', at, () => disk.beginSyncFolder(at)),
      rename: (from, to) => names('rename', from, () => disk.rename(from, to), to),
      remove: (at) => names('remove', at, () => disk.remove(at)),
      makeFolder: (at) => names('makeFolder', at, () => disk.makeFolder(at)),
      removeFolder: (at) => names('removeFolder', at, () => disk.removeFolder(at)),
      list: (at) => this.#list(at),
      kind: (at) => this.#operate('kind', at, () => disk.kind(at)),
      resolve: (at) => at,
      space: (at) => this.#operate('space', at, () => ({ free: disk.capacity - disk.used, type: 0xef53 })),
      watch: (folder, listener) => this.#machine.watch(process, { folder, listener }),
    };
  }

  #operate<T>(operation: Operation, path: string, run: () => T): T {
    const { name } = this.#process;
    const { trace } = this.#machine.options;
    this.#machine.before(this.#process, operation, path);
    let result: T;
    try {
      result = run();
    } catch (error) {
      trace?.(`${name} ${operation} ${path}: ${(error as NodeJS.ErrnoException).code}`);
      throw error;
    }
    trace?.(`${name} ${operation} ${path}${told(result)}`);
    return result;
  }

  #write(fd: number, bytes: Uint8Array, position?: number): number {
    const machine = this.#machine;
    const process = this.#process;
    const { disk, options } = machine;
    const { length } = bytes;
    if (!process.alive) throw new Killed();
    const path = disk.pathOf(fd);
    const cut: { at: number; behind?: (() => void) | undefined } = { at: length };
    machine.before(process, 'write', path, {
      bytes,
      length,
      cut: (at, behind) => Object.assign(cut, { at, behind }),
    });
    const wanted = bytes.subarray(0, cut.at);
    let written: number;
    try {
      written = disk.write(fd, wanted, position);
    } catch (error) {
      options.trace?.(`${process.name} write ${path}: ${(error as NodeJS.ErrnoException).code}`);
      throw error;
    }
    options.trace?.(`${process.name} write ${path} ${written} of ${length}${shown(wanted)}`);
    options.observe('write', path, wanted);
    machine.tell(path);
    if (cut.behind) {
      cut.behind();
      throw new Killed();
    }
    return written;
  }

  /** A listing that runs while names change may miss some, and show one twice. */
  #list(at: string): string[] {
    const { disk, options } = this.#machine;
    const before = disk.kind(at) === 'folder' && this.#process.alive ? disk.list(at) : [];
    return this.#operate('list', at, () => {
      const after = disk.list(at);
      if (before.join() === after.join() || !options.schedule.chance(0.5)) return after;
      const seen = before.slice(0, before.length >> 1);
      return [
        ...seen,
        ...after.filter((name) => !before.includes(name) || before.indexOf(name) >= seen.length),
      ];
    });
  }

  #flush(operation: Operation, path: string, begin: () => Flush): Promise<void> {
    const machine = this.#machine;
    const process = this.#process;
    const { disk, options } = machine;
    const { promise, resolve, reject } = process.realm.deferred<void>();
    let flush: Flush | undefined;
    let failure: Error | undefined;
    try {
      if (!process.alive) throw new Killed();
      // What is flushed is what stands there now; a failure is told at the end.
      flush = begin();
      machine.before(process, operation, path);
    } catch (error) {
      if (error instanceof Killed || !(error as NodeJS.ErrnoException).code || !flush) {
        reject(error);
        return promise;
      }
      failure = error as Error;
    }
    const ms = 0.1 + options.schedule.below(options.flushMs * 10) / 10;
    const begun = flush;
    process.later(machine.now + ms, () => {
      try {
        disk.finish(begun, failure);
        options.trace?.(`${process.name} ${operation} ${path} done`);
        resolve();
      } catch (error) {
        options.trace?.(`${process.name} ${operation} ${path}: ${(error as NodeJS.ErrnoException).code}`);
        reject(error);
      }
    });
    return promise;
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
