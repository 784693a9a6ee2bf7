/**
 * A process, which is a name, and its children. Changes of one process take turns; a stop waits for none before it: it
 * cuts short what is under way, so that nobody who wants something ended has to wait until it has come up.
 */
import { QueueError, escapeControls } from '../errors.ts';
import type { Child } from './child.ts';
import type { ProcessSpec, ProcessStatus } from './shape.ts';

export class Process {
  readonly origin: ProcessStatus['origin'];
  readonly #makeChild: (id: string, spec: ProcessSpec) => Child;
  #spec: ProcessSpec;
  #children: Child[] = [];
  #wanted: number;
  /** Whether children that come to be are started. */
  #isOn: boolean;
  #hasLeft = false;
  #turn: Promise<unknown> = Promise.resolve();
  /** Fires for starts that are under way or wait for their turn. What a process is to be is not cut short. */
  #cut = new AbortController();

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

  /** Starts those of its children that are to begin by themselves. Resolves when they have come to rest. */
  begin(): Promise<void> {
    return this.#isOn ? this.start() : Promise.resolve();
  }

  /** Resolves when these children, by default all, are up, or have failed, or were stopped meanwhile. */
  start(one?: Child): Promise<void> {
    if (!one) this.#isOn = true;
    return this.#inTurn(async (cut) => {
      if (cut.aborted) return;
      const children = this.#those(one);
      for (const child of children) child.start();
      await Promise.all(children.map((child) => child.rest()));
    });
  }

  /** Resolves when nothing of them lives. */
  async stop(one?: Child): Promise<void> {
    if (!one) this.#isOn = false;
    this.#cut.abort();
    this.#cut = new AbortController();
    const children = this.#those(one);
    for (const child of children) child.stop();
    await Promise.all(children.map((child) => child.down()));
  }

  /** As `stop`, of all; nothing is done with it any more. */
  async leave(): Promise<void> {
    this.#hasLeft = true;
    await this.stop();
  }

  /**
   * One after the other. Resolves when all are up again, or were stopped meanwhile.
   * Errors: CHILD_GONE: one did not come up again; those behind it go on as they were.
   */
  restart(one?: Child): Promise<void> {
    if (!one) this.#isOn = true;
    return this.#inTurn((cut) => this.#roll(this.#those(one), cut));
  }

  /** Forgets the failures; what is down for them begins again. Resolves when it has come to rest. */
  reset(one?: Child): Promise<void> {
    return this.#inTurn(async (cut) => {
      if (cut.aborted) return;
      const children = this.#those(one);
      for (const child of children) child.reset();
      await Promise.all(children.map((child) => child.rest()));
    });
  }

  /** Resolves when there are so many children, also if they are stopped meanwhile, and those that are new have come to rest. */
  scale(instances: number): Promise<void> {
    this.#wanted = instances;
    return this.#inTurn(() => this.#fit());
  }

  /**
   * Has it go by another spec from now on, also if it is stopped meanwhile. Resolves when all children do: `anew`, started again one after the other;
   * else they go on, and only their number is fitted. Errors: as of `restart`.
   */
  use(spec: ProcessSpec, anew: boolean): Promise<void> {
    return this.#inTurn(async (cut) => {
      const { autoscale } = spec;
      // One that scales has found its number.
      if (autoscale) this.#wanted = Math.min(autoscale.max, Math.max(autoscale.min, this.#wanted));
      else if (spec.instances !== this.#spec.instances) this.#wanted = spec.instances;
      const turnsOn = spec.autostart && !this.#spec.autostart;
      this.#spec = spec;
      const up = anew ? this.#children.filter(({ state }) => state !== 'stopped') : [];
      for (const child of this.#children) child.use(spec);
      if (turnsOn && !cut.aborted) this.#isOn = true;
      await this.#fit();
      if (turnsOn && !cut.aborted) for (const child of this.#children) child.start();
      await this.#roll(
        up.filter((child) => this.#children.includes(child)),
        cut,
      );
    });
  }

  /** Has all that is ending killed. */
  kill(): void {
    for (const child of this.#children) child.kill();
  }

  /** One of its children, unless that was one too many meanwhile; by default all. */
  #those(one: Child | undefined): readonly Child[] {
    return one ? this.#children.filter((child) => child === one) : [...this.#children];
  }

  async #roll(children: readonly Child[], cut: AbortSignal): Promise<void> {
    for (const child of children) {
      if (cut.aborted) return;
      child.restart();
      await child.rest();
      await child.steady();
      const { state, lastEnd } = child.status;
      if (state === 'running' || cut.aborted || lastEnd?.failed !== true) continue;
      throw new QueueError(
        'CHILD_GONE',
        `${child.id} did not come up again: ${escapeControls(lastEnd.why)}; children behind it were left as they are`,
      );
    }
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

  #inTurn(act: (cut: AbortSignal) => Promise<void>): Promise<void> {
    const { signal } = this.#cut;
    const before = this.#turn;
    const done = (async () => {
      await before;
      if (!this.#hasLeft) await act(signal);
    })();
    this.#turn = done.catch(() => undefined);
    return done;
  }
}
