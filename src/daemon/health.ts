/** Asks a daemon's own `verify` now and then, whatever else it is doing. */
import type { Clock } from '../cache/ports.ts';
import type { Daemon } from './daemon.ts';
import { messageOf } from './outcome.ts';
import type { Keeper } from './state.ts';

/** From an answer to the next question, in ms. */
const EVERY = 15_000;
/** An answer that takes longer is none; ms. */
const PATIENCE = 10_000;

export class Health {
  readonly #daemon: Daemon;
  readonly #keeper: Keeper;
  readonly #clock: Clock;
  #isOn = false;
  /** A question that has not been answered is not asked again. */
  #isAsking = false;
  #cancel: () => void = () => undefined;

  constructor(daemon: Daemon, keeper: Keeper, clock: Clock) {
    this.#daemon = daemon;
    this.#keeper = keeper;
    this.#clock = clock;
  }

  /** Asks now, and again and again until `stop`. */
  start(): void {
    this.#isOn = true;
    void this.#ask();
  }

  stop(): void {
    this.#isOn = false;
    this.#cancel();
  }

  async #ask(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    this.#cancel();
    this.#cancel = this.#clock.timer(PATIENCE, () => {
      this.#keeper.checked(false, `verify() has not answered within ${PATIENCE} ms`);
    });
    const verdict = await this.#verdict();
    this.#isAsking = false;
    this.#cancel();
    if (!this.#isOn || verdict === undefined) return;
    this.#keeper.checked(verdict === '', verdict);
    this.#cancel = this.#clock.timer(EVERY, () => void this.#ask());
  }

  /** Why it is not sound; '' when it is; undefined where it has no opinion. */
  async #verdict(): Promise<string | undefined> {
    try {
      if (!this.#daemon.verify) return undefined;
      const isSound: unknown = await this.#daemon.verify();
      return isSound === false ? 'verify() says so' : '';
    } catch (error) {
      return `verify() failed: ${messageOf(error)}`;
    }
  }
}
