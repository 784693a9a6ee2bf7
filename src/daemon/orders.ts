/** What a running daemon may be told again and again. Who tells, such as a handler of signals, only leaves word here; the runner acts. */
export class Orders {
  #reload = false;
  readonly #signals = new Set<NodeJS.Signals>();
  #wake: () => void = () => undefined;

  /** Has the configuration read again and the daemon start anew. */
  reload(): void {
    this.#reload = true;
    this.#wake();
  }

  /** For the daemon's `handleOtherSignals`. Like the system's, a signal that waits already is not told twice. */
  signal(name: NodeJS.Signals): void {
    this.#signals.add(name);
    this.#wake();
  }

  /** Has `wake` called, from now on, whenever there is word. Must not throw. */
  onWord(wake: () => void): void {
    this.#wake = wake;
  }

  takeReload(): boolean {
    const reload = this.#reload;
    this.#reload = false;
    return reload;
  }

  takeSignal(): NodeJS.Signals | undefined {
    const [first] = this.#signals;
    if (first !== undefined) this.#signals.delete(first);
    return first;
  }
}
