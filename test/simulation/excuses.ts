/** Which refusals a client has to take, after what has happened in its run. */
import type { Plan } from './plan.ts';

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
  plan: Plan;
  /** Whether something has happened. */
  met: (what: string) => boolean;
  /** Whether bytes of the log may be missing: after rot, and after power cuts that take any sector or follow on a failed flush. */
  holed: boolean;
}

export function isExcused(code: string, during: string, { plan, met, holed }: Circumstances): boolean {
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
      return weights.some(([step]) => step === 'destroy');
    case 'JOURNAL_CORRUPT':
      // Nobody can tell where a damaged head ends. One that may say that there is no queue could hide the record that creates it again.
      return met('rotten bytes') || (met('rotten heads') && weights.some(([step]) => step === 'destroy'));
    case 'INVALID_MESSAGE':
      // Behind a hole adds count without regard to aliases, so two messages may have one: the update of the one is refused.
      return options.uniqueAlias === true && holed;
    case 'CLOSED':
      // The other lane has closed the handle that both work on.
      return lanes > 1;
    default:
      return false;
  }
}
