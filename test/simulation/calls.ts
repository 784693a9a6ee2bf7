/** Calls that have not been answered. Of one that never is, nothing is known: it may have had its effect or not. */
import type { Entry } from './entries.ts';
import type { Process } from './process.ts';

/** `sweep`: what ends every message, or every one that is not claimed. */
export interface Call {
  readonly process: Process;
  readonly kind: 'take' | 'sweep' | 'claim' | 'update' | 'pause' | 'birth';
  readonly since: number;
  /** Of an update. */
  readonly entry: Entry | undefined;
  readonly version: number;
}

export class Calls {
  readonly #open = new Set<Call>();
  /** Calls of `take` that will never be answered: each may have taken a message. */
  #lostTakes = 0;
  /** Whether there are claims of which nobody was told. */
  claimsLost = false;
  /** When a call of each kind ended last, answered or not. */
  readonly #ended = new Map<Call['kind'], number>();

  begin(call: Call): Call {
    this.#open.add(call);
    return call;
  }

  end(call: Call, time: number): void {
    this.#open.delete(call);
    this.#ended.set(call.kind, time);
  }

  /** Refused by the storage, or its process has died. False: it had ended before. */
  lose(call: Call, time: number): boolean {
    if (!this.#open.has(call)) return false;
    this.end(call, time);
    if (call.kind === 'take') this.#lostTakes++;
    if (call.kind === 'claim' || call.kind === 'take') this.claimsLost = true;
    return true;
  }

  of(process: Process): Call[] {
    return [...this.#open].filter((call) => call.process === process);
  }

  count(kind: Call['kind']): number {
    let count = 0;
    for (const call of this.#open) if (call.kind === kind) count++;
    return count;
  }

  /** Whether no other call of these kinds was under way at any time since `call` began. */
  isAlone({ since, ...call }: Call, ...kinds: Call['kind'][]): boolean {
    return kinds.every(
      (kind) => (this.#ended.get(kind) ?? 0) < since && this.count(kind) === (call.kind === kind ? 1 : 0),
    );
  }

  /** How many messages may have been taken by calls without an answer. */
  get maybeTaken(): number {
    return this.count('take') + this.#lostTakes;
  }
}
