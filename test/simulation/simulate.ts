/** One run: what a seed, or a record of choices, leads to. */
import { Seeded } from '../support/seeded.ts';
import { Agreement } from './agreement.ts';
import { Audit } from './audit.ts';
import { Choices, hash, type Record } from './choices.ts';
import { Claims } from './claims.ts';
import type * as clientModule from './client.ts';
import { Making, toldBy } from './coverage.ts';
import { Decay } from './decay.ts';
import { Disk } from './disk.ts';
import { Q, ROOT, type Env } from './env.ts';
import { isExcused } from './excuses.ts';
import { Faults } from './faults.ts';
import { Machine, type Operation } from './machine.ts';
import { planned, type Plan } from './plan.ts';
import type { Process } from './process.ts';
import { Code, Realm, RESERVE_BYTES } from './realm.ts';
import { Rot } from './rot.ts';
import { portsOf, readOnly } from './surroundings.ts';
import { inWords, Violation, type Broken } from './violation.ts';
import type * as watchModule from './watch.ts';
import { Witness } from './witness.ts';

export interface Outcome {
  /** What was not kept. */
  violation: Broken | undefined;
  /** File operations, and calls of clients. */
  operations: number;
  calls: number;
  /** How often what was met. */
  met: Map<string, number>;
  choices: Record;
}

/** Realms are costly: they are used again from run to run. */
export interface Engine {
  code: Code;
  spare: Realm[];
  /** Told of what handles read. */
  watcher: watchModule.Watcher;
}

const NOBODY: watchModule.Watcher = {
  applied: () => undefined,
  reading: () => () => undefined,
  readingOlder: () => undefined,
  entering: () => undefined,
};

/** Errors: a module that does not load. Found here, it is not taken for a promise that every run breaks. */
export function makeEngine(code = new Code()): Engine {
  const realm = new Realm(code);
  realm.load(CLIENT);
  return { code, spare: [realm], watcher: NOBODY };
}

const EPOCHS = 3;
/** Of a queue that holds nothing: the newest, and what the two newest heads may name. */
const SEGMENTS_KEPT = 3;
/** What a process runs; it imports the engine. */
const CLIENT = 'test/simulation/client.ts';
const WATCH = 'test/simulation/watch.ts';

export function simulate(from: number | Record, engine: Engine, trace?: (line: string) => void): Outcome {
  return new Run(from, engine, trace).outcome();
}

