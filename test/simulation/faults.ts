/** What goes wrong in a run, and who goes on meanwhile: decided before each file operation. */
import type { Stream } from './choices.ts';
import type { Decay } from './decay.ts';
import { errno } from './disk.ts';
import type { Loss } from './loss.ts';
import { ROOT, segmentsIn } from './env.ts';
import { RESERVE_BYTES } from './realm.ts';
import type { Machine, Operation, WriteUnderWay } from './machine.ts';
import type { Process } from './process.ts';

export type Fault =
  | 'kill'
  | 'stop'
  | 'power'
  | 'error'
  | 'flush'
  | 'full'
  | 'quota'
  | 'clock'
  | 'rot'
  | 'head'
  | 'seal'
  | 'note'
  | 'birth'
  | 'dusk'
  | 'index'
  | 'unread'
  | 'unnoted'
  | 'blind';

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
const HOUR = 3_600_000;
/** Longer than the others leave the making of a head to the one who sealed (`rotation.ts`). */
const HELD_MS = 80;
const SLOW_MS = 50;
/** Longer than it takes to be refused. */
const REFUSAL_MS = 0.1;
/** A record that was written just now stands in the last bytes of a file. */
const NEAR_END = 400;

export class Faults {
  readonly plan: FaultPlan;
  readonly #schedule: Stream;
  readonly #faults: Stream;
  readonly #decay: Decay;
  readonly #met: (what: string) => void;
  machine!: Machine;
  /** Nothing goes wrong any more. */
  over = false;
  #depth = 0;
  /** When other programs give the disk back. */
  #fullUntil = Infinity;
  /** When other programs of the account give back what they have used up of its quota: the disk has room all the while. */
  #overQuotaUntil = -Infinity;
  /** Operations until the power goes. */
  #cutIn = Infinity;
  /** Notes that have been written, or are about to be. */
  #notes = 0;
  #held = false;
  /** Whose reading is refused for a while, such as that of what it has claimed: what is refused once is tried again. */
  #unreadable: { process: Process; reads: number; code: string } | undefined;

  constructor(plan: FaultPlan, schedule: Stream, faults: Stream, decay: Decay, met: (what: string) => void) {
    this.plan = plan;
    this.#schedule = schedule;
    this.#faults = faults;
    this.#decay = decay;
    this.#met = met;
  }

