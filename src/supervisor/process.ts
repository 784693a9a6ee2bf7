/**
 * A process, which is a name, and its children. Changes of one process take turns; a stop waits for none before it: for the
 * children that it concerns it cuts short what is under way, so that nobody who wants something ended has to wait until it has
 * come up. What it is to be holds at once; its children follow in their turn.
 */
import { QueueError, escapeControls } from '../errors.ts';
import type { Child } from './child.ts';
import type { ProcessSpec, ProcessStatus } from './shape.ts';

/** Whether a child was stopped since what is done now was asked for. */
type IsCut = (child: Child) => boolean;

export class Process {
  /** Whoever looks after it says so when that changes. */
  origin: ProcessStatus['origin'];
  readonly #makeChild: (id: string, spec: ProcessSpec) => Child;
  #spec: ProcessSpec;
  #children: Child[] = [];
  #wanted: number;
  /** Whether children that come to be are started. */
  #isOn: boolean;
  #hasLeft = false;
  #turn: Promise<unknown> = Promise.resolve();
  /** How many stops there were, and which of them was the last of each child: what was asked for before is cut short for it. */
  #stops = 0;
  readonly #lastStop = new WeakMap<Child, number>();

  constructor(
    spec: ProcessSpec,
    origin: ProcessStatus['origin'],
    makeChild: (id: string, spec: ProcessSpec) => Child,
  ) {
    this.#spec = spec;
    this.origin = origin;
    this.#makeChild = makeChild;
    this.#wanted = spec.instances;
    this.#isOn = spec.autostart;
    this.#grow();
  }

  get spec(): ProcessSpec {
    return this.#spec;
  }

  get children(): readonly Child[] {
    return this.#children;
  }

  get wanted(): number {
    return this.#wanted;
  }

  get status(): ProcessStatus {
    return {
      spec: this.#spec,
      origin: this.origin,
      wanted: this.#wanted,
      children: this.#children.map(({ status }) => status),
    };
  }

  /** Whether a child still runs what was wanted before, for it was not its turn. */
  get isBehind(): boolean {
    return this.#children.some((child) => child.isOutdated);
  }

