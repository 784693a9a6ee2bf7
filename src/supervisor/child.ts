/**
 * The life of one child, whatever it runs:
 *
 *     stopped ──start──► starting ──up──► running ──told to end──► stopping ──gone──► stopped
 *        ▲                  │  ▲              │                        │
 *        │                  │  │              │ has ended              ├── to begin anew ──► starting
 *        │                  ▼  │              ▼                        ▼
 *        └──── ended well ── (the policy judges the end) ◄── told to end for its memory or health
 *                              │            │
 *                     waiting ◄┘            └► failed, until somebody starts or resets it
 *
 * `#become` is the only place that changes the state. An end is a failure when nobody asked for it and it was not exit
 * code 0; for a worker, which has no end of its own, also then. A child that is ended for its memory or its health has
 * failed. Between the end of its first process and the end of the rest of its group a child counts as stopping.
 */
import type { Clock } from '../cache/ports.ts';
import { QueueError, escapeControls } from '../errors.ts';
import type { Json } from '../message.ts';
import type { Exit } from '../worker/exec/group.ts';
import { Calls } from './calls.ts';
import type { Launched, LaunchListeners } from './launch.ts';
import { NO_FAILURES, afterFailure, type Failures } from './policy.ts';
import type { Told } from './protocol.ts';
import type { ChildStatus, ProcessSpec, SupervisorEvent } from './shape.ts';

/** How long a child that can say so may take to come up; ms. */
const START_DEADLINE = 60_000;
/** A program that cannot say so is up when it has run for so long; ms. */
const SETTLED = 1000;
/** How long a child must run until the next one of a rolling restart is ended; ms. */
const STEADY = 500;
/** How long the rest of a group may take to end when its first process has; ms. */
const REST = 5000;
/** How often a child is asked whether it is well, how long it may take to answer, and how often in a row it may not be; ms. */
const VERIFY_EVERY = 10_000;
const VERIFY_DEADLINE = 5000;
const MOST_UNWELL = 3;
const LONGEST_WHY = 500;

/** What comes after the end. */
type Next =
  /** `why`: how it has ended already, before anybody told it to. */
  | { readonly kind: 'stay'; readonly why?: string }
  | { readonly kind: 'start' }
  /** It has failed, for which it is ended; or has ended, and how is judged when all it has told is heard. */
  | { readonly kind: 'fail'; readonly why: string }
  | { readonly kind: 'judge'; readonly exit: Exit };

type Life =
  | { readonly state: 'stopped' | 'failed' }
  | {
      readonly state: 'starting' | 'running';
      readonly run: Launched;
      readonly since: Date;
      readonly at: number;
    }
  | { readonly state: 'stopping'; readonly run: Launched; readonly since: Date; readonly next: Next }
  | { readonly state: 'waiting'; readonly until: Date };

type State = Life['state'];

export interface ChildOptions {
  readonly id: string;
  readonly spec: ProcessSpec;
  readonly clock: Clock;
  /** A number in [0, 1). */
  readonly chance: () => number;
  readonly launch: (spec: ProcessSpec, id: string, listeners: LaunchListeners) => Launched;
  /** Runs a program that tells somebody of a failure. Must not throw. */
  readonly alarm: (command: readonly string[], about: { child: string; why: string }) => void;
  /** Must not throw. */
  readonly onEvent: (type: SupervisorEvent['type'], child: string, data: Json) => void;
}

export class Child {
  readonly id: string;
  readonly #options: ChildOptions;
  #spec: ProcessSpec;
  /** Whether what runs was started for what it was to be before. */
  #isOutdated = false;
  #life: Life = { state: 'stopped' };
  /** Ends what the present state waits for. */
  #cancel: () => void = () => undefined;
  readonly #waiters = new Set<() => void>();
  #calls: Calls | undefined;
  /** How its first process has ended. */
  #exit: Exit | undefined;
  #failures: Failures = NO_FAILURES;
  #restarts = 0;
  #lastEnd: ChildStatus['lastEnd'];
  #memory: number | undefined;
  #verifies = false;
  #healthy: boolean | undefined;
  #unwell = 0;
  #verifying = false;
  #verifiedAt = 0;

  constructor(options: ChildOptions) {
    this.id = options.id;
    this.#options = options;
    this.#spec = options.spec;
  }

  get state(): State {
    return this.#life.state;
  }

  /** Whether it is to be up, and must be started anew to be what it should. */
  get isOutdated(): boolean {
    const life = this.#life;
    const isToBeUp = life.state === 'stopping' ? life.next.kind !== 'stay' : life.state !== 'stopped';
    return this.#isOutdated && isToBeUp;
  }