  interfere(process: Process, operation: Operation, path: string, write?: WriteUnderWay): void {
    const { machine, plan } = this;
    if (machine.now > this.#fullUntil) this.relieve();
    if (this.over) return;
    this.#keepToQuota(path, write);
    if (--this.#cutIn === 0) {
      this.#cutIn = Infinity;
      return this.#happen('power', process, operation, path);
    }
    this.#refuseAgain(process, operation, path);
    if (this.#isNotToBeRead(path, write)) {
      this.#met('refused operations');
      this.#unreadable = { process, reads: 2 + this.#faults.below(8), code: 'EIO' };
    }
    this.#writeAndRead(process, path, write);
    this.#flushOfSeal(operation, path);
    if (isNote(path, write)) this.#beforeNote(process);
    if (operation === 'rename' && path.includes('/tmp-')) this.#beforeName(process);
    if (process.alive && this.#isEve(operation, path, write)) {
      // What hangs on a note is done with the next few operations; who finds a queue that has just been born has many to do.
      const within = operation === 'remove' ? 6 : isNote(path, write) ? 16 : this.#faults.pick([100, 400]);
      this.#cutIn = 1 + this.#faults.below(within);
    }
    this.#rotAtItsTime(operation, path);
    this.#duringFlush(process, operation, path);
    if (this.#schedule.chance(plan.switching)) this.#others(1 + this.#schedule.below(12), Infinity, process);
    if (!process.alive || !machine.on || plan.kinds.length === 0 || !this.#faults.chance(plan.rate)) return;
    const kind = this.#faults.weighted(plan.kinds);
    this.#happen(kind, process, operation, path, write);
  }

  /** Gives back what other programs have taken of the disk. */
  relieve(): void {
    this.machine.disk.capacity = Infinity;
    this.#fullUntil = Infinity;
    this.#overQuotaUntil = -Infinity;
  }

  #keepToQuota(path: string, write?: WriteUnderWay): void {
    if (!write || this.machine.now > this.#overQuotaUntil) return;
    // Who waits outlasts it; who only tries again does not.
    this.#overQuotaUntil += REFUSAL_MS;
    this.#met('refused operations');
    this.#met('refused changes');
    throw errno('EDQUOT', path);
  }

  /**
   * Lets other processes go on, in the middle of what `process` does.
   * @param enough says when it was enough before that.
   */
  #others(steps: number, until: number, process: Process, enough = (): boolean => false): void {
    const { machine } = this;
    if (this.#depth === DEPTH) return;
    this.#depth++;
    machine.options.trace?.(`  ${process.name} stands still`);
    for (let i = 0; i < steps && process.alive && machine.on && !enough(); i++)
      if (!machine.step(until)) break;
    if (until !== Infinity && !enough()) machine.now = Math.max(machine.now, until);
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
        // Small ones, too: what looks like an hour's sleep is treated as one.
        machine.wall += choices.chance(0.5)
          ? choices.below(4 * plan.lease) - 2 * plan.lease
          : (choices.below(5) - 2) * HOUR + choices.below(2000) - 1000;
        return undefined;
      case 'full':
        if (!this.#hasReserve(path)) return undefined;
        this.#met('full disks');
        machine.disk.capacity = machine.disk.used + choices.below(3) * 5000;
        this.#fullUntil = machine.now + 20 + choices.below(100);
        return undefined;
      case 'quota':
        this.#met('quotas');
        this.#overQuotaUntil = machine.now + 5 + choices.below(50);
        return undefined;
      case 'flush':
        if (operation !== 'sync' && operation !== 'syncFolder') return undefined;
        this.#met('failed flushes');
        throw errno('EIO', path);
      case 'error':
        return this.#refuse(process, operation, path, write);
      case 'rot':
        return this.#decay.ofSegment(machine, path);
      case 'head':
        return this.#decay.ofHead(machine, path);
      case 'seal':
      case 'note':
      case 'birth':
      case 'dusk':
      case 'index':
      case 'unread':
      case 'unnoted':
      case 'blind':
        // Happen at their own times: see below.
        return undefined;
    }
  }

  /** The flush of a seal fails, and soon after it the power: what others have written behind it may be there without it. */
  #flushOfSeal(operation: Operation, path: string): void {
    if (operation !== 'sync' || !path.endsWith('.journal') || this.#cutIn !== Infinity) return;
    if (!this.#has('seal') || this.machine.disk.kind(path) !== 'file') return;
    if (!holds(this.machine.disk.contents(path).subarray(-NEAR_END), 'seal') || !this.#faults.chance(0.3))
      return;
    this.#met('failed flushes');
    this.#cutIn = 1 + this.#faults.below(150);
    throw errno('EIO', path);
  }

  /** Who is about to note its head is held up until another has noted one, too: seldom do two make one at the same time. */
  #beforeNote(process: Process): void {
    const before = this.#notes;
    if (this.#has('note') && !this.#held && this.#faults.chance(0.7)) {
      this.#held = true;
      this.#others(1000, this.machine.now + HELD_MS, process, () => this.#notes > before);
      this.#held = false;
    }
    this.#notes++;
  }

  /** Who is about to give a head its name is held up, too, until others have lost patience with it. */
  #beforeName(process: Process): void {
    if (!this.#has('note') || this.#held || !this.#faults.chance(0.3)) return;
    this.#held = true;
    this.#others(1000, this.machine.now + HELD_MS, process);
    this.#held = false;
  }

  /** Others go on while a flush takes long, and see what is not on the disk yet; then the power goes. */
  #duringFlush(process: Process, operation: Operation, path: string): void {
    if (!process.alive || !this.machine.on) return;
    const born = this.#has('birth') && this.#cutIn < Infinity && this.#makesBirthLast(operation, path);
    const dusk = operation === 'sync' && path.endsWith('.journal') && this.#has('dusk');
    if (!born && !dusk) return;
    if (!this.#faults.chance(born ? 0.9 : 0.03)) return;
    this.#met('slow flushes');
    if (this.#cutIn === Infinity) this.#cutIn = 1 + this.#faults.below(60);
    this.#others(400, this.machine.now + SLOW_MS, process);
    if (process.alive && this.machine.on && this.#faults.chance(0.5)) this.#cutIn = 1;
  }

  /** A flush of the name of a queue that was just born, or of the record with which one was created anew. */
  #makesBirthLast(operation: Operation, path: string): boolean {
    if (operation === 'syncFolder') return path === ROOT;
    if (operation !== 'sync' || !path.endsWith('.journal')) return false;
    const { disk } = this.machine;
    return disk.kind(path) === 'file' && holds(disk.contents(path).subarray(-NEAR_END), 'create');
  }

  /** Whether the power goes soon, so that of two things that hang together one may be lost. */
  #isEve(operation: Operation, path: string, write?: WriteUnderWay): boolean {
    if (this.#cutIn !== Infinity) return false;
    const born = operation === 'rename' && path.includes('/.new-');
    if (this.#has('birth') && (born || (!path.includes('/.new-') && holds(write?.bytes, 'create')))) {
      this.#met('births before a cut');
      return this.#faults.chance(born ? 0.9 : 0.5);
    }
    // A head that another has overtaken goes: that may last when what it rests on does not.
    if (operation === 'remove' && path.includes('/tmp-'))
      return this.#has('note') && this.#notes > 1 && this.#faults.chance(0.5);
    if (!this.#has('note') || !isNote(path, write)) return false;
    const { disk } = this.machine;
    if (disk.kind(path) !== 'file' || !holds(disk.contents(path), 'next')) return this.#faults.chance(0.1);
    this.#met('second notes');
    return this.#faults.chance(0.5);
  }

  #has(kind: Fault): boolean {
    return this.plan.kinds.some(([other]) => other === kind);
  }

  #refuse(process: Process, operation: Operation, path: string, write?: WriteUnderWay): void {
    const choices = this.#faults;
    // Flushes are a fault of their own.
    if (operation === 'sync' || operation === 'syncFolder') return;
    this.#met('refused operations');
    this.#met(operation === 'open' || operation === 'read' ? 'refused reads' : 'refused changes');
    if (write && write.length > 1 && choices.chance(0.5))
      return write.cut(1 + choices.below(write.length - 1));
    const code = choices.pick(['EIO', 'EINTR', ...(write ? ['ENOSPC'] : ['EMFILE'])]);
    if (operation === 'read') this.#unreadable = { process, reads: choices.below(8), code };
    throw errno(code, path);
  }

  /** What has been claimed, or a note: who cannot read back what it has written does not know whether it is there. */
  #isNotToBeRead(path: string, write?: WriteUnderWay): boolean {
    if (this.#has('unread') && holds(write?.bytes, 'claim')) return this.#faults.chance(0.2);
    return this.#has('unnoted') && isNote(path, write) && this.#faults.chance(0.5);
  }

  /** A write is refused, and so is the reading that is to tell what stands there. */
  #writeAndRead(process: Process, path: string, write?: WriteUnderWay): void {
    if (!write || !path.endsWith('.journal') || !this.#has('blind') || !this.#faults.chance(0.02)) return;
    this.#met('refused operations');
    this.#met('refused changes');
    this.#met('writes and reads refused');
    this.#unreadable = { process, reads: 1 + this.#faults.below(3), code: 'EIO' };
    throw errno('EIO', path);
  }

  #refuseAgain(process: Process, operation: Operation, path: string): void {
    const again = this.#unreadable;
    if (again?.process !== process || operation !== 'read' || again.reads-- <= 0) return;
    this.#met('refused reads');
    throw errno(again.code, path);
  }

  /** Without its reserve a queue has nothing to fall back on. One that was never flushed may be empty after a power cut. */
  #hasReserve(path: string): boolean {
    const { disk } = this.machine;
    const reserve = `${path.slice(0, path.lastIndexOf('/'))}/reserve`;
    return disk.kind(reserve) === 'file' && disk.contents(reserve).length === RESERVE_BYTES;
  }

  /** An index, as it is read; the newest head, as what may be needed to make it again is deleted. */
  #rotAtItsTime(operation: Operation, path: string): void {
    const { machine } = this;
    if (operation === 'read' && path.endsWith('.index') && this.#has('index') && this.#faults.chance(0.5))
      this.#decay.ofIndex(machine, path);
    if (operation !== 'remove' || !path.endsWith('.journal') || !this.#has('head')) return;
    const folder = path.slice(0, path.lastIndexOf('/'));
    const newest = segmentsIn(machine.disk.list(folder)).at(-1)!;
    if (this.#faults.chance(0.6)) this.#decay.ofHead(machine, `${folder}/${newest}`);
  }
}

function isNote(path: string, write: WriteUnderWay | undefined): boolean {
  return path.endsWith('.journal') && holds(write?.bytes, 'next');
}

/** Whether a record of that operation stands among the bytes. */
function holds(bytes: Uint8Array | undefined, op: string): boolean {
  if (!bytes) return false;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes(`{"op":"${op}"`);
}
