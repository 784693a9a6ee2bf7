/** Tells a daemon the signals that are its own affair: one after the other, also while an iteration runs. */
import type { Log } from '../worker/log.ts';
import type { Daemon } from './daemon.ts';
import type { Orders } from './orders.ts';
import { messageOf } from './outcome.ts';

export class OtherSignals {
  readonly #daemon: Daemon;
  readonly #orders: Orders;
  readonly #log: Log;
  #isOn = false;
  #telling: Promise<void> | undefined;

  constructor(daemon: Daemon, orders: Orders, log: Log) {
    this.#daemon = daemon;
    this.#orders = orders;
    this.#log = log;
  }

  /** To be called when the daemon has started, and when there is word. */
  heed(): void {
    this.#isOn = true;
    this.#telling ??= this.#tell();
  }

  /** Resolves when no call is under way; the next one is after the next `heed`. */
  async stop(): Promise<void> {
    this.#isOn = false;
    await this.#telling;
  }

  async #tell(): Promise<void> {
    // So that `#telling` is set before it is unset.
    await Promise.resolve();
    while (this.#isOn) {
      const name = this.#orders.takeSignal();
      if (name === undefined) break;
      try {
        if (this.#daemon.handleOtherSignals) await this.#daemon.handleOtherSignals(name);
        else this.#log.info(`${name}: this daemon has no handleOtherSignals()`);
      } catch (error) {
        this.#log.error(`handleOtherSignals(${name}) failed: ${messageOf(error)}`);
      }
    }
    this.#telling = undefined;
  }
}
