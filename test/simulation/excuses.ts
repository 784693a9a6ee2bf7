/**
 * What the checker knows beyond what clients were told, all of it: everything else compares what clients asked for with what they
 * were answered.
 *
 * Of the faults: `SUSPENDED` names the checks that say nothing after a fault, and why; `isExcused` the refusals that a client has
 * to take. Excuses are asked for last, when a check has failed, and a campaign tells how often each was needed: one that never is goes.
 *
 * Of the engine, in five places:
 * - `agreement.ts` compares the states of all handles: that all agree who have read the same bytes is a promise that no client can
 *   see kept. It leaves out handles that know of damage, but for a head that was made again whole, and those that have read no more than control records.
 * - `rot.ts` looks at what handles read, and at the damage that they know of: who had read bytes before they rotted cannot tell of that.
 *   What it does not ask for, and why, stands there.
 * - `simulate.ts` looks at the size of the file `reserve`, which no client sees before the disk is full.
 * - `claiming.ts` tells by the words of an error that a claim was given back because nothing of it could be read: the client is told
 *   no more than that storage has failed, and what it may expect of the queue then is more than after other failures.
 * - `faults.ts` and `coverage.ts` read records and names, to let things go wrong when it matters and to count what was met. Nothing
 *   is judged by that.
 */
import type { QueueOptions } from '../../src/backend.ts';

/** `rot`: bytes. `hole`: bytes may be missing in the middle of the log. `flush`: one has failed. `head`: that of the newest segment has rotted. */
export type Mishap = 'rot' | 'hole' | 'flush' | 'head';

/** Rot takes whatever it hits. */
const LOST = 'what says so, or contradicts it, may be what has rotted';
/** Limits and aliases rest on what came before: behind a hole each add counts, for rather one too many than one lost. */
const TOO_MANY = 'behind a hole each add counts: rather one message too many than one lost';

const DAMAGED = 'damage is kept, for whoever wants to know what is lost';

const SUSPENDED = {
  'queue is there': { rot: LOST },
  'add not refused': { rot: LOST, hole: TOO_MANY },
  'added once': { rot: 'who cannot read back an add, because of damage, writes it again' },
  'one alias': { rot: LOST, hole: TOO_MANY },
  ended: { rot: LOST },
  version: { rot: LOST },
  'not lost': { rot: 'but what one rotten byte has cost is reported: see `Audit.verified`' },
  attributes: { rot: LOST },
  counts: { rot: LOST, hole: TOO_MANY },
  sound: {
    rot: 'there is damage',
    head: 'there is damage',
    flush: 'where the power goes then, what is missing may stand before what is there',
  },
  'counted is found': {
    rot: 'a message whose content cannot be read is found by nobody, and set aside when it is claimed',
  },
  lease: { rot: LOST },
  'files go': {
    rot: DAMAGED,
    head: DAMAGED,
    flush: 'where the power goes then, what is missing may stand before what is there, and is damage',
  },
  order: { rot: LOST },
  interval: { flush: 'its promise ends with the first flush that fails' },
} as const satisfies { [check: string]: { [mishap in Mishap]?: string } };

export type Check = keyof typeof SUSPENDED;

export class Excuses {
  readonly #happened = new Set<Mishap>();
  /** How many bytes have rotted. */
  rot = 0;
  /** Told of each failure that is excused, and by what. */
  needed: (what: string) => void = () => undefined;

  happened(mishap: Mishap): void {
    this.#happened.add(mishap);
    if (mishap === 'rot') this.rot++;
  }

  has(mishap: Mishap): boolean {
    return this.#happened.has(mishap);
  }

  /** Whether what has happened explains that the check has failed. */
  suspends(check: Check): boolean {
    const mishaps = [...this.#happened].filter((mishap) => mishap in SUSPENDED[check]);
    if (mishaps.length === 0) return false;
    this.needed(`excused: ${check} (${mishaps.join(' and ')})`);
    return true;
  }
}

/** What a full disk may refuse: producers, never consumers. */
const PRODUCING = new Set([
  'open',
  'add',
  'addMany',
  'update',
  'retry',
  'pause',
  'attribute',
  'reopen',
  'destroy',
]);

export interface Circumstances {
  plan: {
    weights: readonly (readonly [step: string, weight: number])[];
    lanes: number;
    options: QueueOptions;
  };
  /** Whether something has happened. */
  met: (what: string) => boolean;
  excuses: Excuses;
}

/** Whether a client has to take that refusal. */
export function isExcused(code: string, during: string, { plan, met, excuses }: Circumstances): boolean {
  const { weights, lanes, options } = plan;
  // Nothing goes wrong any more, but what has rotted stays so.
  if (during === 'finish' && code !== 'JOURNAL_CORRUPT') return false;
  switch (code) {
    case 'STORAGE_FAILED':
      // A record may rot before its writer has read it back.
      return met('refused operations') || met('failed flushes') || met('rotten bytes');
    case 'STORAGE_FULL':
      return met('refused operations') || (met('full disks') && PRODUCING.has(during));
    case 'QUEUE_DESTROYED':
    case 'QUEUE_NOT_FOUND':
      // Whoever destroys it is told whether there was one.
      return during !== 'destroy' && weights.some(([step]) => step === 'destroy');
    case 'JOURNAL_CORRUPT':
      // Nobody can tell where a damaged head ends. One that may say that there is no queue could hide the record that creates it again.
      return met('rotten bytes') || (met('rotten heads') && weights.some(([step]) => step === 'destroy'));
    case 'INVALID_MESSAGE':
      // Behind a hole adds count without regard to aliases, so two messages may have one: the update of the one is refused.
      return options.uniqueAlias === true && (excuses.has('hole') || excuses.has('rot'));
    case 'CLOSED':
      // The other lane has closed the handle that both work on.
      return lanes > 1;
    default:
      return false;
  }
}
