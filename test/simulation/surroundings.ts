/** What a simulated process has around it: files, time, chance, and the other processes. */
import { constants } from 'node:fs';
import type { Clock, Identity, Ports, Processes, Random } from '../../src/cache/ports.ts';
import type * as processTable from '../../src/process-table.ts';
import type { Seeded } from '../support/seeded.ts';
import { errno } from './disk.ts';
import { fileSystem } from './file-system.ts';
import type { Machine } from './machine.ts';
import type { Process } from './process.ts';

export function portsOf(machine: Machine, process: Process): Ports {
  return {
    fs: fileSystem(machine, process),
    clock: clock(machine, process),
    random: random(machine),
    processes: processes(machine, process),
  };
}

/** Longer than a process may compute before others have their turn. */
const LONG_MS = 1000;
/** That much longer, about, it may have computed when they have it. */
const BREATH_MS = 4;

const LOOKING: ReadonlySet<string> = new Set([
  'close',
  'read',
  'stat',
  'list',
  'kind',
  'resolve',
  'space',
  'watch',
]);

/** The same ports for who must change nothing. @param touched is told of what was called that may. */
export function readOnly(ports: Ports, touched: (what: string) => void): Ports {
  const fs = { ...ports.fs };
  for (const name of Object.keys(fs)) {
    if (LOOKING.has(name) || name === 'open') continue;
    Object.assign(fs, {
      [name]: () => {
        touched(name);
        throw errno('EROFS');
      },
    });
  }
  fs.open = (path, how, mode) => {
    if (how !== 'read') touched(`open for ${how}`);
    return ports.fs.open(path, how, mode);
  };
  return { ...ports, fs };
}

function clock(machine: Machine, process: Process): Clock {
  const { offset } = process.container;
  let computed = false;
  return {
    now: () => machine.wall + Math.floor(machine.now),
    monotonic: () => Math.floor(machine.now) + offset,
    timer: (ms, run) => process.later(machine.now + Math.max(ms, 0), run),
    yield: () => {
      const { promise, resolve } = process.realm.deferred<void>();
      // What has fallen due while it computed has its turn first.
      const ms = computed ? machine.options.entropy.below(2 * BREATH_MS) : 0;
      computed = false;
      process.later(machine.now + ms, resolve);
      return promise;
    },
    // Time stands still while a process computes; that it has been long is a matter of chance.
    busy: () => {
      computed ||= machine.options.entropy.chance(1 / 16);
      return computed ? LONG_MS : 0;
    },
  };
}

function random(machine: Machine): Random {
  const { entropy } = machine.options;
  return {
    uuid: () => uuid(machine.wall + Math.floor(machine.now), entropy),
    hex: (bytes) => entropy.hex(bytes),
  };
}

/** The real port, over a /proc and a kill(2) of this machine. */
function processes(machine: Machine, self: Process): Processes {
  const others = (): Process[] =>
    machine.processes.filter(
      ({ alive, container }) => alive && container.pidNamespace === self.container.pidNamespace,
    );
  const stat = ({ pid, start }: Process): string =>
    `${pid} (node) S ${Array.from({ length: 18 }, () => '0').join(' ')} ${start} 0`;
  const fs = {
    constants,
    readFileSync: (path: string): string => {
      if (path === '/proc/sys/kernel/random/boot_id') return machine.options.boot;
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
  const { nodeProcesses } = self.realm.fresh('src/process-table.ts', {
    modules,
    process,
  }) as typeof processTable;
  const identity: Identity = nodeProcesses.self();
  return {
    self: () => identity,
    isKnownDead: (who) => nodeProcesses.isKnownDead(who),
  };
}

function uuid(time: number, random: Seeded): string {
  const hex = time.toString(16).padStart(12, '0') + random.hex(10);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-7${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
}
