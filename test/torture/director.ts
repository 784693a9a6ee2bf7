/**
 * Runs a round: starts processes, kills them, stops and continues them, and writes down when each has ended. What they do
 * with the queues it neither sees nor knows.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, openSync, closeSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Assignment } from './hands.ts';
import { now } from './diary.ts';
import { Plan, type Ground, type Life } from './plan.ts';

/** Processes that live at the same time. */
const FLEET = 6;
/** By then whoever was started must have opened a queue, and whoever was asked to leave must have gone. */
const PATIENCE_MS = 60_000;
/** Whoever looks at what is left must have noted something by then, or have gone. */
const CLOSING_MS = 180_000;

/** How a process ended. */
export interface End {
  number: number;
  /** Nothing of it happened after this; monotonic. */
  to: number;
  how: 'killed' | 'left' | 'failed';
}

export interface Round {
  folder: string;
  ground: Ground;
  ends: Map<number, End>;
  kills: number;
  stops: number;
  /** What no process may do: end by itself with an error, or not at all. */
  faults: string[];
}

export interface Wanted {
  program: string;
  /** Empty, and the round's own. */
  folder: string;
  seed: number;
  /** Counts from 1. */
  round: number;
  kills: number;
  /** Ends the round early. */
  signal?: AbortSignal;
}

export const queuesIn = (folder: string): string => join(folder, 'queues');
export const diariesIn = (folder: string): string => join(folder, 'diaries');
export const stderrIn = (folder: string): string => join(folder, 'stderr');
/** The number of the process that comes last. */
export const CLOSER = 0;

/** Resolves when every process of the round has ended. */
export async function run(wanted: Wanted): Promise<Round> {
  mkdirSync(diariesIn(wanted.folder), { recursive: true });
  const plan = new Plan(wanted.seed, wanted.round);
  const director = new Director(wanted, plan);
  const abort = (): void => director.abort();
  wanted.signal?.addEventListener('abort', abort);
  try {
    await director.torment();
    await director.close();
  } finally {
    wanted.signal?.removeEventListener('abort', abort);
  }
  return director.round;
}

/** Whether it comes within so many milliseconds. */
async function within(ms: number, event: Promise<unknown>): Promise<boolean> {
  const over = new AbortController();
  const timer = sleep(ms, false, { signal: over.signal }).catch(() => false);
  try {
    return await Promise.race([event.then(() => true), timer]);
  } finally {
    over.abort();
  }
}

class Director {
  readonly round: Round;
  readonly #wanted: Wanted;
  readonly #plan: Plan;
  readonly #living = new Set<Subject>();

  constructor(wanted: Wanted, plan: Plan) {
    this.#wanted = wanted;
    this.#plan = plan;
    const { folder } = wanted;
    this.round = {
      folder,
      ground: plan.ground,
      ends: new Map(),
      kills: 0,
      stops: 0,
      faults: [],
    };
  }

