/**
 * What has become of a message that stands nowhere any more, or elsewhere than records say: each has the effect that it had on the
 * message, by the same rules. So a settle that came too late ends nothing, nor does a purge end one who is claimed. What it has not been
 * seen to be, a record of it is believed to have found: the one that made it so may be lost as well.
 */
import { FRESH, transition, type Happening, type Life } from '../../message.ts';
import type { Lease } from '../messages.ts';
import type { Header } from '../state.ts';

/** A sound record that holds a message. */
export interface Copy<Op extends 'add' | 'update' = 'add' | 'update'> {
  header: Header & { op: Op };
  place: number;
  length: number;
  headerLength: number;
}

type Settle = Extract<Happening, { type: 'renew' | 'complete' | 'fail' | 'release' | 'lapse' }>;

export class Ghost {
  /** By which records name it. */
  readonly at: number;
  /** Where one tells that. */
  uuid: string | undefined;
  lease: Lease | undefined;
  /** The last one. */
  update: Copy<'update'> | undefined;
  /** Whether records name it of which the head that all begins with does not know. */
  isRecent = false;
  /** Undefined: it has ended. */
  #life: Life | undefined = FRESH;
  /** What has been said of when it is due, and whether it is disabled, since it was added; undefined: nothing. */
  #due: number | null | undefined;
  #disabled: boolean | undefined;
  /** Tokens that have held it, and do not any more. */
  readonly #over = new Set<string>();
  /** Whether it has been cancelled, or retried: who claimed it since then is known. */
  #isFreed = false;

  constructor(at: number) {
    this.at = at;
  }

  get hasEnded(): boolean {
    return this.#life === undefined;
  }

  /** Whether it may still be put off or disabled as it was when it was added: no record tells that it is not. */
  get isAsBorn(): boolean {
    const life = this.#life;
    if (!life) return false;
    return this.#disabled === undefined || (life.phase.state === 'ready' && this.#due === undefined);
  }

  /** Undefined when it has ended. `birth`: the life that its add gave it, where that is known. */
  lifeFrom(birth: Life = FRESH): Life | undefined {
    const life = this.#life;
    if (!life) return undefined;
    const phase = life.phase.state === 'ready' && this.#due === undefined ? birth.phase : life.phase;
    return { ...life, phase, disabled: this.#disabled ?? birth.disabled };
  }

  /** False: it did not apply. */
  happen(event: Happening, lease?: Lease): boolean {
    const before = this.#life;
    const after = before && transition(before, event);
    if (after === undefined) return false;
    const { phase } = before!;
    this.#life = typeof after === 'string' ? undefined : after;
    const isHeld = typeof after !== 'string' && after.phase.state === 'claimed';
    if (phase.state === 'claimed' && !isHeld) this.#over.add(phase.token);
    if (event.type !== 'update') this.#due ??= null;
    // Who had claimed it had found it enabled.
    if (isHeld || phase.state === 'claimed') this.#disabled ??= false;
    this.lease = isHeld ? (lease ?? this.lease) : undefined;
    this.#isFreed ||= event.type === 'cancel' || event.type === 'retry';
    return true;
  }

  /** By who holds it under the event's token, unless that is known to be another, or not to hold it any more. */
  settle(event: Settle, lease?: Lease): void {
    const life = this.#life;
    if (!life) return;
    const { token } = event;
    if (life.phase.state !== 'claimed' && !this.#isFreed && !this.#over.has(token))
      this.#life = { ...life, phase: { state: 'claimed', token, renewal: 0 }, attempts: life.attempts + 1 };
    // Renewals may be lost, but none is made up.
    const seen = this.#life?.phase.state === 'claimed' ? this.#life.phase.renewal : 0;
    this.happen(
      event.type === 'lapse' ? { ...event, renewal: event.renewal < seen ? -1 : seen } : event,
      lease,
    );
  }

  reschedule({ d, x }: { d?: number | null; x?: 0 | 1 }): void {
    if (d !== undefined) this.#due = d;
    if (x !== undefined) this.#disabled = x === 1;
    this.happen({ type: 'update', due: d, disabled: x === undefined ? undefined : x === 1 });
  }
}