class Run {
  readonly #engine: Engine;
  readonly #choices: Choices;
  readonly #plan: Plan;
  readonly #witness: Witness;
  readonly #claims: Claims;
  readonly #audit: Audit;
  readonly #rot: Rot;
  readonly #faults: Faults;
  readonly #trace: ((line: string) => void) | undefined;
  readonly #met = new Map<string, number>();
  readonly #making = new Making();
  readonly #entropy: number;
  #machine!: Machine;
  #agreement = new Agreement();
  #violation: Broken | undefined;
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
      durability,
      limit: options.maxMessages,
      uniqueAlias: options.uniqueAlias === true,
      machineTime: () => this.#machine.now,
    });
    this.#witness.excuses.needed = (what) => this.#meet(what);
    this.#claims = new Claims(this.#witness);
    this.#audit = new Audit(this.#witness);
    const met = (what: string): void => this.#meet(what);
    this.#rot = new Rot((path) => contentsOf(this.#machine.disk, path), met);
    const faults = this.#choices.stream('faults');
    this.#faults = new Faults(
      { switching, rate, kinds, loss, lease },
      this.#choices.stream('schedule'),
      faults,
      new Decay(faults, this.#rot, met),
      met,
    );
  }

  outcome(): Outcome {
    this.#engine.watcher = this.#watcher();
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
      if (this.#plan.janitor) this.#client(`janitor${++this.#spawned}`, 'tend');
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
    if (this.#violation === undefined && this.#met.has('filled at the end')) this.#checkWhatIsLeft();
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
          if (operation === 'read' && path.endsWith('.index')) {
            this.#meet('indexes read');
            this.#rot.indexRead(process);
          }
          this.#faults.interfere(process, operation, path, write);
          for (const what of this.#making.operated(process, operation, path)) this.#meet(what);
        },
        trace: this.#trace,
        observe: (operation, path, detail) => this.#observe(operation, path, detail),
      },
      spare,
    );
    this.#machine.wall = wall + Math.floor(time);
    this.#faults.machine = this.#machine;
    this.#agreement = new Agreement();
  }

  #restart(epoch: number): void {
    const { loss } = this.#plan;
    this.#operations += this.#machine.operations;
    const disk = this.#machine.disk.powerCut(loss, this.#choices.stream('loss'));
    // What a failed flush has dropped is missing in the middle, too.
    const holes = loss.sectors === 'any' || loss.sectors === 'writes' || this.#met.has('failed flushes');
    if (this.#witness.powerCut(holes)) this.#meet('ripe at a power cut');
    this.#checkReserve(disk);
    this.#boot(disk, epoch);
  }

  /** A queue is born with it; only who needs the room, or is refused, has less. */
  #checkReserve(disk: Disk): void {
    const excuses = ['reserve freed', 'full disks', 'refused operations', 'failed flushes'];
    if (disk.kind(`${ROOT}/${Q}`) === undefined || excuses.some((what) => this.#met.has(what))) return;
    const size = reserveBytes(disk);
    if (size !== RESERVE_BYTES)
      throw new Violation('reserve', `a power cut has left ${size} bytes of the reserve`);
  }

  /** When there is room, the reserve is made again with the next segment; and the files of what was drained go with the next ones. */
  #checkWhatIsLeft(): void {
    const { disk } = this.#machine;
    const size = reserveBytes(disk);
    if (size !== RESERVE_BYTES)
      throw new Violation('reserve', `at the end ${size} bytes of the reserve are there`);
    const names = disk.list(`${ROOT}/${Q}`);
    const kept = names.filter((name) => name !== 'reserve' && !name.endsWith('.index'));
    const isMore = kept.length > SEGMENTS_KEPT || names.length > 2 * SEGMENTS_KEPT + 1;
    if (isMore && !this.#witness.excuses.suspends('files go'))
      throw new Violation('files', `a queue that was drained keeps ${names.join(', ')}`);
  }

  /** Until every process has ended. */
  #untilOver(): void {
    const machine = this.#machine;
    while (this.#violation === undefined && machine.on) {
      if (machine.step()) continue;
      const waiting = machine.processes.find(({ alive }) => alive);
      if (waiting) throw new Violation('hang', `${waiting.name} waits for something that never comes`);
      return;
    }
    if (machine.endless) throw new Violation('hang', 'the run does not come to an end');
  }

  #client(name: string, program: 'work' | 'tend' | 'finish' = 'work'): void {
    const machine = this.#machine;
    const plan = this.#plan;
    const choices = this.#choices.stream(name);
    const container = choices.pick(plan.containers);
    const process = machine.spawn(name, container, plan.hidden && choices.chance(0.5));
    const { run, ...programs } = process.realm.load(CLIENT) as typeof clientModule;
    (process.realm.load(WATCH) as typeof watchModule).watchLogs(this.#engine);
    const { durability, segmentBytes, options, lease, lanes, steps, weights, longErrors, flushMs } = plan;
    const ports = portsOf(machine, process);
    const touched = (what: string): void =>
      this.#violate(new Violation('files', `${name} was only to look, and has called ${what}`));
    const env: Env = {
      process,
      ports,
      readOnly: readOnly(ports, touched),
      witness: this.#witness,
      claims: this.#claims,
      audit: this.#audit,
      rot: this.#rot,
      choices,
      durability,
      segmentBytes,
      options,
      lease,
      lanes,
      steps,
      weights,
      longErrors,
      flushMs,
      waits: plan.oneMaker && machine.processes.some((other) => other !== process && other.alive),
      judge: (error, during) => this.#judge(error, during, process),
      done: (error) => this.#done(process, error),
      leave: () => this.#leave(process),
      say: (text) => this.#say(`${name}: ${text}`),
      time: () => machine.now,
      readsRefused: () => this.#met.get('refused reads') ?? 0,
      changesRefused: () => this.#met.has('refused changes') || this.#met.has('full disks'),
      calls: () => this.#making.called(process),
      met: (what) => this.#meet(what),
    };
    process.onDeath = () => {
      this.#witness.died(process);
      // A supervisor starts another.
      if (machine.on && program !== 'finish' && !finished.has(process) && this.#spawned < 12) {
        this.#client(`${program === 'tend' ? 'janitor' : 'p'}${++this.#spawned}`, program);
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
          'files',
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
    const met = (what: string): boolean => this.#met.has(what);
    const circumstances = { plan: this.#plan, met, excuses: this.#witness.excuses };
    if (code !== undefined && isExcused(code, during, circumstances)) return;
    const kind = code === undefined ? 'crash' : 'refused';
    throw new Violation(kind, `${during}: ${code ?? ''} ${message}`, { cause: error });
  }

  #violate(error: unknown): void {
    const broken: Broken =
      error instanceof Violation
        ? { kind: error.kind, text: error.message }
        : { kind: 'crash', text: String((error as Error)?.stack ?? error) };
    this.#violation ??= broken;
    this.#say(`VIOLATED: ${inWords(broken)}`);
  }

  #watcher(): watchModule.Watcher {
    const rot = this.#rot;
    return {
      applied: (log) => this.#look(() => this.#agreement.check(log)),
      reading: (log) => {
        const read = rot.reading(log);
        return () => this.#look(read);
      },
      readingOlder: (log, segment, state) => {
        const read = rot.readingOlder(log, segment, state);
        return read && (() => this.#look(read));
      },
      entering: (log) => rot.entering(log),
    };
  }

  /** At the engine, from within: what is found there must not be thrown into it. */
  #look(check: () => void): void {
    if (this.#violation !== undefined) return;
    try {
      check();
    } catch (error) {
      this.#violate(error);
    }
  }

  #observe(operation: Operation, path: string, detail: Uint8Array | string | undefined): void {
    if (!path.startsWith(`${ROOT}/${Q}/`)) return;
    for (const what of toldBy(operation, path, detail)) this.#meet(what);
  }

  #meet(what: string): void {
    this.#met.set(what, (this.#met.get(what) ?? 0) + 1);
    const { excuses } = this.#witness;
    if (what === 'failed flushes') excuses.happened('flush');
    if (what === 'rotten bytes') excuses.happened('rot');
    if (what === 'rotten heads') excuses.happened('head');
    // Nobody can tell whether another record stood behind it.
    if (what === 'rotten ends of heads') excuses.happened('hole');
    // What the device holds of the predecessor may be less than what the head was made of.
    if (excuses.has('head') && excuses.has('flush')) excuses.happened('hole');
  }

  #say(text: string): void {
    this.#trace?.(text);
  }
}

function reserveBytes(disk: Disk): number {
  return contentsOf(disk, `${ROOT}/${Q}/reserve`)?.length ?? 0;
}

function contentsOf(disk: Disk, path: string): Uint8Array | undefined {
  return disk.kind(path) === 'file' ? disk.contents(path) : undefined;
}

/** Processes whose programs have come to their end. */
const finished = new WeakSet<Process>();
