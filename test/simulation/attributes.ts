/** Custom attributes: numbers that grow, each under a key of its own, one call at a time. */
interface Known {
  asked: number;
  acked: number;
  /** A call is under way: which of two comes last is for the log to say. */
  busy: boolean;
}

export class Attributes {
  #known = new Map<string, Known>();

  /** The queue may be another by now: nothing that was answered counts, nor what is still under way. */
  forget(): void {
    this.#known = new Map(
      [...this.#known].map(([key, { asked, busy }]) => [key, { asked, acked: 0, busy }] as const),
    );
  }

  /** The value to ask for. Undefined: another is under way. */
  setting(key: string): { value: number; answered: () => void; over: () => void } | undefined {
    const known = this.#known.get(key) ?? { asked: 0, acked: 0, busy: false };
    if (known.busy) return undefined;
    this.#known.set(key, known);
    known.busy = true;
    const value = ++known.asked;
    return {
      value,
      answered: () => void (known.acked = value),
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
