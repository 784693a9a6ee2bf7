/** Typed events at next to no cost while nobody listens: an event is made only when it is to be told to somebody. */

export type Listener<Event> = (event: Event) => void;

export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();

  /** Calls `listener` at each event of that name, in order of registration, until the returned function is called. */
  on<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    // A wrapper of its own, so that one function registered twice is called twice and removed once.
    const registered: Listener<Events[Name]> = (event) => listener(event);
    listeners.add(registered);
    return () => {
      listeners.delete(registered);
      if (listeners.size === 0 && this.#listeners.get(name) === listeners) this.#listeners.delete(name);
    };
  }

  /**
   * A listener that throws changes nothing for the others, nor for the operation that the event tells of: its error
   * surfaces as an uncaught exception, as one thrown in an EventTarget's listener does.
   */
  tell<Name extends keyof Events>(name: Name, make: () => Events[Name]): void {
    const listeners = this.#listeners.get(name);
    if (listeners === undefined) return;
    const event = make();
    for (const listener of listeners) {
      try {
        (listener as Listener<Events[Name]>)(event);
      } catch (error) {
        process.nextTick(() => {
          throw error;
        });
      }
    }
  }
}
