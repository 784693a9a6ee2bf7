/** One run: what a seed, or a record of choices, leads to. */
import type { Durability, QueueOptions } from '../../src/backend.ts';
import type { Log } from '../../src/cache/log.ts';
import type * as logModule from '../../src/cache/log.ts';
import { Seeded } from '../support/seeded.ts';
import { Choices, hash, type Record, type Stream } from './choices.ts';
import type { Env, Step } from './client.ts';
import { Q, ROOT } from './client.ts';
import type * as clientModule from './client.ts';
import { Disk, type Loss } from './disk.ts';
import { Faults, type Fault } from './faults.ts';
import { Machine, type Container, type Operation, type Process } from './machine.ts';
import { Code, type Realm } from './realm.ts';
import { Violation, Witness } from './witness.ts';

export interface Outcome {
  /** What was not kept, in words. */
  violation: string | undefined;
  /** File operations, and calls of clients. */
  operations: number;
  calls: number;
  /** How often what was met. */
  met: Map<string, number>;
  choices: Record;
}

interface Plan {
  processes: number;
  lanes: number;
  steps: number;
  durability: Durability;
  segmentBytes: number;
  options: QueueOptions;
  weights: readonly (readonly [Step, number])[];
  kinds: readonly (readonly [Fault, number])[];
  rate: number;
  switching: number;
  loss: Loss;
  lease: number;
  containers: readonly Container[];
  hidden: boolean;
  flushMs: number;
}

const CONTAINERS: readonly Container[] = [
  { pidNamespace: 'pid:[1]', timeNamespace: 'time:[1]', offset: 0 },
  { pidNamespace: 'pid:[2]', timeNamespace: 'time:[1]', offset: 0 },
  { pidNamespace: 'pid:[3]', timeNamespace: 'time:[3]', offset: 1_000_000 },
];

/** What clients do often, and what only in some runs. */
const USUAL: readonly (readonly [Step, number])[] = [
  ['add', 14],
  ['addMany', 6],
  ['claim', 14],
  ['take', 2],
  ['find', 2],
  ['look', 2],
  ['status', 2],
];
const RARE: readonly (readonly [Step, number])[] = [
  ['update', 6],
  ['remove', 4],
  ['cancel', 2],
  ['retry', 2],
  ['pause', 2],
  ['purge', 1],
  ['destroy', 3],
  ['attribute', 3],
  ['reopen', 4],
  ['verify', 1],
];
const FAULTS: readonly (readonly [Fault, number, number])[] = [
  ['kill', 3, 0.5],
  ['stop', 3, 0.4],
  ['power', 1, 0.5],
  ['error', 3, 0.15],
  ['flush', 6, 0.15],
  ['full', 2, 0.15],
  ['clock', 2, 0.25],
  ['rot', 2, 0.08],
  ['head', 3, 0.1],
  ['seal', 1, 0.15],
];

/** A run has only some of what is possible: what always happens hides what seldom does. */
function planned(choices: Stream): Plan {
  const processes = 1 + choices.below(4);
  const lanes = 1 + choices.below(2);
  const steps = 6 + choices.below(30);
  const durability = choices.weighted([
    ['always', 7],
    ['interval', 1],
    ['os', 1],
  ] as const);
  const segmentBytes = choices.pick([1e6, 3000, 5000, 10_000, 1000, 300]);
  const options: QueueOptions = {};
  if (choices.chance(0.4)) options.uniqueAlias = true;
  if (choices.chance(0.1)) options.maxMessages = 5 + choices.below(10);
  const weights = [...USUAL, ...RARE.filter(() => choices.chance(0.4))];
  const kinds = FAULTS.filter(([, , likely]) => choices.chance(likely)).map(
    ([kind, weight]) => [kind, weight] as const,
  );
  const loss: Loss = {
    sectors: choices.pick(['all', 'tail', 'any']),
    names: choices.pick(['all', 'ordered', 'any']),
  };
  return {
    processes,
    lanes,
    steps,
    durability,
    segmentBytes,
    options,
    weights,
    kinds,
    loss,
    rate: choices.pick([0.002, 0.005, 0.01]),
    switching: choices.pick([0, 0.01, 0.05, 0.2]),
    lease: 20 + choices.below(60),
    containers: choices.chance(0.3) ? CONTAINERS : CONTAINERS.slice(0, 1),
    hidden: choices.chance(0.3),
    flushMs: choices.pick([3, 3, 30]),
  };
}

