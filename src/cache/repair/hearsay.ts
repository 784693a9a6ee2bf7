/**
 * Messages whose own record is lost, as far as other records speak of them. An update holds a whole message; a claim or a
 * settle at least says that there was one.
 */
import { born } from '../../message.ts';
import { scanFile, type FileVisitor } from '../files.ts';
import { decode } from '../header.ts';
import type { Ports } from '../ports.ts';
import { offsetOf, position, segmentOf } from '../position.ts';
import type { Header, QueueState } from '../state.ts';
import { eachMessage } from '../where.ts';

/**
 * Adds to `told` the uuids of `wanted` that sound records of the open file say to have ended; or that they hold, as they do where
 * a write that was cut off was made again.
 */
export async function findTold(
  ports: Pick<Ports, 'fs' | 'clock'>,
  fd: number,
  wanted: ReadonlySet<string>,
  told: Set<string>,
): Promise<void> {
  const visitor: FileVisitor = {
    record(buffer, start, end, headerLength) {
      const header = decode(buffer, start, end, headerLength)?.header;
      const holds = header?.op === 'add' || header?.op === 'update' || header?.op === 'carry';
      const uuids = header?.op === 'done' ? header.u : header?.op === 'remove' || holds ? [header.u] : [];
      for (const uuid of uuids) if (wanted.has(uuid)) told.add(uuid);
    },
    bad() {},
  };
  await scanFile(ports, fd, visitor);
}

export class Hearsay {
  /** Whether what stood at a position is damaged, or gone with its file. */
  readonly #isLost: (segment: number, offset: number) => boolean;
  /** Positions that sound records name, of messages that the state does not know; those that ended are told so. */
  readonly #named = new Map<number, 'there' | 'held' | 'ended'>();
  /** Positions of messages that an update has brought back. */
  readonly restored = new Set<number>();

  constructor(isLost: (segment: number, offset: number) => boolean) {
    this.#isLost = isLost;
  }

  /** To be told of each record before it is applied. */
  hear(h: Header, state: QueueState): void {
    switch (h.op) {
      case 'update': {
        const at = position(...h.p);
        if (!this.#isUnknown(at, state) || this.#named.get(at) === 'ended') return;
        // Whoever wrote it had read the message; if it has ended in between, it is delivered again.
        state.restore(at, born(h.d ?? undefined, h.x === 1), position(...h.at), 0, 0);
        this.#named.delete(at);
        this.restored.add(at);
        return;
      }
      case 'remove':
        return this.#name(position(...h.p), 'ended', state);
      case 'set':
      case 'cancel':
        return this.#name(position(...h.p), 'there', state);
      case 'purge':
        // It spares what is claimed, and behind a hole what may have been.
        for (const [at, what] of this.#named)
          if (what === 'there' && !state.isHoled) this.#named.set(at, 'ended');
        return;
      case 'done':
        return eachMessage(h.c, (at) => this.#name(at, 'ended', state));
      case 'claim':
      case 'renew':
        return eachMessage(h.c, (at) => this.#name(at, 'held', state));
      case 'fail':
      case 'release':
      case 'lapse':
      case 'retry':
        return eachMessage(h.c ?? [], (at) => this.#name(at, 'there', state));
      default:
      // Says nothing of a message; or its operation is not known, and nothing of it either.
    }
  }

  /** Positions of messages that are known to have been there, and not to have ended. */
  get missing(): number[] {
    return this.#those((what) => what !== 'ended');
  }

  /** Positions of messages that are known to have ended. */
  get ended(): number[] {
    return this.#those((what) => what === 'ended');
  }

  #those(wanted: (what: 'there' | 'held' | 'ended') => boolean): number[] {
    return [...this.#named].filter(([, what]) => wanted(what)).map(([at]) => at);
  }

  hasEnded(at: number): boolean {
    return this.#named.get(at) === 'ended';
  }

  #name(at: number, what: 'there' | 'held' | 'ended', state: QueueState): void {
    // Since then a head has told of it.
    if (state.lifeOf(at)) this.#named.delete(at);
    if (this.#isUnknown(at, state) && this.#named.get(at) !== 'ended') this.#named.set(at, what);
  }

  #isUnknown(at: number, state: QueueState): boolean {
    return !state.lifeOf(at) && this.#isLost(segmentOf(at), offsetOf(at));
  }
}
