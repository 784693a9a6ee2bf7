/**
 * Sleeping until something may be claimable, or something else has come to pass. What wakes: a write to the folder (a watch), a due time, the end of a
 * lease, the death of a worker. Watches can miss and clocks can jump, so it also looks by itself now and then.
 */
import type { Journal } from './journal.ts';
import type { Liveness } from './liveness.ts';
import { jitterOf } from './log.ts';

/** Between looks when nothing is known to come. */
const POLL_MS = 1000;
/** Between looks while others hold claims: a dead worker's messages are back after about this long. */
const JUDGE_MS = 400;
/**
 * Where several wait for the same messages, one gets them. Who looks in vain while others are busy rests, without a watch: else
 * each record would wake everybody, and all would claim at once. Who got the last one does not rest. From the second look in vain on,
 * doubled each time up to this, and up to twice as long, differently for each; ms.
 */
const LONGEST_REST = 4;
/** A timer this late means that this process was stopped. */
const STALL_MS = 2000;

export interface WaitingHooks {
  /** Writes down which claims are over; if not `now`, only when that has not been looked at for a while. */
  judge: (now: boolean) => void;
  /** Whether this process may claim nothing until it has settled what it holds. */
  blocked: () => boolean;
  /** How many claims of this handle have got something. */
  granted: () => number;
  liveness: Liveness;
}

export class Waiting {
  readonly #journal: Journal;
  readonly #hooks: WaitingHooks;
  readonly #sleepers = new Set<() => void>();
  /** Looks in vain, one after the other, while others were busy. */
  #vain = 0;
  #granted = 0;
  readonly #jitter: number;

  constructor(journal: Journal, hooks: WaitingHooks) {
    this.#journal = journal;
    this.#hooks = hooks;
    this.#jitter = jitterOf(journal.log.writer);
  }

  /** Makes everybody who waits look again. */
  wake(): void {
    for (const wakeUp of this.#sleepers) wakeUp();
  }

  /** False after `timeout` ms or when the signal fires. Rejects when the queue is destroyed or closed. */
  wait(timeout: number | undefined, signal: AbortSignal | undefined): Promise<boolean> {
    return this.#until(() => this.#claimable(), timeout, signal, true);
  }

  /**
   * Until `ready` says so, which it is asked after each change of the queue; false when the signal fires. Changes
   * nothing itself. Rejects when the queue is destroyed or closed.
   */
  until(ready: () => boolean, signal: AbortSignal | undefined): Promise<boolean> {
    return this.#until(ready, undefined, signal, false);
  }

  /** @param works whether the caller is one that may claim: who also sees to what the dead have left, and to spent space. */
  async #until(
    ready: () => boolean,
    timeout: number | undefined,
    signal: AbortSignal | undefined,
    works: boolean,
  ): Promise<boolean> {
    const { clock, fs } = this.#journal.options.ports;
    const deadline = timeout === undefined ? Infinity : clock.monotonic() + timeout;
    let stopWatching: (() => void) | undefined;
    let changed = false;
    let timedOut = false;
    let rested = false;
    let wakeUp = (): void => {};
    const onChange = (): void => {
      changed = true;
      wakeUp();
    };
    const sleep = async (ms: number): Promise<void> => {
      const expected = clock.monotonic() + ms;
      await new Promise<void>((resolve) => {
        const cancel = clock.timer(Math.max(ms, 1), resolve);
        wakeUp = () => {
          cancel();
          resolve();
        };
      });
      wakeUp = () => {};
      if (clock.monotonic() - expected > STALL_MS) this.#hooks.liveness.wasStalled();
    };
    this.#sleepers.add(onChange);
    signal?.addEventListener('abort', onChange);
    if (works) this.#countGranted();
    try {
      for (;;) {
        changed = false;
        if (works) this.#hooks.judge(timedOut);
        // Before the look, because what comes between the two raises no event; not where there is no need to wait.
        if (!stopWatching && !rested && !ready()) stopWatching = this.#watch(fs, onChange);
        const { segment, applied } = this.#read;
        await this.#journal.refresh();
        if (signal?.aborted) return false;
        if (ready()) return true;
        // Behind the look, which must be the one to find that the folder was moved away, and to say so.
        if (timedOut) await this.#keepHouse(works);
        timedOut = false;
        if (clock.monotonic() >= deadline) return false;
        if (works) {
          const isQuiet = segment === this.#read.segment && applied === this.#read.applied;
          this.#vain = isQuiet ? 0 : this.#vain + 1;
        }
        rested = works && this.#vain > 1;
        if (rested) {
          stopWatching?.();
          stopWatching = undefined;
          await sleep(Math.min(this.#rest, deadline - clock.monotonic()));
        }
        if (changed || !stopWatching) continue;
        await sleep(Math.min(works ? this.#sleep() : POLL_MS, deadline - clock.monotonic()));
        timedOut = !changed;
      }
    } finally {
      stopWatching?.();
      this.#sleepers.delete(onChange);
      signal?.removeEventListener('abort', onChange);
    }
  }

  /** Not before a sleep has gone by: opening the file again is a tenth of the way of a message that comes soon. */
  async #keepHouse(works: boolean): Promise<void> {
    const { log, options } = this.#journal;
    log.contents.close();
    // What fails is reported; it is no reason to stop waiting.
    if (works) await this.#journal.tidy().catch(options.report);
  }

  #watch(fs: Journal['options']['ports']['fs'], onChange: () => void): () => void {
    try {
      return fs.watch(this.#journal.options.folder, onChange);
    } catch {
      // No watches left on this machine: the poll goes on.
      return () => {};
    }
  }

  #claimable(): boolean {
    const { state, options } = this.#journal;
    if (state.paused || state.id === '' || this.#hooks.blocked()) return false;
    return state.line.hasRunnable(options.ports.clock.now());
  }

  /** How far the log has been read. */
  get #read(): { segment: number; applied: number } {
    const { state, applied } = this.#journal.log;
    return { segment: state.segment, applied };
  }

  #countGranted(): void {
    const granted = this.#hooks.granted();
    if (granted !== this.#granted) this.#vain = 0;
    this.#granted = granted;
  }

  get #rest(): number {
    return Math.min(LONGEST_REST, 2 ** (this.#vain - 2)) * (1 + this.#jitter);
  }

  #sleep(): number {
    const { state, options } = this.#journal;
    const due = state.line.nextDue() - options.ports.clock.now();
    const lapse = this.#hooks.liveness.nextLapse(state);
    return Math.max(1, Math.min(due, lapse + 1, state.claimed.size > 0 ? JUDGE_MS : POLL_MS));
  }
}