/** Realms are costly: they are used again from run to run. */
export interface Engine {
  code: Code;
  spare: Realm[];
  /** Called whenever a handle has applied records. */
  applied: (log: Log) => void;
}

export function makeEngine(code = new Code()): Engine {
  return { code, spare: [], applied: () => undefined };
}

const EPOCHS = 3;

export function simulate(from: number | Record, engine: Engine, trace?: (line: string) => void): Outcome {
  return new Run(from, engine, trace).outcome();
}

class Run {
  readonly #engine: Engine;
  readonly #choices: Choices;
  readonly #plan: Plan;
  readonly #witness: Witness;
  readonly #faults: Faults;
  readonly #trace: ((line: string) => void) | undefined;
  readonly #met = new Map<string, number>();
  readonly #entropy: number;
  #machine!: Machine;
  #agreed = new Map<string, string>();
  #violation: string | undefined;
  #operations = 0;
  #spawned = 0;

  constructor(from: number | Record, engine: Engine, trace: ((line: string) => void) | undefined) {
    this.#engine = engine;
    this.#choices = new Choices(from);
    this.#entropy = this.#choices.stream('entropy').below(2 ** 31);
    this.#trace = trace;
    this.#plan = planned(this.#choices.stream('plan'));
    const { durability, options, switching, rate, kinds, loss, lease } = this.#plan;
    this.#witness = new Witness({
      durable: durability === 'always',
      limit: options.maxMessages,
      uniqueAlias: options.uniqueAlias === true,
      machineTime: () => this.#machine.now,
    });
    const plan = { switching, rate, kinds, loss, lease };
    this.#faults = new Faults(
      plan,
      this.#choices.stream('schedule'),
      this.#choices.stream('faults'),
      (what) => this.#meet(what),
    );
  }

  outcome(): Outcome {
    this.#engine.applied = (log) => this.#agree(log);
    this.#trace?.(JSON.stringify(this.#plan));
    try {
      this.#work();
    } catch (error) {
      this.#violate(error);
    }
    this.#operations += this.#machine.operations;
    this.#machine.cutPower();
    return {
      violation: this.#violation,
      operations: this.#operations,
      calls: this.#witness.calls,
      met: this.#met,
      choices: this.#choices.record,
    };
  }

  #work(): void {
    this.#boot(new Disk(), 0);
    for (let epoch = 0; ; epoch++) {
      for (let i = 0; i < this.#plan.processes; i++) this.#client(`p${++this.#spawned}`);
      this.#untilOver();
      if (this.#violation !== undefined) return;
      if (this.#machine.on || epoch === EPOCHS) break;
      this.#restart(epoch + 1);
    }
    this.#faults.over = true;
    if (!this.#machine.on) this.#restart(EPOCHS + 1);
    this.#faults.relieve();
    this.#trace?.('all is over');
    this.#client('last', 'finish');
    this.#untilOver();
  }

  #boot(disk: Disk, epoch: number): void {
    const { code, spare } = this.#engine;
    const time = this.#machine?.now ?? 0;
    const wall = this.#machine?.wall ?? Date.UTC(2030, 0, 1);
    this.#machine = new Machine(
      {
        code,
        disk,
        boot: `boot-${epoch}`,
        schedule: this.#choices.stream('schedule'),
        flushMs: this.#plan.flushMs,
        entropy: new Seeded(hash(`${this.#entropy} ${epoch}`)),
        interfere: (process, operation, path, write) => {
          if (operation === 'read' && path.endsWith('.index')) this.#meet('indexes read');
          this.#faults.interfere(process, operation, path, write);
        },
        trace: this.#trace,
        observe: (operation, path, detail) => this.#observe(operation, path, detail),
      },
      spare,
    );
    this.#machine.wall = wall + Math.floor(time);
    this.#faults.machine = this.#machine;
    this.#agreed = new Map();
  }

  #restart(epoch: number): void {
    const { loss } = this.#plan;
    this.#operations += this.#machine.operations;
    const disk = this.#machine.disk.powerCut(loss, this.#choices.stream('loss'));
    // What a failed flush has dropped is missing in the middle, too.
    this.#witness.powerCut(loss.sectors === 'any' || this.#met.has('failed flushes'));
    this.#boot(disk, epoch);
  }

  /** Until every process has ended. */
  #untilOver(): void {
    const machine = this.#machine;
    while (this.#violation === undefined && machine.on) {
      if (machine.step()) continue;
      const waiting = machine.processes.find(({ alive }) => alive);
      if (waiting) throw new Violation(`${waiting.name} waits for something that never comes`);
      return;
    }
  }

  #client(name: string, program: 'work' | 'finish' = 'work'): void {
    const machine = this.#machine;
    const plan = this.#plan;
    const choices = this.#choices.stream(name);
    const container = choices.pick(plan.containers);
    const process = machine.spawn(name, container, plan.hidden && choices.chance(0.5));
    const { run, ...programs } = process.realm.load('test/simulation/client.ts') as typeof clientModule;
    watchLogs(process.realm, this.#engine);
    const { durability, segmentBytes, options, lease, lanes, steps, weights } = plan;
    const env: Env = {
      process,
      ports: machine.ports(process),
      witness: this.#witness,
      choices,
      durability,
      segmentBytes,
      options,
      lease,
      lanes,
      steps,
      weights,
      judge: (error, during) => this.#judge(error, during, process),
      done: (error) => this.#done(process, error),
      leave: () => this.#leave(process),
      say: (text) => this.#say(`${name}: ${text}`),
      time: () => machine.now,
      met: (what) => this.#meet(what),
    };
    process.onDeath = () => {
      this.#witness.died(process);
      // A supervisor starts another.
      if (machine.on && program === 'work' && !finished.has(process) && this.#spawned < 12) {
        this.#client(`p${++this.#spawned}`);
      }
    };
    machine.start(process, () => void run(env, programs[program]));
  }

  #done(process: Process, error: unknown): void {
    if (!process.alive) return;
    if (error !== undefined) this.#violate(error);
    else if (process.handles.size > 0)
      this.#violate(
        new Violation(
          `${process.name} has left files open: ${[...process.handles].map((fd) => `${fd} ${this.#machine.disk.pathOf(fd)}`).join(', ')}`,
        ),
      );
    this.#leave(process);
  }

  #leave(process: Process): void {
    finished.add(process);
    this.#machine.exit(process);
  }

  /** Throws when nothing that has happened explains the error. */
  #judge(error: unknown, during: string, process: Process): void {
    if (error instanceof Violation || !process.alive) throw error;
    const { code, message } = error as { code?: string; message: string };
    this.#say(`${process.name}: ${during} was refused: ${code}`);
    if (code !== undefined && this.#excused(code, during)) return;
    throw new Violation(`${during}: ${code ?? ''} ${message}`, { cause: error });
  }

  #excused(code: string, during: string): boolean {
    const met = (what: string): boolean => this.#met.has(what);
    // Nothing goes wrong any more, but what has rotted stays so.
    if (during === 'finish' && code !== 'JOURNAL_CORRUPT') return false;
    switch (code) {
      case 'STORAGE_FAILED':
        // A record may rot before its writer has read it back.
        return met('refused operations') || met('failed flushes') || met('rotten bytes');
      case 'STORAGE_FULL':
        // A full disk stops producers, never consumers.
        return met('refused operations') || (met('full disks') && PRODUCING.has(during));
      case 'QUEUE_DESTROYED':
      case 'QUEUE_NOT_FOUND':
        return this.#plan.weights.some(([step]) => step === 'destroy');
      case 'JOURNAL_CORRUPT':
        // Where a destroyed queue's log has a hole, the record of a creation may be what is lost.
        return (
          met('rotten bytes') ||
          ((met('rotten heads') || met('power cuts')) &&
            this.#plan.weights.some(([step]) => step === 'destroy'))
        );
      case 'INVALID_MESSAGE':
        // Behind a hole two messages may have one alias.
        return met('rotten bytes') || met('rotten heads') || met('power cuts');
      case 'CLOSED':
        return this.#plan.lanes > 1;
      default:
        return false;
    }
  }

  #violate(error: unknown): void {
    const text = error instanceof Violation ? error.message : String((error as Error)?.stack ?? error);
    this.#violation ??= text;
    this.#say(`VIOLATED: ${text}`);
  }

  /** All who have applied the same bytes hold the same state. */
  #agree({ state, applied, whole }: Log): void {
    // Who has read a byte before it rotted knows more.
    if (!whole || state.damage.length > 0 || this.#witness.rotten || this.#violation !== undefined) return;
    const key = `${state.segment}:${applied}`;
    const told = JSON.stringify([state.id, state.digest, state.counts, state.paused, state.processed]);
    const known = this.#agreed.get(key);
    if (known === undefined) this.#agreed.set(key, told);
    else if (known !== told)
      this.#violate(new Violation(`two processes differ at ${key}: ${known} and ${told}`));
  }

  #observe(operation: Operation, path: string, detail: Uint8Array | string | undefined): void {
    if (!path.startsWith(`${ROOT}/${Q}/`)) return;
    if (operation === 'rename' && String(detail).endsWith('.journal')) this.#meet('rotations');
    if (operation === 'remove') {
      if (path.endsWith('.journal')) this.#meet('deletions');
      if (path.endsWith('/reserve')) this.#meet('reserve freed');
    }
    if (operation !== 'write' || !(detail instanceof Uint8Array) || path.endsWith('/reserve')) return;
    if (path.endsWith('.index')) this.#meet('indexes');
    const text = Buffer.from(detail.buffer, detail.byteOffset, detail.length);
    if (path.includes('/tmp-') && text.includes('{"op":"carry"')) this.#meet('carried');
    if (text.includes('{"op":"lapse"')) this.#meet('lapses');
  }

  #meet(what: string): void {
    this.#met.set(what, (this.#met.get(what) ?? 0) + 1);
    if (what === 'refused operations' || what === 'failed flushes') this.#witness.faulty = true;
    if (what === 'rotten bytes') this.#witness.rotted();
    if (what === 'rotten heads') this.#witness.damaged();
  }

  #say(text: string): void {
    this.#trace?.(text);
  }
}

/** What a full disk may refuse. */
const PRODUCING = new Set<string>([
  'open',
  'add',
  'addMany',
  'update',
  'retry',
  'pause',
  'attribute',
  'reopen',
  'destroy',
]);

/** Processes whose programs have come to their end. */
const finished = new WeakSet<Process>();

const watched = new WeakSet<Realm>();

/** Has the engine's handles tell what they have applied. */
function watchLogs(realm: Realm, engine: Engine): void {
  if (watched.has(realm)) return;
  watched.add(realm);
  const { Log: Class } = realm.load('src/cache/log.ts') as typeof logModule;
  const { prototype } = Class;
  // Each is called with the handle that it was called on.
  // oxlint-disable-next-line typescript/unbound-method
  const { step, applyBatch } = prototype;
  prototype.step = function (this: Log): boolean {
    const done = step.call(this);
    engine.applied(this);
    return done;
  };
  prototype.applyBatch = function (this: Log): boolean {
    const done = applyBatch.call(this);
    if (done) engine.applied(this);
    return done;
  };
}