  /** Starts its children, if they are to begin by themselves. Resolves when they have come to rest, or were stopped meanwhile. */
  begin(): Promise<void> {
    if (!this.#isOn) return Promise.resolve();
    const isCut = this.#cutFromNowOn();
    return this.#inTurn(() => started(this.#children, isCut));
  }

  /**
   * Resolves when these children, by default all, are up, or have failed.
   * Errors: CHILD_GONE: one was stopped meanwhile.
   */
  start(one?: Child): Promise<void> {
    if (!one) this.#isOn = true;
    return this.#forAll(one, started);
  }

  /** Resolves when nothing of them lives. */
  async stop(one?: Child): Promise<void> {
    if (!one) this.#isOn = false;
    this.#stops++;
    const children = this.#those(one);
    for (const child of children) {
      this.#lastStop.set(child, this.#stops);
      child.stop();
    }
    await Promise.all(children.map((child) => child.down()));
  }

  /** As `stop`, of all; nothing is done with it any more. */
  async leave(): Promise<void> {
    this.#hasLeft = true;
    await this.stop();
  }

  /**
   * One after the other. Resolves when all are up again.
   * Errors: CHILD_GONE: one did not come up again, and those behind it go on as they were; or one was stopped meanwhile, and
   * the others were restarted all the same.
   */
  restart(one?: Child): Promise<void> {
    if (!one) this.#isOn = true;
    return this.#forAll(one, roll);
  }

  /**
   * Forgets the failures; what is down for them begins again. Resolves when it has come to rest.
   * Errors: CHILD_GONE: one was stopped meanwhile, and stays as it is.
   */
  reset(one?: Child): Promise<void> {
    return this.#forAll(one, async (children, isCut) => {
      for (const child of children) if (!isCut(child)) child.reset();
      await Promise.all(children.map((child) => child.rest()));
    });
  }

  /** Resolves when there are so many children, also if they are stopped meanwhile, and those that are new have come to rest. */
  scale(instances: number): Promise<void> {
    this.#wanted = instances;
    return this.#inTurn(() => this.#fit());
  }

  /**
   * Has it go by another spec from now on. Resolves when all children do, but for those that were stopped meanwhile: `anew`, started again one
   * after the other; else they go on, and only their number is fitted. Where an earlier one was not finished, for a child did not come
   * up, it is now, beginning with that child.
   * Errors: CHILD_GONE: one did not come up again; those behind it go on as they were, until the next call.
   */
  use(spec: ProcessSpec, anew: boolean): Promise<void> {
    const { autoscale } = spec;
    // One that scales has found its number.
    if (autoscale) this.#wanted = Math.min(autoscale.max, Math.max(autoscale.min, this.#wanted));
    else if (spec.instances !== this.#spec.instances) this.#wanted = spec.instances;
    const turnsOn = spec.autostart && !this.#spec.autostart;
    if (turnsOn) this.#isOn = true;
    this.#spec = spec;
    for (const child of this.#children) child.use(spec, anew);
    const isCut = this.#cutFromNowOn();
    return this.#inTurn(async () => {
      await this.#fit();
      if (turnsOn) for (const child of this.#children) if (!isCut(child)) child.start();
      if (!this.isBehind) return;
      // What keeps one from coming up might keep the others too.
      const isBehind = (child: Child): boolean =>
        child.isOutdated || child.state === 'failed' || child.state === 'waiting';
      await roll(this.#children.filter(isBehind), isCut);
    });
  }

  /** What it is was changed and saved: it has the new number of children, or was started or stopped, already. */
  keep(spec: ProcessSpec): void {
    this.#spec = spec;
    if (this.origin === 'added') this.origin = 'saved';
  }

  /** Has all that is ending killed. */
  kill(): void {
    for (const child of this.#children) child.kill();
  }

  /** One of its children, unless that was one too many meanwhile; by default all. */
  #those(one: Child | undefined): readonly Child[] {
    return one ? this.#children.filter((child) => child === one) : [...this.#children];
  }

  /** Errors: CHILD_GONE: one was stopped meanwhile; those of `act`. */
  async #forAll(
    one: Child | undefined,
    act: (children: readonly Child[], isCut: IsCut) => Promise<void>,
  ): Promise<void> {
    const isCut = this.#cutFromNowOn();
    await this.#inTurn(() => act(this.#those(one), isCut));
    const [first, ...more] = this.#those(one).filter(isCut);
    if (!first) return;
    const others = more.length > 0 ? ` and ${more.length} more` : '';
    throw new QueueError('CHILD_GONE', `somebody has stopped ${first.id}${others} meanwhile`);
  }

  #cutFromNowOn(): IsCut {
    const now = this.#stops;
    return (child) => (this.#lastStop.get(child) ?? 0) > now;
  }

  async #fit(): Promise<void> {
    const added = this.#grow();
    if (this.#isOn) for (const child of added) child.start();
    const surplus = this.#children.slice(this.#wanted);
    for (const child of surplus) child.stop();
    await Promise.all([...added.map((child) => child.rest()), ...surplus.map((child) => child.down())]);
    this.#children = this.#children.filter((child) => !surplus.includes(child));
  }

  /** Makes the children that are missing. */
  #grow(): Child[] {
    const added: Child[] = [];
    while (this.#children.length < this.#wanted) {
      const child = this.#makeChild(`${this.#spec.name}#${this.#children.length + 1}`, this.#spec);
      this.#children.push(child);
      added.push(child);
    }
    return added;
  }

  #inTurn(act: () => Promise<void>): Promise<void> {
    const before = this.#turn;
    const done = (async () => {
      await before;
      if (!this.#hasLeft) await act();
    })();
    this.#turn = done.catch(() => undefined);
    return done;
  }
}

/** Resolves when they have come to rest. */
async function started(children: readonly Child[], isCut: IsCut): Promise<void> {
  for (const child of children) if (!isCut(child)) child.start();
  await Promise.all(children.map((child) => child.rest()));
}

/** Restarts one after the other. Errors: CHILD_GONE: one did not come up again. */
async function roll(children: readonly Child[], isCut: IsCut): Promise<void> {
  for (const child of children) {
    if (isCut(child)) continue;
    child.restart();
    await child.rest();
    await child.steady();
    const { state, lastEnd } = child.status;
    if (state === 'running' || isCut(child) || lastEnd?.failed !== true) continue;
    throw new QueueError(
      'CHILD_GONE',
      `${child.id} did not come up again: ${escapeControls(lastEnd.why)}; children behind it were left as they are`,
    );
  }
}
