/** What goes wrong in a run, and who goes on meanwhile: decided before each file operation. */
import type { Stream } from './choices.ts';
import { errno, type Loss } from './disk.ts';
import { RESERVE_BYTES } from './realm.ts';
import type { Machine, Operation, Process, WriteUnderWay } from './machine.ts';

export type Fault =
  | 'kill'
  | 'stop'
  | 'power'
  | 'error'
  | 'flush'
  | 'full'
  | 'clock'
  | 'rot'
  | 'head'
  | 'seal';

export interface FaultPlan {
  /** How often others go on in the middle of an operation. */
  switching: number;
  /** How often something goes wrong, and what. */
  rate: number;
  kinds: readonly (readonly [Fault, number])[];
  loss: Loss;
  lease: number;
}

/** Processes that stand inside one another at most. */
const DEPTH = 4;
/** A run that takes so many operations does not come to an end. */
const MOST_OPERATIONS = 50_000;
const HOUR = 3_600_000;

export class Faults {
  readonly plan: FaultPlan;
  readonly #schedule: Stream;
  readonly #faults: Stream;
  readonly #met: (what: string) => void;
  machine!: Machine;
  /** Nothing goes wrong any more. */
  over = false;
  #depth = 0;
  /** When other programs give the disk back. */
  #fullUntil = Infinity;
  #headRotten = false;
  /** Operations until the power goes. */
  #cutIn = Infinity;

  constructor(plan: FaultPlan, schedule: Stream, faults: Stream, met: (what: string) => void) {
    this.plan = plan;
    this.#schedule = schedule;
    this.#faults = faults;
    this.#met = met;
  }

