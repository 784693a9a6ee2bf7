/** What SIGTERM, SIGINT and SIGHUP mean; handling them is all that keeps them from ending the process. */
import type { LogSink } from '../../src/worker/log.ts';
import { EXIT } from '../exit-codes.ts';

/** They fire one after the other, with each signal the next. */
export interface StopSignals {
  stop: AbortSignal;
  force: AbortSignal;
  /** When its listeners have returned, the process exits. */
  kill: AbortSignal;
}

export function stopSignals(log: LogSink): StopSignals {
  const stop = new AbortController();
  const force = new AbortController();
  const kill = new AbortController();
  const heed = (name: NodeJS.Signals): void => {
    if (!stop.signal.aborted) {
      log('INFO', `${name}: stopping; once more to stop at once`, {});
      stop.abort();
    } else if (!force.signal.aborted) {
      log('WARN', `${name}: stopping at once; messages in hand go back in line`, {});
      force.abort();
    } else {
      kill.abort();
      process.exit(EXIT.failure);
    }
  };
  process.on('SIGTERM', heed);
  process.on('SIGINT', heed);
  // The terminal was closed. Shell and system may both tell of that, so a second one asks for nothing more.
  process.on('SIGHUP', (name) => {
    if (!stop.signal.aborted) heed(name);
  });
  return { stop: stop.signal, force: force.signal, kill: kill.signal };
}

/**
 * For a member of a crew: Ctrl-C and the end of a terminal reach all its processes, and what they mean the parent says.
 * SIGTERM is taken as meant for this process alone; when the whole group was meant, the parent has it too.
 */
export function memberSignals(stop: () => void): void {
  process.on('SIGINT', () => undefined);
  process.on('SIGHUP', () => undefined);
  process.on('SIGTERM', stop);
}