  /** Resolves when enough have been killed, and all have ended. */
  async torment(): Promise<void> {
    await Promise.all(Array.from({ length: FLEET }, () => this.#oneAfterTheOther()));
  }

  /** Kills all. */
  abort(): void {
    for (const subject of this.#living) subject.kill();
  }

  /** The last look, by a process that nobody touches. */
  async close(): Promise<void> {
    if (this.#wanted.signal?.aborted) return;
    const closer = this.#start(CLOSER);
    const patience = this.round.faults.length === 0 ? CLOSING_MS : PATIENCE_MS;
    const diary = join(diariesIn(this.#wanted.folder), String(CLOSER));
    const noted = (): number => statSync(diary, { throwIfNoEntry: false })?.size ?? 0;
    // Where much else is to be done it may be slow; it stands still when it notes nothing more.
    let ended = false;
    for (let before = -1, after = noted(); !ended && before < after; before = after, after = noted())
      ended = await within(patience, closer.ended);
    await this.#bury(closer, ended, patience);
  }

  /** A round in which something has gone wrong is cut short, so that what is left is close to it. */
  get #goesOn(): boolean {
    const { kills, faults } = this.round;
    return kills < this.#wanted.kills && faults.length === 0 && this.#wanted.signal?.aborted !== true;
  }

  async #oneAfterTheOther(): Promise<void> {
    while (this.#goesOn) {
      const life = this.#plan.next();
      const subject = this.#start(life.number, life);
      subject.onStop = () => void this.#stand(subject, life.standing);
      await this.#lead(subject, life);
    }
  }

  async #lead(subject: Subject, { end, stopAt, standing }: Life): Promise<void> {
    const opened = Promise.race([subject.opened, subject.ended]);
    if (end.from === 'opening' && !(await within(PATIENCE_MS, opened)))
      this.round.faults.push(`process ${subject.number} has not opened a queue within ${PATIENCE_MS} ms`);
    if (stopAt !== undefined && !(await within(stopAt, subject.ended))) {
      subject.stop();
      await this.#stand(subject, standing);
    }
    if (!(await within(end.after, subject.ended))) {
      if (end.how === 'kill') subject.kill();
      // One that stands hears it when it is continued.
      else subject.ask();
    }
    await this.#ended(subject, PATIENCE_MS);
  }

  /** Continues it after a while, once it is known to stand; a signal that came before would be lost on it. */
  async #stand(subject: Subject, ms: number): Promise<void> {
    const deadline = now() + PATIENCE_MS;
    // Its two stops, its own and ours, may have come at once, and both be over.
    while (subject.alive && subject.standing && now() < deadline) {
      if (subject.state !== 'T') {
        await sleep(1);
        continue;
      }
      subject.standing = false;
      this.round.stops++;
      await within(ms, subject.ended);
      subject.continue();
    }
  }

  #start(number: number, life?: Life): Subject {
    const { folder, program } = this.#wanted;
    const diary = join(diariesIn(folder), String(number));
    const assignment: Assignment = { ground: this.round.ground, cacheRoot: queuesIn(folder), diary };
    if (life) assignment.life = life;
    const subject = new Subject(number, program, assignment, stderrIn(folder));
    this.#living.add(subject);
    return subject;
  }

  async #ended(subject: Subject, patience: number): Promise<void> {
    await this.#bury(subject, await within(patience, subject.ended), patience);
  }

  /** @param ended whether it has, so many ms after it should have. */
  async #bury(subject: Subject, ended: boolean, patience: number): Promise<void> {
    if (!ended) {
      this.round.faults.push(`process ${subject.number} has not ended ${patience} ms after it should have`);
      subject.kill();
    }
    const end = await subject.ended;
    this.#living.delete(subject);
    this.round.ends.set(subject.number, end);
    if (end.how === 'killed') this.round.kills++;
    if (end.how === 'failed')
      this.round.faults.push(`process ${subject.number} ended with ${subject.verdict}`);
  }
}

/** A process of the torture, from outside. */
class Subject {
  readonly number: number;
  readonly opened: Promise<void>;
  readonly ended: Promise<End>;
  /** Called when it is about to stop itself. */
  onStop: () => void = () => {};
  /** It stands, or is about to, and nobody has undertaken yet to continue it. */
  standing = false;
  verdict = '';
  readonly #child: ChildProcess;

  constructor(number: number, program: string, assignment: Assignment, stderr: string) {
    this.number = number;
    const errors = openSync(stderr, 'a');
    this.#child = spawn(process.execPath, [program, JSON.stringify(assignment)], {
      stdio: ['ignore', 'pipe', errors],
    });
    closeSync(errors);
    this.opened = new Promise((resolve) => {
      this.#child.stdout!.setEncoding('latin1').on('data', (said: string) => {
        if (said.includes('o')) resolve();
        if (!said.includes('s')) return;
        this.standing = true;
        this.onStop();
      });
    });
    this.ended = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('exit', (code, signal) => {
        const to = now();
        // One that was asked to leave before it had begun to listen.
        const left = code === 0 || signal === 'SIGTERM';
        const how = signal === 'SIGKILL' ? 'killed' : left ? 'left' : 'failed';
        this.verdict = signal ?? `exit code ${code}`;
        resolve({ number, to, how });
      });
    });
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** A letter as in proc_pid_stat(5); undefined when there is no such process. */
  get state(): string | undefined {
    try {
      const text = readFileSync(`/proc/${this.#child.pid}/stat`, 'latin1');
      return text.slice(text.lastIndexOf(')') + 2).split(' ')[0];
    } catch {
      return undefined;
    }
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  stop(): void {
    this.standing = true;
    this.#child.kill('SIGSTOP');
  }

  continue(): void {
    this.#child.kill('SIGCONT');
  }

  /** To come to an end; one that has not begun to listen ends at once. */
  ask(): void {
    this.#child.kill('SIGTERM');
  }
}
