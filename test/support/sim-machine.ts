/**
 * A machine for the engine to run on, of which everything is made from a seed: the same seed, the same run. Time is
 * virtual: when nothing else is left to do, the next timer is due.
 */
import type { Clock, Identity, Ports } from '../../src/cache/ports.ts';
import type { Seeded } from './seeded.ts';
import { SimFileSystem, type Loss } from './sim-fs.ts';

interface Timer {
  due: number;
  run: () => void;
}

class SimClock implements Clock {
  /** Epoch milliseconds at `monotonic() === 0`; may be changed at will. */
  wall = Date.UTC(2030, 0, 1);
  #time = 0;
  readonly #timers: Timer[] = [];
  #turning = false;
  #stopped = false;

  now(): number {
    return this.wall + Math.floor(this.#time);
  }

  monotonic(): number {
    return Math.floor(this.#time);
  }

  timer(ms: number, run: () => void): () => void {
    const timer = { due: this.#time + Math.max(ms, 0), run };
    const later = this.#timers.findIndex(({ due }) => due > timer.due);
    this.#timers.splice(later < 0 ? this.#timers.length : later, 0, timer);
    this.#turn();
    return () => {
      const at = this.#timers.indexOf(timer);
      if (at >= 0) this.#timers.splice(at, 1);
    };
  }

  yield(): Promise<void> {
    return this.sleep(0);
  }

  busy(): number {
    return 0;
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.timer(ms, resolve));
  }

  /** Time goes on without anybody being woken, as when a process is stopped. */
  advance(ms: number): void {
    this.#time += ms;
  }

  /** No timer fires any more. */
  stop(): void {
    this.#stopped = true;
  }

  #turn(): void {
    if (this.#turning || this.#timers.length === 0) return;
    this.#turning = true;
    setImmediate(() => {
      this.#turning = false;
      const timer = this.#stopped ? undefined : this.#timers.shift();
      if (!timer) return;
      this.#time = Math.max(this.#time, timer.due);
      timer.run();
      this.#turn();
    });
  }
}

export class SimMachine {
  readonly fs: SimFileSystem;
  readonly clock = new SimClock();
  readonly random: Seeded;
  /** Processes that have died. */
  readonly dead = new Set<number>();
  readonly #boot: string;
  #pids = 100;

  /** @param fs what the last power cut has left; else an empty disk with one folder, `/srv`. */
  constructor(random: Seeded, fs?: SimFileSystem) {
    this.random = random;
    this.#boot = random.hex(16);
    this.fs = fs ?? new SimFileSystem();
    if (!fs) {
      this.fs.makeFolder('/srv');
      // It may find the power gone.
      this.fs.syncFolder('/').catch(() => undefined);
    }
    this.fs.latency = () => this.clock.sleep(0.1 + random.next());
  }

  /** The ports of one more process. */
  process(): Ports & { self: Identity } {
    const { fs, clock, random } = this;
    const self: Identity = {
      pid: ++this.#pids,
      start: String(Math.floor(clock.monotonic())),
      boot: this.#boot,
      pidNamespace: 'pid:[1]',
      timeNamespace: 'time:[1]',
    };
    return {
      self,
      fs,
      clock,
      random: {
        uuid: () => uuid(clock.now(), random),
        hex: (bytes) => random.hex(bytes),
      },
      processes: {
        self: () => self,
        isKnownDead: (who) => who.boot === self.boot && this.dead.has(who.pid),
      },
    };
  }

  /** The machine as it is started again. This one stands still for ever. */
  powerCut(loss: Loss): SimMachine {
    this.clock.stop();
    return new SimMachine(this.random, this.fs.powerCut(loss, this.random));
  }
}

function uuid(time: number, random: Seeded): string {
  const hex = time.toString(16).padStart(12, '0') + random.hex(10);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-7${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
}