  interfere(process: Process, operation: Operation, path: string, write?: WriteUnderWay): void {
    const { machine, plan } = this;
    if (machine.operations > MOST_OPERATIONS) throw new Error('the run does not come to an end');
    if (machine.now > this.#fullUntil) this.relieve();
    if (this.over) return;
    if (--this.#cutIn === 0) {
      this.#cutIn = Infinity;
      return this.#happen('power', process, operation, path);
    }
    this.#flushOfSeal(operation, path);
    if (this.#schedule.chance(plan.switching)) this.#others(1 + this.#schedule.below(12), Infinity, process);
    if (!process.alive || !machine.on || plan.kinds.length === 0 || !this.#faults.chance(plan.rate)) return;
    const kind = this.#faults.weighted(plan.kinds);
    this.#happen(kind, process, operation, path, write);
  }

  /** Gives back what other programs have taken of the disk. */
  relieve(): void {
    this.machine.disk.capacity = Infinity;
    this.#fullUntil = Infinity;
  }

  /** Lets other processes go on, in the middle of what `process` does. */
  #others(steps: number, until: number, process: Process): void {
    const { machine } = this;
    if (this.#depth === DEPTH) return;
    this.#depth++;
    machine.options.trace?.(`  ${process.name} stands still`);
    for (let i = 0; i < steps && process.alive && machine.on; i++) if (!machine.step(until)) break;
    if (until !== Infinity) machine.now = Math.max(machine.now, until);
    machine.options.trace?.(`  ${process.name} goes on`);
    this.#depth--;
  }

  #happen(kind: Fault, process: Process, operation: Operation, path: string, write?: WriteUnderWay): void {
    const { machine, plan } = this;
    const choices = this.#faults;
    switch (kind) {
      case 'kill': {
        this.#met('killed');
        if (write && choices.chance(0.7)) {
          this.#met('torn');
          return write.cut(choices.below(write.length), () => machine.kill(process));
        }
        // Somebody else, perhaps one that waits, or that this one has interrupted.
        const victims = machine.processes.filter(({ alive }) => alive);
        return machine.kill(choices.chance(0.7) ? process : choices.pick(victims));
      }
      case 'power':
        this.#met('power cuts');
        if (write && choices.chance(0.5))
          return write.cut(choices.below(write.length), () => machine.cutPower());
        return machine.cutPower();
      case 'stop': {
        this.#met('stopped');
        const until = machine.now + plan.lease * (0.5 + choices.below(60) / 10);
        if (choices.chance(0.5)) return this.#others(3000, until, process);
        process.stoppedUntil = until;
        return undefined;
      }
      case 'clock':
        this.#met('clock jumps');
        machine.wall += (choices.below(5) - 2) * HOUR + choices.below(2000) - 1000;
        return undefined;
      case 'full':
        if (!this.#hasReserve(path)) return undefined;
        this.#met('full disks');
        machine.disk.capacity = machine.disk.used + choices.below(3) * 5000;
        this.#fullUntil = machine.now + 20 + choices.below(100);
        return undefined;
      case 'flush':
        if (operation !== 'sync' && operation !== 'syncFolder') return undefined;
        this.#met('failed flushes');
        throw errno('EIO', path);
      case 'error':
        return this.#refuse(operation, path, write);
      case 'rot':
        return this.#rot(path);
      case 'head':
        return this.#rotOfHead(path);
      case 'seal':
        // Happens when a seal is flushed: see below.
        return undefined;
    }
  }

  /** The flush of a seal fails, and soon after it the power: what others have written behind it may be there without it. */
  #flushOfSeal(operation: Operation, path: string): void {
    if (operation !== 'sync' || !path.endsWith('.journal') || this.#cutIn !== Infinity) return;
    if (!this.plan.kinds.some(([kind]) => kind === 'seal') || this.machine.disk.kind(path) !== 'file') return;
    const written = Buffer.from(this.machine.disk.contents(path)).subarray(-400);
    if (!written.includes('{"op":"seal"') || !this.#faults.chance(0.3)) return;
    this.#met('failed flushes');
    this.#cutIn = 1 + this.#faults.below(150);
    throw errno('EIO', path);
  }

  #refuse(operation: Operation, path: string, write?: WriteUnderWay): void {
    const choices = this.#faults;
    // Flushes are a fault of their own.
    if (operation === 'sync' || operation === 'syncFolder') return;
    this.#met('refused operations');
    if (write && write.length > 1 && choices.chance(0.5))
      return write.cut(1 + choices.below(write.length - 1));
    throw errno(choices.pick(['EIO', 'EINTR', ...(write ? ['ENOSPC'] : ['EMFILE'])]), path);
  }

  /** Without its reserve a queue has nothing to fall back on. One that was never flushed may be empty after a power cut. */
  #hasReserve(path: string): boolean {
    const { disk } = this.machine;
    const reserve = `${path.slice(0, path.lastIndexOf('/'))}/reserve`;
    return disk.kind(reserve) === 'file' && disk.contents(reserve).length === RESERVE_BYTES;
  }

  /** One byte of the newest head; once, for with two heads gone nothing is promised. */
  #rotOfHead(path: string): void {
    const { disk } = this.machine;
    const folder = path.slice(0, path.lastIndexOf('/'));
    if (this.#headRotten || !path.endsWith('.journal') || disk.kind(path) !== 'file') return;
    const segments = disk
      .list(folder)
      .filter((name) => name.endsWith('.journal'))
      .sort();
    if (segments.length < 2 || path !== `${folder}/${segments.at(-1)}`) return;
    const head = Buffer.from(disk.contents(path)).indexOf('{"op":"ready"');
    if (head < 0) return;
    this.#headRotten = true;
    this.#met('rotten heads');
    const at = this.#faults.below(head);
    this.machine.options.trace?.(`  byte ${at} of the head ${path} rots`);
    disk.corrupt(path, at, 1 + this.#faults.below(255));
  }

  /** One byte of the file that somebody is about to use. */
  #rot(path: string): void {
    if (!path.endsWith('.journal')) return;
    const { disk } = this.machine;
    if (disk.kind(path) !== 'file') return;
    const { length } = disk.contents(path);
    if (length === 0) return;
    this.#met('rotten bytes');
    const at = this.#faults.below(length);
    this.machine.options.trace?.(`  byte ${at} of ${path} rots`);
    disk.corrupt(path, at, 1 + this.#faults.below(255));
  }
}
