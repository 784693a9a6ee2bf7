/** Custom attributes: numbers that grow, each under a key of its own. */
export class Attributes {
  #known = new Map<string, { asked: number; acked: number }>();

  /** The queue may be another by now. */
  forget(): void {
    this.#known = new Map();
  }

  /** The value that is asked for. */
  setting(key: string): number {
    const known = this.#known.get(key) ?? { asked: 0, acked: 0 };
    this.#known.set(key, known);
    return ++known.asked;
  }

  set(key: string, value: number): void {
    const known = this.#known.get(key);
    if (known) known.acked = Math.max(known.acked, value);
  }

  /** The least values that must be seen by a call that begins now; called when it is answered. */
  expected(): () => [key: string, value: number][] {
    const then = this.#known;
    const acked = [...then].map(([key, value]): [string, number] => [key, value.acked]);
    return () => (then === this.#known ? acked : []);
  }
}
