/** Custom attributes: numbers that grow, each under a key of its own, one call at a time. */
interface Known {
  asked: number;
  acked: number;
  /** Under `interval`: what is on the device of that. */
  ripe: number;
  /** A call is under way: which of two comes last is for the log to say. */
  busy: boolean;
}

export class Attributes {
  #known = new Map<string, Known>();

  /** The power has gone: what had been answered counts no more, but for what was on the device. */
  forgetUnripe(): void {
    this.#keep(({ ripe }) => ripe);
  }

  /** The queue may be another by now: nothing that was answered counts, nor what is still under way. */
  forget(): void {
    this.#keep(() => 0);
  }

  #keep(kept: (known: Known) => number): void {
    this.#known = new Map(
      [...this.#known].map(([key, known]) => {
        const acked = kept(known);
        return [key, { ...known, acked, ripe: acked }] as const;
      }),
    );
  }

  /** The value to ask for. Undefined: another is under way. */
  setting(
    key: string,
  ): { value: number; answered: () => void; ripened: () => void; over: () => void } | undefined {
    const known = this.#known.get(key) ?? { asked: 0, acked: 0, ripe: 0, busy: false };
    if (known.busy) return undefined;
    this.#known.set(key, known);
    known.busy = true;
    const value = ++known.asked;
    return {
      value,
      answered: () => void (known.acked = value),
      ripened: () => void (known.ripe = Math.max(known.ripe, value)),
      over: () => {
        this.#known.get(key)!.busy = false;
      },
    };
  }

  /** The least values that must be seen by a call that begins now; called when it is answered. */
  expected(): () => [key: string, value: number][] {
    const then = this.#known;
    const acked = [...then].map(([key, value]): [string, number] => [key, value.acked]);
    return () => (then === this.#known ? acked : []);
  }
}
