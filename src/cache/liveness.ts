/**
 * Which claims are over although nobody settled them. A holder that is known dead loses its claims at once; otherwise
 * the lease decides: by the machine's monotonic clock where holder and observer share it, else by having watched one
 * whole lease go by without a renewal. The finding names the token and the last renewal seen, so that a renewal that
 * comes first in the log wins.
 */
import type { Life, TryError } from '../message.ts';
import type { Operation } from './operations.ts';
import type { Ports } from './ports.ts';
import type { QueueState } from './state.ts';
import { toWhere } from './where.ts';

export interface Finding {
  op: Operation & { op: 'lapse' };
  /** Payload of the record. */
  evidence: TryError;
}

/** From seeing a death to acting on it: who kept the process may know what it died of, and says so first. */
const DEATH_GRACE_MS = 250;

export class Liveness {
  readonly #ports: Ports;
  readonly #crashLimit: number;
  /** When a lease that cannot be judged by the clock was first seen, by position, token and renewal. */
  #watched = new Map<string, number>();
  /** When a holder was first seen dead, by writer. */
  #dead = new Map<string, number>();
  /** Nothing before this time was observed: the observer itself stood still. */
  #awakeSince = -Infinity;

  constructor(ports: Ports, crashLimit: number) {
    this.#ports = ports;
    this.#crashLimit = crashLimit;
  }

  /** To be told when the observer finds that it has been stopped for a while. */
  wasStalled(): void {
    this.#awakeSince = this.#ports.clock.monotonic();
    this.#watched.clear();
  }

  /** What to write about claims that are over. */
  findings(state: QueueState): Finding[] {
    if (state.claimed.size === 0) {
      this.#watched.clear();
      this.#dead.clear();
      return [];
    }
    const now = this.#ports.clock.monotonic();
    const watched = new Map<string, number>();
    const dead = new Map<string, number>();
    const alive = new Set<string>();
    const groups = new Groups();
    for (const at of state.claimed) {
      const touched = state.touched.get(at);
      if (!touched?.lease || touched.life.phase.state !== 'claimed') continue;
      const { life, lease } = touched;
      const { token, renewal } = touched.life.phase;
      const { writer } = lease;
      if (!dead.has(writer) && !alive.has(writer)) {
        if (this.#isDead(state, writer)) dead.set(writer, this.#dead.get(writer) ?? now);
        else alive.add(writer);
      }
      const diedAt = dead.get(writer);
      if (diedAt === undefined) {
        const key = `${at} ${token} ${renewal}`;
        const since = this.#watched.get(key) ?? now;
        watched.set(key, since);
        const began = this.#sharesClock(state, writer) ? Math.max(lease.began, this.#awakeSince) : since;
        if (now - began <= lease.length) continue;
      } else if (now - diedAt < DEATH_GRACE_MS) continue;
      groups.put(at, life, this.#crashLimit, () => this.#evidence(state, lease, diedAt !== undefined));
    }
    this.#watched = watched;
    this.#dead = dead;
    return groups.findings();
  }

  /** What to write about the claims of a process that has died, with what is known of its death; none while it lives. */
  deathsOf(pid: number, evidence: TryError, state: QueueState): Finding[] {
    const groups = new Groups();
    for (const at of state.claimed) {
      const touched = state.touched.get(at);
      const who = touched?.lease && state.writers.get(touched.lease.writer)?.who;
      if (who?.pid === pid && this.#ports.processes.isKnownDead(who))
        groups.put(at, touched!.life, this.#crashLimit, () => evidence);
    }
    return groups.findings();
  }

  /** What to write about a claimed message that the device has not let its holder read. */
  unreadable(at: number, life: Life, message: string): { op: Operation; json: string } {
    const groups = new Groups();
    const time = new Date(this.#ports.clock.now()).toISOString();
    const evidence = {
      at: time,
      attempt: life.attempts,
      name: 'QueueError',
      code: 'STORAGE_FAILED',
      message,
    };
    groups.put(at, life, this.#crashLimit, () => evidence);
    const [finding] = groups.findings();
    return { op: finding!.op, json: JSON.stringify(evidence) };
  }

  /**
   * When the next lease that the clock can judge will be over, or a death that was seen may be acted on, in milliseconds
   * from now; Infinity if none.
   */
  nextLapse(state: QueueState): number {
    const now = this.#ports.clock.monotonic();
    let next = Infinity;
    for (const seen of this.#dead.values()) next = Math.min(next, seen + DEATH_GRACE_MS - now);
    for (const at of state.claimed) {
      const lease = state.touched.get(at)?.lease;
      if (lease && this.#sharesClock(state, lease.writer))
        next = Math.min(next, Math.max(lease.began, this.#awakeSince) + lease.length - now);
    }
    return next;
  }

  #isDead(state: QueueState, writer: string): boolean {
    const known = state.writers.get(writer);
    return known !== undefined && this.#ports.processes.isKnownDead(known.who);
  }

  #sharesClock(state: QueueState, writer: string): boolean {
    const who = state.writers.get(writer)?.who;
    const self = this.#ports.processes.self();
    return (
      who !== undefined &&
      who.boot !== '' &&
      who.boot === self.boot &&
      who.timeNamespace === self.timeNamespace
    );
  }

  #evidence(state: QueueState, lease: { writer: string; length: number }, died: boolean): TryError {
    const pid = state.writers.get(lease.writer)?.who.pid;
    const at = new Date(this.#ports.clock.now()).toISOString();
    const who = pid === undefined ? 'its worker' : `process ${pid}`;
    if (died)
      return { at, attempt: 0, name: 'WorkerDied', message: `${who} ended while it worked on this message` };
    return {
      at,
      attempt: 0,
      name: 'LeaseExpired',
      message: `${who} did not renew its lease of ${lease.length} ms in time`,
    };
  }
}

/** One record for all messages of a claim that lapse in the same way. */
class Groups {
  readonly #groups = new Map<string, { finding: Finding; positions: number[] }>();

  put(at: number, { phase, crashes }: Life, crashLimit: number, evidence: () => TryError): void {
    if (phase.state !== 'claimed') return;
    const final = crashes + 1 >= crashLimit;
    const group = `${phase.token} ${phase.renewal} ${final}`;
    const known = this.#groups.get(group);
    if (known) {
      known.positions.push(at);
      return;
    }
    const op: Finding['op'] = { op: 'lapse', k: phase.token, r: phase.renewal, c: [] };
    if (final) op.f = 1;
    this.#groups.set(group, { finding: { op, evidence: evidence() }, positions: [at] });
  }

  findings(): Finding[] {
    return [...this.#groups.values()].map(({ finding, positions }) => {
      finding.op.c = toWhere(positions);
      return finding;
    });
  }
}
