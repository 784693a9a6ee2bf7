/** What signals mean to a daemon. Their handlers only leave word, with its orders; the runner acts. */
import { closeSync, openSync } from 'node:fs';
import type { Orders } from '../../src/daemon/orders.ts';
import type { LogSink } from '../../src/worker/log.ts';
import { EXIT } from '../exit-codes.ts';

export interface Heeded {
  /** They fire one after the other, with each word to stop the next. */
  signal: AbortSignal;
  force: AbortSignal;
  /** As a signal that means it does. */
  stop(why: string): void;
  reload(why: string): void;
  /** Has these go to the daemon itself. */
  pass(names: readonly NodeJS.Signals[]): void;
}

/**
 * To be called before anything else: until then SIGHUP and SIGUSR2 end the process, and SIGUSR1 has Node listen for a
 * debugger. Those that the daemon is told wait in its orders until it has come up.
 */
export function heedSignals(orders: Orders, log: LogSink): Heeded {
  const signal = new AbortController();
  const force = new AbortController();
  const hadTerminal = hasTerminal();

  const stop = (why: string): void => {
    if (!signal.signal.aborted) {
      log('INFO', `${why}: stopping`, {});
      signal.abort();
    } else if (!force.signal.aborted) {
      log('WARN', `${why} again: stopping at once`, {});
      force.abort();
    } else process.exit(EXIT.failure);
  };
  const reload = (why: string): void => {
    log('INFO', `${why}: the configuration is read again`, {});
    orders.reload();
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('SIGBREAK', stop);
  process.on('SIGHUP', (name) => {
    // Windows means by it that the console is closed, and so does everybody who sends it to one that had a terminal.
    const isClosed = process.platform === 'win32' || (hadTerminal && !hasTerminal());
    if (!isClosed) reload(name);
    else if (!signal.signal.aborted) stop(`${name}, the terminal is gone`);
  });
  const pass = (names: readonly NodeJS.Signals[]): void => {
    for (const name of names)
      if (process.listenerCount(name) === 0) process.on(name, (one) => orders.signal(one));
  };
  if (process.platform !== 'win32') pass(['SIGUSR1', 'SIGUSR2']);
  return { signal: signal.signal, force: force.signal, stop, reload, pass };
}

/** Whether there is a terminal whose keys reach this process. */
function hasTerminal(): boolean {
  if (process.platform === 'win32') return false;
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}
