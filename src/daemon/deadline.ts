/** How long what runs in a daemon may go on once it was told to end: up to a deadline, and a little to clean up. */
import type { Clock } from '../cache/ports.ts';
import { GRACE } from '../worker/pool.ts';

export class Deadline {
  readonly #clock: Clock;
  readonly #passed = new AbortController();
  #passedAt = 0;
  #cancel: () => void = () => undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Fires when it has passed. */
  get passed(): AbortSignal {
    return this.#passed.signal;
  }

  /** Lets it pass in so many ms; what was said before counts no more. */
  begin(milliseconds: number): void {
    this.#cancel();
    if (!this.#passed.signal.aborted) this.#cancel = this.#clock.timer(milliseconds, () => this.#pass());
  }

  /** Lets it pass now. */
  force(): void {
    this.#cancel();
    this.#pass();
  }

  /** To be called when nobody waits any more. */
  end(): void {
    this.#cancel();
  }

  /** True when `call` has ended, with whose error this rejects; false when it has not, and has had its time and a second. */
  async within(call: () => unknown): Promise<boolean> {
    const called = this.#clock.monotonic();
    let stop = (): void => undefined;
    const over = new Promise<false>((resolve) => {
      const wait = (): void => {
        const left = Math.max(called, this.#passedAt) + GRACE - this.#clock.monotonic();
        stop = this.#clock.timer(Math.max(0, left), () => resolve(false));
      };
      if (this.passed.aborted) return wait();
      this.passed.addEventListener('abort', wait, { once: true });
      stop = () => this.passed.removeEventListener('abort', wait);
    });
    const ended = (async () => {
      await call();
      return true;
    })();
    try {
      return await Promise.race([ended, over]);
    } finally {
      stop();
    }
  }

  #pass(): void {
    if (this.#passed.signal.aborted) return;
    this.#passedAt = this.#clock.monotonic();
    this.#passed.abort();
  }
}
