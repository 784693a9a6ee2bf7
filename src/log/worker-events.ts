/** What is logged of a worker's events, and its wording. */
import { toTryError } from '../try-error.ts';
import type { LogSink } from '../worker/log.ts';
import type { WhyLost, WorkerEvent } from '../worker/events.ts';

const LOST: Readonly<Record<WhyLost, string>> = {
  cancelled: 'was cancelled or removed; what the handler makes of it is discarded',
  lapsed: 'its claim has ended; what the handler makes of it is discarded',
  unsettled: 'how it went could not be recorded; it comes back when its lease is over',
};

export function logEvent(log: LogSink, queue: string, event: WorkerEvent): void {
  if (event.type === 'trouble') {
    const { during, error, pause } = event;
    const what = pause === undefined ? 'gave up' : `again in ${pause} ms`;
    log('ERROR', `${during} refused: ${messageOf(error)}; ${what}`, { queue });
    return;
  }
  if (event.type === 'started' || event.type === 'ended') return;
  const { uuid, alias, attempts } = event.message ?? { uuid: undefined, alias: '', attempts: undefined };
  const about = { queue, uuid, alias: alias === '' ? undefined : alias, attempt: attempts };
  switch (event.type) {
    case 'completed':
      return log('DEBUG', 'completed', { ...about, ms: Math.round(event.milliseconds) });
    case 'failed': {
      const fate = event.final ? 'failed for good' : 'failed, will be tried again';
      return log(event.final ? 'ERROR' : 'WARN', `${fate}: ${messageOf(event.error)}`, about);
    }
    case 'released':
      return log('INFO', 'back in line', about);
    case 'lost':
      return log(event.why === 'cancelled' ? 'INFO' : 'WARN', LOST[event.why], about);
    case 'hook':
      return log('ERROR', `${event.hook}() of the worker failed: ${messageOf(event.error)}`, about);
  }
}

function messageOf(error: unknown): string {
  // Handlers throw anything; this survives all of it.
  return toTryError(error, 1, Date.now()).message;
}
