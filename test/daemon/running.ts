/** Daemons under test: a clock that stands still until it is told, daemons from functions, and what the runner tells of them. */
import { tmpdir } from 'node:os';
import { setImmediate as turn } from 'node:timers/promises';
import type { Clock } from '../../src/cache/ports.ts';
import { loadConfig, type Config } from '../../src/config.ts';
import { Daemon, type DaemonContext, type DaemonStop } from '../../src/daemon/daemon.ts';
import { messageOf } from '../../src/daemon/outcome.ts';
import { Orders } from '../../src/daemon/orders.ts';
import { runDaemon, type RunOptions, type RunReport } from '../../src/daemon/runner.ts';
import type { Keeper, Thrown } from '../../src/daemon/state.ts';

export const config = await loadConfig({ cwd: tmpdir(), env: {}, flags: { stopDeadline: '10s' } });

/** Time passes in `pass` only. */
class StillClock implements Clock {
  #time = 0;
  /** Of the wall clock. */
  #offset = 1_700_000_000_000;
  readonly #timers = new Map<object, { at: number; run: () => void }>();

  now(): number {
    return this.#time + this.#offset;
  }

  monotonic(): number {
    return this.#time;
  }

  /** As with Node's, the shortest is 1 ms. */
  timer(ms: number, run: () => void): () => void {
    const key = {};
    this.#timers.set(key, { at: this.#time + Math.max(1, ms), run });
    return () => this.#timers.delete(key);
  }

  yield(): Promise<void> {
    return turn();
  }

  busy(): number {
    return 0;
  }

  /** How many wait. */
  get timers(): number {
    return this.#timers.size;
  }

  /** Lets so many ms pass, with all that happens in them. */
  async pass(ms: number): Promise<void> {
    const end = this.#time + ms;
    await settle();
    for (;;) {
      const next = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!next) break;
      const [key, { at, run }] = next;
      this.#timers.delete(key);
      this.#time = Math.max(this.#time, at);
      run();
      await settle();
    }
    this.#time = end;
  }

  /** The machine was suspended: the wall clock has gone on, the timers have not. */
  suspend(ms: number): void {
    this.#offset += ms;
  }
}

/** Lets everything happen that needs no time. */
export async function settle(): Promise<void> {
  for (let turns = 0; turns < 5; turns++) await turn();
}

interface Line {
  level: string;
  text: string;
}

export interface Running {
  clock: StillClock;
  orders: Orders;
  report: Promise<RunReport>;
  stop: () => void;
  force: () => void;
  /** What the keeper was told, in order. */
  kept: string[];
  lines: Line[];
  /** The configurations that came into force after the first. */
  adopted: Config[];
}

/** A daemon of these members. Each call of one is noted in `calls`. */
export function daemonOf(members: Partial<Daemon> = {}): Daemon & { calls: string[] } {
  class Test extends Daemon {
    calls: string[] = [];
    override executeStart(context: DaemonContext): Promise<void> | void {
      this.calls.push(`executeStart ${this.completedSessions}`);
      return members.executeStart?.call(this, context);
    }
    override executeStop(context: DaemonStop): Promise<void> | void {
      this.calls.push('executeStop');
      return members.executeStop?.call(this, context);
    }
  }
  const daemon = new Test();
  const { executeStart: _, executeStop: __, ...others } = members;
  return Object.assign(daemon, others);
}

export function start(daemon: Daemon, options: Partial<RunOptions> = {}): Running {
  const clock = new StillClock();
  const orders = new Orders();
  const stop = new AbortController();
  const force = new AbortController();
  const kept: string[] = [];
  const lines: Line[] = [];
  const adopted: Config[] = [];
  const report = runDaemon({
    daemon,
    name: 'tester',
    config,
    sink: (level, text) => lines.push({ level, text }),
    signal: stop.signal,
    force: force.signal,
    orders,
    reread: () => Promise.resolve({ ...config }),
    onConfig: (next) => adopted.push(next),
    keeper: keeperInto(kept, clock),
    clock,
    ...options,
  });
  // Whoever awaits it is told; others have failed in another way.
  report.catch(() => undefined);
  return {
    clock,
    orders,
    report,
    stop: () => stop.abort(),
    force: () => force.abort(),
    kept,
    lines,
    adopted,
  };
}

function keeperInto(kept: string[], clock: Clock): Keeper {
  const failure = (thrown?: Thrown): string => (thrown ? ` ${messageOf(thrown.error)}` : '');
  return {
    started: (limit) => kept.push(`started ${limit}`),
    iterationStarted: () => kept.push('iteration'),
    progressed: () => kept.push('progressed'),
    iterationEnded: (thrown) => kept.push(`iterated${failure(thrown)}`),
    troubled: (troubles) => (troubles.length > 0 ? kept.push(`troubled ${troubles.join(', ')}`) : undefined),
    sleeping: (until) => kept.push(`sleeping ${until.getTime() - clock.now()}`),
    checked: (sound, reason) => kept.push(`checked ${sound} ${reason}`),
    reloading: () => kept.push('reloading'),
    reloaded: (thrown) => kept.push(`reloaded${failure(thrown)}`),
    stopping: (ms) => kept.push(`stopping ${ms}`),
    ended: () => kept.push('ended'),
  };
}

/** A promise to be resolved from outside. */
export function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

/** Resolves when the signal fires. */
export function fired(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

export const NEVER = new Promise<void>(() => undefined);