  get #run(): Launched | undefined {
    return 'run' in this.#life ? this.#life.run : undefined;
  }

  get status(): ChildStatus {
    const life = this.#life;
    const runs = 'run' in life ? life : undefined;
    return {
      id: this.id,
      state: life.state,
      pid: runs?.run.pid,
      startedAt: runs?.since,
      restarts: this.#restarts,
      failures: this.#isStable() ? 0 : this.#failures.count,
      lastEnd: this.#lastEnd,
      nextStartAt: life.state === 'waiting' ? life.until : undefined,
      memory: runs && this.#memory,
      healthy: runs && this.#healthy,
    };
  }

  /** Has it begun, at once if it waits or has failed, or as soon as it has ended if it is ending. */
  start(): void {
    const life = this.#life;
    switch (life.state) {
      case 'failed':
        this.#failures = NO_FAILURES;
        return this.#launch();
      case 'stopped':
      case 'waiting':
        return this.#launch();
      case 'stopping':
        return this.#become({ ...life, next: { kind: 'start' } });
      case 'starting':
      case 'running':
        return;
    }
  }

  /** Has it end, or not begin again. */
  stop(): void {
    const life = this.#life;
    switch (life.state) {
      case 'starting':
      case 'running':
        return this.#end(life, { kind: 'stay' });
      case 'stopping':
        return this.#become({ ...life, next: { kind: 'stay', ...this.#endBefore(life.next) } });
      case 'waiting':
        this.#become({ state: 'stopped' });
        return this.#tell('stopped');
      case 'stopped':
      case 'failed':
        return;
    }
  }

  /** Has it end and begin anew, as `spec` says. */
  restart(spec: ProcessSpec = this.#spec): void {
    this.#spec = spec;
    const life = this.#life;
    if (life.state === 'starting' || life.state === 'running') this.#end(life, { kind: 'start' });
    else this.start();
  }

  /** Forgets its failures; one that is down for them begins again. */
  reset(): void {
    this.#failures = NO_FAILURES;
    if (this.#life.state === 'failed' || this.#life.state === 'waiting') this.#launch();
  }

  /** What holds from its next start on. @param anew what runs is not good enough any more. */
  use(spec: ProcessSpec, anew: boolean): void {
    this.#spec = spec;
    this.#isOutdated ||= anew;
  }

  /** Has it killed, with all that it has started, if it is ending. */
  kill(): void {
    if (this.#life.state === 'stopping') this.#life.run.kill();
  }

  /** Resolves when it has come to rest: it is up, or down, or waits for its next start. */
  async rest(): Promise<void> {
    await this.#until(() => this.#life.state !== 'starting' && this.#life.state !== 'stopping');
  }

  /** Resolves when it has run for a moment, or does not any more: many that cannot do their work end at once. */
  async steady(): Promise<void> {
    const life = this.#life;
    // A program has shown that already.
    if (life.state !== 'running' || this.#spec.kind === 'exec') return;
    let isOver = false;
    const cancel = this.#options.clock.timer(STEADY, () => {
      isOver = true;
      this.#wake();
    });
    await this.#until(() => isOver || this.#life.state !== 'running');
    cancel();
    await this.rest();
  }

  /** Resolves when nothing lives of what runs now. */
  async down(): Promise<void> {
    const run = this.#run;
    // Somebody may have had it begin anew by then.
    await this.#until(() => this.#run === undefined || this.#run !== run);
  }

  /**
   * Resolves with the answer to a command, at the latest `deadline` ms from now; one that is starting is asked when it is up.
   * Errors: UNKNOWN_COMMAND, COMMAND_FAILED, COMMAND_TIMEOUT, CHILD_GONE, CHILD_BUSY, MESSAGE_TOO_LARGE, INVALID_MESSAGE.
   */
  async send(command: string, args: Json, deadline: number): Promise<Json> {
    this.#refuseUnlessClass(command);
    const { clock } = this.#options;
    const from = clock.monotonic();
    if (this.#life.state === 'starting') await this.#restWithin(deadline);
    const left = Math.max(0, deadline - (clock.monotonic() - from));
    if (this.#life.state !== 'running' || !this.#calls) throw this.#gone();
    return this.#calls.call((id) => ({ type: 'command', id, name: command, args }), left);
  }

  /** Tells it a command without an answer, if it is up. Errors: CHILD_BUSY, MESSAGE_TOO_LARGE. */
  tell(command: string, args: Json): void {
    const life = this.#life;
    if (this.#spec.kind === 'class' && life.state === 'running')
      life.run.send({ type: 'tell', name: command, args });
  }

  /** To be called every few seconds: looks at its memory, and asks for its health. */
  look(): void {
    const life = this.#life;
    if (life.state !== 'running') return;
    this.#memory = life.run.memory;
    const { memoryLimit } = this.#spec;
    if (memoryLimit !== undefined && this.#memory !== undefined && this.#memory > memoryLimit) {
      const why = `had ${this.#memory} bytes of memory, more than ${memoryLimit}`;
      return this.#end(life, { kind: 'fail', why });
    }
    if (this.#verifies && this.#options.clock.monotonic() - this.#verifiedAt >= VERIFY_EVERY)
      void this.#verify(life.run);
  }

  #launch(): void {
    const { launch, clock } = this.#options;
    const run = launch(this.#spec, this.id, { onTold: (told) => this.#heed(run, told) });
    this.#calls = new Calls(run, clock, this.id);
    this.#isOutdated = false;
    this.#exit = undefined;
    this.#healthy = undefined;
    this.#memory = undefined;
    this.#verifies = false;
    this.#unwell = 0;
    this.#become({ state: 'starting', run, since: new Date(clock.now()), at: clock.monotonic() });
    const isSilent = this.#spec.kind === 'exec';
    this.#cancel = clock.timer(isSilent ? SETTLED : START_DEADLINE, () => {
      const life = this.#life;
      if (life.state !== 'starting' || life.run !== run) return;
      if (isSilent) this.#up(life);
      else this.#end(life, { kind: 'fail', why: `had not come up after ${START_DEADLINE / 1000} s` });
    });
    this.#tell('starting', { pid: run.pid ?? null });
    void run.exit.then((exit) => this.#ended(run, exit));
  }

  #heed(run: Launched, told: Told): void {
    const life = this.#life;
    if (!('run' in life) || life.run !== run) return;
    if (told.type === 'answer') this.#calls?.answered(told);
    else if (told.type === 'event') this.#tell('told', { event: told.event, data: told.data });
    else if (told.type === 'ready' && life.state === 'starting') {
      this.#verifies = told.verifies;
      this.#verifiedAt = this.#options.clock.monotonic();
      this.#up(life);
    }
  }

  #up({ run, since }: Life & { state: 'starting' | 'running' }): void {
    this.#become({ state: 'running', run, since, at: this.#options.clock.monotonic() });
    this.#tell('running', { pid: run.pid ?? null });
  }

  /** Has it end. */
  #end({ run, since }: Life & { state: 'starting' | 'running' }, next: Next): void {
    this.#become({ state: 'stopping', run, since, next });
    this.#tell('stopping', next.kind === 'fail' ? { why: next.why } : {});
    void run.end(this.#spec.stopDeadline).then(() => this.#over(run));
  }

  /** Its first process has ended. */
  #ended(run: Launched, exit: Exit): void {
    const life = this.#life;
    if ('run' in life && life.run === run) this.#exit = exit;
    // If it was told to, whoever did that waits for all of it.
    if ((life.state !== 'starting' && life.state !== 'running') || life.run !== run) return;
    this.#become({ state: 'stopping', run, since: life.since, next: { kind: 'judge', exit } });
    void run.end(Math.min(REST, this.#spec.stopDeadline)).then(() => this.#over(run));
  }

  /** Nothing of it lives any more. */
  #over(run: Launched): void {
    const life = this.#life;
    if (life.state !== 'stopping' || life.run !== run) return;
    const { next } = life;
    const how = howEnded(this.#exit ?? { code: null, signal: null }, run.lastWords);
    this.#calls?.end(new QueueError('CHILD_GONE', `${this.id} has ended before it answered: it ${how}`));
    this.#calls = undefined;
    if (next.kind === 'judge') {
      const why = howEnded(next.exit, run.lastWords);
      return this.#isFailure(next.exit, run) ? this.#failed(why) : this.#endedWell(why);
    }
    if (next.kind === 'fail') return this.#failed(`${next.why}; was ended`);
    if (next.kind === 'stay' && next.why !== undefined) this.#note(next.why, true);
    else
      this.#note(
        this.#exit?.signal === 'SIGKILL' ? 'was killed, for it did not end in time' : 'was told to end',
        false,
      );
    if (next.kind === 'start') return this.#launch();
    this.#become({ state: 'stopped' });
    this.#tell('stopped');
  }

  /** Of one that is told to stop when it has failed. */
  #endBefore(next: Next): { why?: string } {
    if (next.kind === 'fail') return { why: next.why };
    return next.kind === 'judge' && next.exit.code !== 0 ? { why: howEnded(next.exit, '') } : {};
  }

  #isFailure({ code }: Exit, { pid }: Launched): boolean {
    return pid === undefined || code !== 0 || this.#spec.kind === 'worker';
  }

  #endedWell(why: string): void {
    this.#note(why, false);
    this.#become({ state: 'stopped' });
    this.#tell('ended', { why, failed: false });
  }

  #failed(why: string): void {
    const { clock, chance, alarm } = this.#options;
    const reason = why.slice(0, LONGEST_WHY);
    this.#note(reason, true);
    const verdict = afterFailure(this.#spec.recovery, this.#failures, clock.monotonic(), chance());
    this.#failures = verdict.failures;
    this.#tell('ended', { why: reason, failed: true });
    if (verdict.next === 'restart') {
      const until = new Date(clock.now() + verdict.delay);
      this.#become({ state: 'waiting', until });
      this.#cancel = clock.timer(verdict.delay, () => {
        this.#restarts++;
        this.#launch();
      });
      return this.#tell('waiting', { delay: verdict.delay });
    }
    this.#become({ state: 'failed' });
    const because =
      verdict.next === 'fail' ? verdict.why : `${verdict.command[0] ?? ''} is run instead of a restart`;
    this.#tell('failed', { why: because });
    if (verdict.next === 'run') alarm(verdict.command, { child: this.id, why: reason });
  }

  async #verify(run: Launched): Promise<void> {
    if (this.#verifying) return;
    this.#verifying = true;
    this.#verifiedAt = this.#options.clock.monotonic();
    let why = 'it says that it is not well';
    let isWell = false;
    try {
      isWell = (await this.#calls?.call((id) => ({ type: 'verify', id }), VERIFY_DEADLINE)) === true;
    } catch (error) {
      why = escapeControls((error as Error).message);
    }
    this.#verifying = false;
    const life = this.#life;
    if (life.state !== 'running' || life.run !== run) return;
    this.#unwell = isWell ? 0 : this.#unwell + 1;
    this.#healthy = isWell;
    if (isWell) return;
    this.#tell('unhealthy', { why, times: this.#unwell });
    if (this.#unwell >= MOST_UNWELL)
      this.#end(life, { kind: 'fail', why: `was not well ${MOST_UNWELL} times: ${why}` });
  }

  #become(life: Life): void {
    this.#cancel();
    this.#cancel = () => undefined;
    this.#life = life;
    this.#wake();
  }

  #wake(): void {
    for (const look of this.#waiters) look();
  }

  #until(isSo: () => boolean): Promise<void> {
    if (isSo()) return Promise.resolve();
    return new Promise((resolve) => {
      const look = (): void => {
        if (!isSo()) return;
        this.#waiters.delete(look);
        resolve();
      };
      this.#waiters.add(look);
    });
  }

  /** Resolves when it has come to rest, or so many ms have passed. Errors: COMMAND_TIMEOUT. */
  async #restWithin(deadline: number): Promise<void> {
    let cancel = (): void => undefined;
    const late = new Promise<never>((_, reject) => {
      cancel = this.#options.clock.timer(deadline, () =>
        reject(new QueueError('COMMAND_TIMEOUT', `${this.id} had not come up after ${deadline} ms`)),
      );
    });
    try {
      await Promise.race([this.rest(), late]);
    } finally {
      cancel();
    }
  }

  #note(why: string, failed: boolean): void {
    this.#lastEnd = { at: new Date(this.#options.clock.now()), why, failed };
  }

  #tell(type: SupervisorEvent['type'], data: Json = {}): void {
    this.#options.onEvent(type, this.id, data);
  }

  #isStable(): boolean {
    const life = this.#life;
    return (
      life.state === 'running' && this.#options.clock.monotonic() - life.at >= this.#spec.recovery.resetPeriod
    );
  }

  /** Errors: UNKNOWN_COMMAND. */
  #refuseUnlessClass(command: string): void {
    if (this.#spec.kind === 'class') return;
    throw new QueueError(
      'UNKNOWN_COMMAND',
      `${this.id} has no command ${escapeControls(command.slice(0, 100))}: only classes have commands, and it is of kind ${this.#spec.kind}`,
    );
  }

  #gone(): QueueError {
    return new QueueError('CHILD_GONE', `expected ${this.id} to run; it is ${this.#life.state}`);
  }
}

/** `ended with exit code 1: …`, with the last of what it has said. */
function howEnded({ code, signal }: Exit, words: string): string {
  const how =
    signal !== null ? `was ended by ${signal}` : code !== null ? `ended with exit code ${code}` : '';
  return [how, words]
    .filter((part) => part !== '')
    .join(': ')
    .slice(0, LONGEST_WHY);
}
