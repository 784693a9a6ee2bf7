/** The time between two iterations. */
import type { Clock } from '../cache/ports.ts';
import type { Log } from '../worker/log.ts';
import { USUAL_SLEEP, type Daemon } from './daemon.ts';
import { sleepOf } from './declared.ts';
import { messageOf } from './outcome.ts';
import type { Keeper } from './state.ts';
import { unless } from './unless.ts';

/** The pause after an iteration that failed, doubled with each further one in a row; ms. */
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 60_000;
/** The wall clock is looked at this often, in ms: a machine that was suspended has slept without its timers. */
const LONGEST_NAP = 60_000;

export class Rest {
  readonly #daemon: Daemon;
  readonly #keeper: Keeper;
  readonly #log: Log;
  readonly #clock: Clock;
  /** Epoch ms; set while it lasts. */
  #until: number | undefined;
  /** A complaint is not repeated as long as nothing changes. */
  #hasComplained = false;

  constructor(daemon: Daemon, keeper: Keeper, log: Log, clock: Clock) {
    this.#daemon = daemon;
    this.#keeper = keeper;
    this.#log = log;
    this.#clock = clock;
  }

  /** Resolves when it is over, or as soon as `signal` fires. @param failures iterations that have failed in a row. */
  async take(failures: number, signal: AbortSignal): Promise<void> {
    const wanted = await unless(signal, this.#wanted());
    if (signal.aborted || wanted === undefined) return;
    const pause = failures === 0 ? 0 : FIRST_PAUSE * 2 ** Math.min(failures - 1, 16);
    const milliseconds = Math.max(wanted, Math.min(pause, LONGEST_PAUSE));
    this.#until = this.#clock.now() + milliseconds;
    this.tell();
    await this.#sleep(milliseconds, this.#until, signal);
    this.#until = undefined;
  }

  /** Tells the keeper until when it lasts, if it does. */
  tell(): void {
    if (this.#until !== undefined) this.#keeper.sleeping(new Date(this.#until));
  }

  /** Milliseconds. */
  async #wanted(): Promise<number> {
    try {
      const milliseconds = await sleepOf(this.#daemon);
      this.#hasComplained = false;
      return milliseconds;
    } catch (error) {
      if (!this.#hasComplained) this.#log.warn(`${messageOf(error)}; it sleeps ${USUAL_SLEEP} seconds`);
      this.#hasComplained = true;
      return USUAL_SLEEP * 1000;
    }
  }

  async #sleep(milliseconds: number, until: number, signal: AbortSignal): Promise<void> {
    const began = this.#clock.monotonic();
    // With no time to sleep it is still the turn of others: of signals, above all.
    for (let left = milliseconds; ; left = milliseconds - (this.#clock.monotonic() - began)) {
      await this.#nap(Math.min(Math.max(0, left), LONGEST_NAP), signal);
      if (signal.aborted || left <= LONGEST_NAP || this.#clock.now() >= until) return;
    }
  }

  #nap(milliseconds: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        cancel();
        signal.removeEventListener('abort', end);
        resolve();
      };
      const cancel = this.#clock.timer(milliseconds, end);
      signal.addEventListener('abort', end, { once: true });
    });
  }
}
